"""A command line on a terminal of its own."""

import atexit
import codecs
import functools
import logging
import os
import signal
import types

from virtvm import _session, scratch, signals
from virtvm.host import processes
from virtvm.session import callbacks, local
from virtvm.session.generation import OF_1_8
from virtvm.session.text import decoded, strip_console_codes
from virtvm.weak import WeakBag

_GRACE = 5.0            # for a process to end by the signal of close(); then it is killed
_CONTROLS = {"@": 0, "`": 0, "[": 27, "{": 27, "\\": 28, "|": 28, "]": 29, "}": 29, "^": 30,
             "~": 30, "_": 31, "?": 127}

_sessions = WeakBag()                   # to be closed at exit
_left_running = set()                   # Sources whose auto_close was switched off too late


@atexit.register
def _close_at_exit():
    for session in list(_sessions):
        if session.auto_close and not session.closed:
            session.close()


def by_position(names, rest, given):
    """Positional arguments behind the common ones, as a dict over the keywords in given.

    names: what stands there in aexpect 1.8, thread_name first.
    """
    if len(rest) > len(names):
        raise TypeError("%d positional arguments too many" % (len(rest) - len(names)))
    return dict(given, **dict(zip(names, rest)))


# No Python code, in which a signal handler could have the descriptor forgotten.
_of_the_owner = functools.partial(os.open, mode=0o600)


def _ends_if_cut_short(init):
    """A constructor that ends the process which it has started, if it raises: nobody has its id."""
    @functools.wraps(init)
    def __init__(self, *args, **keywords):
        try:
            init(self, *args, **keywords)
        except BaseException:
            self._give_up()
            raise
    return __init__


class Spawn(_session.Finalized):
    """A command line that runs on a terminal of its own, in the background.

    command: a shell command line (str), or None with the id of a process that runs already.
    id, a_id: the name of a process (str), as get_id() told it.  auto_close: end the process
    with the last reference to it, at interpreter exit at the latest; without it the process
    outlives Python, and can be reached by its id.  echo: have the terminal echo what is sent.
    linesep: what sendline() ends with.  pass_fds: descriptors (int) that the process gets.
    encoding: of its input and output, default UTF-8.

    An id that no process has gives an object that is_alive() says False of.  OSError if the
    process can't be started.
    """

    generation = OF_1_8             # whose ways it has where two aexpects differ
    _has_started = False            # a process, and did not find it by its id

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        init = vars(cls).get("__init__")
        if isinstance(init, types.FunctionType):
            cls.__init__ = _ends_if_cut_short(init)

    @_ends_if_cut_short
    def __init__(self, command=None, id=None, auto_close=False, echo=False, linesep="\n",
                 *rest, a_id=None, pass_fds=(), encoding=None, engine=None):
        more = by_position(("pass_fds", "encoding"), rest,
                            {"pass_fds": pass_fds, "encoding": encoding})
        self._setup(command, id or a_id, auto_close, echo, linesep, engine=engine, **more)

    def _setup(self, command, id, auto_close, echo, linesep, pass_fds, encoding, engine):
        """What every constructor does; engine: a _session.Session to use, not a process."""
        self._has_started = False
        self.command, self.auto_close, self.echo = command, auto_close, echo
        self.linesep = linesep
        self.encoding = encoding or "utf-8"
        codecs.lookup(self.encoding)    # a bad name raises before anything is started
        self.close_hooks = []
        self.reader_fds = {}            # for callers of old: the engine has no such pipes
        self._closed, self._closing, self._copy = False, False, None
        if engine is not None:
            self._source = callbacks.Source(engine, id or local.new_id(), os.getpid())
        elif id is not None:
            self._source = local.find(id)
        elif command is not None:
            self._source = local.start(command, local.new_id(), echo, pass_fds, not auto_close)
            self._has_started = True
            self._engine.claim()        # an exception before this ends the process: nobody has its id
        else:
            self._source = local.find(local.new_id())
        self._source.take(self)
        _sessions.add(self)

    @property
    def _engine(self):
        return self._source.engine

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def _give_up(self):
        """The process that a constructor has started, which then raised, ends."""
        if self._has_started:
            self._has_started = False
            Spawn.close(self)

    def _finalize(self):
        """What the object's end means to its process.  Its __init__ may have been cut short anywhere."""
        source = self.__dict__.get("_source")
        if source is None or source.pid != os.getpid():
            return
        if not source.leave(self) or self._closed:
            return
        if self.auto_close:
            self.close()
        elif source.engine.transport == "pty" and not source.engine.ended:
            _left_running.add(source)

    def __repr__(self):
        return "<%s %s over %s, %s>" % (type(self).__name__, self.id, self._source.engine.transport,
                                        "closed" if self.closed else "open")

    def __reduce__(self):
        return type(self), self.__getinitargs__()

    def __getinitargs__(self):
        return (None, self.id, self.auto_close, self.echo, self.linesep, (), self.encoding)

    # Life

    @property
    def id(self):
        """The process's name (str), which reaches it from other objects and processes."""
        return self._source.id

    a_id = id

    @property
    def closed(self):
        """Whether close() was called (bool)."""
        return self._closed

    def _is_gone(self):
        return self._closed or self._source.engine.closed

    def get_id(self):
        """The process's name (str); see `id`."""
        return self.id

    def get_pid(self):
        """Process id (int) of the shell that runs the command line, or None."""
        return None if self._is_gone() else self._engine.pid

    def get_status(self):
        """Wait for the process to end; its exit status (int), or None if it is not known.

        Minus the signal's number if one ended it; None after close().
        """
        if self._is_gone():
            return None
        while not self._engine.wait(3600.0):
            pass
        return self._engine.status

    def is_alive(self):
        """Whether the process runs, or the far end is there (bool).  Does not wait."""
        return not self._is_gone() and self._engine.poll()

    def is_defunct(self):
        """Whether the process or one that it started is a zombie (bool)."""
        pid = self.get_pid()
        return pid is not None and any(processes.state(member) == "Z"
                                       for member, _started in processes.process_tree(pid))

    def kill(self, sig=signal.SIGKILL):
        """Send signal sig (int) to the process and all that it started.  Does not close."""
        self._source.engine.kill(sig)

    def close(self, sig=signal.SIGKILL):
        """End the process, with all that it started, and run the close hooks.

        sig: the signal to end it by; what survives it for 5 seconds is killed.  Waits for
        pending callbacks; those that are more than 10 seconds behind do without the rest.
        Does nothing the second time.
        """
        if self._source.pid != os.getpid():     # a fork's child: the session is its parent's
            self._closed = True
            return
        with self._source.closing:
            if self._closed or self._closing:
                return
            self._closing = True
            try:
                self._end(sig)
                for hook in self.close_hooks:
                    hook(self)
            finally:
                self._closed = True
                self._source.close_readable()
                self._source.engine.shrink()
                _left_running.discard(self._source)
                self._remove_copy()

    def _end(self, sig):
        engine = self._source.engine
        try:
            if engine.kill(sig) and not self._wait_end():
                engine.kill(signal.SIGKILL)
                self._wait_end()
        finally:                        # Ctrl-C, too, leaves nothing behind
            engine.dismiss()
            engine.close()

    def _wait_end(self):
        """Whether the process ends soon; a handler or callback of our own call can't wait."""
        try:
            return self._source.engine.wait(_GRACE)
        except _session.EngineError:
            return False

    # Writing

    def send(self, cont=""):
        """Send text (str) as it is.  A session that has ended takes it, and logs that."""
        self._write(cont.encode(self.encoding))

    def sendline(self, cont=""):
        """Send text (str) and the line separator."""
        self.send(cont + self.linesep)

    def sendcontrol(self, char):
        """Send a control character: "c" for Ctrl-C.  KeyError for one there is none of."""
        letter = len(char) == 1 and "a" <= char.lower() <= "z"
        self.send(chr(ord(char.lower()) - 96 if letter else _CONTROLS[char]))

    def send_ctrl(self, control_str=""):
        """Switch a local process's terminal: "raw" passes every byte, "standard" switches back.

        Any other text, and a process without a terminal, changes nothing.
        """
        pid = self.get_pid()
        if control_str in ("raw", "standard") and pid is not None:
            try:
                local.switch_terminal(pid, control_str == "raw", self.echo)
            except OSError as e:
                signals.let_out(e)
                logging.warning("Could not switch the terminal of session %s: %s", self.id, e)

    def _write(self, data):
        try:
            self._engine.write(data)
        except _session.EngineError as e:
            # Reading tells the caller.  The text may be a password: it is not logged.
            logging.warning("Could not send %d bytes to session %s: %s", len(data), self.id,
                            e.detail)

    def set_linesep(self, linesep):
        """Set what sendline() and commands end with (str)."""
        self.linesep = linesep

    # Output as a whole

    def get_output(self):
        """All output since the start (str), read or not; None after close() ("" in 2011).

        Of more than a GiB, or when the disk was full, the oldest is gone: the first line says
        how much.
        """
        return self.generation.after_close if self._is_gone() else self._all_output()

    def _all_output(self):
        return self._shown(self._engine.forgotten, self._engine.output())

    def _shown(self, gone, output):
        """Output (bytes) as text, and how much is gone before it."""
        first = "[virtvm: the first %d bytes are gone]\n" % gone if gone else ""
        return first + decoded(output, self.encoding).replace("\r", "")

    def get_stripped_output(self):
        """get_output() without terminal escape sequences."""
        output = self.get_output()
        return output and strip_console_codes(output)

    @property
    def output_filename(self):
        """Path (str) of a file with get_output(), made when it is asked for; close() removes it."""
        if self._copy is None and not self._closed:
            self._copy = scratch.name("virtvm-output-%s-" % self.id)
        if not self._closed:
            with open(self._copy, "w", encoding="utf-8", errors="surrogateescape", opener=_of_the_owner) as f:
                f.write(self.get_output())
        return self._copy

    def _remove_copy(self):
        if self._copy is not None and signals.exists(self._copy):
            os.unlink(self._copy)
