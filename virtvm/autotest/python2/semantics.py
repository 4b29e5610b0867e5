"""What Python 2 meant, in a syntax tree of Python 3.

Operators, calls and attributes whose meaning has changed become calls of
virtvm.autotest.python2.runtime; nothing moves to another line.  What cannot be
given its meaning is noted as a problem.
"""

import ast
import re

from virtvm.autotest.python2 import dialect
from virtvm.autotest.python2 import builtins, modules, runtime
from virtvm.autotest.python2.syntax import HELPERS

_EXCEPTION = "__virtvm_e%d"

# Calls of builtin types whose arguments may be strings of Python 2.
_CALLS = {"bytearray": "bytearray_", "str": "str_", "unicode": "unicode_"}
_METHODS = {"encode": "encode", "decode": "decode", "sort": "sort", "translate": "translate"}
_VIEWS = {"keys", "values", "items"}
_CODE = {"eval", "exec"}
# Where only what comes out one by one matters, these mean the same.
_ITERATED = {"range", "zip", "map", "filter"}

# Methods of classes: the name that Python 3 asks for, and what it is.
_RENAMED = {"__nonzero__": "__bool__", "__div__": "__truediv__", "__rdiv__": "__rtruediv__",
            "__idiv__": "__itruediv__", "next": "__next__", "__getslice__": None,
            "__setslice__": None, "__delslice__": None, "__coerce__": None}
_BY_CMP = {"__lt__": "lt", "__le__": "le", "__eq__": "eq", "__gt__": "gt", "__ge__": "ge", "__ne__": "ne"}

_ORDER = {ast.Lt: "less", ast.LtE: "less_or_equal", ast.Gt: "greater", ast.GtE: "greater_or_equal"}
# In a chain `is` asks what it compares with, as `in` does.
_IDENTITY = {ast.Is: ast.In, ast.IsNot: ast.NotIn}
_LINKS = dict.fromkeys(_IDENTITY, "Identified")
_UNICODE_TEXT = re.compile(r"(?<![\w-])u(?='[^'\n]*'|\"[^\"\n]*\")")


def translate(tree, marks):
    """Give tree (changed in place) Python 2's meaning; return a Translation.

    marks: what the names that virtvm.autotest.python2.syntax left behind stand for.
    SyntaxError, with a line, for what Python 3 has no place for.
    """
    translation = Translation(tree, marks)
    translation.run()
    return translation


def _leaks(scope):
    """Names that a function, class or module takes from the inside of a list: [(node, name)].

    A module's are seen in its functions, too.
    """
    inside, outside, used, functions = set(), set(), [], []

    def look(node, comprehended):
        if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            outside.add(getattr(node, "name", ""))
            functions.append(node)
            return
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                (inside if node.id in comprehended else outside).add(node.id)
            elif node.id not in comprehended:
                used.append(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            outside.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ExceptHandler):
            outside.add(node.name)
        elif isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            comprehended = comprehended | {n.id for generator in node.generators
                                           for n in ast.walk(generator.target) if isinstance(n, ast.Name)}
        for child in ast.iter_child_nodes(node):
            look(child, comprehended)

    for child in scope.body:
        look(child, frozenset())
    arguments = {arg.arg for arg in ast.walk(getattr(scope, "args", ast.Module([], []))) if isinstance(arg, ast.arg)}
    leaked = inside - outside - arguments
    if isinstance(scope, ast.Module):
        for function in functions if leaked else ():
            bound = _bound_names(function)
            used += [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id not in bound]
    return [(node, node.id) for node in used if node.id in leaked]


class _Scope:
    """What is known of the function, class or module being visited."""

    def __init__(self, node):
        self.node = node
        self.caught = set()             # names that except clauses bind
        self._used = set()              # names that are used, but for those within their clauses
        body = node.body if isinstance(node.body, list) else [node.body]
        for child in body:
            self._look(child, frozenset())

    def _look(self, node, bound):
        if isinstance(node, ast.ExceptHandler) and node.name:
            self.caught.add(node.name)
            bound = bound | {node.name}
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in bound:
            self._used.add(node.id)
        for child in ast.iter_child_nodes(node):
            self._look(child, bound)

    def outlives(self, name):
        """Whether what an except clause binds is used outside of it."""
        return name in self._used

    def is_function(self):
        return isinstance(self.node, (ast.FunctionDef, ast.Lambda))


class Translation(ast.NodeTransformer):
    """One tree.  changes: how many; problems: [(node, reason)]."""

    def __init__(self, tree, marks):
        self.tree, self.marks = tree, marks
        self.changes = 0
        self.problems = []
        self._scopes = []
        self._exceptions = 0
        self._bound = _bound_names(tree)
        self._modules = _module_names(tree)
        self._module_level = _bound_names(ast.Module([
            node for node in tree.body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))], []))
        self._module_level |= {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        self._true_division = dialect.has_true_division(tree)

    def run(self):
        self.visit(self.tree)
        ast.fix_missing_locations(self.tree)

    # Tools

    def helper(self, node, name, *args):
        """A call of a function of runtime, at the place of node."""
        self.changes += 1
        function = ast.Attribute(ast.Name(HELPERS, ast.Load()), name, ast.Load())
        call = ast.Call(function, list(args), [])
        for new in (call, function, function.value):
            ast.copy_location(new, node)
        return call

    def assign(self, node, target, value):
        """target (source text) = value, at the place of node; a list of statements."""
        self.changes += 1
        statements = ast.parse("%s = None" % target.strip()).body
        statements[0].value = value
        for new in ast.walk(statements[0]):
            if new is not value:
                ast.copy_location(new, node)
        return statements

    def problem(self, node, reason):
        self.problems.append((node, reason))

    def is_builtin(self, node, names):
        """Whether node is the name of one of these builtins, and nobody has rebound it."""
        return isinstance(node, ast.Name) and node.id in names and node.id not in self._bound

    # Scopes

    def visit_Module(self, node):
        self._tell_leaks(node, ())
        return self._scope(node)

    def _tell_leaks(self, scope, known):
        for use, name in _leaks(scope):
            if name not in known:
                self.problem(use, "%s is known within the list only" % name)

    def _scope(self, node):
        self._scopes.append(_Scope(node))
        self.generic_visit(node)
        self._scopes.pop()
        return node

    def visit_FunctionDef(self, node):
        self._hoist_globals(node)
        self._tell_leaks(node, self._module_level)
        self._scope(node)
        unpacking = []
        for arg in node.args.args:
            if arg.arg in self.marks:
                unpacking += self.assign(node, self.marks[arg.arg], ast.copy_location(
                    ast.Name(arg.arg, ast.Load()), node))
        if unpacking:
            at = 1 if ast.get_docstring(node, clean=False) is not None else 0
            node.body[at:at] = unpacking
        return node

    @staticmethod
    def _hoist_globals(function):
        """Python 2 let a name be used before it was declared global."""
        found = []

        def replace(statements):
            for i, statement in enumerate(statements):
                if isinstance(statement, ast.Global):
                    found.append(statement)
                    statements[i] = ast.copy_location(ast.Pass(), statement)
                elif not isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                    for part in ("body", "orelse", "finalbody"):
                        replace(getattr(statement, part, []))
                    for handler in getattr(statement, "handlers", []):
                        replace(handler.body)

        replace(function.body)
        if found:
            at = 1 if ast.get_docstring(function, clean=False) is not None else 0
            names = list(dict.fromkeys(name for statement in found for name in statement.names))
            function.body.insert(at, ast.copy_location(ast.Global(names), function.body[0]))

    def visit_Lambda(self, node):
        for arg in node.args.args:
            if arg.arg in self.marks:
                self.changes += 1
                paths = _item_paths(ast.parse(self.marks[arg.arg].strip(), mode="eval").body, ())
                node.body = _Substitute(arg.arg, paths).visit(node.body)
        return self._scope(node)

    def visit_ClassDef(self, node):
        self._tell_leaks(node, self._module_level)
        self._scope(node)
        methods = {child.name for child in node.body if isinstance(child, ast.FunctionDef)}
        names = methods | {target.id for child in node.body if isinstance(child, ast.Assign)
                  for target in child.targets if isinstance(target, ast.Name)}
        self._metaclass(node)
        for old, new in _RENAMED.items():
            if old in names and new is None:
                self.problem(node, "class %s: Python 3 does not call %s" % (node.name, old))
            elif old in methods and new not in names:
                node.body += self.assign(node, new, ast.Name(old, ast.Load()))
        if "__cmp__" in names:
            for new, helper in _BY_CMP.items():
                if new not in names:
                    node.body += self.assign(node, new, self._runtime(node, helper))
        if names & {"__cmp__", "__eq__"} and "__hash__" not in names:
            node.body += self.assign(node, "__hash__", self._runtime(node, "object_hash"))
        is_old = not any(isinstance(base, ast.Name) and base.id == "object" for base in node.bases)
        if "__getinitargs__" in names and is_old and not names & {"__reduce__", "__reduce_ex__"}:
            node.body += self.assign(node, "__reduce__", self._runtime(node, "reduce"))
        return node

    def _runtime(self, node, name):
        call = self.helper(node, name)
        return call.func

    def _metaclass(self, node):
        for child in node.body:
            if isinstance(child, ast.Assign) and isinstance(child.targets[0], ast.Name) \
                    and child.targets[0].id == "__metaclass__":
                self.changes += 1
                node.keywords.append(ast.keyword("metaclass", child.value))
                child.value = ast.copy_location(ast.Constant(None), child)

    # Exceptions

    def visit_ExceptHandler(self, node):
        scope = self._scopes[-1]
        self.generic_visit(node)
        if node.name in self.marks:
            value = ast.copy_location(ast.Name(node.name, ast.Load()), node)
            if isinstance(ast.parse(self.marks[node.name].strip(), mode="eval").body, (ast.Tuple, ast.List)):
                value = self.helper(node, "items", value)
            node.body[:0] = self.assign(node, self.marks[node.name], value)
        elif node.name and scope.outlives(node.name):
            # Python 3 forgets it at the end of the clause.
            hidden, self._exceptions = _EXCEPTION % self._exceptions, self._exceptions + 1
            node.body[:0] = self.assign(node, node.name, ast.copy_location(
                ast.Name(hidden, ast.Load()), node))
            node.name = hidden
        return node

    def visit_Raise(self, node):
        if isinstance(node.exc, ast.Constant) and isinstance(node.exc.value, str):
            self.problem(node, "a string can't be raised")
        return self.generic_visit(node)

    def _is_caught(self, node):
        return isinstance(node, ast.Name) and any(node.id in scope.caught for scope in self._scopes)

    def visit_Subscript(self, node):
        caught = self._is_caught(node.value)
        self.generic_visit(node)
        if caught and isinstance(node.ctx, ast.Load) and not isinstance(node.slice, ast.Slice):
            index = node.slice.value if node.slice.__class__.__name__ == "Index" else node.slice
            return self.helper(node, "item", node.value, index)
        return node

    def visit_Assign(self, node):
        caught = self._is_caught(node.value) and isinstance(node.targets[0], (ast.Tuple, ast.List))
        self.generic_visit(node)
        if caught:
            node.value = self.helper(node.value, "items", node.value)
        return node

    # Operators

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if isinstance(node.op, ast.Div) and not self._true_division \
                and not _is_float(node.left) and not _is_float(node.right):
            return self.helper(node, "div", node.left, node.right)
        return node

    def visit_AugAssign(self, node):
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div) or self._true_division or _is_float(node.value):
            return node
        if isinstance(node.target, ast.Name):
            value = self.helper(node, "div", ast.copy_location(
                ast.Name(node.target.id, ast.Load()), node.target), node.value)
            return ast.copy_location(ast.Assign([node.target], value), node)
        node.value = self.helper(node.value, "Divisor", node.value)
        return node

    def visit_Compare(self, node):
        self.generic_visit(node)
        kinds = {type(op) for op in node.ops}
        if not kinds & set(_ORDER):
            return node
        before = self.changes
        if len(node.ops) == 1:
            node = self.helper(node, _ORDER[kinds.pop()], node.left, node.comparators[0])
        else:
            # Python's own chain, of things that compare as Python 2's: each is evaluated once, or not at all.
            node.left = self.helper(node.left, "Compared", node.left)
            node.comparators = [self.helper(value, _LINKS.get(type(op), "Compared"), value)
                                for op, value in zip(node.ops, node.comparators)]
            node.ops = [_IDENTITY.get(type(op), type(op))() for op in node.ops]
        self.changes = before           # the same for what both Pythons compare
        return node

    # Names, calls and attributes

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Load) and self.is_builtin(node, builtins.NAMES) \
                and node.id not in builtins.ALIKE:
            self.changes += 1
        return node

    def visit_Expr(self, node):
        # A docstring, or one among the statements: nobody compares it.
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def _visit_iterated(self, node):
        """What is only iterated over may be an iterator, too."""
        plain = isinstance(node.iter, ast.Call) and self.is_builtin(node.iter.func, _ITERATED)
        before = self.changes
        if plain and node.iter.func.id != "range":
            plain = not any(isinstance(arg, ast.Constant) and arg.value is None for arg in node.iter.args) \
                and len(node.iter.args) == 2
        if plain:
            self.visit(node.iter.func)
            self.changes = before       # the name does not count
            node.iter.args = [self.visit(arg) for arg in node.iter.args]
        else:
            node.iter = self.visit(node.iter)

    def visit_For(self, node):
        self._visit_iterated(node)
        node.target = self.visit(node.target)
        for part in ("body", "orelse"):
            statements = []
            for statement in getattr(node, part):
                new = self.visit(statement)
                statements += new if isinstance(new, list) else [new]
            setattr(node, part, statements)
        return node

    def visit_Call(self, node):
        function = node.func
        if isinstance(function, ast.Attribute):
            return self._method(node, function)
        self.generic_visit(node)
        if self.is_builtin(function, {"sorted"}) and not _compares(node.args[1:], node.keywords):
            self.changes -= 1           # the name does not count
        if self.is_builtin(function, _CALLS):
            node.func = self._runtime(node, _CALLS[function.id])
            if function.id == "str":
                self.changes -= 1       # the same for what both Pythons know
        elif self.is_builtin(function, _CODE) and node.args:
            if function.id == "exec" and len(node.args) == 1 and self._scopes[-1].is_function():
                self.problem(node, "exec in a function: names that it sets are not seen by the function")
            node.args[0] = self.helper(node.args[0], "code", node.args[0],
                                       ast.copy_location(ast.Constant(function.id), node))
        return node

    def _method(self, node, function):
        name, count = function.attr, len(node.args)
        if name in _METHODS and (name != "translate" or count == 2):
            node.args = [self.visit(arg) for arg in node.args]
            node.keywords = [self.visit(keyword) for keyword in node.keywords]
            call = self.helper(node, _METHODS[name], self.visit(function.value), *node.args)
            call.keywords = node.keywords
            if name == "sort" and not _compares(node.args, node.keywords):
                self.changes -= 1
            return call
        self.generic_visit(node)
        if name in _VIEWS and not count and not node.keywords:
            return self.helper(node, "listed", node)
        return node

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            return node
        if isinstance(node.value, ast.Name):
            added = modules.ADDED.get(self._modules.get(node.value.id), ())
            if node.attr in added:
                self.changes += 1
        if node.attr == "walk" and isinstance(node.value, ast.Attribute) and node.value.attr == "path":
            return self._runtime(node, "path_walk")
        if node.attr in runtime.ATTRIBUTES and not (node.attr == "warn" and _is_named(node.value, "warnings")):
            return self.helper(node, "attr", node.value, ast.copy_location(ast.Constant(node.attr), node))
        return node

    def visit_Constant(self, node):
        if isinstance(node.value, bytes):
            self.changes += 1
            return ast.copy_location(ast.Constant(str(node.value, "latin-1")), node)
        if isinstance(node.value, str) and _UNICODE_TEXT.search(node.value):
            # Compared with the text of a dictionary or list that came from JSON.
            self.changes += 1
            return ast.copy_location(ast.Constant(_UNICODE_TEXT.sub("", node.value)), node)
        return node

    # Imports

    def visit_Import(self, node):
        for name in dialect.imported(node):
            if name in modules.RENAMED or name in modules.OTHER or name in ("urllib", "pipes"):
                self.changes += 1
        return node

    def visit_ImportFrom(self, node):
        self.visit_Import(node)
        if node.names[0].name == "*" and self._scopes[-1].is_function():
            raise SyntaxError("import * only allowed at module level", (None, node.lineno, 1, None))
        added = modules.ADDED.get(node.module, ()) if not node.level else ()
        if any(alias.name in added for alias in node.names):
            self.changes += 1
        return node

    # Comprehensions

    def visit_comprehension(self, node):
        self._visit_iterated(node)
        node.target = self.visit(node.target)
        node.ifs = [self.visit(test) for test in node.ifs]
        return node


def _bound_names(tree):
    """Names that something in the source is bound to, other than by an import."""
    bound = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
    return bound


def _module_names(tree):
    """What names stand for modules (name: module)."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = alias.name
    return found


def _is_named(node, name):
    return isinstance(node, ast.Name) and node.id == name


def _compares(args, keywords):
    """Whether sort() or sorted() is given a comparison."""
    return bool(args) or any(keyword.arg in ("cmp", None) for keyword in keywords)


def _is_float(node):
    """Whether an expression certainly has no whole number."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (float, complex))
    if isinstance(node, ast.UnaryOp):
        return _is_float(node.operand)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"


def _item_paths(target, path):
    """{name: the indexes that lead to it} of a parameter with a structure."""
    if isinstance(target, ast.Name):
        return {target.id: path}
    paths = {}
    for i, element in enumerate(target.elts):
        paths.update(_item_paths(element, path + (i,)))
    return paths


class _Substitute(ast.NodeTransformer):
    """Names in a lambda that stand for parts of a parameter."""

    def __init__(self, parameter, paths):
        self._parameter, self._paths = parameter, paths

    def visit_Name(self, node):
        if node.id not in self._paths:
            return node
        value = ast.Name(self._parameter, ast.Load())
        for index in self._paths[node.id]:
            value = ast.Subscript(value, ast.Constant(index), ast.Load())
        for new in ast.walk(value):
            ast.copy_location(new, node)
        return value
