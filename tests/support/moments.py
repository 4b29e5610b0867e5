"""Has a signal handler's exception strike at each line that a call runs, of ours or of others', one after the other."""

import collections
import functools
import linecache
import os
import signal
import sys

import virtvm

OURS = os.path.dirname(virtvm.__file__) + os.sep


class Strike:
    """Within it the function `raises(signum, frame)` is called before the nth line of ours that this thread runs
    for the first time, or for the second.  others: paths of files whose lines count as well,
    but for those of finalizers, of which nothing comes.

    The tracer hands on the frame that it stops, as the interpreter hands it to handlers.
    """

    def __init__(self, nth, raises, others=()):
        self.left, self.raises, self.struck = nth, raises, None
        self._files = (OURS, *others)
        self._seen = collections.Counter()

    def __enter__(self):
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc_info):
        sys.settrace(None)

    def _trace(self, frame, event, arg):
        if event == "call":
            names = frame.f_code.co_name, frame.f_back.f_code.co_name
            is_theirs = "__del__" in names and not frame.f_code.co_filename.startswith(OURS)
            return self._trace if frame.f_code.co_filename.startswith(self._files) and not is_theirs else None
        if event == "line" and self.struck is None and _is_open(frame.f_code.co_filename, frame.f_lineno):
            line = frame.f_code, frame.f_lineno
            self._seen[line] += 1
            self.left -= self._seen[line] <= 2
            if self.left == 0:
                self.struck = "%s:%d" % (frame.f_code.co_filename.replace(OURS, ""), frame.f_lineno)
                self.raises(14, frame)
        return self._trace


@functools.lru_cache(None)
def _is_open(path, number):
    """Whether signals are handled at the start of that line.

    CPython does so where a function or another round of a loop begins, and behind calls: not in a try's own line,
    nor as a finally or except begins, nor at the end of a block, which is told of as another run of with's line.
    """
    before, line = (linecache.getline(path, n).strip() for n in (number - 1, number))
    return line != "try:" and not line.startswith("with ") and not before.startswith(("finally:", "except"))


def lost(call, make, left=lambda: None, others=()):
    """Lines at which a signal comes whose handler's exception, made by make(), does not come out of call() as
    itself, or after which left() tells of something (a true value).
    """
    nth, bad = 0, []
    old = signal.getsignal(signal.SIGALRM)
    try:
        while True:
            nth += 1
            made = make()

            def handler(signum, frame, made=made):
                raise made

            signal.signal(signal.SIGALRM, handler)
            strike = Strike(nth, lambda signum, frame: signal.raise_signal(signum), others)
            came = None
            try:
                with strike:
                    call()
            except BaseException as e:
                came = e
            if strike.struck is None:
                if came is not None:
                    raise came
                return bad
            if came is not made or signal.getsignal(signal.SIGALRM) is not handler:
                bad.append("%s: %r" % (strike.struck, came))
            came = None
            made.__traceback__ = made.__context__ = None        # with the frames of all that it came through
            found = left()
            if found:
                bad.append("%s leaves %s" % (strike.struck, found))
    finally:
        signal.signal(signal.SIGALRM, old)
