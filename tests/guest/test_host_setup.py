"""Settings of this very host: changed, used and put back."""

import os

import pytest
from virtvm.autotest.tests import test_object, virt_env_process, virt_test_setup
from virtvm.companions.virt_utils import Env, Params

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: it changes the host")


def read(path):
    with open(path) as f:
        return f.read().strip()


def writable(path):
    return os.path.exists(path) and os.access(path, os.W_OK) and not os.statvfs(path).f_flag & os.ST_RDONLY


@pytest.mark.skipif(not writable("/sys/kernel/mm/transparent_hugepage/enabled"),
                    reason="no transparent huge pages to set here")
def test_transparent_huge_pages():
    enabled = "/sys/kernel/mm/transparent_hugepage/enabled"
    before = read(enabled)
    wish = "never" if "[always]" in before else "always"
    config = virt_test_setup.TransparentHugePageConfig(None, Params(test_config="%s:%s" % (enabled, wish)))
    try:
        config.setup()
        assert "[%s]" % wish in read(enabled)
    finally:
        config.cleanup()
    assert read(enabled) == before
    assert virt_test_setup.TransparentHugePageConfig(None, Params()).original_config == config.original_config


@pytest.mark.skipif(not writable(virt_test_setup.NR_HUGEPAGES), reason="no huge pages to reserve here")
def test_guest_in_huge_pages(built_guest, tmp_path):
    before = read(virt_test_setup.NR_HUGEPAGES)
    params = Params(built_guest.params(setup_hugepages="yes", hugepage="yes", vms="vm1", start_vm="yes", kill_vm="yes",
                                kernel="", initrd="", kernel_params="", images="", mem="32"))
    suite, env = test_object.Test("hugepages", str(tmp_path), str(tmp_path / "results")), Env()
    try:
        virt_env_process.preprocess(suite, params, env)
        vm = env.get_vm("vm1")
        assert os.path.ismount("/mnt/kvm_hugepage") and vm.is_alive()
        with open("/proc/meminfo") as f:
            pages = dict(line.split(":") for line in f)
        assert int(pages["HugePages_Total"]) - int(pages["HugePages_Free"]) > 0
    finally:
        suite.close()
        virt_env_process.postprocess(suite, params, env)
    assert not os.path.ismount("/mnt/kvm_hugepage") and read(virt_test_setup.NR_HUGEPAGES) == before
