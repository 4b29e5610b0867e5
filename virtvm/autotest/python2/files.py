"""Files, pipes and sockets whose data is str, a character for each byte."""

import contextlib
import io
import os
import socket
import subprocess

from virtvm.autotest.python2.text import from_bytes, to_bytes


class File:
    """Python 2's file, over a binary file of Python 3."""

    softspace = False
    _by_line = False

    def __init__(self, name, mode="r", buffering=-1):
        self._universal = "U" in mode
        binary = mode.replace("U", "").replace("b", "").replace("t", "") or "r"
        self._by_line = buffering == 1      # which Python 3 does for texts only
        self._open(open(name, binary + "b", -1 if self._by_line else buffering), mode)

    def _open(self, binary, mode, universal=None):
        self._file, self.mode = binary, mode
        if universal is not None:
            self._universal = universal

    @classmethod
    def over(cls, binary, mode="r", universal=False):
        """A File over a binary file that is open."""
        self = cls.__new__(cls)
        self._open(binary, mode, universal)
        return self

    def __getattr__(self, name):
        if name == "_file":
            raise AttributeError(name)
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __del__(self):
        # open(path).read() was how files were read.
        with contextlib.suppress(Exception):
            self.close()

    def __iter__(self):
        return self

    def __repr__(self):
        return "<%s file %r, mode %r>" % ("closed" if self.closed else "open", self.name, self.mode)

    @property
    def closed(self):
        """Whether it is closed."""
        return self._file.closed

    @property
    def name(self):
        """The path, or what stands for one."""
        return getattr(self._file, "name", None)

    def close(self):
        """Close it."""
        return self._file.close()

    def _text(self, data):
        text = from_bytes(data or b"")
        return text.replace("\r\n", "\n").replace("\r", "\n") if self._universal else text

    def read(self, size=-1):
        """The rest, or size bytes at most (str)."""
        return self._text(self._file.read(-1 if size is None else size))

    def readline(self, size=-1):
        """The next line, "" at the end."""
        return self._text(self._file.readline(size))

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    next = __next__

    def readlines(self, hint=-1):
        """The lines that are left (list of str)."""
        return [self._text(line) for line in self._file.readlines(hint)]

    def xreadlines(self):
        """The lines that are left, one by one."""
        return self

    def write(self, data):
        """Write a str, or bytes."""
        data = to_bytes(data)
        if self._by_line and b"\n" in data:
            lines, newline, data = data.rpartition(b"\n")
            self._file.write(lines + newline)
            self._file.flush()
        self._file.write(data)

    def writelines(self, lines):
        """Write strings one after the other."""
        for line in lines:
            self.write(line)


def open_(name, mode="r", buffering=-1):
    """open()."""
    return File(name, mode, buffering)


def fdopen(fd, mode="r", buffering=-1):
    """os.fdopen()."""
    return File(fd, mode, buffering)


class StringIO(io.StringIO):
    """StringIO.StringIO and cStringIO.StringIO."""

    def __init__(self, buf=""):
        io.StringIO.__init__(self, buf if isinstance(buf, str) else from_bytes(buf), newline="\n")

    def write(self, data):
        """Write a str, bytes, or the text of anything."""
        if not isinstance(data, str):
            data = from_bytes(data) if isinstance(data, (bytes, bytearray, memoryview)) else str(data)
        io.StringIO.write(self, data)

    def next(self):
        """The next line."""
        return self.__next__()

    @property
    def len(self):
        """How long it is."""
        return len(self.getvalue())


class Socket(socket.socket):
    """A socket that takes and gives str."""

    def recv(self, *args):
        """As socket.recv()."""
        return from_bytes(socket.socket.recv(self, *args))

    def recvfrom(self, *args):
        """As socket.recvfrom()."""
        data, address = socket.socket.recvfrom(self, *args)
        return from_bytes(data), address

    def send(self, data, *args):
        """As socket.send()."""
        return socket.socket.send(self, to_bytes(data), *args)

    def sendall(self, data, *args):
        """As socket.sendall()."""
        return socket.socket.sendall(self, to_bytes(data), *args)

    def sendto(self, data, *args):
        """As socket.sendto()."""
        return socket.socket.sendto(self, to_bytes(data), *args)

    def __del__(self):
        self.close()

    def accept(self):
        """As socket.accept()."""
        connection, address = socket.socket.accept(self)
        return over_socket(connection), address

    def dup(self):
        """As socket.dup()."""
        return over_socket(socket.socket.dup(self))

    def makefile(self, mode="r", bufsize=-1):
        """As socket.makefile(), the file being Python 2's."""
        plain = mode.replace("b", "").replace("+", "w")
        buffering = None if bufsize in (-1, 1) else bufsize
        return File.over(socket.socket.makefile(self, plain + "b", buffering), mode)


def over_socket(plain):
    """A Socket in place of a socket, which it takes over."""
    timeout = plain.gettimeout()
    new = Socket(plain.family, plain.type, plain.proto, plain.detach())
    new.settimeout(timeout)
    return new


class Popen(subprocess.Popen):
    """A process whose pipes are Python 2's files."""

    def __init__(self, args, bufsize=0, *more, **kwargs):
        universal = kwargs.pop("universal_newlines", False)
        subprocess.Popen.__init__(self, args, bufsize if bufsize > 1 else -1, *more, **kwargs)
        for name, mode in ("stdin", "w"), ("stdout", "r"), ("stderr", "r"):
            pipe = getattr(self, name)
            if pipe is not None:
                # Unbuffered, as Python 2's were, as far as what is written goes.
                if mode == "w" and bufsize in (0, 1) and hasattr(pipe, "detach"):
                    pipe = pipe.detach()
                setattr(self, name, File.over(pipe, mode, bool(universal)))

    def __del__(self):
        subprocess.Popen.__del__(self, _warn=lambda *args, **kwargs: None)      # it may be left running

    def communicate(self, input=None):
        """As Popen.communicate(), with str."""
        out, err = subprocess.Popen.communicate(self, None if input is None else to_bytes(input))
        return tuple(from_bytes(data) if isinstance(data, bytes) else data for data in (out, err))


def call(*args, **kwargs):
    """subprocess.call()."""
    with Popen(*args, **kwargs) as process:
        return process.wait()


def check_call(*args, **kwargs):
    """subprocess.check_call()."""
    status = call(*args, **kwargs)
    if status:
        raise subprocess.CalledProcessError(status, kwargs.get("args", args and args[0]))
    return 0


def check_output(*args, **kwargs):
    """subprocess.check_output()."""
    with Popen(*args, stdout=subprocess.PIPE, **kwargs) as process:
        output = process.communicate()[0]
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, kwargs.get("args", args and args[0]), output)
    return output


class _Pipe(File):
    """What os.popen() returns: closing it waits, and tells the wait status if it is not 0."""

    def close(self):
        """None, or the status as os.wait() has it."""
        File.close(self)
        status = self._process.wait()
        return wait_status(status) or None


def wait_status(returncode):
    """An exit status as os.wait() tells it."""
    return -returncode if returncode < 0 else returncode << 8


def popen(command, mode="r", bufsize=-1):
    """os.popen()."""
    reading = "r" in mode
    pipes = {"stdout" if reading else "stdin": subprocess.PIPE}
    process = subprocess.Popen(command, shell=True, **pipes)
    pipe = _Pipe.over(process.stdout if reading else process.stdin, mode)
    pipe._process = process
    return pipe


def popen2(command, mode="t", bufsize=-1):
    """os.popen2(): (stdin, stdout)."""
    process = _with_pipes(command)
    return process.stdin, process.stdout


def popen3(command, mode="t", bufsize=-1):
    """os.popen3(): (stdin, stdout, stderr)."""
    process = _with_pipes(command, stderr=subprocess.PIPE)
    return process.stdin, process.stdout, process.stderr


def popen4(command, mode="t", bufsize=-1):
    """os.popen4(): (stdin, stdout and stderr)."""
    process = _with_pipes(command, stderr=subprocess.STDOUT)
    return process.stdin, process.stdout


def _with_pipes(command, **kwargs):
    process = Popen(command, shell=isinstance(command, str), stdin=subprocess.PIPE, stdout=subprocess.PIPE, **kwargs)
    process.stdout._process = process       # lives as long as somebody can read
    return process


def read(fd, size):
    """os.read()."""
    return from_bytes(os.read(fd, size))


def write(fd, data):
    """os.write()."""
    return os.write(fd, to_bytes(data))
