"""A peer that sends for ever what is no output."""

import contextlib
import socket
import threading

import pytest
from support.waiting import due

from virtvm import _session
from virtvm.companions import virt_utils

NOISE = b"\xff\xf1" * 4000       # IAC NOP


@pytest.fixture
def noisy():
    """Port of a Telnet server that is never silent and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve():
        peer, _ = listener.accept()
        peer.settimeout(0.2)
        with peer:
            while not stop.is_set():
                try:
                    peer.sendall(NOISE)
                except TimeoutError:
                    with contextlib.suppress(OSError):
                        peer.recv(1 << 16)      # the client's answers
                except OSError:
                    return

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    stop.set()
    listener.close()
    thread.join()


def test_read_of_telnet_commands_ends_at_its_deadline(noisy):
    session = _session.open_tcp("127.0.0.1", noisy, telnet=True, timeout=30)
    try:
        with due(1):
            assert session.read(-1.0, 1.0) == (b"", "timeout")
        with due(1), pytest.raises(_session.EngineError):
            session.command(b"true", lambda line: False, timeout=1.0)
    finally:
        session.close()


def test_read_amid_what_was_typed_ends_at_its_deadline(new_own_sshd):
    """OpenSSH answers what a terminal takes without echo by packets that say nothing; and more waits to be sent."""
    server = new_own_sshd("")
    with virt_utils.remote_login("ssh", "127.0.0.1", server.port, server.user, None, r"[\#\$]\s*$",
                                 ssh_identity_file=server.key) as session:
        session.sendline("exec cat >/dev/null")
        with pytest.raises(_session.EngineError, match="timeout"):
            session._engine.write(b"x" * 3000000, 3.0)
        for _ in range(3):
            with due(1):
                assert session._engine.read(-1.0, 1.0)[1] == "timeout"
