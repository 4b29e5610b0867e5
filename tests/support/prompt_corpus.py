"""Reads the corpus of adversarial outputs and runs its cases in a session.

The cases' format is told by the corpus files themselves ("format").
"""

import base64
import contextlib
import glob
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

from virtvm import _session

from .sshd import free_port
from .waiting import BUSY

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "corpus")
# What looks like a prompt and pauses, for a little less than the tenth of a second after which
# cmd_output believes it (docs/internals/prompts.rst); on a busy machine for more. Here silence
# must be so many times as long, and the pauses are not; a flood's, where a terminal echoes, too.
PATIENCE = dict.fromkeys(["dollar-pause90", "b-trickle-dollar", "b-trickle-busybox", "b-trickle-bytes",
                          "prompt-lines-1m"], 30)
# How often each case runs: 20 shows what the design asks (`make corpus`); fewer keep
# `make test` short.
RUNS = int(os.environ.get("VIRTVM_CORPUS_RUNS", "2"))

TELNETD = shutil.which("telnetd") or "/usr/sbin/telnetd"

SHELLS = {
    "bash": [b"/bin/bash", b"-l"],
    "dash": [b"/bin/dash", b"-i"],
    "busybox": [b"/bin/busybox", b"ash", b"-i"],
}
PROMPTS = {"bash": "root@vm:~$ ", "dash": "$ ", "busybox": "~ $ "}


def cases():
    """All cases of all corpus files, in order."""
    found = []
    for name in sorted(glob.glob(os.path.join(FOLDER, "*.json"))):
        with open(name) as f:
            found += json.load(f)["cases"]
    return found


def expand(pieces, prompt, folder):
    """The bytes that a list of pieces stands for."""
    parts = []
    for piece in pieces:
        text = base64.b64decode(piece["b64"]) if "b64" in piece else piece["text"].encode()
        text = text.replace(b"@P@", prompt).replace(b"@W@", folder)
        parts.append(text * piece.get("times", 1))
    return b"".join(parts)


def prepare_home(home):
    """Make a login bash in that home show the corpus's prompt."""
    with open(os.path.join(home, ".bash_profile"), "w") as f:
        f.write("PS1='%s'\n" % PROMPTS["bash"])


def open_local(shell, home):
    """A Session of the engine with that shell on a local pty."""
    env = [b"TERM=dumb", b"LANG=C.UTF-8", b"PATH=" + os.environb[b"PATH"],
           b"HOME=" + os.fsencode(home), b"PS1=" + PROMPTS[shell].encode()]
    return _session.open_pty(SHELLS[shell], env, cwd="/")


def open_remote(shell, server):
    """A Session with that shell on a server of support.sshd, whose account has that home."""
    engine = _session.open_ssh(server.host, server.port, server.user, identity_file=server.key)
    if shell != "bash":
        match = re.compile(rb"[$#] $").search
        engine.find_prompt(lambda line: match(line) is not None, timeout=2 * BUSY)
        command = "PS1='%s' exec %s" % (PROMPTS[shell], b" ".join(SHELLS[shell]).decode())
        engine.command(command.encode(), lambda line: match(line) is not None, timeout=2 * BUSY)
    return engine


class Served:
    """Shells on terminals behind a socket of socat's."""

    def __init__(self, folder):
        self._folder, self._processes = folder, []

    def _env(self, shell):
        return {"TERM": "vt100", "LANG": "C.UTF-8", "PATH": os.environ["PATH"], "HOME": self._folder,
                "PS1": PROMPTS[shell]}

    @staticmethod
    def _command(shell):
        return " ".join(word.decode() for word in SHELLS[shell])

    def _program(self, shell):
        """What socat runs for a connection (an address of its)."""
        return "EXEC:'%s',pty,setsid,ctty,stderr" % self._command(shell)

    def _serve(self, address, shell):
        self._processes.append(subprocess.Popen(
            ["socat", address, self._program(shell)], env=self._env(shell), cwd="/", start_new_session=True,
            stderr=subprocess.DEVNULL))

    @staticmethod
    def _open(function, *args, **kwargs):
        """What function returns once the server listens."""
        deadline = time.monotonic() + 10
        while True:
            try:
                return function(*args, **kwargs)
            except _session.EngineError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def close(self):
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Serial(Served):
    """Behind a unix socket, as a guest's serial console has them."""

    def open(self, shell):
        path = tempfile.mktemp(prefix="console-", dir=self._folder)
        self._serve("UNIX-LISTEN:" + path, shell)
        return self._open(_session.open_unix, path)


class Tcp(Served):
    """Behind a bare port, as netcat-like remote shells have them: one for each shell."""

    telnet = False

    def __init__(self, folder):
        super().__init__(folder)
        self._ports = {}

    def open(self, shell):
        if shell not in self._ports:
            self._ports[shell] = free_port()
            self._serve("TCP-LISTEN:%d,bind=127.0.0.1,fork,reuseaddr" % self._ports[shell], shell)
        return self._open(_session.open_tcp, "127.0.0.1", self._ports[shell], telnet=self.telnet)


class Telnet(Tcp):
    """Behind a real telnetd, with a program in place of login."""

    telnet = True

    def _program(self, shell):
        program = os.path.join(self._folder, "login-" + shell)
        with open(program, "w") as f:       # telnetd has its own ideas of the environment
            f.write("#!/bin/sh\ncd /\nexec env -i %s %s\n" % (
                " ".join(shlex.quote("%s=%s" % item) for item in self._env(shell).items()),
                self._command(shell)))
        os.chmod(program, 0o755)
        return "EXEC:%s -h -E %s,nofork" % (TELNETD, program)


def run_case(case, open_shell, folder):
    """A case, as often as RUNS says, in shells that open_shell(name) makes."""
    runner = None
    for n in range(min(RUNS, case.get("reps", RUNS))):
        if runner is None or case.get("fresh") or case.get("status") == "closed":
            if runner is not None:
                runner.engine.close()
            runner = Runner(case, open_shell(case["shell"]), folder)
        runner.run(n)
    runner.engine.close()


class Runner:
    """One case in one session, as often as asked."""

    def __init__(self, case, engine, folder):
        self.case, self.engine, self.folder = case, engine, os.fsencode(folder)
        search = re.compile(case["regex"].encode()).search
        self.match = lambda line: search(line) is not None
        engine.find_prompt(self.match, timeout=2 * BUSY)
        for command in case.get("setup", []):
            engine.command(command.encode(), self.match, timeout=2 * BUSY)
        self.prompt = engine.prompts[0][0]
        for name, pieces in case.get("files", {}).items():
            with open(os.path.join(self.folder, name.encode()), "wb") as f:
                f.write(expand(pieces, self.prompt, self.folder))

    def run(self, n):
        """The n-th run: the case's command, then one of known output and status."""
        calls = self.case.get("calls") or ["status", "output"]
        for text in self.case.get("pre", []):
            self.engine.write(text.encode() + b"\n")
        call = calls[n % len(calls)]
        self._check(self._call(call), call)
        if self.case.get("status") in ("closed", "timeout"):
            return
        time.sleep(self.case.get("idle_ms", 0) / 1000)
        for command in self.case.get("post", []):
            self.engine.command(command.encode(), self.match, timeout=2 * BUSY)
        assert self.engine.command(b"echo sync%d; (exit 7)" % n, self.match, timeout=2 * BUSY) == \
            (7, b"sync%d\n" % n)

    def _call(self, call):
        try:
            return self.engine.command(
                expand(self.case["command"], self.prompt, self.folder), self.match,
                timeout=self.case.get("timeout", 2 * BUSY), want_status=call == "status",
                patience=PATIENCE.get(self.case["id"], 1))
        except _session.EngineError as e:
            return e.code, e.output

    def _check(self, result, call):
        status, output = result
        expected = self.case.get("status", 0)
        if expected in ("closed", "timeout"):
            assert status == {"closed": "eof", "timeout": "timeout"}[expected]
            return
        assert status == (expected if call == "status" else None), output[-300:]
        if "output" in self.case:
            wanted = expand(self.case["output"], self.prompt, self.folder)
            assert output == wanted, (output[:200], wanted[:200])
        elif "output_re" in self.case:
            assert re.fullmatch(self.case["output_re"].encode(), output, re.S), output[:300]
