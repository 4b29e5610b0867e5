"""An SFTP server (version 3) with faults, to be run by sshd as its sftp subsystem.

    Subsystem sftp PYTHON fake_sftp.py FAULT...

An argument @FILE stands for the faults in that file.  It serves real files.  Faults (all optional, several at once):

    plain           no extensions: no posix-rename, no limits
    short           reads return at most 1,000 bytes
    small=N         limits@openssh.com tells N bytes for reads and writes
    full=N          writes fail once N bytes of a file are there
    lie             FSTAT tells one byte less
    stall=N         falls silent after N requests
    die=N           ends after N requests
    no-close        CLOSE fails
    no-rename       renames fail
    no-new-name     renames of what is new fail, those of what was there do not
    exists=N        a plain rename to a name that is there fails with this status
    slow=MS         removals and renames take so many milliseconds
    size-less=N     STAT, LSTAT and listings tell N bytes too few; FSTAT tells the truth
    early-eof=N     files end at byte N, whatever FSTAT tells
    names=A|B       a folder's listing has these instead of what is there
    twice           each name is listed two times
    endless         listings never end
    no-attrs        listings have no attributes
    wrong-id        the tenth answer has an id that nobody asked
    huge            the tenth answer has an impossible length
    long-data       reads return one byte more than asked
    empty-data=N    reads from byte N on return no byte, and no end either
    wrong-kind=K|L  requests of these kinds (numbers) are done, and answered by an answer of another kind
    spoil           reads and writes change the first byte of a file
    chatter         text before the first packet
    at=N, how=HOW   the N-th request (0: the first) goes wrong, once: the file of faults is
                    emptied. HOW: refuse, deny (nothing is done); wrong-id, cut-short (of the answer),
                    cut (the server ends), silent
    slow-handles    answers to OPEN come one request late
    slow-reads      answers to READ likewise
    empty-names     listings go on for ever, without names
    far=MS          a machine far away: answers take so many milliseconds, any number of them at once
    fsync=FILE      fsync@openssh.com is there, and each path that it was asked for is added to that file
    windows=FOLDER  the server of a Windows machine, whose disk C: is that folder: a backslash or a
                    colon in a name is refused
"""

import os
import queue
import select
import stat
import struct
import sys
import threading
import time

(INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR,
 REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK) = range(1, 21)
STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
EXTENDED, EXTENDED_REPLY = 200, 201
OK, EOF, NO_FILE, DENIED, FAILURE, BAD, _, _, UNSUPPORTED = range(9)


def string(data):
    return struct.pack(">I", len(data)) + data


class Packet:
    """Takes a packet's fields one after another."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def u32(self):
        self.at += 4
        return struct.unpack_from(">I", self.data, self.at - 4)[0]

    def u64(self):
        return self.u32() << 32 | self.u32()

    def string(self):
        n = self.u32()
        self.at += n
        return self.data[self.at - n:self.at]

    def path(self):
        return self.mapped(self.string())

    @staticmethod
    def mapped(path):
        """Where that path is here."""
        return path

    def attrs(self):
        flags = self.u32()
        found = {}
        if flags & 1:
            found["size"] = self.u64()
        if flags & 2:
            found["ids"] = self.u32(), self.u32()
        if flags & 4:
            found["mode"] = self.u32()
        if flags & 8:
            found["times"] = self.u32(), self.u32()
        return found


class Refusal(Exception):
    """Ends a request with a status."""


def attrs_of(st, less=0):
    return struct.pack(">IQIIIII", 15, max(0, st.st_size - less), st.st_uid, st.st_gid, st.st_mode,
                       int(st.st_atime) & 0xffffffff, int(st.st_mtime) & 0xffffffff)


def fall_silent():
    """Say nothing more until nobody is there to hear it."""
    end = select.poll()
    end.register(0, 0)              # only a hang-up is told
    end.poll(60000)
    sys.exit(0)


class Server:
    def __init__(self, faults):
        self.faults = dict(fault.partition("=")[::2] for fault in faults)
        self.handles, self.next_handle = {}, 0
        self.requests = self.answers = 0
        self.less = self.number("size-less")
        self.late = None
        self.on_the_way = queue.Queue() if "far" in self.faults else None
        if self.on_the_way is not None:
            threading.Thread(target=self.carry, daemon=True).start()
        if "windows" in self.faults:
            Packet.mapped = staticmethod(self.of_windows)

    def of_windows(self, path):
        """C:/x, or /C:/x, on a disk that knows no other names."""
        path = path[1:] if path[1:3] == b"C:" else path
        top = self.faults["windows"].encode()
        path = path[2:] if path[:2] == b"C:" else b"/Users/user/" + path
        if b"\\" in path or b":" in path:
            raise Refusal(NO_FILE)
        return top + path

    def number(self, fault):
        return int(self.faults.get(fault) or 0)

    # ---- packets ----

    def receive(self):
        head = sys.stdin.buffer.read(4)
        if len(head) < 4:
            sys.exit(0)
        return Packet(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))

    def send(self, kind, body):
        self.answers += 1
        if self.answers == 10 and "wrong-id" in self.faults:
            body = struct.pack(">I", 0xfffffff) + body[4:]
        length = len(body) + 1
        if self.answers == 10 and "huge" in self.faults:
            length = 0x7fffffff
        data = struct.pack(">IB", length, kind) + body
        if self.on_the_way is not None:
            self.on_the_way.put((time.monotonic() + self.number("far") / 1000, data))
            return
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def carry(self):
        """Answers arrive, each when its time has come."""
        while True:
            due, data = self.on_the_way.get()
            time.sleep(max(0, due - time.monotonic()))
            os.write(1, data)

    def status(self, request, code, text=b""):
        self.send(STATUS, request + struct.pack(">I", code) + string(text) + string(b""))

    def serve(self):
        if "chatter" in self.faults:
            sys.stdout.buffer.write(b"Welcome to this machine!\n")
        while True:
            packet = self.receive()
            kind = packet.data[0]
            packet.at = 1
            if kind == INIT:
                self.greet()
                continue
            self.requests += 1
            if self.number("stall") and self.requests > self.number("stall"):
                fall_silent()
            if self.number("die") and self.requests > self.number("die"):
                sys.exit(0)
            request = struct.pack(">I", packet.u32())
            if "at" in self.faults and self.requests == self.number("at") + 1:
                request = self.go_wrong(request)
            if request is not None:
                self.answer(kind, request, packet)

    def go_wrong(self, request):
        """The id for the answer, or None where there is none."""
        how, path = self.faults["how"], self.path
        with open(path, "w") as f:
            f.write(self.faults.get("then", ""))
        if how in ("refuse", "deny"):
            self.status(request, FAILURE if how == "refuse" else DENIED)
        elif how == "wrong-id":
            return struct.pack(">I", 0xfffffff)
        elif how == "cut-short":
            self.send(STATUS, request + bytes(2))
        elif how == "cut":
            sys.exit(0)
        else:
            fall_silent()
        return None

    def answer(self, kind, request, packet):
        late, self.late = self.late, None
        try:
            done = getattr(self, "do_%d" % kind)(packet)
        except AttributeError:
            self.status(request, UNSUPPORTED)
        except Refusal as e:
            self.status(request, *e.args)
        except FileNotFoundError:
            self.status(request, NO_FILE)
        except PermissionError:
            self.status(request, DENIED)
        except OSError as e:
            self.status(request, FAILURE, os.strerror(e.errno).encode())
        else:
            if str(kind) in self.faults.get("wrong-kind", "").split("|"):
                self.send(EXTENDED_REPLY, request + bytes(4))
            elif done is None:
                self.status(request, OK)
            elif (kind == OPEN and "slow-handles" in self.faults) or (kind == READ and "slow-reads" in self.faults):
                self.late = (done[0], request + done[1])
            else:
                self.send(done[0], request + done[1])
        if late is not None:
            self.send(*late)

    def greet(self):
        body = struct.pack(">I", 3)
        if "plain" not in self.faults:
            body += string(b"posix-rename@openssh.com") + string(b"1")
            if "fsync" in self.faults:
                body += string(b"fsync@openssh.com") + string(b"1")
            if "small" in self.faults:
                body += string(b"limits@openssh.com") + string(b"1")
        self.send(VERSION, body)

    # ---- requests ----

    def new_handle(self, thing):
        self.next_handle += 1
        name = b"h%d" % self.next_handle
        self.handles[name] = thing
        return HANDLE, string(name)

    def handle(self, packet):
        return self.handles[packet.string()]

    def do_3(self, packet):
        path, flags, attrs = packet.path(), packet.u32(), packet.attrs()
        how = {1: os.O_RDONLY, 2: os.O_WRONLY, 3: os.O_RDWR}[flags & 3]
        how |= (os.O_CREAT if flags & 8 else 0) | (os.O_TRUNC if flags & 16 else 0) | (os.O_EXCL if flags & 32 else 0)
        return self.new_handle(os.open(path, how, attrs.get("mode", 0o644)))

    def do_4(self, packet):
        thing = self.handles.pop(packet.string())
        if isinstance(thing, int):
            os.close(thing)
            if "no-close" in self.faults:
                raise Refusal(FAILURE, b"no space left")

    def do_5(self, packet):
        fd, offset, n = self.handle(packet), packet.u64(), packet.u32()
        if "short" in self.faults:
            n = min(n, 1000)
        if "early-eof" in self.faults:
            n = max(0, min(n, self.number("early-eof") - offset))
        data = os.pread(fd, n, offset)
        if "empty-data" in self.faults and offset >= self.number("empty-data"):
            return DATA, string(b"")
        if not data:
            raise Refusal(EOF)
        if "spoil" in self.faults and offset == 0:
            data = b"?" + data[1:]
        if "long-data" in self.faults:
            data = data.ljust(n, b"x") + b"x"
        return DATA, string(data)

    def do_6(self, packet):
        fd, offset, data = self.handle(packet), packet.u64(), packet.string()
        if "full" in self.faults and offset + len(data) > self.number("full"):
            raise Refusal(FAILURE, b"No space left on device")
        if "spoil" in self.faults and offset == 0:
            data = b"?" + data[1:]
        os.pwrite(fd, data, offset)

    def do_7(self, packet):
        return ATTRS, attrs_of(os.lstat(packet.path()), less=self.less)

    def do_8(self, packet):
        return ATTRS, attrs_of(os.fstat(self.handle(packet)), less=int("lie" in self.faults))

    def change(self, where, attrs):
        if "mode" in attrs:
            os.chmod(where, attrs["mode"] & 0o7777)
        if "times" in attrs:
            os.utime(where, attrs["times"])

    def do_9(self, packet):
        self.change(packet.path(), packet.attrs())

    def do_10(self, packet):
        self.change(self.handle(packet), packet.attrs())

    def do_11(self, packet):
        path = packet.path()
        names = self.faults["names"].encode().split(b"|") if "names" in self.faults else os.listdir(path)
        if "twice" in self.faults:
            names = names + names
        return self.new_handle([path, [b".", b".."] + names])

    def do_12(self, packet):
        folder = self.handle(packet)
        path, names = folder
        some, folder[1] = names[:7], names[7:]
        if "empty-names" in self.faults and not some:
            return NAME, bytes(4)
        if "endless" in self.faults and not some:
            some = [b"more%d" % self.requests]
        if not some:
            raise Refusal(EOF)
        body = struct.pack(">I", len(some))
        for name in some:
            try:
                attrs = attrs_of(os.lstat(os.path.join(path, name)), less=self.less)
            except (OSError, ValueError):
                attrs = struct.pack(">IQI", 5, 1, stat.S_IFREG | 0o644)
            if "no-attrs" in self.faults:
                attrs = struct.pack(">I", 0)
            body += string(name) + string(b"-rw-r--r-- " + name) + attrs
        return NAME, body

    def do_13(self, packet):
        time.sleep(self.number("slow") / 1000)
        os.unlink(packet.path())

    def do_14(self, packet):
        os.mkdir(packet.path(), packet.attrs().get("mode", 0o755))

    def do_15(self, packet):
        os.rmdir(packet.path())

    def do_16(self, packet):
        if "windows" in self.faults:
            path = packet.string()
            path = b"/C:/Users/user" if path == b"." else path
            return NAME, struct.pack(">I", 1) + string(path) + string(b"") + bytes(4)
        return NAME, struct.pack(">I", 1) + string(os.path.realpath(packet.string() or b".")) + string(b"") + bytes(4)

    def do_17(self, packet):
        return ATTRS, attrs_of(os.stat(packet.path()), less=self.less)

    def do_18(self, packet):
        old, new = packet.path(), packet.path()
        time.sleep(self.number("slow") / 1000)
        self.check_rename(old)
        if os.path.lexists(new):
            raise Refusal(self.number("exists") or FAILURE)
        os.rename(old, new)

    def check_rename(self, old):
        if "no-rename" in self.faults:
            raise Refusal(DENIED)
        if "no-new-name" in self.faults and b".vt-" in old and not old.endswith(b".old"):
            raise Refusal(FAILURE)

    def do_19(self, packet):
        return NAME, struct.pack(">I", 1) + string(os.readlink(packet.string())) + string(b"") + bytes(4)

    def do_20(self, packet):
        target, link = packet.string(), packet.string()
        os.symlink(target, link)

    def do_200(self, packet):
        name = packet.string()
        if name == b"posix-rename@openssh.com" and "plain" not in self.faults:
            old, new = packet.path(), packet.path()
            self.check_rename(old)
            os.rename(old, new)
            return None
        if name == b"fsync@openssh.com" and "fsync" in self.faults:
            fd = self.handle(packet)
            os.fsync(fd)
            with open(self.faults["fsync"], "a") as f:
                f.write(os.readlink("/proc/self/fd/%d" % fd) + "\n")
            return None
        if name == b"limits@openssh.com" and "small" in self.faults:
            n = self.number("small")
            return EXTENDED_REPLY, struct.pack(">QQQQ", 262144, n, n, 20)
        raise Refusal(UNSUPPORTED)


if __name__ == "__main__":
    os.umask(0o027)
    words, path = [], None
    for word in sys.argv[1:]:
        path = word[1:] if word.startswith("@") else path
        words += open(word[1:]).read().split() if word.startswith("@") else [word]
    server = Server(words)
    server.path = path
    server.serve()
