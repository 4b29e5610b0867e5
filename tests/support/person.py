"""A person at a terminal of the test's."""

import contextlib
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
from support.waiting import BUSY


class Person:
    """At a terminal of 30 lines of so many characters, running a command of virtvm's."""

    def __init__(self, *words, cwd=None, columns=100, **variables):
        self.master, slave = pty.openpty()
        self.resize(30, columns)
        env = dict(os.environ, TERM="vt100")
        env.update(variables)
        env.pop("COLUMNS", None)
        env.pop("LINES", None)
        self.process = subprocess.Popen([sys.executable, "-m", "virtvm", *map(str, words)], stdin=slave, stdout=slave,
                                        stderr=slave, env=env, cwd=cwd, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def see(self, pattern, timeout=2 * BUSY):
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
        with contextlib.suppress(OSError):              # its end of the terminal is closed
            while select.select([self.master], [], [], 2 * BUSY)[0]:
                self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
        os.close(self.master)
        try:
            return self.process.wait(2 * BUSY)
        finally:
            self.process.kill()
