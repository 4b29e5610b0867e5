"""Modules import what is below them: no circle, and no name that is another module's own affair."""

import ast
import pathlib

import virtvm

ROOT = pathlib.Path(virtvm.__file__).parent

# A circle that only imports inside functions close, and why: every other one is a fault.
LOGIN = {"virtvm.companions.aexpect", "virtvm.companions.aexpect_2011", "virtvm.companions.login",
         "virtvm.companions.transfer", "virtvm.companions.virt_utils", "virtvm.session.remote"}
EXPLAINED = [
    # A login makes a session of the class that aexpect has at that moment, and an unpickled session logs in;
    # copies are logged by the log_line that virt_utils has at that moment.
    LOGIN,
]

# Modules that only give on what others have, by 0.1.0's names: some of those are private.
FACADES = {"virtvm.companions.aexpect", "virtvm.companions.virt_utils"}
# (module, what it uses): why.
PRIVATE = {
    ("virtvm.cli", "virtvm._bundled"): "a wheel alone has it",
    ("virtvm.companions.login", "virtvm.companions.aexpect._Deadline"): "by 0.1.0's name, for those who patch it",
    ("virtvm.session.tail", "virtvm.session.callbacks._PATIENCE"): "by 0.1.0's name, for those who patch it",
}


def name_of(path):
    parts = ("virtvm", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def import_statements(node, within=False):
    """(statement, whether it is in a function) of all imports."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, within
        else:
            yield from import_statements(child, within or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef,
                                                                             ast.Lambda)))


def imported(statement):
    """(module of ours, name in it or None, what it is called here) of an import."""
    for alias in statement.names:
        module, name = alias.name, None
        if isinstance(statement, ast.ImportFrom):
            assert not statement.level, "a relative import"
            module, name = statement.module, alias.name
            if "%s.%s" % (module, name) in MODULES:
                module, name = "%s.%s" % (module, name), None
        if module.partition(".")[0] == "virtvm":
            yield module, name, alias.asname or alias.name


def imports(tree, also_within):
    """Names of the modules (set) that are imported."""
    return {module for statement, within in import_statements(tree) if also_within or not within
            for module, _, _ in imported(statement)}


def circles(graph):
    """Sets of nodes that reach each other."""
    reached = {node: set() for node in graph}
    for node, found in reached.items():
        todo = [node]
        while todo:
            new = graph.get(todo.pop(), set()) - found
            found |= new
            todo += new
    return {frozenset(other for other in reached[node] if node in reached.get(other, ())) for node in graph} - {
        frozenset()}


TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def test_no_circle():
    assert not circles({name: imports(tree, False) for name, tree in TREES.items()})


def test_no_circle_behind_imports_in_functions():
    found = circles({name: imports(tree, True) for name, tree in TREES.items()})
    assert found <= set(map(frozenset, EXPLAINED)), "circles: %s" % sorted(map(sorted, found))


def is_private(name):
    return name is not None and name.startswith("_") and not name.startswith("__")


def private_names(tree):
    """Names (str, with their module) of other modules that are not for others."""
    here = {}
    for statement, _ in import_statements(tree):
        for module, name, called in imported(statement):
            if is_private(name) and "%s.%s" % (module, name) not in MODULES:
                yield "%s.%s" % (module, name)
            if name is None:
                here[called] = module
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in here \
                and is_private(node.attr) and "%s.%s" % (here[node.value.id], node.attr) not in MODULES:
            yield "%s.%s" % (here[node.value.id], node.attr)


def test_nothing_private_of_another_module():
    found = {(name, private) for name, tree in TREES.items() if name not in FACADES
             for private in private_names(tree)}
    assert found == set(PRIVATE)


def test_circles_and_private_names_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": {"x"}, "e": {"e"}}) == {
        frozenset({"b", "c"}), frozenset({"e"})}
    tree = ast.parse("from virtvm import signals as s\nfrom virtvm.signals import _told\n\n"
                     "def f():\n    import virtvm.scratch\n    s._code(f._x)\n")
    assert imports(tree, False) == {"virtvm.signals"}
    assert imports(tree, True) == {"virtvm.signals", "virtvm.scratch"}
    assert sorted(private_names(tree)) == ["virtvm.signals._code", "virtvm.signals._told"]
