"""The guest's first and only root: a cpio archive in "newc" format."""

import os
import stat

from virtvm.guest.commands import run
from virtvm.guest.kernel import Modules
from virtvm.guest.password import crypt
from virtvm.guest.unpacked import find_library, find_one, needed_by

# What the guest's devices need; a module brings those that it needs itself.
MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "ext4"]
# For tests that mount what QEMU makes of a folder; not loaded at boot, and not every kernel has them apart.
MORE_MODULES = ["vfat", "nls_cp437", "nls_ascii", "nls_utf8"]
_FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files")
_FOLDERS = ["bin", "data", "dev", "etc", "etc/dropbear", "lib", "lib/modules", "lib64", "mnt",
            "proc", "root", "run", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/lib",
            "usr/lib/openssh", "usr/sbin", "var", "var/log"]


def files():
    """{name: (content, mode)} of the guest's own files: scripts can be run."""
    found = {}
    for folder, _, names in os.walk(_FILES):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as f:
                content = f.read()
            found[os.path.relpath(path, _FILES)] = content, 0o755 if content.startswith(b"#!") else 0o644
    return found


class Archive:
    """Collects files; needs no root, and makes the same bytes from the same files."""

    def __init__(self):
        self._entries = {}

    def _add(self, name, mode, data=b"", device=(0, 0)):
        self._entries[name] = (mode, data, device)

    def folder(self, name, mode=0o755):
        self._add(name, stat.S_IFDIR | mode)

    def file(self, name, data, mode):
        self._add(name, stat.S_IFREG | mode, data)

    def copy(self, name, path, mode=0o755):
        with open(path, "rb") as f:
            self.file(name, f.read(), mode)

    def link(self, name, target):
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, mode, major, minor):
        self._add(name, stat.S_IFCHR | mode, device=(major, minor))

    def __contains__(self, name):
        return name in self._entries

    def __bytes__(self):
        parts = []
        for number, name in enumerate(sorted(self._entries), 1):
            parts.append(self._entry(number, name, *self._entries[name]))
        parts.append(self._entry(0, "TRAILER!!!", 0, b"", (0, 0)))
        return b"".join(parts)

    @staticmethod
    def _entry(number, name, mode, data, device):
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, device[0], device[1],
                  len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def make_initrd(root, password):
    archive = Archive()
    for name in _FOLDERS:
        archive.folder(name, 0o700 if name == "root" else 0o1777 if name == "tmp" else 0o755)
    archive.device("dev/console", 0o600, 5, 1)
    archive.device("dev/null", 0o666, 1, 3)
    for name, (content, mode) in files().items():
        archive.file(name, content, mode)
    archive.file("etc/shadow", ("root:%s:19000:0:99999:7:::\n" % crypt(password)).encode(), 0o600)
    add_busybox(archive, root)
    _add_programs(archive, root)
    modules = Modules(root)
    add_modules(archive, modules, MODULES, filter(modules.has, MORE_MODULES))
    return bytes(archive)


def add_modules(archive, modules, boot, later=()):
    """Those for the boot, and for later, each list with what they need before them: insmod takes a module as it is."""
    needed = modules.needed_for(boot)
    more = modules.needed_for(later)
    for name, content in {**needed, **more}.items():
        archive.file("lib/modules/%s.ko" % name, content, 0o644)
    for name, listed in (("order", needed), ("more", [name for name in more if name not in needed])):
        archive.file("lib/modules/" + name, "".join(module + "\n" for module in listed).encode(), 0o644)


def add_busybox(archive, root):
    path = find_one(root, "bin/busybox")
    archive.copy("bin/busybox", path)
    for applet in run([path, "--list-full"]).split():
        if applet not in archive:
            archive.link(applet, "/bin/busybox")
    archive.link("init", "/bin/busybox")
    archive.link("linuxrc", "/bin/busybox")


def _add_programs(archive, root):
    wanted = []
    for name in ("sbin/dropbear", "bin/scp", "lib/openssh/sftp-server"):
        path = find_one(root, name)
        archive.copy("usr/" + name, path)
        wanted += needed_by(path)
    archive.link("usr/lib/sftp-server", "openssh/sftp-server")     # where dropbear looks
    while wanted:
        library = wanted.pop()
        name = library.lstrip("/") if "/" in library else "lib/" + library
        if name not in archive:
            path = find_library(root, library)
            archive.copy(name, path)
            wanted += needed_by(path)
