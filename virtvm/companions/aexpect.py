"""Processes, shells and consoles, with aexpect's interface, over the session engine.

Spawn runs a command line on a terminal of its own; Tail reports its output to functions;
Expect reads it and looks for patterns; a ShellSession runs commands in a shell: in a local
process, over SSH, Telnet or TCP (virt_utils.remote_login makes it), or on a guest's serial
console (ConsoleSession).  How a prompt is told from output that looks like one is described
in docs/internals/prompts.rst.

Two generations of callers are served.  Positional arguments are those of 2011; the keywords
of aexpect 1.8 (a_id, thread_name, pass_fds, encoding, filter_func) are taken beside them.
docs/aexpect.rst has the differences.

Text is decoded with `encoding` (default UTF-8); bytes that do not decode appear as \\xNN.
Carriage returns are left out.  Times are seconds, all against the monotonic clock.
"""

import atexit
import codecs
import functools
import logging
import os
import re
import signal
import threading
import weakref

from virtvm import _session
from virtvm.companions import _local, _reporter
from virtvm.companions.exceptions import (
    ExpectError, ExpectProcessTerminatedError, ExpectTimeoutError, LoginError, ShellCmdError,
    ShellError, ShellProcessTerminatedError, ShellStatusError, ShellTimeoutError, diagnosed)

__all__ = [
    "ConsoleSession", "Expect", "ExpectError", "ExpectProcessTerminatedError",
    "ExpectTimeoutError", "RemoteSession", "RunResult", "ShellCmdError", "ShellError",
    "ShellProcessTerminatedError", "ShellSession", "ShellStatusError", "ShellTimeoutError",
    "Spawn", "Tail", "kill_tail_threads", "run_bg", "run_fg", "run_tail",
]

_SILENCE = 0.1          # what a read waits for when the caller names nothing
_GRACE = 5.0            # for a process to end by the signal of close(); then it is killed
_LINE_WINDOW = 4096     # characters, at the end of the output, that mostly hold its last line
_PROMPT = r"[\#\$]\s*$"
# Compiled when it is needed first: that takes as long as all else in this module.
_ESCAPES = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P_^][^\x07\x1b]*(?:\x07|\x1b\\)|[()*+\-./#% ].|.)"
_CONTROLS = {"@": 0, "`": 0, "[": 27, "{": 27, "\\": 28, "|": 28, "]": 29, "}": 29, "^": 30,
             "~": 30, "_": 31, "?": 127}


@functools.lru_cache(maxsize=256)
def _matcher(prompt, encoding):
    """A function that says whether a line (bytes) matches the prompt pattern."""
    search = re.compile(prompt).search
    return lambda line: search(line.decode(encoding, "replace")) is not None


def strip_console_codes(text):
    """text (str) without terminal escape sequences and without BEL."""
    return re.sub(_ESCAPES, "", text).replace("\a", "")


_strip_codes = strip_console_codes      # cmd_output has an argument of that name


def _generations(names, rest, given):
    """Positional arguments behind the common ones, as a dict over the keywords in given.

    names: what stands there in aexpect 1.8, thread_name first.
    """
    if len(rest) > len(names):
        raise TypeError("%d positional arguments too many" % (len(rest) - len(names)))
    return dict(given, **dict(zip(names, rest)))


# ---- processes ----

_sessions = weakref.WeakSet()           # to be closed at exit
_left_running = set()                   # Sources whose auto_close was switched off too late


@atexit.register
def _close_at_exit():
    for session in list(_sessions):
        if session.auto_close and not session.closed:
            session.close()


class Spawn:
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

    def __init__(self, command=None, id=None, auto_close=False, echo=False, linesep="\n",
                 *rest, a_id=None, pass_fds=(), encoding=None, engine=None):
        more = _generations(("pass_fds", "encoding"), rest,
                            {"pass_fds": pass_fds, "encoding": encoding})
        self._setup(command, id or a_id, auto_close, echo, linesep, engine=engine, **more)

    def _setup(self, command, id, auto_close, echo, linesep, pass_fds, encoding, engine):
        """What every constructor does; engine: a _session.Session to use, not a process."""
        self.command, self.auto_close, self.echo = command, auto_close, echo
        self.linesep = linesep
        self.encoding = encoding or "utf-8"
        codecs.lookup(self.encoding)    # a bad name raises before anything is started
        self.close_hooks = []
        self.reader_fds = {}            # for callers of old: the engine has no such pipes
        self._closed, self._closing, self._copy = False, False, None
        if engine is not None:
            self._source = _reporter.Source(engine, id or _local.new_id(), os.getpid())
        elif id is not None:
            self._source = _local.find(id)
        elif command is not None:
            self._source = _local.start(command, _local.new_id(), echo, pass_fds, not auto_close)
        else:
            self._source = _local.find(_local.new_id())
        self._source.users += 1
        _sessions.add(self)

    @property
    def _engine(self):
        return self._source.engine

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __del__(self):
        source = self.__dict__.get("_source")
        if source is None or source.pid != os.getpid():
            return
        source.users -= 1
        if self._closed or source.users > 0:
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
        from virtvm.companions._process import _stat_fields, process_tree
        pid = self.get_pid()
        return pid is not None and any(_stat_fields(member)[:1] == [b"Z"]
                                       for member, _started in process_tree(pid))

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
                _left_running.discard(self._source)
                self._remove_copy()

    def _end(self, sig):
        engine = self._source.engine
        try:
            if engine.kill(sig) and not engine.wait(_GRACE):
                engine.kill(signal.SIGKILL)
                engine.wait(_GRACE)
        finally:                        # Ctrl-C, too, leaves nothing behind
            engine.dismiss()
            engine.close()

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
                _local.switch_terminal(pid, control_str == "raw", self.echo)
            except OSError as e:
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
        """All output since the start (str), read or not; "" after close()."""
        return "" if self._is_gone() else self._all_output()

    def _all_output(self):
        return self._engine.output().decode(self.encoding, "backslashreplace").replace("\r", "")

    def get_stripped_output(self):
        """get_output() without terminal escape sequences."""
        return strip_console_codes(self.get_output())

    @property
    def output_filename(self):
        """Path (str) of a file with get_output(), made when it is asked for; close() removes it."""
        if self._copy is None and not self._closed:
            import tempfile
            fd, self._copy = tempfile.mkstemp(prefix="virtvm-output-%s-" % self.id)
            os.close(fd)
        if not self._closed:
            with open(self._copy, "w", encoding="utf-8", errors="surrogateescape") as f:
                f.write(self.get_output())
        return self._copy

    def _remove_copy(self):
        if self._copy is not None and os.path.exists(self._copy):
            os.unlink(self._copy)


class Tail(Spawn):
    """A process whose output is reported, line by line, while it runs.

    output_func(*output_params, output_prefix + line) is called for each line of output, less
    white space at its end, and for an unfinished one after 50 ms of silence; at the end for
    "(Process terminated with status N)".  Then termination_func(*termination_params, status)
    is called.  Nobody needs to read the session for that.  thread_name: of the thread that
    calls them; there is one while there are functions.  A function that raises is logged.

    The other arguments are those of Spawn.
    """

    def __init__(self, command=None, id=None, auto_close=False, echo=False, linesep="\n",
                 termination_func=None, termination_params=(), output_func=None,
                 output_params=(), output_prefix="", *rest, a_id=None, thread_name=None,
                 pass_fds=(), encoding=None, engine=None):
        more = _generations(("thread_name", "pass_fds", "encoding"), rest,
                            {"thread_name": thread_name, "pass_fds": pass_fds, "encoding": encoding})
        thread_name = more.pop("thread_name")
        self._setup(command, id or a_id, auto_close, echo, linesep, engine=engine, **more)
        if thread_name is None:
            thread_name = "tail_thread_%s_%s" % (self.id, str(command)[:10])
        report = self._report = _reporter.Reporter(self._source, self.encoding, thread_name)
        report.termination_func, report.termination_params = termination_func, termination_params
        report.output_func, report.output_params = output_func, output_params
        report.output_prefix = output_prefix
        if command is not None or not self._source.engine.ended:
            report.start()

    def __getinitargs__(self):
        return (None, self.id, self.auto_close, self.echo, self.linesep, *self._reporting(),
                (), self.encoding)

    def _reporting(self):
        report = self._report
        return (report.termination_func, report.termination_params, report.output_func,
                report.output_params, report.output_prefix, report.thread_name)

    termination_func = property(lambda self: self._report.termination_func)
    termination_params = property(lambda self: self._report.termination_params)
    output_func = property(lambda self: self._report.output_func)
    output_params = property(lambda self: self._report.output_params)
    output_prefix = property(lambda self: self._report.output_prefix)
    thread_name = property(lambda self: self._report.thread_name)
    tail_thread = property(lambda self: self._report.thread)

    def set_termination_func(self, termination_func):
        """Set the function that gets the exit status at the end, or None."""
        self._report.termination_func = termination_func
        self._report.start()

    def set_termination_params(self, termination_params):
        """Set the arguments (tuple) that termination_func gets before the status."""
        self._report.termination_params = termination_params

    def set_output_func(self, output_func):
        """Set the function that gets each line, or None.

        Output that came before is delivered, too, if there was no function at all until now.
        """
        self._report.output_func = output_func
        self._report.start()

    def set_output_params(self, output_params):
        """Set the arguments (tuple) that output_func gets before the line."""
        self._report.output_params = output_params

    def set_output_prefix(self, output_prefix):
        """Set what stands before each line (str)."""
        self._report.output_prefix = output_prefix

    def _end(self, sig):
        super()._end(sig)
        self._source.tell()             # at exit the engine's own thread may be gone already
        self._report.join(_reporter._PATIENCE)


class Expect(Tail):
    """A process to write to and to read from, looking for patterns.

    The arguments are those of Tail; auto_close is True unless given.
    """

    def __init__(self, command=None, id=None, auto_close=True, echo=False, linesep="\n",
                 termination_func=None, termination_params=(), output_func=None,
                 output_params=(), output_prefix="", *rest, a_id=None, thread_name=None,
                 pass_fds=(), encoding=None, engine=None):
        super().__init__(command, id, auto_close, echo, linesep, termination_func,
                         termination_params, output_func, output_params, output_prefix, *rest,
                         a_id=a_id, thread_name=thread_name, pass_fds=pass_fds,
                         encoding=encoding, engine=engine)
        self._forget_piece()

    def _forget_piece(self):
        """Forget the first bytes of a character whose others have not come yet."""
        self._decode_piece = codecs.getincrementaldecoder(self.encoding)("backslashreplace").decode

    def _read(self, silence, timeout):
        """Output (str) that nobody has read, and why that is all; see Session.read."""
        try:
            output, why = self._engine.read(silence, timeout)
        except _session.EngineError as e:       # closed; or another thread has the session
            output, why = b"", e.code
        return self._decode_piece(output, why == "eof").replace("\r", ""), why

    def read_nonblocking(self, internal_timeout=None, timeout=None):
        """Read until nothing came for internal_timeout (default 0.1) seconds; return str.

        timeout bounds the whole of it (default: an hour).  Given alone it is the silence,
        as it was in 2011.
        """
        if internal_timeout is None:
            internal_timeout, timeout = timeout, None
        return self._read(_SILENCE if internal_timeout is None else internal_timeout,
                          3600.0 if timeout is None else timeout)[0]

    @staticmethod
    def match_patterns(cont, patterns):
        """Index of the first pattern that is found in cont, or None."""
        for i, pattern in enumerate(patterns):
            if pattern and re.search(pattern, cont):
                return i
        return None

    @staticmethod
    def match_patterns_multiline(cont, patterns):
        """Like match_patterns, line by line; the index counts from the end (negative)."""
        for i, pattern in enumerate(patterns):
            if pattern and any(re.search(pattern, line) for line in cont.splitlines()):
                return i - len(patterns)
        return None

    def read_until_output_matches(self, patterns, filter_func=None, timeout=60.0,
                                  internal_timeout=None, print_func=None, match_func=None,
                                  **old):
        """Read until a pattern is found in the output of this call.

        Returns (index of the pattern, output).  Output is looked at whenever none came
        for internal_timeout (default 0.1) seconds.  filter_func(output), by its older name
        filter, selects what is searched.  match_func(selected, patterns) returns the index,
        or None.  print_func gets each line as it is read.
        Raises ExpectTimeoutError, ExpectProcessTerminatedError.
        """
        filter_func = old.pop("filter", filter_func)
        if old:
            raise TypeError("unexpected arguments: %s" % ", ".join(sorted(old)))
        match_func = match_func or self.match_patterns
        silence = _SILENCE if internal_timeout is None else internal_timeout
        clock, output = _Deadline(timeout), ""
        while True:
            piece, why = self._read(silence, clock.left())
            output += piece
            for line in piece.splitlines() if print_func else ():
                print_func(line)
            if piece or why != "quiet":
                found = match_func(filter_func(output) if filter_func else output, patterns)
                if found is not None:
                    return found, output
            if why not in ("quiet", "timeout"):
                raise diagnosed(ExpectProcessTerminatedError(patterns, self._engine.status, output))
            if clock.expired():
                raise ExpectTimeoutError(patterns, output)

    def read_until_last_word_matches(self, patterns, timeout=60.0, internal_timeout=None,
                                     print_func=None):
        """As read_until_output_matches, looking at the last word only."""
        return self.read_until_output_matches(
            patterns, lambda text: (text.split() or [""])[-1], timeout, internal_timeout,
            print_func)

    def read_until_last_line_matches(self, patterns, timeout=60.0, internal_timeout=None,
                                     print_func=None):
        """As read_until_output_matches, looking at the last non-blank line only."""
        return self.read_until_output_matches(patterns, self._last_line, timeout,
                                              internal_timeout, print_func)

    def read_until_any_line_matches(self, patterns, timeout=60.0, internal_timeout=None,
                                    print_func=None):
        """As read_until_output_matches, line by line; the index is negative."""
        return self.read_until_output_matches(patterns, None, timeout, internal_timeout,
                                              print_func, self.match_patterns_multiline)

    @staticmethod
    def _last_line(text):
        """The last line with more than blanks on it, without what only a terminal sees."""
        # It is looked for at each piece that comes: mostly at the end alone.
        for window in (text[-_LINE_WINDOW:], text):
            lines = [line for line in strip_console_codes(window).splitlines() if line.strip()]
            if len(lines) > 1 or len(window) == len(text):      # a whole line is the last one
                break
        return lines[-1] if lines else ""


class _Deadline:
    """Seconds that are left of a timeout."""

    def __init__(self, timeout):
        from time import monotonic
        self._now = monotonic
        self._end = monotonic() + timeout

    def left(self):
        return max(0.0, self._end - self._now())

    def expired(self):
        return self._now() >= self._end


# ---- shells ----

class RunResult:
    """What a command came to that ran on a channel of its own.

    status: exit status (int), or None if a signal ended it; signal: its name ("TERM")
    or ""; stdout, stderr: str, or bytes if the caller asked for them.
    """

    def __init__(self, command, status, signal, stdout, stderr):
        self.command, self.status, self.signal = command, status, signal
        self.stdout, self.stderr = stdout, stderr

    def __repr__(self):
        return "RunResult(command=%r, status=%r, signal=%r, stdout=%r, stderr=%r)" % (
            self.command, self.status, self.signal, self.stdout, self.stderr)


class _Printer:
    """Hands a command's lines to a print_func while it runs.

    The line in which the shell answers for the command's status is none of its output.
    """

    def __init__(self, engine, func, encoding):
        self._engine, self._func = engine, func
        self._at = engine.total
        self._lines = _reporter.Lines(self._take, encoding)
        self._printed = []
        self.error = None               # what print_func raised

    def __call__(self):
        at, piece = self._engine.peek(self._at, 1 << 30)
        self._at = at
        self._lines.feed(piece)

    def _take(self, line):
        if "vt%d:" % self._engine.token not in line:
            self._print(line)

    def _print(self, line):
        if self.error is None:
            self._printed.append(line)
            try:
                self._func(line)
            except BaseException as e:  # raised again by the caller, outside the engine
                self.error = e

    def finish(self, output):
        """Print what the command's whole output (str) has beyond what was printed."""
        lines, printed = output.splitlines(), self._printed
        if lines[:len(printed)] == printed:
            for line in lines[len(printed):]:
                self._print(line)


class ShellSession(Expect):
    r"""A shell that runs commands.

    command: a shell command line (str) that starts a local shell, such as "bash".
    prompt: pattern (str, a regular expression) of the shell's prompt.
    status_test_command: what tells the last command's exit status.  The other arguments
    are those of Expect.

    The 11th and 12th positional argument are prompt and status_test_command, as in 2011;
    of three and more the first is aexpect 1.8's thread_name, and so it is of two if it is
    None.
    """

    _modern = ["thread_name", "prompt", "status_test_command", "pass_fds", "encoding"]

    def __init__(self, command=None, id=None, auto_close=True, echo=False, linesep="\n",
                 termination_func=None, termination_params=(), output_func=None,
                 output_params=(), output_prefix="", *rest, prompt=_PROMPT,
                 status_test_command="echo $?", a_id=None, thread_name=None, pass_fds=(),
                 encoding=None, engine=None):
        if len(rest) in (1, 2) and rest[0] is not None:
            rest = (thread_name, *rest)
        more = _generations(self._modern, rest, {
            "prompt": prompt, "status_test_command": status_test_command,
            "thread_name": thread_name, "pass_fds": pass_fds, "encoding": encoding})
        prompt, self.status_test_command = more.pop("prompt"), more.pop("status_test_command")
        re.compile(prompt)              # a bad one raises before anything is started
        super().__init__(command, id, auto_close, echo, linesep, termination_func,
                         termination_params, output_func, output_params, output_prefix,
                         a_id=a_id, engine=engine, **more)
        self._where = {}                # host, port, user: what errors say of it
        self.set_prompt(prompt)

    def __getinitargs__(self):
        return (None, self.id, self.auto_close, self.echo, self.linesep, *self._reporting(),
                self.prompt, self.status_test_command, (), self.encoding)

    def set_prompt(self, prompt):
        """Set the pattern (str, a Python regular expression) of the prompt."""
        self.prompt = prompt
        self._match = _matcher(prompt, self.encoding)

    def set_status_test_command(self, status_test_command):
        """Set the command (str) that prints the exit status of the one before it.

        An empty one leaves cmd() with the command that was proved at login.
        """
        self.status_test_command = status_test_command

    @property
    def info(self):
        """What the connection saw on its way (dict): tries, address, banner, method..."""
        return self._engine.info

    def find_prompt(self, timeout=10.0):
        """Wait for the prompt and have the shell prove it; return what came before (str).

        The first command does this itself, for a second at most.
        Raises ExpectTimeoutError, ExpectProcessTerminatedError.
        """
        try:
            return self._command_text(self._engine.find_prompt(
                self._match, timeout=timeout, linesep=self.linesep.encode(self.encoding),
                status_command=self.status_test_command or None))
        except _session.EngineError as e:
            raise self._expect_error(e) from None

    def _expect_error(self, e):
        """What a read_until_* would have raised where the engine raised e."""
        output = self._command_text(e.output or b"")
        if e.code == "timeout":
            exc = ExpectTimeoutError([self.prompt], output)
        elif e.code in ("eof", "closed", "io"):
            exc = ExpectProcessTerminatedError([self.prompt], self._engine.status, output)
        else:
            exc = ExpectError([self.prompt], output)
        detail = None if e.code in ("timeout", "status", "eof") else e.detail
        return diagnosed(exc, stage=e.stage, detail=detail, **self._where)

    def is_responsive(self, timeout=5.0):
        """Whether the shell answers an empty line within timeout seconds (bool)."""
        clock = _Deadline(timeout)
        try:
            self._engine.read(-1.0, 0.0)
            self.sendline()
            answer = b""
            while not clock.expired():
                piece, why = self._engine.read(-1.0 if not answer else _SILENCE, clock.left())
                answer += piece
                last = answer.rsplit(b"\n", 1)[-1]
                if why not in ("quiet", "timeout"):
                    return False
                if answer and (not piece or any(last == shown for shown, _ in self._engine.prompts)):
                    return True
        except _session.EngineError:
            return False
        return bool(answer)

    def read_up_to_prompt(self, timeout=60.0, internal_timeout=None, print_func=None):
        """Read until the last line is a prompt; return all that was read (str)."""
        return self.read_until_last_line_matches([self.prompt], timeout, internal_timeout,
                                                 print_func)[1]

    @classmethod
    def remove_command_echo(cls, cont, cmd):
        """cont (str) without its first line if that is cmd."""
        first, _newline, others = cont.partition("\n")
        return others if first.rstrip("\r") == cmd and cont else cont

    @classmethod
    def remove_last_nonempty_line(cls, cont):
        """cont (str) up to its last line that is not blank: less a prompt, for one."""
        return "".join(cont.rstrip().splitlines(True)[:-1])

    # Commands

    def _command_text(self, output):
        """A command's output as text; a carriage return within a line may be meant."""
        text = output.decode(self.encoding, "backslashreplace")
        return re.sub("\r+\n", "\n", text) if "\r\n" in text else text

    def _learn_first(self, timeout):
        """Before the first command: see the prompt, if there is one to be seen soon."""
        if self._engine.prompts or self._engine.ended:
            return
        try:
            self.find_prompt(min(timeout, 1.0))
        except ExpectError:
            pass                        # the command itself will tell

    def _command(self, cmd, timeout, want_status, safe=False, print_func=None):
        self._learn_first(timeout)
        self._forget_piece()
        printer = _Printer(self._engine, print_func, self.encoding) if print_func else None
        if printer:
            self._source.listen(printer)
        try:
            status, output = self._engine.command(
                cmd.encode(self.encoding), self._match, timeout=timeout,
                linesep=self.linesep.encode(self.encoding),
                status_command=self.status_test_command or None,
                want_status=want_status, safe=safe)
        except _session.EngineError as e:
            cause = self._expect_error(e)
            raise self._shell_error(cmd, e, cause.output) from cause
        finally:
            if printer:
                self._source.unlisten(printer)
        output = self._command_text(output)
        if printer:
            printer.finish(output)
            if printer.error:
                raise printer.error
        if want_status and status is None:
            raise diagnosed(ShellStatusError(cmd, output), **self._where)
        return status, output

    def _shell_error(self, cmd, e, output):
        if e.code == "timeout":
            exc = ShellTimeoutError(cmd, output)
        elif e.code == "status":
            exc = ShellStatusError(cmd, output)
        elif e.code in ("eof", "closed", "io"):
            exc = ShellProcessTerminatedError(cmd, self._engine.status, output)
        else:
            exc = ShellError(cmd, output)
        detail = None if e.code in ("timeout", "status", "eof") else e.detail
        return diagnosed(exc, stage=e.stage, detail=detail, **self._where)

    def cmd_output(self, cmd, timeout=60, internal_timeout=None, print_func=None, safe=False,
                   strip_console_codes=False):
        """Run a command (str); return its output (str).

        timeout: seconds.  print_func(line) is called for each line as it arrives.  safe:
        nudge the shell with an empty line each 0.5 s while no prompt comes (for consoles
        that kernel messages are written to).  internal_timeout is accepted for aexpect's
        sake: the end of a command is proved, not waited for.
        Raises ShellTimeoutError, ShellProcessTerminatedError, ShellError.
        """
        output = self._command(cmd, timeout, False, safe, print_func)[1]
        return _strip_codes(output) if strip_console_codes else output

    def cmd_output_safe(self, cmd, timeout=60, strip_console_codes=False):
        """cmd_output(safe=True)."""
        return self.cmd_output(cmd, timeout, safe=True, strip_console_codes=strip_console_codes)

    def cmd_status_output(self, cmd, timeout=60, internal_timeout=None, print_func=None,
                          safe=False):
        """Run a command; return (exit status, output).

        Raises ShellStatusError besides what cmd_output raises.
        """
        return self._command(cmd, timeout, True, safe, print_func)

    def cmd_status(self, cmd, timeout=60, internal_timeout=None, print_func=None, safe=False):
        """Run a command; return its exit status (int)."""
        return self.cmd_status_output(cmd, timeout, internal_timeout, print_func, safe)[0]

    def cmd(self, cmd, timeout=60, internal_timeout=None, print_func=None, ok_status=None,
            ignore_all_errors=False):
        """Run a command that must succeed; return its output (str).

        Raises ShellCmdError if its status is not in ok_status (default: 0).  With
        ignore_all_errors any ShellError gives None instead.
        """
        try:
            status, output = self.cmd_status_output(cmd, timeout, internal_timeout, print_func)
            if status not in (ok_status or [0]):
                raise diagnosed(ShellCmdError(cmd, status, output), **self._where)
            return output
        except ShellError:
            if ignore_all_errors:
                return None
            raise

    def get_command_output(self, cmd, timeout=60, internal_timeout=None, print_func=None):
        """cmd_output() by its older name."""
        return self.cmd_output(cmd, timeout, internal_timeout, print_func)

    def get_command_status_output(self, cmd, timeout=60, internal_timeout=None, print_func=None):
        """cmd_status_output() by its older name."""
        return self.cmd_status_output(cmd, timeout, internal_timeout, print_func)

    def get_command_status(self, cmd, timeout=60, internal_timeout=None, print_func=None):
        """cmd_status() by its older name."""
        return self.cmd_status(cmd, timeout, internal_timeout, print_func)

    def run(self, command, timeout=60, input=None, text=True):
        """Run a command on an SSH channel of its own, beside the shell; return RunResult.

        Exact exit status or signal, stdout and stderr apart, no prompt.  input: str or
        bytes for its standard input.  text=False gives bytes.  Raises ShellTimeoutError,
        ShellProcessTerminatedError; ShellError for a session that has no such channels.
        """
        if isinstance(input, str):
            input = input.encode(self.encoding)
        try:
            status, signal, out, err = self._engine.run(
                command.encode(self.encoding), input=input or b"", timeout=timeout)
        except _session.EngineError as e:
            raise self._shell_error(command, e, self._command_text(e.output or b"")) from None
        if text:
            out, err = (part.decode(self.encoding, "backslashreplace") for part in (out, err))
        return RunResult(command, status, signal, out, err)


class RemoteSession(ShellSession):
    """A shell on another machine; remote_login() makes it.

    client, host, port, username, password: what it logged in with; also attributes.  The
    other arguments are those of ShellSession.

    Unpickled it is a new session: it logs in again when it is first used, and LoginError
    says why if it can't.  The pickle holds the password, as the VM's parameters do.
    """

    _modern = ["thread_name", "prompt", "status_test_command", "client", "host", "port", "username",
               "password", "pass_fds", "encoding"]

    def __init__(self, command=None, id=None, auto_close=True, echo=False, linesep="\n",
                 termination_func=None, termination_params=(), output_func=None,
                 output_params=(), output_prefix="", *rest, client="ssh", host="localhost",
                 port=22, username="root", password="test1234", login=None, **keywords):
        more = _generations(self._modern, rest, dict(
            keywords, client=client, host=host, port=port, username=username, password=password))
        for name in ("client", "host", "port", "username", "password"):
            setattr(self, name, more.pop(name))
        self._login = login             # keywords of remote_login(); None of a local command
        self._connecting = threading.RLock()
        super().__init__(command, id, auto_close, echo, linesep, termination_func,
                         termination_params, output_func, output_params, output_prefix, **more)
        self._where = {"host": self.host, "port": self.port, "user": self.username}

    @property
    def _engine(self):
        engine = self._source.engine
        if isinstance(engine, _local.NotYet) and not engine.closed:
            engine = self._connect()
        return engine

    def _connect(self):
        """Log in again: the session was unpickled.  Raises LoginError."""
        from virtvm.companions import login
        with self._connecting:
            if isinstance(self._source.engine, _local.NotYet):
                session = login.remote_login(**self._login)
                self._source.engine, session._closed = session._source.engine, True
                self._report.start()
            return self._source.engine

    def is_alive(self):
        """Whether the far end is there (bool); an unpickled session tries to log in."""
        try:
            return super().is_alive()
        except LoginError:
            return False

    def __getinitargs__(self):
        return (None, self.id, self.auto_close, self.echo, self.linesep, *self._reporting(),
                self.prompt, self.status_test_command, self.client, self.host, self.port,
                self.username, self.password, (), self.encoding)

    def __reduce__(self):
        if self._login is None:
            return super().__reduce__()
        return _log_in_later, (type(self), self.__getinitargs__(), self._login, self.closed)


def _log_in_later(cls, args, login, closed):
    return cls(*args, login=login, engine=_local.NotYet(login["client"], closed))


class ConsoleSession(ShellSession):
    """A guest's console on a unix socket, such as the one QEMU serves.

    socket_path: the socket (str).  timeout: seconds to connect.  log_filename: path of a
    file that gets each line with its time.  reporting: Tail's arguments for callbacks.
    From the moment it is connected the console is read all the time, whoever waits;
    get_output() has all of it.

    Unpickled it is this process's open session on that socket, or connects again (what
    was said meanwhile is lost then), or is None where nobody serves the socket any more.
    Raises LoginError if nobody serves the socket.
    """

    _open = weakref.WeakValueDictionary()   # (pid, socket) -> session: QEMU serves one client
    _watchers = []                          # called with each new session

    def __init__(self, socket_path, timeout=10.0, linesep="\n", prompt=r"[\#\$]\s*$",
                 status_test_command="echo $?", log_filename=None, name=None,
                 encoding="utf-8", **reporting):
        try:
            engine = _session.open_unix(socket_path, log=log_filename, timeout=timeout)
        except _session.EngineError as e:
            raise diagnosed(LoginError("Cannot connect to console", ""), stage=e.stage,
                            detail=e.detail) from None
        ShellSession.__init__(self, linesep=linesep, prompt=prompt, encoding=encoding,
                              status_test_command=status_test_command, engine=engine,
                              **reporting)
        self.socket_path, self.log_filename, self.name = socket_path, log_filename, name
        if name:
            self._where = {"host": name}
        self._open[os.getpid(), socket_path] = self
        for watch in list(self._watchers):
            watch(self)

    def get_output(self):
        """All that the console has shown (str), also after close()."""
        return self._all_output()

    def find_kernel_crash(self):
        """The text of a kernel crash that the console has shown (str), or None.

        What virt_vm's verify_kernel_crash looks for; nothing is scanned twice.
        """
        crash = self._engine.find_crash()
        return None if crash is None else self._command_text(crash)

    def __reduce__(self):
        return _reconnect, (type(self), self.socket_path, {
            "linesep": self.linesep, "prompt": self.prompt,
            "status_test_command": self.status_test_command,
            "log_filename": self.log_filename, "name": self.name, "encoding": self.encoding,
            **{name: getattr(self, name) for name in self._callbacks}})

    _callbacks = ("termination_func", "termination_params", "output_func", "output_params",
                  "output_prefix", "thread_name")


def _reconnect(cls, socket_path, options):
    session = cls._open.get((os.getpid(), socket_path))
    if session is not None and session.is_alive():
        return session
    try:
        return cls(socket_path, **options)
    except LoginError:
        return None


# ---- running a command line ----

def run_bg(command, termination_func=None, output_func=None, output_prefix="", timeout=1.0,
           auto_close=False, pass_fds=(), encoding=None):
    """Start a command line; return an Expect once it has ended or timeout seconds passed.

    The functions are those of Tail.
    """
    return _run(Expect, command, termination_func, output_func, output_prefix, timeout,
                auto_close, pass_fds, encoding)


def run_tail(command, termination_func=None, output_func=None, output_prefix="", timeout=1.0,
             auto_close=False, pass_fds=(), encoding=None):
    """As run_bg, but a Tail."""
    return _run(Tail, command, termination_func, output_func, output_prefix, timeout,
                auto_close, pass_fds, encoding)


def run_fg(command, output_func=None, output_prefix="", timeout=1.0, pass_fds=(), encoding=None):
    """Run a command line; return (exit status, output), status None if it was killed.

    It is killed if it has not ended after timeout seconds.
    """
    with _run(Tail, command, None, output_func, output_prefix, timeout, True, pass_fds,
              encoding) as process:
        ended = process._engine.ended
        return (process.get_status() if ended else None), process.get_output()


def _run(cls, command, termination_func, output_func, output_prefix, timeout, auto_close,
         pass_fds, encoding):
    process = cls(command, auto_close=auto_close, termination_func=termination_func,
                  output_func=output_func, output_prefix=output_prefix, pass_fds=pass_fds,
                  encoding=encoding)
    process._engine.wait(timeout)
    return process


def kill_tail_threads():
    """End all output and termination callbacks.  The processes go on.

    For the end of a program: what they print afterwards never reaches a function, unless
    one is set again.
    """
    _reporter.stop_all()
