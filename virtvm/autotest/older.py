"""Modules of virtvm.autotest by the names that they had in version 0.1.0: the same modules."""

import importlib
import importlib.util
import sys

MOVED = {
    "checker": "imports.checker", "discover": "imports.discover", "finder": "imports.finder",
    "loader": "imports.loader", "names": "imports.names", "tree": "imports.tree",
    "dialect": "python2.dialect", "semantics": "python2.semantics", "syntax": "python2.syntax",
    "translate": "python2.translate",
    "ppm_utils": "tests.ppm_utils", "profilers": "tests.profilers", "scan_results": "tests.scan_results",
    "test_object": "tests.test_object", "virt_env_process": "tests.virt_env_process",
    "virt_test_setup": "tests.virt_test_setup", "virt_test_utils": "tests.virt_test_utils",
    "cartesian": "variants.cartesian", "configuration": "variants", "configuration.expand": "variants.expand",
    "configuration.filters": "variants.filters", "configuration.syntax": "variants.syntax",
}
_PACKAGE = __package__ + "."


class _Finder:
    """A finder of importlib's, and a loader."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.startswith(_PACKAGE) and name[len(_PACKAGE):] in MOVED:
            return importlib.util.spec_from_loader(name, cls)
        return None

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        # The import system takes what stands here once this is done.
        name = module.__name__
        sys.modules[name] = importlib.import_module(_PACKAGE + MOVED[name[len(_PACKAGE):]])


def serve():
    """Let imports find them, before the same files are found by another name."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
