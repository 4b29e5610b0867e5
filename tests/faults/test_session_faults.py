"""What happens to sessions when the other side, the wire, or this process goes away."""

import contextlib
import os
import re
import signal
import subprocess
import sys

import pytest
from support.netns import Namespace
from support.scripted import Scripted
from support.sshd import Account, Sshd
from support.waiting import BUSY, LONG, due, interrupt, when_waiting
from virtvm.companions import aexpect, virt_utils
from virtvm.companions.exceptions import LoginTimeoutError

PROMPT = r"[\#\$]\s*$"

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root: accounts and namespaces")


def log_in(server, **keywords):
    keywords.setdefault("timeout", 20)
    return virt_utils.remote_login("ssh", server.host, server.port, server.user, server.password or "", PROMPT,
                                   ssh_identity_file=server.key, **keywords)


@pytest.fixture(scope="module")
def sshd():
    server = Sshd()
    yield server
    server.stop()


@pytest.fixture
def far_host():
    """(namespace, server in it): its wire can be cut."""
    namespace = account = server = None
    try:
        namespace = Namespace()
        account = Account()
        server = Sshd(account=account, namespace=namespace)
        yield namespace, server
    finally:
        if server is not None:
            server.stop()
        if account is not None:
            account.remove()
        if namespace is not None:
            namespace.close()


# A wire that is cut

@needs_root
def test_peer_that_is_gone_ends_at_the_deadline(far_host):
    namespace, server = far_host
    session = log_in(server)
    assert session.cmd("echo there") == "there\n"
    namespace.cut()
    with due(0.5), pytest.raises(aexpect.ShellTimeoutError):
        session.cmd("echo anybody", timeout=0.5)
    with due(0.5), pytest.raises(aexpect.ShellError):
        session.run("echo anybody", timeout=0.5)
    with due(0.5):
        assert not session.is_responsive(timeout=0.5)
    with due(0):
        session.close()                     # says goodbye, and waits for nobody


@needs_root
def test_login_to_a_host_that_is_gone_says_that_nobody_answers(far_host):
    namespace, server = far_host
    namespace.cut()
    with pytest.raises(LoginTimeoutError) as info:
        log_in(server, timeout=1)
    assert info.value.stage == "connect" and info.value.host == server.host


@needs_root
def test_keepalive_ends_the_session_of_a_peer_that_is_gone(far_host):
    namespace, server = far_host
    with log_in(server, ssh_keepalive=1) as session, log_in(server) as other:
        namespace.cut()
        with pytest.raises(aexpect.ShellProcessTerminatedError):
            session.cmd("sleep 1000", timeout=LONG)
        assert not session.is_alive()
        assert other.is_alive()             # nobody asked whether it is


# Ctrl-C

@pytest.mark.parametrize("call", [
    lambda s: s.cmd("echo", timeout=LONG), lambda s: s.cmd_output("echo", timeout=LONG),
    lambda s: s.run("sleep 60", timeout=LONG), lambda s: s.read_until_output_matches(["never"], timeout=LONG),
    lambda s: s.read_nonblocking(LONG, LONG), lambda s: s.is_responsive(LONG)],
    ids=["cmd", "cmd_output", "run", "read_until", "read_nonblocking", "is_responsive"])
def test_ctrl_c_ends_each_wait_at_once(sshd, call):
    with log_in(sshd) as session:
        session.sendline("sleep 1000")
        with pytest.raises(KeyboardInterrupt), when_waiting(interrupt):
            call(session)


def test_ctrl_c_leaves_a_session_that_goes_on(sshd):
    with log_in(sshd) as session:
        with pytest.raises(KeyboardInterrupt), when_waiting(interrupt):
            session.cmd("read line; echo $line")
        session.sendline("late")
        assert "late\n" in session.read_up_to_prompt(timeout=BUSY)
        assert session.cmd("echo on") == "on\n"


# Threads

@pytest.mark.parametrize("call", [
    lambda s: s.cmd("sleep 1000", timeout=LONG), lambda s: s.run("sleep 60", timeout=LONG),
    lambda s: s.read_until_output_matches(["never"], timeout=LONG)],
    ids=["cmd", "run", "read_until"])
def test_close_by_another_thread_wakes_who_waits(sshd, call):
    session = log_in(sshd)
    with pytest.raises((aexpect.ShellError, aexpect.ExpectError)), when_waiting(session.close):
        call(session)
    assert session.closed and not session.is_alive()


# This process ends

LEAVES = r"""
import os, sys, threading
from virtvm.companions import aexpect, virt_utils
host, port, user, key, how = sys.argv[1:]
def wait(session):
    try:
        session.cmd("echo waits; sleep 1000", timeout=1000)
    except aexpect.ShellProcessTerminatedError:
        pass                                        # it was closed, at exit
sessions = [virt_utils.remote_login("ssh", host, int(port), user, "", r"[\#\$]\s*$", ssh_identity_file=key)
            for _ in range(3)]
sessions[0].set_output_func(lambda line: None)
if how == "waiting":
    waits = threading.Event()
    sessions[1].set_output_func(lambda line: line.endswith("waits") and waits.set())
    threading.Thread(target=wait, args=(sessions[1],), daemon=True).start()
    waits.wait()
print(os.getpid(), flush=True)
if how == "kill":
    os.kill(os.getpid(), 9)
elif how == "error":
    raise SystemExit(3)
"""


@pytest.mark.parametrize("how, status", [("end", 0), ("waiting", 0), ("error", 3), ("kill", -9)])
def test_interpreter_ends_with_open_sessions(sshd, how, status):
    done = subprocess.run([sys.executable, "-c", LEAVES, sshd.host, str(sshd.port), sshd.user, sshd.key, how],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


FORKS = r"""
import os, sys
from virtvm.companions import virt_utils
host, port, user, key = sys.argv[1:]
log_in = lambda: virt_utils.remote_login("ssh", host, int(port), user, "", r"[\#\$]\s*$", ssh_identity_file=key)
session = log_in()
child = os.fork()
if child == 0:
    try:
        assert not session.is_alive()               # it is the parent's
        session.close()
        with log_in() as own:
            assert own.cmd("echo child") == "child\n"
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert session.cmd("echo parent") == "parent\n"     # not a byte of the child's was on its wire
session.close()
"""


def test_forked_child_has_sessions_of_its_own(sshd):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS, sshd.host, str(sshd.port), sshd.user, sshd.key],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


# The server ends

@pytest.mark.parametrize("call, error", [
    (lambda s: s.cmd("sleep 1000", timeout=LONG), aexpect.ShellProcessTerminatedError),
    (lambda s: s.run("sleep 60", timeout=LONG), aexpect.ShellProcessTerminatedError),
    (lambda s: s.read_until_output_matches(["never"], timeout=LONG), aexpect.ExpectProcessTerminatedError)],
    ids=["cmd", "run", "read_until"])
def test_killed_server_ends_each_wait(call, error):
    server = Sshd()
    try:
        session = log_in(server)
        with pytest.raises(error), when_waiting(server.kill_sessions):
            call(session)
        assert not session.is_alive()
        session.close()
    finally:
        server.stop()


# A client that has other things to do

LATE = """
import sys
from virtvm.companions import login
session = login.remote_login("nc", "127.0.0.1", int(sys.argv[1]), "", "", r"[$#] $", "\\n", timeout=1000)
print(len(session.cmd_output("cat large", timeout=1000)), session.cmd_status("cat large", timeout=1000))
"""


def fill(peer, data):
    """Sends what a connection takes that nobody reads; returns how much that is."""
    sent = 0
    peer.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while sent < len(data):
            sent += peer.send(data[sent:])
    peer.setblocking(True)
    return sent


def test_client_that_comes_late_still_tells_the_echo_from_the_output():
    """It sleeps while its command is answered: the echo has long left the window that it looks at."""
    large = b"0123456789abcde\r\n" * 200000
    clients = []

    def script(peer, number):
        peer.sendall(b"$ ")
        with peer.makefile("rb") as lines:
            for line in lines:
                line = line.strip()
                peer.sendall(line + b"\r\n")
                asked = re.search(rb"echo (vt\d+:)?\$[?s]", line)
                if asked:
                    peer.sendall((asked.group(1) or b"") + b"0\r\n")
                elif line == b"cat large":
                    os.kill(clients[0].pid, signal.SIGSTOP)
                    sent = fill(peer, large)
                    os.kill(clients[0].pid, signal.SIGCONT)
                    peer.sendall(large[sent:])
                peer.sendall(b"$ ")

    with Scripted(script) as port:
        clients.append(subprocess.Popen([sys.executable, "-c", LATE, str(port.port)], stdout=subprocess.PIPE,
                                        text=True))
        assert clients[0].communicate()[0].split() == [str(16 * 200000), "0"]
