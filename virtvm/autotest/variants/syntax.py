"""Text of a configuration, read into statements."""

import os
import re

from virtvm import signals
from virtvm.autotest.variants.filters import Filter, FilterSyntaxError, Label


class Dialect:
    """Where the format of 2011 and that of today (2026) differ."""

    def __init__(self, modern, lenient):
        self.modern = modern            # named variants, suffix, join, ~=, ${}, limits
        self.dashless = lenient         # branches without a dash; del takes any expression
        self.comments = modern          # a "#" behind filters and heads begins a comment


DIALECTS = {2011: Dialect(False, True), 2026: Dialect(True, False), None: Dialect(True, True)}


class ParserError(Exception):
    """A configuration that can't be read.  msg, line (str), filename, linenum (from 1)."""

    def __init__(self, msg, line=None, filename=None, linenum=None):
        Exception.__init__(self, msg, line, filename, linenum)
        self.msg, self.line, self.filename, self.linenum = msg, line, filename, linenum

    def __str__(self):
        where = " (%s:%s)" % (self.filename or "<string>", self.linenum) if self.linenum else ""
        return self.msg + (": %r" % self.line if self.line else "") + where


class LexerError(ParserError):
    """A line with characters where none are expected."""


class MissingIncludeError(Exception):
    """A file to include that is not there.  line (str), filename, linenum: where it is named."""

    def __init__(self, line, filename, linenum):
        Exception.__init__(self, line, filename, linenum)
        self.line, self.filename, self.linenum = line, filename, linenum

    def __str__(self):
        return "%r (%s:%s): file does not exist or it's not a regular file" % (
            self.line, self.filename or "<string>", self.linenum)


# ---- statements ----

class Assign:
    def __init__(self, key, operator, value, literal=False):
        self.key, self.operator, self.value = key, operator, value
        self.literal = literal          # the value has no ${keys}
        self.search = re.compile(r"(?:%s)$" % key).match if operator.startswith("?") else None


class Delete:
    def __init__(self, pattern):
        self.search = re.compile(r"(?:%s)$" % pattern).match


class Only:
    def __init__(self, keep, filter):
        self.keep, self.filter = keep, filter       # keep: `only`, else `no`


class Condition:
    def __init__(self, negated, filter, body):
        self.negated, self.filter, self.body = negated, filter, body


class Suffix:
    def __init__(self, text):
        self.text = text


class Join:
    def __init__(self, filters):
        self.filters = filters


class Variants:
    """A block of branches, of which each result takes one."""

    def __init__(self, name=None):
        self.name, self.branches = name, []
        self._labels = None

    def labels(self):
        """Texts of all labels in it, however deep (frozenset)."""
        if self._labels is None:
            found = {label.text for branch in self.branches for label in branch.labels}
            for branch in self.branches:
                for inner in branch.blocks:
                    found |= inner.labels()
            self._labels = frozenset(found)
        return self._labels

    def default(self):
        """The default branch, or None."""
        return next((branch for branch in self.branches if branch.is_default), None)


class Branch:
    def __init__(self, labels, is_default, deps, body, filename):
        self.labels, self.is_default, self.deps, self.body = labels, is_default, deps, body
        self.filename = filename
        self.blocks, self.filters = collect(body)


def collect(body):
    """The `variants` blocks of a body, the last first as they stand in names; and its filters."""
    blocks = [s for s in body if isinstance(s, Variants)]
    return blocks[::-1], [s for s in body if isinstance(s, Only)]


# ---- lines ----

class Line:
    __slots__ = ("indent", "text", "filename", "number")

    def __init__(self, raw, filename, number):
        expanded = raw.rstrip().expandtabs()
        self.text = expanded.lstrip()
        self.indent = len(expanded) - len(self.text)
        self.filename, self.number = filename, number

    def error(self, message, kind=ParserError):
        return kind(message, self.text, self.filename, self.number)


def lines_of(text, filename):
    """The lines that say something."""
    found = (Line(raw, filename, number) for number, raw in enumerate(re.split(r"\r?\n", text), 1))
    return [line for line in found if line.text and not line.text.startswith(("#", "//"))]


# ---- parsing ----

_OPERATOR = {True: re.compile(r"\?\+=|\?<=|\?=|\+=|<=|~=|="), False: re.compile(r"\?\+=|\?<=|\?=|\+=|<=|=")}
_HEAD = re.compile(r"variants(?:\s+([\w-]+)\s*((?:\[[^\]]*\]\s*)*))?\s*:$")
_BRANCH = re.compile(r"(-\s*)?(@)?\s*([\w-]+(?:\.[\w-]+)*)\s*:(.*)$")
_META = re.compile(r"\[\s*([\w-]+)\s*(?:=\s*([^\]]*?)\s*)?\]")


class Reader:
    """Reads lines into a body: a list of statements."""

    def __init__(self, dialect):
        self.dialect = dialect

    def read(self, lines):
        return self._body(lines, 0, len(lines), False)

    def _body(self, lines, at, end, conditional):
        """What the lines say, however deep they are: only a block's head looks at how its lines are indented."""
        body = []
        while at < end:
            statements, at = self._statement(lines, at, end, conditional)
            body += statements
        return body

    @staticmethod
    def _block_end(lines, at, end):
        stop = at + 1
        while stop < end and lines[stop].indent > lines[at].indent:
            stop += 1
        return stop

    def _statement(self, lines, at, end, conditional):
        """The statements that begin at a line, and the place of the next one's."""
        line = lines[at]
        word = re.match(r"[a-z]+(?=[\s:]|$)", line.text)
        word = word.group() if word else ""
        if word == "variants":
            if conditional:
                raise line.error("'variants' is not allowed inside a conditional block")
            stop = self._block_end(lines, at, end)
            return [self._variants(lines, at, stop)], stop
        if line.text.startswith("- "):
            raise line.error("Syntax error: a branch outside of 'variants'")
        simple = {"include": self._include, "only": self._only, "no": self._only, "del": self._delete}
        if self.dialect.modern:
            simple.update(suffix=self._suffix, join=self._join)
        if word in simple and not line.text[len(word):].startswith(":"):
            return simple[word](line, line.text[len(word):].strip(), conditional), at + 1
        operator = _OPERATOR[self.dialect.modern].search(line.text)
        colon = line.text.find(":")
        if operator and (colon < 0 or operator.start() < colon):
            return [self._assign(line, operator)], at + 1
        if colon >= 0:
            stop = self._block_end(lines, at, end)
            return [self._condition(lines, at, stop, line.text)], stop
        raise line.error("Syntax error")

    def _assign(self, line, operator):
        key, value = line.text[:operator.start()].strip(), line.text[operator.end():].strip()
        if not key:
            raise line.error("Syntax error: missing parameter")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        elif value in ("'", '"'):
            value = ""
        return Assign(key, operator.group(), value)

    def _without_comment(self, text):
        return text.partition("#")[0].rstrip() if self.dialect.comments else text

    def _filter(self, line, text):
        try:
            return Filter(self._without_comment(text), strict=self.dialect.modern)
        except FilterSyntaxError as e:
            raise line.error("Illegal characters in filter: %s" % e, LexerError) from None

    def _only(self, line, text, conditional):
        return [Only(line.text.startswith("only"), self._filter(line, text))]

    def _join(self, line, text, conditional):
        return [Join(self._filter(line, text).single())]

    def _suffix(self, line, text, conditional):
        if not re.fullmatch(r"[\w-]+", text):
            raise line.error("Syntax error: a suffix is one word")
        return [Suffix(text)]

    def _delete(self, line, text, conditional):
        if not text or (not self.dialect.dashless and not re.fullmatch(r"[\w-]+", text)):
            raise line.error("Syntax error: del takes a name")
        return [Delete(text)]

    def _include(self, line, text, conditional):
        if not text:
            raise line.error("Syntax error: missing parameter")
        path = os.path.expanduser(text)
        if line.filename is not None:
            path = os.path.join(os.path.dirname(line.filename), path)
        if not signals.isfile(path):
            if not self.dialect.modern:
                print("WARNING: %r (%s:%s): file does not exist" % (line.text, line.filename, line.number))
                return []
            raise MissingIncludeError(line.text, line.filename, line.number)
        with open(path, encoding="utf-8", errors="surrogateescape") as f:
            included = lines_of(f.read(), path)
        return self._body(included, 0, len(included), conditional)

    def _condition(self, lines, at, stop, text):
        line = lines[at]
        head, _, rest = text.partition(":")
        negated = head.startswith("!")
        filter = self._filter(line, head[1:] if negated else head)
        rest = rest.strip()
        if self.dialect.comments and rest.startswith("#"):
            rest = ""
        body = []
        if rest:
            inner = Line(rest, line.filename, line.number)
            inner.indent = line.indent
            nested = inner.text.partition(":")
            operator = _OPERATOR[self.dialect.modern].search(inner.text)
            if nested[1] and not (operator and operator.start() < len(nested[0])):
                return Condition(negated, filter, [self._condition(lines, at, stop, rest)])
            body = self._body([inner], 0, 1, True)
        return Condition(negated, filter, body + self._body(lines, at + 1, stop, True))

    # variants

    def _variants(self, lines, at, stop):
        line = lines[at]
        head = _HEAD.match(self._without_comment(line.text))
        if head is None or (head.group(1) and not self.dialect.modern):
            raise line.error('Syntax ERROR expected ":" or operand')
        block = Variants(head.group(1))
        default = dict(_META.findall(head.group(2) or "")).get("default")
        at += 1
        while at < stop:
            end = self._block_end(lines, at, stop)
            block.branches.append(self._branch(lines, at, end, block.name, default))
            at = end
        if default is not None and block.default() is None:
            raise line.error("Missing default variant %r" % default)
        if not block.branches and stop < len(lines):
            raise line.error("'variants' without a branch")
        return block

    def _branch(self, lines, at, end, var, default):
        line = lines[at]
        found = _BRANCH.match(self._without_comment(line.text))
        if found is None or not (found.group(1) or self.dialect.dashless):
            raise line.error("Illegal characters in variant name" if found is None else
                             "Syntax error: a branch begins with a dash")
        labels = [Label(text, var) for text in found.group(3).split(".")]
        is_default = bool(found.group(2)) or (default is not None and found.group(3) == default)
        return Branch(labels, is_default, self._deps(line, found.group(4)), self._body(lines, at + 1, end, False),
                      os.path.basename(line.filename) if line.filename else "<string>")

    def _deps(self, line, text):
        text = text.strip()
        if not text:
            return []
        self._filter(line, text)        # that it is one
        return [re.sub(r"\s", "", part) for part in re.findall(r"\([^)]*\)|[^\s,]+", text)]
