import logging, time, string
from autotest_lib.client.common_lib import error
from autotest_lib.client.virt import virt_test_utils


def run_restart_and_console(test, params, env):
    """
    Restart the guest from within, then log in by the network and on the console.
    """
    vm = virt_test_utils.get_living_vm(env, params.get("main_vm"))
    timeout = int(params.get("login_timeout", 360))
    session = virt_test_utils.wait_for_login(vm, timeout=timeout)
    try:
        before = string.atof(session.cmd_output("cut -d' ' -f1 /proc/uptime"))
        session.cmd("touch /tmp/gone-after-restart")
        began = time.time()
        session = virt_test_utils.reboot(vm, session, "shell", 0, 0, timeout)
        took = time.time() - began
        s, o = session.get_command_status_output("ls /tmp/gone-after-restart")
        if s == 0:
            raise error.TestFail("The guest was not restarted: %s" % o)
        logging.info("Restarted in %.1f s, after %.1f s", took, before)
        console = vm.wait_for_serial_login(timeout=timeout)
        try:
            mine, other = [x.cmd_output("uname -n").strip() for x in console, session]
            if mine <> other:
                raise error.TestFail, "Console of %r, network of %r" % (mine, other)
        finally:
            console.close()
    finally:
        session.close()
