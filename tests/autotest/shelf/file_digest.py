import os, logging, hashlib
from autotest_lib.client.common_lib import error
from autotest_lib.client.bin import utils
from autotest_lib.client.virt import virt_utils


def make_file(path, kilobytes):
    """Write a file that has every byte value, and return its digest."""
    block = "".join([chr(i) for i in range(256)]) * 4
    f = open(path, "w")
    for i in xrange(kilobytes):
        f.write(block)
    f.close()
    return hashlib.md5(file(path, "rb").read()).hexdigest()


def run_file_digest(test, params, env):
    """
    Copy a file to the guest and back, and compare digests all the way.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))

    name = "digest-%s" % virt_utils.generate_random_string(8)
    host_path = os.path.join(test.tmpdir, name)
    guest_path = "/tmp/" + name
    digest = make_file(host_path, int(params.get("file_size", 64)))
    if utils.hash_file(host_path) != digest:
        raise error.TestError("Digests of one file differ on the host")
    vm.copy_files_to(host_path, guest_path, timeout=120)
    in_guest = session.cmd("md5sum %s" % guest_path).split()[0]
    vm.copy_files_from(guest_path, host_path + ".back", timeout=120)
    session.cmd("rm -f %s" % guest_path)
    session.close()
    back = utils.hash_file(host_path + ".back", method="md5")
    if not (digest == in_guest == back):
        raise error.TestFail("Digests: %s here, %s there, %s back" % (digest, in_guest, back))
    for path in (host_path, host_path + ".back"):
        os.unlink(path)
