"""The guest builder with packages of each kind, and without what it needs: no network, no virtual machine."""

import bz2
import glob
import gzip
import json
import lzma
import os
import struct
import subprocess
import sys

import pytest
from support.archive import Archive
from support.initrd import entries
from virtvm import guest
from virtvm.guest import building
from virtvm.guest.kernel import make_kernel

KERNEL = b"\x7fELF" + struct.pack("<III", 4, 8, 18) + b"Xen\0" + bytes(range(256)) * 64
# What a module needs, as the kernel's own build notes it in the module.
MODULES = {"virtio": "", "virtio_ring": "virtio", "virtio_pci_modern_dev": "virtio", "virtio-pci-legacy": "",
           "virtio_pci": "virtio_pci_modern_dev,virtio-pci-legacy,virtio_ring", "virtio_blk": "virtio_ring",
           "failover": "", "net_failover": "failover", "virtio_net": "net_failover,virtio_ring",
           "virtio_console": "", "rng-core": "", "virtio-rng": "rng-core", "mbcache": "", "ext4": "mbcache",
           "unwanted": ""}


def piped(*command):
    return lambda data: subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress,
           "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
           "lz4": piped("lz4", "-lc"), "zstd": piped("zstd", "-qc")}


def packed_kernel(payload, unpacked=KERNEL):
    """A bzImage: a head, then what is packed, and at the end of that the size of what is not, which gzip has itself."""
    if not payload.startswith(b"\x1f\x8b"):
        payload += struct.pack("<I", len(unpacked))
    head = bytearray(4096)
    head[0x1f1] = 6                                         # sectors after the first
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 4096 - 7 * 512, len(payload))
    return bytes(head) + payload + b"\0" * 100


def module(name):
    return b"\x7fELF" + b"\0license=GPL\0depends=%s\0name=%s\0" % (MODULES[name].encode(), name.encode()) + bytes(500)


def module_files(above, version, suffix="", pack=bytes, builtin=()):
    """{path: content} of the modules that are not builtin, and the list of those that are."""
    folder = "%slib/modules/%s" % (above, version)
    files = {"%s/kernel/drivers/x/%s.ko%s" % (folder, name, suffix): pack(module(name))
             for name in MODULES if name not in builtin}
    files[folder + "/modules.builtin"] = "".join("kernel/y/%s.ko\n" % name for name in builtin).encode()
    return files


def library_files(above, *programs):
    """{path: this host's} of the libraries that programs need, and of the loader."""
    files = {"%slib64/ld-linux-x86-64.so.2" % above: "/lib64/ld-linux-x86-64.so.2"}
    for program in programs:
        output = subprocess.run(["ldd", program], stdout=subprocess.PIPE, check=True).stdout.decode()
        for line in output.splitlines():
            name, arrow, path = line.strip().partition(" => ")
            if arrow:
                files["%slib/x86_64-linux-gnu/%s" % (above, name)] = path.split()[0]
    return files


def add_programs(archive, above, bin_above):
    """What is no part of the kernel.  bin_above: where busybox is, which was the last to move below /usr."""
    lz4, zstd = (subprocess.run(["which", name], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
                 for name in ("lz4", "zstd"))
    archive.add("busybox-static", {bin_above + "bin/busybox": os.path.realpath("/bin/busybox")})
    archive.add("dropbear-bin", {"usr/sbin/dropbear": "/usr/sbin/dropbear"}, "libeverything | nothing, adduser")
    archive.add("openssh-sftp-server", {"usr/lib/openssh/sftp-server": "/usr/lib/openssh/sftp-server"}, "gone")
    archive.add("openssh-client", {"usr/bin/scp": "/usr/bin/scp"}, "adduser, passwd")
    archive.add("lz4", {"usr/bin/lz4": lz4}, "libeverything (>= 1)")
    archive.add("zstd", {"usr/bin/zstd": zstd}, "libeverything, zlib1g")
    archive.add("libeverything", library_files(above, "/usr/sbin/dropbear", "/usr/bin/scp",
                                               "/usr/lib/openssh/sftp-server", lz4, zstd), "zlib1g, not-a-library")
    archive.add("zlib1g", {above + "share/doc/zlib1g": b"."})


def one_kernel(archive, above="", suffix="", pack=bytes, kernel="zstd", builtin=()):
    """As in Debian 12 and 13: all in one package."""
    version = "6.99.1-cloud"
    archive.add("linux-image-cloud-amd64", {}, "linux-image-" + version)
    archive.add("linux-image-" + version, {
        "boot/vmlinuz-" + version: packed_kernel(PACKERS[kernel](KERNEL)),
        **module_files(above, version, suffix, pack, builtin)},
        "kmod, linux-base, initramfs-tools | linux-initramfs-tool")
    archive.add("linux-base", {"usr/bin/linux-version": b"#!/bin/sh\n"}, "debconf")


def split_kernel(archive, suffix=".xz", pack=lzma.compress):
    """As in Debian 14: the kernel, its modules and what both need, below /usr."""
    version = "8.1.7+deb99-cloud"
    files = module_files("usr/", version, suffix, pack, ["virtio", "ext4", "mbcache"])
    builtin = {path: files.pop(path) for path in list(files) if path.endswith("builtin")}
    archive.add("linux-image-cloud-amd64", {}, "linux-base-cloud-amd64, linux-image-" + version)
    archive.add("linux-base-cloud-amd64", {}, "linux-base")
    archive.add("linux-base", {"usr/bin/linux-version": b"#!/bin/sh\n"}, "debconf")
    archive.add("linux-image-" + version, {}, "dracut | linux-initramfs-tool, linux-common-%s (= 1.0-1),"
                " linux-binary-%s, linux-modules-%s" % (version, version, version))
    archive.add("linux-common-" + version, builtin)
    archive.add("linux-binary-" + version,
                {"usr/lib/modules/%s/vmlinuz" % version: packed_kernel(PACKERS["zstd"](KERNEL))})
    archive.add("linux-modules-" + version, files, "kmod, linux-common-" + version)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An archive that apt-get, as the builder calls it, is confined to."""
    made = Archive(tmp_path / "archive")
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "guest")


LAYOUTS = {
    "bookworm": lambda archive: (add_programs(archive, "", ""),
                                 one_kernel(archive, kernel="lz4", builtin=["mbcache", "ext4"])),
    "trixie": lambda archive: (add_programs(archive, "usr/", "usr/"),
                               one_kernel(archive, "usr/", ".xz", lzma.compress, "zstd")),
    "forky": lambda archive: (add_programs(archive, "usr/", "usr/"), split_kernel(archive)),
    "zstd modules": lambda archive: (add_programs(archive, "usr/", "usr/"),
                                     split_kernel(archive, ".zst", PACKERS["zstd"])),
    "gzip modules": lambda archive: (add_programs(archive, "usr/", ""),
                                     one_kernel(archive, "usr/", ".gz", gzip.compress, "gzip")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout(archive, folder, layout):
    LAYOUTS[layout](archive)
    archive.publish()
    built = guest.build(folder)
    with open(built.kernel, "rb") as f:
        assert f.read() == KERNEL
    found = entries(built.initrd)
    assert "bin/busybox" in found and "usr/lib/openssh/sftp-server" in found
    assert "lib64/ld-linux-x86-64.so.2" in found and "lib/libc.so.6" in found
    order = found["lib/modules/order"][1].decode().split()
    assert "unwanted" not in order and {"virtio_pci", "virtio_blk", "virtio_net", "virtio_rng"} <= set(order)
    real = {name.replace("-", "_"): name for name in MODULES}
    for name in order:
        assert found["lib/modules/%s.ko" % name][1] == module(real[name])
        for needed in filter(None, MODULES[real[name]].replace("-", "_").split(",")):
            if needed in order:
                assert order.index(needed) < order.index(name)
    builtin = {"virtio", "ext4", "mbcache"} - set(order)
    assert builtin == {"bookworm": {"ext4", "mbcache"}, "forky": {"virtio", "ext4", "mbcache"},
                       "zstd modules": {"virtio", "ext4", "mbcache"}}.get(layout, set())
    assert subprocess.run(["qemu-img", "check", "-q", built.disk]).returncode == 0


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "lzma"])
@pytest.mark.parametrize("place", ["boot/vmlinuz-1", "usr/lib/modules/1/vmlinuz"])
def test_each_way_to_pack_a_kernel(tmp_path, kind, place):
    """Of those that need no program; the layouts have the others."""
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_bytes(packed_kernel(PACKERS[kind](KERNEL)))
    make_kernel(str(tmp_path), str(tmp_path / "kernel"))
    assert (tmp_path / "kernel").read_bytes() == KERNEL


@pytest.mark.parametrize("image", [packed_kernel(gzip.compress(KERNEL.replace(b"Xen", b"Zen"))),
                                   packed_kernel(b"?" + gzip.compress(KERNEL)), b"MZ" + b"PE" * 4000, b"\x7fELF"])
def test_kernel_that_cannot_be_unpacked_stays(tmp_path, image):
    """What QEMU could not boot, or what is packed in a way not known."""
    os.makedirs(tmp_path / "boot")
    (tmp_path / "boot" / "vmlinuz-1").write_bytes(image)
    make_kernel(str(tmp_path), str(tmp_path / "kernel"))
    assert (tmp_path / "kernel").read_bytes() == image


def test_second_build_asks_apt_for_nothing(archive, folder, monkeypatch):
    LAYOUTS["trixie"](archive)
    archive.publish()
    guest.build(folder)
    monkeypatch.setenv("APT_CONFIG", "/nonexistent")
    lines = []
    guest.build(folder, password="other", log=lines.append)         # built anew, from the same packages
    assert lines == ["unpacking", "making the initrd", "making the disk"]


def test_update_takes_new_versions_and_drops_old_ones(archive, folder):
    LAYOUTS["trixie"](archive)
    archive.publish()
    guest.build(folder)
    archive.add("busybox-static", {"usr/bin/busybox": os.path.realpath("/bin/busybox")}, version="1:2.0-1")
    archive.publish()
    lines = []
    guest.build(folder, update=True, log=lines.append)
    assert lines[0] == "fetching 1 packages"
    names = [os.path.basename(path) for path in glob.glob(os.path.join(folder, "cache", "busybox*"))]
    assert names == ["busybox-static_1%3a2.0-1_amd64.deb"]


def test_update_without_network_keeps_what_there_is(archive, folder):
    LAYOUTS["trixie"](archive)
    archive.publish()
    guest.build(folder)
    archive.add("busybox-static", {"usr/bin/busybox": os.path.realpath("/bin/busybox")}, version="2.0-1")
    archive.publish()
    archive.remove("busybox-static")
    with pytest.raises(guest.GuestBuildError, match="apt-get download failed with status 100: "):
        guest.build(folder, update=True)
    assert guest.build(folder, offline=True, password="new").exists()


def test_failure_between_leaves_no_mixed_guest(archive, folder, monkeypatch):
    LAYOUTS["trixie"](archive)
    archive.publish()
    before = guest.build(folder)
    initrd = os.stat(before.initrd).st_ino

    def fail(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(building, "_make_disk", fail)
    with pytest.raises(guest.GuestBuildError, match="No space left on device"):
        guest.build(folder, update=True)
    assert os.stat(before.initrd).st_ino == initrd
    assert guest.build(folder).exists()             # the old one, whole
    assert not [name for name in os.listdir(folder) if name.startswith(".unpack")]


# ---- what can be wrong ----

def broken(change):
    def make(archive, folder):
        LAYOUTS["trixie"](archive)
        change(archive)
        archive.publish()
    return make


def newer(name, files, depends=""):
    return broken(lambda archive: archive.add(name, files, depends, version="9"))


def gone(archive, folder):
    LAYOUTS["trixie"](archive)
    archive.publish()
    archive.remove("zstd")


def cut_off(archive, folder):
    LAYOUTS["trixie"](archive)
    archive.publish()
    guest.build(folder)
    path, = glob.glob(os.path.join(folder, "cache", "busybox*"))
    os.truncate(path, 100)
    os.unlink(os.path.join(folder, "guest.json"))


def a_file(archive, folder):
    with open(folder, "w"):
        pass


def locked_by_a_folder(archive, folder):
    os.makedirs(os.path.join(folder, ".lock"))


WRONG = {
    "no lists": (lambda archive, folder: None, "apt knows no package linux-image-cloud-amd64.*--image FILE"),
    "package not known": (broken(lambda archive: archive.rename("dropbear-bin", "else")),
                          "Unable to locate package dropbear-bin"),
    "package gone": (gone, "apt-get download failed"),
    "package cut off": (cut_off, "dpkg-deb failed"),
    "no busybox": (newer("busybox-static", {"usr/bin/other": b""}), "no package has the file bin/busybox"),
    "no program": (newer("busybox-static", {"usr/bin/busybox": b"\x7fELF"}), "usr/bin/busybox: "),
    "no library": (newer("libeverything", {"usr/lib/x": b""}), "needs the library"),
    "not packed by it": (newer("linux-image-6.99.1-cloud", {"boot/vmlinuz-6": packed_kernel(b"\x28\xb5\x2f\xfd?"),
                                                           **module_files("usr/", "6")}), "zstd failed with status 1"),
    "gzip cut off": (newer("linux-image-6.99.1-cloud", {"boot/vmlinuz-6": packed_kernel(b"\x1f\x8b\x08\0???"),
                                                       **module_files("usr/", "6")}), "a package is not as expected"),
    "no kernel": (newer("linux-image-6.99.1-cloud", module_files("usr/", "6")), "no package has the file boot/vmlinuz"),
    "no modules": (newer("linux-image-6.99.1-cloud", {"boot/vmlinuz-6": b"?"}), "have no module virtio_pci"),
    "module cut off": (newer("linux-image-6.99.1-cloud", {"boot/vmlinuz-6": b"?", **module_files(
        "usr/", "6", ".xz", lambda data: lzma.compress(data)[:-20])}), "EOFError: what is packed in it is cut off"),
    "a file": (a_file, "guest: Not a directory"),
    "no lock": (locked_by_a_folder, "Is a directory"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_told_in_a_line(archive, folder, kind):
    prepare, message = WRONG[kind]
    prepare(archive, folder)
    with pytest.raises(guest.GuestBuildError, match=message) as caught:
        guest.build(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert not os.path.exists(os.path.join(folder, "guest.json"))
    if os.path.isdir(folder):
        assert not [name for name in os.listdir(folder) if name.startswith(".unpack")]


@pytest.mark.parametrize("place", ["/proc/x", "/dev/null", "/dev/null/x", "/proc/sys/kernel"])
def test_a_place_that_is_none(place):
    with pytest.raises(guest.GuestBuildError, match="^" + place) as caught:
        guest.build(place)
    assert len(str(caught.value).splitlines()) == 1


def build_on(options, archive, folder, before=""):
    """`virtvm guest build` on a file system of its own: (status, lines)."""
    LAYOUTS["trixie"](archive)
    archive.publish()
    os.mkdir(folder)
    line = "mount -t tmpfs -o %s t %s && %s exec %s -m virtvm guest build %s" % (
        options, folder, before, sys.executable, folder)
    done = subprocess.run(["unshare", "--mount", "sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, [text for text in done.stdout.decode().splitlines() if not text.startswith("fetching")]


@pytest.mark.parametrize("options, message", [
    ("noexec", "(the file system is mounted noexec): build the guest in another folder"),
    ("ro", ": Read-only file system"), ("size=100k", "No space left on device"),
    ("size=3M", "No space left on device")])
def test_a_file_system_that_will_not_do(archive, folder, options, message):
    if os.getuid() != 0:
        pytest.skip("only root may mount")
    status, lines = build_on(options, archive, folder)
    assert status == 1 and lines[-1].startswith("virtvm: ") and message in lines[-1]
    assert not [line for line in lines[:-1] if line.startswith(("virtvm", " "))]


@pytest.mark.parametrize("before", ["umask 077;", "unset HOME;", "export HOME=/proc LANG=C;", "export LC_ALL=POSIX;"])
def test_surroundings_that_do_not_matter(archive, folder, before):
    if os.getuid() != 0:
        pytest.skip("only root may mount")
    status, lines = build_on("mode=755", archive, folder, before)
    assert status == 0, lines


def test_no_update_of_the_lists_by_someone_who_may_not(archive, folder, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(guest.GuestBuildError, match=r"\(`apt-get update`, as root, may help\)$"):
        guest.build(folder)


@pytest.mark.parametrize("machine", ["aarch64", "riscv64", "i686"])
def test_other_processors(folder, monkeypatch, machine):
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(guest.GuestBuildError, match=machine + ".*--image FILE"):
        guest.build(folder)
    assert not os.path.exists(folder)


@pytest.mark.parametrize("program, advice", [
    ("apt-get", "--image FILE"), ("apt-cache", "--image FILE"), ("dpkg-deb", "install the package dpkg"),
    ("qemu-img", "install the package qemu-utils")])
def test_missing_program(folder, tmp_path, monkeypatch, program, advice):
    os.mkdir(tmp_path / "bin")
    for name in ("apt-get", "apt-cache", "dpkg-deb", "qemu-img"):
        if name != program:
            os.symlink("/bin/true", tmp_path / "bin" / name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(guest.GuestBuildError, match="^%s is missing.*%s$" % (program, advice)):
        guest.build(folder)
    assert not os.path.exists(folder)


def test_a_guest_that_is_there_needs_nothing(archive, folder, monkeypatch):
    LAYOUTS["trixie"](archive)
    archive.publish()
    guest.build(folder)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert guest.build(folder).exists()


# ---- wherever it comes up ----

TEST = "def test_something(vm):\n    pass\n"
OLD_TEST = "def run_old(test, params, env):\n    pass\n"


def virtvm(tmp_path, *words, **changes):
    (tmp_path / "test_new.py").write_text(TEST)
    (tmp_path / "old.py").write_text(OLD_TEST)
    return subprocess.run([sys.executable, "-m"] + list(words), cwd=tmp_path, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ, **changes))


@pytest.mark.parametrize("words, status", [
    ("virtvm guest build guest", 1), ("virtvm guest build --offline test_new.py", 1), ("virtvm guest build /proc/x", 1),
    ("virtvm run test_new.py --guest guest", 2), ("virtvm run old.py --guest /proc/x", 2),
    ("virtvm shell --guest guest", 2), ("virtvm console --guest old.py", 2),
    ("pytest test_new.py --virtvm-guest guest", 4), ("pytest old.py --virtvm-guest /proc/x", 4),
    ("pytest -n 2 old.py test_new.py --virtvm-guest guest", 4)])
def test_commands_tell_it_in_a_line(tmp_path, words, status):
    changes = {"PATH": str(tmp_path)} if words.endswith("guest") else {}
    done = virtvm(tmp_path, *words.split(), **changes)
    lines = [line for line in done.stdout.decode().splitlines() if line]
    assert done.returncode == status, lines
    assert len(lines) == 1 and lines[0].startswith("ERROR: " if "pytest" in words else "virtvm: ")
    assert not os.path.exists(tmp_path / "guest")


@pytest.mark.parametrize("words", ["virtvm run --dry-run test_new.py old.py --guest typo",
                                   "virtvm list -v vars.cfg --guest typo",
                                   "pytest --collect-only test_new.py old.py --virtvm-guest typo"])
def test_nothing_is_built_to_tell_what_would_be_done(tmp_path, words):
    (tmp_path / "vars.cfg").write_text("variants:\n    - one:\n        type = old\n")
    done = virtvm(tmp_path, *words.split(), PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert not os.path.exists(tmp_path / "typo")
    if "dry-run" in words:
        assert b"virtvm: typo: no guest is there yet; it would be built\n" in done.stdout
        assert b"-kernel %s/typo/kernel" % str(tmp_path).encode() in done.stdout


def test_one_guest_for_all_who_build_at_once(archive, folder, tmp_path):
    LAYOUTS["trixie"](archive)
    archive.publish()
    running = [subprocess.Popen([sys.executable, "-m", "virtvm", "guest", "build", folder], stdout=subprocess.PIPE)
               for _ in range(3)]
    outputs = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sum(b"unpacking" in output for output in outputs) == 1
    with open(os.path.join(folder, "guest.json")) as f:
        assert json.load(f)["packages"]
