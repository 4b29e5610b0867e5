"""Which Python a source that Python 3 compiles was written for."""

import ast

# Modules that only Python 3 has, or that only new tests import.
_MODULES = {"asyncio", "builtins", "concurrent", "configparser", "contextvars", "copyreg", "dataclasses",
            "enum", "faulthandler", "html", "http", "ipaddress", "pathlib", "pytest", "queue", "reprlib",
            "secrets", "selectors", "six", "socketserver", "statistics", "tkinter", "tracemalloc", "typing",
            "virtvm", "xmlrpc", "zipapp"}
_NODES = tuple(getattr(ast, name) for name in (
    "AnnAssign", "AsyncFor", "AsyncFunctionDef", "AsyncWith", "Await", "JoinedStr", "MatMult", "Match",
    "NamedExpr", "Nonlocal", "TryStar", "TypeAlias", "YieldFrom") if hasattr(ast, name))
_ATTRIBUTES = {"os": {"scandir", "fsencode", "fsdecode", "cpu_count"}, "shutil": {"which"},
               "subprocess": {"run", "DEVNULL"}, "time": {"monotonic", "perf_counter"}}
_KEYWORDS = {"capture_output", "daemon", "exist_ok", "missing_ok", "start_new_session"}
_KEYWORDS_OF = {"open": {"encoding", "errors", "newline"}, "print": {"file", "end", "sep", "flush"}}


def is_python3(tree, text):
    """Whether a source says that it is Python 3's (bool)."""
    if text.startswith("#!") and "python3" in text.split("\n", 1)[0]:
        return True
    futures = _futures(tree)
    if "annotations" in futures:
        return True
    has_print = "print_function" in futures
    return any(_is_new(node) and not (has_print and _is_call_of(node, "print")) for node in ast.walk(tree))


def _is_call_of(node, name):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _is_new(node):
    """Whether a node is one of those that Python 2 did not have, or knew by other names."""
    if isinstance(node, _NODES):
        return True
    test = _TESTS.get(type(node))
    return test is not None and bool(test(node))


def _is_new_import(node):
    return _MODULES & {name.partition(".")[0] for name in imported(node)}


def _is_new_function(node):
    every = node.args.args + node.args.kwonlyargs
    return node.args.kwonlyargs or node.args.posonlyargs or node.returns or any(arg.annotation for arg in every)


def _is_new_attribute(node):
    return isinstance(node.value, ast.Name) and node.attr in _ATTRIBUTES.get(node.value.id, ())


def _is_new_call(node):
    keywords = {keyword.arg for keyword in node.keywords}
    if keywords & _KEYWORDS or sum(isinstance(arg, ast.Starred) for arg in node.args) > 1:
        return True
    if not isinstance(node.func, ast.Name):
        return False
    return keywords & _KEYWORDS_OF.get(node.func.id, set()) or node.func.id == "super" and not node.args


def _is_new_assignment(node):
    return any(isinstance(child, ast.Starred) for target in node.targets for child in ast.walk(target))


_TESTS = {
    ast.Assign: _is_new_assignment,
    ast.Attribute: _is_new_attribute,
    ast.Call: _is_new_call,
    ast.ClassDef: lambda node: node.keywords,
    ast.FunctionDef: _is_new_function,
    ast.Import: _is_new_import,
    ast.ImportFrom: _is_new_import,
    ast.Raise: lambda node: node.cause is not None,
}


def imported(node):
    """Names of modules that an import statement names (list)."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if node.module and not node.level else []


def _futures(tree):
    statements = tree.body if isinstance(tree, ast.Module) else []
    return {alias.name for node in statements if isinstance(node, ast.ImportFrom)
            and node.module == "__future__" for alias in node.names}


def has_true_division(tree):
    """Whether a source asks for Python 3's division (bool)."""
    return "division" in _futures(tree)


def has_print_statement(tree):
    """Whether Python 3 takes for an expression what is a print statement (bool)."""
    if "print_function" in _futures(tree):
        return False
    return any(isinstance(node, ast.Expr) and _begins_with_print(node.value) for node in ast.walk(tree))


def _begins_with_print(node):
    if _is_call_of(node, "print"):
        return False                    # and nothing behind it
    while not isinstance(node, ast.Name):
        node = _leftmost(node)
        if node is None:
            return False
    return node.id == "print"


def _leftmost(node):
    """The part of an expression that its text begins with, or None."""
    if isinstance(node, ast.Tuple) and node.elts:
        return node.elts[0]
    if isinstance(node, ast.BoolOp):
        return node.values[0]
    for field in ("left", "value", "func", "body"):
        part = getattr(node, field, None)
        if isinstance(part, ast.expr):
            return part
    return None
