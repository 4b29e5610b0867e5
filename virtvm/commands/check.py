"""virtvm check: what will not work in old tests, before any of them is run."""

import os

from virtvm import signals
from virtvm.commands import complain, shorter
from virtvm.companions.printable import printable


def add(commands):
    """Add the command to argparse's sub-parsers."""
    check = commands.add_parser("check", help="say what will not work in tests, without running them")
    check.add_argument("tests", metavar="TEST", nargs="+",
                       help="a test file, or a folder: all files in it that define run_<their name>")
    check.add_argument("--autotest-dir", metavar="DIR",
                       help="your own autotest tree, which gives what virtvm lacks (default:"
                            " $VIRTVM_AUTOTEST_DIR, else the tree that a test lies in)")
    check.add_argument("-q", "--quiet", action="store_true", help="print only what will not work")
    check.set_defaults(run=run)


def run(args):
    """Print the table; the status is 1 if something will not work, 2 if it can't be looked for."""
    from virtvm import autotest
    from virtvm.autotest.imports import checker
    try:
        autotest.install(autotest_dir=args.autotest_dir)
        paths = [path for test in args.tests for path in _files(test)]
    except OSError as e:
        signals.let_out(e)
        return complain(e)
    reports = checker.examine(paths)
    shown = [report for report in reports if report.problems or not args.quiet]
    width = max((len(shorter(report.path)) for report in shown), default=0)
    for report in shown:
        _print_report(report, width)
    if not args.quiet:
        bad = sum(bool(report.problems) for report in reports)
        print("%d %s: %d ready, %d with problems" % (
            len(reports), "file" if len(reports) == 1 else "files", len(reports) - bad, bad))
    return 1 if any(report.problems for report in reports) else 0


def _print_report(report, width):
    state = "%d problem%s" % (len(report.problems), "s"[len(report.problems) == 1:]) if report.problems else "ok"
    print("%-*s  %-10s  %s" % (width, printable(shorter(report.path)), report.kind, state))
    for problem in report.problems:
        print(printable("    %s:%d:%d: %s" % (
            shorter(problem.path), problem.line, problem.column, problem.message)))


def _files(test):
    """The file itself, or the tests in a folder (list)."""
    from virtvm.autotest.imports import discover
    if not signals.isdir(test):
        os.stat(test)
        return [test]
    tests = discover.tests_in(test)
    if not tests:
        raise FileNotFoundError("no file in %s defines run_<its name>(test, params, env)" % test)
    return tests
