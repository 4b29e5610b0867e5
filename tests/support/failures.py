"""Tells tools/run-tests of each failure at once, since it may have to kill what hangs."""

import os


def pytest_runtest_logreport(report):
    path = os.environ.get("VIRTVM_FAILURES")
    if report.failed and path:
        with open(path, "a") as f:
            f.write("%s, %s\n%s\n\n" % (report.nodeid, report.when, report.longreprtext))
