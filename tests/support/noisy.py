"""A serial console on a unix socket: a program on a terminal, and a kernel that writes its messages
into whatever stands there."""

import os
import pty
import re
import select
import signal
import socket
import threading

STAMPED = b"[%5d.%06d] usb 1-1: new device number %d\r\n"
BARE = b"usb 1-1: new device number %d\r\n"


def without_messages(text):
    """text (str) as it was before the messages came into it, also between a CR and its LF."""
    return re.sub(r"(?:\[ *\d+\.\d{6}\] )?usb 1-1: new device number \d+\n", "", text).replace("\r", "")


class Noisy:
    """Serves one client.  command: the program's words; env: its environment.

    torn(before, data): where in data (bytes; the last that went before it) a message comes; a list
    of offsets.  every: seconds between messages that come by themselves.  message: a pattern.
    """

    def __init__(self, folder, command, env, torn=lambda before, data: (), every=None, message=STAMPED):
        self.path = os.path.join(str(folder), "console")
        self.torn, self.every, self.message, self.count = torn, every, message, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.stop_read, self.stop_write = os.pipe()
        self.pid, self.tty = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, env)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def next_message(self):
        self.count += 1
        numbers = (self.count, self.count, self.count)
        return self.message % (numbers if self.message is STAMPED else self.count)

    def with_messages(self, before, data):
        at, parts = 0, []
        for offset in self.torn(before, data):
            parts += [data[at:offset], self.next_message()]
            at = offset
        return b"".join([*parts, data[at:]])

    def serve(self):
        ready = select.select([self.listener, self.stop_read], [], [])[0]
        if self.stop_read in ready:
            return
        peer, before = self.listener.accept()[0], b""
        with peer:
            while True:
                ready = select.select([peer, self.tty, self.stop_read], [], [], self.every)[0]
                try:
                    if self.stop_read in ready:
                        return
                    if not ready:
                        peer.sendall(self.next_message())
                    if peer in ready:
                        os.write(self.tty, peer.recv(65536))
                    if self.tty in ready:
                        data = os.read(self.tty, 65536)
                        peer.sendall(self.with_messages(before, data))
                        before = (before + data)[-200:]
                except OSError:
                    return

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        os.write(self.stop_write, b"x")
        self.thread.join()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        for fd in (self.tty, self.stop_read, self.stop_write):
            os.close(fd)
        self.listener.close()
