"""Processes of the host: what /proc tells of them, waiting for their end, signals to them.

Nothing else reads a process's files in /proc, or opens pidfds.
"""

import contextlib
import os
import time

from virtvm import signals


# What /proc tells

def stat(pid):
    """The name (str) of process pid, and what /proc/PID/stat has behind it (list of bytes).

    OSError if there is no such process.
    """
    with open("/proc/%d/stat" % pid, "rb", buffering=0) as f:
        head, _, rest = f.readall().rpartition(b")")
    return os.fsdecode(head[head.index(b"(") + 1:]), rest.split()


def _fields(pid):
    """As stat() has them; [] if there is no such process."""
    try:
        return stat(pid)[1]
    except OSError as e:
        signals.let_out(e)
        return []


def state(pid):
    """The kernel's letter for what process pid does ("Z": it has ended), None if there is none."""
    fields = _fields(pid)
    return fields[0].decode() if fields else None


def start_time(pid):
    """When process pid started (int, clock ticks), None if there is none.

    With the pid it names a process for good, whoever gets the number later.
    """
    fields = _fields(pid)
    return int(fields[19]) if fields else None


def all_pids():
    """The pids of all processes (list of int)."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def shared_memory(pid):
    """Bytes (int) of process pid's memory that others have, too.  OSError if there is no such process."""
    with open("/proc/%d/statm" % pid) as f:
        return int(f.read().split()[2]) * os.sysconf("SC_PAGE_SIZE")


def innermost(pid):
    """The process (int) at the end of the line of only children that process pid begins.

    OSError if one of them ends meanwhile.
    """
    while True:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            children = f.read().split()
        if len(children) != 1:
            return pid
        pid = int(children[0])


def command(pid):
    """The name (str) of process pid, and its arguments (list of str).  OSError if there is no such process."""
    with open("/proc/%d/cmdline" % pid, "rb") as f:
        return stat(pid)[0], os.fsdecode(f.read()).split("\0")


def children_of(pids):
    """Return the pids of the children of pids (list), by one walk through /proc."""
    parents = {b"%d" % pid for pid in pids}
    return [pid for pid in all_pids() if (_fields(pid) or [None, None])[1] in parents]


def process_tree(pid):
    """Return (pid, start time) of process pid and of all its descendants."""
    tree = []
    level = [pid]
    while level:
        tree += [(p, started) for p, started in zip(level, map(start_time, level)) if started is not None]
        level = children_of(level)
    return tree


# Waiting for their end

class Exit:
    """A descriptor that becomes readable when our child process pid has ended."""

    def __init__(self, pid):
        try:
            self.fd = os.pidfd_open(pid)
        except (AttributeError, OSError) as e:  # old kernel or seccomp; or already reaped
            signals.let_out(e)
            self.fd = self._watch_by_thread(pid)

    @staticmethod
    def _watch_by_thread(pid):
        import threading

        from virtvm import threads
        reader, writer = os.pipe()
        ends = [writer]                 # who takes it out closes it

        def let_go():
            with contextlib.suppress(IndexError):
                os.close(ends.pop())

        def watch():
            try:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                pass
            let_go()
        try:
            threads.start(threading.Thread(target=watch, daemon=True))
        except BaseException:           # the system gives no more of them; or a handler's, once it runs
            os.close(reader)
            let_go()
            raise
        return reader

    def wait(self, timeout):
        """True if the process has ended, after waiting timeout seconds at most."""
        return _is_readable(self.fd, timeout)

    def close(self):
        os.close(self.fd)


def end_process(pid, sig, timeout):
    """Send signal sig to process pid, no child of ours perhaps.  True if it ends in time."""
    return wait_end(pid, timeout, lambda: safe_kill(pid, sig))


def wait_end(pid, timeout, begin=lambda: None):
    """Whether process pid, no child of ours perhaps, has ended, all its threads included, within timeout seconds.

    begin() is called when it can't be missed any more.
    """
    with signals.held() as handlers:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError as e:
            signals.let_out(e)
            return True
        except (AttributeError, OSError) as e:  # old kernel or seccomp: no event to wait for
            signals.let_out(e)
            fd = None
        if fd is not None:
            try:
                handlers.deliver()
                begin()
                return _is_readable(fd, timeout)
            finally:
                os.close(fd)
    return _wait_end_by_looking(pid, timeout, begin)


def _wait_end_by_looking(pid, timeout, begin):
    started = start_time(pid)
    begin()
    deadline = time.monotonic() + timeout
    while started is not None and start_time(pid) == started and state(pid) != "Z":
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def _is_readable(fd, timeout):
    """True if fd is readable, after waiting timeout seconds at most."""
    import select
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(timeout * 1000))


# Signals

def safe_kill(pid, sig):
    """Send signal sig to process pid.  True if that worked."""
    try:
        os.kill(pid, sig)
        return True
    except OSError as e:
        signals.let_out(e)
        return False


def signal_group(pgid, sig):
    """Send signal sig to process group pgid.  True if that worked."""
    try:
        os.killpg(pgid, sig)
        return True
    except OSError as e:
        signals.let_out(e)
        return False
