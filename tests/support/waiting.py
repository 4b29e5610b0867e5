"""What tests wait for, and ask of processes and threads.

No test says how quick something must be: a busy machine is slow, and that is no fault.  Whatever
must end by an event is given the limit LONG, which is longer than the test's own, so that it
hangs if it does not end by that event.  What must end by its deadline is put into due().
"""

import contextlib
import os
import signal
import threading
import time

BUSY = 30       # seconds that something may be late for which a busy machine has no time
LONG = 1000     # seconds: a limit that no test lives to see


def until(condition, timeout=2 * BUSY):
    """Wait for a condition that no event tells of, and return what it came to."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "waited %s s in vain" % timeout
        time.sleep(0.005)


@contextlib.contextmanager
def due(seconds):
    """The block ends at a deadline of so many seconds: not before, nor by something much later."""
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    assert seconds <= took < seconds + BUSY


def is_running(pid):
    """Whether the process runs: one that only waits to be reaped does not."""
    return state(pid) not in ("", "Z")


def state(pid):
    """The letter for what a process does; "" for one that is gone."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _polls(task):
    """Whether a thread of this process waits for descriptors, and not for Python's lock."""
    with open("/proc/self/task/%d/wchan" % task) as wchan, open("/proc/self/task/%d/stat" % task) as stat:
        where, doing = wchan.read(), stat.read().rpartition(")")[2].split()[0]
    return "poll" in where or where == "0" and doing == "S"     # "0": this system does not tell


@contextlib.contextmanager
def when_waiting(action, *args, looks=None):
    """Call the action, from another thread, when the block's own thread waits for descriptors.

    looks: after so many without that call it anyhow; one that is busy with what comes may never wait.
    """
    waiter, over = threading.get_native_id(), threading.Event()

    def act():
        count = 0
        while count != looks and not _polls(waiter) and not over.wait(0.005):
            count += 1
        if not over.is_set():
            action(*args)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def interrupt():
    """Ctrl-C, as this process sees it."""
    os.kill(os.getpid(), signal.SIGINT)
