"""Processes that end, on kernels that tell of it and on those that do not."""

import os
import signal
import subprocess

import pytest

from virtvm.companions import _process, utils
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
        assert not _process.wait_end(child.pid, 0)
        assert _process.end_process(child.pid, signal.SIGKILL, 50)
    finally:
        child.stdin.close()
        child.wait()
    assert _process.wait_end(child.pid, 0)


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
