"""Waiting for guests under attack: crowds, few descriptors, threads that pull the rug, hundreds of tries."""

import os
import resource
import socket
import subprocess
import sys
import threading

import pytest
from support.scripted import Scripted
from virtvm import _session
from virtvm.companions import login
from virtvm.companions.exceptions import LoginError

CROWD = """
import os, resource, sys, threading
from virtvm import _session
port, count, limit = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
codes, threading_lock = {}, threading.Lock()
def wait(n):
    try:
        _session.open_ssh("127.1.%d.%d" % divmod(n, 250), port, "root", "x", timeout=3)
        code = "in"
    except _session.EngineError as e:
        code = e.code
    except OSError as e:
        code = "oserror"
    with threading_lock:
        codes[code] = codes.get(code, 0) + 1
threading.stack_size(256 * 1024)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
threads = [threading.Thread(target=wait, args=(n,)) for n in range(count)]
for t in threads: t.start()
for t in threads: t.join()
_session._drop_places()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(codes.values()), codes.get("timeout", 0), codes.get("in", 0), peak - before, len(os.listdir("/proc/self/fd")))
"""


@pytest.fixture
def silent():
    """Number of a port that accepts on all of loopback and says nothing."""
    with socket.create_server(("", 0), backlog=4096) as listener:
        yield listener.getsockname()[1]
    _session._drop_places()


def crowd(port, count, limit):
    done = subprocess.run([sys.executable, "-c", CROWD, str(port), str(count), str(limit)], stdout=subprocess.PIPE,
                          text=True, timeout=200)
    assert done.returncode == 0
    return map(int, done.stdout.split())


def test_a_thousand_hosts_at_once(silent):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 8192:
        pytest.skip("so many descriptors are not allowed here")
    ended, timeouts, let_in, kib, left = crowd(silent, 1000, 8192)
    assert (ended, timeouts, let_in) == (1000, 1000, 0)
    assert kib < 200 * 1024 and left < 20


def test_too_few_descriptors_for_a_crowd(silent):
    ended, _, let_in, _, left = crowd(silent, 200, 64)
    assert (ended, let_in) == (200, 0) and left < 20


def test_five_hundred_tries_leave_no_descriptor(silent):
    def count():
        return len(os.listdir("/proc/self/fd"))

    with pytest.raises(_session.EngineError):
        _session.open_ssh("127.0.0.1", silent, "root", "x", timeout=0.01)
    _session._drop_places()
    before, most = count(), 0
    for _ in range(500):
        with pytest.raises(_session.EngineError):
            _session.open_ssh("127.0.0.1", silent, "root", "x", timeout=0.002)
        most = max(most, count())
    _session._drop_places()
    assert most - before <= 12 and count() == before


def test_machine_is_told_of_and_forgotten_while_many_wait(silent):
    """As vm.destroy() and a reset do in other threads, amid wait_for_login()."""
    over, raised = threading.Event(), []

    def wait():
        try:
            login.wait_for_login("ssh", "127.0.0.1", silent, "root", "x", "#", timeout=3, internal_timeout=0.2)
        except LoginError as e:
            raised.append(e)

    def pull():
        while not over.is_set():
            place = _session.place("127.0.0.1", silent, forwarded=True, canary=("127.0.0.1", silent))
            place.alive()
            place.awaits()
            place.reset()
            place.reset(up=True)
            _session._drop_places()
            place.forget()

    waiters = [threading.Thread(target=wait) for _ in range(8)]
    puller = threading.Thread(target=pull)
    for thread in [*waiters, puller]:
        thread.start()
    for thread in waiters:
        thread.join()
    over.set()
    puller.join()
    assert len(raised) == 8 and all(e.tries >= 2 for e in raised)


def test_a_crowd_that_a_server_is_too_slow_for_gives_up_few():
    """Logins that are not kept count: the crowd does not come back on new connections."""
    def script(peer, number):
        peer.sendall(b"SSH-2.0-slow\r\n")
        port.stay()

    def wait():
        with pytest.raises(LoginError):
            login.wait_for_login("ssh", "127.0.0.1", port.port, "user", "password", r"\$ ", timeout=6,
                                 internal_timeout=1)

    with Scripted(script, backlog=500) as port:
        threads = [threading.Thread(target=wait) for _ in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert port.count <= 60 + 8
        _session._drop_places()
