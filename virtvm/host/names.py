"""Names that nobody can guess."""

import os
import string

_LETTERS_AND_DIGITS = string.ascii_letters + string.digits


def generate_random_string(length):
    """Return length random ASCII letters and digits (str), fit for secret names."""
    # The system's generator, as random.SystemRandom, without that module's cost.
    count = len(_LETTERS_AND_DIGITS)
    chosen = ""
    while len(chosen) < length:
        even = (byte for byte in os.urandom(2 * length) if byte < 256 - 256 % count)
        chosen += "".join(_LETTERS_AND_DIGITS[byte % count] for byte in even)
    return chosen[:max(0, length)]
