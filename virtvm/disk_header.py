"""What a disk image's first bytes say: its format, and the other files that it would have opened.

A guest that writes to a raw image chooses these bytes, so they may only be compared with what the
user said, never be believed.
"""

import os
import re
import struct

from virtvm import signals

_MAGICS = ((b"KDMV", "vmdk"), (b"COWD", "vmdk"), (b"# Disk DescriptorFile", "vmdk"), (b"vhdxfile", "vhdx"),
           (b"conectix", "vpc"),
           (b"QED\0", "qed"))
_SUFFIXES = {".qcow2": "qcow2", ".qcow": "qcow", ".vmdk": "vmdk", ".vhdx": "vhdx", ".vhd": "vpc", ".vpc": "vpc",
             ".qed": "qed", ".vdi": "vdi"}
_DATA_FILE = 4          # of qcow2's incompatible features
_VDI_MAGIC = 0x40, b"\x7f\x10\xda\xbe"


def by_suffix(path):
    """The format (str) that a file's name says: raw unless it is one of the others'."""
    return _SUFFIXES.get(os.path.splitext(path)[1].lower(), "raw")


def by_header(path):
    """The format (str) that its first bytes say; raw for none.  OSError."""
    return _format(_head(path))


def _head(path, size=1 << 16):
    with open(path, "rb") as f:
        return f.read(size)


def _format(head):
    if head.startswith(b"QFI\xfb") and len(head) >= 8:
        return "qcow" if head[4:8] == b"\0\0\0\1" else "qcow2"
    at, magic = _VDI_MAGIC
    if head[at:at + 4] == magic:
        return "vdi"
    return next((name for start, name in _MAGICS if head.startswith(start)), "raw")


def other_files(path, format):
    """Names (list of str) of files that QEMU would open with this one: its backing file, its parts.  OSError."""
    return _FINDERS.get(format, lambda path: [])(path)


def _of_qcow(path):
    head = _head(path)
    if len(head) < 20:
        return []
    offset, size = struct.unpack(">QI", head[8:20])
    found = [_text_at(path, offset, min(size, 4096))] if offset else []
    if head[4:8] != b"\0\0\0\1" and len(head) >= 80 and struct.unpack(">Q", head[72:80])[0] & _DATA_FILE:
        found.append("a file for its data")
    return found


def _of_qed(path):
    head = _head(path)
    if len(head) < 64 or not struct.unpack("<Q", head[16:24])[0] & 1:
        return []
    offset, size = struct.unpack("<II", head[56:64])
    return [_text_at(path, offset, min(size, 4096))]


# As QEMU reads them: blanks between words may be missing, numbers may be signed, and the parent's name may stand
# anywhere.  One that is stricter than QEMU overlooks what QEMU opens.
_PARTS = re.compile(rb'(?<!\S)(?:RW|RDONLY|NOACCESS)\s+[+-]?\d+\s*\S{1,10}\s*"([^"\r\n]*)')
_PARENT = re.compile(rb'parentFileNameHint..([^"]*)', re.S)


def _of_vmdk(path):
    head = _head(path, 512)
    is_binary = head.startswith((b"KDMV", b"COWD"))
    at = {512} if is_binary else {0}
    if head.startswith(b"KDMV") and len(head) >= 36:
        at.add(struct.unpack("<Q", head[28:36])[0] << 9)
    found = []
    for offset in sorted(at):
        text = _bytes_at(path, offset, 1 << 20).partition(b"\0")[0]
        found += _PARENT.findall(text) + _PARTS.findall(text)
    # A file that has all in it names itself as its only part.
    own = os.path.basename(path)
    return [name for name in map(os.fsdecode, found) if name and not (is_binary and name == own)]


def _bytes_at(path, offset, size):
    with open(path, "rb") as f:
        f.seek(min(offset, 1 << 62))
        return f.read(size)


def _text_at(path, offset, size):
    return os.fsdecode(_bytes_at(path, offset, size).partition(b"\0")[0])


_FINDERS = {"qcow2": _of_qcow, "qcow": _of_qcow, "qed": _of_qed, "vmdk": _of_vmdk}


class ImageError(ValueError):
    """A disk image is not what was said of it: one line says what."""


def checked_format(path, format=None, backing=()):
    """The format (str) to open a disk image in: the one that is named, else that of its suffix.

    backing: paths (list) of the backing files that the user knows of.  Raises ImageError if the
    file's header disagrees, or has further files opened that nobody named; OSError.
    """
    chosen, header = format or by_suffix(path), by_header(path)
    if header != chosen and (chosen != "raw" or format is None) and (chosen, header) != ("vpc", "raw"):
        raise ImageError("%s: its name says that it is %s, its first bytes that it is %s: say which by --image-format"
                         % (path, chosen, header) if format is None else
                         "%s: it is no %s image (its first bytes say: %s)" % (path, chosen, header))
    known = {signals.realpath(name) for name in backing}
    _check_others(path, chosen, known, set())
    return chosen


def _check_others(path, format, known, seen):
    seen.add((signals.realpath(path), format))
    for name in other_files(path, format):
        place = os.path.join(os.path.dirname(path), name)
        if _has_protocol(name) or signals.realpath(place) not in known:
            raise ImageError("%s: it would have QEMU open %r, too: allow that by --image-backing FILE" % (path, name))
        # QEMU takes its format from the file above, or guesses it; and any text may be a vmdk.
        for its in (by_header(place), "vmdk"):
            if (signals.realpath(place), its) not in seen:
                _check_others(place, its, known, seen)


def _has_protocol(name):
    """Whether QEMU takes that name for another thing than a path: nbd:..., json:..."""
    return ":" in name.partition("/")[0]
