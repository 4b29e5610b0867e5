"""Logging in by Telnet, to a real telnetd, and over bare TCP."""

import contextlib
import os
import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from support.prompt_corpus import TELNETD
from support.sshd import free_port
from support.waiting import BUSY, until
from virtvm import _session
from virtvm.companions import aexpect, login
from virtvm.companions.exceptions import (
    LoginAuthenticationError, LoginError, LoginProcessTerminatedError, LoginTimeoutError)

PROMPT = r"[\#\$]\s*$"


def wait_until_it_listens(port):
    """Without connecting: these servers serve one connection."""
    mark = ":%04X 00000000:0000 0A" % port
    until(lambda: mark in Path("/proc/net/tcp").read_text())


@pytest.fixture
def serve():
    """Starts a program for each connection to a port of loopback, by socat."""
    servers = []

    def start(program):
        port = free_port()
        servers.append(subprocess.Popen(
            ["socat", "TCP-LISTEN:%d,bind=127.0.0.1,fork,reuseaddr" % port, program],
            stderr=subprocess.DEVNULL, start_new_session=True))
        wait_until_it_listens(port)
        return port

    yield start
    for server in servers:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 9)
        server.wait()


@pytest.fixture
def telnetd(serve, account):
    if account is None:
        pytest.skip("telnetd needs root")
    return serve("EXEC:%s -h,nofork" % TELNETD)


def test_telnet_login_and_commands(telnetd, account):
    with login.remote_login("telnet", "127.0.0.1", telnetd, account.name, account.password, PROMPT,
                            timeout=2 * BUSY) as session:
        assert session.cmd("whoami") == account.name + "\n"
        assert session.cmd("tty").startswith("/dev/pts/")
        assert session.cmd_status("(exit 3)") == 3
        assert session.cmd_output("seq 20000") == "".join("%d\n" % n for n in range(1, 20001))
        assert session.cmd(r"printf 'a\377b\n'", timeout=2 * BUSY) == "a\\xffb\n"
        long = "word " * 60
        assert session.cmd("echo " + long) == long.strip() + "\n"
        session.sendline("exit")
        with pytest.raises(aexpect.ExpectProcessTerminatedError):
            session.read_until_output_matches(["never"], timeout=2 * BUSY)


def test_telnet_size_of_the_terminal(telnetd, account):
    with login.remote_login("telnet", "127.0.0.1", telnetd, account.name, account.password, PROMPT,
                            timeout=2 * BUSY) as session:
        for rows, columns in ((24, 80), (255, 511)):
            assert session._engine.resize(rows, columns) is True
            # Behind the prompt, which the shell shows anew for its new width.
            assert session.cmd("stty size").endswith("%d %d\n" % (rows, columns))


def test_telnet_wrong_password(telnetd, account):
    with pytest.raises(LoginAuthenticationError) as info:
        login.remote_login("telnet", "127.0.0.1", telnetd, account.name, "wrong", PROMPT, timeout=2 * BUSY)
    assert info.value.stage == "authentication" and info.value.port == telnetd
    assert "wrong" not in re.sub(r"reason:.*", "", str(info.value))


def test_bare_tcp_shell(serve):
    port = serve("SYSTEM:exec bash --norc --noprofile -i 2>&1")
    with login.remote_login("nc", "127.0.0.1", port, "", "", PROMPT, timeout=2 * BUSY) as session:
        assert session.cmd("echo hi") == "hi\n"
        assert session.cmd_status_output("printf abc; (exit 9)") == (9, "abc")
        with pytest.raises(aexpect.ShellError, match="no channels"):
            session.run("true")


@pytest.mark.parametrize("client", ["telnet", "nc"])
def test_closed_silent_and_ending_servers(client, serve):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = s.getsockname()[1]
    with pytest.raises(LoginError, match="refused") as info:
        login.remote_login(client, "127.0.0.1", closed, "u", "p", PROMPT, timeout=2 * BUSY)
    assert info.value.stage == "connect"
    with pytest.raises(LoginTimeoutError):
        login.remote_login(client, "127.0.0.1", serve("SYSTEM:sleep 60"), "u", "p", PROMPT, timeout=1)
    with pytest.raises(LoginProcessTerminatedError) as info:
        login.remote_login(client, "127.0.0.1", serve("SYSTEM:echo sorry"), "u", "p", PROMPT, timeout=2 * BUSY)
    assert "sorry" in info.value.output


class FakeWindows(threading.Thread):
    """What a Windows guest's remote shell looks like: cmd.exe behind a TCP port."""

    def __init__(self):
        threading.Thread.__init__(self)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.level = 0

    def run(self):
        peer, _ = self.listener.accept()
        with peer, peer.makefile("r", newline="\r\n") as lines:
            peer.sendall(b"Please wait...\r\n")
            peer.sendall(b"Microsoft Windows [Version 6.1.7601]\r\n\r\nC:\\>")
            for line in lines:
                line = line.strip("\r\n")
                peer.sendall(line.encode() + b"\r\n" + self.answer(line).encode() + b"\r\nC:\\>")

    def answer(self, line):
        if line.startswith("echo "):
            return line[5:].replace("%errorlevel%", str(self.level)) + "\r\n"
        self.level = 0 if line.startswith("dir") else -1073741510
        return "a b\r\n" if self.level == 0 else "it failed\r\n"


def test_windows_shell_with_its_own_status_command():
    guest = FakeWindows()
    guest.start()
    try:
        session = login.remote_login("nc", "127.0.0.1", guest.port, "Administrator", "x",
                                     r"^\w:\\.*>\s*$", "\r\n", timeout=2 * BUSY)
        session.set_status_test_command("echo %errorlevel%")
        assert session.cmd("dir") == "a b\n"     # the blank line is part of the prompt
        assert session.cmd_status_output("nonsense") == (-1073741510, "it failed\n")
        session.close()
    finally:
        guest.listener.close()
        guest.join(10)


# ---- a hostile Telnet server ----

def test_negotiation_that_never_ends():
    listener = socket.create_server(("127.0.0.1", 0))

    def flood():
        peer, _ = listener.accept()
        with peer, contextlib.suppress(OSError):
            while True:
                peer.sendall(b"\xff\xfd\x2a\xff\xfb\x2a" * 1000)        # DO, WILL of an unknown option

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        session = _session.open_tcp("127.0.0.1", listener.getsockname()[1], telnet=True)
        output, why = session.read(60.0, 2.0)     # on a busy machine the flood may pause
        assert output == b"" and why in ("timeout", "error")
        session.close()
    finally:
        listener.close()
        thread.join(10)
