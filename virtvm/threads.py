"""Threads, and waiting for them, where a signal handler may raise.

threading's own classes are Python code: what a handler raises in it leaves a lock taken, or has another
one given back that nobody has (RuntimeError).
"""

import _thread
import functools
import queue
import threading


class Wake:
    """Wakes the thread that waits for it, from any thread.

    set() is C, not Python: a signal handler that raises can neither cut it short nor, as in a
    threading.Event, leave a lock behind.
    """

    def __init__(self):
        self._queue = queue.SimpleQueue()
        self.set = functools.partial(self._queue.put, None)

    def wait(self, timeout):
        """Whether it was set; it is not any more."""
        try:
            self._queue.get(timeout=timeout)
            while not self._queue.empty():
                self._queue.get()
        except queue.Empty:
            return False
        return True


def start(thread):
    """Start a threading.Thread.  RuntimeError: the system gives no more of them.

    Another thread does it, where no signal handler runs.
    """
    done = queue.SimpleQueue()
    _thread.start_new_thread(_start, (thread, done.put))
    failure = done.get()
    if failure is not None:
        raise failure


def _start(thread, done):
    try:
        threading.Thread.start(thread)
    except BaseException as e:
        done(e)
    else:
        done(None)
