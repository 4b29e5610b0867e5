"""A process that is read from, looking for patterns."""

import itertools
import re

from virtvm import _session
from virtvm.companions.exceptions import ExpectError, ExpectProcessTerminatedError, ExpectTimeoutError, diagnosed
from virtvm.session.deadline import Deadline
from virtvm.session.tail import Tail
from virtvm.session.text import decoder, shown_lines

SILENCE = 0.1           # what a read waits for when the caller names nothing
_LIMIT = 256 << 20      # bytes of output that a command, or one reading, may have
PIECE = 16 << 20        # bytes that one read takes of a flood
KEPT = 1 << 20          # characters, at each end of the output, that an exception holds
TOO_MUCH = "the output passed the limit of %d bytes"
_LINE = 4096            # characters, the last ones, of a last line that a pattern sees
_LINE_WINDOWS = _LINE, 65536    # characters, at the end of the output, in which it is looked for
_BLANKS = 1 << 20       # characters behind it that are skipped
_WORD_WINDOW = 65536    # characters, at the end of the output, in which its last word is looked for
_LOOK = 65536           # characters in whose lines a pattern is looked for between two looks at the clock
_LOOK_PATIENCE = 0.25   # seconds that a look at new lines has, even if it begins at the deadline


class Expect(Tail):
    """A process to write to and to read from, looking for patterns.

    The arguments are those of Tail; auto_close is True unless given.
    """

    output_limit = _LIMIT           # bytes that one command or reading may bring; more is an error

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
        self._decode_piece = decoder(self.encoding, self.generation.errors)

    def _read(self, silence, timeout):
        """Output (str) that nobody has read, and why that is all; see Session.read."""
        try:
            output, why = self._engine.read(silence, timeout, PIECE)
        except _session.EngineError as e:       # closed; or another thread has the session
            output, why = b"", e.code
        self._source.tell_readable()
        return self._decode_piece(output, why == "eof").replace("\r", ""), why

    def _get_fd(self, reader="expect"):
        """A descriptor (int) that is readable while there is output to read, and at its end.

        For callers that select on several sessions, as virsh's in avocado-vt.  None after close(), and for
        any other reader than "expect".  close() closes it.
        """
        if reader != "expect" or self._is_gone():
            return None
        return self._engine and self._source.readable()

    def read_nonblocking(self, internal_timeout=None, timeout=None):
        """Read until nothing came for internal_timeout (default 0.1) seconds; return str.

        timeout bounds the whole of it (default: an hour).  Given alone it is the silence,
        as it was in 2011.  Of a flood it returns 16 MiB; the rest is for the next call.
        """
        if internal_timeout is None:
            internal_timeout, timeout = timeout, None
        return self._read(SILENCE if internal_timeout is None else internal_timeout,
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
        """Like match_patterns, line by line; the index counts from the end (negative).

        cont: text (str), or lines (an iterable of str), as in 1.8.
        """
        lines = cont.splitlines() if isinstance(cont, str) else list(cont)
        for i, pattern in enumerate(patterns):
            if pattern and any(re.search(pattern, line) for line in lines):
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
        silence = SILENCE if internal_timeout is None else internal_timeout
        clock, output = Deadline(timeout), ""
        while True:
            piece, why = self._read(silence, clock.left())
            output += piece
            for line in piece.splitlines() if print_func else ():
                print_func(line)
            if piece or why != "quiet":
                found = match_func(filter_func(output) if filter_func else output, patterns)
                if found is not None:
                    return found, output
            if why not in ("quiet", "timeout", "limit"):
                raise self._terminated(patterns, why, ends(output))
            if clock.expired():
                raise ExpectTimeoutError(patterns, ends(output))
            if len(output) > self.output_limit:
                raise diagnosed(ExpectError(patterns, ends(output)), detail=TOO_MUCH % self.output_limit)

    def _terminated(self, patterns, why, output):
        if why == "nested":
            return diagnosed(ExpectError(patterns, output), detail="a call of this thread is under way")
        return diagnosed(ExpectProcessTerminatedError(patterns, self._engine.status, output))

    def read_until_last_word_matches(self, patterns, timeout=60.0, internal_timeout=None,
                                     print_func=None):
        """As read_until_output_matches, looking at the last word only."""
        return self.read_until_output_matches(patterns, self._last_word, timeout, internal_timeout,
                                              print_func)

    def read_until_last_line_matches(self, patterns, timeout=60.0, internal_timeout=None,
                                     print_func=None):
        """As read_until_output_matches, looking at the last non-blank line only."""
        return self.read_until_output_matches(patterns, self._last_line, timeout,
                                              internal_timeout, print_func)

    def read_until_any_line_matches(self, patterns, timeout=60.0, internal_timeout=None,
                                    print_func=None):
        """As read_until_output_matches, line by line; the index is negative."""
        look = _NewLines(self.match_patterns_multiline, Deadline(timeout))
        return self.read_until_output_matches(patterns, None, timeout, internal_timeout, print_func, look)

    @staticmethod
    def _last_line(text):
        """The end of the last line with more than blanks on it, as a terminal shows it."""
        # It is looked for at each piece that comes, so all of this has a bound.
        end = len(text)
        stop = max(0, end - _BLANKS)
        while end > stop:
            for window in _LINE_WINDOWS:
                begin = max(0, end - window)
                lines = list(itertools.islice(filter(str.strip, shown_lines(text[begin:end])), 2))
                if len(lines) > 1:              # then a whole line is the last one
                    break
            if lines:
                return lines[0][-_LINE:]
            end = begin
        return ""

    @staticmethod
    def _last_word(text):
        return (text[-_WORD_WINDOW:].rsplit(None, 1) or [""])[-1]


class _NewLines:
    """A match_func for lines of output that grows: a whole line is looked at once.

    It gives up at the deadline: a piece of a flood may hold millions of lines.
    """

    def __init__(self, match, clock):
        self._match, self._clock, self._at = match, clock, 0

    def __call__(self, output, patterns):
        patience = Deadline(max(self._clock.left(), _LOOK_PATIENCE))
        found, seen = [], self._at
        while seen < len(output) and not patience.expired():
            end = output.find("\n", seen + _LOOK) + 1 or len(output)
            found.append(self._match(output[seen:end], patterns))
            self._at, seen = output.rfind("\n", seen, end) + 1 or seen, end
        return min((index for index in found if index is not None), default=None)   # the first pattern's


def ends(text, gone=0):
    """What an exception holds of output (str): all of it, or its first and its last MiB.

    gone: of the output's bytes so many are left out of the middle of text already.
    """
    if len(text) <= 2 * KEPT and gone <= 0:
        return text
    left_out = "%d characters" % (len(text) - 2 * KEPT) if gone <= 0 else "%d bytes and more" % gone
    return "%s\n[virtvm: %s are left out here]\n%s" % (text[:KEPT], left_out, text[-KEPT:])
