"""The guest's kernel, ready to be started, and its modules."""

import os
import re
import struct

from virtvm.guest.commands import GuestBuildError
from virtvm.guest.unpacked import GZIP, find, find_one, unpack


def make_kernel(root, path):
    """Write the packages' kernel to a path: what is packed in it if QEMU can boot that.

    An emulated processor takes a second to unpack a kernel, and ten where another one's code
    was before, as after a reboot.
    """
    with open(find_one(root, "boot/vmlinuz-*", "lib/modules/*/vmlinuz"), "rb") as f:
        image = f.read()
    kernel = unpack(_payload(image), root)
    with open(path, "wb") as f:
        f.write(image if kernel is None or not _has_pvh(kernel) else kernel)


def _payload(image):
    """What is packed in a bzImage (Linux, Documentation/arch/x86/boot.rst); b"" if it is none."""
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        return b""
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = ((image[0x1f1] or 4) + 1) * 512 + offset
    payload = image[start:start + length]
    # At the end stands how long it is unpacked; gzip tells that itself.
    return payload if payload.startswith(GZIP) else payload[:-4]


def _has_pvh(kernel):
    """Whether an ELF kernel has the entry that QEMU uses: a note XEN_ELFNOTE_PHYS32_ENTRY."""
    return kernel.startswith(b"\x7fELF") and any(
        struct.pack("<III", 4, size, 18) + b"Xen\0" in kernel for size in (4, 8))


class Modules:
    """The kernel's modules, as files of the packages."""

    def __init__(self, root):
        self._root = root
        self._paths = {self._name(path): path for path in find(root, "lib/modules/*/kernel/**/*.ko*")}
        self._builtin = set()
        for path in find(root, "lib/modules/*/modules.builtin"):
            with open(path) as f:
                self._builtin.update(map(self._name, f.read().split()))

    @staticmethod
    def _name(path):
        """The kernel takes - and _ for the same."""
        return os.path.basename(path).split(".")[0].replace("-", "_")

    def has(self, name):
        """Whether there is a file of that module (bool)."""
        return self._name(name) in self._paths

    def needed_for(self, names, found=None):
        """{name: content (bytes)} of modules and of those that they need, each after what it needs."""
        found = {} if found is None else found
        for name in map(self._name, names):
            if name not in self._builtin and name not in found:
                content = self._content(name)
                self.needed_for(self._depends(content), found)
                found[name] = content
        return found

    def _content(self, name):
        if name not in self._paths:
            raise GuestBuildError("the kernel's packages have no module %s" % name)
        with open(self._paths[name], "rb") as f:
            content = f.read()
        return content if content.startswith(b"\x7fELF") else unpack(content, self._root) or content

    @staticmethod
    def _depends(content):
        """Names in the line depends=A,B of an ELF file's section .modinfo."""
        found = re.search(rb"\0depends=([\w,-]*)\0", content)
        return [name for name in found.group(1).decode().split(",") if name] if found else []
