import re, logging
from autotest_lib.client.common_lib import error


def first_version(text):
    found = re.findall("version\s+(\d+\.\d+\S*)", text)
    if not found:
        return None
    return found[0]


def scrub(text):
    return re.sub("\[\s*\d+\.\d+\]\s*", "", text)


@error.context_aware
def run_kernel_log(test, params, env):
    """
    Compare what the kernel says at boot with what it says of itself.
    """
    error.context("logging into the guest")
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    error.context("asking for the kernel's version", logging.info)
    said = first_version(scrub(session.cmd_output("cat /proc/version", timeout=30)))
    release = session.cmd("uname -r").strip()
    session.close()
    if said != release:
        raise error.TestFail("Kernel %r calls itself %r" % (said, release))
