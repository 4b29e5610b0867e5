"""virtvm run: tests of old and new ones, on a guest, and a summary."""

import contextlib
import importlib.util
import os
import re
import sys
import time

from virtvm import signals
from virtvm.commands import complain, shorter, tell_unknown
from virtvm.companions.printable import printable, printable_lines
from virtvm.companions.secrets import Secret, is_secret


def add(commands):
    """Declare the command."""
    from virtvm.params import config
    parser = commands.add_parser("run", help="run tests on a guest", usage="%(prog)s [OPTION ...] TEST ..."
                                 " [-- PYTEST'S OPTION ...]", epilog="What stands behind -- goes to pytest as it is.",
                                 description="Run autotest's tests, unchanged, and pytest's, on a guest.")
    parser.add_argument("tests", metavar="TEST", nargs="+", help="test file, or folder of tests")
    config.add_arguments(parser.add_argument)
    parser.add_argument("--results", metavar="DIR", default="virtvm-results",
                        help="folder of all runs' logs and pictures (default: %(default)s)")
    parser.add_argument("--autotest-dir", metavar="DIR", help="your own autotest tree, for what virtvm lacks")
    parser.add_argument("--keep", action="store_true", help="leave the guest of a failed test running, until Ctrl-C")
    parser.add_argument("--dry-run", action="store_true", help="print QEMU's command lines and the tests, and stop")
    parser.add_argument("-k", metavar="EXPRESSION", help="only tests whose names match, as pytest's -k")
    parser.add_argument("-x", "--exitfirst", action="store_true", help="stop at the first failure")
    parser.add_argument("-n", metavar="NUMBER", help="of processes that run tests, each with guests of its own"
                                                     " (needs pytest-xdist)")
    parser.add_argument("--junitxml", metavar="FILE", help="write a report for machines")
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("-v", "--verbose", action="store_true",
                          help="a line for each test where the output is no terminal, too; assertions in full")
    how_much.add_argument("-q", "--quiet", action="store_true", help="say only what did not pass")
    parser.set_defaults(run=_run)


def split(words):
    """(words, those behind --) of a command line (list of str): what is pytest's own in one of `virtvm run`."""
    if words[:1] != ["run"] or "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1:]


def _run(args):
    from virtvm.params import config
    from virtvm.autotest.imports import discover
    _find_modules_here()
    try:
        loaded = config.load(args, build=not args.dry_run)
        files = _files(args.tests, loaded)
        # New tests may name theirs by a marker, or need none.
        has_guest = all(config.names_guest(loaded.params_for(_stem(path)))
                        for path in files if discover.defines_test(path))
        tell_unknown(loaded, *files)
    except (config.ConfigError, OSError) as e:
        signals.let_out(e)
        return complain(e)
    if args.dry_run:
        return _dry_run(args, files, loaded)
    if not has_guest:
        return complain(config.NO_GUEST)
    with _results(args.results) as results:
        report = args.junitxml or os.path.join(results, "junit.xml")
        return _pytest(args, files, loaded, ["--virtvm-results=" + results, "--junitxml=" + report])


def _find_modules_here():
    """vm_class may name a module of the working folder, as with `python -m virtvm`."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]


def _files(tests, loaded):
    """Test files: a folder stands for those in it that define run_<their name>, or test_*.py.

    Of a folder's, tests of old without a variant are left out; one that is named must have one.
    """
    from virtvm.autotest.imports import discover
    from virtvm.params.config import ConfigError
    found = []
    for test in tests:
        if not signals.isdir(test):
            os.stat(test)
            if discover.defines_test(test) and not loaded.has_runs(_stem(test)):
                raise ConfigError("%s: no variant that is left has type = %s" % (test, _stem(test)))
            found.append(test)
            continue
        mine = discover.tests_in(test, lambda name: name.startswith("test_"))
        if not mine:
            raise FileNotFoundError("%s: no tests in it" % test)
        found += [path for path in mine if loaded.has_runs(_stem(path)) or not discover.defines_test(path)]
    if not found:
        raise ConfigError("%s: no variant that is left is of a test in it" % ", ".join(tests))
    return found


def _guest_exists(folder):
    from virtvm import guest
    return guest.Guest(os.path.expanduser(folder), guest.PASSWORD).exists()


class _Loaded:
    """A plugin of pytest's that brings what was read already: expanding variants may take long."""

    def __init__(self, loaded):
        self.virtvm_loaded = loaded


class _Collected:
    """A plugin of pytest's that keeps the tests that were chosen."""

    def __init__(self):
        self.items = []

    def pytest_collection_finish(self, session):
        self.items = list(session.items)


def _dry_run(args, files, loaded):
    """Print what would be run; pytest itself says what that is."""
    import io
    if args.virtvm_guest and not _guest_exists(args.virtvm_guest):
        complain("%s: no guest is there yet; it would be built" % args.virtvm_guest)
    collected, said = _Collected(), io.StringIO()
    with contextlib.redirect_stdout(said):
        status = _pytest(args, files, loaded, ["--collect-only", "-p", "no:xdist"], collected)
    if status:
        print(printable_lines(said.getvalue()), end="", file=sys.stderr)
        return status
    import pytest
    shown = set()
    try:
        for item in collected.items:
            _print_item(item, shown)
    except pytest.UsageError as e:      # of a marker
        return complain(e)
    return 0


def _print_item(item, shown):
    from virtvm import pytest_plugin
    is_old = isinstance(item, pytest_plugin.OldTest)
    if is_old or "vm" in getattr(item, "fixturenames", ()):
        for line in _commands(pytest_plugin.params_of(item)):
            if line not in shown:
                print(printable_lines(line))
            shown.add(line)
    if is_old and item.name != item.path.stem:
        print("would run %s as %s" % (printable(shorter(item.path)), printable(item.params["shortname"])))
    else:
        print("would run %s" % printable(shorter(item.path) if is_old else item.nodeid))


def _commands(params):
    """What starts each VM (list of str).  Names of sockets and addresses are chosen when it starts."""
    from virtvm.autotest.tests import virt_env_process
    from virtvm.companions import error
    lines = []
    for name in params.objects("vms"):
        vm_params = params.object_params(name)
        try:
            vm = virt_env_process.vm_class(vm_params)(name, vm_params, os.getcwd())
            command = vm.make_qemu_command() if hasattr(vm, "make_qemu_command") else "(%s)" % type(vm).__name__
        except error.TestError as e:
            command = "can't be started: %s" % e
        lines.append("%s: %s" % (name, command))
    return lines


@contextlib.contextmanager
def _results(folder):
    """A folder for this run's results; `latest` names it.  It goes again if no test was even collected."""
    name = time.strftime("run-%Y-%m-%d_%H-%M-%S")
    path = os.path.join(folder, name)
    number = 1
    while signals.exists(path):
        number += 1
        path = os.path.join(folder, "%s.%d" % (name, number))
    signals.makedirs(path)
    latest = os.path.join(folder, "latest")
    before = os.readlink(latest) if signals.islink(latest) else None
    _link(latest, os.path.basename(path))
    try:
        yield path
    finally:
        if _is_of_nothing(path):
            with signals.suppress(OSError):         # somebody has put something there
                _link(latest, before)
                os.rmdir(path)
                os.rmdir(folder)


def _link(path, target):
    """Have a link lead there, or nowhere (None); what is no link stays."""
    if signals.islink(path):
        os.unlink(path)
    if target is not None and not signals.lexists(path):
        os.symlink(target, path)


def _is_of_nothing(folder):
    """Whether a run's folder has nothing in it; a report of no tests goes."""
    import xml.etree.ElementTree
    report = os.path.join(folder, "junit.xml")
    if os.listdir(folder) == ["junit.xml"]:
        with signals.suppress(OSError, xml.etree.ElementTree.ParseError):
            if next(xml.etree.ElementTree.parse(report).iter("testcase"), None) is None:
                os.unlink(report)
    return not os.listdir(folder)


def _pytest(args, files, loaded, more, *plugins):
    try:
        import pytest
    except ImportError:
        return complain("`virtvm run` needs pytest: pip install 'virtvm[run]'")
    words = ["-p", "virtvm"] if os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD") else []
    words += ["-p", "no:cacheprovider", "--no-header", "--tb=short"]
    words += ["-q"] * (not any(re.fullmatch("-v+|--verbose", word) for word in args.pytests))
    # Option and value in one: pytest takes any word that is a path for one of tests, and would heed the
    # settings of a project that the guest lies in.
    for name in ("guest", "image", "image-format", "kernel", "initrd", "user", "identity", "password-file"):
        value = getattr(args, "virtvm_" + name.replace("-", "_"))
        if value:
            words.append("--virtvm-%s=%s" % (name, value))
    for name in ("image-backing", "config", "only", "no", "param"):
        for value in getattr(args, "virtvm_" + name.replace("-", "_")) or []:
            word = "--virtvm-%s=%s" % (name, value)
            words.append(Secret(word) if name == "param" and is_secret(value.partition("=")[0]) else word)
    words += ["--virtvm-write-image"] * args.virtvm_write_image + ["--virtvm-keep"] * args.keep
    words += ["--virtvm-strict-params"] * args.virtvm_strict_params
    words += ["--virtvm-cloud-init"] * args.virtvm_cloud_init
    if args.autotest_dir:
        words.append("--virtvm-autotest-dir=" + args.autotest_dir)
    words += ["-o", "verbosity_assertions=2"] * args.verbose
    if args.n and not args.dry_run:
        if importlib.util.find_spec("xdist") is None:
            return complain("-n needs pytest-xdist: pip install pytest-xdist")
        words += ["-p", "xdist"] if os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD") else []
        words += ["-n", args.n]
    words += ["-x"] * args.exitfirst + (["-k", args.k] if args.k else [])
    with _screen(args) as shown:
        words += ["-o", "console_output_style=classic"] * len(shown)
        return int(pytest.main(words + more + files + args.pytests, plugins=[_Loaded(loaded), *shown, *plugins]))


@contextlib.contextmanager
def _screen(args):
    """A list of the plugin that says on the terminal how far the run is, if there is one to use."""
    from virtvm.plugin import screen
    made = None if args.dry_run else screen.made(args.verbose, args.quiet)
    try:
        yield [made] if made else []
    finally:
        if made:
            made.close()
