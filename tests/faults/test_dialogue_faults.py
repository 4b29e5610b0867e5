"""Text logins, by Telnet and bare TCP, at servers that split, flood, lie, hang and close."""

import re
import socket
import time

import pytest
from support.scripted import Scripted
from support.waiting import BUSY, due
from virtvm.companions import login
from virtvm.companions.exceptions import (
    LoginAuthenticationError, LoginError, LoginProcessTerminatedError, LoginTimeoutError)

PROMPT = r"[\#\$]\s*$"
IAC_SB, IAC_SE = b"\xff\xfa", b"\xff\xf0"
WILL_ECHO, WILL_SGA, DO_TYPE, DO_SIZE = b"\xff\xfb\x01", b"\xff\xfb\x03", b"\xff\xfd\x18", b"\xff\xfd\x1f"


def log_in(port, client="telnet", timeout=2.0 * BUSY):
    return login.remote_login(client, "127.0.0.1", port, "root", "se cret", PROMPT, timeout=timeout)


def lines_of(peer):
    """What a Telnet client types, line by line, without its negotiation."""
    seen = b""
    while True:
        data = peer.recv(4096)
        if not data:
            return
        seen += data
        seen = re.sub(rb"\xff\xfa.*?\xff\xf0|\xff[\xfb-\xfe].", b"", seen, flags=re.S)
        while b"\n" in seen:
            line, seen = seen.split(b"\n", 1)
            yield line.strip(b"\r\0").decode()


def dialogue(peer, say, password="se cret"):
    """login: and Password:, then a shell that knows echo.  say(bytes) sends."""
    lines = lines_of(peer)
    say(b"\r\nvm login: ")
    name = next(lines)
    say(name.encode() + b"\r\nPassword: ")
    if next(lines) != password:
        say(b"\r\nLogin incorrect\r\nvm login: ")
        for _ in lines:
            pass
        return
    say(b"\r\nwelcome\r\nvm# ")
    for line in lines:
        text = line[5:].replace("$?", "0") if line.startswith("echo ") else "what?"
        say(line.encode() + b"\r\n" + text.encode() + b"\r\nvm# ")


@pytest.mark.parametrize("answer", ["Login incorrect\r\nvm login: ", "Password: ", "", None])
def test_echoed_password_is_in_no_message(answer):
    def script(peer, number):
        lines = lines_of(peer)
        peer.sendall(b"\r\nvm login: ")
        next(lines)
        peer.sendall(b"root\r\nPassword: ")
        peer.sendall(next(lines).encode() + b"\r\n" + (answer or "").encode())
        if answer is not None:
            for _ in lines:
                pass

    with Scripted(script) as server, pytest.raises(LoginError) as info:
        log_in(server.port, timeout=4)
    e = info.value
    assert "***" in e.output and "se cret" not in "%s %r %s %s" % (e, e, vars(e), e.args)


def by_bytes(peer):
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def say(data):
        for n in range(len(data)):
            peer.sendall(data[n:n + 1])
            time.sleep(0.0005)          # so that it is mostly read alone
    return say


def test_everything_split_byte_by_byte():
    def script(peer, _):
        say = by_bytes(peer)
        say(WILL_ECHO + WILL_SGA + DO_TYPE + DO_SIZE + IAC_SB + b"\x18\x01" + IAC_SE)
        dialogue(peer, say)

    with Scripted(script) as server, log_in(server.port) as session:
        assert session.cmd("echo hi") == "hi\n"
        assert session.cmd_status_output("echo a b") == (0, "a b\n")


def test_negotiation_within_words_and_lies_about_it():
    """Options change in the middle of a line; a size is asked for that was never agreed on."""
    def script(peer, _):
        noise = b"\xff\xfc\x01" + WILL_ECHO + b"\xff\xfa\x1f\x01" + IAC_SE + b"\xff\xf9\xff\xf1"

        def say(data):
            half = len(data) // 2
            peer.sendall(noise + data[:half] + noise + data[half:])
        dialogue(peer, say)

    with Scripted(script) as server, log_in(server.port) as session:
        assert session.cmd("echo hi") == "hi\n"


def test_subnegotiation_without_end_before_the_login():
    def script(peer, _):
        peer.sendall(DO_TYPE + IAC_SB + b"\x18" + b"x" * 3000000 + IAC_SE)
        dialogue(peer, peer.sendall)

    with Scripted(script) as server, log_in(server.port) as session:
        assert session.cmd("echo hi") == "hi\n"


@pytest.mark.parametrize("client", ["telnet", "nc"])
@pytest.mark.parametrize("text", [b"x" * 65536, b"a line of noise\r\n" * 4096], ids=["one line", "lines"])
def test_flood_without_a_prompt_ends_at_the_deadline(client, text):
    def script(peer, _):
        while True:
            peer.sendall(text)

    with Scripted(script) as server:
        with due(0.7), pytest.raises(LoginTimeoutError) as info:
            log_in(server.port, client, 0.7)
    assert info.value.port == server.port and len(info.value.output) <= 65536


@pytest.mark.parametrize("said, read", [(b"", 0), (b"vm log", 0), (b"vm login: ", 1), (b"vm login: ", 0)],
                         ids=["nothing", "half a question", "after the name", "after the question"])
def test_server_that_closes_in_the_dialogue(said, read):
    def script(peer, _):
        peer.sendall(said)
        if read:
            next(lines_of(peer))

    with Scripted(script) as server, pytest.raises(LoginError) as info:
        log_in(server.port, timeout=2 * BUSY)
    assert isinstance(info.value, LoginProcessTerminatedError) and info.value.host == "127.0.0.1"


def test_server_that_hangs_after_the_name():
    with Scripted(lambda peer, _: (peer.sendall(b"vm login: "), server.stay())) as server:
        with due(0.7), pytest.raises(LoginTimeoutError) as info:
            log_in(server.port, timeout=0.7)
    assert "vm login:" in info.value.output and "se cret" not in str(info.value)


def test_wrong_password_over_telnet_names_the_place_and_not_the_password():
    with Scripted(lambda peer, _: dialogue(peer, peer.sendall, "another")) as server, \
            pytest.raises(LoginAuthenticationError) as info:
        log_in(server.port)
    assert (info.value.stage, info.value.port) == ("authentication", server.port)
    assert "se cret" not in str(info.value)
