"""Functions that get a session's output may raise anything: the next line is reported all the same."""

import threading

import pytest

from virtvm.companions import aexpect


def fail(_line):
    pytest.fail("not in the main thread")


def leave(_line):
    raise SystemExit(3)


def interrupt(_line):
    raise KeyboardInterrupt


@pytest.mark.parametrize("raises", [fail, leave, interrupt, lambda line: 1 / 0])
def test_what_a_function_raises_ends_nothing(raises):
    lines, ended = [], threading.Event()

    def take(line):
        lines.append(line)
        raises(line)

    def end(status):
        lines.append(status)
        ended.set()
        raises(status)

    with_both = aexpect.Tail("echo one; echo two; exit 4", auto_close=True, termination_func=end, output_func=take)
    try:
        assert ended.wait(50)
        assert lines == ["one", "two", "(Process terminated with status 4)", 4]
    finally:
        with_both.close()
