"""pytest runs tests of virtual machines: autotest's of old, unchanged, and new ones.

A file that defines run_<its name>(test, params, env) is one test.  New tests take the fixtures
`vm`, `params`, `env` and `test_object`.  VMs live on between tests unless params need another
one; at the end all are gone.
"""

import contextlib
import copy
import functools
import os
import re
import sys
import textwrap
import time
import warnings

import pytest

from virtvm import signals
from virtvm.autotest.imports import discover
from virtvm.companions.printable import printable, printable_lines, printable_output
from virtvm.companions.quoting import command_line
from virtvm.companions.secrets import MASK, Secret
from virtvm.hypervisors import failures
from virtvm.plugin.keys import RUNNER
from virtvm.plugin.screen import COLOURS, screen_of, told

CONFIGURATION = pytest.StashKey()
SUMMARY = pytest.StashKey()
_LONGEST_NAME = 240             # bytes of a folder's: with what is put behind it no more than 255


def pytest_addoption(parser):
    from virtvm.params import config
    group = parser.getgroup("virtvm", "tests of virtual machines")
    config.add_arguments(group.addoption, "--virtvm-")
    group.addoption("--virtvm", dest="virtvm_tests", action="store_true",
                    help="collect from folders, too, the files that define run_<their name>(test, params, env)")
    parser.addini("virtvm_tests", "the same as --virtvm (true or false)", type="bool", default=False)
    group.addoption("--virtvm-results", metavar="DIR", default=None,
                    help="folder of logs, pictures and results (default: virtvm-results)")
    group.addoption("--virtvm-keep", action="store_true",
                    help="leave the guest of a failed test running, until Ctrl-C")
    group.addoption("--virtvm-autotest-dir", metavar="DIR", default=None,
                    help="the user's own autotest tree, for what virtvm lacks")


def pytest_configure(config):
    config.addinivalue_line("markers", "virtvm(KEY=VALUE, ...): params of this test's VM")
    config.stash[SUMMARY] = Summary(config)
    config.pluginmanager.register(config.stash[SUMMARY], "virtvm-summary")
    option = config.option
    if option.virtvm_config or option.virtvm_param or option.virtvm_image or option.virtvm_password_file:
        configuration_of(config)        # now, rather than at the first test


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    """A guest that is named is built now: what is wrong with it is told once, and not at each test."""
    if session.config.option.virtvm_guest:
        configuration_of(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With pytest-xdist, variants that depend on each other run on one worker, in their order."""
    dist = config.option.dist
    if not config.option.virtvm_config or dist in ("no", "each"):
        return None
    configuration = configuration_of(config)
    if configuration.variants is None:
        return None
    from xdist import scheduler
    groups = _dependents(list(configuration.numbered_runs()))
    base = {"loadfile": scheduler.LoadFileScheduling, "loadgroup": scheduler.LoadGroupScheduling}.get(
        dist, scheduler.LoadScopeScheduling)

    class Scheduling(base):
        def _split_scope(self, nodeid):
            alone = nodeid if dist in ("load", "worksteal") else super()._split_scope(nodeid)
            return groups.get(nodeid.rpartition("::")[2], alone)

    return Scheduling(config, log)


def _dependents(runs):
    """{test's name: name of its group (str)} of the variants of which one depends on another."""
    group_of = {number: {number} for number, _, _ in runs}
    meant = {}                  # {dependency: numbers of the variants that it means}
    for number, _, params in runs:
        for needed in params.get("dep") or []:
            if needed not in meant:
                meant[needed] = [other for other, _, others in runs if needed in others["name"]]
            for other in meant[needed]:
                if group_of[other] is not group_of[number]:
                    group_of[number] |= group_of[other]
                    group_of.update(dict.fromkeys(group_of[number], group_of[number]))
    return {_label(params["type"], shortname): "variants from %d on" % min(group_of[number])
            for number, shortname, params in runs if len(group_of[number]) > 1}


def _label(name, shortname):
    """What a run of a test of old is called."""
    return name if shortname == name else "%s[%s]" % (name, shortname)


class TestWarned(UserWarning):
    """A test raised TestWarn."""


class UnknownParam(UserWarning):
    """A test's marker has a param that nobody knows, or that does nothing."""


# ---- one for each process that runs tests ----

class Runner:
    """What tests share: env with its VMs, and where their evidence goes."""

    def __init__(self, config):
        from virtvm.params.params import Env
        self.config, self.env = config, Env()
        self.folder = results_folder(config)
        worker = os.environ.get("PYTEST_XDIST_WORKER")
        self.folder = os.path.join(self.folder, worker) if worker else self.folder
        self.booted = set()             # (instance, process) of VMs that were logged into once
        self.failed = []                # names of tests whose guests may be kept
        self.done = {}                  # full name of a test of old -> whether it passed
        self.used = False               # whether a test ran

    def test(self, name, bindir):
        """A test object with a fresh folder."""
        from virtvm.autotest.tests.test_object import Test
        from virtvm.companions import virt_utils
        self.used = True
        base = folder = os.path.join(self.folder, _folder_name(name))
        number = 1
        while signals.exists(folder):
            number += 1
            folder = "%s.%d" % (base, number)
        test = Test(name, bindir, folder, self.config.option.virtvm_autotest_dir)
        virt_utils.set_log_file_dir(test.debugdir)
        return test

    def living(self):
        return [vm for vm in self.env.get_all_vms() if not vm.is_dead()]

    def describe_living(self):
        """For a person who is to look at them: where their monitors listen, how they were started."""
        lines = []
        for vm in self.living():
            lines.append("VM '%s'" % vm.name)
            lines += ["  %s monitor '%s': %s" % (monitor.protocol, monitor.name, monitor.filename)
                      for monitor in getattr(vm, "monitors", [])]
            if hasattr(vm, "make_qemu_command"):
                lines.append("  " + vm.make_qemu_command())
        return "\n".join(lines) or "none"

    def finish(self):
        """End all VMs."""
        for vm in self.env.get_all_vms():
            try:
                vm.destroy(gracefully=False)
            except Exception as e:      # the others are to go, too
                signals.let_out(e)
                warnings.warn(printable_lines("VM %s: %s" % (vm.name, e)), stacklevel=2)
        if self.used:
            from virtvm.autotest.tests import virt_env_process
            from virtvm.companions import virt_utils
            from virtvm.guest.cloud_init import end_run
            end_run()
            virt_env_process.end_networks(self.env)
            virt_utils.close_log_file()


def _folder_name(name):
    """What the folder of a test of that name (str) is called: as long as file systems take, with room for a number."""
    found = re.sub(r"[^\w.\[\]-]+", "_", name)
    if len(found.encode()) > _LONGEST_NAME:
        import hashlib
        end = "-" + hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
        found = found.encode()[:_LONGEST_NAME - len(end)].decode(errors="ignore") + end
    return found


@contextlib.contextmanager
def _usage_errors():
    """A configuration that can't be used is the user's mistake, not a test's."""
    from virtvm.params.config import ConfigError
    try:
        yield
    except ConfigError as e:
        raise pytest.UsageError(str(e)) from e


def configuration_of(config):
    """What the run's options and files say (config.Config), read when it is first needed."""
    from virtvm.params.config import load
    if CONFIGURATION not in config.stash:
        given = (getattr(plugin, "virtvm_loaded", None) for plugin in config.pluginmanager.get_plugins())
        with _usage_errors():
            config.stash[CONFIGURATION] = (next(filter(None, given), None)
                                           or load(config.option, build=not config.option.collectonly))
    return config.stash[CONFIGURATION]


def results_folder(config):
    """Path (str) of the folder below which all evidence goes."""
    return os.path.join(str(config.invocation_params.dir), config.option.virtvm_results or "virtvm-results")


def runner_of(config):
    """The process's Runner, made when it is first needed."""
    if RUNNER not in config.stash:
        config.stash[RUNNER] = Runner(config)
    return config.stash[RUNNER]


def _evidence(what, function, *args):
    """What function(*args) returns, or None: evidence is nice to have, and its failure is only warned of."""
    try:
        return function(*args)
    except Exception as e:
        signals.let_out(e)
        warnings.warn(printable_lines("no %s: %s: %s" % (what, type(e).__name__, e)), stacklevel=2)
        return None


def _output_length(console):
    """Where a console's output ends now.  Ours counts; another hypervisor's may have get_output() alone."""
    length = getattr(console, "output_length", None)
    return len(console.get_output()) if length is None else length()


def _output_since(console, length):
    """What it has shown since it was that long (str)."""
    since = getattr(console, "get_output_since", None)
    return console.get_output()[length:] if since is None else since(length)


class Run:
    """One test with its objects: prepared, run, cleaned up after, and what it left."""

    def __init__(self, runner, name, bindir, params):
        self.runner, self.params = runner, params
        self.test = runner.test(name, bindir)
        self.env = runner.env
        self._consoles = []             # (name, console, what of its output is older than the test)
        self.seconds = {}
        self.failed = False

    def prepare(self):
        from virtvm.autotest.tests import virt_env_process
        from virtvm.companions.aexpect import ConsoleSession
        from virtvm.params.config import NO_GUEST, names_guest
        if not names_guest(self.params):
            raise pytest.UsageError(NO_GUEST)
        start = time.monotonic()
        for vm in self.runner.living():
            console = getattr(vm, "serial_console", None)
            if console is not None:
                begin = _evidence("console of VM %s" % vm.name, _output_length, console)
                self._consoles.append((vm.name, console, begin or 0))
        # A VM that is started, or started anew, has another console; all of it is this test's.
        ConsoleSession._watchers.append(self._add_console)
        try:
            virt_env_process.preprocess(self.test, self.params, self.env)
        finally:
            self.seconds["prepare"] = time.monotonic() - start

    def _add_console(self, console):
        name = console.name or os.path.basename(console.socket_path)
        self._consoles.append((name, console, 0))

    def await_boot(self, vm):
        """Log in once after each start, so that vm.login() works in the test."""
        start = time.monotonic()
        process = (vm.instance, vm.get_pid() if hasattr(vm, "get_pid") else None)
        if process not in self.runner.booted:
            with told(vm, self.runner.config):
                vm.wait_for_login(timeout=float(self.params.get("login_timeout", 240))).close()
            self.runner.booted.add(process)
            self.seconds["boot"] = time.monotonic() - start

    def clean_up(self):
        from virtvm.autotest.tests import virt_env_process
        from virtvm.companions import error
        from virtvm.companions.aexpect import ConsoleSession
        start = time.monotonic()
        try:
            _evidence("logs of consoles", self._write_consoles)
            if self.failed:
                virt_env_process.postprocess_on_error(self.test, self.params, self.env)
            virt_env_process.postprocess(self.test, self.params, self.env)
        except error.TestWarn as e:
            mean(e)
        finally:
            if self._add_console in ConsoleSession._watchers:
                ConsoleSession._watchers.remove(self._add_console)
            self.seconds["clean up"] = time.monotonic() - start
            self.test.close()

    def _console_texts(self):
        """{name: what its consoles, one after the other, have said during the test}."""
        known = [console for _name, console, _begin in self._consoles]
        for vm in self.runner.living():         # a hypervisor may have consoles of another kind
            console = getattr(vm, "serial_console", None)
            if console is not None and not any(console is other for other in known):
                self._consoles.append((vm.name, console, 0))
        texts = {}
        for name, console, begin in self._consoles:
            text = _evidence("console of VM %s" % name, _output_since, console, begin) or ""
            texts[name] = texts.get(name, "") + text
        return texts

    def _write_consoles(self):
        for name, text in self._console_texts().items():
            with open(os.path.join(self.test.debugdir, "serial-%s.log" % name), "w", encoding="utf-8",
                      errors="surrogateescape") as f:
                f.write(text)

    def write_command(self, command):
        """The command line of a VM that did not start, which no message has."""
        with open(os.path.join(self.test.debugdir, "command.log"), "w", encoding="utf-8",
                  errors="surrogateescape") as f:
            f.write(command + "\n")

    def console_tail(self):
        return "".join(text[-4000:] for text in self._console_texts().values())

    def take_picture(self):
        """Paths of pictures of the living VMs' screens."""
        paths = []
        for vm in self.runner.living():
            path = os.path.join(self.test.debugdir, "failure-%s.png" % vm.name)
            _evidence("picture of VM %s" % vm.name, vm.screendump, path)
            if signals.isfile(path):
                paths.append(path)
        return paths


# ---- tests of old ----

@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path, parent):
    if discover.defines_test(module_path) and not discover.has_new_tests(module_path):
        return OldFile.from_parent(parent, path=module_path)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    """Tests of old in folders, if that is asked for: files that nobody else takes, or that have both kinds."""
    found = yield
    if file_path.suffix != ".py" or not discover.defines_test(file_path):
        return found
    config = parent.config
    wanted = config.option.virtvm_tests or config.getini("virtvm_tests")
    if not found and wanted:
        return [OldFile.from_parent(parent, path=file_path)]
    if discover.has_new_tests(file_path) and (wanted or _is_named(config, file_path)):
        return [*_collectors(found), OldFile.from_parent(parent, path=file_path)]
    return found


def _collectors(found):
    """The first answer of pytest's plugins, or all of them, as a list."""
    if not found:
        return []
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _is_named(config, path):
    """Whether the command line names the file itself, and not only a folder that it is in."""
    words = (word.partition("::")[0] for word in config.args)
    return str(path) in (os.path.abspath(os.path.join(str(config.invocation_params.dir), word)) for word in words)


class OldFile(pytest.File):
    """A file with one test of autotest's."""

    def collect(self):
        name = self.path.stem
        configuration = configuration_of(self.config)
        if not configuration.has_runs(name) and _is_named(self.config, self.path):
            raise self.CollectError("no variant that is left has type = %s" % name)
        for number, shortname, params in configuration.numbered_runs(name):
            if params.get("skip") != "yes":
                yield OldTest.from_parent(self, name=_label(name, shortname), number=number, params=params)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Variants run in the configuration's order, whichever files they are in.

    There a dependency stands before what needs it.
    """
    if CONFIGURATION not in config.stash or config.stash[CONFIGURATION].variants is None:
        return
    places = [place for place, item in enumerate(items) if isinstance(item, OldTest)]
    in_order = sorted((items[place] for place in places), key=lambda item: item.number)
    for place, item in zip(places, in_order):
        items[place] = item


class OldTest(pytest.Item):
    """run_<name>(test, params, env)."""

    run = None

    def __init__(self, *, number, params, **more):
        super().__init__(**more)
        self.number, self.params = number, params       # number: its place among the configuration's variants

    def _suite(self):
        """The suite's folder: what holds a folder `tests`, else the file's own."""
        folder = self.path.parent
        return str(folder.parent if folder.name == "tests" else folder)

    def _check_dependencies(self, done):
        """A test that another one needs, and that did not pass, spares us this one.

        A dependency is part of a full name; one that has not been run keeps nobody from running.
        """
        for needed in self.params.get("dep") or []:
            for name, passed in done.items():
                if needed in name and not passed:
                    pytest.skip("Test dependency failed: %s" % name)

    def setup(self):
        from virtvm import autotest
        runner = runner_of(self.config)
        others = {name: passed for name, passed in runner.done.items() if name != self.params["name"]}
        runner.done[self.params["name"]] = False
        self._check_dependencies(others)
        autotest.install(self.config.option.virtvm_autotest_dir, [str(self.path.parent)])
        module = autotest.load_test(str(self.path))
        self.run = Run(runner, self.name, self._suite(), self.params.copy())
        self.run.test.write_test_keyval(_keyvals(self.params))
        call_test(self.run.prepare)
        self.function = getattr(module, "run_" + self.path.stem)

    def runtest(self):
        test = self.run.test
        self._add_profilers(test.job.profilers)
        # With profilers there is one run, which they look at.
        profiled = test.job.profilers.present()
        with _in_folder(test.outputdir):
            for _ in range(1 if profiled else int(self.params.get("iterations", 1))):
                test.iteration += 1
                with test.job.profilers.running(test):
                    call_test(self.function, test, self.run.params, self.run.env)
        self.run.runner.done[self.params["name"]] = True

    def _add_profilers(self, profilers):
        for name in (self.params.get("profilers") or "").split():
            try:
                profilers.add(name)
            except ImportError as e:        # the usual configuration asks for one in every test
                warnings.warn(TestWarned("no profiler %s: %s" % (name, e)), stacklevel=1)

    def teardown(self):
        run, self.run = self.run, None
        if run is None:
            return
        try:
            run.clean_up()
        except BaseException:
            run.runner.done[self.params["name"]] = False
            raise

    def reportinfo(self):
        return self.path, None, "run_%s" % self.path.stem

    def repr_failure(self, excinfo):
        return super().repr_failure(excinfo, style="short")

    def _traceback_filter(self, excinfo):
        """The test's own lines: pytest cuts its frames, and its caller's, from functions alone."""
        found = excinfo.traceback
        ours = [number for number, entry in enumerate(found) if str(entry.path) == __file__]
        if not ours:                    # another exception's, that this one came of
            return found
        return found[ours[-1] + 1:] or found[ours[0]:]          # or it is we who failed


@contextlib.contextmanager
def _in_folder(folder):
    """The working folder is this one, whatever the block makes of it."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _keyvals(params):
    """What is written down of a test's params (dict): less the parser's own, and no password."""
    from virtvm.companions.secrets import masked
    return masked({key: value for key, value in params.items() if not key.startswith("_")})


def call_test(function, *args):
    """Call it; autotest's exceptions become pytest's."""
    try:
        function(*args)
    except Exception as e:
        signals.let_out(e)
        mean(e)


def mean(exception):
    """Skip for a TestNAError, warn for a TestWarn, raise anything else."""
    from virtvm.companions import error
    names = {cls.__name__ for cls in type(exception).__mro__}       # of another tree's error module, too
    if isinstance(exception, error.TestNAError) or "TestNAError" in names:
        pytest.skip(str(exception) or "not applicable")
    if not isinstance(exception, error.TestWarn) and "TestWarn" not in names:
        raise exception
    warnings.warn(TestWarned(printable_lines(exception)), stacklevel=1)


def _is_error(exception):
    """Whether the test could not be done (TestError), rather than failed."""
    names = [cls.__name__ for cls in type(exception).__mro__]
    return "TestError" in names and "TestFail" not in names


# ---- new tests ----

def params_of(item):
    """Params (Params) of a test, old or new."""
    from virtvm.params import config
    from virtvm.companions.secrets import hidden_items
    if isinstance(item, OldTest):
        return item.params.copy()
    marked = {}
    for marker in reversed(list(item.iter_markers("virtvm"))):      # the closest one last
        for key, value in marker.kwargs.items():
            marked[key] = config.text(value)
            if marked[key] is None:
                raise pytest.UsageError("%s: marker virtvm: %s: a param is a text, a path, a number, true, false, "
                                        "or a list of these, not %r" % (item.nodeid, key, value))
        marked = hidden_items(marked)
    _warn_of_unknown(item, marked)
    params = configuration_of(item.config).params_for(*_names_of(item), marked=marked)
    params.setdefault("kernel_crash_patterns", "modern")        # tests of old get what they always got
    return params


def _tell_unknown(config):
    """Warn of params of options and files that nobody knows, in the one process that has a terminal."""
    if CONFIGURATION not in config.stash or hasattr(config, "workerinput"):
        return
    from virtvm.params import unknown
    here = str(config.invocation_params.dir)
    tests = [os.path.join(here, word.partition("::")[0]) for word in config.args]
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    with _usage_errors():
        lines = config.stash[CONFIGURATION].unknown_params(own=lambda: unknown.asked_by(tests))
    if reporter is not None:
        for line in lines:
            reporter.write_line("virtvm: warning: " + printable(line), yellow=True)


def _warn_of_unknown(item, marked):
    """The same of a test's markers, as warnings of that test's."""
    from virtvm.params import unknown
    with _usage_errors():
        lines = configuration_of(item.config).unknown_params(
            own=lambda: unknown.asked_by([str(item.path)]), marked=marked, test=item.name)
    for line in lines:
        warnings.warn(UnknownParam(printable(line)), stacklevel=1)


def _names_of(item):
    """Names (list of str) by which params mean a test, the most exact one last: without its parameters, too."""
    name = getattr(item, "originalname", None) or item.name
    names = [name]
    cls = getattr(item, "cls", None)
    if cls is not None:
        names.append("%s::%s" % (cls.__name__, name))
    return names + [other for other in [item.name] if other != name]


@pytest.fixture
def params(request):
    """Params (Params) of this test: the run's, and those of its marker `virtvm`."""
    return params_of(request.node)


@pytest.fixture
def env(request):
    """What lives from test to test (Env)."""
    return runner_of(request.config).env


@pytest.fixture
def _virtvm_run(request, params):
    run = Run(runner_of(request.config), request.node.name, os.path.dirname(str(request.node.path)), params)
    request.node.run = run
    yield run
    run.clean_up()


@pytest.fixture
def test_object(_virtvm_run):
    """Where this test lives and where its evidence goes (Test)."""
    return _virtvm_run.test


@pytest.fixture
def vm(_virtvm_run):
    """The main VM: alive, booted, and logged out."""
    _virtvm_run.prepare()
    vm = _virtvm_run.env.get_vm(_virtvm_run.params["main_vm"])
    _virtvm_run.await_boot(vm)
    return vm


# ---- reports ----

@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """In new tests autotest's exceptions mean the same."""
    try:
        return (yield)
    except Exception as e:
        signals.let_out(e)
        if "_virtvm_run" not in pyfuncitem.fixturenames:
            raise
        mean(e)
        return True


# Who takes one of these may show what a guest said; so may any test, once these modules are there.
_OURS = {"_virtvm_run", "env", "params", "test_object", "vm"}
_TALKERS = ("virtvm._session", "virtvm.hypervisors.monitor")


def _may_have_heard(config):
    """Whether this process may know anything that a guest said (bool)."""
    return RUNNER in config.stash or any(name in sys.modules for name in _TALKERS)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if call.excinfo is not None:
        report.longrepr = _cause_first(report.longrepr, call.excinfo.value)
    _note_outcome(item, call, report)
    if (isinstance(item, OldTest) or _OURS.intersection(getattr(item, "fixturenames", ()))
            or _may_have_heard(item.config)):
        _make_printable(report)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    outcome = yield
    if _may_have_heard(collector.config):
        report = outcome.get_result()
        report.sections = [(name, printable_lines(text)) for name, text in report.sections]
        report.longrepr = _printable_parts(report.longrepr)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session):
    """Live logs, if they are asked for, go to the terminal as well, and so does all that is said at the end."""
    _tell_unknown(session.config)
    handler = getattr(session.config.pluginmanager.get_plugin("logging-plugin"), "log_cli_handler", None)
    if handler is not None:
        handler.emit = functools.partial(_emit_printable, handler.emit)
    _filter_terminal(session.config)


def _emit_printable(emit, record):
    record = copy.copy(record)
    record.msg, record.args = printable_lines(record.getMessage()), None
    emit(record)


@pytest.hookimpl(tryfirst=True)
def pytest_assertrepr_compare(op, left, right):
    """pytest spells out how dicts differ; of Params that would be the passwords."""
    from virtvm.params.params import Params
    if isinstance(left, Params) or isinstance(right, Params):
        return ["%r %s %r" % (left, op, right)]
    return None


def _make_printable(report):
    """pytest writes to the terminal, as it is, what a test printed, logged and raised: a guest's words."""
    report.sections = [(name, printable_lines(text)) for name, text in report.sections]
    report.longrepr = _printable_parts(report.longrepr)
    report.user_properties = [(name, MASK if isinstance(value, Secret) else value)
                              for name, value in report.user_properties]
    if hasattr(report, "wasxfail"):
        report.wasxfail = printable(report.wasxfail)


# Whatever pytest and its plugins write by the reporter, reports or not: the reason of pytest.exit() and of
# a stop, errors of hooks, names of subtests.

def _filter_terminal(config):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        terminal = reporter._tw
        terminal.write = functools.partial(_write_printable, config, terminal, terminal.write)


def _write_printable(config, terminal, write, msg, **more):
    has_guests = config.stash[SUMMARY].rows or _may_have_heard(config)
    write(printable_output(msg, terminal.hasmarkup) if has_guests else msg, **more)


@pytest.hookimpl(tryfirst=True)
def pytest_keyboard_interrupt(excinfo):
    """pytest.exit() and Ctrl-C have words, too."""
    value = excinfo.value
    value.args = tuple(printable(arg) if isinstance(arg, str) else arg for arg in value.args)
    if isinstance(getattr(value, "msg", None), str):
        value.msg = printable(value.msg)


@pytest.hookimpl(tryfirst=True)
def pytest_internalerror(excrepr):
    _printable_parts(excrepr)


def _printable_parts(value):
    return _changed_parts(value, printable_lines)


def _changed_parts(value, change):
    """What pytest made of an exception, each text in it as change() has it."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_changed_parts(part, change) for part in value)
    if type(value).__module__.startswith("_pytest"):
        for name, part in getattr(value, "__dict__", {}).items():
            setattr(value, name, _changed_parts(part, change))
    return value


def _cause_first(longrepr, exception):
    """What is wrong with a VM's start, without the command line, in which nobody finds it."""
    why = failures.short(exception)
    return longrepr if why is None else _changed_parts(longrepr, lambda part: part.replace(str(exception), why))


def _note_outcome(item, call, report):
    run = getattr(item, "run", None)
    if not isinstance(run, Run):
        if isinstance(item, OldTest) and call.when == "setup" and not report.passed:
            report.virtvm = {"name": item.name, "ended": _ended(report, call)}
        return
    run.seconds[call.when] = run.seconds.get(call.when, 0) + call.duration
    if report.failed and call.when != "teardown":
        run.failed = True
        if _may_keep(item.config):
            item.session.shouldstop = "the guest of a failed test is kept"
        elif run.params.get("abort_on_error") == "yes":
            item.session.shouldstop = printable_lines(
                "Abort requested (%s)" % (call.excinfo.value if call.excinfo else "failed"))
            living = _evidence("list of virtual machines", run.runner.describe_living)
            report.sections.append(("Living virtual machines", living or "could not be listed"))
        _keep_evidence(item, run, report, call.excinfo and call.excinfo.value)
        if call.when == "call" and call.excinfo is not None and _is_error(call.excinfo.value):
            report.when = "setup"       # counted as an error, not as a failure
    # Plain values: with pytest-xdist the summary is made in another process.
    report.virtvm = {"name": item.name, "seconds": dict(run.seconds), "folder": run.test.outputdir}
    if call.when == "call" or report.failed or (report.skipped and call.when == "setup"):
        report.virtvm["ended"] = _ended(report, call)


def _keep_evidence(item, run, report, value):
    pictures = _evidence("pictures", run.take_picture) or []
    tail = _evidence("console", run.console_tail)
    if failures.short(value) is not None:
        _evidence("command line", run.write_command, value.cmd)
    if tail:
        report.sections.append(("Serial console", tail))
    report.sections.append(("Evidence", run.test.outputdir))
    run.runner.failed.append(item.name)
    html = item.config.pluginmanager.getplugin("html")
    if html is not None:
        _add_extras(report, tail, pictures)


def _add_extras(report, tail, pictures):
    import base64

    from pytest_html import extras
    found = getattr(report, "extras", [])
    found.append(extras.text(printable_lines(tail or ""), name="Serial console"))
    for path in pictures:
        with open(path, "rb") as f:
            found.append(extras.png(base64.b64encode(f.read()).decode("ascii"), name=os.path.basename(path)))
    report.extras = found


def _ended(report, call):
    """How a test ended: a word, and why (str)."""
    word = {"passed": "PASS", "skipped": "SKIP"}.get(report.outcome, "ERROR" if report.when != "call" else "FAIL")
    reason = ""
    if hasattr(report, "wasxfail"):
        word, reason = "XPASS" if report.passed else "XFAIL", printable(report.wasxfail)
    elif call.excinfo is None and report.failed:        # as a strict xfail that passes
        reason = printable(str(report.longrepr).strip().partition("\n")[0])
    elif call.excinfo is not None:
        value = call.excinfo.value
        lines = str(getattr(value, "msg", None) or failures.short(value) or value).strip().splitlines()
        reason = lines[0] if lines else type(value).__name__
        if getattr(value, "detail", None):
            reason += ": %s" % value.detail
        reason = printable(reason)
    return [word, reason]


class Summary:
    """What the tests of this run came to: rows, {(worker, test): row}.  A plugin, for the reports."""

    def __init__(self, config):
        self.config, self.rows = config, {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message):
        """A warning may quote a guest, an exception that nobody caught among them."""
        text = printable_lines(warning_message.message)
        if _may_have_heard(self.config) and text != str(warning_message.message):
            try:
                warning_message.message = warning_message.category(text)
            except Exception as e:      # a class of the test's own
                signals.let_out(e)
                warning_message.message = UserWarning(text)

    def pytest_runtest_logreport(self, report):
        news = getattr(report, "virtvm", None)
        if news is not None:
            self._take(report, news)

    def _take(self, report, news):
        key = getattr(report, "worker_id", None), report.nodeid
        row = self.rows.setdefault(key, {"ends": [], "seconds": {}, "folder": None})
        row.update((name, value) for name, value in news.items() if name != "ended")
        if "ended" in news:
            row["ends"].append(news["ended"])

    def write(self, terminal, folder, is_quiet=False):
        """Write it; folder: what the tests' own are below (str).  is_quiet: less the tests that passed."""
        for row in self.rows.values():
            times = ", ".join("%s %.1f s" % (what, row["seconds"][key]) for key, what in
                              (("prepare", "VM"), ("boot", "boot"), ("call", "test"), ("clean up", "clean up"))
                              if row["seconds"].get(key, 0) >= 0.05)
            place = os.path.relpath(row["folder"], folder) if row["folder"] else row["name"]
            for word, reason in row["ends"]:
                if not is_quiet or word != "PASS":
                    parts = [times, reason[:200], "" if place == row["name"] else "in %s" % place]
                    _write_row(terminal, word, row["name"], list(filter(None, parts)))
        if getattr(terminal, "isatty", False):
            folder = min(folder, os.path.relpath(folder), key=len)
        terminal.line("Logs, consoles and pictures: %s" % folder)


def _write_row(terminal, word, name, parts):
    """A line where the output is no terminal; on one, lines that it has room for."""
    text = "%-5s %-30s %s" % (word, name, "  ".join(parts))
    width = terminal._tw.fullwidth
    lines = [text]
    if getattr(terminal, "isatty", False) and len(text) >= width:
        lines = textwrap.wrap("%-5s %s  %s" % (word, name, "  ".join(parts)), width - 1, subsequent_indent=" " * 6)
    for line in lines:
        terminal.line(line, **COLOURS.get(word, {"red": True}))


def pytest_terminal_summary(terminalreporter, config):
    summary = config.stash[SUMMARY]
    is_quiet = getattr(screen_of(config), "is_quiet", False)
    words = {word for row in summary.rows.values() for word, _ in row["ends"]}
    if not words or (is_quiet and words == {"PASS"}):
        return
    terminalreporter.section("virtual machines")
    summary.write(terminalreporter, results_folder(config), is_quiet)
    runner = config.stash.get(RUNNER, None)
    if runner is not None and config.option.virtvm_keep and runner.failed:
        for vm in runner.living():
            terminalreporter.line(how_to_reach(vm))


def how_to_reach(vm):
    """How a person reaches a running VM (str, some lines)."""
    lines = ["VM '%s' runs on:" % vm.name]
    try:
        port = vm.get_port(int(vm.params.get("shell_port", 22)))
        words = ["ssh", "-p", str(port)]
        if vm.params.get("ssh_identity_file"):
            words += ["-i", vm.params.get("ssh_identity_file")]
        words.append("%s@%s" % (vm.params.get("username", "root"), vm.get_address()))
        lines.append("  " + printable(command_line(*words)))
    except Exception as e:              # not every VM has a network
        signals.let_out(e)
        lines.append("  no network address: %s" % printable(e))
    lines.append("  serial console: %s" % vm.get_serial_console_filename())
    lines += ["  monitor: %s" % monitor.filename for monitor in getattr(vm, "monitors", [])]
    return "\n".join(lines)


def _may_keep(config):
    """A worker of xdist has nobody who could press Ctrl-C."""
    return config.option.virtvm_keep and "PYTEST_XDIST_WORKER" not in os.environ


def _keeps(config, runner):
    return _may_keep(config) and runner.failed and runner.living()


def _let_go(vm):
    """Leave a VM's console and monitors to whoever wants them: QEMU serves one client each."""
    for part in [getattr(vm, "serial_console", None)] + list(getattr(vm, "monitors", [])):
        if part is not None:
            part.close()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    runner = session.config.stash.get(RUNNER, None)
    if runner is not None and not _keeps(session.config, runner):
        runner.finish()


def pytest_unconfigure(config):
    runner = config.stash.get(RUNNER, None)
    if runner is None:
        return
    try:
        if _keeps(config, runner):
            for vm in runner.living():
                _let_go(vm)
            print("Press Ctrl-C to end the guest.", flush=True)
            while runner.living():
                time.sleep(1)
    except KeyboardInterrupt:
        print("\nending %s \u2026" % ", ".join(printable(vm.name) for vm in runner.living()), flush=True)
    finally:
        runner.finish()
