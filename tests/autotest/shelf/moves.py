from autotest_lib.client.common_lib import error
from autotest_lib.client.virt import virt_test_utils


def run_moves(test, params, env):
    """
    Migrate the guest on this host; what ran in it goes on.
    """
    vm = virt_test_utils.get_living_vm(env, params.get("main_vm"))
    timeout = int(params.get("login_timeout", 360))
    session = virt_test_utils.wait_for_login(vm, timeout=timeout)
    session.cmd("(sleep 600 </dev/null >/dev/null 2>&1 & echo $! > /tmp/moves.pid)")
    session.close()
    dest_vm = virt_test_utils.migrate(vm, env, 120, params.get("migration_protocol", "tcp"))
    session = virt_test_utils.wait_for_login(dest_vm, timeout=timeout)
    try:
        status, output = session.cmd_status_output("kill $(cat /tmp/moves.pid)")
        if status:
            raise error.TestFail("The process did not move along: %s" % output)
    finally:
        session.close()
    if env.get_vm(params["main_vm"]) is not dest_vm:
        raise error.TestFail("The environment has not the VM that lives")
