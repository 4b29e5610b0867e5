"""What a run says on the terminal while a guest boots."""

import contextlib
import logging
import re

from virtvm.companions.printable import printable


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
def told(vm, config):
    """While a VM boots, pytest's terminal says what is being waited for."""
    from virtvm.plugin.screen import screen_of
    screen = screen_of(config)
    if screen is not None and screen.is_quiet:
        yield
    elif screen is None or not screen.shows():
        with _told_in_lines(vm, config):
            yield
    else:
        with screen.booting.told(vm) as tell, _handled(Progress(None, tell)):
            yield


@contextlib.contextmanager
def _told_in_lines(vm, config):
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    if reporter is None:                # a worker of pytest-xdist's
        yield
        return

    def tell(line):
        shown = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
        with shown:
            reporter.ensure_newline()
            reporter.line(line)

    with _handled(Progress(vm.name, tell)):
        yield


@contextlib.contextmanager
def _handled(handler):
    """All that is logged in the block goes to that handler, too."""
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.DEBUG) or level)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
