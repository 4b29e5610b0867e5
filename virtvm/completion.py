"""Completion of the command line in a shell, by argcomplete (docs/running.rst)."""

import os


def answer(parser):
    """Answer the shell's question, if it asks one by this start, and end the process.

    parser: the command's argparse parser.  argcomplete is imported for a question alone.
    """
    if "_ARGCOMPLETE" not in os.environ:
        return
    try:
        import argcomplete
    except ImportError:
        return
    for action in _actions(parser):
        if action.dest == "virtvm_param":
            action.completer = _assignments
        elif action.metavar == "WORD":
            action.completer = _names
    argcomplete.autocomplete(parser)


def _actions(parser):
    """All of a parser's actions, and of its commands'."""
    import argparse
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def _params():
    from virtvm.params import table
    return [param for param in table.TABLE.values() if not param.is_pattern()]


def _names(**_asked):
    """Params, each with what it means, which some shells show."""
    return {param.name: param.meaning for param in _params()}


def _assignments(prefix, **_asked):
    """KEY= for each param that does something; yes and no behind those that are one of them."""
    key, equals, _value = prefix.partition("=")
    if equals:
        return ["%s=%s" % (key, word) for param in _params() if param.name == key and param.example in ("yes", "no")
                for word in ("yes", "no")]
    return {param.name + "=": param.meaning for param in _params() if param.honoured}
