"""Pictures of screens in the PPM format: read, written, cut, compared.

The data of a picture is bytes, three a pixel, from the top left one on.
"""

import hashlib
import os
import time

from virtvm.host.pictures import (         # noqa: F401 (part of the interface)
    as_ppm_file, image_read_from_ppm_file, image_verify_ppm_file, image_write_to_ppm_file)


def image_crop(width, height, data, x1, y1, dx, dy):
    """(dx, dy, data) of a part of a picture, as far as it lies within it."""
    x1, y1 = min(x1, width - 1), min(y1, height - 1)
    dx, dy = min(dx, width - x1), min(dy, height - y1)
    rows = [data[3 * (x1 + width * y):3 * (x1 + dx + width * y)] for y in range(y1, y1 + dy)]
    return dx, dy, b"".join(rows)


def image_md5sum(width, height, data):
    """MD5 (hex, str) of the picture's file."""
    return hashlib.md5(as_ppm_file(width, height, data)).hexdigest()


def get_region_md5sum(width, height, data, x1, y1, dx, dy, cropped_image_filename=None):
    """MD5 (hex, str) of a part of a picture, which is written to a file if one is named."""
    part = image_crop(width, height, data, x1, y1, dx, dy)
    if cropped_image_filename:
        image_write_to_ppm_file(cropped_image_filename, *part)
    return image_md5sum(*part)


def _pixels(data):
    return zip(data[0::3], data[1::3], data[2::3])


def image_comparison(width, height, data1, data2):
    """(width, height, data): a grey picture of both, green where they are equal, red elsewhere."""
    result = bytearray()
    for one, other in zip(_pixels(data1), _pixels(data2)):
        value = 128 + (sum(one) // 3 + sum(other) // 3) // 2 // 2
        result += bytes((0, value, 0) if one == other else (value, 0, 0))
    return width, height, bytes(result)


def image_fuzzy_compare(width, height, data1, data2):
    """Share of the pixels that are equal (float, 0 to 1)."""
    pairs = list(zip(_pixels(data1), _pixels(data2)))
    return sum(one == other for one, other in pairs) / len(pairs)


def get_data_dir(steps_filename):
    """Folder of the pictures that belong to a steps file."""
    folder, name = os.path.split(steps_filename)
    return os.path.join(os.path.dirname(folder) or "..", "steps_data", name + "_data")


def find_id_for_screendump(md5sum, dir):
    """Name (str) of a picture in a folder that has this MD5 in it, or None."""
    for name in sorted(os.listdir(dir)):
        if md5sum in name:
            return name
    return None


def generate_id_for_screendump(md5sum, dir):
    """A name for a new picture: date, time, MD5."""
    return time.strftime("%Y%m%d_%H%M%S") + "_%s.ppm" % md5sum
