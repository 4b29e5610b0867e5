"""What a guest said, as a terminal may show it: the one way from its text to a person's eyes."""

import re

# Sequences that a terminal obeys: CSI; OSC, DCS, PM, APC, SOS up to their end; two-character ones.
# Compiled, as those below, when it is needed first: importing an exception is to cost little.
_SEQUENCES = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    # (what begins another one is in none: the end would be looked for from each of thousands)
    r"|(?:\x1b[]P^_X]|[\x9d\x90\x9e\x9f\x98])[^\x07\x1b\x9c\n\x9d\x90\x9e\x9f\x98]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-Z\\^-~]")


def printable(text, keep=""):
    """text (any object's str()) with nothing in it that a terminal would obey.

    Whole escape sequences are left out; what else is no plain character stands as repr() has it,
    but those in keep (str), such as newlines.
    """
    text = re.sub(_SEQUENCES, "", str(text))
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def printable_lines(text):
    """As printable(), of several lines: newlines and tabs stay."""
    return printable(str(text).replace("\r\n", "\n"), "\n\t")


_COLOURS = r"(\x1b\[[0-9;]*m)"


def printable_output(text, coloured=False):
    """As printable_lines(), of what a program writes that returns to a line's begin (a first "\r" stays), and,
    if coloured, sets colours itself."""
    begin = "\r" * text.startswith("\r")
    parts = re.split(_COLOURS, text[len(begin):]) if coloured else [text[len(begin):]]
    return begin + "".join(part if number % 2 else printable_lines(part) for number, part in enumerate(parts))
