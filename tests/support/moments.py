"""Has a signal handler's exception strike at each line of ours that a call runs, one after the other."""

import collections
import linecache
import os
import sys

import virtvm

OURS = os.path.dirname(virtvm.__file__) + os.sep


class Strike:
    """Within it the function `raises(signum, frame)` is called before the nth line of ours that this thread runs
    for the first time, or for the second.

    The tracer hands on the frame that it stops, as the interpreter hands it to handlers.
    """

    def __init__(self, nth, raises):
        self.left, self.raises, self.struck = nth, raises, None
        self._seen = collections.Counter()

    def __enter__(self):
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc_info):
        sys.settrace(None)

    def _trace(self, frame, event, arg):
        if event == "call":
            return self._trace if frame.f_code.co_filename.startswith(OURS) else None
        # No signal is handled in a try's own line, and CPython knows no handler of what is raised there.
        is_try = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() == "try:"
        if event == "line" and self.struck is None and not is_try:
            line = frame.f_code, frame.f_lineno
            self._seen[line] += 1
            self.left -= self._seen[line] <= 2
            if self.left == 0:
                self.struck = "%s:%d" % (frame.f_code.co_filename[len(OURS):], frame.f_lineno)
                self.raises(14, frame)
        return self._trace


def lost(call, make):
    """Lines at which an exception of make() was struck into call() and did not come out of it as itself."""
    nth, bad = 0, []
    while True:
        nth += 1
        made = make()

        def raises(signum, frame, made=made):
            raise made

        strike = Strike(nth, raises)
        try:
            with strike:
                call()
            came = None
        except BaseException as e:
            came = e
        if strike.struck is None:
            if came is not None:
                raise came
            return bad
        if came is not made:
            bad.append("%s: %r" % (strike.struck, came))
