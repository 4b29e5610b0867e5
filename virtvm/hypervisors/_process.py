"""A VM's process: started, watched and ended, and gone when this process is gone."""

import atexit
import os
import shutil
import signal
import subprocess
import threading

from virtvm import _session, signals
from virtvm.host.processes import start_time, wait_end

# Kills what it was told of ("+ PID", "- PID") and removes paths ("f PATH", "d PATH") once
# its standard input ends, which it does however this process ends.
_REAPER = r"""
trap '' HUP INT TERM QUIT
pids=' '
paths=
folders=
newline='
'
while read -r what rest; do
    case $what in
    +) pids="$pids$rest " ;;
    -) case $pids in *" $rest "*) pids="${pids%%" $rest "*} ${pids#*" $rest "}" ;; esac ;;
    f) paths="$paths$rest$newline" ;;
    d) folders="$folders$rest$newline" ;;
    esac
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
printf '%s' "$paths" | while read -r path; do rm -f -- "$path"; done
printf '%s' "$folders" | while read -r path; do rm -rf -- "$path"; done
"""


class _Reaper:
    """One small shell, as long as there is something to care for, that outlives us by a moment."""

    def __init__(self):
        self.pid = os.getpid()
        self.cares = set()
        self._shell = subprocess.Popen(["/bin/sh", "-c", _REAPER], stdin=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       cwd="/", start_new_session=True)

    def tell(self, what, value):
        try:
            self._shell.stdin.write(("%s %s\n" % (what, value)).encode())
            self._shell.stdin.flush()
        except OSError as e:
            signals.let_out(e)          # else somebody killed it: we care for our VMs alone then

    def stop(self):
        self._shell.stdin.close()
        if self.pid == os.getpid():
            self._shell.wait()


_reaper = None
_lock = threading.Lock()
_engines = {}           # pid -> engine session of the processes that this one started


def _care_for(what, value):
    """Have a process killed ("+"), a file ("f") or a folder ("d") removed when this process is gone."""
    global _reaper
    with _lock, signals.held():
        if _reaper is None or _reaper.pid != os.getpid():
            _reaper = _Reaper()
        _reaper.cares.add((what, str(value)))
        _reaper.tell(what, value)


def _care_no_more(what, value):
    global _reaper
    with _lock, signals.held():
        if _reaper is None or _reaper.pid != os.getpid():
            return
        _reaper.cares.discard((what, str(value)))
        if what == "+":
            _reaper.tell("-", value)
        if not _reaper.cares:
            _reaper.stop()
            _reaper = None


@atexit.register
def _end():
    """At exit: no VM outlives the process that started it."""
    for pid, engine in list(_engines.items()):
        engine.close()
        _care_no_more("+", pid)
    if _reaper is not None and _reaper.pid == os.getpid():
        _reaper.stop()


os.register_at_fork(after_in_child=_engines.clear)      # they are the parent's


class Process:
    """A running program (QEMU), on a terminal of its own.

    Pickled it remembers the process id: unpickled, also by another process, it watches
    and ends the same process, but has no output of it.
    """

    def __init__(self, argv, pass_fds=(), log=None):
        self.pid = self._last_output = None
        try:
            with signals.held():
                self._start(argv, pass_fds, log)
        except BaseException:
            if self.pid is not None:    # it runs, and nobody has it
                with signals.held():
                    self.close()
            raise

    def _start(self, argv, pass_fds, log):
        path = shutil.which(argv[0]) or argv[0]
        try:
            engine = _session.open_pty(
                [os.fsencode(path)] + [os.fsencode(arg) for arg in argv[1:]],
                [k + b"=" + v for k, v in os.environb.items()], log=log, pass_fds=tuple(pass_fds))
        except _session.EngineError as e:
            raise OSError(e.errno, e.detail) from None
        self.pid = engine.pid
        _engines[self.pid] = engine
        self._started = start_time(self.pid)
        _care_for("+", self.pid)

    def __getstate__(self):
        return {"pid": self.pid, "_started": self._started, "_last_output": self.get_output()}

    @property
    def _engine(self):
        return _engines.get(self.pid)

    def get_pid(self):
        """Process id (int)."""
        return self.pid

    def is_alive(self):
        """Whether it runs (bool)."""
        return (self._started is not None and start_time(self.pid) == self._started
                and not wait_end(self.pid, 0))

    def get_output(self):
        """What it printed (str), as far as this process saw it."""
        engine = self._engine
        if engine is None:
            return self._last_output or ""
        return engine.output().decode("utf-8", "backslashreplace").replace("\r", "")

    def get_status(self):
        """Exit status (int; minus the number of the signal that ended it), or None."""
        if self._engine is None:
            return getattr(self, "_status", None)
        self._engine.poll()
        return self._engine.status

    def wait(self, timeout):
        """Wait until it has ended; whether it has, within timeout seconds (bool)."""
        if self.is_alive() and not wait_end(self.pid, timeout):
            return False
        if self._engine is not None:
            self._engine.read(0.0, 1.0)     # its last words
        return True

    def close(self):
        """End it at once if it runs, and keep its output and status."""
        engine = self._engine
        if engine is None:
            if self.is_alive():
                os.kill(self.pid, signal.SIGKILL)
            return
        self._last_output, self._status = self.get_output(), self.get_status()
        engine.close()
        _care_no_more("+", self.pid)
        _engines.pop(self.pid, None)


def remove_at_exit(path):
    """Have a file (str) removed once this process is gone, however it goes."""
    _care_for("f", path)


def remove(path):
    """Remove a file of remove_at_exit() now, if it is there."""
    if signals.lexists(path):
        os.unlink(path)
    _care_no_more("f", path)


def remove_folder_at_exit(path):
    """Have a folder (str) removed, with all in it, once this process is gone, however it goes."""
    _care_for("d", path)


def folder_is_gone(path):
    """A folder of remove_folder_at_exit() was removed by whoever made it."""
    _care_no_more("d", path)
