"""SSH servers that fail a key exchange in each way there is: no memory is corrupted.

A client that crashes, or is stopped by a sanitizer, makes the driver fail.
"""

import itertools
import os
import re
import socket
import struct

import pytest
from support.scripted import Scripted

KEXINIT, NEWKEYS, REPLY = 20, 21, 31


def string(data):
    return struct.pack(">I", len(data)) + data


def packet(payload):
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def kexinit(method, key):
    lists = [method, key] + [b"aes128-ctr"] * 2 + [b"hmac-sha2-256"] * 2 + [b"none"] * 2 + [b""] * 2
    return packet(bytes([KEXINIT]) + bytes(16) + b"".join(map(string, lists)) + b"\0" + bytes(4))


def host_keys(kind):
    """Keys of that kind that are none."""
    return [b"", bytes(4), string(kind), string(kind) + string(b"x" * 32), string(kind) + b"\xff\xff\xff\xff",
            string(kind) + string(b"\1\0\1") + string(b"n" * 256),
            string(kind) + string(b"nistp256") + string(b"\4" + b"p" * 64)]


PUBLIC = [b"", b"\0", b"\1", b"\2" * 32, b"\4" + b"q" * 64, b"\xff" * 256]
METHODS = [b"curve25519-sha256", b"ecdh-sha2-nistp256", b"diffie-hellman-group14-sha256",
           b"diffie-hellman-group14-sha1"]
KINDS = [b"ssh-ed25519", b"ssh-rsa", b"ecdsa-sha2-nistp256"]


def replies(kind):
    """Answers to a key exchange, none of them right."""
    for key, public in itertools.product(host_keys(kind), PUBLIC):
        yield bytes([REPLY]) + string(key) + string(public) + string(string(kind) + string(b"s" * 64))
    yield bytes([REPLY])
    yield bytes([REPLY]) + b"\xff" * 8
    yield bytes([NEWKEYS])


def exchange(method, kind, reply):
    """All that such a server says.  The second answer reaches a client that goes on after the first."""
    said = b"SSH-2.0-hostile\r\n" + kexinit(method, kind)
    return said + packet(reply) * 2 + packet(bytes([NEWKEYS]))


@pytest.mark.parametrize("kind", KINDS, ids=bytes.decode)
@pytest.mark.parametrize("method", METHODS, ids=bytes.decode)
def test_key_exchange_that_fails_ends_the_login_and_nothing_else(any_driver, method, kind):
    answers = list(replies(kind))

    def script(peer, number):
        peer.sendall(exchange(method, kind, answers[number]))
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(4096):
            pass

    with Scripted(script) as server:
        for answer in answers:
            login, = any_driver(host="127.0.0.1", port=server.port, user="u", password="p", hedge=0, timeout=5)
            assert login.rc in ("VT_KEX", "VT_EOF", "VT_IO"), (answer, login)


FLAGS = [b"ext-info-c", b"kex-strict-c-v00@openssh.com", b"ext-info-s,kex-strict-s-v00@openssh.com",
         b"kex-strict-c-v00@openssh.com,ext-info-c"]


@pytest.mark.parametrize("flags", FLAGS, ids=bytes.decode)
def test_flags_are_no_methods(any_driver, flags):
    """libssh2 1.11.0 and 1.11.1 took one for the method that was agreed upon, and called NULL."""
    def script(peer, number):
        peer.sendall(exchange(flags, KINDS[0], bytes([REPLY])))
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(4096):
            pass

    with Scripted(script) as server:
        login, = any_driver(host="127.0.0.1", port=server.port, user="u", password="p", hedge=0, timeout=5)
    assert login.rc == "VT_KEX" and "no key exchange method in common" in login.text, login


@pytest.mark.parametrize("kind", [2, 4, 80, 94, 99])
def test_server_that_floods_before_the_login_is_bounded(any_driver, kind):
    """Packets that nobody waits for are queued by libssh2."""
    flood = packet(bytes([kind]) + b"q" * 32000) * 20

    def script(peer, number):
        peer.sendall(b"SSH-2.0-hostile\r\n" + kexinit(METHODS[0], KINDS[0]))
        while True:
            peer.sendall(flood)

    with Scripted(script) as server:
        process = any_driver.start(host="127.0.0.1", port=server.port, user="u", password="p", hedge=0, timeout=3)
        out, err = process.communicate()
    assert process.returncode == 0 and b"step: login" in out and b"rc: VT_OK" not in out and err == b""
    if "VIRTVM_CORE_OUT" not in os.environ:     # a sanitizer has memory of its own
        assert int(re.search(rb"peak: (\d+)", out).group(1)) < 48 * 1024
