"""What is said on the terminal while a guest boots."""

import contextlib
import logging
import os
import re
import shutil
import threading
import time
import unicodedata

from virtvm import signals, threads
from virtvm.companions.printable import printable

_PATIENCE = 1.0                 # seconds of which nothing is said, and between two looks
_TAIL = 4096                    # bytes of a console in which its last line is looked for
_CLEAR = "\r\x1b[K"


class Progress(logging.Handler):
    """Tells what a wait for a login waits for, as the tries that it logs have it; once for each reason.

    name: what the line begins with (str), or None.  tell: function that is called with a line (str).
    """

    def __init__(self, name, tell):
        logging.Handler.__init__(self, logging.DEBUG)
        self._name, self._tell, self._last = name, tell, None

    def emit(self, record):
        detail = getattr(record.msg, "detail", None)
        reason = detail and re.sub(r"\d+", "", detail)
        if detail and reason != self._last:
            self._last = reason
            self._tell(printable(detail if self._name is None else "%s: %s" % (self._name, detail)))


@contextlib.contextmanager
def handled(handler, alone=False):
    """All that is logged in the block goes to that handler, too.

    alone: the others get no more than before.
    """
    root = logging.getLogger()
    level, others = root.level, list(root.handlers) if alone else []

    def as_before(record):
        return record.levelno >= level
    for other in others:
        other.addFilter(as_before)
    root.addHandler(handler)
    root.setLevel(min(level, logging.DEBUG) or level)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        for other in others:
            other.removeFilter(as_before)


def _cells(c):
    """How many columns a character takes (int); at the most."""
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def cut(text, width):
    """text (str), or its begin and "...", so that it takes no more than so many columns."""
    if sum(map(_cells, text)) <= width:
        return text
    room, kept = max(0, width - 3), []
    for c in text:
        room -= _cells(c)
        if room < 0:
            break
        kept.append(c)
    return "".join(kept) + "..."[:max(0, width)]


def columns(fd):
    """How many columns (int) a terminal has now."""
    width = shutil.get_terminal_size().columns
    with signals.suppress(OSError):
        width = os.get_terminal_size(fd).columns or width
    return width


def last_line(console):
    """The last line (str) that a guest's console shows, as a terminal may show it; "" for none.

    console: one that is not ours has none.
    """
    engine = getattr(console, "_engine", None)
    if engine is None:
        return ""
    from virtvm.session.text import shown_lines
    tail = engine.peek(max(0, engine.total - _TAIL), _TAIL)[1].decode("utf-8", "replace")
    lines = (printable(line.expandtabs()).strip() for line in shown_lines(tail.replace("\r\n", "\n")))
    return next(filter(None, lines), "")


class Booting:
    """Since when each of some VMs is waited for."""

    def __init__(self):
        self._told, self._since = {}, {}        # {VM's id: why (str)}, {VM's id: when}

    @contextlib.contextmanager
    def told(self, vm):
        """The block waits for a login into that VM; its value takes the reason (str)."""
        self._told[id(vm)] = ""
        try:
            yield lambda reason: self._told.update({id(vm): reason})
        finally:
            del self._told[id(vm)]

    def _reason(self, vm):
        """What is waited for (str), or None if nobody waits for that VM."""
        signs = getattr(vm, "_boot", None)
        found = signs.awaits() if signs is not None else None
        return found[0] if found is not None else self._told.get(id(vm))

    def line(self, vms):
        """What is to be said (str) of the first of them that boots, or None."""
        line = None
        for vm in vms:
            reason = self._reason(vm)
            if reason is None:
                self._since.pop(id(vm), None)
                continue
            since = self._since.setdefault(id(vm), time.monotonic() - _PATIENCE)    # since the look before
            said = last_line(getattr(vm, "serial_console", None)) or reason
            line = line or "booting %s \u2026 %d s%s" % (
                printable(vm.name), time.monotonic() - since, "  " + said if said else "")
        return line


class Live:
    """The terminal's last line, written anew each second by a thread; gone before anything else is written.

    fd: of a terminal, of which nothing else takes hold.  line: function that returns it (str; "": none).
    """

    def __init__(self, fd, line, encoding="utf-8"):
        self._fd, self._line, self._encoding = fd, line, encoding
        self._lock = threading.Lock()
        self._wake, self._thread = threads.Wake(), None
        self._is_shown = self._is_held = False

    def start(self):
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="virtvm-screen", daemon=True)
            threads.start(self._thread)

    def stop(self):
        thread, self._thread = self._thread, None
        if thread is not None:
            self._wake.set()
            thread.join()

    @contextlib.contextmanager
    def cleared(self):
        """In the block somebody else writes; its value, called with whether a line is left unended, says so."""
        with self._lock:
            self._erase()
            yield self._hold

    def _hold(self, held):
        self._is_held = held

    def _run(self):
        while not self._wake.wait(_PATIENCE):
            with self._lock:
                self._draw()
        with self._lock:
            self._erase()

    def _draw(self):
        if self._is_held:
            return
        try:
            line = self._line()
        except Exception:               # of what changes while it is looked at: the next look will do
            return
        self._erase()
        if line:
            self._write(cut(line, columns(self._fd) - 1))
            self._is_shown = True

    def _erase(self):
        if self._is_shown:
            self._write(_CLEAR)
            self._is_shown = False

    def _write(self, text):
        with signals.suppress(OSError):      # a terminal that has gone
            os.write(self._fd, text.encode(self._encoding, "replace"))


@contextlib.contextmanager
def shown(vm, stream):
    """While a VM boots, a terminal says what is being waited for; any other stream (a file object) says nothing."""
    if not stream.isatty():
        yield
        return
    booting = Booting()
    live = Live(stream.fileno(), lambda: booting.line([vm]), stream.encoding or "utf-8")
    live.start()
    try:
        with booting.told(vm) as tell, handled(Progress(None, tell), alone=True):
            yield
    finally:
        live.stop()
