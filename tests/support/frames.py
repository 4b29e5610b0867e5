"""What QEMU dumped of a guest's NIC (filter-dump, pcap)."""

import struct


def accepted(pcap):
    """Connections that the guest's port 22 has taken (int), from what QEMU dumped of its NIC."""
    with open(pcap, "rb") as f:
        data = f.read()
    at, taken = 24, set()
    while at + 16 <= len(data):
        length, = struct.unpack_from("<I", data, at + 8)
        frame, at = data[at + 16:at + 16 + length], at + 16 + length
        if frame[12:14] != b"\x08\x00" or frame[23:24] != b"\x06":
            continue
        tcp = 14 + (frame[14] & 15) * 4
        source, to = struct.unpack_from(">HH", frame, tcp)
        if source == 22 and frame[tcp + 13] & 0x12 == 0x12:
            taken.add(to)
    return len(taken)
