"""The user's own autotest tree: where it is, and what it has."""

import os

from virtvm import signals

_MARKS = ("common_lib", "bin", "virt", "shared")    # folders of `client`; two make one


def _is_client(folder):
    return sum(signals.isdir(os.path.join(folder, mark)) for mark in _MARKS) >= 2


def _client_of(folder):
    """folder's `client`, folder itself if it is one, else None."""
    for candidate in (os.path.join(folder, "client"), folder):
        if _is_client(candidate):
            return candidate
    return None


class Tree:
    """A tree by its `client` folder."""

    def __init__(self, client):
        self.client = signals.realpath(client)

    def __eq__(self, other):
        return isinstance(other, Tree) and self.client == other.client

    __hash__ = None

    @classmethod
    def at(cls, folder):
        """The tree whose top, or `client` folder, this is.  FileNotFoundError if it is none."""
        client = _client_of(folder)
        if client is None:
            raise FileNotFoundError("no autotest tree (a folder with client/common_lib and client/bin"
                                    " or client/virt): %s" % folder)
        return cls(client)

    @classmethod
    def around(cls, path):
        """The tree that path (a file) lies in or beside, or None."""
        folder = os.path.dirname(signals.realpath(path))
        while True:
            client = _client_of(folder)
            if client is not None:
                return cls(client)
            above = os.path.dirname(folder)
            if above == folder:
                return None
            folder = above

    def folder(self, name):
        """The folder of the package with this name (below autotest_lib), or None."""
        path = os.path.join(self.client, *name.split(".")[1:])
        return path if name.split(".")[0] == "client" and signals.isdir(path) else None

    def file(self, name):
        """The file of the module with this name (below autotest_lib), or None."""
        above, _, last = name.rpartition(".")
        folder = self.folder(above) if above else None
        path = folder and os.path.join(folder, last + ".py")
        return path if path and signals.isfile(path) else None

    def name(self, path):
        """The name (below autotest_lib) of the module that path holds, or None if outside."""
        relative = os.path.relpath(signals.realpath(path), self.client)
        if relative.startswith(os.pardir) or not relative.endswith(".py"):
            return None
        return ".".join(["client"] + relative[:-len(".py")].split(os.sep))
