"""SSH servers that turn hostile once they have let us in.

Each call ends at its deadline, in little memory, with an exception that docs name; and what a terminal
is shown has nothing in it that it would obey.
"""

import contextlib
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest
from support import hostile_ssh as ssh
from support.hostile_ssh import HostileSsh, string, u32
from support.scripted import Scripted
from support.waiting import BUSY, until
from virtvm import _session
from virtvm.companions import aexpect, virt_utils
from virtvm.companions.printable import printable_lines

pytestmark = pytest.mark.once

PROMPT = r"[\#\$]\s*$"
MIB = 1 << 20
TEXT = b"bye\x1b]0;title\x07 \x1b[2J\x9b31m\x00\r\n\x85\xe2\x80\xae"


@contextlib.contextmanager
def hostile(attack=None, serve=True, **how):
    """A server; attack(it) is called when the client types "attack", or at once unless it serves."""
    def script(peer, number):
        opened = {key: how[key] for key in ("window", "packet") if key in how}
        server = HostileSsh(peer, how.get("banner", b""), how.get("questions"))
        server.serve(attack, **opened) if serve else attack(server)

    with Scripted(script) as server:
        yield server


def log_in(server, timeout=2 * BUSY, **more):
    return virt_utils.remote_login("ssh", "127.0.0.1", server.port, "u", "p", PROMPT, timeout=timeout, **more)


def peak():
    """The most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def bounded(seconds, memory):
    """What the block does ends at a deadline of so many seconds, or before, in that much more memory.

    Only another thread's alarm could tell that it hangs: pytest-timeout's.
    """
    before, start = peak(), time.monotonic()
    yield
    assert time.monotonic() - start < seconds + BUSY
    assert peak() - before < memory


# ---- floods and lies in a session ----

def rekeys_without_end(server):
    while True:
        server.rekey()


def rekeys_and_never_ends(server):
    server.flood(lambda number: (ssh.KEXINIT, server.own_kexinit[1:] if server.own_kexinit else bytes(200)))


def overflows_windows(server):
    server.flood(lambda number: (ssh.DATA, u32(server.channel), string(b"W" * 32000)))


def overflows_errors(server):
    server.flood(lambda number: (ssh.EXTENDED, u32(server.channel, 1 + number % 3), string(b"W" * 32000)))


def speaks_to_nobody(server):
    server.flood(lambda number: (ssh.DATA, u32(1000 + number % 5000), string(b"W" * 30000)))


def lies_about_lengths(server):
    server.flood(lambda number: (ssh.DATA, u32(server.channel, 0xffffffff - number), b"x" * 100))


def widens_without_end(server):
    server.flood(lambda number: (ssh.ADJUST, u32(server.channel, 0xffffffff)))


def asks_all_the_world(server):
    server.flood(lambda number: (ssh.GLOBAL_REQUEST, string(b"keepalive@openssh.com"), b"\1"))


def asks_the_channel(server):
    server.flood(lambda number: (ssh.REQUEST, u32(server.channel), string(b"keepalive@openssh.com"), b"\1"))


def opens_channels(server):
    kinds = [b"x11", b"auth-agent@openssh.com", b"forwarded-tcpip", b"\x1b[2J"]
    server.flood(lambda number: (ssh.OPEN, string(kinds[number % 4]), u32(number, 1 << 21, 32768),
                                 string(b"1.2.3.4"), u32(5), string(b"a"), u32(6)))


def ignores_without_end(server):
    server.flood(lambda number: (ssh.IGNORE, string(b"z" * 30000)))


def debugs_without_end(server):
    server.flood(lambda number: (4, b"\1", string(TEXT * 100), string(b"")))


def ends_over_and_over(server):
    server.flood(lambda number: (ssh.EOF, u32(server.channel)))


def says_what_nobody_knows(server):
    server.flood(lambda number: (100 + number % 150, os.urandom(40)))


ENDLESS = [rekeys_without_end, rekeys_and_never_ends, overflows_windows, overflows_errors, speaks_to_nobody,
           lies_about_lengths, widens_without_end, asks_all_the_world, asks_the_channel, opens_channels,
           ignores_without_end, debugs_without_end, ends_over_and_over, says_what_nobody_knows]


@pytest.mark.parametrize("attack", ENDLESS, ids=lambda function: function.__name__)
def test_a_command_amid_an_attack_without_end(attack):
    with hostile(attack) as server, log_in(server) as session:
        assert session.cmd("echo fine", timeout=BUSY) == "fine\n"
        with bounded(1 + 1 + 1, 300 * MIB):
            with pytest.raises(aexpect.ShellError):
                session.cmd("echo attack", timeout=1)
            with contextlib.suppress(aexpect.ShellError):
                session.run("true", timeout=1)
            with contextlib.suppress(aexpect.ShellError, aexpect.ExpectError):
                session.read_until_last_line_matches(["never"], timeout=1)
            session.close()


def test_new_keys_all_the_time_change_nothing():
    def attack(server):
        for _ in range(40):
            server.rekey()

    with hostile(attack) as server, log_in(server) as session:
        for number in range(3):
            assert session.cmd("echo attack %d" % number, timeout=2 * BUSY) == "attack %d\n" % number


@pytest.mark.parametrize("flags", [b"ext-info-c", b"kex-strict-c-v00@openssh.com"], ids=bytes.decode)
def test_no_new_keys_come_of_flags(flags):
    """libssh2 1.11.0 and 1.11.1 took one for a method, and called NULL."""
    def attack(server):
        server.send_kexinit(flags)
        while True:
            server.receive(False)

    with hostile(attack) as server, log_in(server) as session:
        with pytest.raises(aexpect.ShellError):
            session.cmd("echo attack", timeout=2)


def test_no_new_keys_come_of_a_group_of_the_servers_choice():
    """They would be computed for seconds, by the thread that reads all sessions."""
    heard = []

    def attack(server):
        server.send_kexinit(b"diffie-hellman-group-exchange-sha256")
        while True:
            heard.append(server.receive(False)[0])

    with hostile(attack) as server, log_in(server) as session:
        with pytest.raises(aexpect.ShellError):
            session.cmd("echo attack", timeout=2)
        until(lambda: heard)            # our offer, for one
    assert 34 not in heard              # the question for a group


def test_windows_beyond_what_a_number_holds():
    def attack(server):
        for _ in range(50):
            server.send(ssh.ADJUST, u32(server.channel, 0xffffffff))

    with hostile(attack, window=0xffffffff, packet=0xffffffff) as server, log_in(server) as session:
        assert session.cmd("echo attack", timeout=BUSY) == "attack\n"
        assert session.cmd("echo %s | wc -c" % ("x" * 100000), timeout=BUSY) == "100001\n"


@pytest.mark.parametrize("window, packet", [(0, 32768), (1, 32768), (1 << 21, 0), (0, 0)])
def test_windows_too_small_for_a_command(window, packet):
    with hostile(window=window, packet=packet) as server, bounded(2, 100 * MIB):
        with pytest.raises(virt_utils.LoginError):
            log_in(server, timeout=2).close()


def test_a_window_that_shuts():
    """What was allowed is used up, and no more is: the client waits no longer than told."""
    with hostile(window=2000) as server, log_in(server) as session, bounded(2, 100 * MIB):
        with pytest.raises(aexpect.ShellError):
            session.cmd("true " + "x" * 4000, timeout=2)


# ---- its last words ----

def leaves(server):
    server.send(ssh.DISCONNECT, u32(11), string(TEXT), string(b""))
    return True


def leaves_with_a_novel(server):
    server.send(ssh.DISCONNECT, u32(0xffffffff), string(TEXT * 2000), string(TEXT))
    return True


def leaves_with_a_lie(server):
    server.send(ssh.DISCONNECT, u32(11, 0xffffffff), b"text")
    return True


def dies_of_a_signal(server):
    server.send(ssh.REQUEST, u32(server.channel), string(b"exit-signal"), b"\0", string(TEXT), b"\1", string(TEXT),
                string(b""))
    server.send(ssh.CLOSE, u32(server.channel))
    return True


def dies_of_a_novel(server):
    server.send(ssh.REQUEST, u32(server.channel), string(b"exit-signal"), b"\0", string(b"S" * 30000), b"\1",
                u32(0xffffffff))
    server.send(ssh.CLOSE, u32(server.channel))
    return True


WORDS = [leaves, leaves_with_a_novel, leaves_with_a_lie, dies_of_a_signal, dies_of_a_novel]


@pytest.mark.parametrize("attack", WORDS, ids=lambda function: function.__name__)
def test_last_words_end_the_session(attack):
    with hostile(attack) as server, log_in(server) as session, bounded(BUSY, 100 * MIB):
        with pytest.raises(aexpect.ShellError) as info:
            session.cmd("echo attack", timeout=BUSY)
        assert len(str(info.value)) < 70000
        assert not session.is_alive()


@pytest.mark.parametrize("attack", WORDS, ids=lambda function: function.__name__)
def test_last_words_in_answer_to_a_command(attack):
    def script(server):
        server.let_in()
        server.open()
        server.grant()
        attack(server)

    with hostile(script, serve=False) as server, bounded(BUSY, 100 * MIB):
        with pytest.raises((virt_utils.LoginError, virt_utils.SCPError)):
            virt_utils.scp_from_remote("127.0.0.1", server.port, "u", "p", "/etc/hostname", "/dev/null", timeout=5)


@pytest.mark.parametrize("attack", [*WORDS, None], ids=lambda function: getattr(function, "__name__", "banner"))
def test_a_terminal_is_shown_no_word_raw(attack):
    """Before there is a shell, whose terminal it is."""
    def script(server):
        server.let_in()
        server.channel = 0
        if attack is not None:
            attack(server)

    with hostile(script, serve=False, banner=TEXT) as server:
        for words in (["shell", "--host", "127.0.0.1", "--port", str(server.port), "--param", "login_timeout=2"],
                      ["copy", "-P", str(server.port), "u@127.0.0.1:x", os.devnull + "x"]):
            done = subprocess.run([sys.executable, "-m", "virtvm", *words], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  env=dict(os.environ, VIRTVM_PASSWORD="p"))
            said = done.stdout.decode()
            assert done.returncode in (1, 2) and said.startswith("virtvm: ") and "Traceback" not in said, said
            assert all(c in "\n\t" or c.isprintable() for c in said), said


# ---- questions ----

def asked(count, prompts=b"", name=b"n", instruction=b"i"):
    return string(name), string(instruction), string(b""), u32(count), prompts


QUESTIONS = {
    "ten thousand": asked(10000, (string(b"Password: ") + b"\0") * 10000),
    "a mebibyte each": asked(1, string(b"P" * MIB) + b"\0"),
    "as much as a packet takes": asked(1, string(b"P" * 30000) + b"\0"),
    "more than there are": asked(0xffffffff, string(b"Password: ") + b"\0"),
    "none": asked(0),
    "cut": asked(3, string(b"Password: ") + b"\0" + u32(0xffffffff)),
    "escapes": asked(1, string(TEXT) + b"\1", TEXT, TEXT),
}


@pytest.mark.parametrize("questions", QUESTIONS.values(), ids=list(QUESTIONS))
def test_odd_questions(questions):
    with hostile(questions=questions) as server, bounded(2, 100 * MIB):
        with contextlib.suppress(virt_utils.LoginError):
            log_in(server, timeout=2).close()


def test_questions_without_end():
    def ask(server):
        server.let_in()

    questions = asked(1, string(b"Password: ") + b"\0")
    with hostile(ask, serve=False, questions=questions) as server, bounded(2, 100 * MIB):
        ssh_ask, HostileSsh.ask = HostileSsh.ask, _ask_for_ever
        try:
            with pytest.raises(virt_utils.LoginError):
                log_in(server, timeout=2).close()
        finally:
            HostileSsh.ask = ssh_ask


def _ask_for_ever(server):
    while True:
        server.send(ssh.INFO_REQUEST, *server.questions)
        server.wait_for(ssh.INFO_RESPONSE)


# ---- agents ----

def identity(number):
    blob = string(b"ssh-ed25519") + string(struct.pack(">Q", number) * 4)
    return string(blob) + string(TEXT)


ANSWERS = {
    "a hundred thousand keys": b"\x0c" + u32(100000) + b"".join(map(identity, range(100000))),
    "more keys than there are": b"\x0c" + u32(0xffffffff) + identity(1) * 5,
    "2,000 keys": b"\x0c" + u32(2000) + b"".join(map(identity, range(2000))),
    "a key that is longer than all": b"\x0c" + u32(1) + u32(0xffffffff) + b"k" * 100,
    "nothing": b"", "no keys": b"\x0c" + u32(0), "something else": b"\x0e" + string(b"signature"),
}


class Agent:
    """An SSH agent that has one answer, of a length that it may lie about."""

    def __init__(self, folder, answer, length):
        self.path = str(folder / "agent")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(5)
        self.answer = u32(len(answer) if length is None else length) + answer
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            with peer, contextlib.suppress(OSError):
                while peer.recv(65536):
                    peer.sendall(self.answer)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


LIES = [(answer, None) for answer in ANSWERS] + [
    ("2,000 keys", length) for length in (0, 1, 256 * 1024, 256 * 1024 + 1, 0xffffffff)]


@pytest.mark.parametrize("answer, length", LIES)
def test_an_agent_that_lies(tmp_path, monkeypatch, answer, length):
    def refuse(server):
        server.wait_for(ssh.SERVICE_REQUEST)
        server.send(ssh.SERVICE_ACCEPT, string(b"ssh-userauth"))
        while True:
            server.wait_for(ssh.AUTH_REQUEST)
            server.send(ssh.AUTH_FAILURE, string(b"publickey"), b"\0")

    with Agent(tmp_path, ANSWERS[answer], length) as agent, hostile(refuse, serve=False) as server, \
            bounded(2, 50 * MIB):
        monkeypatch.setenv("SSH_AUTH_SOCK", agent.path)
        with pytest.raises(virt_utils.LoginError):
            log_in(server, timeout=2, ssh_auth="agent").close()


# ---- bounds that SECURITY.rst names ----

IAC, SB, SE, DO, DONT, TERMINAL = b"\xff", b"\xfa", b"\xf0", b"\xfd", b"\xfe", b"\x18"


@contextlib.contextmanager
def telnet(script):
    with Scripted(script) as server:
        engine = _session.open_tcp("127.0.0.1", server.port, telnet=True)
        try:
            yield engine
        finally:
            engine.close()


def test_telnet_server_that_asks_and_never_reads():
    """Each change has an answer; those that nobody takes end the connection, at 256 KiB."""
    def ask(peer, number):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while True:
            peer.sendall((IAC + DO + TERMINAL + IAC + DONT + TERMINAL) * 10000)

    with bounded(BUSY, 32 * MIB), telnet(ask) as engine:
        with contextlib.suppress(_session.EngineError):
            engine.read(-1.0, BUSY)
        assert engine.ended


def test_telnet_negotiation_without_end_is_not_kept():
    def negotiate(peer, number):
        peer.sendall(b"before " + IAC + SB + TERMINAL)
        for _ in range(1000):
            peer.sendall(b"x" * 65536)
        peer.sendall(IAC + SE + b"after")

    with bounded(2 * BUSY, 32 * MIB), telnet(negotiate) as engine:
        said = b""
        with contextlib.suppress(_session.EngineError):         # the end
            while said != b"before after" and not engine.ended:
                said += engine.read(1.0, BUSY)[0]
        assert said == b"before after"


def test_noise_before_the_server_says_that_it_is_one():
    def make_noise(peer, number):
        while True:
            peer.sendall(b"noise\r\n" * 10000)

    with Scripted(make_noise) as server, bounded(2, 32 * MIB), pytest.raises(virt_utils.LoginError):
        log_in(server, timeout=2)


def test_words_before_the_login_without_end():
    def greet(server):
        server.wait_for(ssh.SERVICE_REQUEST)
        server.send(ssh.SERVICE_ACCEPT, string(b"ssh-userauth"))
        server.flood(lambda number: (ssh.AUTH_BANNER, string(b"%d " % number + TEXT * 1000), string(b"")))

    with hostile(greet, serve=False) as server, bounded(2, 32 * MIB):
        with pytest.raises(virt_utils.LoginError) as info:
            log_in(server, timeout=2)
    assert len(info.value.said or "") <= 255 and printable_lines(info.value.said or "") == (info.value.said or "")
