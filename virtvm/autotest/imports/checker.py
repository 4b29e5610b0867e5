"""What will not work in a test, found without running it.

Looked at: whether it can be read, as Python 3 or as Python 2; what has no translation;
and whether everything that it imports, and every name that it takes from what it
imports, is to be had: from us, from the user's tree, from files beside it, or from
what is installed.
"""

import ast
import collections
import importlib
import importlib.util
import os
import sys

from virtvm import signals
from virtvm.autotest.imports import finder, names
from virtvm.autotest.imports.loader import is_stdlib
from virtvm.autotest.imports.problem import Problem
from virtvm.autotest.python2 import translate
from virtvm.companions import _host

# One file: kind is "Python 3", "either", "Python 2" (translated) or "unreadable".
Report = collections.namedtuple("Report", "path kind problems")

_NOT_IMPORTED = {"antigravity", "idlelib", "this", "tkinter", "turtle", "turtledemo"}     # they do something


def check(paths):
    """virtvm.autotest.check()."""
    return [problem for report in examine(paths) for problem in report.problems]


def examine(paths):
    """What there is to say of each file (list of Report): the given ones, and those they import."""
    finder.install()
    waiting = [os.path.abspath(path) for path in paths]
    shown = dict(zip(waiting, paths))
    for path in waiting:
        finder.current().add_tests_dir(os.path.dirname(path))
    reports, seen = [], set()
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        finder.current().use_tree_around(path)
        check_file = _File(path, shown.get(path, path))
        reports.append(check_file.report())
        waiting += check_file.imported
    return reports


class _Names(ast.NodeVisitor):
    """What a source imports, and what it takes from that."""

    def __init__(self):
        self.imports = []           # (node, module, name or None): import statements
        self.uses = []              # (node, local name, attribute)
        self.bound = {}             # local name: (module, name or None)
        self.stored = set()         # names that become something else, too
        self.wildcard = False       # `from x import *`: names may come from anywhere
        self._guarded = 0

    def visit_Try(self, node):
        # What is tried for is not missed.
        guarded = any(handler.type is None or {"ImportError", "AttributeError", "NameError", "Exception"}
                      & {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)}
                      for handler in node.handlers)
        self._guarded += guarded
        for statement in node.body:
            self.visit(statement)
        self._guarded -= guarded
        for statement in node.handlers + node.orelse + node.finalbody:
            self.visit(statement)

    def visit_Import(self, node):
        for alias in node.names:
            self._add(node, alias.name, None)
            if alias.asname or "." not in alias.name:
                self.bound[alias.asname or alias.name] = alias.name, None

    def visit_ImportFrom(self, node):
        if node.level or node.module == "__future__":
            return
        for alias in node.names:
            if alias.name == "*":
                self.wildcard = True
                self._add(node, node.module, None)
            else:
                self._add(node, node.module, alias.name)
                self.bound[alias.asname or alias.name] = node.module, alias.name

    def _add(self, node, module, name):
        if not self._guarded:
            self.imports.append((node, module, name))

    def visit_Name(self, node):
        if not isinstance(node.ctx, ast.Load):
            self.stored.add(node.id)

    def visit_arg(self, node):
        self.stored.add(node.arg)

    def visit_Attribute(self, node):
        if isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Load) and not self._guarded:
            self.uses.append((node, node.value.id, node.attr))
        self.generic_visit(node)


class _File:
    """The check of one file."""

    def __init__(self, path, shown):
        self.path, self._shown = path, shown
        self.imported = []          # files that it imports, of the user's tests
        self._problems = []
        self._is_python2 = True
        self._finder = finder.current()

    def report(self):
        """The Report of this file."""
        kind = "unreadable"
        try:
            kind = self._look()
        except SyntaxError as e:
            self._problems.append(Problem(self._shown, e.lineno or 1, e.offset or 1, e.msg))
        except OSError as e:
            signals.let_out(e)
            self._problems.append(Problem(self._shown, 1, 1, e.strerror))
        problems = sorted(dict.fromkeys(self._problems), key=lambda problem: problem[1:])
        return Report(self._shown, kind, problems)

    def _add(self, node, reason):
        self._problems.append(Problem(self._shown, node.lineno, max(node.col_offset, 0) + 1, reason))

    def _look(self):
        found = _Names()
        text = translate.read(self.path)
        analysis = translate.analyse(text, self.path, look=found.visit)
        translate.translated(self.path)             # whether it compiles
        self._is_python2 = analysis.is_python2
        for node, reason in analysis.problems:
            self._add(node, reason)
        for node, module, name in found.imports:
            self._check_import(node, module, name)
        self._check_uses(found)
        if analysis.is_python2:
            return "Python 2"
        return "either" if analysis.is_either else "Python 3"

    # Imports

    def _check_import(self, node, module, name):
        place = self._place(module)
        if place is None:
            self._add(node, self._missing_module(module))
            return
        if name is None:
            return
        kind, where = place
        if kind == "package":
            below = self._place("autotest_lib.%s.%s" % (where, name))
            if below is None:
                self._add(node, self._missing_module("%s.%s" % (module, name)))
        elif not self._has(place, name):
            self._add(node, self._missing_name(module, name))

    def _check_uses(self, found):
        for node, local, attribute in found.uses:
            if local not in found.bound or local in found.stored:
                continue
            module, name = found.bound[local]
            if name is not None:
                place = self._place(module)
                if place is None or place[0] != "package":
                    continue            # a function or class: what it has is not known
                module = "%s.%s" % (module, name)
            place = self._place(module)
            if place is not None and place[0] != "package" and not self._has(place, attribute):
                self._add(node, self._missing_name(module, attribute))

    def _missing_module(self, module):
        if module.partition(".")[0] not in _host.ROOTS:
            return "no module named %s here" % module
        return self._missing(module)

    def _missing_name(self, module, name):
        place = self._place(module)
        if place[0] == "ours":
            return self._missing("%s.%s" % (module.rpartition(".")[2], name))
        if place[0] == "file":
            return "%s has no %s" % (os.path.basename(place[1]), name)
        return "Python %d.%d's %s has no %s" % (sys.version_info[:2] + (module, name))

    def _missing(self, what):
        tree = self._finder.tree
        if tree is None:
            return "%s is not one of ours; give an autotest tree that has it (--autotest-dir)" % what
        return "%s is neither ours nor in %s" % (what, tree.client)

    # Where modules are

    def _place(self, module):
        """(kind, where) of a module, or None: ours, package, file, library or other."""
        root, _, name = module.partition(".")
        if root in _host.ROOTS:
            return self._place_in_autotest(name) if name else ("package", "client")
        if module == "common":
            return "other", None
        own = self._finder.tree.name(self.path) if self._finder.tree else None
        if own is not None:
            beside = self._place_in_autotest("%s.%s" % (own.rpartition(".")[0], root))
            if beside is not None:
                return beside
        if root in names.BARE:
            found = self._place_in_autotest(names.BARE[root])
            if found is not None:
                return found
        return self._place_beside(root) or self._place_in_library(module, root)

    def _place_in_autotest(self, name):
        ours = names.ours(name)
        if ours is not None:
            return "ours", name
        if name in names.PACKAGES:
            return "package", name
        path = self._finder.test_file(name)
        if path is not None:
            self.imported.append(path)
            return "file", path
        tree = self._finder.tree
        if tree is None:
            return None
        path = tree.file(name)
        if path is not None:
            return "file", path
        return ("package", name) if tree.folder(name) else None

    def _place_beside(self, name):
        path = os.path.join(os.path.dirname(self.path), name + ".py")
        if not signals.isfile(path) or is_stdlib(name) or self._is_python2 and self._has_python2(name):
            return None
        self.imported.append(path)
        return "file", path

    @staticmethod
    def _has_python2(name):
        from virtvm.autotest.python2 import modules
        return name in modules.NAMES

    def _place_in_library(self, module, root):
        if self._is_python2 and (self._has_python2(module) or self._has_python2(root)):
            from virtvm.autotest import python2
            if python2.module(module, ("x",)) is not None:
                return "library", module
        try:
            if importlib.util.find_spec(root) is None:
                return None
        except (ImportError, ValueError):
            return None
        return "library" if module == root and is_stdlib(root) else "other", module

    # What they have

    def _has(self, place, name):
        """Whether a module has a name (bool); True if that can't be known."""
        kind, where = place
        if kind == "ours":
            module = importlib.import_module(names.ours(where))
            if name in vars(module) or name in getattr(module, "__all__", ()):
                return True
            genuine = self._finder.genuine_names(names.ours(where))
            return any(_file_has(self._finder.tree.file(other), name) for other in genuine)
        if kind == "file":
            return _file_has(where, name)
        if kind == "library" and where not in _NOT_IMPORTED:
            return self._library_has(where, name)
        return True

    def _library_has(self, name, attribute):
        module = None
        if self._is_python2:
            from virtvm.autotest import python2
            module = python2.module(name, ("x",))
        try:
            module = module or importlib.import_module(name)
        except ImportError:
            return True
        # A package may have a module of this name that nobody has imported yet.
        return hasattr(module, attribute) or hasattr(module, "__path__")


def _file_has(path, name):
    """Whether the top level of a file binds a name (bool)."""
    if path not in _top_levels:
        _top_levels[path] = _top_level(path)
    bound = _top_levels[path]
    return bound is None or name in bound


_top_levels = {}


def _top_level(path):
    """Names that a file's top level binds (set), None if that can't be known."""
    found = _Names()
    try:
        tree = translate.analyse(translate.read(path), path, look=found.visit).tree
    except (OSError, SyntaxError) as e:
        signals.let_out(e)
        return None                 # that is said elsewhere
    if found.wildcard:
        return None
    bound = set()
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            bound.add(node.name)
            continue
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        waiting.extend(ast.iter_child_nodes(node))
    return bound
