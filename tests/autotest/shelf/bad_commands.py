import logging
from autotest_lib.client.common_lib import error
from autotest_lib.client.virt import aexpect


def describe(status):
    try:
        if status:
            raise error.TestError, "status %d" % status
        raise ValueError("no status")
    except error.TestError, e:
        pass
    except (ValueError, TypeError), e:
        return "%s: %s" % (e.__class__.__name__, e.message)
    return "%s, %s" % (e, e[0])


def run_bad_commands(test, params, env):
    """
    Commands that fail must tell how.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    for status in 1, 7, 127:
        try:
            session.cmd("(exit %d)" % status)
        except aexpect.ShellCmdError, e:
            logging.info("As expected: %s", describe(e.status))
            if e.status <> status:
                raise error.TestFail, "Status %s instead of %s" % (e.status, status)
        else:
            raise error.TestFail("Status %s went unnoticed" % status)
    try:
        session.cmd("sleep 30", timeout=1)
    except aexpect.ShellTimeoutError, e:
        logging.info("As expected: %s", e)
    except aexpect.ShellError, e:
        raise error.TestFail("Wrong kind of failure: %s" % e)
    session.close()
