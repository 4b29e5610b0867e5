"""What holds for all tests: longer limits for guests, and nothing left at the end.

A run has a temporary folder and a state folder of its own. When the last test has ended
and its fixtures are gone, these must be empty, and no process, thread, descriptor or
dead socket may be there that was not there before. A leak fails the run.
"""
import gc
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid

import hypothesis
import pytest
from support import recorder
from support.failures import pytest_runtest_logreport  # noqa: F401
from support.processes import processes

# Suites run side by side: how long something takes says nothing.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

GUEST_TIMEOUT = 300     # seconds; a guest boots in ten, much longer on a busy machine
MARK = "VIRTVM_TEST_RUN"
RUN = uuid.uuid4().hex
# Kept for its whole life: the drainer's epoll and eventfd, what libffi (ctypes) maps callbacks from.
KEPT_OPEN = re.compile(r"anon_inode:|.*/libffi\.so")
# The system's names of threads that stay once they are started.
ONE_PER_PROCESS = ("virtvm-drainer", "virtvm-news")
# What virtvm makes under /tmp whatever TMPDIR says; other runs have theirs there too. Logs
# are made to be kept.
IN_TMP = re.compile(r"(serial|testlog|monitor|migration)-(?!.*\.log$)")


def pytest_collection_modifyitems(items):
    for item in items:
        if "guest" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(GUEST_TIMEOUT))


def descriptors():
    """{number: what it is} of open files, less what a process has once for its whole life."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + number)
        except OSError:         # the one that listdir had open
            continue
        if not KEPT_OPEN.match(target):
            found[number] = target
    return found


def files(folder):
    """Paths of what the run has left: all in its folder, and sockets in /tmp that nobody serves."""
    found = {os.path.join(folder, name) for name in os.listdir(folder)}
    with open("/proc/net/unix") as table:
        served = {line.split()[-1] for line in table}
    stale = {os.path.join("/tmp", name) for name in os.listdir("/tmp") if IN_TMP.match(name)}
    return found | (stale - served)


def threads():
    """Names of Python's threads; one of C's is there once Python code in it, a finalizer say, asked for itself."""
    return {"thread %s" % thread.name for thread in threading.enumerate() if name_of(thread) not in ONE_PER_PROCESS}


def name_of(thread):
    try:
        with open("/proc/self/task/%s/comm" % thread.native_id) as f:
            return f.read().rstrip("\n")
    except OSError:
        return ""


class LeakCheck:
    """Gives the run its folders, and compares after with before."""

    def __init__(self, config):
        self.config = config
        # Readable for the accounts that tests make for themselves.
        self.folder = tempfile.mkdtemp(prefix="virtvm-test-")
        os.chmod(self.folder, 0o755)
        self.state_folder = tempfile.mkdtemp(prefix="virtvm-test-state-")
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        os.environ.update({MARK: RUN, "TMPDIR": self.folder, "VIRTVM_STATE_DIR": self.state_folder})
        tempfile.tempdir = None         # so that it is looked up again
        self.before = self.state()
        self.found = []

    def folders(self):
        """Those that only processes of this run have to do with."""
        factory = getattr(self.config, "_tmp_path_factory", None)
        paths = getattr(factory, "_basetemp", None)     # None: no test has asked for one
        return [self.folder, self.state_folder] + ([str(paths)] if paths else [])

    def state(self):
        """All that may leak, as a set of lines."""
        found = processes(self.folders(), "%s=%s" % (MARK, RUN))
        lines = {"process %s: %s" % item for item in found.items()}
        lines |= threads()
        lines |= {"descriptor %s: %s" % item for item in descriptors().items()}
        return lines | {"file %s" % path for path in files(self.folder)}

    def leaks(self, patience=60.0):
        """What is there now and was not before; what is just ending gets some time, other runs' sockets, too."""
        deadline = time.monotonic() + patience
        engine = sys.modules.get("virtvm._session")
        if engine is not None:          # what a login that ran out of time keeps for the next one
            engine._drop_places()
        while True:
            gc.collect()
            left = self.state() - self.before
            if not left or time.monotonic() > deadline:
                return sorted(left)
            time.sleep(0.1)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        self.found = self.leaks()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.state_folder, ignore_errors=True)
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        if self.found:
            terminalreporter.section("left behind by the tests", red=True)
            for line in self.found:
                terminalreporter.line(line)


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    # What a shell runs in the background ignores Ctrl-C, which tests are about.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "VIRTVM_PYTHON" in os.environ:       # tools/test-asan: for interpreters alone
        os.environ.pop("LD_PRELOAD", None)
        sys.executable = os.environ["VIRTVM_PYTHON"]
    config.addinivalue_line("markers", recorder.MARK)
    asked = recorder.Recorder()
    asked.install()
    config.pluginmanager.register(asked, "virtvm-params-asked")
    config.pluginmanager.register(LeakCheck(config), "virtvm-leak-check")
