"""Test outcomes as exceptions, and the context that tells what a test was doing.

A context-aware function says what it is about to do with context(); when an
exception leaves it, the chain of such texts is kept with the exception and
shown in its message:

    @error.context_aware
    def check(vm):
        error.context("counting the CPUs of '%s'" % vm.name)
"""

import functools
import sys
import threading
import traceback

_local = threading.local()      # .contexts: two levels for each context-aware call


def context(s="", log=None):
    """Say what the current context-aware function is doing.

    log, if given, is called with "Context: ..." and the whole chain.
    Outside a context-aware function: AttributeError or IndexError.
    """
    _local.contexts[-1] = s
    if s and log:
        log("Context: %s" % get_context())


def base_context(s="", log=None):
    """Say what the current context-aware function is for; clears its context().

    A later context() is shown behind this text instead of replacing it.
    """
    _local.contexts[-1] = ""
    _local.contexts[-2] = s
    if s and log:
        log("Context: %s" % get_context())


def get_context():
    """Return this thread's chain of contexts, None if it never had one."""
    contexts = getattr(_local, "contexts", None)
    return None if contexts is None else " --> ".join(s for s in contexts if s)


def exception_context(e):
    """Return the context kept with exception e, None if there is none."""
    return getattr(e, "_context", None)


def set_exception_context(e, s):
    """Keep context s with exception e."""
    e._context = s


def join_contexts(s1, s2):
    """Return "s1 --> s2", or the one that is not empty."""
    return "%s --> %s" % (s1, s2) if s1 and s2 else s1 or s2


def context_aware(fn):
    """Decorate fn so that context() works in it and its exceptions carry the context.

    KeyboardInterrupt and SystemExit carry none.
    """
    own_level = "(%s)" % getattr(fn, "__name__", type(fn).__name__)

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        try:
            contexts = _local.contexts
        except AttributeError:
            contexts = _local.contexts = []
        contexts += ("", own_level)
        try:
            return fn(*args, **kwargs)
        except Exception as e:
            if not exception_context(e):
                set_exception_context(e, get_context())
            raise
        finally:
            del contexts[-2:]
    return wrapper


def _context_message(e):
    s = exception_context(e)
    return "    [context: %s]" % s if s else ""


def format_error():
    """Return the traceback of the exception being handled as text."""
    return "".join(traceback.format_exception(*sys.exc_info()))


def _unhandled(e, kind):
    """The args that describe e, an exception or a text, for an Unhandled* class."""
    if isinstance(e, kind):
        return e.args
    if isinstance(e, str):
        return (e,)
    text = "Unhandled %s: %s" % (type(e).__name__, e)
    if not isinstance(e, AutotestError):    # these show it themselves
        text += _context_message(e)
    tb = traceback.format_exception(type(e), e, e.__traceback__)
    return ("%s\n%s" % (text, "".join(tb)),)


class AutotestError(Exception):
    """Root of all that is raised on purpose."""

    def __str__(self):
        return Exception.__str__(self) + _context_message(self)


# The job: these end it

class JobError(AutotestError):
    """The whole job has to stop."""

    exit_status = "ABORT"


class UnhandledJobError(JobError):
    """An exception that a job did not expect; built from it or from a text."""

    def __init__(self, unhandled_exception):
        JobError.__init__(self, *_unhandled(unhandled_exception, JobError))


class BarrierError(JobError):
    """Hosts could not be brought together at a barrier."""


class BarrierAbortError(BarrierError):
    """A host asked the others to give up the barrier."""


class InstallError(JobError):
    """An installation failed."""


class HarnessError(JobError):
    """The harness that reports on the job failed."""


class HostInstallTimeoutError(JobError):
    """A host took too long to install."""


# The test: exit_status is what the job records

class TestBaseException(AutotestError):
    """Root of the outcomes of a test; raise one of its children."""

    __test__ = False                # not a test case, whatever the name says
    exit_status = "NEVER_RAISE_THIS"


class TestError(TestBaseException):
    """The test could not do its work."""

    exit_status = "ERROR"


class TestNAError(TestBaseException):
    """The test does not apply here."""

    exit_status = "TEST_NA"


class TestFail(TestBaseException):
    """What was tested does not work."""

    exit_status = "FAIL"


class TestWarn(TestBaseException):
    """Something is odd, but no failure."""

    exit_status = "WARN"


class UnhandledTestError(TestError):
    """An exception that the test's setup did not expect; built from it or a text."""

    def __init__(self, unhandled_exception):
        TestError.__init__(self, *_unhandled(unhandled_exception, TestError))


class UnhandledTestFail(TestFail):
    """An exception that the test itself did not expect; built from it or a text."""

    def __init__(self, unhandled_exception):
        TestFail.__init__(self, *_unhandled(unhandled_exception, TestFail))


class CmdError(TestError):
    """A command on the host failed.  result_obj is its utils.CmdResult."""

    def __init__(self, command, result_obj, additional_text=None):
        TestError.__init__(self, command, result_obj, additional_text)
        self.command = command
        self.result_obj = result_obj
        self.additional_text = additional_text

    def __str__(self):
        status = self.result_obj.exit_status
        if status is None:
            text = "Command <%s> failed and is not responding to signals" % self.command
        else:
            text = "Command <%s> failed, rc=%d" % (self.command, status)
        if self.additional_text:
            text += ", " + self.additional_text
        return "%s%s\n%r" % (text, _context_message(self), self.result_obj)


class PackageError(TestError):
    """A package that the test needs could not be had."""


# Running autotest elsewhere

class AutotestRunError(AutotestError):
    """A run of the client failed."""


class AutotestTimeoutError(AutotestError):
    """A run of the client took too long."""


class HostRunErrorMixIn(Exception):
    """A command on another host failed: a description and its result."""

    def __init__(self, description, result_obj):
        Exception.__init__(self, description, result_obj)
        self.description = description
        self.result_obj = result_obj

    def __str__(self):
        return "%s\n%r" % (self.description, self.result_obj)


class AutotestHostRunError(HostRunErrorMixIn, AutotestError):
    """A command on another host failed."""


# Packages

class PackagingError(AutotestError):
    """Root of what goes wrong with test packages."""


class PackageUploadError(PackagingError):
    """A package could not be stored."""


class PackageFetchError(PackagingError):
    """A package could not be fetched."""


class PackageRemoveError(PackagingError):
    """A package could not be removed."""


class PackageInstallError(PackagingError):
    """A package could not be installed."""


class RepoError(PackagingError):
    """Something is wrong with a package repository."""


class RepoDiskFullError(RepoError):
    """The repository's disk is full."""


class RepoWriteError(RepoError):
    """The repository can't be written to."""


class RepoUnknownError(RepoError):
    """The repository failed for no reason that it gave."""


# Their name for those who import them, and in pickles that other versions read.
for _class in list(globals().values()):
    if isinstance(_class, type) and issubclass(_class, Exception):
        _class.__module__ = "virtvm.companions.error"
