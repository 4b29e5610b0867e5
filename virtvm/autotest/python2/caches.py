"""Where things are kept that can be made again."""

import os


def folder(name):
    """A folder of the user's own (str); it need not be there yet."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "virtvm", name)
