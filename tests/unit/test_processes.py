"""Processes that end, on kernels that tell of it and on those that do not."""

import gc
import os
import signal
import socket
import subprocess
import warnings

import pytest

from support.waiting import until
from virtvm import threads
from virtvm.companions import utils
from virtvm.host import processes
from virtvm.hypervisors import qemu
from virtvm.hypervisors._process import Process


@pytest.fixture(params=["event", "no pidfd_open", "not allowed"])
def kernel(request, monkeypatch):
    """With pidfd_open(), and with none: before Linux 5.3, or under a seccomp filter."""
    if request.param == "no pidfd_open":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif request.param == "not allowed":
        def refuse(pid):
            raise PermissionError(1, "Operation not permitted")
        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)


def test_machine_s_process_is_watched(kernel):
    process = Process(["/bin/sh", "-c", "read x"])
    assert process.is_alive() and not process.wait(0.05)
    process.close()
    assert not process.is_alive() and process.wait(0)


def test_end_of_a_process_is_waited_for(kernel):
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    try:
        assert not processes.wait_end(child.pid, 0)
        assert processes.end_process(child.pid, signal.SIGKILL, 50)
    finally:
        child.stdin.close()
        child.wait()
    assert processes.wait_end(child.pid, 0)


def test_values_forge_no_keyvals(tmp_path):
    utils.write_keyval(str(tmp_path / "keyval"), {"a": "1\nb=2\r\nc=3", "d": 4})
    assert (tmp_path / "keyval").read_text() == "a=1\\nb=2\\r\\nc=3\nd=4\n"


def test_keyvals_are_written_all_or_none(tmp_path):
    from virtvm.autotest.tests.test_object import Test
    test = Test("x", str(tmp_path), str(tmp_path / "out"), None)
    try:
        with pytest.raises(ValueError, match="Invalid key: b c"):
            test.write_test_keyval({"a": 1, "b c": 2})
        path = os.path.join(test.outputdir, "keyval")
        assert not os.path.exists(path) or os.path.getsize(path) == 0
        test.write_perf_keyval({"speed": "1\nforged=1"})
        with open(os.path.join(test.resultsdir, "keyval")) as f:
            assert f.read() == "speed{perf}=1\\nforged=1\n\n"
    finally:
        test.close()


def test_what_proc_tells(tmp_path):
    """Of a program with a name that looks like the kernel's own fields, and of the one that it waits for."""
    name = "a) Z (b"
    (tmp_path / name).symlink_to("/bin/bash")
    with subprocess.Popen([str(tmp_path / name), "-c", "sleep 1000; :"]) as top:
        try:
            inner = until(lambda: next(iter(processes.children_of([top.pid])), None))
            assert processes.stat(top.pid)[0] == name == utils.get_process_name(top.pid)
            assert processes.innermost(top.pid) == inner == processes.innermost(inner)
            until(lambda: processes.command(inner) == ("sleep", ["sleep", "1000", ""]))
            tree = processes.process_tree(top.pid)
            assert tree == [(pid, processes.start_time(pid)) for pid in (top.pid, inner)]
            assert processes.state(top.pid) == "S" and utils.pid_is_alive(top.pid)
            assert processes.shared_memory(top.pid) > 0 and {top.pid, inner} < set(processes.all_pids())
        finally:
            processes.safe_kill(inner, signal.SIGKILL)
            os.waitid(os.P_PID, top.pid, os.WEXITED | os.WNOWAIT)
        assert processes.state(top.pid) == "Z" and not utils.pid_is_alive(top.pid)
    assert processes.state(top.pid) is processes.start_time(top.pid) is None
    assert processes.process_tree(top.pid) == [] and not utils.pid_is_alive(top.pid)
    for look in (processes.stat, processes.command, processes.innermost, processes.shared_memory):
        with pytest.raises(OSError):
            look(top.pid)


def test_no_socket_is_left_that_nobody_listens_at(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(ConnectionRefusedError):
            qemu._connect(path)
        gc.collect()
    assert not said


def test_no_descriptor_is_left_if_there_is_no_thread_either(monkeypatch):
    """Nothing to wait by: the pipe goes with the error."""
    def refuse(*args):
        raise RuntimeError("can't start new thread")
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.setattr(threads, "start", refuse)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(RuntimeError, match="new thread"):
            utils.run("true")
    assert os.listdir("/proc/self/fd") == before
