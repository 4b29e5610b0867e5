"""What benchmarks share: a server, peers in processes of their own, rounds, tables.

A peer is a worker process (bench/peers.py, or a C program) that does one thing when it is
told to and answers how long that took by its own clock. Peers take turns, in reversed
order every other round, so that what else the machine does falls on all of them alike.
Only ratios within one run mean anything.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests"))

from support.sshd import Account, Sshd      # noqa: E402 (found through the path above)

RESULTS = os.path.join(TOP, "bench", "results")
PROMPT = r"[\#\$]\s*$"


@contextlib.contextmanager
def server(options=""):
    """An OpenSSH server on loopback with an account of its own (needs root)."""
    account = Account()
    # A prompt that every peer can wait for.
    with open(os.path.join(account.home, ".bashrc"), "w") as f:
        f.write("PS1='vt$ '\nunset PROMPT_COMMAND\n")
    with open(os.path.join(account.home, ".bash_profile"), "w") as f:
        f.write(". ~/.bashrc\n")
    sshd = Sshd(options, account=account)
    try:
        yield sshd
    finally:
        sshd.stop()
        account.remove()


class Worker:
    """A peer: ask(operation, **arguments) returns its answer (dict), or raises."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self._complaints = []
        self._reader = threading.Thread(target=self._read_complaints, daemon=True)
        self._reader.start()

    def _read_complaints(self):
        for line in self.process.stderr:
            self._complaints.append(line)
            del self._complaints[:-20]

    def ask(self, operation, **arguments):
        try:
            self.process.stdin.write(json.dumps(dict(arguments, op=operation)) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            self.process.wait(10)
            raise PeerError("%s ended: %s" % (self.name, "".join(self._complaints).strip()[-400:]))
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError("%s: %s" % (self.name, answer["error"]))
        return answer

    def close(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


class PeerError(Exception):
    """A peer can't do it; says why."""


# BEFORE=FOLDER: a built checkout of another version of ours takes part, too.
BEFORE = os.environ.get("BEFORE")
BEFORES = ["virtvm before"] if BEFORE else []


def python_worker(name, program):
    """A worker of bench/PROGRAM, which plays the peer of that name."""
    python, role = sys.executable, name
    if name in BEFORES:
        python = os.path.join(BEFORE, ".venv", "%d.%d" % sys.version_info[:2], "bin", "python")
        role = "virtvm"
    return Worker(name, [python, os.path.join(TOP, "bench", program), role])


def python_peer(name):
    """A worker of bench/peers.py; PeerError names the module that is missing."""
    worker = python_worker(name, "peers.py")
    try:
        worker.ask("hello")
    except PeerError:
        worker.close()
        raise
    return worker


def build_c(name, libraries=("-lssh2",)):
    """Path of bench/NAME.c compiled."""
    program = os.path.join(TOP, "build", "bench", name)
    source = os.path.join(TOP, "bench", name + ".c")
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(program), exist_ok=True)
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-o", program, source,
                        *libraries], check=True)
    return program


def bare_peer():
    """The smallest program on libssh2 that does the same."""
    return Worker("bare libssh2", [build_c("bare_ssh")])


@contextlib.contextmanager
def peers(names):
    """{name: Worker} of those that can be had; who is missing is said."""
    found = {}
    with contextlib.ExitStack() as last:
        for name in names:
            try:
                worker = bare_peer() if name == "bare libssh2" else python_peer(name)
            except PeerError as e:
                print("missing: %s" % e, flush=True)
                continue
            last.callback(worker.close)
            found[name] = worker
        yield found


def _processor_ticks():
    """All ticks of the machine's processors so far, and those in which they were idle."""
    with open("/proc/stat") as f:
        ticks = list(map(int, f.readline().split()[1:9]))
    return sum(ticks), ticks[3] + ticks[4]


def settle(timeout=20):
    """Wait until the machine is idle: servers of a task before may still be ending sessions."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        before = _processor_ticks()
        time.sleep(0.2)
        after = _processor_ticks()
        if after[1] - before[1] >= 0.9 * (after[0] - before[0]):
            return


def rounds(tasks, count, warm_up=1, before=lambda: None):
    """Call each of tasks ({name: function returning seconds}) count times, taking turns.

    before: called before each, outside of its time.  Returns {name: [seconds]}.  A task that fails
    is dropped, and its reason printed.
    """
    times = {name: [] for name in tasks}
    for turn in range(-warm_up, count):
        order = list(times) if turn % 2 else list(times)[::-1]
        for name in order:
            before()
            try:
                seconds = tasks[name]()
            except PeerError as e:
                print("dropped: %s" % e, flush=True)
                del times[name]
                continue
            if turn >= 0:
                times[name].append(seconds)
    return times


def summary(times):
    """{name: {"median", "min", "max", "n"}} in seconds."""
    return {name: {"median": statistics.median(values), "min": min(values), "max": max(values),
                   "n": len(values)} for name, values in times.items() if values}


def table(title, found, ours="virtvm", unit=1000.0, unit_name="ms"):
    """Print a line a peer: median, spread, and how many times ours it takes."""
    print("\n%s" % title)
    for name, row in sorted(found.items(), key=lambda item: item[1]["median"]):
        ratio = row["median"] / found[ours]["median"] if ours in found else float("nan")
        print("  %-16s %10.2f %s  (%.2f to %.2f, n=%d)  %6.2f x" % (
            name, row["median"] * unit, unit_name, row["min"] * unit, row["max"] * unit, row["n"], ratio),
            flush=True)


def save(name, result):
    """Write a benchmark's result to bench/results/NAME.json."""
    os.makedirs(RESULTS, exist_ok=True)
    with open(os.path.join(RESULTS, name + ".json"), "w") as f:
        json.dump(result, f, indent=1, sort_keys=True)
        f.write("\n")


class DelayProxy:
    """A port on loopback that passes bytes on to another one, each way late by `delay` seconds."""

    def __init__(self, port, delay):
        import socket
        self._target, self._delay = ("127.0.0.1", port), delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        import socket
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            for s in near, far:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for one, other in ((near, far), (far, near)):
                self._pass_on(one, other)

    def _pass_on(self, one, other):
        import queue
        import socket
        pieces = queue.Queue()

        def read():
            while True:
                try:
                    data = one.recv(262144)
                except OSError:
                    data = b""
                pieces.put((time.monotonic() + self._delay, data))
                if not data:
                    return

        def write():
            while True:
                due, data = pieces.get()
                left = due - time.monotonic()
                if left > 0:
                    time.sleep(left)
                try:
                    if not data:
                        other.shutdown(socket.SHUT_WR)
                        return
                    other.sendall(data)
                except OSError:
                    return
        threading.Thread(target=read, daemon=True).start()
        threading.Thread(target=write, daemon=True).start()

    def close(self):
        self._listener.close()
