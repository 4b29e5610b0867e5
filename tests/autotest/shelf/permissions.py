import os, stat, logging
from autotest_lib.client.common_lib import error

MODES = [0644, 0600, 0755, 0]


def text_of(mode):
    """A mode as ls and stat have it: without the leading 0."""
    return oct(mode)[1:] or "0"


def host_mode(path, mode):
    file(path, "w").close()
    os.chmod(path, mode)
    return oct(os.stat(path)[stat.ST_MODE] & 0777)


def run_permissions(test, params, env):
    """
    Set modes in the guest and read them back.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    session.cmd("touch /tmp/mode")
    for mode in MODES:
        session.cmd("chmod %o /tmp/mode" % mode)
        seen = session.cmd("stat -c %a /tmp/mode").strip()
        if seen != text_of(mode):
            raise error.TestFail, "Mode %s reads %s" % (text_of(mode), seen)
    session.cmd("rm /tmp/mode")
    session.close()
