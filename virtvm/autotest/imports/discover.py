"""Which files are tests of old."""

import os
import re

from virtvm import signals


def _source(path):
    """A file's bytes; none if it can't be read."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        signals.let_out(e)
        return b""


def defines_test(path):
    """Whether a file (str or path object) defines run_<its name>(test, params, env) (bool); False if it can't be read.

    It is looked for in the file's bytes: Python 2 or 3, in any encoding that has ASCII in it.
    """
    name = os.path.splitext(os.path.basename(path))[0]
    head = rb"(?:^|[\r\n])def[ \t]+run_%s\s*\(\s*test\s*,\s*params\s*,\s*env\s*[,)]" % re.escape(os.fsencode(name))
    return re.search(head, _source(path)) is not None


def has_new_tests(path):
    """Whether a file is pytest's by its name, and has functions test... or classes Test... (bool)."""
    name = os.path.basename(path)
    if not (name.startswith("test_") or name.endswith("_test.py")):     # a test of old may have helpers so named
        return False
    new = rb"(?:^|[\r\n])(?:(?:async[ \t]+)?def[ \t]+test\w*\s*\(|class[ \t]+Test\w*)"
    return re.search(new, _source(path)) is not None


def tests_in(folder, also=lambda name: False):
    """Paths (list of str, sorted) of the tests of old in a folder, and of modules whose name also(name) wants."""
    names = [name for name in sorted(os.listdir(folder)) if name.endswith(".py")]
    paths = [os.path.join(folder, name) for name in names]
    return [path for path, name in zip(paths, names) if also(name) or defines_test(path)]
