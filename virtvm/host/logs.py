"""Log files of sessions."""

import errno
import os
import stat
import threading
import time

from virtvm import signals


class _LogFiles:
    """Files that lines are appended to, few of them open at a time."""

    _MAX_OPEN = 64

    def __init__(self):
        self.folder = None          # None: the default
        self._known = set()         # files begun by this process: these are continued
        self._open = {}             # path -> descriptor, the one used last at the end
        self.reset_lock()

    def reset_lock(self):
        self._lock = threading.Lock()

    def set_folder(self, folder):
        with self._lock, signals.held():
            self.folder = os.path.abspath(folder)
            self._close_all()

    def _path(self, filename):
        return os.path.join(self.folder or os.environ.get("TMPDIR") or "/tmp", filename)

    def write(self, filename, data):
        with self._lock:
            path = self._path(filename)
            with signals.held():
                fd = self._open.pop(path, None)
                if fd is None:
                    fd = self._begin(path)
                self._open[path] = fd
            while data:
                data = data[os.write(fd, data):]

    def path_of(self, filename):
        with self._lock:
            path = self._path(filename)
        signals.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return path

    def _begin(self, path):
        if len(self._open) >= self._MAX_OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        signals.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        fd = _open_log(path)
        try:
            if path not in self._known and stat.S_ISREG(os.fstat(fd).st_mode):
                os.ftruncate(fd, 0)
        except BaseException:
            os.close(fd)
            raise
        self._known.add(path)
        return fd

    def close(self, filename=None):
        with self._lock, signals.held():
            if filename is None:
                self._close_all()
            else:
                fd = self._open.pop(self._path(filename), None)
                if fd is not None:
                    os.close(fd)

    def _close_all(self):
        while self._open:
            os.close(self._open.popitem()[1])


def _open_log(path):
    """A descriptor of a log file, to append to.  OSError.

    Folders for logs may be everybody's, as /tmp is: a name there that is a link, of either kind,
    leads to another's file; and a pipe that nobody reads would stop us.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW
                 | os.O_NONBLOCK, 0o666)
    try:
        st = os.fstat(fd)
        if not (stat.S_ISREG(st.st_mode) and st.st_nlink <= 1) and not stat.S_ISCHR(st.st_mode):
            raise OSError(errno.ELOOP, "No file of its own for a log", path)
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


_log_files = _LogFiles()
os.register_at_fork(after_in_child=_log_files.reset_lock)


def set_log_file_dir(dir):
    """Set the folder of the files that log_line() writes.

    If it is never called, that is the one for temporary files: $TMPDIR, or /tmp.
    """
    _log_files.set_folder(dir)


def log_file_path(filename):
    """Where log_line(filename, ...) writes (str); its folder is made."""
    return _log_files.path_of(filename)


def log_line(filename, line):
    """Append a line (str) with date and time to a log file.

    filename: a path below the folder that set_log_file_dir() names.  A file
    that this process has not written before is begun anew; folders are made.
    """
    record = "%s: %s\n" % (time.strftime("%Y-%m-%d %H:%M:%S"), line)
    _log_files.write(filename, record.encode("utf-8", "backslashreplace"))


def close_log_file(filename=None):
    """Close one of log_line()'s files, or all; a later line opens it again."""
    _log_files.close(filename)
