"""What an initrd holds."""

import gzip


def entries(initrd):
    """{name: (mode, data)} of a newc archive."""
    with gzip.open(initrd) as f:
        data = f.read()
    found, at = {}, 0
    while True:
        fields = [int(data[at + 6 + 8 * n:at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + 110:at + 110 + name_size - 1].decode()
        start = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, data[start:start + size])
        at = (start + size + 3) & ~3
