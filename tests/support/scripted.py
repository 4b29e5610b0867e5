"""TCP servers that misbehave as they are told."""

import contextlib
import os
import selectors
import socket
import threading

from .waiting import LONG


class Scripted:
    """A port on loopback whose connections are treated by script(socket, number) each, in a
    thread; number counts from 0.  A connection is closed when its script ends."""

    def __init__(self, script, backlog=50):
        self.script, self.count, self.peers = script, 0, []
        self.stopped = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self.serve)]
        self.threads[0].start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            if self.stopped.is_set():
                peer.close()
                return
            self.peers.append(peer)
            thread = threading.Thread(target=self.run, args=(peer, self.count))
            self.count += 1
            self.threads.append(thread)
            thread.start()

    def run(self, peer, number):
        with contextlib.suppress(OSError):
            self.script(peer, number)
        peer.close()

    def stay(self, seconds=LONG):
        """For scripts: say nothing until the test is over."""
        self.stopped.wait(seconds)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()


def reset(peer):
    """Ends a connection by RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()


def relay(peer, server, stop=None, most=None):
    """Passes bytes between peer and a server of support.sshd until one ends, or `most` came
    from the server, or the stop event is set.  Returns how many came from the server."""
    passed = 0
    with socket.create_connection((server.host, server.port)) as out, selectors.DefaultSelector() as ready:
        ready.register(peer, selectors.EVENT_READ, out)
        ready.register(out, selectors.EVENT_READ, peer)
        while not (stop and stop.is_set()):
            for key, _ in ready.select(0.1):
                try:
                    data = key.fileobj.recv(65536)
                except OSError:
                    data = b""
                if not data:
                    return passed
                if key.fileobj is out:
                    data = data[:most - passed] if most is not None else data
                    passed += len(data)
                with contextlib.suppress(OSError):      # its end is read next
                    key.data.sendall(data)
                if passed == most:
                    return passed
    return passed


def shuttle(peer, there, passed, stopped, pause=2.5):
    """Passes bytes both ways; after so many of the server's there is a pause (seconds), once."""
    got, paused = 0, False
    with selectors.DefaultSelector() as ready:
        ready.register(peer, selectors.EVENT_READ, there)
        ready.register(there, selectors.EVENT_READ, peer)
        while not stopped.is_set():
            for key, _ in ready.select(0.1):
                data = key.fileobj.recv(passed)
                if not data:
                    return
                key.data.sendall(data)
                got += len(data) if key.fileobj is there else 0
                if got >= passed and not paused:
                    paused = True
                    stopped.wait(pause)


@contextlib.contextmanager
def black_hole():
    """A port that answers no connection at all: its backlog is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            s = stack.enter_context(socket.socket())
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                s.connect(listener.getsockname())
        yield listener.getsockname()[1]


class SilentAgent:
    """An SSH agent that takes requests and never answers."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "agent")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(5)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.close()
