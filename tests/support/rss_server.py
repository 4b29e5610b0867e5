"""The remote shell server of Windows guests, its file port, on loopback.

Written from what is known of the genuine one: one thread a connection, no timeouts, files
overwritten in place, errors told in its words and followed by a close that leaves the rest
unread. Drive C: is a folder. Names are bytes, in no defined encoding.
"""

import contextlib
import fnmatch
import os
import re
import socket
import struct
import threading

MAGIC, CHUNK = 0x525353, 65536
OK, ERROR, UPLOAD, DOWNLOAD, SET_PATH, CREATE_FILE, CREATE_DIR, LEAVE_DIR, DONE = range(1, 10)


def word(n):
    return struct.pack("<I", n)


def packet(data):
    return word(len(data)) + data


def file(name, data=b""):
    """A file as it goes over the wire."""
    chunks = [data[i:i + CHUNK] for i in range(0, len(data), CHUNK)]
    if not chunks or len(chunks[-1]) == CHUNK:
        chunks.append(b"")
    return word(CREATE_FILE) + packet(name) + b"".join(map(packet, chunks))


def folder(name, *entries):
    return word(CREATE_DIR) + packet(name) + b"".join(entries) + word(LEAVE_DIR)


def error(text):
    return word(ERROR) + packet(text)


def take(peer, n):
    """Exactly n bytes from a socket."""
    data = peer.recv(n, socket.MSG_WAITALL)
    if len(data) < n:
        raise OSError("the client hung up")
    return data


def greet(peer):
    """For scripts of support.scripted: the opening, and the path of the first request."""
    peer.sendall(word(MAGIC))
    take(peer, 8)
    return take_path(peer)


def take_path(peer):
    """The path of a client's request (bytes)."""
    _set_path, size = struct.unpack("<II", take(peer, 8))
    return take(peer, size)


class Hangup(Exception):
    """The client is gone."""


class Told(Exception):
    """An error that the client is told."""


class RssServer:
    """Serves folder root as C:; port is where.  environ: what %NAME% stands for.  full_after:
    the disk is full after so many bytes."""

    def __init__(self, root, environ=None, full_after=None, listen="127.0.0.1"):
        self.root = os.fsencode(root)
        self.environ = dict({b"TEMP": b"C:\\Temp"}, **(environ or {}))
        self.full_after = full_after
        self.stopped, self.peers, self.errors = False, [], []
        family = socket.AF_INET6 if ":" in listen else socket.AF_INET
        self.listener = socket.create_server((listen, 0), family=family)
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self.serve)]
        self.threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stopped = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            if self.stopped:
                peer.close()
                return
            self.peers.append(peer)
            self.threads.append(threading.Thread(target=self.run, args=(peer,)))
            self.threads[-1].start()

    def run(self, peer):
        with peer, contextlib.suppress(Hangup, OSError):
            try:
                _Connection(self, peer).run()
            except Told as e:
                self.errors.append(str(e))
                peer.sendall(error(str(e).encode()))

    def local(self, path):
        """A Windows path (bytes) as one of this machine."""
        if not re.match(rb"[Cc]:", path) or len(path) > 260:
            raise FileNotFoundError(path)
        parts = [part for part in path[2:].split(b"\\") if part]
        if any(re.search(rb'[/:*?"<>|\0-\x1f]', part) for part in parts):
            raise FileNotFoundError(path)
        return os.path.join(self.root, *parts)


class _Connection:
    def __init__(self, server, peer):
        self.server, self.peer, self.path = server, peer, None
        self.stream = peer.makefile("rb")

    def receive(self, n):
        data = self.stream.read(n)
        if len(data) < n:
            raise Hangup
        return data

    def msg(self):
        return struct.unpack("<I", self.receive(4))[0]

    def packet(self, most, complaint):
        size = self.msg()
        if size > most:
            raise Told(complaint)
        return self.receive(size)

    def run(self):
        with self.stream:
            self.peer.sendall(word(MAGIC))
            self.chunk = self.msg()
            if not 512 <= self.chunk <= 1048576:
                raise Told("Client set invalid chunk size")
            mode = self.msg()
            serve = {UPLOAD: self.serve_upload, DOWNLOAD: self.serve_download}.get(mode)
            if serve is None:
                raise Told("Received unexpected msg")
            while True:
                serve(self.msg())

    def set_path(self):
        path = self.packet(511, "RSS_SET_PATH: could not receive path, or path too long")
        if path.endswith(b"\\") and len(path) > 3:
            path = path[:-1]
        self.path = re.sub(rb"%(\w+)%", lambda m: self.server.environ.get(m[1].upper(), m[0]), path)

    def is_folder(self, path):
        with contextlib.suppress(OSError):
            return os.path.isdir(self.server.local(path))
        return False

    def place(self, name):
        if self.is_folder(self.path):
            self.path = self.path.rstrip(b"\\") + b"\\" + name

    def leave(self):
        self.path = self.path.rpartition(b"\\")[0]

    # ---- uploads ----

    def serve_upload(self, msg):
        serve = {SET_PATH: self.set_path, CREATE_FILE: self.create_file, CREATE_DIR: self.create_dir,
                 LEAVE_DIR: self.leave, DONE: lambda: self.peer.sendall(word(OK))}.get(msg)
        if serve is None:
            raise Told("Received unexpected msg")
        serve()

    def create_file(self):
        self.place(self.packet(511, "RSS_CREATE_FILE: could not receive filename"))
        try:
            with open(self.server.local(self.path), "wb") as f:
                self.receive_chunks(f)
        except OSError:
            raise Told("RSS_CREATE_FILE: error receiving or writing file contents")
        self.leave()

    def receive_chunks(self, f):
        size = self.chunk
        while size == self.chunk:
            size = self.msg()
            if size > self.chunk:
                raise OSError("chunk too long")
            data = self.receive(size)
            left = self.server.full_after
            if left is not None and f.tell() + size > left:
                f.write(data[:max(0, left - f.tell())])
                raise OSError("disk full")
            f.write(data)

    def create_dir(self):
        self.place(self.packet(511, "RSS_CREATE_DIR: could not receive dirname"))
        if self.is_folder(self.path):
            return
        try:
            os.mkdir(self.server.local(self.path))
        except FileExistsError:
            raise Told("RSS_CREATE_DIR: path exists and is not a directory")
        except OSError:
            raise Told("RSS_CREATE_DIR: could not create directory")

    # ---- downloads ----

    def serve_download(self, msg):
        if msg != SET_PATH:
            raise Told("Received unexpected msg")
        self.set_path()
        above, _, pattern = self.path.rpartition(b"\\")
        with contextlib.suppress(OSError):
            self.send_matches(self.server.local(above or b"?"), pattern)
        self.peer.sendall(word(DONE))

    def send_matches(self, path, pattern):
        for name in os.listdir(path):
            # Windows has no character classes, and does not tell cases apart.
            wanted = re.sub(rb"\[", b"[[]", pattern).lower()
            if fnmatch.fnmatchcase(name.lower(), wanted) or name == pattern:
                self.send(os.path.join(path, name), name)

    def send(self, path, name):
        if os.path.islink(path):
            return
        if os.path.isdir(path):
            self.peer.sendall(word(CREATE_DIR) + packet(name))
            self.send_matches(path, b"*")
            self.peer.sendall(word(LEAVE_DIR))
        elif os.path.isfile(path) and os.access(path, os.R_OK):
            self.peer.sendall(word(CREATE_FILE) + packet(name))
            with open(path, "rb") as f:
                data = b"." * self.chunk
                while len(data) == self.chunk:
                    data = f.read(self.chunk)
                    self.peer.sendall(word(len(data)))      # two calls, as the genuine one
                    self.peer.sendall(data)
