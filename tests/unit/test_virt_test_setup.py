"""Settings of the host, in folders that stand for the kernel's.  (The real: tests/guest.)"""

import pytest
from virtvm.autotest.tests import virt_test_setup
from virtvm.companions.virt_utils import Params


@pytest.fixture
def thp(tmp_path, monkeypatch):
    folder = tmp_path / "transparent_hugepage"
    (folder / "khugepaged").mkdir(parents=True)
    (folder / "enabled").write_text("always [madvise] never\n")
    (folder / "khugepaged" / "pages_to_scan").write_text("4096\n")
    (folder / "khugepaged" / "full_scans").write_text("7\n")
    (folder / "khugepaged" / "full_scans").chmod(0o444)
    (folder / "notes").write_text("neither word nor number\n")
    monkeypatch.setattr(virt_test_setup, "THP_PATHS", (str(tmp_path / "redhat"), str(folder)))
    return folder


def test_thp_settings_found_and_put_back(thp):
    enabled, pages = str(thp / "enabled"), str(thp / "khugepaged" / "pages_to_scan")
    config = virt_test_setup.TransparentHugePageConfig(None, Params(test_config="%s:always; %s:64;" % (enabled, pages)))
    assert config.thp_path == str(thp)
    assert config.test_config == {enabled: "always", pages: "64"}
    assert config.original_config == {enabled: "madvise", pages: 4096}
    assert config.file_list_str == [enabled] and config.file_list_num == [pages]
    config.set_env()
    assert (thp / "enabled").read_text() == "always" and (thp / "khugepaged" / "pages_to_scan").read_text() == "64"
    config.cleanup()
    assert (thp / "enabled").read_text() == "madvise" and (thp / "khugepaged" / "pages_to_scan").read_text() == "4096"
    assert (thp / "khugepaged" / "full_scans").read_text() == "7\n"


def test_thp_failures(thp, monkeypatch):
    with pytest.raises(IndexError):
        virt_test_setup.TransparentHugePageConfig(None, Params(test_config="no colon"))
    config = virt_test_setup.TransparentHugePageConfig(None, Params(test_config="%s/none/such:1" % thp))
    with pytest.raises(virt_test_setup.THPWriteConfigError, match="none/such"):
        config.setup()
    monkeypatch.setattr(virt_test_setup, "_sees_kernel_threads", lambda: True)
    monkeypatch.setattr(virt_test_setup, "KHUGEPAGED_PATIENCE", 0.1)
    monkeypatch.setattr(virt_test_setup.utils, "process_is_alive", lambda name: False)
    with pytest.raises(virt_test_setup.THPKhugepagedError, match="not running"):
        config._expect_running(True)
    config._expect_running(False)
    monkeypatch.setattr(virt_test_setup, "THP_PATHS", (str(thp / "a"), str(thp / "b")))
    with pytest.raises(virt_test_setup.THPNotSupportedError, match="doesn't support"):
        virt_test_setup.TransparentHugePageConfig(None, Params())


def test_hugepages_counted():
    size = virt_test_setup.HugePageConfig.get_hugepage_size()
    one = virt_test_setup.HugePageConfig(Params(mem="64", vms="vm1"))
    assert one.target_hugepages == -(-128 * 1024 // size)
    more = virt_test_setup.HugePageConfig(Params(mem="64", vms="vm1 vm2", max_vms="3"))
    assert more.target_hugepages == -(-3 * 128 * 1024 // size)
    assert one.hugepage_path == "/mnt/kvm_hugepage"
    with pytest.raises(KeyError):
        virt_test_setup.HugePageConfig(Params(vms="vm1"))


def test_fewer_hugepages_than_wanted(tmp_path, monkeypatch):
    count = tmp_path / "nr_hugepages"
    count.write_text("3\n")
    monkeypatch.setattr(virt_test_setup, "NR_HUGEPAGES", str(count))
    write = virt_test_setup._write
    monkeypatch.setattr(virt_test_setup, "_write", lambda path, value: write(path, min(int(value), 10)))
    config = virt_test_setup.HugePageConfig(Params(mem="1000000", vms="vm1"))
    with pytest.raises(ValueError, match="target value of %d hugepages" % config.target_hugepages):
        config.setup()
    assert count.read_text() == "3"
    config.cleanup()            # nothing was set up: nothing to put back
    assert count.read_text() == "3"
