"""A real dropbear on loopback: the SSH server of small systems."""

import os
import shutil
import socket
import subprocess
import tempfile
import time

from support.sshd import free_port
from support.waiting import BUSY


class Dropbear:
    """A server for an account of support.sshd, who logs in by password (needs root)."""

    host, key = "127.0.0.1", None

    def __init__(self, account):
        self.user, self.password = account.name, account.password
        self.folder = tempfile.mkdtemp(prefix="virtvm-dropbear-")
        self.port = free_port()
        self.process = None
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        key = os.path.join(self.folder, "key")
        subprocess.run(["dropbearkey", "-t", "ed25519", "-f", key], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen(
            ["dropbear", "-F", "-E", "-r", key, "-p", "%s:%d" % (self.host, self.port), "-P",
             os.path.join(self.folder, "pid")], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 2 * BUSY
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as s:
                if s.connect_ex((self.host, self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError("dropbear does not listen")

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
