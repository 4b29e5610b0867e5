"""Sessions and copies for a long time, in eight threads, while everything around them fails.

Connections are cut, servers killed, disks full, and Ctrl-C comes at any instant.  Every call must
end within its time, rightly or with a documented exception; what is returned must be whole; at
the end nothing is left: threads, descriptors, processes, files, memory.

Usage, as root: soak.py        (SOAK_MINUTES=15)
"""

import collections
import contextlib
import ctypes
import faulthandler
import filecmp
import gc
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.dirname(os.path.dirname(HERE))]

from support.sshd import Account, Sshd  # noqa: E402
from virtvm import _session, signals  # noqa: E402
from virtvm.companions import aexpect, exceptions, transfer, virt_utils  # noqa: E402

PROMPT = r"[\#\$]\s*$"
THREADS = 8
MINUTES = float(os.environ.get("SOAK_MINUTES", "15"))
SEED = int(os.environ.get("SOAK_SEED", str(int(time.time()))))
MIB = 1 << 20
GROWTH = 32                 # MiB of memory that may come after the first third
LATE = 60.0                 # seconds that an operation may take in all: its deadlines, and a busy machine
DOCUMENTED = (exceptions.LoginError, exceptions.ShellError, exceptions.ExpectError, exceptions.SCPError)


def remove(folder):
    """Not while Ctrl-C may come: shutil.rmtree() then closes a descriptor twice, another thread's perhaps."""
    with signals.held():
        shutil.rmtree(folder, ignore_errors=True)


class Wrong(Exception):
    """A result that is not what it must be."""


# ---- what is around ----

class World:
    """A server, a proxy before it, small file systems; and who breaks them."""

    def __init__(self, folder):
        self.folder = folder
        self.account = Account()
        self.server = Sshd(account=self.account)
        self.proxy = subprocess.Popen([sys.executable, os.path.join(HERE, "proxy.py"), str(self.server.port)],
                                      stdout=subprocess.PIPE)
        self.proxy_port = int(self.proxy.stdout.readline())
        self.tree = os.path.join(folder, "tree")
        for n in range(12):
            os.makedirs(os.path.join(self.tree, str(n % 3)), exist_ok=True)
            with open(os.path.join(self.tree, str(n % 3), str(n)), "wb") as f:
                f.write(os.urandom(n * 40000))
        self.far_small = self.small(os.path.join(self.account.home, "small"), 1)
        self.near_small = self.small(os.path.join(folder, "small"), 1)
        self.spill = self.small(os.path.join(folder, "spill"), 6)
        os.environ["TMPDIR"] = self.spill

    @staticmethod
    def small(path, mib):
        """A file system of so many MiB."""
        os.mkdir(path)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm,mode=1777" % mib, "tmpfs", path], check=True)
        return path

    def break_things(self, over):
        chance = random.Random(SEED + 1)
        while not over.wait(chance.uniform(0.5, 4)):
            deed = chance.random()
            if deed < 0.45:
                self.proxy.send_signal(signal.SIGUSR1)
            elif deed < 0.9:
                self.server.kill_sessions()
            else:
                self.server.process.kill()
                self.server.process.wait()
                over.wait(chance.uniform(0, 1))
                self.server.start()

    def close(self):
        self.proxy.kill()
        self.proxy.communicate()
        self.server.stop()
        for path in (self.far_small, self.near_small, self.spill):
            subprocess.run(["umount", "-l", path], check=False)
        self.account.remove()


# ---- what is done ----

class Work:
    """The operations: each is a method that returns, or raises what is documented."""

    def __init__(self, world, seed):
        self.world, self.random = world, random.Random(seed)
        self.name = "w%d" % seed
        self.count = 0

    def port(self):
        return self.random.choice([self.world.server.port, self.world.proxy_port])

    def log_in(self):
        s = self.world.server
        keywords = {"ssh_identity_file": s.key} if self.random.random() < 0.5 else {}
        if self.random.random() < 0.5:
            keywords["log_filename"] = os.path.join(self.world.folder, self.name + ".log")
        return virt_utils.remote_login("ssh", s.host, self.port(), s.user, s.password, PROMPT, timeout=8, **keywords)

    def expect(self, found, wanted):
        if found != wanted:
            raise Wrong("%.200r, not %.200r" % (found, wanted))

    def commands(self):
        with self.log_in() as session:
            for _ in range(4):
                self.count += 1
                text = "%s-%d" % (self.name, self.count)
                self.expect(session.cmd("echo " + text, timeout=5), text + "\n")
                self.expect(session.cmd_status_output("(exit 3)", timeout=5), (3, ""))

    def run(self):
        with self.log_in() as session:
            for text in (os.urandom(20).hex() * self.random.randrange(1, 4000), "x"):
                result = session.run("cat; exit 4", input=text, timeout=5)
                self.expect((result.status, result.stdout), (4, text))

    def flood(self):
        with self.log_in() as session:
            try:
                session.cmd("yes", timeout=0.5)
            except aexpect.ShellTimeoutError:
                pass
            session.sendcontrol("c")
            self.expect(session.cmd("echo after", timeout=10), "after\n")

    def local(self):
        """Its output finds no place now and then."""
        with aexpect.ShellSession("exec bash --norc --noprofile") as session:
            lines = self.random.randrange(1, 600000)
            found = session.cmd("seq %d | tail -n +1" % lines, timeout=20)
            wanted = "".join("%d\n" % n for n in range(1, lines + 1))
            if found != wanted:
                at = len(os.path.commonprefix([found, wanted]))
                raise Wrong("at %d of %d: %r, not %r" % (at, lines, found[at - 20 if at > 20 else 0:at + 60],
                                                         wanted[at:at + 20]))
            session.sendline("sleep 100")
            self.expect(session.is_alive(), True)

    def closed_meanwhile(self):
        with self.log_in() as session:
            timer = threading.Timer(self.random.uniform(0, 0.2), session.close)
            timer.start()
            try:
                session.cmd("sleep 100", timeout=20)
            finally:
                timer.join()

    def forks(self):
        with aexpect.ShellSession("exec bash --norc --noprofile") as session:
            session.cmd("true", timeout=10)
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                alive = session._engine.poll() if not session._engine.closed else False
                session._engine.close()
                os._exit(alive)
            self.expect(os.waitpid(child, 0)[1], 0)
            self.expect(session.cmd("echo here", timeout=10), "here\n")

    def _copy(self, function, *paths, **more):
        s = self.world.server
        keywords = {"ssh_identity_file": s.key, "transfer_engine": self.random.choice(["sftp", "scp"])}
        function(s.host, self.port(), s.user, s.password, *paths, timeout=15, **dict(keywords, **more))

    def _same(self, found):
        compared = filecmp.dircmp(self.world.tree, found)
        for part in [compared] + list(compared.subdirs.values()):
            self.expect((part.left_only, part.right_only), ([], []))
            self.expect(filecmp.cmpfiles(part.left, part.right, part.common_files, shallow=False)[1:], ([], []))

    def put(self):
        there = os.path.join(self.world.account.home, self.name)
        remove(there)
        self._copy(transfer.scp_to_remote, self.world.tree, there)
        self._same(there)

    def get(self):
        here = os.path.join(self.world.folder, self.name)
        remove(here)
        self._copy(transfer.scp_from_remote, self.world.tree, here)
        self._same(here)

    def put_on_a_full_disk(self):
        self._full(transfer.scp_to_remote, self.world.far_small)

    def get_on_a_full_disk(self):
        self._full(transfer.scp_from_remote, self.world.near_small)

    def _full(self, function, folder):
        to = os.path.join(folder, self.name)
        with contextlib.suppress(exceptions.SCPError):
            self._copy(function, self.world.tree, to)
            raise Wrong("2.6 MB went into 1 MiB")
        remove(to)

    def once(self):
        operations = [self.commands, self.commands, self.run, self.flood, self.local, self.closed_meanwhile,
                      self.forks, self.put, self.get, self.put_on_a_full_disk, self.get_on_a_full_disk]
        return self.random.choice(operations)


# ---- who does it ----

class Soak:
    def __init__(self, world):
        self.world = world
        self.over = threading.Event()
        self.counts = collections.Counter()
        self.wrong = []
        self.lock = threading.Lock()
        self.armed = False          # whether the main thread is where Ctrl-C may come

    def attempt(self, operation):
        began = time.monotonic()
        try:
            operation()
            outcome = "done"
        except DOCUMENTED as e:
            outcome = type(e).__name__
        except KeyboardInterrupt:
            outcome = "interrupted"
        except BaseException as e:
            outcome = "wrong"
            self.note("%s: %s: %.500s" % (operation.__name__, type(e).__name__, e))
        took = time.monotonic() - began
        if took > LATE:
            self.note("%s took %.1f s (%s)" % (operation.__name__, took, outcome))
        with self.lock:
            self.counts[operation.__name__, outcome] += 1

    def note(self, text):
        with self.lock:
            self.wrong.append(text)
        print("WRONG " + text, flush=True)

    def work(self, seed):
        work = Work(self.world, seed)
        while not self.over.is_set():
            self.attempt(work.once())

    def interrupt(self, signum, frame):
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt

    def press_ctrl_c(self):
        chance = random.Random(SEED + 2)
        while not self.over.wait(chance.uniform(0.05, 1.5)):
            os.kill(os.getpid(), signal.SIGINT)

    def interrupted_work(self, end):
        """In the main thread: the only one that signal handlers run in."""
        work = Work(self.world, SEED)
        while time.monotonic() < end:
            operation = work.once()
            if operation.__name__ == "forks":
                continue                    # the child is no place for a handler of ours

            def interruptible(operation=operation):
                try:
                    self.armed = True
                    operation()
                finally:
                    self.armed = False
            interruptible.__name__ = operation.__name__
            self.attempt(interruptible)

    def threads(self):
        return [threading.Thread(target=self.work, args=(SEED + 10 + n,)) for n in range(THREADS)] \
            + [threading.Thread(target=self.press_ctrl_c),
               threading.Thread(target=self.world.break_things, args=(self.over,))]

    def run(self, minutes):
        signal.signal(signal.SIGINT, self.interrupt)
        threads = self.threads()
        for thread in threads:
            thread.start()
        self.interrupted_work(time.monotonic() + minutes * 60)
        self.over.set()
        faulthandler.dump_traceback_later(3 * LATE, exit=True)      # whoever hangs shows where
        for thread in threads:
            thread.join()
        faulthandler.cancel_dump_traceback_later()


# ---- what is left ----

def rss():
    """MiB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") / MIB


def children():
    found = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open("/proc/self/task/%s/children" % task) as f:
            found += f.read().split()
    return found


def state(world):
    """Counts of what may not grow."""
    gc.collect()
    _session._drop_places()
    files = [os.path.join(at, name) for folder in (world.folder, world.spill) for at, folders, names in os.walk(folder)
             for name in folders + names if name.startswith(".") or at == world.spill]
    return {"threads": len(os.listdir("/proc/self/task")), "descriptors": len(os.listdir("/proc/self/fd")),
            "processes": len(children()), "temporary files": len(files)}


def settled(world, allowed=None):
    """The state, once it is no more than what is allowed, or stays as it is."""
    end = time.monotonic() + (20 if allowed else 2)
    while True:
        now = state(world)
        if time.monotonic() > end or (allowed and all(now[what] <= allowed[what] for what in allowed)):
            return now
        time.sleep(0.1)


def main():
    if os.environ.get("VIRTVM_SOAK") is None:       # file systems of our own
        os.environ["VIRTVM_SOAK"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable] + sys.argv)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    print("seed %d, %g minutes" % (SEED, MINUTES), flush=True)
    with tempfile.TemporaryDirectory(prefix="virtvm-soak-") as folder:
        os.chmod(folder, 0o755)
        world = World(folder)
        try:
            return soak(world)
        finally:
            world.close()


def soak(world):
    first = Soak(world)
    first.run(min(MINUTES / 3, 5))          # all has been used, and caches are full
    before, memory = settled(world), rss()
    second = Soak(world)
    second.run(MINUTES - min(MINUTES / 3, 5))
    after = settled(world, before)
    grown = rss() - memory
    counts = first.counts + second.counts
    for (name, outcome), n in sorted(counts.items()):
        print("%-20s %-32s %6d" % (name, outcome, n))
    wrong = first.wrong + second.wrong
    print("%d operations, %d wrong" % (sum(counts.values()), len(wrong)))
    print("at the end %s; before %s; memory %+.1f MiB of %.0f" % (after, before, grown, memory))
    left = [what for what in before if after[what] > before[what]]
    left += ["memory"] if grown > GROWTH else []
    if left:
        print("left behind: " + ", ".join(left))
    return 1 if wrong or left else 0


if __name__ == "__main__":
    sys.exit(main())
