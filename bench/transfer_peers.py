"""Who copies files, each in a process of its own: `transfer_peers.py NAME` does what its
standard input says, a JSON object a line, and answers with seconds, CPU seconds and memory.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time

SSH = ["-q", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]


class Peer:
    """up, down: one file. tree_up, tree_down: a folder, with modes and times."""


class Virtvm(Peer):
    def __init__(self):
        from virtvm.companions import transfer
        self.transfer = transfer

    def put(self, w, source, target, **keywords):
        self.transfer.scp_to_remote(w["host"], w["port"], w["user"], "", source, target, ssh_identity_file=w["key"],
                                    **keywords)

    def get(self, w, source, target, **keywords):
        self.transfer.scp_from_remote(w["host"], w["port"], w["user"], "", source, target,
                                      ssh_identity_file=w["key"], **keywords)

    up, down = put, get

    def tree_up(self, w, source, target):
        self.put(w, source, target, transfer_times="yes")

    def tree_down(self, w, source, target):
        self.get(w, source, target, transfer_times="yes")


class ByScp(Virtvm):
    """Our engine for servers without SFTP."""

    def put(self, w, source, target, **keywords):
        super().put(w, source, target, transfer_engine="scp", **keywords)

    def get(self, w, source, target, **keywords):
        super().get(w, source, target, transfer_engine="scp", **keywords)

    up, down = put, get


def there(w, path):
    return "%s@%s:%s" % (w["user"], w["host"], path)


class Scp(Peer):
    def scp(self, w, *words):
        subprocess.run(["scp", *SSH, "-i", w["key"], "-P", str(w["port"]), *words], check=True,
                       stdin=subprocess.DEVNULL)

    def up(self, w, source, target):
        self.scp(w, source, there(w, target))

    def down(self, w, source, target):
        self.scp(w, there(w, source), target)

    def tree_up(self, w, source, target):
        self.scp(w, "-rp", source, there(w, target))

    def tree_down(self, w, source, target):
        self.scp(w, "-rp", there(w, source), target)


class Ssh(Peer):
    """cat for a file, tar for a tree."""

    def ssh(self, w, command):
        return ["ssh", *SSH, "-i", w["key"], "-p", str(w["port"]), "%s@%s" % (w["user"], w["host"]), command]

    def up(self, w, source, target):
        with open(source, "rb") as f:
            subprocess.run(self.ssh(w, "cat >'%s'" % target), stdin=f, check=True)

    def down(self, w, source, target):
        with open(target, "wb") as f:
            subprocess.run(self.ssh(w, "cat '%s'" % source), stdin=subprocess.DEVNULL, stdout=f, check=True)

    def pipe(self, one, other):
        with subprocess.Popen(one, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as first:
            subprocess.run(other, stdin=first.stdout, check=True)

    def tree_up(self, w, source, target):
        self.pipe(["tar", "-C", source, "-cf", "-", "."], self.ssh(w, "mkdir '%s' && tar -C '%s' -xpf -" % (
            target, target)))

    def tree_down(self, w, source, target):
        os.mkdir(target)
        self.pipe(self.ssh(w, "tar -C '%s' -cf - ." % source), ["tar", "-C", target, "-xpf", "-"])


class Rsync(Peer):
    def rsync(self, w, *words):
        subprocess.run(["rsync", "-a", "-e", "ssh %s -i %s -p %d" % (" ".join(SSH), w["key"], w["port"]), *words],
                       check=True, stdin=subprocess.DEVNULL)

    def tree_up(self, w, source, target):
        self.rsync(w, source + "/", there(w, target))

    def tree_down(self, w, source, target):
        self.rsync(w, there(w, source) + "/", target)


class Paramiko(Peer):
    def __init__(self):
        import paramiko
        self.paramiko = paramiko

    @contextlib.contextmanager
    def sftp(self, w):
        client = self.paramiko.SSHClient()
        client.set_missing_host_key_policy(self.paramiko.AutoAddPolicy())
        client.connect(w["host"], w["port"], w["user"], key_filename=w["key"], allow_agent=False, look_for_keys=False)
        try:
            yield client.open_sftp()
        finally:
            client.close()

    def up(self, w, source, target):
        with self.sftp(w) as sftp:
            sftp.put(source, target)

    def down(self, w, source, target):
        with self.sftp(w) as sftp:
            sftp.get(source, target)


class Asyncssh(Peer):
    def __init__(self):
        import asyncssh
        self.asyncssh = asyncssh

    def run(self, w, method, source, target):
        import asyncio

        async def copy():
            async with self.asyncssh.connect(w["host"], w["port"], username=w["user"], client_keys=[w["key"]],
                                             known_hosts=None) as c:
                async with c.start_sftp_client() as sftp:
                    await getattr(sftp, method)(source, target)
        asyncio.run(copy())

    def up(self, w, source, target):
        self.run(w, "put", source, target)

    def down(self, w, source, target):
        self.run(w, "get", source, target)


class Ssh2Python(Peer):
    def __init__(self):
        from ssh2 import session, sftp
        self.session, self.sftp = session, sftp

    @contextlib.contextmanager
    def open(self, w):
        import socket
        with socket.create_connection((w["host"], w["port"])) as s:
            session = self.session.Session()
            session.handshake(s)
            session.userauth_publickey_fromfile(w["user"], w["key"])
            yield session.sftp_init()
            session.disconnect()

    def up(self, w, source, target):
        flags = self.sftp.LIBSSH2_FXF_WRITE | self.sftp.LIBSSH2_FXF_CREAT | self.sftp.LIBSSH2_FXF_TRUNC
        with self.open(w) as sftp, open(source, "rb") as f, sftp.open(target, flags, 0o644) as there:
            while data := f.read(1 << 20):
                there.write(data)

    def down(self, w, source, target):
        with self.open(w) as sftp, open(target, "wb") as f, \
                sftp.open(source, self.sftp.LIBSSH2_FXF_READ, 0) as there:
            there.read(1)
            there.seek(0)
            while True:
                n, data = there.read(1 << 20)
                if n <= 0:
                    break
                f.write(data)


class SshPython(Peer):
    def __init__(self):
        from ssh import key, options, session
        self.session, self.options, self.key = session, options, key

    @contextlib.contextmanager
    def open(self, w):
        session = self.session.Session()
        session.options_set(self.options.HOST, w["host"])
        session.options_set_port(w["port"])
        session.options_set(self.options.USER, w["user"])
        session.connect()
        session.userauth_publickey(self.key.import_privkey_file(w["key"]))
        sftp = session.sftp_new()
        sftp.init()
        yield sftp
        session.disconnect()

    def up(self, w, source, target):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with self.open(w) as sftp, open(source, "rb") as f, sftp.open(target, flags, 0o644) as there:
            while data := f.read(131072):
                there.write(data)

    def down(self, w, source, target):
        with self.open(w) as sftp, open(target, "wb") as f, sftp.open(source, os.O_RDONLY, 0) as there:
            while True:
                n, data = there.read(131072)
                if n <= 0:
                    break
                f.write(data)


PEERS = {"virtvm": Virtvm, "virtvm by scp": ByScp, "scp": Scp, "ssh cat/tar": Ssh, "rsync": Rsync,
         "paramiko": Paramiko, "asyncssh": Asyncssh, "ssh2-python": Ssh2Python, "ssh-python": SshPython}


def cpu():
    """CPU seconds of this process and of the programs that it has run."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main():
    try:
        peer = PEERS[sys.argv[1]]()
    except ImportError as e:
        print(json.dumps({"error": str(e)}), flush=True)
        return
    for line in sys.stdin:
        task = json.loads(line)
        operation = task.pop("op")
        if operation == "hello":
            print("{}", flush=True)
            continue
        before, start = cpu(), time.perf_counter()
        try:
            getattr(peer, operation)(task["where"], task["source"], task["target"])
        except Exception as e:      # whatever a peer may raise: the benchmark goes on without it
            print(json.dumps({"error": "%s: %s" % (type(e).__name__, e)}), flush=True)
            continue
        print(json.dumps({"seconds": time.perf_counter() - start, "cpu": cpu() - before,
                          "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}), flush=True)


if __name__ == "__main__":
    main()
