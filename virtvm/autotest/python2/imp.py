"""imp, as far as tests used it: gone in Python 3.12."""

import importlib
import os
import sys
import types as _types

from virtvm import signals
from virtvm.autotest import hooks as _hooks

PY_SOURCE, PKG_DIRECTORY = 1, 5


def new_module(name):
    """An empty module."""
    return _types.ModuleType(name)


def load_source(name, pathname, file=None):
    """The module in a source file, run anew, under this name."""
    return _load(name, pathname)


def _load(name, path, folder=None):
    """The module in a source file, run anew; folder: that of a package."""
    loader = _hooks.source_loader(name, os.path.abspath(path), is_package=folder is not None)
    module = sys.modules.get(name) or new_module(name)
    module.__file__, module.__loader__ = loader.path, loader
    if folder is not None:
        module.__path__, module.__package__ = [folder], name
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def find_module(name, path=None):
    """(file, path, description) of a source file in these folders."""
    for folder in sys.path if path is None else path:
        candidate = os.path.join(folder, name + ".py")
        if signals.isfile(candidate):
            return open(candidate, "rb"), candidate, (".py", "U", PY_SOURCE)
        if signals.isfile(os.path.join(folder, name, "__init__.py")):
            return None, os.path.join(folder, name), ("", "", PKG_DIRECTORY)
    raise ImportError("No module named %s" % name)


def load_module(name, file, pathname, description):
    """The module that find_module() found."""
    if description[2] == PKG_DIRECTORY:
        return _load(name, os.path.join(pathname, "__init__.py"), pathname)
    return _load(name, pathname)


def reload(module):
    """The module, run anew."""
    loader = getattr(module, "__loader__", None)
    if not isinstance(loader, _hooks.source_loader):
        return importlib.reload(module)
    loader.exec_module(module)
    return module


def acquire_lock():
    """Nothing: modules have locks of their own."""


def release_lock():
    """Nothing: modules have locks of their own."""
