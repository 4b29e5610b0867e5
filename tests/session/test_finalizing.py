"""A signal handler that raises while an object goes: its exception comes out, and the object goes."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from support.moments import Strike

from virtvm import _session
from virtvm.companions import aexpect


class Alarm(Exception):
    pass


@pytest.fixture(autouse=True)
def alarm():
    def handler(signum, frame):
        raise Alarm("of the handler")

    gc.collect()
    # CPython prints what comes out while the collector calls one of these; hypothesis has one.
    callbacks, gc.callbacks[:] = gc.callbacks[:], []
    old = signal.signal(signal.SIGALRM, handler)
    yield
    signal.signal(signal.SIGALRM, old)
    gc.callbacks[:] = callbacks


@pytest.fixture(autouse=True)
def printed(monkeypatch):
    """What CPython could only print."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: seen.append(what.exc_value))
    return seen


def strike():
    os.kill(os.getpid(), signal.SIGALRM)
    time.sleep(0)


def some_steps():
    for _ in range(3):
        pass


class Plain(_session.Finalized):
    gone = 0

    def _finalize(self):
        type(self).gone += 1
        strike()


class Deleting(Plain):
    gone = 0

    def __del__(self):
        super().__del__()
        some_steps()


class Inheriting(Deleting):
    gone = 0


class Mixed(Plain, Exception):
    gone = 0


class Behind(dict, Plain):
    gone = 0


@pytest.mark.parametrize("cls", [Plain, Deleting, Inheriting, Mixed, Behind])
@pytest.mark.parametrize("way", ["at_once", "collected"])
def test_what_is_raised_meanwhile_comes_out(cls, way, printed):
    before = cls.gone
    thing = cls()
    with pytest.raises(Alarm, match="of the handler"):
        if way == "collected":
            thing.me = thing
        del thing
        gc.collect()
        some_steps()
    assert cls.gone == before + 1 and printed == []


class Registered:
    """As a registry of plugins; typing.Generic does alike."""
    tag = None

    def __init_subclass__(cls, tag, **keywords):
        super().__init_subclass__(**keywords)
        cls.tag = tag


class Taking(Plain):
    def __init_subclass__(cls, own=None, **keywords):
        super().__init_subclass__(**keywords)
        cls.own = own


@pytest.mark.parametrize("bases", [(Plain, Registered), (Registered, Plain), (Taking, Registered),
                                   (aexpect.ShellSession, Registered), (Registered, aexpect.Tail)])
def test_other_bases_are_told_of_a_class(bases):
    class Told(*bases, tag="its own"):
        pass

    assert Told.tag == "its own"


def test_keywords_of_a_class_that_no_base_takes():
    with pytest.raises(TypeError, match="no keyword arguments"):
        class Wrong(aexpect.Spawn, unknown=1):
            pass
    assert aexpect.Spawn.__init_subclass__() is None


def test_what_is_to_come_out_cuts_no_other_object_short(printed):
    gone, seen = Plain.gone, []
    things = [Plain(), Plain()]

    def noted(call):
        """The second may come while the first is noted."""
        try:
            call()
            some_steps()
        except Alarm as e:
            seen.append(e)

    noted(lambda: noted(lambda: noted(things.clear)))
    assert Plain.gone == gone + 2 and seen and printed == []


def test_an_exception_on_its_way_stays():
    """The object goes with the frame that raises."""
    def fails():
        thing = Plain()
        assert thing
        raise KeyError("its own")

    with pytest.raises((KeyError, Alarm)) as caught:
        try:
            fails()
        except KeyError as e:
            e.__traceback__ = None
        some_steps()                    # before Python 3.11 it goes at the end of the clause
    assert caught.type is Alarm


def test_a_failure_of_its_own_is_printed_as_ever(printed):
    class Failing(_session.Finalized):
        def _finalize(self):
            raise OSError("of its own")

    Failing()
    some_steps()
    assert [str(e) for e in printed] == ["of its own"]


def test_ctrl_c_comes_out(printed):
    class Interrupted(_session.Finalized):
        def _finalize(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)

    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            Interrupted()
            some_steps()
    finally:
        signal.signal(signal.SIGINT, old)
    assert printed == []


def test_a_session_that_is_dropped(printed):
    class Session(aexpect.Expect):
        def close(self, sig=signal.SIGKILL):
            super().close(sig)
            strike()

    session = Session("sleep 60")
    with pytest.raises(Alarm):
        del session
        some_steps()
    assert printed == []


@pytest.mark.parametrize("cls", [aexpect.Spawn, aexpect.ShellSession])
def test_an_object_that_is_half_made_goes(cls, printed):
    """Struck at each line of its __init__."""
    nth = 0
    struck = True
    while struck:
        nth += 1

        def raises(signum, frame):
            raise Alarm("half made")

        try:
            with Strike(nth, raises) as strike:
                cls("true", auto_close=True).close()
        except Alarm:
            pass
        struck = strike.struck
        some_steps()
    gc.collect()
    assert nth > 20 and printed == []


def test_objects_left_at_the_interpreters_end():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent("""
        import os, signal, time
        from virtvm import _session
        def handler(signum, frame):
            raise TimeoutError("at the end")
        class Last(_session.Finalized):
            def _finalize(self, kill=os.kill, pid=os.getpid(), number=signal.SIGALRM, sleep=time.sleep):
                kill(pid, number)
                sleep(0)
        signal.signal(signal.SIGALRM, handler)
        left = Last()
        """)], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode in (0, -signal.SIGALRM) and "SystemError" not in done.stderr


DEEP = """
import sys
from virtvm import _session

class Own(_session.Finalized):
    def _finalize(self):
        for i in range(3):
            len(str(i))

printed = []
sys.unraisablehook = lambda told: printed.append(type(told.exc_value).__name__)

def drop(n):
    if n == 0:
        mine = Own()
        del mine
        return
    drop(n - 1)

limit = sys.getrecursionlimit()
for n in range(limit - 40, limit):
    try:
        drop(n)
    except RecursionError:
        pass
    for _ in range(100):            # what was put off would come here
        pass
print("ended", set(printed) <= {"RecursionError"})
"""


def test_an_object_that_goes_where_nothing_can_be_called_ends():
    # The look whose exception it was fails there, too.
    done = subprocess.run([sys.executable, "-c", DEEP], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120, check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "ended True", done.stdout
