"""The commands of the virtvm program: one module each, with add(commands)."""

import os
import sys


def shorter(path):
    """path (str or path object) as seen from here (str), if that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


def complain(what, status=2):
    """Say on standard error what is wrong (any object's text, a guest's perhaps); return status."""
    from virtvm.companions.printable import printable_lines
    if isinstance(what, OSError) and what.filename and what.strerror:
        what = "%s: %s" % (os.fsdecode(what.filename), what.strerror)
    print("virtvm: %s" % printable_lines(what), file=sys.stderr)
    return status


def file_name(text):
    """An argument that names a file; an empty one is a variable that is not set."""
    if not text:
        raise ValueError(text)
    return text


file_name.__name__ = "name of a file"       # for argparse's messages


def tell_unknown(loaded, *paths):
    """Warn of params that nobody knows.  paths: tests, whose own params are known.

    ConfigError with --strict-params.
    """
    from virtvm.params import unknown
    for line in loaded.unknown_params(own=lambda: unknown.asked_by(paths)):
        complain("warning: " + line)
