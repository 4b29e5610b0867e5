"""What terminals print, as text."""

import codecs
import re

_ESCAPING = "backslashreplace"

# Compiled when they are needed first: that takes as long as all else in this module.
_ESCAPES = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P_^][^\x07\x1b]*(?:\x07|\x1b\\)|[()*+\-./#% ].|.)|[\x07\x0e\x0f]"


def strip_console_codes(text):
    """text (str) without terminal escape sequences, BEL, and shifts between character sets."""
    return re.sub(_ESCAPES, "", text)


# All of these but what moves the cursor and erases.
_UNSEEN = r"\x1b(?:[\]P_^][^\x07\x1b]*(?:\x07|\x1b\\)|[()*+\-./#% ].|[^\[78])|[\x07\x0e\x0f]"


def shown(text):
    """text (str) as a terminal shows its lines: cursor movements are obeyed, what stands at the right edge left out."""
    return "\n".join(map(_shown_line, _seen(text).split("\n")))


def shown_lines(text):
    """Lines of text (an iterator of str), the last one first, as a terminal shows each."""
    return map(_shown_line, reversed(_seen(text).splitlines()))


def _seen(text):
    return re.sub(_UNSEEN, "", text)


def _shown_line(line):
    if "\x1b" not in line and "\b" not in line:
        return line
    from virtvm import _session
    return _session.shown(line.encode("utf-8", "replace")).decode("utf-8", "replace")


# Bytes to text.  Python's own error handler is called for each byte that is none: 16 MiB of those take
# seconds, in which no deadline and no signal is looked at.

def decoded(data, encoding, errors=_ESCAPING, limit=None):
    """data (bytes) as text (str); errors: what becomes of bytes that are none, as for bytes.decode().

    limit: None is returned if \\xNN for such bytes made it longer than so many bytes, and than data.
    """
    if errors != _ESCAPING or not _is_utf8(encoding):
        return data.decode(encoding, errors)
    from virtvm import _session
    data = _session.escaped(data, None if limit is None else max(limit, len(data)))
    return None if data is None else data.decode()


def decoder(encoding, errors=_ESCAPING):
    """A function(piece, final=False) that gives the text (str) of pieces (bytes) that may end within a character."""
    if errors != _ESCAPING or not _is_utf8(encoding):
        return codecs.getincrementaldecoder(encoding)(errors).decode
    begun = b""

    def decode(piece, final=False):
        nonlocal begun
        piece, begun = begun + piece, b""
        if not final:
            whole = len(piece) - _begun(piece[-3:])
            piece, begun = piece[:whole], piece[whole:]
        return decoded(piece, "utf-8")
    return decode


def _is_utf8(encoding):
    return codecs.lookup(encoding).name == "utf-8"


def _begun(end):
    """How many of the last three bytes are the begin of a character (int)."""
    for count in range(1, len(end) + 1):
        if end[-count] & 0xc0 != 0x80:
            try:
                return count - codecs.utf_8_decode(end[-count:], "strict", False)[1]
            except UnicodeDecodeError:
                return 0
    return 0
