"""Runs tests/core/ssh_driver, the SSH engine without Python, and reads what it prints."""

import os
import re
import subprocess

import pytest

from .waiting import BUSY

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.environ.get("VIRTVM_CORE_OUT", "build/core")   # another one holds a sanitizers' build


def build(name="ssh_driver"):
    """Path of a driver, built if need be; the keeper lies beside it."""
    path = os.path.join(OUT, name)
    if "VIRTVM_CORE_OUT" not in os.environ:
        done = subprocess.run(["make", "-s", "-f", "tests/core/Makefile", path,
                               os.path.join(OUT, "virtvm-keeper")], cwd=TOP, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            pytest.fail("the driver does not build: %s" % done.stdout)
    return os.path.join(TOP, path)


class Step(dict):
    """What one step printed; its keys are attributes as well."""

    __getattr__ = dict.__getitem__

    def took(self, seconds):
        """Whether it ended at a deadline of so many seconds, and not by something much later."""
        return seconds - 0.01 <= float(self.ms) / 1000 < seconds + BUSY

    def bytes(self, key):
        """A printed value as the bytes that it stands for."""
        return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m.group(1), 16)]), self[key].encode())


class Driver:
    """drive(action..., option=value...) runs a login and actions; returns their steps."""

    def __init__(self, path, **options):
        self.path, self.options = path, options

    def at(self, server, **options):
        """A driver for a server of support.sshd, by key unless a password is given."""
        options = dict({"host": server.host, "port": server.port, "user": server.user}, **options)
        if "password" not in options:
            options.setdefault("identity", server.key)
        return Driver(self.path, **dict(self.options, **options))

    def start(self, *actions, **options):
        options = dict(self.options, **options)
        # libssh2 1.10 forgets numbers of ECDSA keys, in libcrypto's memory.
        environ = dict(os.environ, LSAN_OPTIONS="suppressions=%s:print_suppressions=0" % os.path.join(
            TOP, "tests/core/leaks"))
        return subprocess.Popen(
            [self.path] + ["%s=%s" % item for item in options.items() if item[1] is not None]
            + [str(word) for word in actions], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=environ)

    def finish(self, process):
        out, err = process.communicate()
        text = out.decode()
        assert process.returncode == 0 and err == b"", "%s%s" % (text, err.decode())
        return [Step(line.partition(": ")[::2] for line in block.splitlines())
                for block in re.split(r"^(?=step: )", text, flags=re.MULTILINE) if block]

    def __call__(self, *actions, **options):
        process = self.start(*actions, **options)
        try:
            return self.finish(process)
        finally:
            process.kill()
            process.wait()
