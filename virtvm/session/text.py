"""What terminals print, as text."""

import re

# Compiled when it is needed first: that takes as long as all else in this module.
_ESCAPES = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P_^][^\x07\x1b]*(?:\x07|\x1b\\)|[()*+\-./#% ].|.)|[\x07\x0e\x0f]"


def strip_console_codes(text):
    """text (str) without terminal escape sequences, BEL, and shifts between character sets."""
    return re.sub(_ESCAPES, "", text)
