"""Local processes for aexpect's classes: how a command line is started, and under which name.

The shell that runs a command line stays its parent, whatever the line ends with; the
session's id is among its arguments, where ps shows it.
"""

import os

from virtvm import _session, signals
from virtvm.host.names import generate_random_string
from virtvm.host.state import state_dir
from virtvm.session.callbacks import Source
from virtvm.weak import WeakValues

# $1 is the id, $2 the command line, which finds none of them.  eval takes any text as it
# is: several lines, a comment or a separator at the end.
_SCRIPT = b'eval "shift 2;$2"; exit $?'
_ARGUMENT_MAX = 100000      # Linux takes 128 KiB an argument
_STACK_FOR = 2000000        # a command line of this size needs a larger stack to be passed on

_sources = WeakValues()         # (pid, id) -> Source of a process we have open


class NoEngine:
    """Stands for a process that is not there: unknown id, ended and closed, or never started."""

    closed, ended, status, pid, total, transport, prompts = False, True, None, None, 0, "none", []
    token, info, forgotten, mute, unread = 0, {}, 0, False, 0

    def poll(self):
        return False

    def wait(self, timeout):
        return True

    def kill(self, sig):
        return False

    def close(self):
        self.closed = True

    def output(self, start=0):
        return b""

    def peek(self, start, limit, raw=False):
        return start, b""

    def shrink(self):
        pass

    def read(self, silence, timeout, limit=0):
        return b"", "eof"

    def set_news(self, *callbacks):
        pass

    def _fail(self, *args, **keywords):
        error = _session.EngineError("there is no such process")
        error.code, error.stage, error.errno, error.methods = "eof", "", None, ()
        error.detail, error.output = "there is no such process", None
        raise error

    write = command = find_prompt = run = _fail

    def mark_told(self, offset):
        pass

    def claim(self):
        pass

    def dismiss(self):
        return False


class NotYet(NoEngine):
    """Stands for a connection that an unpickled session makes when it is first used."""

    def __init__(self, transport, closed):
        self.transport, self.closed = transport, closed


def new_id():
    """A name for a process (str) that no other has."""
    return generate_random_string(8)


def _keeper_folder():
    """The folder of the user's keepers (str); it need not be there."""
    return os.path.join(state_dir(), "keeper")


def _os_error(e):
    return OSError(e.detail) if e.errno is None else OSError(e.errno, e.detail)


def find(id):
    """The Source of the process that has that id, wherever it was started, or of none."""
    source = _sources.get((os.getpid(), id))
    if source is not None and not source.engine.closed:
        return source
    folder = _keeper_folder()
    if signals.isdir(folder):
        try:
            found = _session.attach(folder, id)
        except _session.EngineError as e:
            raise _os_error(e) from None
        if found is not None:
            return _remember(found[0], id, found[1])
    return _remember(NoEngine(), id)


def start(command, id, echo, pass_fds, keep):
    """Start a command line (str) and return its Source.

    keep: have the keeper hold it, so that it outlives this process.
    """
    script = os.fsencode(command)
    if len(script) <= _ARGUMENT_MAX:
        return _start(script, id, echo, tuple(pass_fds), keep)
    with signals.held() as handlers:
        fd = os.memfd_create("command")
        try:
            handlers.deliver()
            _write_script(fd, script)
            return _start(b". /dev/fd/%d" % fd, id, echo, (*pass_fds, fd), keep)
        finally:
            os.close(fd)


def _write_script(fd, script):
    """Write a script that is too long for an argument."""
    # The shell has read all of it when it starts, and need not pass it on.
    prefix = b"exec %d<&-;" % fd
    if len(script) > _STACK_FOR:
        prefix += b"ulimit -s %d;" % ((1 + len(script) // 2072576) * 8196)
    with open(fd, "wb", closefd=False) as f:
        f.write(prefix + script)


def _start(script, id, echo, pass_fds, keep):
    env = dict(os.environb)
    env[b"TERM"] = b"dumb"
    shell = b"/bin/bash" if signals.exists("/bin/bash") else b"/bin/sh"
    argv = [shell, b"-c", _SCRIPT, shell, os.fsencode(id), script]
    env = [name + b"=" + value for name, value in env.items()]
    try:
        if keep:
            folder = _keeper_folder()
            signals.makedirs(folder, mode=0o700, exist_ok=True)
            engine, told = _session.keep(folder, id, argv, env, echo=bool(echo), pass_fds=pass_fds)
        else:
            engine, told = _session.open_pty(argv, env, echo=bool(echo), pass_fds=pass_fds), 0
    except _session.EngineError as e:
        raise _os_error(e) from None
    return _remember(engine, id, told)


def _remember(engine, id, told=0):
    source = Source(engine, id, os.getpid())
    source.told = told
    _sources[os.getpid(), id] = source
    return source


def switch_terminal(pid, raw, echo):
    """Have the terminal of process pid pass every byte (raw), or edit lines and make signals."""
    import termios
    with signals.held() as handlers:
        fd = os.open("/proc/%d/fd/0" % pid, os.O_RDWR | os.O_NOCTTY)
        try:
            handlers.deliver()
            attributes = termios.tcgetattr(fd)
            line, shown = termios.ICANON | termios.ISIG | termios.IEXTEN, termios.ECHO if echo else 0
            attributes[3] = attributes[3] & ~(line | termios.ECHO) | (0 if raw else line | shown)
            termios.tcsetattr(fd, termios.TCSANOW, attributes)
        except termios.error as e:
            raise OSError(*e.args) from None
        finally:
            os.close(fd)
