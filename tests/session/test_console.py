"""ConsoleSession: a console on a unix socket, here with a real tty and shell behind it."""

import os
import pickle
import re
import resource
import socket
import subprocess
import threading

import pytest
from support.waiting import BUSY, LONG, until
from virtvm import _session
from virtvm.companions import aexpect, login
from virtvm.companions.exceptions import (
    LoginAuthenticationError, LoginError, LoginProcessTerminatedError, LoginTimeoutError)

CRASH = ("BUG: unable to handle kernel NULL pointer dereference at (null)\r\n"
         "IP: [<ffffffff81>] provoke+0x1/0x2\r\n---[ end trace 0123456789abcdef ]---\r\n")

FLOOD_MIB = int(os.environ.get("VIRTVM_FLOOD_MIB", "64"))     # `make soak` takes 1024

# A getty with its login, as far as a dialogue goes; a shell behind it.
GETTY = r"""
import os, sys, termios
name = sys.argv[1] if len(sys.argv) > 1 else "vm"
while True:
    sys.stdout.write("\n%s login: " % name); sys.stdout.flush()
    user = sys.stdin.readline().strip()
    if not user:
        continue
    old = termios.tcgetattr(0); quiet = termios.tcgetattr(0); quiet[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSAFLUSH, quiet)
    sys.stdout.write("Password: "); sys.stdout.flush()
    password = sys.stdin.readline().strip()
    termios.tcsetattr(0, termios.TCSAFLUSH, old)
    if (user, password) == ("root", "se cret"):
        print("\nLast login: today on ttyS0\n### welcome ###")
        os.execv("/bin/bash", ["bash", "--norc", "--noprofile", "-i"])
    print("\nLogin incorrect")
"""


class Server:
    """socat with a program on a tty, behind a unix socket."""

    def __init__(self, folder, program):
        self.path = os.path.join(str(folder), "console")
        self.process = subprocess.Popen(
            ["socat", "UNIX-LISTEN:%s,fork" % self.path,
             "EXEC:'%s',pty,setsid,ctty,stderr" % program])
        until(self._listens)

    def _listens(self):
        """Whether the socket is there and takes connections (flag __SO_ACCEPTCON)."""
        with open("/proc/net/unix") as table:
            return any(line.split()[3] == "00010000" and line.endswith(self.path + "\n") for line in table)

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def serve(tmp_path):
    servers = []

    def start(program):
        servers.append(Server(tmp_path, program))
        return servers[-1].path

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def getty(serve, tmp_path):
    script = tmp_path / "getty.py"
    script.write_text(GETTY)
    return serve("python3 %s" % script)


def test_login_dialogue_then_commands(getty):
    with aexpect.ConsoleSession(getty, name="vm1") as console:
        console.sendline()
        login._remote_login(console, "root", "se cret", r"[\#\$]\s*$", timeout=LONG)
        assert console.cmd_status_output("echo hi; (exit 4)") == (4, "hi\n")
        assert console.cmd_output("seq 3") == "1\n2\n3\n"
        assert console.cmd("echo " + "long " * 60) == "long " * 59 + "long\n"
        # Already logged in: the dialogue finds the prompt.
        console.sendline()
        login._remote_login(console, "root", "se cret", r"[\#\$]\s*$")
        assert console.cmd("echo again") == "again\n"


def test_login_that_was_left_half_way(getty):
    """Somebody typed a user name and went away."""
    with aexpect.ConsoleSession(getty, name="vm1") as console:
        console.read_until_last_line_matches([r"login:\s*$"], timeout=BUSY)
        console.sendline("someone")
        console.read_until_last_line_matches([r"Password:\s*$"], timeout=BUSY)
        console.sendline()
        login._remote_login(console, "root", "se cret", r"[\#\$]\s*$")
        assert console.cmd("echo in") == "in\n"


def test_wrong_password_is_an_authentication_error(getty):
    with aexpect.ConsoleSession(getty, name="vm1") as console:
        console.sendline()
        with pytest.raises(LoginAuthenticationError) as info:
            login._remote_login(console, "root", "wrong", r"[\#\$]\s*$")
        assert info.value.stage == "authentication" and info.value.host == "vm1"
        assert "wrong" not in str(info.value)


def test_silent_console_is_a_login_timeout(serve):
    with aexpect.ConsoleSession(serve("sleep 60")) as console:
        console.sendline()
        with pytest.raises(LoginTimeoutError) as info:
            login._remote_login(console, "root", "x", r"[\#\$]\s*$", timeout=0.5)
        assert info.value.stage == "prompt"


def test_console_that_goes_away_ends_the_login(serve):
    with aexpect.ConsoleSession(serve("echo gone")) as console:
        with pytest.raises(LoginProcessTerminatedError) as info:
            login._remote_login(console, "root", "x", r"[\#\$]\s*$", timeout=BUSY)
        assert "gone" in info.value.output


def test_kernel_messages_over_the_prompt(serve):
    """They may come at any moment: into the output, the echo or the prompt."""
    with aexpect.ConsoleSession(serve("bash --norc --noprofile -i")) as console:
        console.sendline()
        login._remote_login(console, "root", "x", r"[\#\$]\s*$")
        for n in range(8):
            console.cmd_output("( (sleep 0.0%d; printf '[ 12.3] usb 1-1: new # device $\\n') & )" % n, timeout=BUSY)
            output = console.cmd_output("echo sync", safe=True, timeout=BUSY)
            # One in the midst of the echo keeps that from being known as one; the command's own
            # output is there in any case, and last.
            told = re.sub(r"\[ 12.3\].*\n", "", output)
            assert told.endswith("sync\n") and "bash-" not in told, output
            assert console.cmd_status_output("(exit 5)", timeout=BUSY)[0] == 5


def test_prompts_of_empty_lines_are_no_output(serve):
    """safe=True sends one each half second; a slow guest answers them all at the end."""
    with aexpect.ConsoleSession(serve("bash --norc --noprofile -i")) as console:
        console.sendline()
        login._remote_login(console, "root", "x", r"[\#\$]\s*$")
        assert console.cmd_output("sleep 1.2; echo sync", safe=True, timeout=BUSY).lstrip("\n") == "sync\n"
        assert console.cmd_status_output("(exit 5)", timeout=BUSY) == (5, "")


def test_messages_over_the_prompt_of_an_empty_line(serve):
    """The guest answers the empty lines of safe=True, the kernel talks over those prompts."""
    with aexpect.ConsoleSession(serve("bash --norc --noprofile -i")) as console:
        console.sendline()
        login._remote_login(console, "root", "x", r"[\#\$]\s*$")
        console.cmd_output("exec 2>&1; prompt=${PS1@P}", timeout=BUSY)
        # The command takes the empty line and shows what the shell would.
        command = ("read empty; echo sync; printf '%s[ 12.3] usb 1-1: new\\n[ 12.4] usb 1-2: new\\n"
                   "[ 12.5] usb 1-3: new\\n' \"$prompt\"")
        assert console.cmd_output(command, safe=True, timeout=BUSY).lstrip("\n") == "sync\n"
        # Nobody's prompt in it: messages are output like any other.
        told = console.cmd_output("sleep 0.7; printf 'sync\\n[ 12.3] a\\n[ 12.4] b\\n'", safe=True, timeout=BUSY)
        assert told.lstrip("\n") == "sync\n[ 12.3] a\n[ 12.4] b\n"


def test_nobody_there_is_a_login_error(tmp_path):
    with pytest.raises(LoginError) as info:
        aexpect.ConsoleSession(str(tmp_path / "none"))
    assert info.value.stage == "connect" and "No such file" in str(info.value)


class Feed:
    """A console that says what the test wants it to say."""

    def __init__(self, tmp_path):
        self.path = str(tmp_path / "feed")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(5)
        self.peer = None

    def accept(self):
        self.peer = self.listener.accept()[0]
        return self.peer

    def close(self):
        self.listener.close()
        if self.peer:
            self.peer.close()


@pytest.fixture
def feed(tmp_path):
    feed = Feed(tmp_path)
    yield feed
    feed.close()


def test_kernel_crash_is_found_in_pieces_while_nobody_reads(feed):
    console = aexpect.ConsoleSession(feed.path)
    peer = feed.accept()
    peer.sendall(b"boot\r\n")
    assert console.find_kernel_crash() is None
    for byte in CRASH.encode():
        peer.sendall(bytes([byte]))
    until(lambda: console.find_kernel_crash() is not None)
    expected = CRASH[:CRASH.rindex("]---") + 4].replace("\r\n", "\n")
    assert console.find_kernel_crash() == expected
    found = re.search(r"BUG:.*---\[ end trace .* \]---", console.get_output(), re.S | re.M)
    assert found.group(0) == expected
    console.close()
    assert console.find_kernel_crash() == expected


def test_flood_neither_stalls_the_guest_nor_fills_memory(feed):
    console = aexpect.ConsoleSession(feed.path)
    peer = feed.accept()
    peer.settimeout(60)
    line = b"[    1.000000] a line of a very chatty guest, again and again\r\n"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(FLOOD_MIB):
        peer.sendall(line * (1024 * 1024 // len(line)))      # blocks unless it is read
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 16 * 1024
    peer.sendall(b"the end\r\n")
    total = FLOOD_MIB * (1024 * 1024 // len(line)) * len(line) + len(b"the end\r\n")
    until(lambda: console._engine.total == total)
    assert console._engine.output(total - 20).endswith(b"the end\n")
    console.close()


def test_log_has_each_line_with_its_time(feed, tmp_path):
    log = tmp_path / "console.log"
    console = aexpect.ConsoleSession(feed.path, log_filename=str(log))
    feed.accept().sendall(b"first\r\n\033[1msecond\033[0m\r\nunfinished")
    until(lambda: log.exists() and "second" in log.read_text())
    console.close()
    lines = log.read_text().splitlines()
    assert [line.split(": ", 1)[1] for line in lines] == ["first", "second", "unfinished"]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: ", line) for line in lines)


def test_pickled_console_is_the_same_or_connects_again(feed):
    console = aexpect.ConsoleSession(feed.path, linesep="\r", name="vm1", output_prefix="(console) ")
    feed.accept()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(console, protocol)
        assert pickle.loads(data) is console        # the socket serves one client
        console.close()
        console = pickle.loads(data)
        feed.accept().sendall(b"hello\r\n")
        until(lambda: "hello\n" in console.get_output())
        assert (console.linesep, console.name, console.output_prefix) == ("\r", "vm1", "(console) ")
    console.close()
    os.unlink(feed.path)
    assert pickle.loads(data) is None


def test_two_consoles_closed_by_threads_leave_nothing(feed):
    before = len(os.listdir("/proc/self/fd"))
    consoles = [aexpect.ConsoleSession(feed.path) for _ in range(3)]
    threads = [threading.Thread(target=c.close) for c in consoles for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    del consoles, threads
    assert len(os.listdir("/proc/self/fd")) <= before


def test_socket_path_that_is_too_long():
    with pytest.raises(_session.EngineError, match="too long"):
        _session.open_unix("/tmp/" + "x" * 200)


def test_output_since_is_what_came_then(tmp_path):
    """At any place: with letters of several bytes, carriage returns, nothing new, and after close()."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        console = aexpect.ConsoleSession(path)
        peer, _ = listener.accept()
    texts = ["first\r\n", "gr\u00fc\u00dfe\r\n", "", "x" * 200000 + "\n", "last"]
    marks, sent = [], 0
    with peer:
        for text in texts:
            marks.append(console.output_length())
            peer.sendall(text.encode())
            sent += len(text.encode())
            until(lambda: console.output_length() == sent)
    for closed in (False, True):
        if closed:
            console.close()
        for number, mark in enumerate(marks):
            assert console.get_output_since(mark) == "".join(texts[number:]).replace("\r", "")
        assert console.get_output_since(sent) == "" and console.get_output_since(0) == console.get_output()
        assert console.get_output_since(sent + 1) == ""
