"""Pictures of screens, in the PPM format and as PNG.

The data of a picture is bytes, three a pixel, from the top left one on.
"""

import re

from virtvm import signals


def image_read_from_ppm_file(filename):
    """(width, height, data) of a PPM file.  ValueError if it is none."""
    with open(filename, "rb") as f:
        content = f.read()
    head = re.match(rb"P6\s+(?:#.*\n)*(\d+)\s+(\d+)\s+255\s", content)
    if head is None:
        raise ValueError("%s is no PPM file" % filename)
    return int(head.group(1)), int(head.group(2)), content[head.end():]


def as_ppm_file(width, height, data):
    """A picture as a PPM file has it (bytes)."""
    return b"P6\n%d %d\n255\n" % (width, height) + data


def image_write_to_ppm_file(filename, width, height, data):
    """Write a picture to a PPM file."""
    with open(filename, "wb") as f:
        f.write(as_ppm_file(width, height, data))


def image_verify_ppm_file(filename):
    """Whether a file is a whole PPM picture (bool)."""
    try:
        width, height, data = image_read_from_ppm_file(filename)
    except (OSError, ValueError) as e:
        signals.let_out(e)
        return False
    return width > 0 and height > 0 and len(data) == 3 * width * height


def to_png(source, target):
    """A PNG file (8 bits, RGB) of a PPM one."""
    import struct
    import zlib
    width, height, data = image_read_from_ppm_file(source)
    rows = b"".join(b"\0" + data[3 * width * y:3 * width * (y + 1)] for y in range(height))

    def chunk(kind, content):
        return (struct.pack(">I", len(content)) + kind + content
                + struct.pack(">I", zlib.crc32(kind + content)))
    with open(target, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
