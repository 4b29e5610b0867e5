"""Processes, shells and consoles, with aexpect's interface, over the session engine.

Spawn runs a command line on a terminal of its own; Tail reports its output to functions;
Expect reads it and looks for patterns; a ShellSession runs commands in a shell: in a local
process, over SSH, Telnet or TCP (virt_utils.remote_login makes it), or on a guest's serial
console (ConsoleSession).  How a prompt is told from output that looks like one is described
in docs/internals/prompts.rst.

Two generations of callers are served.  Positional arguments are those of 2011; the keywords
of aexpect 1.8 (a_id, thread_name, pass_fds, encoding, filter_func) are taken beside them.
Where the two contradict each other these classes have 1.8's ways, those of aexpect_2011 2011's;
docs/aexpect.rst has the differences.

The classes are in virtvm.session.  Text is decoded with `encoding` (default UTF-8).
Carriage returns are left out.  Times are seconds, all against the monotonic clock.
"""

from virtvm import _session  # noqa: F401
from virtvm.companions.exceptions import (
    ExpectError, ExpectProcessTerminatedError, ExpectTimeoutError, ShellCmdError, ShellError,
    ShellProcessTerminatedError, ShellStatusError, ShellTimeoutError)
from virtvm.session import callbacks as _reporter
from virtvm.session import local as _local  # noqa: F401
from virtvm.session.console import ConsoleSession, _reconnect  # noqa: F401
from virtvm.session.deadline import Deadline as _Deadline  # noqa: F401
from virtvm.session.expect import Expect
from virtvm.session.remote import RemoteSession, _log_in_later  # noqa: F401
from virtvm.session.shell import RunResult, ShellSession
from virtvm.session.spawn import Spawn, _left_running, _sessions  # noqa: F401
from virtvm.session.tail import Tail, run
from virtvm.session.text import strip_console_codes  # noqa: F401

__all__ = [
    "ConsoleSession", "Expect", "ExpectError", "ExpectProcessTerminatedError",
    "ExpectTimeoutError", "RemoteSession", "RunResult", "ShellCmdError", "ShellError",
    "ShellProcessTerminatedError", "ShellSession", "ShellStatusError", "ShellTimeoutError",
    "Spawn", "Tail", "kill_tail_threads", "run_bg", "run_fg", "run_tail",
]


def run_bg(command, termination_func=None, output_func=None, output_prefix="", timeout=1.0,
           auto_close=Expect.generation.auto_close, pass_fds=(), encoding=None):
    """Start a command line; return an Expect once it has ended or timeout seconds passed.

    The functions are those of Tail.
    """
    return run(Expect, command, termination_func, output_func, output_prefix, timeout,
               auto_close, pass_fds, encoding)


def run_tail(command, termination_func=None, output_func=None, output_prefix="", timeout=1.0,
             auto_close=Tail.generation.auto_close, pass_fds=(), encoding=None):
    """As run_bg, but a Tail."""
    return run(Tail, command, termination_func, output_func, output_prefix, timeout,
               auto_close, pass_fds, encoding)


def run_fg(command, output_func=None, output_prefix="", timeout=1.0, pass_fds=(), encoding=None):
    """Run a command line; return (exit status, output), status None if it was killed.

    It is killed if it has not ended after timeout seconds.
    """
    with run(Tail, command, None, output_func, output_prefix, timeout, True, pass_fds,
             encoding) as process:
        ended = process._engine.ended
        return (process.get_status() if ended else None), process.get_output()


def kill_tail_threads():
    """End all output and termination callbacks.  The processes go on.

    For the end of a program: what they print afterwards never reaches a function, unless
    one is set again.
    """
    _reporter.stop_all()
