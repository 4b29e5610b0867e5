"""The one place where words become a command line for the host's shell, or a guest's."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")


def quote(word):
    """One word of a command line (str) that a shell takes for exactly that text."""
    word = str(word)
    return word if word and _PLAIN.issuperset(word) else _in_quotes(word)


def _in_quotes(text):
    return "'%s'" % text.replace("'", "'\"'\"'")


def command_line(program, *words):
    """A command line (str): a program and its arguments, each one word whatever is in it.

    Words that need no quotes stand as they are.
    """
    program = str(program)
    # A shell takes a=b for an assignment, unless it is quoted.
    first = _in_quotes(program) if "=" in program else quote(program)
    return " ".join([first] + [quote(word) for word in words])


def operand(text, what="name"):
    """That text (str), if a program can't take it for one of its options.  ValueError.

    what: says in the message what it should be.
    """
    text = str(text)
    if not text or text.startswith("-") or "\0" in text:
        raise ValueError("no %s: %r" % (what, text))
    return text
