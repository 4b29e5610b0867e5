"""A peer in a process of its own: `peers.py NAME` does what its standard input says.

Each line is a JSON object with "op" and arguments; the answer is one, too, with "seconds".
"""

import json
import os
import re
import select
import socket
import subprocess
import sys
import time

PROMPT = rb"vt\$ $"


def shell_quote(text):
    import shlex
    return shlex.quote(text)


class Peer:
    """What a peer can be asked: login, open, command, output, close."""

    def login(self, **where):
        """Log in, see the prompt, close."""
        start = time.perf_counter()
        self.open(**where)
        self.close()
        return time.perf_counter() - start

    def timed_open(self, **where):
        start = time.perf_counter()
        self.open(**where)
        return time.perf_counter() - start

    def command(self, count, text="echo hi"):
        """So many commands, one after another; seconds for one."""
        start = time.perf_counter()
        for _ in range(count):
            self.run(text)
        return (time.perf_counter() - start) / count

    def output(self, size):
        """That many bytes of output of one command."""
        start = time.perf_counter()
        got = self.run_large("seq -f %%0.0f%s 1 %d" % ("." * 91, size // 98 + 1), size)
        seconds = time.perf_counter() - start
        if got < size * 0.9:
            raise AssertionError("only %d of %d bytes" % (got, size))
        return seconds

    def run_large(self, text, size):
        return len(self.run(text))


class Virtvm(Peer):
    def __init__(self):
        from virtvm.companions import virt_utils
        self.log_in = virt_utils.remote_login

    def open(self, host, port, user, password=None, key=None):
        self.session = self.log_in("ssh", host, port, user, password or "", r"[\#\$]\s*$",
                                   timeout=30, ssh_identity_file=key)

    def close(self):
        self.session.close()

    def run(self, text):
        return self.session.cmd_status_output(text)[1]

    def run_large(self, text, size):
        return len(self.session.cmd_output(text))


class Aexpect(Peer):
    def __init__(self):
        from aexpect import remote
        # Its helper program lies beside the interpreter.
        os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
        self.remote = remote

    def open(self, host, port, user, password=None, key=None):
        options = {"identity_file": key, "preferred_authentication": "publickey"} if key else {}
        self.session = self.remote.remote_login("ssh", host, port, user, password or "", r"[\#\$]\s*$",
                                                timeout=30, **options)

    def close(self):
        self.session.close()

    def run(self, text):
        return self.session.cmd_status_output(text)[1]

    def run_large(self, text, size):
        return len(self.session.cmd_output(text, timeout=300))


class Pexpect(Peer):
    def __init__(self):
        from pexpect import pxssh
        self.pxssh = pxssh

    def open(self, host, port, user, password=None, key=None):
        self.session = self.pxssh.pxssh(options={"StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null"})
        self.session.login(host, user, password or "", port=port, ssh_key=key, auto_prompt_reset=False,
                           original_prompt=r"vt\$ $", sync_original_prompt=False, quiet=True)

    def close(self):
        self.session.close()


class OpenSSH(Peer):
    """ssh -tt, read from a pipe."""

    def open(self, host, port, user, password=None, key=None):
        command = ["ssh", "-tt", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                   "-o", "LogLevel=ERROR", "-p", str(port)]
        env = dict(os.environ)
        if key:
            command += ["-i", key, "-o", "IdentitiesOnly=yes", "-o", "PreferredAuthentications=publickey"]
        else:
            env.update(SSH_ASKPASS=self.askpass(password), SSH_ASKPASS_REQUIRE="force", DISPLAY=":0")
            command += ["-o", "PreferredAuthentications=password"]
        self.process = subprocess.Popen(command + ["%s@%s" % (user, host)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=env)
        self.until_prompt()

    @staticmethod
    def askpass(password):
        import tempfile
        path = os.path.join(tempfile.gettempdir(), "bench-askpass-%d" % os.getpid())
        with open(path, "w") as f:
            f.write("#!/bin/sh\nprintf '%%s\\n' %s\n" % shell_quote(password))
        os.chmod(path, 0o700)
        import atexit
        atexit.register(lambda: os.path.exists(path) and os.unlink(path))
        return path

    def until_prompt(self):
        output = bytearray()
        while not re.search(PROMPT, output[-64:]):
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                raise AssertionError("ssh ended: %r" % bytes(output[-200:]))
            output += piece
        return output

    def run(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()
        return self.until_prompt()

    def close(self):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Paramiko(Peer):
    def __init__(self):
        import paramiko
        self.paramiko = paramiko

    def open(self, host, port, user, password=None, key=None):
        self.client = self.paramiko.SSHClient()
        self.client.set_missing_host_key_policy(self.paramiko.AutoAddPolicy())
        self.client.connect(host, port, user, password, key_filename=key, look_for_keys=False, allow_agent=False)
        self.channel = self.client.invoke_shell(term="dumb")
        self.until_prompt()

    def until_prompt(self):
        output = bytearray()
        while not re.search(PROMPT, output[-64:]):
            output += self.channel.recv(65536)
        return output

    def run(self, text):
        self.channel.sendall(text.encode() + b"\n")
        return self.until_prompt()

    def close(self):
        self.client.close()


class AsyncSSH(Peer):
    def __init__(self):
        import asyncio

        import asyncssh
        self.asyncssh, self.loop = asyncssh, asyncio.new_event_loop()

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def open(self, host, port, user, password=None, key=None):
        self.do(self._open(host, port, user, password, key))

    async def _open(self, host, port, user, password, key):
        self.connection = await self.asyncssh.connect(
            host, port, username=user, password=password, client_keys=[key] if key else None, known_hosts=None,
            agent_path=None, config=None)
        self.process = await self.connection.create_process(term_type="dumb", encoding=None)
        await self._until_prompt()

    async def _until_prompt(self):
        output = bytearray()
        while not re.search(PROMPT, output[-64:]):
            output += await self.process.stdout.read(65536)
        return output

    async def _run(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        return await self._until_prompt()

    def run(self, text):
        return self.do(self._run(text))

    def close(self):
        self.connection.close()
        self.do(self.connection.wait_closed())


class SSH2Python(Peer):
    def __init__(self):
        from ssh2 import session
        self.session_module = session

    def open(self, host, port, user, password=None, key=None):
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.session = self.session_module.Session()
        self.session.handshake(self.socket)
        if key:
            self.session.userauth_publickey_fromfile(user, key)
        else:
            self.session.userauth_password(user, password)
        self.channel = self.session.open_session()
        self.channel.pty("dumb")
        self.channel.shell()
        self.session.set_blocking(False)
        self.until_prompt()

    def until_prompt(self):
        output = bytearray()
        while not re.search(PROMPT, output[-64:]):
            size, data = self.channel.read(65536)
            if size == -37:
                select.select([self.socket], [], [], 30)
            elif size > 0:
                output += data
            else:
                raise AssertionError("read: %d" % size)
        return output

    def run(self, text):
        self.channel.write(text.encode() + b"\n")
        return self.until_prompt()

    def close(self):
        self.session.set_blocking(True)
        self.session.disconnect()
        self.channel = self.session = None      # in this order: it frees the channel itself
        self.socket.close()


class SSHPython(Peer):
    def __init__(self):
        from ssh import options, session
        from ssh.key import import_privkey_file
        self.options, self.session_module, self.load = options, session, import_privkey_file

    def open(self, host, port, user, password=None, key=None):
        self.session = self.session_module.Session()
        self.session.options_set(self.options.HOST, host)
        self.session.options_set(self.options.USER, user)
        self.session.options_set_port(port)
        self.session.connect()
        if key:
            self.session.userauth_publickey(self.load(key))
        else:
            self.session.userauth_password(user, password)
        self.channel = self.session.channel_new()
        self.channel.open_session()
        self.channel.request_pty()
        self.channel.request_shell()
        self.until_prompt()

    def until_prompt(self):
        output = bytearray()
        while not re.search(PROMPT, output[-64:]):
            output += self.channel.read(65536)[1]
        return output

    def run(self, text):
        self.channel.write(text.encode() + b"\n")
        return self.until_prompt()

    def close(self):
        self.channel.close()
        self.session.disconnect()


PEERS = {"virtvm": Virtvm, "aexpect": Aexpect, "pexpect": Pexpect, "OpenSSH": OpenSSH, "paramiko": Paramiko,
         "asyncssh": AsyncSSH, "ssh2-python": SSH2Python, "ssh-python": SSHPython}


def memory():
    """Kilobytes of memory that this process has, and the most it had."""
    with open("/proc/self/status") as f:
        fields = dict(re.findall(r"^(VmRSS|VmHWM):\s*(\d+)", f.read(), re.M))
    return {"rss": int(fields["VmRSS"]), "peak": int(fields["VmHWM"])}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)                       # what libraries print is no answer
    try:
        peer = PEERS[sys.argv[1]]()
        missing = None
    except ImportError as e:
        missing = str(e)
    for line in sys.stdin:
        call = json.loads(line)
        operation = call.pop("op")
        try:
            if missing:
                raise AssertionError(missing)
            if operation in ("hello", "memory"):
                answer = memory()
            else:
                answer = {"seconds": getattr(peer, {"open": "timed_open"}.get(operation, operation))(**call)}
        except Exception as e:
            answer = {"error": "%s: %s" % (type(e).__name__, str(e)[:300])}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
