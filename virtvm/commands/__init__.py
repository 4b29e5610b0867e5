"""The commands of the virtvm program: one module each, with add(commands)."""

import os


def shorter(path):
    """path (str or path object) as seen from here (str), if that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)
