"""The table of params for people to read: docs/params.rst, and what `virtvm params` prints.

    python -m virtvm.params.reference >docs/params.rst
"""

import re
import textwrap

from virtvm.params import table

_HEAD = """\
Params
======

Every param that virtvm knows, made from ``virtvm/params/table.py`` by ``python -m virtvm.params.reference``.
``virtvm params WORD`` prints the same in a terminal. Which place wins where several say a param:
running.rst and configuration.rst.

An object may have a param of its own, under the param's name, ``_`` and its own name: ``mem_vm1`` is the
memory of the machine ``vm1``, ``nic_model_nic2`` what the card ``nic2`` is. All params may differ by machine;
*of* says by which other objects. Where two defaults stand, the second one holds for machines that are made
without a run, as in ``VM("vm1", {...}, folder)``.

.. contents::
   :local:
"""


def default(param):
    """The default (str) of an entry: text, and whose it is; "" if there is none."""
    if param.default is None and param.otherwise is None:
        return ""
    usual = param.otherwise if param.default is None else param.default
    text = usual or "empty"
    if param.default is not None and param.otherwise not in (None, param.default):
        text += ", else %s" % (param.otherwise or "empty")
    return "%s (%s's)" % (text, param.whose)


def example(param):
    """How it is written (str)."""
    return param.example if "=" in param.example and param.is_pattern() else "%s = %s" % (param.name, param.example)


def readers(param):
    """Who reads it (str)."""
    return ", ".join(param.readers()) or ("tests" if param.honoured else "nobody")


def details(param):
    """All that is known of an entry (lines, list of str)."""
    lines = [param.name, *textwrap.wrap(param.meaning, 90, initial_indent="    ", subsequent_indent="    ")]
    rows = [("default", default(param)), ("unit", param.unit), ("of", "machines" + (param.of and ", " + param.of)),
            ("example", example(param)), ("read by", readers(param))]
    if not param.honoured:
        rows = [("example", example(param)), ("", "A param of autotest's that virtvm does not honour.")]
    return lines + [("    %-8s %s" % row).rstrip() for row in rows if row[1]]


def summary(params):
    """A line for each entry (list of str)."""
    width = max((len(param.name) for param in params), default=0)
    return ["%-*s  %s%s" % (width, param.name, "" if param.honoured else "(not honoured) ", param.meaning)
            for param in params]


def _literal(text):
    return "``%s``" % text


def _entry(param):
    lines = [_literal(param.name), "    " + re.sub(r"\*|_(?!\w)", r"\\\g<0>", param.meaning)]
    told = []
    if default(param):
        values = [value for value in dict.fromkeys([param.default, param.otherwise]) if value is not None]
        told.append("Default: %s (%s's)." % (
            ", else ".join(_literal(value) if value else "empty" for value in values), param.whose))
    if param.unit:
        told.append("In %s." % param.unit)
    if param.of:
        told.append("Of %s." % _literal(param.of))
    told.append("Example: %s." % _literal(example(param)))
    if param.honoured:
        told.append("Read by %s." % (", ".join(map(_literal, param.readers())) or "tests"))
    return "\n".join(lines + textwrap.wrap(" ".join(told), 110, initial_indent="    ", subsequent_indent="    ",
                                           break_long_words=False, break_on_hyphens=False))


def rst():
    """docs/params.rst (str)."""
    parts = [_HEAD]
    for title, params in table.GROUPS:
        parts.append("%s\n%s\n" % (title, "-" * len(title)))
        if not any(param.honoured for param in params):
            parts.append("autotest's params that virtvm takes, and does nothing about. Given by an option, a marker or"
                         "\na TOML file each is warned of.\n")
        parts.append("\n".join(map(_entry, params)) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(rst(), end="")
