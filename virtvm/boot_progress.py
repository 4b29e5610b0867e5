"""What a run says on the terminal while a guest boots."""

import contextlib
import logging
import re

from virtvm.companions.printable import printable


class Progress(logging.Handler):
    """Tells what a wait for a login waits for, as the tries that it logs have it; once for each reason.

    tell: function that is called with a line (str).
    """

    def __init__(self, name, tell):
        logging.Handler.__init__(self, logging.DEBUG)
        self._name, self._tell, self._last = name, tell, None

    def emit(self, record):
        detail = getattr(record.msg, "detail", None)
        reason = detail and re.sub(r"\d+", "", detail)
        if detail and reason != self._last:
            self._last = reason
            self._tell(printable("%s: %s" % (self._name, detail)))


@contextlib.contextmanager
def told(vm, config):
    """While a VM boots, pytest's terminal says what is being waited for."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    root = logging.getLogger()
    if reporter is None:                # a worker of pytest-xdist's
        yield
        return

    def tell(line):
        shown = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
        with shown:
            reporter.ensure_newline()
            reporter.line(line)

    handler, level = Progress(vm.name, tell), root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.DEBUG) or level)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
