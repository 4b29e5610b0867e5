"""Filters: "a, b..c.d" means names with the label a, or with b and somewhere c next to d."""

import re

_TOKEN = re.compile(r"\(\s*([\w-]+)\s*(?:=\s*([\w-]+)\s*)?\)|([\w-]+)|(\.\.)|(\.)|(,)|(\s+)")


class Label:
    """A part of a name.  var: the name of its `variants` block, or None."""

    __slots__ = ("text", "var")

    def __init__(self, text, var=None):
        self.text, self.var = text, var

    def __str__(self):
        return "(%s=%s)" % (self.var, self.text) if self.var else self.text

    def means(self, other):
        """Whether this label of a filter is that label of a name."""
        return self.text == other.text and (self.var is None or self.var == other.var)


class FilterSyntaxError(ValueError):
    """Text that is no filter."""


class Filter:
    """Alternatives; each is a list of runs of adjacent labels, all of which must be there."""

    def __init__(self, text, strict=True):
        self.text = text.strip()
        self.terms = _parse(self.text, strict)

    def matches(self, name):
        """Whether it means that name (list of Label)."""
        return any(all(_has_run(run, name) for run in term) for term in self.terms)

    def may_match(self, name, possible):
        """Whether it may mean a name that begins so and goes on with labels of `possible`.

        possible: set of texts.  True if unsure.
        """
        have = {label.text for label in name}
        return any(all(label.text in have or label.text in possible for run in term for label in run)
                   for term in self.terms)

    def single(self):
        """Each alternative as a Filter of its own (list)."""
        found = []
        for term in self.terms:
            one = Filter.__new__(Filter)
            one.text, one.terms = self.text, [term]
            found.append(one)
        return found


def _has_run(run, name):
    first, length = run[0], len(run)
    for at in range(len(name) - length + 1):
        if first.means(name[at]) and all(run[i].means(name[at + i]) for i in range(1, length)):
            return True
    return False


def _tokens(text):
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise FilterSyntaxError("unexpected %r" % text[at])
        at = found.end()
        yield found


def _parse(text, strict):
    terms, runs, run = [], [], []
    glue = "start"              # what stood before: start, label, dot, dots, comma, blank
    for found in _tokens(text):
        inner, value, plain, dots, dot, comma, _blank = found.groups()
        if inner or plain:
            label = Label(value, inner) if value else Label(inner or plain)
            if glue == "label":
                raise FilterSyntaxError("unexpected %r" % found.group())
            if glue == "dot":
                run.append(label)
            else:
                if glue != "dots":
                    runs = []
                    terms.append(runs)
                run = [label]
                runs.append(run)
            glue = "label"
        elif dots or dot:
            if glue != "label":
                raise FilterSyntaxError("a label must stand before %r" % found.group())
            glue = "dots" if dots else "dot"
        elif glue in ("dot", "dots"):
            raise FilterSyntaxError("a label must stand after a dot")
        elif comma:
            if strict and glue == "comma":
                raise FilterSyntaxError("two commas")
            glue = "comma"
        elif glue == "label":
            glue = "blank"
    if glue in ("dot", "dots"):
        raise FilterSyntaxError("a label must stand after a dot")
    if not terms:
        raise FilterSyntaxError("no label")
    return terms
