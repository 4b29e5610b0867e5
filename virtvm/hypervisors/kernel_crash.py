"""What a console's log shows of kernel crashes, by the param kernel_crash_patterns.

`modern`: what today's kernels print when they crash or hang (ext/core/console/oops.c).  Any other
text is a regular expression that is looked for in each line.  Each line is looked at once, however
often one asks; of a log that is shorter or another one than it was, all is looked at anew.
"""

import re
import threading

from virtvm import _session
from virtvm.weak import WeakKeys

SEED = "seed"           # BaseVM's own: what the original found
MODERN = "modern"

_PIECE = 1 << 20        # what is looked at between two looks for Ctrl-C
_TAIL = 256             # characters by which a log is known again
_LINE = 1 << 16         # characters of a line that an expression sees
_REPORT = 1 << 20       # bytes of one report that are told
_REPORTS = 16           # lines, of an expression's, that are told

_watches = WeakKeys()           # console -> {patterns: Watch}
_watches_lock = threading.Lock()


class _Modern:
    """Reports as the core finds them."""

    def __init__(self):
        self._scan = _session.CrashScan()

    def feed(self, text):
        self._scan.feed(text if isinstance(text, bytes) else text.encode("ascii", "replace"))

    def reports(self, read):
        """The reports (list of str); read(begin, end) gives a part of what was fed."""
        return [read(begin, min(end, begin + _REPORT)) for begin, end in self._scan.reports()]


class _Expression:
    """Lines in which a regular expression is found."""

    def __init__(self, pattern):
        self._search = re.compile(pattern).search
        self._rest, self._found = "", []

    def feed(self, text):
        if isinstance(text, bytes):
            text = text.decode("utf-8", "backslashreplace")
        *lines, rest = (self._rest + text).split("\n")
        self._rest = rest[-_LINE:]
        for line in lines:
            if len(self._found) < _REPORTS and self._search(line[-_LINE:].rstrip("\r")):
                self._found.append(line[-_LINE:].rstrip("\r"))

    def reports(self, _read):
        return self._found + [self._rest] * bool(self._rest and self._search(self._rest))


def _finder(patterns):
    return _Modern() if patterns == MODERN else _Expression(patterns)


class _EngineWatch:
    """Of a console of ours: its engine keeps the log."""

    def __init__(self, engine, patterns):
        self._engine, self._patterns = engine, patterns
        self._lock = threading.Lock()
        self._start(0)

    def _start(self, at):
        self._base = self._at = at
        self._finder = _finder(self._patterns)

    # Raw output, here and below: with each CR, offsets and bytes are of one count.

    def _read(self, begin, end):
        piece = self._engine.peek(self._base + begin, end - begin, True)[1]
        return piece.decode("utf-8", "backslashreplace").replace("\r", "")

    def find(self):
        """Text (str) of the reports so far, or None."""
        with self._lock:
            self._engine.poll()             # takes in what has come
            if self._at is None:
                self._start(0)
            while True:
                at, piece = self._engine.peek(self._at, _PIECE, True)
                if not piece:
                    break
                if at - len(piece) != self._at:     # what was there is forgotten: too much came
                    self._start(at - len(piece))
                self._at = None                     # who is interrupted here begins anew
                self._finder.feed(piece)
                self._at = at
            return _joined(self._finder.reports(self._read))


class _TextWatch:
    """Of any other console: get_output() tells the whole log each time."""

    def __init__(self, console, patterns):
        self._patterns = patterns
        self._lock = threading.Lock()
        self._start()

    def _start(self):
        self._seen, self._tail = 0, ""
        self._finder = _finder(self._patterns)

    def find(self, log):
        """Text (str) of the reports so far, or None."""
        if not isinstance(log, str):
            raise TypeError("get_output() of a serial console must return str, not %s" % type(log).__name__)
        with self._lock:
            if self._seen is None or log[max(0, self._seen - _TAIL):self._seen] != self._tail:
                self._start()               # interrupted, rotated, or cut
            seen, self._seen = self._seen, None
            for at in range(seen, len(log), _PIECE):
                self._finder.feed(log[at:at + _PIECE])
            self._tail = log[-_TAIL:]
            self._seen = len(log)
            return _joined(self._finder.reports(lambda begin, end: log[begin:end]))


def _joined(reports):
    return "\n\n".join(reports) if reports else None


def _watch(console, patterns, make):
    """The one watch for these patterns; a console that can't be remembered has a new one each time."""
    try:
        with _watches_lock:
            mine = _watches.setdefault(console, {})
            if patterns not in mine:
                mine[patterns] = make()
            return mine[patterns]
    except TypeError:
        return make()


def find(console, patterns):
    """Text (str) of what a console's log shows of crashes, or None.

    console: a session.  patterns: `modern`, or a regular expression (str); re.error for a bad one.
    """
    from virtvm.companions.aexpect import ConsoleSession
    if isinstance(console, ConsoleSession):
        return _watch(console, patterns, lambda: _EngineWatch(console._engine, patterns)).find()
    return _watch(console, patterns, lambda: _TextWatch(console, patterns)).find(console.get_output())
