"""Temporary files and folders that are gone however early or late an exception comes.

A signal handler's exception may come between any two instructions. What the library's own are
removed by is made only once they are there; here it is made before.
"""

import errno
import logging
import os
import stat
import time
import weakref

from virtvm import signals

_LAST_TRY = 3.0         # seconds for what an exception has cut short: how much there is, a guest may have decided


def name(prefix, suffix="", folder=None):
    """A path (str) that nobody has: for what is noted before it is made.  folder: None for $TMPDIR."""
    if folder is None:
        import tempfile
        folder = tempfile.gettempdir()
    return os.path.join(os.path.abspath(folder), "%s%s%s" % (prefix, os.urandom(8).hex(), suffix))


def make_file(path):
    """An empty file of the owner's alone at path, where none is; by one call, without a descriptor."""
    os.mknod(path, stat.S_IFREG | 0o600)


class _Scratch:
    """path: what name() had returned, for what was noted before; instead of the others."""

    def __init__(self, prefix="", suffix="", folder=None, path=None):
        self.path = path or name(prefix, suffix, folder)
        # Also at the interpreter's end, but by no process that this one forks.
        self._removal = weakref.finalize(self, self._remove_own, self.path, os.getpid(), _LAST_TRY)
        try:
            self._make()
        except FileExistsError:         # somebody else's
            self._removal.detach()
            raise

    def __enter__(self):
        return self.path

    def __exit__(self, *exc):
        self._remove_own(self.path, os.getpid())
        self._removal.detach()          # not before: what is interrupted is done once more

    @classmethod
    def _remove_own(cls, path, pid, limit=float("inf")):
        if pid == os.getpid():
            try:
                cls._remove(path, time.monotonic() + limit)
            except FileNotFoundError as e:   # it has become something else, or was removed
                signals.let_out(e)


class File(_Scratch):
    """A context that makes an empty file and removes it, if it still has that name then; its value is the path."""

    @staticmethod
    def _remove(path, deadline):
        os.unlink(path)

    def _make(self):
        make_file(self.path)


class Folder(_Scratch):
    """A context that makes a folder of the owner's alone and removes it with all in it; its value is the path."""

    def _make(self):
        os.mkdir(self.path, 0o700)

    @staticmethod
    def _remove(path, deadline):
        remove_folder(path, deadline)


def remove_folder(path, deadline=float("inf"), forgiven=()):
    """Remove a folder with all in it.  forgiven: OSError to leave what can't be removed.

    Not by shutil.rmtree(), which takes whatever OSError a signal handler raises for its own, and closes a
    descriptor twice, another thread's perhaps, where an exception cuts it short.
    """
    folders = []
    with signals.suppress(forgiven):
        if not stat.S_ISDIR(os.lstat(path).st_mode):        # a link may lead to another's
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        folders.append(path)
    for folder in folders:              # which become more
        names = ()
        with signals.suppress(forgiven):
            os.chmod(folder, 0o700)     # copies of folders that their owner may not write to
            names = os.listdir(folder)
        for each in names:
            if time.monotonic() >= deadline:
                logging.warning("%s is left: there was no time to remove all that is in it", path)
                return
            with signals.suppress(forgiven):
                below = os.path.join(folder, each)
                if stat.S_ISDIR(os.lstat(below).st_mode):
                    folders.append(below)
                else:
                    os.unlink(below)
    for folder in reversed(folders):
        with signals.suppress(forgiven):
            os.rmdir(folder)


def write_whole(path, data):
    """Make the file path hold data (bytes), readable by its owner alone, or leave what was there."""
    folder, own = os.path.split(path)
    with File(own + ".", ".tmp", folder) as temporary:
        with open(temporary, "wb") as f:
            f.write(data)
        os.rename(temporary, path)
