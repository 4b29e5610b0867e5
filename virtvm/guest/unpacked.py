"""What is in the unpacked packages: files, libraries, what is packed once more."""

import bz2
import glob
import lzma
import os
import struct
import zlib

from virtvm import signals
from virtvm.guest.commands import GuestBuildError, filtered

_PLACES = ["lib/x86_64-linux-gnu", "lib64", "lib"]


def find(root, *patterns):
    """Paths in the unpacked packages, below /usr or not: Debian 12's are of both kinds."""
    root, found = glob.escape(root), []
    for pattern in patterns:
        for above in ("usr", ""):
            found += sorted(glob.glob(os.path.join(root, above, pattern), recursive=True))
    return found


def find_one(root, *patterns):
    found = find(root, *patterns)
    if not found:
        raise GuestBuildError("no package has the file %s" % patterns[0])
    return found[0]


def find_library(root, name):
    """Path of a library in the unpacked packages."""
    base = glob.escape(os.path.basename(name))
    for path in find(root, *[os.path.join(place, base) for place in _PLACES]):
        real = signals.realpath(path)
        if real.startswith(root + os.sep):      # an absolute link leads to this host's
            return real
    raise GuestBuildError("a program of the guest needs the library %s, which no package has" % base)


def unpacked_program(root, program, folder="bin/"):
    """Start of a command line: one of the packages' programs, with its own libraries and loader.

    They may be newer than this host.
    """
    return [find_library(root, "ld-linux-x86-64.so.2"), "--library-path", ":".join(find(root, *_PLACES)),
            find_one(root, folder + program)]


GZIP = b"\x1f\x8b"
_PACKED = {GZIP: lambda data, root: _all_of(zlib.decompressobj(31), data),
           b"\xfd7zXZ\0": lambda data, root: _all_of(lzma.LZMADecompressor(), data),
           b"]\0\0": lambda data, root: _all_of(lzma.LZMADecompressor(lzma.FORMAT_ALONE), data),
           b"BZh": lambda data, root: _all_of(bz2.BZ2Decompressor(), data),
           b"\x02\x21\x4c\x18": lambda data, root: filtered(unpacked_program(root, "lz4") + ["-dcq"], data),
           b"\x28\xb5\x2f\xfd": lambda data, root: filtered(unpacked_program(root, "zstd") + ["-dcq"], data)}


def _all_of(decompressor, data):
    unpacked = decompressor.decompress(data)
    if not decompressor.eof:
        raise EOFError("what is packed in it is cut off")
    return unpacked


def unpack(data, root):
    """What is packed in data (bytes), or None: in a way not known here."""
    for magic, unpack in _PACKED.items():
        if data.startswith(magic):
            return unpack(data, root)
    return None


def needed_by(path):
    """Names of the shared libraries and of the loader that an ELF file (64 bit) asks for."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:5] != b"\x7fELF\x02":
        return []
    start, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    names, dynamic, loads = [], None, []
    for at in range(start, start + size * count, size):
        kind, _flags, offset, address, _p, length = struct.unpack_from("<IIQQQQ", data, at)
        if kind == 1:
            loads.append((address, length, offset))
        elif kind == 2:
            dynamic = (offset, length)
        elif kind == 3:
            names.append(data[offset:offset + length].rstrip(b"\0").decode())
    entries = [] if dynamic is None else list(
        struct.iter_unpack("<QQ", data[dynamic[0]:dynamic[0] + dynamic[1]]))
    table = next((value for tag, value in entries if tag == 5), 0)
    for address, length, offset in loads:
        if address <= table < address + length:
            table += offset - address
            break
    for tag, value in entries:
        if tag == 1:
            end = data.index(b"\0", table + value)
            names.append(data[table + value:end].decode())
    return names
