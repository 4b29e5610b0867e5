"""The first argument of a test function: where it lives and where its evidence goes."""

import os
import re

from virtvm import scratch, signals
from virtvm.companions import error, utils


class Job:
    """What a test may ask of the job that it is part of."""

    def __init__(self, autodir, tmpdir, resultdir):
        from virtvm.autotest.tests.profilers import Profilers
        self.autodir, self.tmpdir, self.resultdir = autodir, tmpdir, resultdir
        self.profilers = Profilers(self)

    def barrier(self, hostid, tag, timeout=None, port=None, listen_server=None):
        """Tests on several hosts are not run here.  TestNAError."""
        raise error.TestNAError("barrier %r: a test runs on one host here" % tag)


class Test:
    """A running test.

    bindir: the suite's folder, that relative paths in params start from.  outputdir: all
    that this run leaves; below it debugdir, resultsdir and profdir.  tmpdir: gone after the
    test.  srcdir: bindir/src (it may not be there).  job; iteration (int, 0 before the first);
    tagged_testname.
    """

    def __init__(self, name, bindir, outputdir, autodir=None):
        self.bindir, self.outputdir = os.path.abspath(bindir), os.path.abspath(outputdir)
        self.autodir = autodir or self.bindir
        self.tagged_testname = name
        self.resultsdir = os.path.join(self.outputdir, "results")
        self.profdir = os.path.join(self.outputdir, "profiling")
        self.debugdir = os.path.join(self.outputdir, "debug")
        self.srcdir = os.path.join(self.bindir, "src")
        self.virtdir = self.bindir
        for folder in (self.resultsdir, self.profdir, self.debugdir):
            signals.makedirs(folder, exist_ok=True)
        # File systems take names of 255 bytes; what makes this one unique comes behind it.
        self.tmpdir = scratch.name("_%s." % re.sub(r"[^\w.-]", "_", name).encode()[:200].decode(errors="ignore"))
        try:
            os.mkdir(self.tmpdir, 0o700)
            self.job = Job(self.autodir, self.tmpdir, self.outputdir)
        except BaseException:
            self.close()
            raise
        self.iteration = 0

    def close(self):
        """Remove tmpdir."""
        scratch.remove_folder(self.tmpdir, forgiven=OSError)

    # Results as lines of key=value

    def write_test_keyval(self, dictionary):
        """Append key=value lines (a dict) to outputdir/keyval.  ValueError for a bad key."""
        self._append(os.path.join(self.outputdir, "keyval"), dictionary, "")

    def write_perf_keyval(self, perf_dict):
        """Append figures (a dict) to resultsdir/keyval, as key{perf}=value."""
        self.write_iteration_keyval({}, perf_dict)

    def write_attr_keyval(self, attr_dict):
        """Append properties (a dict) to resultsdir/keyval, as key{attr}=value."""
        self.write_iteration_keyval(attr_dict, {})

    def write_iteration_keyval(self, attr_dict, perf_dict):
        """Append both; an empty line ends them."""
        path = os.path.join(self.resultsdir, "keyval")
        self._append(path, attr_dict, "{attr}")
        self._append(path, perf_dict, "{perf}")
        with open(path, "a") as f:
            f.write("\n")

    @staticmethod
    def _append(path, dictionary, mark):
        utils.write_keyval(path, dictionary, mark.strip("{}") or None)

    def assert_(self, expr, msg="Assertion failed."):
        """TestError unless expr is true."""
        if not expr:
            raise error.TestError(msg)
