"""The import finder: autotest's module names, and the tests loaded from files.

It stands first in sys.meta_path.  A name of autotest's is, in this order: our module
that stands for it (the very same object), a test file, a module of the user's tree.
A name that our module lacks is looked up in the user's module of the same name.
"""

import importlib
import importlib.machinery
import os
import re
import sys
import types

from virtvm import signals
from virtvm.autotest import hooks
from virtvm.autotest.imports import names
from virtvm.autotest.imports.loader import FileLoader
from virtvm.autotest.imports.tree import Tree
from virtvm.companions import _host

_TEST = "virtvm_test_"                          # + hash of the path + name: modules of load_test()
_GENUINE = "virtvm.autotest.genuine-"           # + name: the user's module behind one of ours


class _Alias:
    """Loads a module by importing another, or finding it by a function."""

    def __init__(self, find):
        self._find = find

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        # The import system takes what stands here once the loader is done.
        sys.modules[module.__name__] = self._find()


class _Package:
    """Loads a package that is nothing but a name."""

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__virtvm__ = True


def _alias(fullname, find):
    return importlib.machinery.ModuleSpec(fullname, _Alias(find), origin="virtvm")


def _is_on_path(name):
    """Whether there is a module or package of this name that is not ours (bool); a mere folder is none."""
    spec = importlib.machinery.PathFinder.find_spec(name)
    return spec is not None and spec.origin is not None


def _package(fullname):
    return importlib.machinery.ModuleSpec(fullname, _Package(), origin="virtvm", is_package=True)


def _file(fullname, path, package=None, is_package=False):
    """The spec of a source file; package: the one of autotest's that it belongs to."""
    loader = FileLoader(fullname, path, package, is_package)
    spec = importlib.machinery.ModuleSpec(fullname, loader, origin=path, is_package=is_package)
    spec.has_location = True
    if is_package:
        spec.submodule_search_locations = [os.path.dirname(path)]
    return spec


class Fallback:
    """__getattr__ of a module of ours: names that it lacks come from the user's tree.

    name: what `names` knows it by, which may be an older one.
    """

    def __init__(self, finder, module, name):
        self.finder, self.module, self.name = finder, module, name
        self.before = vars(module).get("__getattr__")
        self._loading = set()

    def __call__(self, name):
        if self.before is not None:
            try:
                return self.before(name)
            except AttributeError:
                pass
        if not name.startswith("__"):
            for genuine in self._genuine():
                if name in vars(genuine):
                    return vars(genuine)[name]
        raise AttributeError("module %r has no attribute %r%s" % (
            self.name, name,
            "" if self.finder.tree else ", and there is no autotest tree to take it from"))

    def _genuine(self):
        """The user's modules of this name, one after the other."""
        for name in self.finder.genuine_names(self.name):
            if name not in self._loading:       # else it is just being run, and asks us
                self._loading.add(name)
                try:
                    yield importlib.import_module(_GENUINE + name.replace(".", "-"))
                except (ImportError, SyntaxError) as e:
                    raise AttributeError("%s: %s" % (self.finder.tree.file(name), e)) from e
                finally:
                    self._loading.discard(name)


class _GenuineLoader(FileLoader):
    """Loads the user's module behind one of ours."""

    def __init__(self, fullname, path, package, ours):
        FileLoader.__init__(self, fullname, path, package)
        self._ours = ours

    def exec_module(self, module):
        FileLoader.exec_module(self, module)
        # What it has beyond ours works with ours, so that exceptions are the same classes.
        for name, value in vars(importlib.import_module(self._ours)).items():
            if callable(value) and not name.startswith("_") and name in vars(module):
                setattr(module, name, value)


class Finder:
    """What is served, and from where."""

    def __init__(self):
        self.tree = None
        self.is_given = False       # the tree was named, not found
        self.tests_dirs = []
        self.everywhere = False
        self._tests = {}            # module name: path
        self._packages = set()      # of these, packages
        self._fallbacks = []

    # What there is

    def use_tree_around(self, path):
        """Take the tree that a test lies in, unless there is one already."""
        if self.tree is None:
            self.tree = Tree.around(path)

    def add_tests_dir(self, folder):
        folder = os.path.abspath(folder)
        if folder not in self.tests_dirs:
            self.tests_dirs.append(folder)

    def genuine_names(self, module):
        """autotest's names for a module of ours that the tree has, too (list)."""
        if self.tree is None:
            return []
        return [name for name in names.theirs(module) if self.tree.file(name)]

    def test_file(self, name):
        """The file of a test by autotest's name for it, or None."""
        package, _, last = name.rpartition(".")
        if package not in names.TEST_PACKAGES:
            return None
        folders = self.tests_dirs + [self.tree.folder(p) for p in names.TEST_PACKAGES if self.tree]
        paths = [os.path.join(folder, last + ".py") for folder in folders if folder]
        return next(filter(signals.isfile, paths), None)

    def has(self, name):
        """Whether there is a module of this name below autotest_lib (bool)."""
        return self._spec("autotest_lib." + name, name) is not None

    # The finder's protocol

    def find_spec(self, fullname, path=None, target=None):
        """The spec of what fullname names, or None if it is not ours to serve."""
        root, _, name = fullname.partition(".")
        if root in _host.ROOTS:
            if _host.is_genuine(root):
                return self._spec_beside_genuine(fullname, name)
            return self._spec_of_root(fullname, root, name)
        if fullname == "common" and self.everywhere and not _is_on_path(fullname):
            return _alias(fullname, common)
        if fullname in self._tests:
            return _file(fullname, self._tests[fullname], is_package=fullname in self._packages)
        if fullname.startswith(_GENUINE):
            return self._spec_of_genuine(fullname)
        return None

    def _spec_beside_genuine(self, fullname, name):
        return _alias(fullname, self._bound_virt_vm) if name == "client.virt.virt_vm" else None

    def _spec_of_root(self, fullname, root, name):
        if root == "autotest_lib":
            return self._spec(fullname, name) if name else None
        if not self.everywhere:
            return None
        if not name:
            return None if _is_on_path(fullname) else _package(fullname)
        if not self.has(name):
            return None
        return _alias(fullname, lambda: importlib.import_module("autotest_lib." + name))

    def _spec(self, fullname, name):
        ours = names.ours(name)
        if ours is not None:
            return _alias(fullname, lambda: self._served(ours))
        if name in names.PACKAGES:
            return _package(fullname)
        test = self.test_file(name)
        if test is not None:
            return _alias(fullname, lambda: self.load_test(test))
        return self._spec_in_tree(fullname, name) if self.tree is not None else None

    def _spec_in_tree(self, fullname, name):
        path, folder = self.tree.file(name), self.tree.folder(name)
        if path is not None:
            return _file(fullname, path, name.rpartition(".")[0])
        if folder is None:
            return None
        init = os.path.join(folder, "__init__.py")
        return _file(fullname, init, name, is_package=True) if signals.isfile(init) else _package(fullname)

    def _spec_of_genuine(self, fullname):
        name = fullname[len(_GENUINE):].replace("-", ".")
        path = self.tree.file(name) if self.tree is not None else None
        ours = names.ours(name)
        if path is None or ours is None:
            return None
        loader = _GenuineLoader(fullname, path, name.rpartition(".")[0], ours)
        spec = importlib.machinery.ModuleSpec(fullname, loader, origin=path)
        spec.has_location = True
        return spec

    # What it serves

    def _served(self, ours):
        """Our module, with what it lacks to be had from the tree."""
        module = importlib.import_module(ours)
        if not any(fallback.module is module for fallback in self._fallbacks):
            fallback = Fallback(self, module, ours)
            self._fallbacks.append(fallback)
            module.__getattr__ = fallback
        return module

    def _bound_virt_vm(self):
        virt_vm = importlib.import_module("virtvm.virt_vm")
        _host.bind(virt_vm)
        return virt_vm

    def serve_file(self, fullname, path):
        """Load the module of this name from a file from now on; False if that is done already."""
        if fullname in self._tests:
            return False
        self._tests[fullname] = path
        if os.path.basename(path) == "__init__.py":
            self._packages.add(fullname)
        return True

    def load_test(self, path):
        """The module in a test file."""
        import hashlib
        path = signals.realpath(path)
        os.stat(path)
        self.use_tree_around(path)
        self.add_tests_dir(os.path.dirname(path))
        stem = re.sub(r"\W", "_", os.path.splitext(os.path.basename(path))[0])
        name = "%s%s_%s" % (_TEST, hashlib.sha256(os.fsencode(path)).hexdigest()[:8], stem)
        self._tests[name] = path
        return importlib.import_module(name)

    def is_served(self, fullname):
        """Whether this name in sys.modules is there because of us."""
        root = fullname.partition(".")[0]
        return (root in _host.ROOTS and not _host.is_genuine(root) or fullname in self._tests
                or fullname.startswith(_GENUINE)
                or fullname == "common" and sys.modules[fullname] is _common)

    def close(self):
        """Take back all that was served."""
        served = [name for name in sys.modules if self.is_served(name)]
        for name in served:
            del sys.modules[name]
        for fallback in self._fallbacks:
            if fallback.before is None:
                del fallback.module.__getattr__
            else:
                fallback.module.__getattr__ = fallback.before


_common = types.ModuleType("common", "What `import common` gives: all that it did is done by now.")
_common.__virtvm__ = True


def common():
    """The module that stands for autotest's `common`, which set up sys.path and autotest_lib."""
    return _common


# The one that is at work

_finder = None


def current():
    """The finder, which is made if need be."""
    global _finder
    if _finder is None:
        _finder = Finder()
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    return _finder


def install(autotest_dir=None, tests_dirs=(), everywhere=True):
    """virtvm.autotest.install()."""
    finder = current()
    autotest_dir = autotest_dir or os.environ.get("VIRTVM_AUTOTEST_DIR")
    if autotest_dir and not (finder.is_given and finder.tree == Tree.at(autotest_dir)):
        finder.tree, finder.is_given = Tree.at(autotest_dir), True
    for folder in tests_dirs:
        finder.add_tests_dir(folder)
    finder.everywhere = finder.everywhere or everywhere
    if any(map(_host.is_genuine, _host.ROOTS)) and "virtvm.virt_vm" in sys.modules:
        _host.bind(sys.modules["virtvm.virt_vm"])


def uninstall():
    """virtvm.autotest.uninstall()."""
    global _finder
    if _finder is None:
        return
    sys.meta_path.remove(_finder)
    _finder.close()
    _finder = None


def load_test(path):
    """virtvm.autotest.load_test()."""
    install()
    return current().load_test(path)


hooks.finder = sys.modules[__name__]
