"""Commands on the host: running them under a deadline.  utils.run() and its kin are made of it.

subprocess and its kin are imported at the first command, since virt_vm is
imported far more often than it runs one.
"""

import codecs
import contextlib
import io
import logging
import os
import time

from virtvm import signals
from virtvm.host.processes import (         # noqa: F401 (all of them stood here in version 0.1.0)
    Exit, children_of, end_process, process_tree, safe_kill, signal_group, start_time, wait_end)
from virtvm.outcomes import CmdError

TEE_TO_LOGS = object()      # as stdout_tee, stderr_tee: write the lines to the log
DEVNULL = object()          # as stdout_tee, stderr_tee: throw the output away

STDOUT_PREFIX = "[stdout] "
STDERR_PREFIX = "[stderr] "
DEFAULT_STDOUT_LEVEL = logging.DEBUG
DEFAULT_STDERR_LEVEL = logging.ERROR

_GRACE = 1.0                # seconds between SIGTERM and SIGKILL at a timeout
_GRACE_INTERRUPTED = 0.05   # the same after Ctrl-C
_PIECE = 65536


class CmdResult:
    """What a command came to.

    command: the command line (str)
    stdout, stderr: its output (str); bytes that are no UTF-8 stand as \\xNN
    exit_status: int, negative for the signal that ended it, None if not known
    duration: seconds (float)
    """

    def __init__(self, command="", stdout="", stderr="", exit_status=None, duration=0):
        self.command = command
        self.stdout = stdout
        self.stderr = stderr
        self.exit_status = exit_status
        self.duration = duration

    def __repr__(self):
        import textwrap
        command = textwrap.fill(self.command, 78, initial_indent="\n    ",
                                subsequent_indent="    ")
        blocks = ["\n%s:\n%s" % (name, text.rstrip())
                  for name, text in (("stdout", self.stdout), ("stderr", self.stderr))
                  if text.rstrip()]
        return ("* Command: %s\nExit status: %s\nDuration: %s\n%s"
                % (command, self.exit_status, self.duration, "".join(blocks)))


class _LogTee:
    """Where output goes with TEE_TO_LOGS: one record a line."""

    def __init__(self, level, prefix):
        self._level = level
        self._prefix = prefix
        self._rest = ""

    def write(self, text):
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            logging.log(self._level, "%s%s", self._prefix, line)

    def finish(self):
        if self._rest:
            self.write("\n")


class _Collector:
    """Reads one pipe of a command, keeps the bytes and tees the text."""

    def __init__(self, pipe, tee, level, prefix):
        self._pieces = []
        self._tee = _LogTee(level, prefix) if tee is TEE_TO_LOGS else tee
        self._as_bytes = isinstance(tee, (io.RawIOBase, io.BufferedIOBase))
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self.pipe = pipe
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)

    def read(self):
        """Take what is there.  False at the end of the stream."""
        try:
            piece = os.read(self.pipe.fileno(), _PIECE)
        except BlockingIOError as e:
            signals.let_out(e)
            return True
        if piece:
            self._pieces.append(piece)
            self._write_tee(piece)
        return bool(piece)

    def drain(self):
        """Take what the command left in the pipe, but not what others add to it."""
        import array
        import fcntl
        import termios
        if self.pipe is None:
            return
        left = array.array("i", [0])
        fcntl.ioctl(self.pipe.fileno(), termios.FIONREAD, left)
        end = self._size() + left[0]
        while self._size() < end and self.read():
            pass

    def _size(self):
        return sum(map(len, self._pieces))

    def _write_tee(self, piece, final=False):
        if self._tee is None or self._tee is DEVNULL:
            return
        self._tee.write(piece if self._as_bytes else self._decoder.decode(piece, final))

    def finish_tee(self):
        self._write_tee(b"", final=True)
        if isinstance(self._tee, _LogTee):
            self._tee.finish()

    def text(self):
        return b"".join(self._pieces).decode("utf-8", "backslashreplace")


class BgJob:
    """A command that runs in the background; join_bg_jobs() gathers its output.

    command: a command line for /bin/bash; it gets a session of its own.
    stdout_tee, stderr_tee: text or binary file, TEE_TO_LOGS, DEVNULL or None.
    stdin: str, bytes, file or descriptor; None is an empty input.
    stderr_level: log level of the lines of stderr with TEE_TO_LOGS.
    env: variables (dict) that it finds in its environment besides ours; they are
    written nowhere.  cwd: its working folder (default: ours).
    Attributes: command, result (CmdResult), sp (subprocess.Popen).
    """

    def __init__(self, command, stdout_tee=None, stderr_tee=None, verbose=True, stdin=None,
                 stderr_level=DEFAULT_STDERR_LEVEL, *, env=None, cwd=None):
        self.command = command
        self.result = CmdResult(command)
        if verbose:
            logging.debug("Running '%s'", command)
        if isinstance(stdin, str):
            stdin = stdin.encode("utf-8", "surrogateescape")
        self._input = memoryview(stdin) if isinstance(stdin, (bytes, bytearray)) else None
        self._started = time.monotonic()
        self.sp = self._exit = None
        try:
            with signals.held():
                self.sp = self._spawn(stdin, stdout_tee, stderr_tee, env, cwd)
                self._exit = Exit(self.sp.pid)
                self._out = _Collector(self.sp.stdout, stdout_tee, DEFAULT_STDOUT_LEVEL, STDOUT_PREFIX)
                self._err = _Collector(self.sp.stderr, stderr_tee, stderr_level, STDERR_PREFIX)
        except BaseException:
            if self.sp is not None:
                self._abandon()
            raise

    def _spawn(self, stdin, stdout_tee, stderr_tee, env, cwd):
        import subprocess
        if self._input is not None:
            stdin = subprocess.PIPE
        sp = subprocess.Popen(
            ["/bin/bash", "-c", "--", self.command], start_new_session=True, bufsize=0, cwd=cwd,
            env=None if env is None else dict(os.environ, **env),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.DEVNULL if stdout_tee is DEVNULL else subprocess.PIPE,
            stderr=subprocess.DEVNULL if stderr_tee is DEVNULL else subprocess.PIPE)
        if sp.stdin is not None:
            os.set_blocking(sp.stdin.fileno(), False)
        return sp

    def _abandon(self):
        """End a command that nobody can wait for."""
        import signal
        with signals.held():
            signal_group(self.sp.pid, signal.SIGKILL)
            self.sp.wait()
            self._close_pipes()
            if self._exit is not None:
                self._exit.close()

    def _close_pipes(self):
        for pipe in (self.sp.stdin, self.sp.stdout, self.sp.stderr):
            if pipe is not None:
                pipe.close()

    def _watches(self):
        """What to wait for: descriptor, "in" or "out", and what to do then."""
        watches = [(c.pipe.fileno(), "in", c.read) for c in (self._out, self._err) if c.pipe]
        if self.sp.stdin is not None:
            watches.append((self.sp.stdin.fileno(), "out", self._feed))
        return watches

    def _feed(self):
        """Write some of the input.  False when all is written or nobody wants it."""
        try:
            self._input = self._input[os.write(self.sp.stdin.fileno(), self._input[:_PIECE]):]
        except BlockingIOError as e:
            signals.let_out(e)
            return True
        except BrokenPipeError as e:
            signals.let_out(e)
            self._input = self._input[:0]
        if not self._input:
            self.sp.stdin.close()
        return bool(self._input)

    def _release(self):
        """Let go of the process, which has ended, and of all descriptors."""
        with contextlib.ExitStack() as last:
            last.callback(self._exit.close)
            last.callback(self._close_pipes)
            if self._exit.wait(0):
                self._reap()

    def _finish(self):
        """Publish status and output."""
        with contextlib.ExitStack() as last:
            last.callback(self._publish)
            last.callback(self._out.finish_tee)
            last.callback(self._err.finish_tee)

    def _reap(self):
        """Record how the command ended; it has."""
        try:
            os.waitid(os.P_PID, self.sp.pid, os.WEXITED | os.WNOWAIT)
            status_known = True
        except ChildProcessError as e:  # SIGCHLD ignored, or somebody else waited
            signals.let_out(e)
            status_known = self.sp.returncode is not None
        status = self.sp.wait()
        self.result.exit_status = status if status_known else None

    def _publish(self):
        self.result.duration = time.monotonic() - self._started
        self.result.stdout = self._out.text()
        self.result.stderr = self._err.text()


def _milliseconds_left(deadline):
    """For poll(): None for no deadline; rounded up, so that no wait ends early."""
    if deadline is None:
        return None
    return max(0, int((deadline - time.monotonic()) * 1000) + 1)


def _serve(jobs, deadline):
    """Move bytes until all jobs have ended or the deadline has passed; True if ended."""
    import select
    poller = select.poll()
    actions = {}
    for fd, direction, action in (watch for job in jobs for watch in job._watches()):
        actions[fd] = action
        poller.register(fd, select.POLLIN if direction == "in" else select.POLLOUT)
    running = {job._exit.fd for job in jobs}
    for fd in running:
        poller.register(fd, select.POLLIN)
    while running:
        if deadline is not None and time.monotonic() >= deadline:
            return False
        for fd, _ in poller.poll(_milliseconds_left(deadline)):
            if fd in running:
                running.remove(fd)
                poller.unregister(fd)
            elif not actions[fd]():
                poller.unregister(fd)
    return True


def _end(jobs, grace):
    """End those of the jobs that still run, with all their descendants."""
    import signal
    left = [job for job in jobs if not job._exit.wait(0)]
    trees = [process_tree(job.sp.pid) for job in left]
    for job in left:
        signal_group(job.sp.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    for job, tree in zip(left, trees):
        job._exit.wait(max(0, deadline - time.monotonic()))
        # Not reaped yet: the number of the group can't have been given away.
        signal_group(job.sp.pid, signal.SIGKILL)
        for pid, started in tree:
            if start_time(pid) == started:
                safe_kill(pid, signal.SIGKILL)
        job._exit.wait(grace)


def _end_all(jobs, grace):
    """End those that still run, take what is left in their pipes and let go of them."""
    try:
        _end(jobs, grace)
        with contextlib.ExitStack() as last:
            for job in jobs:
                last.callback(job._out.drain)
                last.callback(job._err.drain)
    finally:
        with signals.held(), contextlib.ExitStack() as last:
            for job in jobs:
                last.callback(job._release)
            _end(jobs, _GRACE_INTERRUPTED)      # a handler has cut the first time short, perhaps


def run_jobs(makers, timeout=None):
    """Start a job with each of makers (functions) and join them all; returns them (list)."""
    with signals.held() as handlers:
        jobs = []
        try:
            for make in makers:
                jobs.append(make())
        except BaseException:
            with contextlib.suppress(CmdError):
                join_bg_jobs(jobs, 0)
            raise
        return _join(jobs, timeout, handlers.deliver)


def join_bg_jobs(bg_jobs, timeout=None):
    """Wait until all jobs have ended and gather their output; returns bg_jobs.

    timeout: seconds for all of them.  When it passes, or something is raised
    meanwhile (Ctrl-C for one), those left are ended with their descendants:
    SIGTERM, then SIGKILL.  Raises CmdError at a timeout.
    """
    with signals.held() as handlers:
        return _join(bg_jobs, timeout, handlers.deliver)


def _join(bg_jobs, timeout, begin):
    """join_bg_jobs(); begin() is called once whatever it raises ends the jobs."""
    deadline = None if timeout is None else time.monotonic() + timeout
    grace = _GRACE_INTERRUPTED
    with contextlib.ExitStack() as last:
        for job in bg_jobs:
            last.callback(job._finish)
        try:
            begin()
            in_time = _serve(bg_jobs, deadline)
            grace = _GRACE
        finally:
            _end_all(bg_jobs, grace)
    if not in_time:
        raise CmdError(bg_jobs[0].command, bg_jobs[0].result,
                             "Command(s) did not complete within %s seconds"
                             % (int(timeout) if timeout == int(timeout) else timeout))
    return bg_jobs
