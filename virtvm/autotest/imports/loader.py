"""Runs a source file as a module: translated if it is Python 2, as it is if not.

Its import statements find what stands beside it, as Python 2's did.  That is done by an
__import__ of its own among its builtins, so that no other module sees a difference.
"""

import builtins
import importlib
import importlib.util
import os
import sys

from virtvm import signals
from virtvm.autotest import hooks
from virtvm.autotest.imports import names
from virtvm.companions import _host


class FileLoader:
    """Loads one file.  package: autotest's name of the package it belongs to, if of one."""

    def __init__(self, fullname, path, package=None, is_package=False):
        self.name, self.path = fullname, path
        self._package, self._is_package = package, is_package

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        from virtvm.autotest.python2 import translate
        translated = translate.translated(self.path)
        namespace = dict(vars(builtins))
        if translated.is_python2:
            from virtvm.autotest import python2
            namespace.update(python2.builtins_for(module))
        namespace["__import__"] = _Importer(self.path, self._package, translated.is_python2)
        module.__builtins__ = namespace
        exec(translated.code, vars(module))

    # What tracebacks, inspect and runpy ask for

    def get_filename(self, fullname=None):
        return self.path

    def get_source(self, fullname=None):
        from virtvm.autotest.python2 import translate
        return translate.read(self.path)

    def get_code(self, fullname=None):
        from virtvm.autotest.python2 import translate
        return translate.translated(self.path).code

    def is_package(self, fullname=None):
        return self._is_package


def is_stdlib(name):
    """Whether the standard library has a module of this name (bool)."""
    if sys.version_info >= (3, 10):
        return name in sys.stdlib_module_names
    if name in sys.builtin_module_names:
        return True
    from importlib.machinery import PathFinder
    folder = os.path.dirname(os.__file__)
    return PathFinder.find_spec(name, [folder, os.path.join(folder, "lib-dynload")]) is not None


class _Importer:
    """__import__ for the module in a file."""

    def __init__(self, path, package, is_python2):
        self._path, self._package, self._is_python2 = path, package, is_python2

    def __call__(self, name, globals=None, locals=None, fromlist=(), level=0):
        if level <= 0:
            head, _, rest = name.partition(".")
            if head == "autotest" and not _host.is_genuine(head):
                name = ".".join(filter(None, ["autotest_lib", rest]))       # its later spelling
            found = self._beside(head)
            if found is not None:
                return _leaf(found, rest) if fromlist else found
            if self._is_python2:
                from virtvm.autotest import python2
                found = python2.module(name, fromlist)
                if found is not None:
                    return found
        level = max(level, 0)           # -1 was the default
        if level and self._package is not None:
            globals = {"__package__": "autotest_lib." + self._package}      # whatever its name is with us
        try:
            return builtins.__import__(name, globals, locals, fromlist, level)
        except SyntaxError as e:
            # A module of Python 2, on a sys.path that a test has changed.
            if level or not self._is_python2 or not _serve_python2(name, fromlist, e.filename):
                raise
            return builtins.__import__(name, globals, locals, fromlist, level)

    def _beside(self, name):
        """The module of a bare name that stands beside the file, or None."""
        current = hooks.finder.current()
        if name == "common":            # each folder has one, which sets up what is set up
            return hooks.finder.common()
        if self._package is not None:
            full = "%s.%s" % (self._package, name)
            return importlib.import_module("autotest_lib." + full) if current.has(full) else None
        if name in names.BARE and current.has(names.BARE[name]):
            return importlib.import_module("autotest_lib." + names.BARE[name])
        path = os.path.join(os.path.dirname(self._path), name + ".py")
        # A test called string.py or unittest.py does not stand in for the library's.
        if signals.isfile(path) and not self._is_in_library(name):
            return current.load_test(path)
        return None

    def _is_in_library(self, name):
        if self._is_python2:
            from virtvm.autotest.python2 import modules
            if name in modules.NAMES:
                return True
        return is_stdlib(name)


def _serve_python2(name, fromlist, path):
    """Have the module that is in the file path, one of those imported, loaded by us (bool: whether it is one)."""
    parts = name.split(".")
    wanted = [".".join(parts[:i + 1]) for i in range(len(parts))] + ["%s.%s" % (name, n) for n in fromlist or ()]
    for fullname in wanted:
        try:
            spec = importlib.util.find_spec(fullname)
        except (ImportError, SyntaxError, ValueError):
            continue
        if spec is not None and spec.origin == path and path.endswith(".py"):
            return hooks.finder.current().serve_file(fullname, path)
    return False


def _leaf(module, rest):
    """The module that rest names below this one, as `from a.b.c import x` needs it."""
    for part in rest.split(".") if rest else ():
        module = importlib.import_module("%s.%s" % (module.__name__, part))
    return module


hooks.source_loader = FileLoader
