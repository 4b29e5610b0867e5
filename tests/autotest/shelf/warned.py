import logging
import common
from autotest_lib.client.common_lib import error


def first_missing(wanted, present):
    for name in wanted:
        try:
            present.index(name)
        except ValueError, e:
            logging.warn("%s is missing (%s)", name, e)
            break
    else:
        return None
    return name, e.message != "", len([n for n in present if n])


def run_warned(test, params, env):
    """
    A guest without a toolchain is odd, but no failure.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    present = session.cmd("ls /usr/bin /bin").split()
    session.close()
    missing = first_missing(["ls", "definitely-not-there"], present)
    if missing:
        raise error.TestWarn("%s is not in the guest" % missing[0])
