"""What `virtvm guest build` makes."""

import gzip
import lzma
import os
import stat
import struct
import subprocess
import sys

import pytest
from virtvm import guest


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


def test_initrd_is_small_and_has_what_a_guest_needs(built_guest):
    assert os.path.getsize(built_guest.initrd) < 6 << 20
    found = entries(built_guest.initrd)
    for name in ("init", "bin/busybox", "usr/sbin/dropbear", "usr/lib/sftp-server", "usr/bin/scp",
                 "lib/modules/virtio_net.ko", "usr/bin/provoke-oops", "lib64/ld-linux-x86-64.so.2"):
        assert name in found
    assert stat.S_IMODE(found["etc/shadow"][0]) == 0o600
    assert stat.S_ISCHR(found["dev/console"][0])
    assert guest.PASSWORD.encode() not in found["etc/shadow"][1]


def test_second_build_keeps_what_is_up_to_date(built_guest):
    before = os.stat(built_guest.initrd).st_ino
    lines = []
    guest.build(built_guest.directory, log=lines.append)
    assert lines == ["up to date"]
    assert os.stat(built_guest.initrd).st_ino == before


def test_offline_build_uses_the_packages_of_an_earlier_one(built_guest, tmp_path):
    cache = tmp_path / "cache"
    os.symlink(os.path.join(built_guest.directory, "cache"), cache)
    other = guest.build(str(tmp_path), password="secret", offline=True)
    assert entries(other.initrd)["etc/shadow"] != entries(built_guest.initrd)["etc/shadow"]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".") and name != ".lock"]


def test_offline_build_without_packages_says_so(tmp_path):
    with pytest.raises(guest.GuestBuildError, match="build once with network"):
        guest.build(str(tmp_path), offline=True)


def test_missing_tool_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(guest.GuestBuildError, match="apt-(cache|get) is missing: install the package apt"):
        guest.build(str(tmp_path / "guest"))


def test_password_hash_is_crypt_s(tmp_path):
    # openssl's own implementation is the judge.
    hashed = guest._crypt("pass word", "saltsalt")
    done = subprocess.run(["openssl", "passwd", "-6", "-salt", "rounds=1000$saltsalt", "-stdin"],
                          input="pass word\n", stdout=subprocess.PIPE, text=True)
    if done.returncode == 0 and "rounds=1000" in done.stdout:
        assert hashed == done.stdout.strip()
    busybox = subprocess.run(["busybox", "mkpasswd", "-m", "sha512", "-S", "saltsalt", "-P", "0"],
                             input="pass word\n", stdout=subprocess.PIPE, text=True)
    assert busybox.stdout.startswith("$6$")
    rounds, guest._ROUNDS = guest._ROUNDS, 5000
    try:
        digest = guest._crypt("pass word", "saltsalt").rsplit("$", 1)[1]
    finally:
        guest._ROUNDS = rounds
    assert busybox.stdout.strip().rsplit("$", 1)[1] == digest


def test_command_line(built_guest):
    done = subprocess.run([sys.executable, "-m", "virtvm", "guest", "build", built_guest.directory],
                          stdout=subprocess.PIPE, text=True, check=True)
    assert built_guest.kernel in done.stdout


def test_kernel_is_unpacked(built_guest):
    """An emulated processor would take long for that at each boot."""
    with open(built_guest.kernel, "rb") as f:
        assert f.read(4) == b"\x7fELF"


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress])
def test_kernels_of_other_kinds(tmp_path, pack):
    kernel = b"\x7fELF" + struct.pack("<III", 4, 8, 18) + b"Xen\0" + bytes(range(256)) * 64
    (tmp_path / "boot").mkdir()
    packed = tmp_path / "boot" / "vmlinuz-1"

    def made(payload):
        head = bytearray(4096)
        head[0x1f1] = 6                                         # sectors after the first
        struct.pack_into("<II", head, 0x248, 4096 - 7 * 512, len(payload))
        packed.write_bytes(bytes(head) + payload + b"\0" * 100)
        guest._make_kernel(str(tmp_path), str(tmp_path / "kernel"))
        return (tmp_path / "kernel").read_bytes()

    assert made(pack(kernel)) == kernel
    # What QEMU could not boot, or what is packed in a way not known, stays as it is.
    assert made(pack(kernel.replace(b"Xen", b"Zen"))) == packed.read_bytes()
    assert made(b"?" + pack(kernel)) == packed.read_bytes()
