"""Python 2's syntax as Python 3's, line by line.

fissix parses the source (the parser of lib2to3, which Python 3.13 no longer has).  Its
fixers are not used: some move lines, some are wrong (`raise e[0](e[1])`).  Instead, the
texts of single tokens are changed here, so that every line stays where it is.  What has
no syntax in Python 3 leaves a name behind, for virtvm.autotest.python2.semantics to put right.
"""

import contextlib
import importlib
import io
import os
import pathlib
import re
import sys
import tokenize

from virtvm import scratch, signals
from virtvm.autotest.python2 import caches

HELPERS = "__virtvm__"              # the name under which translated code finds what helps it
MARK = "__virtvm_%d"                # stands for a target or a parameter with a structure

_NEW_KEYWORDS = {"async", "await", "nonlocal"}
_OCTAL = re.compile(r"0[0-7]+")
_LITERAL = re.compile(r"([a-zA-Z]*)(.*)", re.S)
_BACKSLASHES = re.compile(r"(\\+)([uU\"']?)")
_NO_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\([uUN])")


def _double(found):
    """The backslashes of a raw literal for one that is not raw."""
    backslashes, then = found.groups()
    count = 2 * len(backslashes)
    if then and len(backslashes) % 2:
        count += 1 if then in "\"'" else -1     # a quote is still to be kept in; \\u is to stay an escape
    return "\\" * count + then


class Converted:
    """text: the source in Python 3's syntax; marks: what the marks stand for (name: source)."""

    def __init__(self, text, marks):
        self.text, self.marks = text, marks


def convert(text, path):
    """The source text (str) in Python 3's syntax (Converted); SyntaxError if it is no Python 2."""
    text = expand_tabs(text if text.endswith("\n") else text + "\n")
    edit = _Edit(_parse(text, path), "unicode_literals" not in text)
    edit.run()
    return Converted(str(edit.tree), edit.marks)


def _prepare_fissix():
    """Have it keep its grammar where we keep things, and nowhere if that can't be."""
    import fissix
    if "fissix.pygram" in sys.modules:
        return
    folder = caches.folder("grammar-" + fissix.__version__)
    with contextlib.ExitStack() as last:
        try:
            signals.makedirs(folder, mode=0o700, exist_ok=True)
            is_ours = os.stat(folder).st_uid == os.geteuid() and os.access(folder, os.W_OK)
        except OSError as e:
            signals.let_out(e)
            is_ours = False
        if not is_ours:         # it is a pickle: nobody else may have written it
            folder = last.enter_context(scratch.Folder("virtvm-"))
        fissix.CACHE_DIR = pathlib.Path(folder)
        importlib.import_module("fissix.pygram")


def _parse(text, path):
    _prepare_fissix()
    from fissix import pygram, pytree
    from fissix.pgen2 import driver, parse
    from fissix.pgen2 import tokenize as fissix_tokenize
    grammar = pygram.python_grammar
    if re.search(r"^from __future__ import .*\bprint_function\b", text, re.M):
        grammar = pygram.python_grammar_no_print_statement
    try:
        return driver.Driver(grammar, convert=pytree.convert).parse_string(text)
    except parse.ParseError as e:
        line, column = e.context[1]
        raise syntax_error("invalid syntax", path, text, line, column + 1) from None
    except fissix_tokenize.TokenError as e:
        raise syntax_error(e.args[0], path, text, e.args[1][0], e.args[1][1] + 1) from None
    except IndentationError as e:
        raise syntax_error(e.msg, path, text, e.lineno, e.offset) from None


def syntax_error(message, path, text, line, column):
    """A SyntaxError that shows the line of the source."""
    lines = text.splitlines()
    shown = lines[line - 1] if 0 < line <= len(lines) else None
    return SyntaxError(message, (path, line, column, shown))


def expand_tabs(text):
    """The source with its indentation in blanks, a tab being worth up to eight.

    Python 3 refuses what mixes both; Python 2 did not.
    """
    if "\t" not in text:
        return text
    lines = text.split("\n")
    inside = _lines_within_strings(text)
    for i, line in enumerate(lines):
        body = line.lstrip(" \t\f")
        if i + 1 not in inside and "\t" in line[:len(line) - len(body)]:
            lines[i] = line[:len(line) - len(body)].replace("\f", "").expandtabs(8) + body
    return "\n".join(lines)


def _lines_within_strings(text):
    """Numbers of the lines that begin inside a string."""
    from fissix.pgen2 import token
    from fissix.pgen2 import tokenize as fissix_tokenize
    inside = set()
    try:
        for kind, _, start, end, _ in fissix_tokenize.generate_tokens(io.StringIO(text).readline):
            if kind == token.STRING:
                inside.update(range(start[0] + 1, end[0] + 1))
    except (fissix_tokenize.TokenError, IndentationError, tokenize.TokenError):
        pass                            # the parser says it better
    return inside


class _Edit:
    """The changes to one tree.  A method for each kind of node, found by its name."""

    def __init__(self, tree, is_bytes):
        self.tree = tree
        self.marks = {}
        self._is_bytes = is_bytes       # a literal without prefix has no \u

    def run(self):
        from fissix.pgen2 import token
        from fissix.pytree import type_repr
        leaves = {token.NAME: self.name, token.NUMBER: self.number, token.STRING: self.string,
                  token.NOTEQUAL: self.not_equal, token.ASYNC: self.name, token.AWAIT: self.name}
        nodes = {"print_stmt": self.print_, "exec_stmt": self.exec_, "raise_stmt": self.raise_,
                 "except_clause": self.except_, "atom": self.atom, "tfpdef": self.parameter,
                 "vfpdef": self.parameter, "comp_for": self.comprehension,
                 "old_comp_for": self.comprehension}
        for node in list(self.tree.post_order()):       # inner ones first
            if not node.children:
                change = leaves.get(node.type)
            else:
                change = nodes.get(type_repr(node.type))
            if change is not None:
                change(node)

    @staticmethod
    def wrap(node, before, after):
        """Put texts before the first and behind the last token of node."""
        leaves = list(node.leaves())
        leaves[0].value = before + leaves[0].value
        leaves[-1].value += after

    def mark(self, node, newline):
        """Put a name in place of node, and keep its source."""
        name = MARK % len(self.marks)
        leaves = list(node.leaves())
        prefix = leaves[0].prefix
        leaves[0].prefix = ""
        self.marks[name] = str(node)
        for leaf in leaves:
            leaf.value = leaf.prefix = ""
        leaves[0].prefix, leaves[0].value = prefix, name + newline * self.marks[name].count("\n")

    # Tokens

    def name(self, leaf):
        if leaf.value in _NEW_KEYWORDS:
            leaf.value += "_"
        elif leaf.value == "print" and self.is_bare_print(leaf):
            leaf.value = HELPERS + ".say(None)"

    @staticmethod
    def is_bare_print(leaf):
        from fissix.pytree import type_repr
        return leaf.parent is not None and type_repr(leaf.parent.type) == "simple_stmt"

    @staticmethod
    def number(leaf):
        number = leaf.value.rstrip("lL")
        if _OCTAL.fullmatch(number):
            number = "0o" + number[1:]
        if number != leaf.value and str(leaf.next_sibling).startswith("."):
            number = "(%s)" % number        # 7L.bit_length(): 7. would be a float
        leaf.value = number

    def string(self, leaf):
        kind, literal = _LITERAL.fullmatch(leaf.value).groups()
        if kind.lower() == "ur":        # raw but for \u
            leaf.value = "u" + _BACKSLASHES.sub(_double, literal)
        elif self._is_bytes and not set(kind.lower()) & {"u", "r"}:
            leaf.value = kind + _NO_ESCAPE.sub(r"\1\\\\\2", literal)

    @staticmethod
    def not_equal(leaf):
        leaf.value = "!="

    # Statements and expressions

    def print_(self, node):
        parts = node.children
        if len(parts) > 1 and parts[1].type == self.token("RIGHTSHIFT"):
            parts[0].value, parts[1].value = HELPERS + ".say(", ""
        else:
            parts[0].value = HELPERS + ".say(None,"
        if parts[-1].type == self.token("COMMA"):
            parts[-1].value = ", comma=True)"
        else:
            self.wrap(parts[-1], "", ")")

    @staticmethod
    def token(name):
        from fissix.pgen2 import token
        return getattr(token, name)

    def exec_(self, node):
        parts = node.children
        if len(parts) == 2 and str(parts[1]).strip().startswith("("):
            return                      # a call already
        if len(parts) > 2:
            parts[2].value = ","
        parts[0].value = "exec("
        self.wrap(parts[-1], "", ")")

    def raise_(self, node):
        if len(node.children) > 2 and node.children[2].type == self.token("COMMA"):
            node.children[0].value = "raise %s.error(" % HELPERS
            self.wrap(node.children[-1], "", ")")

    def except_(self, node):
        parts = node.children
        if len(parts) < 4 or parts[2].type != self.token("COMMA"):
            return
        parts[2].value = " as" if parts[3].prefix else " as "
        if parts[3].children:
            self.mark(parts[3], " \\\n")

    def atom(self, node):
        if node.children[0].type == self.token("BACKQUOTE"):
            node.children[0].value, node.children[-1].value = "repr((", "))"

    def parameter(self, node):
        from fissix.pytree import type_repr
        if node.children[0].type != self.token("LPAR"):
            return
        above = node.parent
        while above is not None:        # only the outermost
            if type_repr(above.type) == type_repr(node.type):
                return
            above = above.parent if type_repr(above.type) in ("tfplist", "vfplist") else None
        self.mark(node, "\n")

    def comprehension(self, node):
        from fissix.pytree import type_repr
        for child in node.children:
            if type_repr(child.type) == "testlist_safe":
                self.wrap(child, "(", ")")
