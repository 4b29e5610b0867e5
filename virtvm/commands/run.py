"""virtvm run: tests of old and new ones, on a guest, and a summary."""

import importlib.util
import os
import sys
import time

from virtvm.commands import shorter


def add(commands):
    """Declare the command."""
    from virtvm import config
    parser = commands.add_parser("run", help="run tests on a guest",
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
    parser.set_defaults(run=_run)


def _run(args):
    from virtvm import config
    try:
        files = _files(args.tests)
        loaded = config.load(args)
        has_guest = all(config.names_guest(loaded.params_for(_stem(path))) for path in files)
    except (config.ConfigError, OSError) as e:
        print("virtvm: %s" % e, file=sys.stderr)
        return 2
    if args.dry_run:
        return _dry_run(args, files)
    if not has_guest:
        print("virtvm: no guest: name one by --guest DIR, --image FILE, or --config FILE", file=sys.stderr)
        return 2
    results = _results(args.results)
    report = args.junitxml or os.path.join(results, "junit.xml")
    return _pytest(args, files, ["--virtvm-results=" + results, "--junitxml=" + report])


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]


def _files(tests):
    """Test files: a folder stands for those in it that define run_<their name>, or test_*.py."""
    from virtvm.autotest import discover
    found = []
    for test in tests:
        if not os.path.isdir(test):
            os.stat(test)
            found.append(test)
            continue
        mine = discover.tests_in(test, lambda name: name.startswith("test_"))
        if not mine:
            raise FileNotFoundError("%s: no tests in it" % test)
        found += mine
    return found


class _Collected:
    """A plugin of pytest's that keeps the tests that were chosen."""

    def __init__(self):
        self.items = []

    def pytest_collection_finish(self, session):
        self.items = list(session.items)


def _dry_run(args, files):
    """Print what would be run; pytest itself says what that is."""
    import contextlib
    import io
    collected, said = _Collected(), io.StringIO()
    with contextlib.redirect_stdout(said):
        status = _pytest(args, files, ["--collect-only", "-p", "no:xdist"], collected)
    if status:
        print(said.getvalue(), end="", file=sys.stderr)
        return status
    shown = set()
    for item in collected.items:
        _print_item(item, shown)
    return 0


def _print_item(item, shown):
    from virtvm import pytest_plugin
    is_old = isinstance(item, pytest_plugin.OldTest)
    if is_old or "vm" in getattr(item, "fixturenames", ()):
        for line in _commands(pytest_plugin.params_of(item)):
            if line not in shown:
                print(line)
            shown.add(line)
    if is_old and item.name != item.path.stem:
        print("would run %s as %s" % (shorter(item.path), item.params["shortname"]))
    else:
        print("would run %s" % (shorter(item.path) if is_old else item.nodeid))


def _commands(params):
    """What starts each VM (list of str).  Names of sockets and addresses are chosen when it starts."""
    from virtvm.autotest import virt_env_process
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


def _results(folder):
    """A folder for this run's results; `latest` names it."""
    name = time.strftime("run-%Y-%m-%d_%H-%M-%S")
    path = os.path.join(folder, name)
    number = 1
    while os.path.exists(path):
        number += 1
        path = os.path.join(folder, "%s.%d" % (name, number))
    os.makedirs(path)
    latest = os.path.join(folder, "latest")
    if os.path.islink(latest):
        os.unlink(latest)
    if not os.path.lexists(latest):
        os.symlink(os.path.basename(path), latest)
    return path


def _pytest(args, files, more, *plugins):
    try:
        import pytest
    except ImportError:
        print("virtvm: `virtvm run` needs pytest: pip install 'virtvm[run]'", file=sys.stderr)
        return 2
    words = ["-p", "virtvm"] if os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD") else []
    words += ["-p", "no:cacheprovider", "-q", "--no-header", "--tb=short"]
    # Option and value in one: pytest takes any word that is a path for one of tests, and would heed the
    # settings of a project that the guest lies in.
    for name in ("guest", "image", "kernel", "initrd"):
        if getattr(args, "virtvm_" + name):
            words.append("--virtvm-%s=%s" % (name, getattr(args, "virtvm_" + name)))
    for name in ("config", "only", "no", "param"):
        for value in getattr(args, "virtvm_" + name) or []:
            words.append("--virtvm-%s=%s" % (name, value))
    words += ["--virtvm-write-image"] * args.virtvm_write_image + ["--virtvm-keep"] * args.keep
    if args.autotest_dir:
        words.append("--virtvm-autotest-dir=" + args.autotest_dir)
    if args.n and not args.dry_run:
        if importlib.util.find_spec("xdist") is None:
            print("virtvm: -n needs pytest-xdist: pip install pytest-xdist", file=sys.stderr)
            return 2
        words += ["-p", "xdist"] if os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD") else []
        words += ["-n", args.n]
    words += ["-x"] * args.exitfirst + (["-k", args.k] if args.k else [])
    return int(pytest.main(words + more + files, plugins=list(plugins)))
