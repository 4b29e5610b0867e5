"""Builds a small Linux guest from distribution packages: for the demo and for tests.

The guest is a distribution kernel and an initrd of a few MB that holds busybox, dropbear,
an SFTP server and scp.  It needs no network to boot, logs in over SSH and on its serial
console, and has a second disk to write to.  Packages are fetched by apt-get, unpacked
and never installed on the host.
"""

import fcntl
import glob
import gzip
import hashlib
import json
import lzma
import os
import re
import secrets
import shutil
import stat
import struct
import subprocess
import tempfile
import zlib
from contextlib import contextmanager

PASSWORD = "virtvm"
DISK_SIZE = 256         # MiB

_KERNEL = "linux-image-cloud-amd64"
_PROGRAMS = ["busybox-static", "dropbear-bin", "openssh-sftp-server", "openssh-client"]
_UNPACKER = "lz4"       # for the kernel
# In this order: each needs those before it.
_MODULES = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev",
            "virtio_pci", "virtio_blk", "failover", "net_failover", "virtio_net",
            "virtio_console", "rng-core", "virtio-rng"]
# On an emulated processor a third of the boot goes into what such a guest has no use for:
# self-tests, guards against its own neighbours, a random address, long grace periods.
_BOOT_SOONER = ("cryptomgr.notests mitigations=off nokaslr audit=0 apparmor=0"
                " rcupdate.rcu_expedited=1")
_VERSION = 2            # of what is built: another one is built anew


class GuestBuildError(Exception):
    """The guest could not be built: says what is missing or which command failed."""


class Guest:
    """A built guest: paths of its parts, and the params that boot it.

    directory, kernel, initrd, disk: paths (str).  username, password: of the guest's
    administrator.
    """

    username = "root"

    def __init__(self, directory, password):
        self.directory = os.path.abspath(directory)
        self.password = password
        self.kernel = os.path.join(self.directory, "kernel")
        self.initrd = os.path.join(self.directory, "initrd.gz")
        self.disk = os.path.join(self.directory, "disk.qcow2")

    def __repr__(self):
        return "Guest(%r)" % self.directory

    def params(self, **changes):
        """Params (dict, autotest's names) of a VM that boots this guest.

        The disk is used as a snapshot: what one VM writes no other sees.  changes
        override or add params.
        """
        params = {
            "vm_type": "kvm", "main_vm": "vm1", "vms": "vm1",
            "kernel": self.kernel, "initrd": self.initrd,
            "kernel_params": "console=tty0 console=ttyS0,115200 quiet panic=-1 " + _BOOT_SOONER,
            "mem": "192", "smp": "1",
            "images": "image1", "image_name": self.disk[:-len(".qcow2")],
            "image_format": "qcow2", "image_size": "%dM" % DISK_SIZE, "image_snapshot": "yes",
            "drive_format": "virtio", "qemu_img_binary": shutil.which("qemu-img") or "/usr/bin/qemu-img",
            "nics": "nic1", "nic_mode": "user", "nic_model": "virtio",
            "redirs": "remote_shell", "guest_port_remote_shell": "22",
            "username": self.username, "password": self.password,
            "shell_client": "ssh", "shell_port": "22", "shell_prompt": r"[\#\$]\s*$",
            "shell_linesep": r"\n", "status_test_command": "echo $?",
            "file_transfer_client": "scp", "file_transfer_port": "22",
            "shutdown_command": "poweroff", "reboot_command": "reboot",
            "login_timeout": "120", "display": "none",
            "cpu_chk_cmd": "nproc", "mem_chk_cmd": "grep MemTotal: /proc/meminfo",
            "mem_chk_cur_cmd": "grep MemTotal: /proc/meminfo",
        }
        params.update(changes)
        return params


# ---- the guest's own files ----

_PROFILE = r"""export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
PS1='\u@\h:\w\$ '
"""

_RC = r"""#!/bin/sh
# Runs once, before the logins.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
for module in %(modules)s; do
    [ ! -e /lib/modules/$module.ko ] || insmod /lib/modules/$module.ko
done
hostname -F /etc/hostname
# For those who want a slow guest: virtvm.delay=SECONDS among the kernel's parameters.
delay=$(sed -n 's/.*virtvm\.delay=\([0-9]*\).*/\1/p' /proc/cmdline)
[ -z "$delay" ] || sleep "$delay"
ip link set lo up
echo 1 > /proc/sys/kernel/sysrq
/etc/network &
/etc/disk &
"""

_NETWORK = r"""#!/bin/sh
# An address for each NIC, by DHCP; all at once.
for nic in /sys/class/net/eth*; do
    [ -e "$nic" ] || continue
    nic=${nic##*/}
    ip link set "$nic" up
    udhcpc -i "$nic" -s /etc/udhcpc -T 1 -t 30 -q -n >/dev/null 2>&1 &
done
"""

_UDHCPC = r"""#!/bin/sh
# udhcpc calls this with what it was given.
case "$1" in
deconfig)
    ip addr flush dev "$interface" ;;
bound|renew)
    ip addr add "$ip/$mask" dev "$interface"
    [ -z "$router" ] || ip route add default via "${router%% *}" dev "$interface" 2>/dev/null
    : > /etc/resolv.conf
    for server in $dns; do echo "nameserver $server" >> /etc/resolv.conf; done ;;
esac
"""

_DISK = r"""#!/bin/sh
# The first disk is for data; a blank one is made ready first.
[ -b /dev/vda ] || exit 0
if [ -z "$(dd if=/dev/vda bs=4096 count=16 2>/dev/null | tr -d '\000' | head -c 1)" ]; then
    mke2fs -m 0 /dev/vda >/dev/null 2>&1
fi
mount -t ext4 /dev/vda /data
"""

_INITTAB = """::sysinit:/etc/rc
::respawn:/usr/sbin/dropbear -F -R
ttyS0::respawn:/sbin/getty -L 115200 ttyS0 linux
tty1::respawn:/sbin/getty 38400 tty1 linux
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/umount -a -r
"""

_OOPS = r"""#!/bin/sh
# Writes what a crashing kernel writes to its console, without harming the kernel: for
# tests of those who watch it.
while read -r line; do echo "<1>$line" > /dev/kmsg; done <<'END'
BUG: unable to handle page fault for address: ffffffffdeadbeef
#PF: supervisor write access in kernel mode
#PF: error_code(0x0002) - not-present page
Oops: 0002 [#1] PREEMPT SMP NOPTI
CPU: 0 PID: 4711 Comm: provoke-oops Not tainted
RIP: 0010:provoke_oops+0x1f/0x30
Call Trace:
 <TASK>
 do_syscall_64+0x55/0xb0
 entry_SYSCALL_64_after_hwframe+0x6e/0xd8
 </TASK>
---[ end trace 0000000000000000 ]---
END
"""

_FILES = {
    "etc/profile": (_PROFILE, 0o644),
    "etc/rc": (_RC % {"modules": " ".join(_MODULES)}, 0o755),
    "etc/network": (_NETWORK, 0o755),
    "etc/udhcpc": (_UDHCPC, 0o755),
    "etc/disk": (_DISK, 0o755),
    "etc/inittab": (_INITTAB, 0o644),
    "etc/hostname": ("virtvm-guest\n", 0o644),
    "etc/hosts": ("127.0.0.1 localhost virtvm-guest\n::1 localhost\n", 0o644),
    "etc/passwd": ("root:x:0:0:root:/root:/bin/sh\n", 0o644),
    "etc/group": ("root:x:0:\ntty:x:5:\n", 0o644),
    "etc/shells": ("/bin/sh\n", 0o644),
    "etc/nsswitch.conf": ("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n", 0o644),
    "etc/issue": ("virtvm guest \\l\n", 0o644),
    "usr/bin/provoke-oops": (_OOPS, 0o755),
}
_FOLDERS = ["bin", "data", "dev", "etc", "etc/dropbear", "lib", "lib/modules", "lib64", "mnt",
            "proc", "root", "run", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/lib",
            "usr/lib/openssh", "usr/sbin", "var", "var/log"]


# ---- packages ----

def _run(command, **options):
    """Output (str) of a command; GuestBuildError if it is missing or fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    except FileNotFoundError:
        packages = {"apt-get": "apt", "apt-cache": "apt", "dpkg-deb": "dpkg",
                    "qemu-img": "qemu-utils"}
        raise GuestBuildError("%s is missing: install the package %s"
                              % (command[0], packages.get(command[0], command[0]))) from None
    if done.returncode:
        raise GuestBuildError("%s failed with status %d:\n%s"
                              % (" ".join(command), done.returncode, done.stdout.strip()))
    return done.stdout


def _depends(package, recurse=False):
    """Names of the packages that a package needs, itself left out."""
    flags = ["--no-" + kind for kind in ("recommends", "suggests", "conflicts", "breaks",
                                         "replaces", "enhances")]
    if recurse:
        flags.append("--recurse")
    output = _run(["apt-cache", "depends"] + flags + [package], env=_c_locale())
    found = re.findall(r"^\s*\|?(?:Pre)?Depends: (\S+)$", output, re.M)
    return [name for name in dict.fromkeys(found) if not name.startswith("<")]


def _c_locale():
    return dict(os.environ, LC_ALL="C")


def _package_names():
    kernels = [name for name in _depends(_KERNEL) if name.startswith("linux-image")]
    if not kernels:
        raise GuestBuildError("no package %s is known: run 'apt-get update' first" % _KERNEL)
    needed = _depends("dropbear-bin", recurse=True) + _depends(_UNPACKER, recurse=True)
    return kernels[:1] + _PROGRAMS + [_UNPACKER] + [name for name in needed
                                                    if name.startswith("lib") or name == "zlib1g"]


def _fetch(cache, log):
    """Download the packages that the cache lacks; return their files."""
    names = list(dict.fromkeys(_package_names()))
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        os.chmod(folder, 0o755)
        missing = [name for name in names if not _cached(cache, name)]
        if missing:
            log("fetching %d packages" % len(missing))
            _run(["apt-get", "download", "-q"] + missing, cwd=folder, env=_c_locale())
        for path in glob.glob(os.path.join(folder, "*.deb")):
            os.replace(path, os.path.join(cache, os.path.basename(path)))
    return _all_cached(cache, names)


def _cached(cache, name):
    found = sorted(glob.glob(os.path.join(cache, glob.escape(name) + "_*.deb")), key=os.path.getmtime)
    return found[-1] if found else None


def _all_cached(cache, names):
    files = [_cached(cache, name) for name in names]
    if None in files:
        raise GuestBuildError("package not found: %s" % names[files.index(None)])
    return files


def _packages(cache, offline, update, log):
    """Files of all packages: from the cache alone when offline, none of it to update."""
    listing = os.path.join(cache, "packages.json")
    if offline:
        try:
            with open(listing) as f:
                return _all_cached(cache, json.load(f))
        except OSError:
            raise GuestBuildError("nothing in the package cache %s: build once with network" % cache) from None
    if update:
        for path in glob.glob(os.path.join(cache, "*.deb")):
            os.unlink(path)
    try:
        files = _fetch(cache, log)
    except GuestBuildError:
        if os.getuid() != 0:
            raise
        log("updating the package lists")
        _run(["apt-get", "update", "-q"], env=_c_locale())
        files = _fetch(cache, log)
    with _whole(listing) as temporary:
        with open(temporary, "w") as f:
            json.dump([os.path.basename(path).split("_")[0] for path in files], f)
    return files


# ---- ELF: which libraries a program needs ----

def _needed(path):
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


def _find_library(root, name):
    """Path of a library: in the unpacked packages, else on this host."""
    base = os.path.basename(name)
    for folder in (root, ""):
        for place in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "lib", "usr/lib"):
            path = os.path.join(folder or "/", place, base)
            if os.path.exists(path):
                return os.path.realpath(path)
    raise GuestBuildError("a program of the guest needs the library %s, which no package has" % base)


# ---- the kernel ----

def _make_kernel(root, path):
    """Write the packages' kernel to a path: what is packed in it if QEMU can boot that.

    An emulated processor takes a second to unpack a kernel, and ten where another one's code
    was before, as after a reboot.
    """
    packed = glob.glob(os.path.join(root, "boot/vmlinuz-*"))[0]
    with open(packed, "rb") as f:
        image = f.read()
    kernel = _unpack(image, root)
    with open(path, "wb") as f:
        f.write(image if kernel is None or not _has_pvh(kernel) else kernel)


def _unpack(image, root):
    """What is packed in a bzImage (Linux, Documentation/arch/x86/boot.rst), or None: packed
    in a way not known here."""
    sectors = image[0x1f1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start:start + length]
    lz4 = os.path.join(root, "usr/bin/lz4")
    if payload.startswith(b"\x02\x21\x4c\x18") and os.path.exists(lz4):
        return _unlz4(lz4, payload[:-4], root)      # its length stands at the end
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload)
    return None


def _unlz4(program, payload, root):
    source, target = os.path.join(root, "kernel.lz4"), os.path.join(root, "kernel")
    with open(source, "wb") as f:
        f.write(payload)
    # With its own libraries and loader: the packages may be newer than this host.
    libraries = ":".join(os.path.join(root, place, "x86_64-linux-gnu") for place in ("lib", "usr/lib"))
    _run([_find_library(root, "ld-linux-x86-64.so.2"), "--library-path", libraries,
          program, "-d", "-f", "-q", source, target])
    with open(target, "rb") as f:
        return f.read()


def _has_pvh(kernel):
    """Whether an ELF kernel has the entry that QEMU uses: a note XEN_ELFNOTE_PHYS32_ENTRY."""
    return kernel.startswith(b"\x7fELF") and any(
        struct.pack("<III", 4, size, 18) + b"Xen\0" in kernel for size in (4, 8))


# ---- the initrd: a cpio archive in "newc" format ----

class _Archive:
    """Collects files; needs no root, and makes the same bytes from the same files."""

    def __init__(self):
        self._entries = {}

    def _add(self, name, mode, data=b"", device=(0, 0)):
        self._entries[name] = (mode, data, device)

    def folder(self, name, mode=0o755):
        self._add(name, stat.S_IFDIR | mode)

    def file(self, name, data, mode):
        self._add(name, stat.S_IFREG | mode, data)

    def copy(self, name, path, mode=0o755):
        with open(path, "rb") as f:
            self.file(name, f.read(), mode)

    def link(self, name, target):
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, mode, major, minor):
        self._add(name, stat.S_IFCHR | mode, device=(major, minor))

    def __contains__(self, name):
        return name in self._entries

    def __bytes__(self):
        parts = []
        for number, name in enumerate(sorted(self._entries), 1):
            parts.append(self._entry(number, name, *self._entries[name]))
        parts.append(self._entry(0, "TRAILER!!!", 0, b"", (0, 0)))
        return b"".join(parts)

    @staticmethod
    def _entry(number, name, mode, data, device):
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, device[0], device[1],
                  len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def _make_initrd(root, password):
    archive = _Archive()
    for name in _FOLDERS:
        archive.folder(name, 0o700 if name == "root" else 0o1777 if name == "tmp" else 0o755)
    archive.device("dev/console", 0o600, 5, 1)
    archive.device("dev/null", 0o666, 1, 3)
    for name, (text, mode) in _FILES.items():
        archive.file(name, text.encode(), mode)
    archive.file("etc/shadow", ("root:%s:19000:0:99999:7:::\n" % _crypt(password)).encode(), 0o600)
    _add_busybox(archive, root)
    _add_programs(archive, root)
    builtin = _builtin_modules(root)
    for module in _MODULES:
        if module.replace("-", "_") not in builtin:
            archive.copy("lib/modules/%s.ko" % module, _module_path(root, module), 0o644)
    return bytes(archive)


def _add_busybox(archive, root):
    path = os.path.join(root, "bin/busybox")
    archive.copy("bin/busybox", path)
    for applet in _run([path, "--list-full"]).split():
        if applet not in archive:
            archive.link(applet, "/bin/busybox")
    archive.link("init", "/bin/busybox")
    archive.link("linuxrc", "/bin/busybox")


def _add_programs(archive, root):
    programs = {"usr/sbin/dropbear": "usr/sbin/dropbear", "usr/bin/scp": "usr/bin/scp",
                "usr/lib/openssh/sftp-server": "usr/lib/openssh/sftp-server"}
    wanted = []
    for name, source in programs.items():
        archive.copy(name, os.path.join(root, source))
        wanted += _needed(os.path.join(root, source))
    archive.link("usr/lib/sftp-server", "openssh/sftp-server")     # where dropbear looks
    while wanted:
        library = wanted.pop()
        name = library.lstrip("/") if "/" in library else "lib/" + library
        if name not in archive:
            path = _find_library(root, library)
            archive.copy(name, path)
            wanted += _needed(path)


def _builtin_modules(root):
    names = set()
    for path in glob.glob(os.path.join(root, "lib/modules/*/modules.builtin")):
        with open(path) as f:
            names.update(os.path.basename(line.strip())[:-len(".ko")].replace("-", "_") for line in f)
    return names


def _module_path(root, module):
    for spelling in (module, module.replace("_", "-"), module.replace("-", "_")):
        found = glob.glob(os.path.join(root, "lib/modules/*/kernel/**/%s.ko" % spelling), recursive=True)
        if found:
            return found[0]
    raise GuestBuildError("the kernel package has no module %s" % module)


# ---- the password: SHA-crypt, as specified by its author's public specification ----

_CRYPT_DIGITS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ROUNDS = 1000          # the least that is allowed: the guest's processor is emulated


def _crypt(password, salt=None):
    """The password's SHA-512 crypt(3) hash, for /etc/shadow."""
    key = password.encode()
    salt = (salt or secrets.token_hex(8)).encode()
    alternate = hashlib.sha512(key + salt + key).digest()
    first = hashlib.sha512(key + salt + _repeat(alternate, len(key)))
    bits = len(key)
    while bits:
        first.update(alternate if bits & 1 else key)
        bits >>= 1
    result = first.digest()
    p = _repeat(hashlib.sha512(key * len(key)).digest(), len(key))
    s = _repeat(hashlib.sha512(salt * (16 + result[0])).digest(), len(salt))
    for n in range(_ROUNDS):
        result = hashlib.sha512((p if n & 1 else result) + (s if n % 3 else b"")
                                + (p if n % 7 else b"") + (result if n & 1 else p)).digest()
    return "$6$rounds=%d$%s$%s" % (_ROUNDS, salt.decode(), _encode(result))


def _repeat(data, length):
    return (data * (length // len(data) + 1))[:length]


def _encode(digest):
    """crypt's base 64 of the digest's bytes in crypt's order."""
    order = [(0, 21, 42)]
    while len(order) < 21:
        a, b, c = order[-1]
        order.append(((b + 1) % 63, (c + 1) % 63, (a + 1) % 63))
    text = ""
    for a, b, c in order:
        text += _digits(digest[a] << 16 | digest[b] << 8 | digest[c], 4)
    return text + _digits(digest[63], 2)


def _digits(value, count):
    return "".join(_CRYPT_DIGITS[value >> 6 * n & 63] for n in range(count))


# ---- building ----

@contextmanager
def _whole(path):
    """A temporary name beside path that becomes path if all goes well."""
    fd, temporary = tempfile.mkstemp(prefix=".%s." % os.path.basename(path), dir=os.path.dirname(path))
    os.close(fd)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


@contextmanager
def _locked(directory):
    with open(os.path.join(directory, ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _recipe(password):
    """What the parts depend on besides the packages."""
    text = repr((_VERSION, sorted(_FILES.items()), _MODULES, _PROGRAMS, _UNPACKER, DISK_SIZE, password))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_built(guest):
    try:
        with open(os.path.join(guest.directory, "guest.json")) as f:
            built = json.load(f)["recipe"] == _recipe(guest.password)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return built and all(map(os.path.exists, (guest.kernel, guest.initrd, guest.disk)))


def _make_parts(guest, files, log):
    with tempfile.TemporaryDirectory(prefix=".unpack.", dir=guest.directory) as root:
        log("unpacking")
        for path in files:
            _run(["dpkg-deb", "-x", path, root])
        log("making the initrd")
        with _whole(guest.initrd) as temporary:
            with gzip.GzipFile(temporary, "wb", 6, mtime=0) as f:
                f.write(_make_initrd(root, guest.password))
        with _whole(guest.kernel) as temporary:
            _make_kernel(root, temporary)
        log("making the disk")
        _make_disk(guest.disk, root)


def _make_disk(path, root):
    raw = os.path.join(root, "disk.raw")
    with open(raw, "wb") as f:
        f.truncate(DISK_SIZE << 20)
    _run([os.path.join(root, "bin/busybox"), "mke2fs", "-F", "-m", "0", raw])
    with _whole(path) as temporary:
        _run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, temporary])


def build(directory, password=PASSWORD, offline=False, update=False, log=lambda line: None):
    """Build the guest in a folder; return a Guest.

    directory: path (str), made if need be.  password: root's in the guest.  offline:
    use packages of an earlier build only.  update: build anew from the newest packages.
    log: called with a line (str) for each step.  A guest that was built from the same
    recipe is kept; what is made appears whole or not at all.  Raises GuestBuildError.
    """
    os.makedirs(os.path.join(directory, "cache"), exist_ok=True)
    guest = Guest(directory, password)
    with _locked(guest.directory):
        if _is_built(guest) and not update:
            log("up to date")
            return guest
        files = _packages(os.path.join(guest.directory, "cache"), offline, update, log)
        _make_parts(guest, files, log)
        with _whole(os.path.join(guest.directory, "guest.json")) as temporary:
            with open(temporary, "w") as f:
                json.dump({"recipe": _recipe(password), "packages": list(map(os.path.basename, files))},
                          f, indent=1)
    return guest
