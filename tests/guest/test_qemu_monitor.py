"""The monitor's connection: what it hears, in which order, and when it ends."""

import os
import pickle
import signal
import sys
import threading
import warnings

import pytest
from support.waiting import LONG
from virtvm import virt_vm
from virtvm.hypervisors import monitor as monitors


def kill_soon(vm):
    """What ends QEMU a moment later."""
    timer = threading.Timer(0.3, os.kill, (vm.get_pid(), signal.SIGKILL))
    timer.start()
    return timer


def test_event_is_there_when_the_command_that_caused_it_returns(machine):
    for _ in range(50):
        machine.monitor.clear_events()
        machine.pause()
        assert machine.monitor.get_event("STOP")
        machine.resume()
        assert [event["event"] for event in machine.monitor.get_events()] == ["STOP", "RESUME"]


def test_only_so_many_events_are_kept(machine, monkeypatch):
    monkeypatch.setattr(monitors, "_MOST_EVENTS", 3)
    other = machine.clone()
    other.create()
    try:
        for _ in range(3):
            other.pause()
            other.resume()
        assert [event["event"] for event in other.monitor.get_events()] == ["RESUME", "STOP", "RESUME"]
    finally:
        other.destroy(gracefully=False)


def test_names_of_files_where_the_locale_has_another_encoding(machine, tmp_path, monkeypatch):
    """What Python reads of a name there, QEMU and the kernel get as the bytes that it was."""
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-9")
    read = "çöü.png".encode().decode("iso8859-9")
    machine.monitor.screendump("%s/%s" % (tmp_path, read))
    assert os.listdir(tmp_path) == ["çöü.png"]
    with pytest.raises(monitors.QMPCmdError, match="/nonexistent/" + read):
        machine.monitor.screendump("/nonexistent/" + read)


def test_wait_for_an_event_ends_with_qemu(machine):
    timer = kill_soon(machine)
    assert machine.monitor.wait_event("RESET", LONG) is None
    timer.join()
    assert not machine.monitor.is_connected()
    with pytest.raises(monitors.MonitorSocketError, match="the connection has ended"):
        machine.monitor.info("status")


def test_command_that_is_under_way_ends_with_qemu(machine):
    os.kill(machine.get_pid(), signal.SIGSTOP)
    timer = kill_soon(machine)
    with pytest.raises(monitors.MonitorSocketError, match="Could not receive data from monitor"):
        machine.monitor.cmd("query-status", timeout=60)
    timer.join()


def test_command_that_gets_no_answer(machine):
    os.kill(machine.get_pid(), signal.SIGSTOP)
    with pytest.raises(monitors.MonitorProtocolError, match="no response to QMP command 'query-status'"):
        machine.monitor.cmd("query-status", timeout=0.2)
    os.kill(machine.get_pid(), signal.SIGCONT)
    assert machine.monitor.is_responsive()


def test_reboot_of_a_machine_that_dies_says_so(machine):
    timer = kill_soon(machine)
    machine.pause()
    machine.monitor.cmd = lambda *args, **kwargs: {}     # this reset never comes
    with pytest.raises(virt_vm.VMDeadError, match="killed by signal 9"):
        machine.reboot(method="system_reset")
    timer.join()


def test_machine_made_by_a_thread_outlives_the_thread(new_vm):
    vm = new_vm(kernel="", initrd="", kernel_params="", images="")
    thread = threading.Thread(target=vm.create)
    thread.start()
    thread.join()
    assert vm.is_alive()
    vm.verify_alive()


def test_several_monitors_are_independent(new_vm):
    vm = new_vm(kernel="", initrd="", kernel_params="", images="", monitors="first second",
                main_monitor="second")
    vm.create()
    assert [m.name for m in vm.monitors] == ["first", "second"] and vm.monitor is vm.monitors[1]
    vm.monitors[0].close()
    assert not vm.monitors[0].is_responsive() and vm.is_alive()


def test_human_monitor(new_vm):
    vm = new_vm(kernel="", initrd="", kernel_params="", images="", monitor_type="human")
    vm.create()
    human = vm.monitor
    assert human.protocol == "human" and isinstance(human, monitors.HumanMonitor)
    assert human.verify_status("running") and human.is_responsive()
    assert "running" in human.info("status") and human.cmd("stop") == ""
    assert human.verify_status("paused") and not human.verify_status("running")
    assert "unknown command" in human.cmd("no-such-command")
    for words in ("set_link net0 down", "set_link nic0 off", " set_link nic0  up", "set_link net0 on"):
        assert human.cmd(words) == ""
    assert "not found" in human.cmd("set_link up down")
    # The same connection: QEMU would serve no other one on that socket.
    again = pickle.loads(pickle.dumps(human))
    assert again is not human and again.qmp is human.qmp and again.name == human.name
    again.cmd("cont")
    assert human.verify_status("running")
    human.close()
    with pytest.raises(monitors.MonitorError):
        again.info("status")
    # Nobody's connection now: a new one.
    anew = pickle.loads(pickle.dumps(human))
    assert anew.is_responsive()
    anew.close()


def in_a_fork(function):
    """What function() returns in a forked child (str), and that the child ends at once."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)     # of fork() with threads: that is what is tested
        pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, repr(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as f:
        said = f.read()
    os.waitpid(pid, 0)
    return said


def test_fork_knows_that_the_machine_lives_and_asks_nothing(machine):
    assert in_a_fork(machine.is_alive) == "True"

    def ask():
        try:
            return machine.monitor.cmd("query-status", timeout=LONG)
        except monitors.MonitorSocketError as e:
            machine.monitor.close()
            return str(e)
    assert "parent process" in in_a_fork(ask)
    assert machine.monitor.cmd("query-status")["status"] and machine.is_alive()


@pytest.mark.parametrize("odd", [{"shell_port": None}, {"shell_port": "ssh"}, {"shutdown_timeout": "soon"}])
def test_machine_is_ended_whatever_its_params_say(machine, odd):
    other = machine.clone()
    other.create()
    other.params = other.params.copy()
    other.params.update(shell_client="ssh", shutdown_command="poweroff", **odd)
    other.destroy()
    assert other.is_dead()
