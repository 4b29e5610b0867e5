import os, logging
from autotest_lib.client.common_lib import error
from autotest_lib.client.virt import virt_utils, ppm_utils, kvm_monitor


def run_picture_and_pause(test, params, env):
    """
    Take pictures of the screen while the guest runs and while it stands still.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    sums = {}
    for state, command in (("running", None), ("paused", "stop")):
        if command:
            vm.monitor.cmd(command)
        if not virt_utils.wait_for(lambda: vm.monitor.verify_status(state), 10, 0, 0.1):
            raise error.TestFail("The guest is not %s" % state)
        path = os.path.join(test.tmpdir, "%s.ppm" % state)
        try:
            vm.monitor.screendump(path)
        except kvm_monitor.MonitorError, e:
            raise error.TestError("No picture: %s" % e)
        if not ppm_utils.image_verify_ppm_file(path):
            raise error.TestFail("%s is no picture" % path)
        w, h, data = ppm_utils.image_read_from_ppm_file(path)
        sums[state] = ppm_utils.image_md5sum(w, h, data)
        logging.info("%s: %d x %d, %s", state, w, h, sums[state])
        w, h, data = ppm_utils.image_crop(w, h, data, 0, 0, 8, 4)
        if (w, h) <> (8, 4) or len(data) != 8 * 4 * 3:
            raise error.TestFail("A piece of %d x %d, %d bytes" % (w, h, len(data)))
    vm.monitor.cmd("cont")
    if not sums.has_key("paused") or not vm.monitor.verify_status("running"):
        raise error.TestFail("The guest does not go on")
