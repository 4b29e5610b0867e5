"""Who is inside a session: callers, their handlers and callbacks, the drainer, a fork's child."""

import contextlib
import errno
import multiprocessing
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from support.scripted import Scripted
from support.waiting import LONG, until
from virtvm import _session
from virtvm.companions import aexpect, virt_utils

PROMPT = r"[\#\$]\s*$"
BASH = "exec bash --norc --noprofile"
ENV = [b"PATH=/usr/bin:/bin", b"TERM=dumb"]
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def log_in(sshd, **keywords):
    return virt_utils.remote_login("ssh", sshd.host, sshd.port, sshd.user, sshd.password or "", PROMPT,
                                   ssh_identity_file=sshd.key, timeout=20, **keywords)


@pytest.fixture(params=["ssh", "local"])
def shell(request):
    session = log_in(request.getfixturevalue("sshd")) if request.param == "ssh" else aexpect.ShellSession(BASH)
    yield session
    session.close()


@pytest.fixture
def on_user_signal():
    """Sets a handler for SIGUSR1, for the length of a test."""
    old = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, lambda *unused: handler())
    signal.signal(signal.SIGUSR1, old)


def signal_in(seconds):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    return timer


# The thread that is inside

def test_a_signal_handler_closes_the_session_that_it_interrupts(shell, on_user_signal):
    shell.cmd("true")
    on_user_signal(shell.close)
    signal_in(0.3)
    with pytest.raises(aexpect.ShellProcessTerminatedError):
        shell.cmd("sleep 100", timeout=200)         # fails by pytest's limit, if it does not end
    assert shell.closed and not shell.is_alive()


def test_print_func_closes_the_session(shell):
    def panic(line):
        if "PANIC" in line:
            shell.close()

    with pytest.raises(aexpect.ShellProcessTerminatedError):
        shell.cmd("echo PANIC; sleep 100", timeout=200, print_func=panic)
    assert shell.closed


@pytest.mark.parametrize("method", ["cmd", "run", "sendline", "read", "status"])
def test_a_nested_call_fails_at_once_in_words(shell, on_user_signal, method, caplog):
    calls = {
        "cmd": lambda: shell.cmd("true", timeout=100), "run": lambda: shell.run("true", timeout=100),
        "sendline": lambda: shell.sendline("true"), "status": shell.get_status,
        "read": lambda: shell.read_up_to_prompt(timeout=100)}
    said = []

    def nested():
        try:
            calls[method]()
        except Exception as e:
            said.append(str(e))

    shell.cmd("true")
    on_user_signal(nested)
    timer = signal_in(0.2)
    assert shell.cmd("sleep 0.6; echo whole", timeout=60) == "whole\n"
    timer.join()
    assert "a call of this thread is under way" in "".join(said) + caplog.text


def test_what_only_looks_may_be_nested(shell, on_user_signal):
    seen = []
    shell.cmd("echo before")
    on_user_signal(lambda: seen.append((shell.is_alive(), "before" in shell.get_output())))
    timer = signal_in(0.2)
    shell.cmd("sleep 0.6", timeout=60)
    timer.join()
    assert seen == [(True, True)]


def test_what_print_func_raises_ends_the_command(shell):
    def fail(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        # One process: the shell itself loses a Ctrl-C that comes between two commands.
        shell.cmd("sh -c 'echo a; exec sleep 100'", timeout=200, print_func=fail)
    shell.sendcontrol("c")
    assert shell.cmd("echo fine") == "fine\n"


def test_another_thread_closes_while_the_owner_is_in_python(shell):
    """The owner sits in a print_func: the close does not wait deaf to signals, nor is it lost."""
    inside, leave = threading.Event(), threading.Event()

    def stay(line):
        inside.set()
        leave.wait(30)

    failed = []

    def command():
        try:
            shell._engine.set_news(stay_once)
            shell._engine.command(b"echo x; sleep 100", lambda line: b"$" in line, timeout=200)
        except _session.EngineError as e:
            failed.append(e.code)

    def stay_once():
        stay(None)

    shell.cmd("true")
    thread = threading.Thread(target=command)
    thread.start()
    assert inside.wait(30)
    closer = threading.Thread(target=shell._engine.close)
    closer.start()
    until(lambda: shell._engine.closed)
    leave.set()
    thread.join(30)
    closer.join(30)
    assert failed in (["closed"], ["eof"]) and not closer.is_alive()


# The drainer gives way

def test_a_flood_into_a_log_lets_others_in(sshd, tmp_path):
    log = str(tmp_path / "log")
    with log_in(sshd, log_filename=log) as session:
        session.sendline("yes")
        until(lambda: session._engine.total > 1 << 20, 30)
        for _ in range(10):
            session._engine.read(-1.0, 20.0, 1 << 20)
        session.sendcontrol("c")
        session.read_up_to_prompt(timeout=30)
        assert session.cmd("echo works", timeout=30) == "works\n"


def test_the_log_holds_what_the_store_holds(tmp_path):
    log = str(tmp_path / "log")
    engine = _session.open_pty([b"/bin/sh", b"-c", b"seq 200000"], ENV, log=log)
    assert engine.wait(60)
    output = engine.output()
    engine.close()
    with open(log, "rb") as f:
        assert b"".join(line.split(b": ", 1)[1] for line in f) == output
    assert output.count(b"\n") == 200000


def test_a_log_that_is_a_fifo_disturbs_nobody(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent("""
        import sys
        from virtvm import _session
        argv = [b"/bin/sh", b"-c", b"while :; do echo line; sleep 0.01; done"]
        one = _session.open_pty(argv, [b"PATH=/bin"], log=sys.argv[1])
        two = _session.open_pty(argv, [b"PATH=/bin"])
        for s in (one, two):
            at = s.total
            while s.total < at + 100:
                s.wait(0.05)
        print("went on")
        """), str(tmp_path / "fifo")], stdout=subprocess.PIPE, timeout=60)
    assert done.stdout == b"went on\n" and done.returncode == 0


# Forks

def test_a_forks_child_reads_while_the_parent_is_flooded():
    engine = _session.open_pty([b"/bin/sh", b"-c", b"yes 'a line that is not so short'"], ENV)
    try:
        until(lambda: engine.total > 3 << 20, 30)
        for _ in range(40):
            pid = os.fork()
            if pid == 0:
                engine.peek(0, 1 << 20)
                engine.output(engine.total - 100)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0       # hangs, if it fails: pytest's limit ends it
    finally:
        engine.close()


def test_a_forks_child_is_told_of_its_own_session_after_the_parents_is_dropped():
    """Each process counts its sessions anew: that the parent's goes says nothing of the child's."""
    parents = _session.open_pty([b"/bin/cat"], ENV)
    parents.set_news(lambda: None)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            told = threading.Event()
            childs = _session.open_pty([b"/bin/cat"], ENV)
            childs.set_news(told.set)
            del parents
            childs.write(b"hello\n")
            code = 0 if told.wait(30) else 2        # nobody waits in it: the notifier tells
            childs.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    parents.close()


def test_a_pty_opens_while_another_thread_forks():
    """A child of another thread's fork holds our pipes' ends: nobody waits for its end."""
    children, stop = [], threading.Event()

    def fork():
        while not stop.is_set():
            pid = os.fork()
            if pid == 0:
                time.sleep(300)
                os._exit(0)
            children.append(pid)

    forker = threading.Thread(target=fork)
    forker.start()
    try:
        for _ in range(40):
            _session.open_pty([b"/bin/true"], ENV).close()
    finally:
        stop.set()
        forker.join()
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sub-interpreters with a GIL of their own")
def test_sessions_in_an_isolated_sub_interpreter():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent("""
        import sys
        program = '''
        from virtvm import _session
        told = []
        s = _session.open_pty([b"/bin/sh", b"-c", b"sleep 0.2; echo from inside; sleep 60"], [b"PATH=/bin"])
        s.set_news(lambda: told.append(s.total))
        import time
        end = time.monotonic() + 60
        while not told and time.monotonic() < end:
            time.sleep(0.01)
        print(s.read(-1.0, 60.0), bool(told), flush=True)
        s.close()
        '''.replace("\\n        ", "\\n")
        try:
            import _interpreters as interpreters
            one = interpreters.create("isolated")
            failed = interpreters.exec(one, program)
        except ImportError:
            import _xxsubinterpreters as interpreters
            one = interpreters.create(isolated=True)
            failed = interpreters.run_string(one, program)
        interpreters.destroy(one)
        print(failed)
        """)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.stdout == b"(b'from inside\\r\\n', 'quiet') True\nNone\n" or \
        done.stdout == b"(b'from inside\\n', 'quiet') True\nNone\n", done.stdout


def test_forked_workers_open_sessions_of_their_own():
    with aexpect.ShellSession(BASH) as ours, multiprocessing.get_context("fork").Pool(2) as pool:
        assert ours.cmd("echo ours") == "ours\n"
        assert pool.map(_echo, "abcd") == ["a\n", "b\n", "c\n", "d\n"]
        assert ours.cmd("echo still") == "still\n"


def _echo(word):
    with aexpect.ShellSession(BASH) as session:
        return session.cmd("echo " + word)


# Who waits for what

def test_a_shell_that_lets_go_of_its_terminal_ends_the_session(sshd):
    """The server tells of the output's end, and closes nothing: as long as the process lives."""
    with log_in(sshd) as session:
        session._engine.write(b"exec sleep 1000 >/dev/null 2>&1 </dev/null\n")
        assert session._engine.wait(LONG)
    with log_in(sshd) as session:                   # the same while nobody waits
        session._engine.write(b"exec sleep 1000 >/dev/null 2>&1 </dev/null\n")
        end = time.monotonic() + LONG
        while not session._engine.ended and time.monotonic() < end:
            time.sleep(0.05)
        assert session._engine.ended


def test_looking_for_a_crash_waits_for_no_command(tmp_path):
    """A watcher looks while another thread is at work on the console."""
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        engine = _session.open_unix(path)
        peer = listener.accept()[0]
    asking = threading.Thread(target=lambda: engine.read(1e9, LONG))
    asking.start()
    try:
        for _ in range(20):
            engine.find_crash()
        peer.sendall(b"BUG: unable to handle page fault\r\n---[ end trace 0123456789abcdef ]---\r\n")
        end = time.monotonic() + LONG
        while engine.find_crash() is None and time.monotonic() < end:
            time.sleep(0.01)
        assert b"page fault" in engine.find_crash() and asking.is_alive()
    finally:
        peer.close()
        asking.join()
        engine.close()


def test_a_reply_is_found_however_much_comes_behind_it():
    """As when a command leaves something behind that prints, in one piece with the status."""
    def shell_of_a_guest(peer, number):
        peer.sendall(b"$ ")
        with peer.makefile("rb") as lines:
            for line in lines:
                asked = re.search(rb"echo (vt\d+:)?\$\?", line)
                reply = (asked.group(1) or b"") + b"7\r\n" if asked else b"out\r\n"
                noise = b"kernel: noise\r\n" * 60000 if asked and b"vt" in line else b""
                peer.sendall(line.rstrip(b"\n") + b"\r\n" + reply + noise + b"$ ")

    with Scripted(shell_of_a_guest) as server:
        engine = _session.open_tcp("127.0.0.1", server.port)
        with aexpect.ShellSession(engine=engine, prompt=r"\$ $") as session:
            assert session.cmd_status("run", timeout=LONG) == 7


def test_a_keepalive_beyond_what_the_kernel_takes(sshd):
    with log_in(sshd, ssh_keepalive=10 ** 6):
        found = []
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.fstat(int(number)).st_mode):
                    with socket.socket(fileno=os.dup(int(number))) as one:
                        if one.family != socket.AF_UNIX and one.getpeername()[1] == sshd.port:
                            found.append(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))
    assert found == [32767]


def test_killing_leaves_python_to_others():
    """It walks through all processes of the machine."""
    engine = _session.open_pty([b"/bin/sleep", b"1000"], [])
    lock, ran = threading.Lock(), threading.Event()
    lock.acquire()
    other = threading.Thread(target=lambda: (lock.acquire(), ran.set()))
    other.start()
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1000)             # nobody gets it but from who gives it away
        lock.release()
        for _ in range(3000):
            if ran.is_set():
                break
            engine.kill(0)
        assert ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        other.join()
        engine.close()


def test_too_many_descriptors_is_told_as_such():
    _session.open_pty([b"/bin/true"], []).close()       # the module's own are there
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = set()
    try:
        for limit in range(3, 40):
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                _session.open_pty([b"/bin/true"], []).close()
            except (OSError, _session.EngineError) as e:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                seen.add(e.errno)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seen == {errno.EMFILE}


def test_a_first_session_without_descriptors_says_so():
    """Wherever they run out on the way to it, the drainer's own among them."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent("""
        import errno, os, resource
        from virtvm import _session
        free = os.dup(0)
        os.close(free)
        for limit in range(free, free + 40):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 4096))
            try:
                _session.open_pty([b"/bin/true"], [b"PATH=/bin"]).close()
                break
            except (OSError, _session.EngineError) as e:
                assert e.errno == errno.EMFILE, (limit, repr(e))
        print(limit - free)
        """)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == 0 and int(done.stdout) > 3, done.stdout
