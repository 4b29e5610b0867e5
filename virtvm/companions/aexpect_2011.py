"""aexpect as autotest had it in 2011: what autotest_lib.client.virt.aexpect is.

The classes are those of virtvm.companions.aexpect with 2011's ways where today's contradict
them; docs/aexpect.rst has the table.  To isinstance() a session of either is one of both.
virt_utils.remote_login() makes these, too.
"""

from virtvm.companions import aexpect
from virtvm.companions.aexpect import (  # noqa: F401
    ConsoleSession, ExpectError, ExpectProcessTerminatedError, ExpectTimeoutError, RunResult, ShellCmdError, ShellError,
    ShellProcessTerminatedError, ShellStatusError, ShellTimeoutError, kill_tail_threads,
    run_fg, strip_console_codes)
from virtvm.session.generation import OF_2011
from virtvm.session.tail import run

__all__ = [
    "ConsoleSession", "Expect", "ExpectError", "ExpectProcessTerminatedError",
    "ExpectTimeoutError", "RemoteSession", "RunResult", "ShellCmdError", "ShellError",
    "ShellProcessTerminatedError", "ShellSession", "ShellStatusError", "ShellTimeoutError",
    "Spawn", "Tail", "kill_tail_threads", "run_bg", "run_fg", "run_tail",
]

_today = {}             # a class of 2011's -> the one of today that it stands for


class _Class(type):
    """The type of these classes: a session of today's is one of them to isinstance()."""

    def __instancecheck__(cls, instance):
        return type.__instancecheck__(cls, instance) or isinstance(instance, _today.get(cls, ()))

    def __subclasscheck__(cls, other):
        return type.__subclasscheck__(cls, other) or issubclass(other, _today.get(cls, ()))


class Spawn(aexpect.Spawn, metaclass=_Class):
    __doc__ = aexpect.Spawn.__doc__
    generation = OF_2011


class Tail(aexpect.Tail, Spawn):
    __doc__ = aexpect.Tail.__doc__


class Expect(aexpect.Expect, Tail):
    __doc__ = aexpect.Expect.__doc__


class ShellSession(aexpect.ShellSession, Expect):
    __doc__ = aexpect.ShellSession.__doc__


class RemoteSession(aexpect.RemoteSession, ShellSession):
    __doc__ = aexpect.RemoteSession.__doc__


_today.update({cls: cls.__bases__[0] for cls in (Spawn, Tail, Expect, ShellSession, RemoteSession)})


def counterpart(cls):
    """2011's class for one of today's; any other class, such as a patch, stands for itself."""
    return next((old for old, today in _today.items() if today is cls), cls)


def run_bg(command, termination_func=None, output_func=None, output_prefix="", timeout=1.0,
           auto_close=OF_2011.auto_close, pass_fds=(), encoding=None):
    """aexpect.run_bg(); the process goes on unless auto_close is given."""
    return run(Expect, command, termination_func, output_func, output_prefix, timeout,
               auto_close, pass_fds, encoding)


def run_tail(command, termination_func=None, output_func=None, output_prefix="", timeout=1.0,
             auto_close=OF_2011.auto_close, pass_fds=(), encoding=None):
    """As run_bg, but a Tail."""
    return run(Tail, command, termination_func, output_func, output_prefix, timeout,
               auto_close, pass_fds, encoding)
