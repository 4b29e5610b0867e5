"""What a signal handler raises comes out of a monitor's calls, at whichever of their lines; nothing hangs then."""

import contextlib
import gc
import socket
import threading

import pytest
from support.fake_qmp import FakeQMP
from support.moments import lost
from support.waiting import LONG, until

from virtvm import threads
from virtvm.hypervisors import monitor

pytestmark = pytest.mark.timeout(60, method="thread")


@pytest.fixture
def qmp():
    with FakeQMP() as server:
        mon = monitor.QMPMonitor("qmp", "/socketpair", sock=server.socket)
        yield server, mon
        mon.close()


@pytest.mark.parametrize("kind", [TimeoutError, OSError, BlockingIOError, ValueError])
def test_at_each_line_of_a_monitors_commands(qmp, kind):
    mon = qmp[1]

    def call():
        assert mon.cmd("query-status", debug=False) == {}

    call()
    assert lost(call, kind) == []
    call()                              # it is as before


@pytest.mark.parametrize("kind", [TimeoutError, OSError])
def test_at_each_line_of_a_wait_for_an_event(qmp, kind):
    server, mon = qmp
    server.tell("RESET")
    assert mon.wait_event("RESET", 20)["event"] == "RESET"
    assert lost(lambda: mon.wait_event("RESET", 20), kind) == []
    assert lost(lambda: mon.wait_event("STOP", 0.001), kind) == []
    server.tell("STOP")
    assert mon.wait_event("STOP", 20)
    gc.collect()                        # what was raised holds frames
    assert len(list(mon._waiting)) < 3  # CPython holds the frame that was traced last


def test_a_monitor_that_does_not_answer(qmp):
    server, mon = qmp
    with server._lock:
        with pytest.raises(monitor.MonitorProtocolError, match="no response"):
            mon.cmd("query-status", timeout=0.05)
    assert mon.cmd("query-status") == {}


def test_a_wait_for_the_threads_end_that_is_cut_short_harms_no_other_monitor(monkeypatch):
    def cut_short():
        raise TimeoutError("of a handler's")

    with FakeQMP() as server:
        mon = monitor.QMPMonitor("qmp", "/socketpair", sock=server.socket)
        thread = mon._loop._thread
        join = thread.join
        monkeypatch.setattr(thread, "join", cut_short)
        with pytest.raises(TimeoutError):
            mon.close()
        join(LONG)
        assert not thread.is_alive()
    with FakeQMP() as server:
        mon = monitor.QMPMonitor("qmp", "/socketpair", sock=server.socket)
        assert mon.cmd("query-status") == {}
        mon.close()


def test_at_each_line_of_a_monitors_life():
    made = []

    def call():
        with FakeQMP() as server:
            made.append(monitor.QMPMonitor("qmp", "/socketpair", sock=server.socket))
            made[-1].close()

    def left():
        while made:                     # its maker has it
            made.pop().close()
        for thread in threading.enumerate():
            if thread.name == "virtvm-monitor":
                thread.join(LONG)       # it ends by itself
                if thread.is_alive():
                    return thread
        return monitor._loop

    call()
    made.clear()
    assert lost(call, lambda: TimeoutError("time is over"), left) == []
    gc.collect()                        # what was raised holds frames, and with them sockets


class Listener:
    """A QMP server for one client after the other."""

    def __init__(self, path):
        self.is_serving, self._listener = False, socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(100)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.is_serving = True
                FakeQMP(peer)._serve()
                peer.close()
                self.is_serving = False

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


def test_no_connection_is_left_that_its_maker_does_not_have(tmp_path):
    """QEMU serves one client a socket.  Another monitor has the loop go on."""
    made, path = [], str(tmp_path / "monitor")

    def call():
        made.append(monitor.QMPMonitor("qmp", path, timeout=LONG))
        made[-1].close()

    def left():
        while made:
            made.pop().close()
        until(lambda: not server.is_serving)

    with FakeQMP() as other:
        mon = monitor.QMPMonitor("other", "/socketpair", sock=other.socket)
        server = Listener(path)
        try:
            call()
            assert lost(call, lambda: TimeoutError("time is over"), left) == []
        finally:
            mon.close()
            server.close()
    gc.collect()


def test_threads_that_are_started():
    done = threads.Wake()
    threads.start(threading.Thread(target=done.set))
    assert done.wait(20)

    thread = threading.Thread(target=done.set)
    threads.start(thread)
    thread.join()
    with pytest.raises(RuntimeError, match="once"):
        threads.start(thread)
