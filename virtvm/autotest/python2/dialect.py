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
# Keywords of functions, and of methods of that name, unless the file itself defines one.
_KEYWORDS_OF = {"open": {"encoding", "errors", "newline"}, "print": {"file", "end", "sep", "flush"},
                "makedirs": {"exist_ok"}, "mkdir": {"exist_ok"}, "unlink": {"missing_ok"},
                "Thread": {"daemon"}, "Timer": {"daemon"}, "Process": {"daemon"},
                "run": {"capture_output", "start_new_session"}, "Popen": {"start_new_session"}}
_FUNCTIONS_ALONE = {"open", "print"}


def is_python3(tree, text):
    """Whether a source says that it is Python 3's (bool)."""
    if text.startswith("#!") and "python3" in text.split("\n", 1)[0]:
        return True
    futures = _futures(tree)
    if "annotations" in futures:
        return True
    own = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    if "print_function" in futures:
        own.add("print")
    return any(_is_new(node) and _called(node) not in own for node in ast.walk(tree))


def _called(node):
    """The name of the function or method that a node calls, or None."""
    function = getattr(node, "func", None)
    return getattr(function, "id", getattr(function, "attr", None))


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
    if sum(isinstance(arg, ast.Starred) for arg in node.args) > 1:
        return True
    name, is_function = _called(node), isinstance(node.func, ast.Name)
    if not is_function and name in _FUNCTIONS_ALONE:
        return False
    keywords = {keyword.arg for keyword in node.keywords}
    return keywords & _KEYWORDS_OF.get(name, set()) or is_function and name == "super" and not node.args


def _is_new_assignment(node):
    return any(isinstance(child, ast.Starred) for target in node.targets for child in ast.walk(target))


def _without_parentheses(node):
    """The exceptions in `except A, B:` (list), which Python 3.14 takes for `except (A, B):`; or None."""
    if not isinstance(node.type, ast.Tuple) or not node.type.elts:
        return None
    first, last, both = node.type.elts[0], node.type.elts[-1], node.type
    begins = (first.lineno, first.col_offset) == (both.lineno, both.col_offset)
    ends = (last.end_lineno, last.end_col_offset) == (both.end_lineno, both.end_col_offset)
    return both.elts if begins or ends else None


def _is_new_handler(node):
    """Python 2 knew two, of which the second is what the exception is assigned to."""
    found = _without_parentheses(node)
    return found is not None and (
        len(found) != 2 or not isinstance(found[1], (ast.Name, ast.Attribute, ast.Subscript, ast.Tuple, ast.List)))


_TESTS = {
    ast.Assign: _is_new_assignment,
    ast.Attribute: _is_new_attribute,
    ast.Call: _is_new_call,
    ast.ClassDef: lambda node: node.keywords,
    ast.ExceptHandler: _is_new_handler,
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


def has_old_handler(tree):
    """Whether Python 3 takes for two exceptions what is one and a name for it."""
    return any(isinstance(node, ast.ExceptHandler) and _without_parentheses(node) for node in ast.walk(tree))


def has_print_statement(tree):
    """Whether Python 3 takes for an expression what is a print statement (bool)."""
    if "print_function" in _futures(tree):
        return False
    return any(isinstance(node, ast.Expr) and _begins_with_print(node.value) for node in ast.walk(tree))


def _begins_with_print(node):
    if isinstance(getattr(node, "func", None), ast.Name) and node.func.id == "print":
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
