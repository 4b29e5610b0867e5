"""A shell that runs commands."""

import functools
import re
import threading

from virtvm import _session, signals
from virtvm.companions.exceptions import (
    ExpectError, ExpectProcessTerminatedError, ExpectTimeoutError, ShellCmdError, ShellError,
    ShellProcessTerminatedError, ShellStatusError, ShellTimeoutError, diagnosed)
from virtvm.host import processes
from virtvm.session import callbacks
from virtvm.session.deadline import Deadline
from virtvm.session.expect import KEPT, PIECE, SILENCE, TOO_MUCH, Expect, ends
from virtvm.session.prompt import PROMPT
from virtvm.session.spawn import by_position
from virtvm.session.text import decoded, strip_console_codes

_SHELLS = {"ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "ksh93", "mksh", "sh", "tcsh", "zsh"}
_ANSWER_KEPT = 65536    # bytes of an answer that are looked at for a prompt
_strip_codes = strip_console_codes      # cmd_output has an argument of that name


@functools.lru_cache(maxsize=256)
def _matcher(prompt, encoding):
    """A function that says whether a line (bytes) matches the prompt pattern."""
    search = re.compile(prompt).search
    return lambda line: search(line.decode(encoding, "replace")) is not None


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


def _with_plain_lines(text):
    """text with LF for each CR LF; a carriage return within a line may be meant."""
    return re.sub("(?<!\r)\r+\n", "\n", text) if "\r\n" in text else text


class _Printer:
    """Hands a command's lines to a print_func while it runs.

    The line in which the shell answers for the command's status is none of its output.
    What print_func raises ends the command.
    """

    def __init__(self, engine, func, encoding, errors):
        self._engine, self._func = engine, func
        self._thread = threading.get_ident()
        self._at = engine.total
        self._lines = callbacks.Lines(self._take, encoding, errors)
        self._printed = []

    def __call__(self):
        if threading.get_ident() != self._thread:
            return                      # another thread's command, which has the session yet
        at, piece = self._engine.peek(self._at, 1 << 30)
        self._at = at
        self._lines.feed(piece)

    def _take(self, line):
        if "vt%d:" % self._engine.token not in line:
            self._print(line)

    def _print(self, line):
        self._printed.append(line)
        self._func(line)

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
                 output_params=(), output_prefix="", *rest, prompt=PROMPT,
                 status_test_command="echo $?", a_id=None, thread_name=None, pass_fds=(),
                 encoding=None, engine=None):
        if len(rest) in (1, 2) and rest[0] is not None:
            rest = (thread_name, *rest)
        more = by_position(self._modern, rest, {
            "prompt": prompt, "status_test_command": status_test_command,
            "thread_name": thread_name, "pass_fds": pass_fds, "encoding": encoding})
        prompt, self.status_test_command = more.pop("prompt"), more.pop("status_test_command")
        # What can fail comes before anything is started.
        self.prompt, self._match = prompt, _matcher(prompt, more["encoding"] or "utf-8")
        self._where = {}                # host, port, user: what errors say of it
        super().__init__(command, id, auto_close, echo, linesep, termination_func,
                         termination_params, output_func, output_params, output_prefix,
                         a_id=a_id, engine=engine, **more)
        if command is None:
            self._ask_again()           # of one that is there: it may be another program to this prompt

    def __getinitargs__(self):
        return (None, self.id, self.auto_close, self.echo, self.linesep, *self._reporting(),
                self.prompt, self.status_test_command, (), self.encoding)

    def set_prompt(self, prompt):
        """Set the pattern (str, a Python regular expression) of the prompt."""
        self.prompt = prompt
        self._match = _matcher(prompt, self.encoding)
        self._ask_again()

    def _ask_again(self):
        """What did not answer a question for the status may be another program now."""
        if isinstance(self._source.engine, _session.Session):
            self._source.engine.mute = False

    def set_status_test_command(self, status_test_command):
        """Set the command (str) that prints the exit status of the one before it.

        An empty one leaves cmd() with the command that was proved at login.
        """
        self.status_test_command = status_test_command
        self._ask_again()

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
                status_command=self.status_test_command or None, limit=self.output_limit))
        except _session.EngineError as e:
            raise self._expect_error(e) from None
        finally:
            self._source.tell_readable()

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

    def _drop_pending(self):
        """Read what is pending now, and no more, however fast more comes."""
        self._engine.poll()
        pending = self._engine.unread
        while pending > 0:
            piece = self._engine.read(-1.0, 0.0, min(pending, PIECE))[0]
            pending -= len(piece) or pending

    def is_responsive(self, timeout=5.0):
        """Whether the shell answers an empty line within timeout seconds (bool)."""
        clock = Deadline(timeout)
        try:
            self._drop_pending()
            self.sendline()
            answer = b""
            while not clock.expired():
                piece, why = self._engine.read(-1.0 if not answer else SILENCE, clock.left(), PIECE)
                answer = (answer + piece)[-_ANSWER_KEPT:]
                last = answer.rsplit(b"\n", 1)[-1]
                if why not in ("quiet", "timeout", "limit"):
                    return False
                if answer and (not piece or any(last == shown for shown, _ in self._engine.prompts)):
                    return True
        except _session.EngineError:
            return False
        finally:
            self._source.tell_readable()
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

    def _text_within(self, cmd, output, errors, limit):
        """A command's output (bytes) as text (str).  ShellError if that is longer than limit: \\xNN may be."""
        text = decoded(output, self.encoding, errors, limit)
        if text is not None:
            return text
        first, last = (decoded(part, self.encoding) for part in (output[:KEPT], output[KEPT:][-KEPT:]))
        raise diagnosed(ShellError(cmd, ends(first + last, len(output) - 2 * KEPT)),
                        detail=TOO_MUCH % limit + " as text", **self._where)

    def _command_text(self, output):
        """A command's output (bytes) as text (str)."""
        return _with_plain_lines(decoded(output, self.encoding, self.generation.errors))

    def _is_local_shell(self):
        """Whether what reads in a local session is one of the shells that everybody knows (bool)."""
        pid = self._engine.pid
        if pid is None:
            return False
        try:
            # The command line's own shell waits for what it started.
            name, words = processes.command(processes.innermost(pid))
            return name in _SHELLS and "-c" not in words
        except OSError as e:            # gone, or none of this machine's
            signals.let_out(e)
            return False

    def _learn_first(self, cmd, timeout, want_status):
        """Before the first command: see the prompt, if there is one to be seen soon.

        That is asked for a status, which is typed into no program that may be another one.
        """
        engine = self._engine
        if engine.prompts or engine.ended or engine.mute or not (want_status or self._is_local_shell()):
            return
        try:
            self.find_prompt(min(timeout / 2, 1.5))
        except ExpectError as e:        # a prompt that does not come: the command itself will tell
            if not isinstance(e, ExpectTimeoutError) and not self._engine.ended:
                raise diagnosed(ShellError(cmd, e.output), stage=e.stage, detail=e.detail, **self._where) from e

    def _command(self, cmd, timeout, want_status, safe=False, print_func=None):
        clock = Deadline(timeout)
        self._learn_first(cmd, timeout, want_status)
        self._forget_piece()
        printer = _Printer(self._engine, print_func, self.encoding, self.generation.errors) if print_func else None
        if printer:
            self._source.listen(printer)
        try:
            status, output = self._engine.command(
                cmd.encode(self.encoding), self._match, timeout=clock.left(),
                linesep=self.linesep.encode(self.encoding),
                status_command=self.status_test_command or None,
                want_status=want_status, safe=safe, limit=self.output_limit)
        except _session.EngineError as e:
            cause = self._expect_error(e)
            raise self._shell_error(cmd, e, cause.output) from cause
        finally:
            self._source.tell_readable()
            if printer:
                self._source.unlisten(printer)
        output = _with_plain_lines(self._text_within(cmd, output, self.generation.errors, self.output_limit))
        if printer:
            printer.finish(output)
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

    def run(self, command, timeout=60, input=None, text=True, limit=None):
        """Run a command on an SSH channel of its own, beside the shell; return RunResult.

        Exact exit status or signal, stdout and stderr apart, no prompt.  input: str or
        bytes for its standard input.  text=False gives bytes.  limit: bytes that it may print
        (default: output_limit).  Raises ShellTimeoutError, ShellProcessTerminatedError;
        ShellError past the limit, and for a session that has no such channels.
        """
        if isinstance(input, str):
            input = input.encode(self.encoding)
        limit = self.output_limit if limit is None else limit
        try:
            status, signal, out, err = self._engine.run(
                command.encode(self.encoding), input=input or b"", timeout=timeout, limit=limit)
        except _session.EngineError as e:
            raise self._shell_error(command, e, self._command_text(e.output or b"")) from None
        if text:
            out = self._text_within(command, out, "backslashreplace", limit)
            err = self._text_within(command, err, "backslashreplace", limit)
        return RunResult(command, status, signal, out, err)
