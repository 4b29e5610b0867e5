"""What a guest wrote to its disk is there after it was saved, restored and migrated: on the real guest.

Its page cache hides a disk that is wrong, so it is dropped first.
"""

import os
import subprocess
import sys

import pytest
from virtvm import virt_vm
from virtvm.companions import utils, virt_utils
from virtvm.hypervisors import disks

WRITE = ("dd if=/dev/urandom of=/data/big bs=64k count=128 2>/dev/null; echo %s > /data/small; sync; "
         "echo unsynced-%s > /data/late; cat /data/big /data/small /data/late | md5sum")
LOOK = "echo 3 > /proc/sys/vm/drop_caches; cat /data/big /data/small /data/late | md5sum"


def write(vm, word):
    with vm.wait_for_login(timeout=240) as session:
        return session.cmd(WRITE % (word, word), timeout=120)


def look(vm):
    """What the disk has, past the caches; the file system's own complaints fail."""
    with vm.wait_for_login(timeout=240) as session:
        found = session.cmd(LOOK, timeout=120)
        assert session.cmd_status("dmesg | grep -iE 'EXT4-fs error|I/O error|corrupt'") == 1
        session.cmd("echo alive > /data/alive; sync; cat /data/alive", timeout=60)
        return found


def overlays(vm):
    return list(vm._overlays.paths.values())


@pytest.fixture
def vm(new_vm):
    vm = new_vm()
    vm.create()
    return vm


def test_saved_disk_is_whole(vm, built_guest, tmp_path):
    before = utils.hash_file(built_guest.disk)
    first = write(vm, "first")
    state = str(tmp_path / "state")
    vm.save_to_file(state)
    vm.resume()
    assert write(vm, "later") != first              # the state's disk does not follow
    used = overlays(vm)
    vm.destroy(gracefully=False)
    assert used and not any(map(os.path.exists, used))
    kept = [name for name in os.listdir(tmp_path) if name.startswith("state.disk0-")]
    assert len(kept) == 1 and os.stat(tmp_path / kept[0]).st_mode & 0o777 == 0o400
    digest = utils.hash_file(str(tmp_path / kept[0]))
    for _ in range(2):                              # as often as one likes
        vm.restore_from_file(state)
        assert look(vm) == first
    second = write(vm, "second")
    again = str(tmp_path / "again")
    vm.save_to_file(again)                          # a state of what was restored stands alone
    vm.destroy(gracefully=False)
    assert utils.hash_file(str(tmp_path / kept[0])) == digest
    os.unlink(state)
    os.unlink(tmp_path / kept[0])
    vm.restore_from_file(again)
    assert look(vm) == second
    vm.destroy(gracefully=False)
    assert utils.hash_file(built_guest.disk) == before


@pytest.mark.parametrize("protocol", ["tcp", "unix"])
def test_migrated_disk_is_whole(vm, built_guest, tmp_path, protocol):
    first = write(vm, "first")
    used = overlays(vm)
    vm.migrate(protocol=protocol, timeout=120)
    assert overlays(vm) == used and os.path.exists(used[0])
    assert look(vm) == first
    second = write(vm, "second")
    vm.migrate(timeout=120)                         # and again
    vm.save_to_file(str(tmp_path / "state"))
    vm.restore_from_file(str(tmp_path / "state"))
    assert look(vm) == second and not os.path.exists(used[0])
    used = overlays(vm)
    vm.destroy(gracefully=False)
    assert not os.path.exists(used[0])


def test_migration_that_is_cancelled_keeps_the_disk(vm):
    first = write(vm, "first")
    vm.monitor.cmd("migrate-set-parameters", {"max-bandwidth": 1 << 20})
    used = overlays(vm)
    vm.migrate(cancel_delay=0.2, timeout=60)
    assert overlays(vm) == used and look(vm) == first


# ---- without a guest: QEMU alone ----

@pytest.fixture
def with_disk(new_vm, tmp_path):
    def make(**more):
        subprocess.run(["qemu-img", "create", "-q", "-f", "raw", str(tmp_path / "disk.raw"), "1M"], check=True)
        return new_vm(kernel="", initrd="", kernel_params="", image_name=str(tmp_path / "disk"), image_format="raw",
                      **more)
    return make


def test_saved_again_replaces_what_belonged_to_it(with_disk, tmp_path):
    vm = with_disk()
    vm.create()
    state = str(tmp_path / "state")
    for _ in range(2):
        vm.save_to_file(state)
        vm.resume()
    assert len(list(tmp_path.glob("state.disk0-*.qcow2"))) == 1
    assert [disk["number"] for disk in disks.noted(state)] == [0]


@pytest.mark.parametrize("spoil, complaint", [
    (lambda folder: next(folder.glob("state.disk0-*")).unlink(), "belongs to .*state is gone"),
    (lambda folder: (folder / "disk.raw").write_bytes(b"x" * 2 ** 20), "has been written to since"),
    (lambda folder: os.utime(folder / "disk.raw", ns=(1, 1)), "has been written to since"),
    (lambda folder: (folder / "disk.raw").unlink(), "with the disk"),
    (lambda folder: os.truncate(folder / "state", os.path.getsize(folder / "state") - 3), "without what the guest")])
def test_restore_without_its_disk_is_refused(with_disk, tmp_path, spoil, complaint):
    vm = with_disk()
    vm.create()
    vm.save_to_file(str(tmp_path / "state"))
    vm.resume()
    pid = vm.get_pid()
    spoil(tmp_path)
    with pytest.raises(virt_vm.VMMigrateError, match=complaint):
        vm.restore_from_file(str(tmp_path / "state"))
    assert vm.get_pid() == pid and vm.is_alive()        # what runs is left alone


def test_written_disk_does_not_fit_an_older_state(with_disk, tmp_path):
    """image_snapshot=no: the disk itself goes on."""
    vm = with_disk(image_snapshot="no")
    vm.create()
    vm.save_to_file(str(tmp_path / "state"))
    assert sorted(os.listdir(tmp_path)) == ["disk.raw", "state"]
    vm.restore_from_file(str(tmp_path / "state"))
    vm.monitor.cmd("human-monitor-command", {"command-line": 'qemu-io drive0 "write -P 7 0 4096"'})
    with pytest.raises(virt_vm.VMMigrateError, match="has been written to since"):
        vm.restore_from_file(str(tmp_path / "state"))


def test_without_qemu_img_it_runs_and_says_what_can_not_be(with_disk, tmp_path):
    vm = with_disk(qemu_img_binary="/none/qemu-img")
    vm.create()
    for call in (lambda: vm.save_to_file(str(tmp_path / "state")), lambda: vm.migrate(timeout=10)):
        with pytest.raises(virt_vm.VMMigrateFailedError, match="is qemu-img there"):
            call()
    vm.verify_status("running")
    assert os.listdir(tmp_path) == ["disk.raw"]


def test_no_other_host_has_the_disk(with_disk):
    vm = with_disk()
    vm.create()
    with pytest.raises(virt_vm.VMMigrateFailedError, match="another host"):
        vm.migrate(dest_host="127.0.0.1", remote_port=1, timeout=10)
    vm.verify_status("running")


def test_no_room_for_the_disk_leaves_nothing(with_disk, tmp_path, monkeypatch):
    vm = with_disk()
    vm.create()
    monkeypatch.setattr(disks, "_copy", lambda source, target: utils.run("echo no room >&2; false"))
    with pytest.raises(virt_vm.VMMigrateFailedError, match="no room"):
        vm.save_to_file(str(tmp_path / "state"))
    assert os.listdir(tmp_path) == ["disk.raw"]


def test_overlay_goes_with_a_killed_process(built_guest, tmp_path):
    script = ("import os, sys; from virtvm import guest; from virtvm.hypervisors.qemu import VM\n"
              "vm = VM('vm1', guest.Guest(%r, 'x').params(kernel='', initrd='', kernel_params=''), '/')\n"
              "vm.create(); print(vm._overlays.paths[0], flush=True); sys.stdin.read()"
              % os.path.dirname(built_guest.disk))
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    path = child.stdout.readline().strip()
    assert os.path.exists(path) and os.stat(path).st_mode & 0o777 == 0o600
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert virt_utils.wait_for(lambda: not os.path.exists(path), 60, 0, 0.05)
