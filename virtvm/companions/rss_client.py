"""Files to and from Windows guests: the client of their remote shell server.

The guest runs the server (rss.exe), which listens for files on port 10023, by a protocol
without passwords.  What a download brings is whole or absent; an upload is written in place
by the server, so one that fails leaves there what it had written.  Names are the server's
bytes, shown as UTF-8; others round-trip by surrogateescape, as os.fsencode has it.

    python -m virtvm.companions.rss_client -u ADDRESS PORT SRC_PATTERN DST_PATH
"""

import glob
import os
import sys
from time import monotonic

from virtvm import signals
from virtvm.companions.exceptions import Diagnosed, Left, diagnosed
from virtvm.companions.printable import printable

__all__ = [
    "CHUNKSIZE", "RSS_CREATE_DIR", "RSS_CREATE_FILE", "RSS_DONE", "RSS_DOWNLOAD", "RSS_ERROR",
    "RSS_LEAVE_DIR", "RSS_MAGIC", "RSS_OK", "RSS_SET_PATH", "RSS_UPLOAD", "FileDownloadClient",
    "FileTransferClient", "FileTransferConnectError", "FileTransferError",
    "FileTransferLocalError", "FileTransferNotFoundError", "FileTransferProtocolError",
    "FileTransferServerError", "FileTransferSocketError", "FileTransferTimeoutError",
    "FileUploadClient", "download", "main", "upload",
]

CHUNKSIZE = 65536       # bytes of a file in one packet; a shorter one ends the file

RSS_MAGIC = 0x525353
RSS_OK = 1
RSS_ERROR = 2
RSS_UPLOAD = 3
RSS_DOWNLOAD = 4
RSS_SET_PATH = 5
RSS_CREATE_FILE = 6
RSS_CREATE_DIR = 7
RSS_LEAVE_DIR = 8
RSS_DONE = 9

_MB = 1048576.0
_MAX_FILES = 1000000    # that a server may make us create in one download


# Failures

class FileTransferError(Diagnosed):
    """A transfer failed.

    msg says why (str or None), e is the exception or text behind it, filename the local
    path of the file whose contents were being moved (str), or None.  error is another name
    of e.
    """

    def __init__(self, msg, e=None, filename=None):
        Exception.__init__(self, msg, e, filename)
        self.msg = msg
        self.e = e
        self.filename = filename

    @property
    def error(self):
        """The same as e."""
        return self.e

    @error.setter
    def error(self, value):
        self.e = value

    def _text(self):
        text = str(self.msg)
        if self.e and self.filename:
            text += "    (error: %s,    filename: %s)" % (self.e, self.filename)
        elif self.e:
            text += "    (%s)" % (self.e,)
        elif self.filename:
            text += "    (filename: %s)" % (self.filename,)
        return text


class FileTransferConnectError(FileTransferError):
    """No connection, or no such server at its other end."""


class FileTransferTimeoutError(FileTransferError):
    """The time was up before everything was transferred."""


class FileTransferProtocolError(FileTransferError):
    """The server hung up, or sent what it may not send."""


class FileTransferSocketError(FileTransferError):
    """The connection failed, or is closed."""


class FileTransferServerError(FileTransferError):
    """The server ended the transfer.  e is what it said (str)."""

    def __init__(self, errmsg):
        FileTransferError.__init__(self, None, errmsg)

    def _text(self):
        text = "Server said: %r" % (self.e,)
        if self.filename:
            text += "    (filename: %s)" % (self.filename,)
        return text


class FileTransferNotFoundError(FileTransferError):
    """Nothing matches the pattern."""


class FileTransferLocalError(FileTransferError, OSError):
    """A file or folder of this machine could not be read or written.  e is the OSError."""

    def __init__(self, msg, e=None, filename=None):
        FileTransferError.__init__(self, msg, e, filename)
        if isinstance(e, OSError):
            self.errno, self.strerror = e.errno, e.strerror

    def __reduce__(self):
        return _rebuild_local, (type(self), self.args, self.errno, self.strerror, self.filename), self.__dict__


def _rebuild_local(cls, args, number, words, filename):
    exc = cls.__new__(cls)
    exc.args, exc.errno, exc.strerror, exc.filename = args, number, words, filename
    return exc


# Clients

class FileTransferClient:
    """A connection to the file port of a guest's remote shell server.

    address: name or address (str).  port: int.  log_func(str) is told which file is being
    moved, and once a second how fast.  timeout: seconds for connecting and for the
    server's greeting.  Use the subclasses: this one leaves open what is to be done.

    Raises FileTransferConnectError, FileTransferProtocolError, FileTransferSocketError.
    """

    _direction = ""

    def __init__(self, address, port, log_func=None, timeout=20):
        from virtvm import _session
        self._address, self._port, self._log_func = address, port, log_func
        self._rss = None
        try:
            self._rss = _session.open_rss(str(address), int(port), self._direction or None, timeout=timeout)
        except _session.EngineError as e:
            exc = self._failure(e)
            raise exc from exc.e
        except BaseException as e:          # Ctrl-C
            Left.adopt(e)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    @property
    def transferred(self):
        """Bytes of all packets so far, both ways, and 4 for each (int)."""
        return 0 if self._rss is None else self._rss.counted

    def close(self):
        """Close the connection.  Does nothing the second time."""
        if self._rss is not None:
            self._rss.close()

    def _run(self, copy, verb, progress, *args, **keywords):
        """copy(...) with progress told; any failure closes the connection."""
        from virtvm import _session
        if self._log_func is not None or progress is not None:
            told = _Progress(self._log_func, verb, self.transferred, progress)
            keywords.update(on_file=told.file, on_moved=told.moved)
        try:
            result = copy(*args, **keywords)
            if progress is not None:
                progress("", result[2], result[2])
            return result
        except _session.EngineError as e:
            exc = self._failure(e)
            self.close()
            raise exc from (exc.e if isinstance(exc.e, BaseException) else None)
        except BaseException as e:          # Ctrl-C, or what a function of the caller's raised
            Left.adopt(e)
            self.close()
            raise

    def _not_found(self, msg):
        self.close()
        return diagnosed(FileTransferNotFoundError(msg), stage="transfer", host=self._address, port=self._port)

    def _failure(self, e):
        filename = os.fsdecode(e.filename) or None
        exc = _exception(e, filename, "%s:%s" % (self._address, self._port))
        exc.bytes, exc.left = e.bytes, Left.of(e.left)
        detail = "" if e.code == "remote" or exc.msg == e.detail else e.detail
        detail = (detail + str(exc.left)).lstrip("; ")
        return diagnosed(exc, stage=e.stage, host=self._address, port=self._port, detail=detail or None)


class FileUploadClient(FileTransferClient):
    """Connects for uploads: any number of them, one after another."""

    _direction = "put"

    def upload(self, src_pattern, dst_path, timeout=600, *, stall_timeout=None, progress=None, exclude=()):
        """Copy files and folders to the guest.

        src_pattern: path or pattern of local files and folders (str, bytes or PathLike),
        or a list of paths.  Links are followed; what is neither file nor folder is left out of
        folders and of what a pattern finds, and an error where it is named.  dst_path: path on
        the guest: a folder to copy into, or the name that the one file or folder gets.
        timeout: seconds for all of it.  stall_timeout: seconds without a byte moving that
        end it sooner.  exclude: patterns (bytes) of what is left out of folders, as transfer.scp_to_remote
        has them.  progress(name, bytes, total) is called a few times a second, and at
        the end; total is None while unknown.

        Raises FileTransferError and its kin; after that the connection is closed.
        """
        paths = src_pattern if isinstance(src_pattern, (list, tuple)) else _found(os.fspath(src_pattern))
        if not isinstance(src_pattern, (list, tuple)) and not signals.lexists(os.fspath(src_pattern)):
            # Of what a pattern finds, other things are left out as they are in folders.
            paths = [path for path in paths if signals.isfile(path) or signals.isdir(path)]
        elif not paths:
            paths = [src_pattern]       # a name with brackets in it
        matches = [os.path.abspath(os.fsencode(path)) for path in paths]
        if not matches and not self._is_closed():
            raise self._not_found("Pattern %s does not match any files or directories" % src_pattern)
        self._run(self._rss.put, "Sent", progress, tuple(matches), os.fsencode(dst_path),
                  stall=float(stall_timeout or 0), timeout=timeout, exclude=tuple(exclude))

    def _is_closed(self):
        return self._rss.closed


class FileDownloadClient(FileTransferClient):
    """Connects for downloads: any number of them, one after another."""

    _direction = "get"

    def download(self, src_pattern, dst_path, timeout=600, *, stall_timeout=None, max_bytes=None,
                 max_files=_MAX_FILES, progress=None):
        """Copy files and folders from the guest: each whole, or not at all.

        src_pattern: path on the guest, its last part perhaps a pattern of * and ?.
        dst_path: a local folder to copy into, or the name that the one file or folder gets.
        timeout: seconds for all of it.  stall_timeout: seconds without a byte moving that
        end it sooner.  max_bytes, max_files: bounds of what the guest may send; None: no
        bound but the disk's.  progress: as for uploads.

        Raises FileTransferError and its kin; after that the connection is closed.
        """
        files, folders, _size = self._run(
            self._rss.get, "Received", progress, os.fsencode(src_pattern), _target(dst_path),
            stall=float(stall_timeout or 0), timeout=timeout, max_bytes=max_bytes or 0,
            max_entries=max_files or 0)
        if not files and not folders:
            raise self._not_found("Pattern %s does not match any files or directories that could "
                                  "be downloaded" % src_pattern)


def _target(dst_path):
    """The path to write to (bytes): what a link that the caller names leads to."""
    path = os.path.abspath(os.fsencode(dst_path))
    return signals.realpath(path) if signals.islink(path) else path


def upload(address, port, src_pattern, dst_path, log_func=None, timeout=60, connect_timeout=20, **keywords):
    """Connect, copy to the guest, close: see FileUploadClient."""
    with FileUploadClient(address, port, log_func, connect_timeout) as client:
        client.upload(src_pattern, dst_path, timeout, **keywords)


def download(address, port, src_pattern, dst_path, log_func=None, timeout=60, connect_timeout=20, **keywords):
    """Connect, copy from the guest, close: see FileDownloadClient."""
    with FileDownloadClient(address, port, log_func, connect_timeout) as client:
        client.download(src_pattern, dst_path, timeout, **keywords)


class _Progress:
    """Lines about a transfer for a log function, and calls of a progress function."""

    def __init__(self, log_func, verb, counted, progress=None):
        self._log_func, self._verb, self._progress = log_func, verb, progress
        self._last, self._last_counted, self._name = monotonic(), counted, ""

    def file(self, path):
        self._name = os.fsdecode(path)
        if self._log_func is not None:
            self._log_func("%s file %s" % ("Sending" if self._verb == "Sent" else "Receiving", self._name))

    def moved(self, counted, size):
        if self._progress is not None:
            self._progress(self._name, size, None)
        now = monotonic()
        if self._log_func is None or now - self._last < 1:
            return
        rate = (counted - self._last_counted) / _MB / (now - self._last)
        self._log_func("%s %.3f MB (%.3f MB/sec)" % (self._verb, counted / _MB, rate))
        self._last, self._last_counted = now, counted


# From the engine's codes to the exceptions of the field

_IN_TIME = {
    "sending": "Timeout expired while sending data to server",
    "receiving": "Timeout expired while receiving data from server",
}
_IN_SOCKET = {
    "sending": "Could not send data to server",
    "receiving": "Error receiving data from server",
}


def _exception(e, filename, where):
    """The exception that an EngineError stands for."""
    if e.code == "remote":
        return FileTransferServerError(os.fsdecode(e.said))
    if e.doing == "connecting":
        return FileTransferConnectError("Cannot connect to server at %s" % where, _os_error(e))
    if e.doing == "greeting":
        return FileTransferConnectError("Timeout expired while waiting to receive magic number"
                                        if e.code == "timeout" else "Received wrong magic number")
    if e.doing == "files":
        return FileTransferLocalError("Cannot read or write a local file", _os_error(e), filename)
    if e.code == "timeout":
        return FileTransferTimeoutError(_IN_TIME[e.doing], filename=filename)
    if e.code == "eof" and e.doing == "receiving":
        return FileTransferProtocolError("Connection closed unexpectedly while receiving data from server",
                                         filename=filename)
    if e.code == "proto":
        return FileTransferProtocolError("Received unexpected msg", filename=filename)
    if e.code in ("io", "eof", "closed"):
        return FileTransferSocketError(_IN_SOCKET[e.doing], _os_error(e), filename)
    return FileTransferError(e.detail, filename=filename)


def _found(pattern):
    """The paths that a pattern finds; glob would take what a signal handler raises for no path."""
    return glob.glob(pattern) if glob.has_magic(pattern) else [pattern] * signals.lexists(pattern)


def _os_error(e):
    """The OSError that an EngineError tells of."""
    import errno
    if e.errno is not None:
        return OSError(e.errno, os.strerror(e.errno))
    if e.code == "timeout":
        import socket
        return socket.timeout("timed out")
    if e.code == "closed":
        return OSError(errno.EBADF, os.strerror(errno.EBADF))
    if e.code == "eof":
        return OSError(errno.EPIPE, os.strerror(errno.EPIPE))
    return OSError(e.detail)


# The command line

def main(argv=None):
    """Transfer as the command line (default: this process's) says; return the exit status."""
    import argparse
    parser = argparse.ArgumentParser(prog="rss_client", description="Copy files to and from Windows guests.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("-u", "--upload", dest="copy", action="store_const", const=upload, help="copy to the guest")
    which.add_argument("-d", "--download", dest="copy", action="store_const", const=download,
                       help="copy from the guest")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell what is being done, and how fast")
    parser.add_argument("-t", "--timeout", type=float, default=3600, metavar="SECONDS",
                        help="for all of it (default: %(default)s)")
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("src_pattern")
    parser.add_argument("dst_path")
    args = parser.parse_args(argv)
    try:
        args.copy(args.address, args.port, args.src_pattern, args.dst_path,
                  (lambda line: print(printable(line))) if args.verbose else None, args.timeout)
    except FileTransferError as e:
        print("rss_client: %s" % printable(e), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
