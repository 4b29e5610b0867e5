"""Names of params that nobody knows: misspelt ones do nothing, without a word."""

import os
import re

from virtvm import signals
from virtvm.params import table

_QUOTED = re.compile(r"""(["'])([\w-]+)\1""")


def judge(said, objects):
    """(unknown, not honoured) names (dicts, {name: where it was said}) of those that were said.

    objects: names (set of str) that may end one.  The parser's own, which begin with _, are neither.
    """
    unknown, ignored = {}, {}
    for name, where in said.items():
        entry = table.find(name, objects)
        if entry is None and not name.startswith("_"):
            unknown[name] = where
        elif entry is not None and not entry.honoured:
            ignored[name] = where
    return unknown, ignored


def line_of_unknown(name, where):
    """What is said (str) of a name that is not known."""
    near = table.nearest(name)
    return "unknown param %s (%s)%s" % (name, where, ": did you mean %s?" % near if near else "")


def line_of_ignored(name, where):
    """What is said (str) of a param of autotest's that does nothing here."""
    return "param %s (%s) is autotest's: virtvm does not honour it" % (name, where)


def asked_by(paths):
    """Names (set of str) that test files, or those in folders, may ask params for: all that stands in quotes."""
    names = set()
    for path in _files(paths):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                names.update(found.group(2) for found in _QUOTED.finditer(f.read()))
        except OSError as e:            # whoever runs it will say so
            signals.let_out(e)
            continue
    return names


def _files(paths):
    for path in paths:
        if not signals.isdir(path):
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = [name for name in folders if not name.startswith((".", "__"))]
            yield from (os.path.join(folder, name) for name in names if name.endswith(".py"))
