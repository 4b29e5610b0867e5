"""A name that leads to several addresses, of which the first one is no guest's: /etc/hosts of a namespace has it."""

import contextlib
import os
import socket
import threading

import pytest
from support.driver import Driver
from support.scripted import relay

NAME, FIRST = "guest.test", "::1"
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="a namespace of its own needs root")


@pytest.fixture
def named(any_driver, tmp_path):
    """Makes a driver for which the name leads to these addresses, in this order."""
    def make(*addresses):
        hosts, program = tmp_path / "hosts", tmp_path / "driver"
        hosts.write_text("".join("%s %s\n" % (address, NAME) for address in addresses))
        program.write_text('#!/bin/sh\nexec unshare --mount sh -c \'mount --bind "$0" /etc/hosts && exec "$@"\' '
                           '%s %s "$@"\n' % (hosts, any_driver.path))
        program.chmod(0o755)
        return Driver(str(program))
    return make


class Guest:
    """The real server behind a port of 127.0.0.1, with another listener in front of it by address."""

    def __init__(self, server, backlog=50):
        self.server, self.stopped, self.threads = server, threading.Event(), []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = self.listener.getsockname()[1]
        self.first = socket.socket(socket.AF_INET6)         # the resolver puts that one first
        self.first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.first.bind((FIRST, self.port))
        self.first.listen(backlog)
        self.filling = []
        self.threads.append(threading.Thread(target=self.serve))
        self.threads[0].start()

    def fill(self):
        """From now on it answers no connection at all."""
        for _ in range(4):
            s = socket.socket(self.first.family)
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                s.connect(self.first.getsockname()[:2])
            self.filling.append(s)

    def was_asked(self):
        """Whether the first address had a connection."""
        self.first.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.first.accept()[0].close()
            return True
        return False

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.listener.accept()
                thread = threading.Thread(target=self.pass_on, args=(peer,))
                self.threads.append(thread)
                thread.start()

    def pass_on(self, peer):
        with peer, contextlib.suppress(OSError):
            relay(peer, self.server, self.stopped)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for s in [self.listener, self.first, *self.filling]:
            s.close()


@pytest.fixture
def drive(named, server):
    def run(guest, **options):
        driver = named(FIRST, "127.0.0.1").at(server, host=NAME, port=guest.port, hedge=1)
        return [step.status for step in driver("open", "exit 7\n", timeout=60, **options) if step["step"] == "end"]
    return run


@pytest.mark.parametrize("told", [{}, {"told": 2}], ids=["forwarded", "direct"])
def test_first_address_answers_nothing(drive, server, told):
    """The second time, too, when the name is known to lead to a guest that runs."""
    with Guest(server, backlog=0) as guest:
        guest.fill()
        assert drive(guest, again=1, **told) == ["7", "7"]


@pytest.mark.parametrize("told", [{}, {"told": 2}], ids=["forwarded", "direct"])
def test_first_address_accepts_and_is_silent(drive, server, told):
    """What a proxy does that has lost its other end."""
    with Guest(server) as guest:
        assert drive(guest, **told) == ["7"] and guest.was_asked()
