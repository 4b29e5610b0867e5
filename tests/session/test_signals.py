"""Signal handlers that raise: their exception comes out of every call, as itself, each time."""

import contextlib
import errno
import functools
import gc
import importlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest
from support.rss_server import RssServer
from support.scripted import Scripted
from virtvm import _session, weak
from virtvm.companions import aexpect, rss_client, transfer, virt_utils
from virtvm.companions.exceptions import LoginError

PROMPT = r"[\#\$]\s*$"
BASH = "exec bash --norc --noprofile"
ENV = [b"PATH=/usr/bin:/bin", b"TERM=dumb"]
pytestmark = pytest.mark.timeout(60, method="thread")        # its own signal is SIGALRM, too
ROUNDS = int(os.environ.get("VIRTVM_ALARMS", "60"))


class Alarm(Exception):
    pass


KINDS = [Alarm, TimeoutError, OSError, functools.partial(OSError, errno.EAGAIN)]    # BlockingIOError


class Alarms:
    """Counts how often the handler ran, and what its exceptions became."""

    def __init__(self, seed):
        self.random, self.raised, self.seen, self.other = random.Random(seed), 0, 0, []
        self.last = None

    def handler(self, signum, frame):
        self.raised += 1
        self.last = self.random.choice(KINDS)(self.raised)
        raise self.last

    def during(self, call, longest):
        """One alarm at a random instant within `longest` seconds, during calls without end."""
        try:
            self._loop(call, longest)
        except BaseException as e:
            if e is self.last:
                self.seen += 1
            else:
                self.other.append(repr(e))
        finally:
            self.last = None            # it holds frames, and what was in them

    def _loop(self, call, longest):
        # By itself: CPython 3.13 may find no handler for what is raised at a loop's end.
        before = self.raised
        signal.setitimer(signal.ITIMER_REAL, self.random.uniform(20e-6, longest))
        while self.raised == before:
            call()

    def check(self):
        assert self.other == []
        assert self.seen == self.raised > 0


@pytest.fixture
def alarms(request):
    counted = Alarms(request.node.name)
    # A collection runs code of others in which CPython loses an exception: __del__ of what earlier
    # tests left, and callbacks, hypothesis's for one.
    gc.collect()
    gc.disable()
    old = signal.signal(signal.SIGALRM, counted.handler)
    yield counted
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)
    gc.enable()


@pytest.fixture
def pty():
    session = _session.open_pty([b"/bin/bash", b"--norc", b"--noprofile"], ENV)
    yield session
    session.close()


@pytest.fixture
def chatty():
    """A session that always has something to say, and to whose news somebody listens."""
    session = _session.open_pty([b"/bin/sh", b"-c", b"while :; do echo line; sleep 0.001; done"], ENV)
    session.set_news(lambda: [None for _ in range(20)])
    yield session
    session.close()


def is_prompt(line):
    return any(mark in line for mark in (b"$ ", b"# "))


def tolerant(call, *errors):
    """call, less the failures that an interrupted call before it may have left behind."""
    def tried():
        with contextlib.suppress(*errors):
            call()
    return tried


ENGINE_CALLS = {
    "poll": lambda s: s.poll(),
    "output": lambda s: s.output(),
    "find_crash": lambda s: s.find_crash(),
    "read": lambda s: s.read(-1.0, 0.0),
    "read_waiting": lambda s: s.read(0.002, 0.01),
    "wait": lambda s: s.wait(0.001),
    "write": lambda s: s.write(b"x"),
    "resize": lambda s: s.resize(24, 80),
    "dismiss": lambda s: s.dismiss(),
    "kill": lambda s: s.kill(0),
    "peek": lambda s: s.peek(0, 1000),
    "attributes": lambda s: (s.prompts, s.status, s.total, s.ended, s.pid, s.info),
}


@pytest.mark.parametrize("name", ENGINE_CALLS)
@pytest.mark.parametrize("kind", ["pty", "chatty"])
def test_engine_calls(kind, name, alarms, request):
    session = request.getfixturevalue(kind)
    for _ in range(ROUNDS * 3):
        # A read without time fails while the drainer has the session.
        alarms.during(tolerant(lambda: ENGINE_CALLS[name](session), _session.EngineError),
                      0.02 if "wait" in name else 0.0005)
    alarms.check()


def test_commands(pty, alarms):
    pty.find_prompt(is_prompt, timeout=10)
    command = tolerant(lambda: pty.command(b"echo one; echo two", is_prompt, timeout=5), _session.EngineError)
    for _ in range(ROUNDS):
        alarms.during(command, 0.01)
    alarms.check()


def test_find_prompt(pty, alarms):
    for _ in range(ROUNDS):
        alarms.during(tolerant(lambda: pty.find_prompt(is_prompt, timeout=0.05), _session.EngineError), 0.05)
    alarms.check()


def test_the_alarm_in_a_match_function(pty, alarms):
    pty.find_prompt(is_prompt, timeout=10)

    def slow(line):
        return sum(range(3000)) > 0 and is_prompt(line)

    command = tolerant(lambda: pty.command(b"printf 'how much? $ '; sleep 0.01", slow, timeout=5),
                       _session.EngineError)
    for _ in range(ROUNDS):
        alarms.during(command, 0.02)
    alarms.check()


def test_opening_and_closing_a_pty(alarms):
    def open_and_close():
        _session.open_pty([b"/bin/true"], ENV).close()

    for _ in range(ROUNDS):
        alarms.during(open_and_close, 0.01)
    alarms.check()


@pytest.mark.parametrize("name", ["read_file", "scp_between_remotes"])
def test_copies_by_way_of_a_folder_leave_none(name, alarms, tmp_path, monkeypatch):
    def copy_from(*args, **keywords):
        target = args[6] if name == "read_file" else os.path.join(args[5], "etc")
        with open(target, "w") as f:
            f.write("content")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(transfer, "copy_files_from", copy_from)
    monkeypatch.setattr(transfer, "scp_from_remote", copy_from)
    monkeypatch.setattr(transfer._Transfer, "run", lambda *args: None)
    arguments = ("host", "scp", "root", "", 22, "/etc/fstab") if name == "read_file" else (
        "one", "other", 22, "", "", "root", "root", "/etc", "/tmp")
    for _ in range(ROUNDS * 3):
        alarms.during(lambda: getattr(transfer, name)(*arguments), 0.0005)
        assert os.listdir(tmp_path) == []
    alarms.check()


def spawn_calls(session):
    return {
        "is_alive": session.is_alive,
        "get_output": session.get_output,
        "get_stripped_output": session.get_stripped_output,
        "read_nonblocking": lambda: session.read_nonblocking(0.001, 0.01),
        "sendline": lambda: session.sendline("true"),
        "sendcontrol": lambda: session.sendcontrol("c"),
        "is_responsive": lambda: session.is_responsive(0.2),
        "is_defunct": session.is_defunct,
        "cmd": tolerant(lambda: session.cmd("echo x", timeout=5), aexpect.ShellError),
        "cmd_print_func": tolerant(lambda: session.cmd("echo x; echo y", timeout=5, print_func=len),
                                   aexpect.ShellError),
        "cmd_status_output": tolerant(lambda: session.cmd_status_output("true", timeout=5), aexpect.ShellError),
        "cmd_output_safe": tolerant(lambda: session.cmd_output_safe("true", timeout=5), aexpect.ShellError),
        "read_up_to_prompt": tolerant(lambda: session.read_up_to_prompt(0.05, 0.01), aexpect.ExpectError),
        "read_until_any_line_matches": tolerant(
            lambda: session.read_until_any_line_matches(["never"], 0.02, 0.01), aexpect.ExpectError),
    }


@pytest.mark.parametrize("name", sorted(spawn_calls(aexpect.Expect.__new__(aexpect.ShellSession))))
def test_session_methods(name, alarms):
    session = aexpect.ShellSession(BASH, prompt=PROMPT, output_func=len)
    try:
        session.cmd("true")
        call = spawn_calls(session)[name]
        for _ in range(ROUNDS):
            alarms.during(call, 0.01)
    finally:
        session.close()
    alarms.check()


def test_console_methods(tmp_path, alarms):
    path = str(tmp_path / "console")
    server = subprocess.Popen([sys.executable, "-c", textwrap.dedent("""
        import socket, sys, time
        s = socket.socket(socket.AF_UNIX)
        s.bind(sys.argv[1])
        s.listen()
        print("ready", flush=True)
        c = s.accept()[0]
        while True:
            c.sendall(b"a line of the kernel's\\r\\n")
            time.sleep(0.001)
        """), path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert server.stdout.readline() == b"ready\n"
        with aexpect.ConsoleSession(path) as console:
            for call in (console.is_alive, console.get_output, console.find_kernel_crash,
                         lambda: console.read_nonblocking(0.001, 0.005)):
                for _ in range(ROUNDS):
                    alarms.during(call, 0.002)
    finally:
        server.kill()
        server.communicate()
    alarms.check()


def test_kept_sessions(tmp_path, monkeypatch, alarms):
    monkeypatch.setenv("VIRTVM_STATE_DIR", str(tmp_path))
    holder = aexpect.Spawn("sleep 60", auto_close=False)    # keeps the keeper
    try:
        held = []       # CPython loses what is raised in an object's __del__: none goes amid the alarms

        def start_and_reach():
            held.append(aexpect.Spawn(id=holder.id))
            held[-1].is_alive()
            with aexpect.Spawn("sleep 60", auto_close=True) as session:
                held.append(session)

        for _ in range(ROUNDS):
            alarms.during(start_and_reach, 0.03)
            held.clear()
    finally:
        holder.close()
    alarms.check()


def test_ssh_logins_commands_and_run(sshd, alarms):
    def log_in():
        with contextlib.suppress(LoginError):
            virt_utils.remote_login("ssh", sshd.host, sshd.port, sshd.user, sshd.password or "", PROMPT,
                                    ssh_identity_file=sshd.key, timeout=20).close()

    for _ in range(max(10, ROUNDS // 4)):
        alarms.during(log_in, 0.3)
    session = virt_utils.remote_login("ssh", sshd.host, sshd.port, sshd.user, sshd.password or "", PROMPT,
                                      ssh_identity_file=sshd.key, timeout=20)
    with session:
        for call in (lambda: session.run("echo x"), lambda: session.cmd("echo x", timeout=5), session.is_alive):
            for _ in range(ROUNDS // 2):
                alarms.during(tolerant(call, aexpect.ShellError), 0.03)
    alarms.check()


def test_copies(sshd, tmp_path, alarms):
    (tmp_path / "tree").mkdir()
    for n in range(20):
        (tmp_path / "tree" / str(n)).write_bytes(b"x" * 5000)
    where = (sshd.host, sshd.port, sshd.user, sshd.password or "")
    there = "/tmp/virtvm-signals-%d" % os.getpid()
    try:
        for engine in ("sftp", "scp"):
            keywords = {"ssh_identity_file": sshd.key, "transfer_engine": engine}
            put = functools.partial(transfer.scp_to_remote, *where, str(tmp_path / "tree"), there, **keywords)
            get = functools.partial(transfer.scp_from_remote, *where, "/etc/hostname", str(tmp_path / "here"),
                                    **keywords)
            for call in (put, get):
                for _ in range(max(8, ROUNDS // 8)):
                    alarms.during(tolerant(call, transfer.SCPError), 0.4)
    finally:
        subprocess.run("rm -rf %s*" % there, shell=True, check=True)
    alarms.check()


def test_rss(tmp_path, alarms):
    for folder in ("drive", "tree"):
        (tmp_path / folder).mkdir()
    for n in range(10):
        (tmp_path / "tree" / str(n)).write_bytes(b"x" * 5000)
    with RssServer(tmp_path / "drive") as server:
        def copy():
            with contextlib.suppress(rss_client.FileTransferError):
                rss_client.upload("127.0.0.1", server.port, str(tmp_path / "tree"), "C:\\tree", timeout=10)

        for _ in range(ROUNDS // 2):
            alarms.during(copy, 0.1)
    alarms.check()


def test_ctrl_c_between_two_tries_of_a_login(alarms):
    """A server that greets and hangs up is tried again; the pause between is open to signals."""
    with Scripted(lambda peer, number: peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as server:
        for _ in range(ROUNDS // 3):
            alarms.during(lambda: _session.open_ssh("127.0.0.1", server.port, "u", "p", timeout=20.0), 0.5)
    alarms.check()


def known_bag():
    bag = weak.WeakBag()
    return bag, bag.add


def known_values():
    values = weak.WeakValues()
    return values, lambda thing: values.__setitem__(id(thing), thing)


def known_keys():
    keys = weak.WeakKeys()
    return keys, lambda thing: keys.setdefault(thing, {})


@pytest.mark.parametrize("make", [known_bag, known_values, known_keys])
def test_what_is_known_by_weak_references_goes(make, alarms):
    known, add = make()

    def come_and_go():
        for _ in range(100):
            add(Alarms(0))

    for _ in range(ROUNDS * 3):
        alarms.during(come_and_go, 0.002)
    alarms.check()
    assert len(known if make is known_keys else list(known if make is known_bag else known.values())) <= 1


def test_nothing_else_of_ours_hears_of_what_goes():
    """WeakSet, WeakValueDictionary and finalize call Python code, which is not to be cut short."""
    for module in ("virtvm.companions.virt_utils", "virtvm.hypervisors.qemu", "virtvm.hypervisors.kernel_crash",
                   "virtvm.pytest_plugin"):
        importlib.import_module(module)
    banned = (weakref.WeakSet, weakref.WeakValueDictionary, weakref.WeakKeyDictionary, weakref.finalize)
    ours = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "virtvm" and module]
    assert len(ours) > 20
    for module in ours:
        values = list(vars(module).values())
        values += [value for cls in values if isinstance(cls, type) for value in vars(cls).values()]
        assert not [value for value in values if isinstance(value, banned)], module


def test_a_forks_child_has_signals_too():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent("""
        import os, signal, sys, threading, time
        from virtvm import _session, weak
        s = _session.open_pty([b"/bin/sleep", b"60"], [b"PATH=/bin"])
        def child():
            pid = os.fork()                     # by a thread: it is the child's main thread
            if pid == 0:
                try:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGALRM, lambda *a: 1 / 0)
                    signal.setitimer(signal.ITIMER_REAL, 0.2)
                    mine = _session.open_pty([b"/bin/sleep", b"60"], [b"PATH=/bin"])
                    mine.read(1e10, 20.0)
                except ZeroDivisionError:
                    os._exit(7)
                os._exit(1)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if hasattr(os, "waitstatus_to_exitcode")
                  else os.waitpid(pid, 0)[1] >> 8, flush=True)
        t = threading.Thread(target=child)
        t.start()
        t.join()
        s.close()
        """)], stdout=subprocess.PIPE, timeout=60)
    assert done.stdout == b"7\n"


def test_the_first_of_two_alarms_is_raised_and_the_second_is_not_lost(pty):
    ran = []

    def handler(signum, frame):
        ran.append(signum)
        raise Alarm(signum)

    old = {number: signal.signal(number, handler) for number in (signal.SIGALRM, signal.SIGUSR1)}
    try:
        threading.Timer(0.2, lambda: [os.kill(os.getpid(), number) for number in old]).start()
        seen = []
        while len(seen) < 2:
            try:
                pty.read(1e10, 20.0)
                time.sleep(20)
            except Alarm as e:
                seen.append(e.args[0])
        assert seen == ran and sorted(seen) == sorted(old)
    finally:
        for number, before in old.items():
            signal.signal(number, before)
