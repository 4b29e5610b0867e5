import commands, os, logging
from autotest_lib.client.common_lib import error
from autotest_lib.client.bin import utils


def host_facts():
    s, o = commands.getstatusoutput("uname -r")
    if s != 0:
        raise error.TestError("uname: %s" % o)
    piped = os.popen("uname -r").read()
    return o, piped, commands.getstatusoutput("exit 4")[0] / 256


def run_host_commands(test, params, env):
    """
    Compare the host's clock and kernel with the guest's.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    release, piped, status = host_facts()
    if release != piped.strip() or utils.system_output("uname -r") != release:
        raise error.TestError("The host does not know its kernel")
    before = int(commands.getoutput("date +%s"))
    in_guest = int(session.cmd("date +%s"))
    after = int(commands.getoutput("date +%s"))
    session.close()
    drift = abs(in_guest - (before + after) / 2)
    logging.info("Host %s, drift %s s", release, drift)
    if drift > int(params.get("drift_threshold", 3600)):
        raise error.TestFail("The guest's clock is off by %d s" % drift)
