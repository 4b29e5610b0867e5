"""What a person at a terminal sees of a run: a line for what is being done, and one for each test."""

import contextlib
import os
import time

import pytest

from virtvm import boot_progress, signals
from virtvm.boot_progress import cut
from virtvm.companions.printable import printable
from virtvm.plugin.keys import RUNNER

NAME = "virtvm-screen"          # among pytest's plugins
COLOURS = {"PASS": {"green": True}, **dict.fromkeys(["SKIP", "XFAIL", "XPASS"], {"yellow": True})}


class Screen:
    """A plugin of pytest's: a line for each test, and, on a terminal, one for what is being done.

    fd: of the terminal, or None.  is_quiet: only what did not pass gets a line.
    """

    def __init__(self, fd=None, is_quiet=False, encoding="utf-8"):
        self.__name__, self.is_quiet, self._fd = NAME, is_quiet, fd
        self.booting = boot_progress.Booting()
        self._live = None if fd is None or is_quiet else boot_progress.Live(fd, self._line, encoding)
        self._running = {}              # {test's id: when it began}
        self._rows = {}                 # {(worker, test's id): [seconds, word, reason]}
        self._is_reporting = self._has_live = False
        self._reporter = self._config = None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session):
        option = session.config.option
        self._config, self._reporter = session.config, session.config.pluginmanager.getplugin("terminalreporter")
        if getattr(option, "verbose", -1) > -1:         # pytest's own lines are asked for
            self._reporter = None
        # With -s, and with live logs, others write to the terminal at any time.
        others = (getattr(option, "capture", "no") == "no" or getattr(option, "usepdb", False)
                  or _has_live_logs(session.config))
        self._has_live = self._live is not None and self._reporter is not None and not others
        if self._has_live:
            terminal = self._reporter._tw
            terminal.write = _Write(self._live, terminal, terminal.write)

    def close(self):
        """It shows nothing any more."""
        self._live_ends()
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def shows(self):
        """Whether a line tells what boots (bool)."""
        return self._has_live

    # ---- what is being done ----

    def _vms(self):
        runner = self._config.stash.get(RUNNER, None)
        return [] if runner is None else runner.env.get_all_vms()

    def _line(self):
        booting = self.booting.line(self._vms())
        if booting or not self._running:
            return booting or ""
        name, since = min(self._running.items(), key=lambda item: item[1])
        seconds = time.monotonic() - since
        others = len(self._running) - 1
        return "%s%s \u2026 %d s" % (printable(_name(name)), " and %d more" % others if others else "", seconds)

    def pytest_runtest_logstart(self, nodeid, location):
        self._running[nodeid] = time.monotonic()
        if self._has_live:
            self._live.start()

    def pytest_runtest_logfinish(self, nodeid, location):
        self._running.pop(nodeid, None)
        if self._has_live and not self._running:
            self._live.stop()

    def pytest_enter_pdb(self, config, pdb):
        """The terminal is the debugger's from now on."""
        self._live_ends()

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo):
        self._live_ends()
        if type(excinfo.value) is not KeyboardInterrupt:        # a stop of another kind
            return
        names = [printable(vm.name) for vm in self._vms() if not vm.is_dead()]
        if self._reporter is not None and names and not self.is_quiet:
            self._reporter.ensure_newline()
            self._reporter.line("ending %s \u2026" % ", ".join(names))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        self._live_ends()

    def _live_ends(self):
        if self._has_live:
            self._has_live = False
            self._live.stop()

    # ---- a line for each test ----

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report):
        self._is_reporting = self._reporter is not None
        try:
            return (yield)
        finally:
            self._is_reporting = False
            self._take(report)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report):
        """No dot and no word of pytest's while it is told of a report; it counts as ever."""
        found = yield
        return (found[0], "", "") if self._is_reporting and found else found

    def _take(self, report):
        key = getattr(report, "worker_id", None), report.nodeid
        row = self._rows.setdefault(key, [0.0, "", ""])
        row[0] += report.duration
        word, reason = _end_of(report)
        if word and (not row[1] or report.failed):
            row[1:] = word, reason
        if report.when == "teardown":
            del self._rows[key]
            if row[1] and self._reporter is not None and not (self.is_quiet and row[1] == "PASS"):
                self._write(_name(report.nodeid), *row)

    def _write(self, name, seconds, word, reason):
        # pytest takes a terminal of less than 40 columns for one of 80.
        width = (self._reporter._tw.fullwidth if self._fd is None else boot_progress.columns(self._fd)) - 1
        time = "%.1f s" % seconds
        line = "%-5s %s  %s" % (word, cut(printable(name), max(20, width - 8 - len(time))), time)
        if reason and word != "PASS":
            line += "  " + printable(reason)
        self._reporter.ensure_newline()
        self._reporter.line(cut(line, width), **COLOURS.get(word, {"red": True}))
        self._reporter.flush()


class _Write:
    """A terminal's write() before which the line that is shown goes."""

    def __init__(self, live, terminal, write):
        self._live, self._terminal, self._write = live, terminal, write

    def __call__(self, msg, **more):
        with self._live.cleared() as hold:
            self._write(msg, **more)
            self._terminal.flush()      # nothing of it comes after the next line
            hold(not msg.endswith("\n"))


def _has_live_logs(config):
    if not hasattr(config.option, "log_cli_level"):         # a run without pytest's logging
        return False
    return config.getini("log_cli") or config.option.log_cli_level is not None


def _name(nodeid):
    """What a test is called: without its file."""
    return nodeid.partition("::")[2] or nodeid


def _end_of(report):
    """(word, why) of a report (str each); ("", "") for a step that only went well."""
    told = getattr(report, "virtvm", {}).get("ended")
    if told:
        return told
    if hasattr(report, "wasxfail"):
        return ("XPASS" if report.passed else "XFAIL"), report.wasxfail
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        return "SKIP", reason.partition(": ")[2] or reason
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        return ("FAIL" if report.when == "call" else "ERROR"), (crash.message.partition("\n")[0] if crash else "")
    return ("PASS", "") if report.when == "call" and report.passed else ("", "")


def screen_of(config):
    """The run's Screen, or None: a plain pytest, a worker of pytest-xdist's, and no terminal."""
    return config.pluginmanager.getplugin(NAME)


@contextlib.contextmanager
def told(vm, config):
    """While a VM boots, pytest's terminal says what is being waited for."""
    screen = screen_of(config)
    if screen is not None and screen.is_quiet:
        yield
    elif screen is None or not screen.shows():
        with _told_in_lines(vm, config):
            yield
    else:
        with screen.booting.told(vm) as tell, boot_progress.handled(boot_progress.Progress(None, tell)):
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

    with boot_progress.handled(boot_progress.Progress(vm.name, tell)):
        yield


def made(is_verbose=False, is_quiet=False):
    """The Screen (or None) that fits this process's standard output."""
    import sys
    fd = None
    try:
        if sys.stdout.isatty():
            fd = os.dup(sys.stdout.fileno())    # pytest's capturing takes the descriptor itself
    except (OSError, ValueError) as e:          # another program's own stream
        signals.let_out(e)
    if fd is None and not is_verbose and not is_quiet:
        return None
    return Screen(fd, is_quiet, getattr(sys.stdout, "encoding", None) or "utf-8")
