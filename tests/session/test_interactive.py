"""virtvm shell and console, by a person: here on a terminal of the test's."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

import pytest
from support.sshd import Sshd


class Person:
    """At a terminal of 30 lines of 100 characters, running a command."""

    def __init__(self, *words):
        self.master, slave = pty.openpty()
        self.resize(30, 100)
        env = dict(os.environ, TERM="vt100")
        env.pop("COLUMNS", None)
        env.pop("LINES", None)
        self.process = subprocess.Popen([sys.executable, "-m", "virtvm", *map(str, words)], stdin=slave, stdout=slave,
                                        stderr=slave, env=env, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def see(self, pattern, timeout=20):
        deadline = time.monotonic() + timeout
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found.group()
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.master], [], [], left)[0], self.seen
            try:
                self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
            except OSError:
                pytest.fail("it ended: %r" % self.seen)

    def leave(self):
        """Its exit status."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                if select.select([self.master], [], [], 0.1)[0]:
                    self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
            except OSError:
                time.sleep(0.02)
        os.close(self.master)
        self.process.kill()
        return self.process.wait()


@pytest.fixture(scope="module")
def sshd():
    server = Sshd()
    yield server
    server.stop()


def shell_options(sshd):
    return ["shell", "--host", sshd.host, "--port", sshd.port, "--param", "username=" + sshd.user,
            "--param", "ssh_identity_file=" + sshd.key]


def test_shell_is_one_for_a_person(sshd):
    person = Person(*shell_options(sshd))
    person.see(r"[#$] ")
    person.type("stty size; echo on $TERM\r")
    person.see(r"30 100\s+on vt100")
    person.type("echo re''ady; cat\r")  # echoed by the far terminal, edited there
    person.see(r"ready\r?\n")           # before, the shell's line editor has the terminal
    person.type("typpo\x7f\x7fo\r")
    person.see(r"\ntypo")
    person.type("\x03")                 # which throws away what is typed ahead
    person.see(r"[#$] ")
    person.type("echo st''ill\r")
    person.see("still")
    person.type("\x1d")
    assert person.leave() == 0


def test_terminal_that_changes_its_size(sshd):
    person = Person(*shell_options(sshd))
    person.see(r"[#$] ")
    # A process group of its own: the terminal's foreground one is told.  Without a trap bash may let an
    # interrupt go by that comes while a sleep is just ending.
    person.type("""bash -c 'trap exit INT; trap "stty size" WINCH; echo re""ady; while :; do sleep 0.1; done'\r""")
    person.see(r"ready\r?\n")
    person.resize(41, 99)
    person.see(r"41 99\r?\n")
    person.type("\x03")
    person.see(r"[#$] ")
    person.type("\x1d")
    assert person.leave() == 0


def test_shell_that_is_left_by_exit(sshd):
    person = Person(*shell_options(sshd))
    person.see(r"[#$] ")
    person.type("exit\r")
    assert person.leave() == 0


def test_shell_takes_commands_from_a_pipe(sshd):
    done = subprocess.run([sys.executable, "-m", "virtvm", *map(str, shell_options(sshd))], input=b"echo pi''ped\n",
                          stdout=subprocess.PIPE, timeout=30)
    assert done.returncode == 0 and b"piped" in done.stdout


def test_failures_are_a_line(sshd, tmp_path):
    def run(*words):
        done = subprocess.run([sys.executable, "-m", "virtvm", *map(str, words)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        assert done.returncode == 2 and done.stdout.startswith("virtvm: ") and "Traceback" not in done.stdout
        return done.stdout
    assert "no guest" in run("shell")
    assert "no guest" in run("console")
    assert "Cannot connect" in run("console", "--socket", tmp_path / "none")
    assert "stage: connect" in run("shell", "--port", "1", "--host", "127.0.0.1")


def test_console_of_a_socket(tmp_path):
    path = str(tmp_path / "console")
    server = subprocess.Popen(["socat", "UNIX-LISTEN:" + path,
                               "EXEC:'bash --norc --noprofile -i',pty,setsid,ctty,stderr"])
    try:
        deadline = time.monotonic() + 10
        while not os.path.exists(path) and time.monotonic() < deadline:
            time.sleep(0.02)
        person = Person("console", "--socket", path)
        person.see(r"bash-[\d.]+[#$] ")
        person.type("echo $((6*7))\r")
        person.see(r"42")
        person.type("\x1d")
        assert person.leave() == 0
    finally:
        server.kill()
        server.wait()
