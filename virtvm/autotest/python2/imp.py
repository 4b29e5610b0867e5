"""imp, as far as tests used it: gone in Python 3.12."""

import importlib
import os
import sys
import types as _types

PY_SOURCE, PKG_DIRECTORY = 1, 5


def new_module(name):
    """An empty module."""
    return _types.ModuleType(name)


def load_source(name, pathname, file=None):
    """The module in a source file, run anew, under this name."""
    from virtvm.autotest.loader import FileLoader
    loader = FileLoader(name, os.path.abspath(pathname))
    module = sys.modules.get(name) or new_module(name)
    module.__file__, module.__loader__ = loader.path, loader
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def find_module(name, path=None):
    """(file, path, description) of a source file in these folders."""
    for folder in sys.path if path is None else path:
        candidate = os.path.join(folder, name + ".py")
        if os.path.isfile(candidate):
            return open(candidate, "rb"), candidate, (".py", "U", PY_SOURCE)
        if os.path.isfile(os.path.join(folder, name, "__init__.py")):
            return None, os.path.join(folder, name), ("", "", PKG_DIRECTORY)
    raise ImportError("No module named %s" % name)


def load_module(name, file, pathname, description):
    """The module that find_module() found."""
    if description[2] == PKG_DIRECTORY:
        pathname = os.path.join(pathname, "__init__.py")
    return load_source(name, pathname)


def reload(module):
    """The module, run anew."""
    return importlib.reload(module)


def acquire_lock():
    """Nothing: modules have locks of their own."""


def release_lock():
    """Nothing: modules have locks of their own."""
