"""Autotest's configuration format: variants that multiply into dicts of params.

The format is that of autotest (2011) and avocado-vt (today's); docs/configuration.rst tells
what they agree on and where they differ.
"""

from virtvm.autotest.variants.expand import Expander
from virtvm.autotest.variants.syntax import (
    DIALECTS, Assign, LexerError, MissingIncludeError, ParserError, Reader, lines_of)

__all__ = ["LexerError", "MissingIncludeError", "Parser", "ParserError", "print_dicts"]


class Parser:
    """A configuration, from files and strings, each of which goes on where the last one ended.

    filename: a first file (str).  defaults: expand only the default branch of each block that
    has one, except the blocks named in expand_defaults.  dialect: 2011, 2026, or None for all
    that either takes.
    """

    def __init__(self, filename=None, defaults=False, expand_defaults=(), debug=False, dialect=None):
        self.defaults, self.expand_defaults, self.debug = defaults, list(expand_defaults), debug
        self.only_filters, self.no_filters, self.assignments = [], [], []
        self.filename = filename
        self._dialect = DIALECTS[dialect]
        self._body = []
        self.visited = 0                # nodes that the last get_dicts() looked at
        if filename:
            self.parse_file(filename)

    def parse_file(self, filename):
        """Go on with a file.  Raises ParserError, MissingIncludeError, OSError."""
        with open(filename, encoding="utf-8", errors="surrogateescape") as f:
            self._parse(f.read(), filename)
        self.filename = filename

    def parse_string(self, text):
        """Go on with a text."""
        self._parse(text, None)

    def _parse(self, text, filename):
        self._body = self._body + Reader(self._dialect).read(lines_of(text, filename))

    def only_filter(self, text):
        """Keep only results that the filter means."""
        self.only_filters.append(text)
        self.parse_string("only %s" % text)

    def no_filter(self, text):
        """Drop the results that the filter means."""
        self.no_filters.append(text)
        self.parse_string("no %s" % text)

    def assign(self, key, value):
        """Set a param of all results."""
        self.assignments.append((key, value))
        self.parse_string("%s = %s" % (key, value))

    def put(self, key, value):
        """As assign(), whatever is in the value: it is not read as this format."""
        self._body = self._body + [Assign(key, "=", value, literal=True)]

    def common(self):
        """What is said outside of variants (dict): the params of a result without any."""
        return Expander(self._body, self._dialect).common()

    def get_dicts(self):
        """Yield the results (dicts of texts; `dep` is a list).  May be called again."""
        expander = Expander(self._body, self._dialect, self.defaults, self.expand_defaults)
        for found in expander.dicts():
            self.visited = expander.visited
            yield found
        self.visited = expander.visited


def print_dicts(parser, contents=False, out=print):
    """Print the results' names; with contents their params, too."""
    for number, params in enumerate(parser.get_dicts(), 1):
        out("dict %4d:  %s" % (number, params["shortname"]))
        if contents:
            for key in sorted(params):
                out("    %s = %s" % (key, params[key]))
