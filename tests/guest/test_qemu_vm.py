"""A running guest, through BaseVM's methods and what the field expects beside them."""

import os
import pickle
import re
import struct

import pytest
from support.waiting import BUSY, LONG, until
from virtvm import virt_vm
from virtvm.companions import aexpect, virt_utils
from virtvm.hypervisors.qemu import VM


def test_login_and_commands(session):
    assert session.cmd("echo hello") == "hello\n"
    assert session.cmd_status("(exit 7)") == 7
    assert session.cmd_output("hostname") == "virtvm-guest\n"
    assert len(session.cmd_output("seq 20000")) == 108894


def test_run_on_a_channel_of_its_own(session):
    result = session.run("echo out; echo err >&2; cat; exit 3", input="in\n")
    assert (result.status, result.stdout, result.stderr) == (3, "out\nin\n", "err\n")


def test_state(vm):
    assert vm.is_alive() and not vm.is_dead()
    vm.verify_alive()
    vm.verify_status("running")
    vm.verify_kernel_crash()
    assert os.path.exists("/proc/%d" % vm.get_pid())
    assert vm.get_shared_meminfo() > 0
    assert vm.get_address() == "localhost"
    assert re.match(r"([0-9a-f]{2}:){5}[0-9a-f]{2}$", vm.get_mac_address())
    assert vm.netdev_id == ["net0"] and vm.get_peer("net0") == "nic0" and vm.get_peer("nic0") == "net0"


def test_port_that_is_not_redirected(vm):
    with pytest.raises(virt_vm.VMPortNotRedirectedError, match="Port not redirected: 4711"):
        vm.get_port(4711)


def test_cpu_and_memory(vm):
    assert vm.get_cpu_count() == 1
    assert 100 < vm.get_memory_size() < 192


@pytest.mark.parametrize("engine", ["sftp", "scp"])
def test_trees_by_both_engines_with_checksums(vm, session, tmp_path, engine):
    tree = tmp_path / "tree"
    names = ["plain", "with blank", "quote'\"", "-dash", "\xe4\u20ac", "*star?", "$(id)`id`", "a" * 200, "\\back"]
    modes = [0o644, 0o600, 0o755, 0o4711, 0o444]
    for n, name in enumerate(names):
        folder = tree / name / "inner"
        folder.mkdir(parents=True)
        for m, size in enumerate([0, 1, 4096, 40000, 300000][n % 3:]):
            path = folder / ("%s %d\n" % (name, m))
            path.write_bytes(os.urandom(size))
            path.chmod(modes[(n + m) % 5])
        folder.chmod([0o755, 0o555, 0o700][n % 3])
    before = dict(vm.params)
    try:
        vm.params.update({"transfer_engine": engine, "transfer_verify": "yes", "transfer_times": "yes"})
        session.cmd("rm -rf /tmp/tree")
        vm.copy_files_to(str(tree), "/tmp")
        vm.copy_files_to(str(tree), "/tmp")                     # over itself
        assert session.cmd("find /tmp -name '*.vt-*'") == ""
        modes_there = session.cmd("cd /tmp/tree && find . -type f -exec stat -c %a {} + | sort").split()
        assert modes_there == sorted("%o" % (path.stat().st_mode & 0o7777) for path in tree.rglob("*")
                                     if path.is_file())
        vm.copy_files_from("/tmp/tre?", str(tmp_path / "back"))
    finally:
        vm.params.clear()
        vm.params.update(before)
        session.cmd("chmod -R u+w /tmp/tree; rm -rf /tmp/tree")
    paths = sorted(tree.rglob("*"))
    assert sorted(path.relative_to(tmp_path / "back") for path in (tmp_path / "back").rglob("*")) == [
        path.relative_to(tree) for path in paths]
    for path in paths:
        back = tmp_path / "back" / path.relative_to(tree)
        assert back.stat().st_mode & 0o777 == path.stat().st_mode & 0o777
        if path.is_file():
            assert back.read_bytes() == path.read_bytes() and int(back.stat().st_mtime) == int(path.stat().st_mtime)


def test_copy_both_ways(vm, session, tmp_path):
    tree = tmp_path / "a tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_bytes(os.urandom(300000))
    (tree / "script").write_text("#!/bin/sh\necho ran\n")
    (tree / "script").chmod(0o755)
    vm.copy_files_to(str(tree), "/tmp/copied")
    assert session.cmd("/tmp/copied/script") == "ran\n"
    vm.copy_files_from("/tmp/copied", str(tmp_path / "back"))
    assert (tmp_path / "back" / "sub" / "file").read_bytes() == (tree / "sub" / "file").read_bytes()
    session.cmd("rm -r /tmp/copied")


def test_unknown_clients(new_vm, vm):
    other = vm.clone(copy_state=True)
    other.params = vm.params.copy()
    other.params["shell_client"] = "carrier pigeon"
    with pytest.raises(virt_utils.LoginBadClientError, match="carrier pigeon"):
        other.login()
    other.params["file_transfer_client"] = "none"
    with pytest.raises(virt_utils.TransferBadClientError):
        other.copy_files_to("/etc/passwd", "/tmp")


def test_wrong_password(vm):
    other = vm.clone(copy_state=True)
    other.params = vm.params.copy()
    other.params["password"] = "not the password"
    with pytest.raises(virt_utils.LoginAuthenticationError) as info:
        other.login(timeout=30)
    assert info.value.stage == "authentication" and "password" in info.value.methods
    assert "not the password" not in str(info.value) + repr(info.value)


def test_serial_login(vm):
    console = vm.wait_for_serial_login(timeout=60)
    assert console is vm.serial_console
    assert console.cmd("echo on the serial line") == "on the serial line\n"
    long = "x" * 300
    assert console.cmd("echo " + long) == long + "\n"
    assert "virtvm-guest login:" in console.get_output()


def test_screendump_is_a_png(vm, tmp_path):
    path = str(tmp_path / "screen.png")
    vm.screendump(path)
    with open(path, "rb") as f:
        head = f.read(24)
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:]) > (100, 100)
    ppm = str(tmp_path / "screen.ppm")
    vm.screendump(ppm)
    with open(ppm, "rb") as f:
        assert f.read(2) == b"P6"


def test_pause_and_resume(vm):
    vm.pause()
    vm.verify_status("paused")
    with pytest.raises(virt_vm.VMStatusError):
        vm.verify_status("running")
    assert vm.is_alive()
    vm.resume()
    vm.verify_status("running")


def test_keys_reach_the_guest(vm, session):
    vm.send_string("Hi1")
    vm.send_key("shift-1")
    until(lambda: re.search(r"login: Hi1! *$", session.cmd("tr -d '\\0' </dev/vcs1").rstrip()))     # its screen
    with pytest.raises(Exception, match="send-key"):
        vm.send_key("no-such-key")
    vm.send_key("ctrl-u")           # the line is nobody's name


def test_monitor(vm):
    monitor = vm.monitor
    assert monitor.protocol == "qmp" and monitor.is_responsive()
    assert monitor.info("status")["running"] is True
    assert "VM status: running" in monitor.human_monitor_cmd("info status")
    assert monitor.cmd_qmp("query-name", id="mine") == {"return": {"name": "vm1"}, "id": "mine"}
    assert "error" in monitor.cmd_obj({"execute": "no-such-command"})
    with pytest.raises(Exception) as info:
        monitor.cmd("no-such-command", {"a": 1})
    assert info.value.cmd == "no-such-command" and info.value.data["class"] == "CommandNotFound"
    monitor.clear_events()
    vm.pause()
    assert monitor.wait_event("STOP", 10)["event"] == "STOP"
    assert monitor.get_event("STOP") and monitor.get_events()
    vm.resume()


def test_vm_pickles_while_it_runs(vm, session):
    session.cmd("true")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(vm, protocol))
        assert type(again) is VM and again.is_alive() and again.get_pid() == vm.get_pid()
        assert again.redirs == vm.redirs
    with again.login() as other:
        assert other.cmd("echo from the copy") == "from the copy\n"


def test_needs_restart_when_the_command_line_differs(vm):
    assert not vm.needs_restart(vm.name, vm.params, vm.root_dir)
    for changes in ({"mem": "256"}, {"smp": "2"}, {"redirs": "", "nics": "nic1"}, {"nics": "nic1 nic2"},
                    {"uuid": "2f0b5bbb-8c27-4f0a-9a4c-1f6e0a3a7c11"}):
        params = vm.params.copy()
        params.update(changes)
        assert vm.needs_restart(vm.name, params, vm.root_dir)


def test_sessions_are_logged(vm, session, log_folder):
    session.cmd("echo a line for the log")
    session.close()
    found = [name for name in os.listdir(log_folder) if name.startswith("session-vm1-")]
    texts = [open(os.path.join(log_folder, name)).read() for name in found]
    assert any("a line for the log" in text for text in texts)
    serial = os.path.join(log_folder, "console-vm1-%s.log" % vm.instance)
    assert "virtvm-guest login" in open(serial).read()
    assert not any(vm.params["password"] + "\n" in text for text in texts)


def test_kernel_crash_is_seen(vm, session, monkeypatch):
    session.cmd("provoke-oops")
    until(vm.serial_console.find_kernel_crash)
    with pytest.raises(virt_vm.VMDeadKernelCrashError) as info:
        vm.verify_kernel_crash()
    assert info.value.kernel_crash.startswith("BUG: unable to handle page fault")
    assert info.value.kernel_crash.endswith("---[ end trace 0000000000000000 ]---")
    seed = info.value.kernel_crash
    monkeypatch.setitem(vm.params, "kernel_crash_patterns", "modern")
    with pytest.raises(virt_vm.VMDeadKernelCrashError) as info:
        vm.verify_kernel_crash()
    assert seed in info.value.kernel_crash and "] BUG: unable to handle" in info.value.kernel_crash.split("\n")[0]


def test_session_of_a_vm_that_dies_ends(new_vm):
    vm = new_vm()
    vm.create()
    session = vm.wait_for_login(timeout=240)
    os.kill(vm.get_pid(), 9)
    with pytest.raises(aexpect.ShellProcessTerminatedError):
        session.cmd("sleep 1000", timeout=LONG)
    vm.process.wait(BUSY)
    with pytest.raises(virt_vm.VMDeadError) as info:
        vm.verify_alive()
    assert info.value.reason == "QEMU was killed by signal 9"
    session.close()
