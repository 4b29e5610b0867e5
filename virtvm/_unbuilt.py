"""What virt_vm.py and _session.py say, which are found only where the extension modules are not."""

import os
import sys


def refuse(name):
    """Raise the ImportError of an extension module that is not there, with what to do about it."""
    folder = os.path.dirname(os.path.abspath(__file__))
    python = "CPython %d.%d" % sys.version_info[:2]
    if os.path.exists(os.path.join(os.path.dirname(folder), "setup.py")):
        text = ("%s is not built for %s in %s, the sources' folder, which hides an installed virtvm:"
                " start Python in another folder, or build it there (make build)")
    else:
        text = "%s is not there for %s in %s: install virtvm with that Python"
    raise ImportError(text % (name, python, folder), name=name, path=folder)
