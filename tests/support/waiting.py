"""What tests wait for, and ask of processes."""

import time


def until(condition, timeout=10):
    """Wait for a condition and return what it came to."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return condition()


def is_running(pid):
    """Whether the process runs: one that only waits to be reaped does not."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
