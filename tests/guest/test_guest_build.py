"""What `virtvm guest build` makes."""

import os
import stat
import subprocess
import sys

import pytest
from support.initrd import entries
from virtvm import guest
from virtvm.guest import password


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


def test_build_removes_what_a_killed_one_left(tmp_path):
    (tmp_path / "cache").mkdir()
    for folder in (tmp_path / ".unpack.1", tmp_path / "cache" / ".download.1"):
        folder.mkdir()
        (folder / "file").touch()
        (folder / "link").symlink_to(tmp_path / "cache")
    (tmp_path / ".guest.json.1").touch()
    (tmp_path / "cache" / ".packages.json.1").touch()
    (tmp_path / "cache" / "kept.deb").touch()
    with pytest.raises(guest.GuestBuildError, match="build once with network"):
        guest.build(str(tmp_path), offline=True)
    assert sorted(os.listdir(tmp_path)) == [".lock", "cache"]
    assert os.listdir(tmp_path / "cache") == ["kept.deb"]


def test_password_hash_is_crypt_s(tmp_path):
    # openssl's own implementation is the judge.
    hashed = password.crypt("pass word", "saltsalt")
    done = subprocess.run(["openssl", "passwd", "-6", "-salt", "rounds=1000$saltsalt", "-stdin"],
                          input="pass word\n", stdout=subprocess.PIPE, text=True)
    if done.returncode == 0 and "rounds=1000" in done.stdout:
        assert hashed == done.stdout.strip()
    busybox = subprocess.run(["busybox", "mkpasswd", "-m", "sha512", "-S", "saltsalt", "-P", "0"],
                             input="pass word\n", stdout=subprocess.PIPE, text=True)
    assert busybox.stdout.startswith("$6$")
    rounds, password._ROUNDS = password._ROUNDS, 5000
    try:
        digest = password.crypt("pass word", "saltsalt").rsplit("$", 1)[1]
    finally:
        password._ROUNDS = rounds
    assert busybox.stdout.strip().rsplit("$", 1)[1] == digest


def test_command_line(built_guest):
    done = subprocess.run([sys.executable, "-m", "virtvm", "guest", "build", built_guest.directory],
                          stdout=subprocess.PIPE, text=True, check=True)
    assert built_guest.kernel in done.stdout


def test_kernel_is_unpacked(built_guest):
    """An emulated processor would take long for that at each boot."""
    with open(built_guest.kernel, "rb") as f:
        assert f.read(4) == b"\x7fELF"
