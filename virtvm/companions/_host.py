"""Whose collaborators virt_vm uses: a genuine autotest's, where one is at work, else ours.

Exception classes must be the same ones for those who raise and for those who catch.
"""

import importlib
import sys

ROOTS = ("autotest_lib", "autotest")      # of its modules, by its first spelling and its later one

_PLACES = {
    "error": ("client.common_lib.error", "client.shared.error"),
    "utils": ("client.bin.utils", "client.utils"),
    "virt_utils": ("client.virt.virt_utils",),
}


def is_genuine(root):
    """Whether the package of this name is imported and not ours (bool)."""
    module = sys.modules.get(root)
    return module is not None and not hasattr(module, "__virtvm__")


def collaborator(name):
    """Return the module that is to stand under name: "error", "utils" or "virt_utils"."""
    for root in filter(is_genuine, ROOTS):
        for place in _PLACES[name]:
            try:
                return importlib.import_module("%s.%s" % (root, place))
            except ModuleNotFoundError as e:
                if not ("%s.%s" % (root, place)).startswith(e.name or ""):
                    raise           # it is there, and lacks something itself
    return importlib.import_module("virtvm.companions." + name)


def bind(virt_vm):
    """Give the module virt_vm the collaborators that it has to use now."""
    for name in _PLACES:
        setattr(virt_vm, name, collaborator(name))
