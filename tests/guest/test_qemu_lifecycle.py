"""Creating, rebooting, migrating, saving and ending VMs."""

import os
import signal
import subprocess
import sys

import pytest
from support.waiting import until
from virtvm import virt_vm
from virtvm.companions import virt_utils
from virtvm.hypervisors import migration, qemu


@pytest.fixture(scope="module")
def running(vm):
    return vm


def alive(vm, timeout=120):
    with vm.wait_for_login(timeout=timeout) as session:
        return session.cmd("echo alive") == "alive\n"


def test_reboot_by_shell_and_by_monitor(running):
    with running.wait_for_login(timeout=120) as before:
        before.cmd("touch /tmp/before")
        session = running.reboot(before, timeout=240)
    assert session.cmd_status("test -e /tmp/before") == 1
    session.cmd("touch /tmp/before")
    session = running.reboot(session, method="system_reset", timeout=240)
    assert session.cmd_status("test -e /tmp/before") == 1
    session.close()
    with pytest.raises(virt_vm.VMRebootError, match="Unknown reboot method"):
        running.reboot(method="prayer")


@pytest.mark.parametrize("protocol, options", [
    ("tcp", {}), ("unix", {"offline": True}), ("exec", {}), ("tcp", {"stable_check": True})])
def test_migrate(running, protocol, options):
    with running.wait_for_login(timeout=120) as session:
        session.cmd("echo %s > /tmp/marker" % protocol)
    before, mac = running.get_pid(), running.get_mac_address()
    running.migrate(protocol=protocol, timeout=120, **options)
    assert running.get_pid() != before and not os.path.exists("/proc/%d" % before)
    assert running.get_mac_address() == mac
    running.verify_status("running")
    with running.wait_for_login(timeout=120) as session:
        assert session.cmd("cat /tmp/marker") == protocol + "\n"


def test_migrate_cancelled_goes_on_where_it_was(running):
    running.monitor.cmd("migrate-set-parameters", {"max-bandwidth": 1 << 20})
    before = running.get_pid()
    running.migrate(cancel_delay=0.2, timeout=60)
    assert running.get_pid() == before and alive(running)


def test_migrate_that_takes_too_long(running):
    running.monitor.cmd("migrate-set-parameters", {"max-bandwidth": 1 << 16})
    before = running.get_pid()
    with pytest.raises(virt_vm.VMMigrateTimeoutError):
        running.migrate(timeout=1)
    assert running.get_pid() == before and alive(running)
    running.monitor.cmd("migrate-set-parameters", {"max-bandwidth": 1 << 40})


def test_migrate_by_an_unknown_protocol(running):
    with pytest.raises(virt_vm.VMMigrateProtoUnsupportedError, match="rdma"):
        running.migrate(protocol="rdma")


def test_migrate_to_a_host_that_is_not_there(running):
    with pytest.raises(virt_vm.VMMigrateFailedError):
        running.migrate(dest_host="127.0.0.1", remote_port=1, timeout=60)
    assert alive(running)


def test_migrate_takes_the_identity_along(machine):
    instance, mac, uuid = machine.instance, machine.get_mac_address(), machine.get_uuid()
    machine.migrate(timeout=60)
    assert machine.instance != instance
    assert (machine.get_mac_address(), machine.get_uuid()) == (mac, uuid)
    assert machine.monitor.info("uuid")["UUID"] == uuid
    assert virt_utils.get_mac_address(instance, 0) is None      # nobody's any more


def test_migrate_to_qemu_that_dies_tells_its_last_words(machine, monkeypatch):
    # The destination has other devices than the state that comes.
    other = machine.clone(params=dict(machine.params, nic_model="e1000"))
    monkeypatch.setattr(machine, "clone", lambda: other, raising=False)
    before = machine.get_pid()
    with pytest.raises(virt_vm.VMMigrateFailedError, match="load of migration failed"):
        machine.migrate(timeout=60)
    assert machine.get_pid() == before
    machine.verify_status("running")


def test_migrate_of_what_cannot_be_migrated(new_vm):
    vm = new_vm(kernel="", initrd="", kernel_params="", images="",
                extra_params="-object memory-backend-file,id=m,size=1M,mem-path=/dev/shm,share=on "
                             "-device ivshmem-plain,memdev=m")
    vm.create()
    with pytest.raises(virt_vm.VMMigrateFailedError, match="can't begin"):
        vm.migrate(timeout=60)
    vm.verify_status("running")


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield str(folder)
    subprocess.run(["umount", str(folder)], check=True)


def test_save_where_there_is_no_room_leaves_nothing(machine, small_disk):
    with pytest.raises(virt_vm.VMMigrateFailedError, match="No space left on device"):
        machine.save_to_file(os.path.join(small_disk, "state"))
    assert os.listdir(small_disk) == []


def test_reason_that_qemu_does_not_tell(tmp_path):
    with open("/dev/full", "wb", buffering=0) as full:
        assert migration._why_not_written(full.fileno()) == "No space left on device"
    with open(str(tmp_path / "file"), "wb", buffering=0) as f:
        assert migration._why_not_written(f.fileno()) == ""


def test_save_keeps_the_limit_of_speed(machine, tmp_path):
    machine.monitor.migrate_set_speed("3m")
    machine.save_to_file(str(tmp_path / "state"))
    assert machine.monitor.info("migrate-parameters")["max-bandwidth"] == 3 << 20


def test_restore_keeps_the_identity(machine, tmp_path):
    before = machine.get_mac_address(), machine.get_uuid()
    machine.save_to_file(str(tmp_path / "state"))
    machine.restore_from_file(str(tmp_path / "state"))
    assert (machine.get_mac_address(), machine.get_uuid()) == before
    machine.verify_status("running")


def test_restore_of_what_is_no_state(machine, tmp_path):
    (tmp_path / "state").write_bytes(b"no state at all" * 1000)
    with pytest.raises(virt_vm.VMMigrateFailedError, match="Not a migration stream"):
        machine.restore_from_file(str(tmp_path / "state"))
    assert machine.is_dead()


def test_paused_machine_is_not_asked_to_shut_down(machine, monkeypatch):
    machine.pause()
    monkeypatch.setattr(machine, "login", lambda *args: pytest.fail("it was asked for a shell"))
    machine.destroy()
    assert machine.is_dead()


def test_stopped_qemu_is_killed(machine, monkeypatch):
    monkeypatch.setattr(qemu, "_QUIT_WAIT", 0.5)
    pid = machine.get_pid()
    os.kill(pid, signal.SIGSTOP)
    machine.destroy()
    assert not os.path.exists("/proc/%d" % pid)


@pytest.mark.parametrize("call", [
    lambda vm: vm.pause(), lambda vm: vm.resume(), lambda vm: vm.send_key("a"), lambda vm: vm.reboot(),
    lambda vm: vm.screendump("/nonexistent.png"), lambda vm: vm.migrate(),
    lambda vm: vm.save_to_file("/nonexistent/state"), lambda vm: vm.verify_status("running")])
def test_machine_that_is_not_there_says_so(new_vm, call):
    with pytest.raises(virt_vm.VMDeadError, match="it is not started"):
        call(new_vm())


def test_save_and_restore(running, tmp_path):
    with running.wait_for_login(timeout=120) as session:
        session.cmd("echo kept > /tmp/kept")
    state = str(tmp_path / "a state")
    running.save_to_file(state)
    assert sorted(name.partition(".disk0-")[0] for name in os.listdir(tmp_path)) == ["a state"] * 2
    running.resume()
    assert alive(running)
    running.restore_from_file(state)
    with running.wait_for_login(timeout=120) as session:
        assert session.cmd("cat /tmp/kept") == "kept\n"
    with pytest.raises(virt_vm.VMMigrateError, match="No saved state"):
        running.restore_from_file(str(tmp_path / "none"))


def test_destroy_by_the_guest_s_own_shutdown(new_vm):
    vm = new_vm()
    vm.create()
    vm.wait_for_login(timeout=240).close()
    sockets = [vm.get_serial_console_filename(), vm.get_monitor_filename("qmp1")]
    assert all(map(os.path.exists, sockets))
    vm.destroy()
    assert vm.is_dead() and vm.process.get_status() == 0
    assert "The system is going down" in vm.serial_console.get_output()
    assert not any(map(os.path.exists, sockets))
    with pytest.raises(virt_vm.VMDeadError, match="QEMU ended with status 0"):
        vm.verify_alive()
    vm.destroy()


def test_login_while_nobody_answers_tells_the_history(new_vm):
    vm = new_vm(kernel_params="console=ttyS0 init=/bin/sleep rdinit=/bin/sleep")
    vm.create()
    with pytest.raises(virt_utils.LoginError) as info:
        vm.wait_for_login(timeout=4, internal_timeout=1)
    assert info.value.tries >= 2 and info.value.history
    assert info.value.stage in ("banner", "connect")
    assert isinstance(info.value.console, str)


# ---- nothing outlives its maker ----

SCRIPT = """
import sys, time
from virtvm import guest
from virtvm.companions import virt_utils
from virtvm.hypervisors.qemu import VM
virt_utils.set_log_file_dir(sys.argv[2])
vm = VM("vm1", guest.Guest(sys.argv[1], guest.PASSWORD).params(), sys.argv[1])
vm.create()
print(vm.get_pid(), vm.get_serial_console_filename(), flush=True)
%s
"""


def gone(pid, path):
    return until(lambda: not os.path.exists("/proc/%d" % pid) and not os.path.exists(path))


@pytest.mark.parametrize("end", ["kill", "interrupt", "exit", "exception"])
def test_no_qemu_outlives_its_process(built_guest, tmp_path, end):
    last = {"exit": "", "exception": "raise SystemExit(3)"}.get(end, "time.sleep(600)")
    process = subprocess.Popen([sys.executable, "-c", SCRIPT % last, built_guest.directory, str(tmp_path)],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with process:
        pid, path = process.stdout.readline().split()
        if end in ("kill", "interrupt"):
            process.send_signal(signal.SIGKILL if end == "kill" else signal.SIGINT)
        process.wait()
    assert gone(int(pid), path)
