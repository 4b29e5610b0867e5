"""autotest's error module: contexts and the family of exceptions."""

import inspect
import pickle
import threading

import pytest

from virtvm.companions import error, utils


@error.context_aware
def outer(inner, *args):
    """Doc of outer."""
    error.context("outer's work")
    return inner(*args)


@error.context_aware
def raising(e):
    error.context("about to raise")
    raise e


def in_new_thread(fn):
    results = []
    thread = threading.Thread(target=lambda: results.append(fn()))
    thread.start()
    thread.join()
    return results[0]


def test_contexts_are_chained_and_kept():
    with pytest.raises(error.TestFail) as info:
        outer(raising, error.TestFail("bad"))
    assert error.exception_context(info.value) == "outer's work --> about to raise"
    assert str(info.value) == "bad    [context: outer's work --> about to raise]"


def test_a_function_that_says_nothing_is_named():
    @error.context_aware
    def silent():
        raise ValueError("x")
    with pytest.raises(ValueError) as info:
        outer(silent)
    assert info.value._context == "outer's work --> (silent)"


def test_base_context_stays_behind_context():
    @error.context_aware
    def fn():
        error.context("soon forgotten")
        error.base_context("base")
        assert error.get_context() == "base"
        error.context("first")
        error.context("second")
        return error.get_context()
    assert fn() == "base --> second"


def test_log_gets_the_whole_chain():
    lines = []

    @error.context_aware
    def fn():
        error.context("inner", lines.append)
        error.context("", lines.append)
        error.base_context("new base", lines.append)
    outer(fn)
    assert lines == ["Context: outer's work --> inner", "Context: outer's work --> new base"]


def test_context_is_none_before_and_empty_after():
    def fn():
        before = error.get_context()
        outer(lambda: None)
        return before, error.get_context()
    assert in_new_thread(fn) == (None, "")


def test_threads_have_their_own():
    @error.context_aware
    def fn():
        error.context("mine")
        return in_new_thread(error.get_context), error.get_context()
    assert fn() == (None, "mine")


def test_levels_are_dropped_when_an_exception_passes():
    def fn():
        with pytest.raises(KeyError):
            outer(raising, KeyError("x"))
        return error.get_context()
    assert in_new_thread(fn) == ""


def test_outside_a_context_aware_function():
    def never():
        with pytest.raises(AttributeError):
            error.context("x")

    def no_more():
        outer(lambda: None)
        with pytest.raises(IndexError):
            error.context("x")
        with pytest.raises(IndexError):
            error.base_context("x")
    in_new_thread(never)
    in_new_thread(no_more)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupts_carry_none(kind):
    with pytest.raises(kind) as info:
        outer(raising, kind())
    assert error.exception_context(info.value) is None


def test_first_context_is_kept():
    e = ValueError("x")
    error.set_exception_context(e, "given")
    with pytest.raises(ValueError):
        outer(raising, e)
    assert e._context == "given"


def test_wrong_arguments_carry_the_name():
    with pytest.raises(TypeError) as info:
        raising(1, 2, 3)
    assert info.value._context == "(raising)"


def test_name_doc_and_signature_are_kept():
    assert (outer.__name__, outer.__doc__) == ("outer", "Doc of outer.")
    assert str(inspect.signature(outer)) == "(inner, *args)"


@pytest.mark.parametrize("s1, s2, joined", [
    ("a", "b", "a --> b"), ("a", "", "a"), ("", "b", "b"), (None, "b", "b"), ("a", None, "a"),
    (None, None, None)])
def test_join_contexts(s1, s2, joined):
    assert error.join_contexts(s1, s2) == joined


@pytest.mark.parametrize("name, status, base", [
    ("TestError", "ERROR", "TestBaseException"), ("TestNAError", "TEST_NA", "TestBaseException"),
    ("TestFail", "FAIL", "TestBaseException"), ("TestWarn", "WARN", "TestBaseException"),
    ("CmdError", "ERROR", "TestError"), ("UnhandledTestError", "ERROR", "TestError"),
    ("UnhandledTestFail", "FAIL", "TestFail"), ("PackageError", "ERROR", "TestError"),
    ("TestBaseException", "NEVER_RAISE_THIS", "AutotestError")])
def test_outcomes(name, status, base):
    cls = getattr(error, name)
    assert cls.exit_status == status
    assert issubclass(cls, getattr(error, base))


@pytest.mark.parametrize("name, base", [
    ("JobError", "AutotestError"), ("HarnessError", "JobError"), ("InstallError", "JobError"),
    ("BarrierAbortError", "BarrierError"), ("PackagingError", "AutotestError"),
    ("RepoDiskFullError", "PackagingError"), ("PackageFetchError", "PackagingError"),
    ("AutotestHostRunError", "AutotestError")])
def test_family(name, base):
    assert issubclass(getattr(error, name), getattr(error, base))


def test_str_of_autotest_error():
    assert str(error.TestError()) == ""
    assert str(error.TestError("a")) == "a"
    assert str(error.TestError("a", 1)) == "('a', 1)"


def failed(status):
    return utils.CmdResult("do it", "out\n", "", status, 0.5)


def test_cmd_error_texts():
    e = error.CmdError("do it", failed(3), "because")
    assert str(e) == ("Command <do it> failed, rc=3, because\n* Command: \n    do it\n"
                      "Exit status: 3\nDuration: 0.5\n\nstdout:\nout")
    e._context = "here"
    assert str(e).startswith("Command <do it> failed, rc=3, because    [context: here]\n* Comm")
    e = error.CmdError("do it", failed(None))
    assert str(e).startswith("Command <do it> failed and is not responding to signals\n* Comm")


def test_cmd_error_pickles():
    e = error.CmdError("do it", failed(3), "because")
    other = pickle.loads(pickle.dumps(e))
    assert str(other) == str(e) and other.result_obj.exit_status == 3


@pytest.mark.parametrize("cls, own", [(error.UnhandledTestFail, error.TestFail),
                                      (error.UnhandledTestError, error.TestError),
                                      (error.UnhandledJobError, error.JobError)])
def test_unhandled(cls, own):
    with pytest.raises(ZeroDivisionError) as info:
        outer(lambda: 1 // 0)
    text = str(cls(info.value))
    first, _, rest = text.partition("\n")
    assert first.startswith("Unhandled ZeroDivisionError: %s    " % info.value)
    assert first.endswith("    [context: outer's work]")
    assert rest.startswith("Traceback (most recent call last):") and "1 // 0" in rest
    assert cls(own("a", "b")).args == ("a", "b")
    assert cls("text").args == ("text",)


def test_unhandled_shows_a_context_once():
    with pytest.raises(error.TestWarn) as info:
        outer(raising, error.TestWarn("odd"))
    first = str(error.UnhandledTestFail(info.value)).split("\n")[0]
    assert first == "Unhandled TestWarn: odd    [context: outer's work --> about to raise]"


def test_host_run_error():
    e = error.AutotestHostRunError("no host", failed(1))
    assert str(e).startswith("no host\n* Command: ")
    assert pickle.loads(pickle.dumps(e)).description == "no host"


def test_format_error():
    try:
        raise ValueError("seen")
    except ValueError:
        text = error.format_error()
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("ValueError: seen\n")
