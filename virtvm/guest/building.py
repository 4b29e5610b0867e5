"""The guest's folder: its parts made from packages, and the params that boot them."""

import errno
import fcntl
import gzip
import hashlib
import json
import lzma
import os
import platform
import shutil
import struct
import zlib
from contextlib import contextmanager

from virtvm import scratch, signals
from virtvm.guest.commands import GuestBuildError, missing, reason, run, whole
from virtvm.guest.initrd import MODULES, MORE_MODULES, files, make_initrd
from virtvm.guest.kernel import make_kernel
from virtvm.guest.packages import WANTED, packages, small_guest_names
from virtvm.guest.unpacked import find_one

PASSWORD = "virtvm"
DISK_SIZE = 256         # MiB

# On an emulated processor a third of the boot goes into what such a guest has no use for:
# self-tests, guards against its own neighbours, a random address, long grace periods.
_BOOT_SOONER = ("cryptomgr.notests mitigations=off nokaslr audit=0 apparmor=0"
                " rcupdate.rcu_expedited=1")
# What is not there once a build has ended by itself.
_LEFTOVERS = (".unpack.", ".download.", ".guest.json.", ".packages.json.")
_VERSION = 3            # of what is built: another one is built anew


class Guest:
    """A built guest: paths of its parts, and the params that boot it.

    directory, kernel, initrd, disk: paths (str).  username, password: of the guest's
    administrator.
    """

    username = "root"
    _kind = "small"
    _kernel_words = ""
    _wanted = WANTED
    _find_names = staticmethod(small_guest_names)

    def __init__(self, directory, password):
        self.directory = os.path.abspath(directory)
        self.password = password
        self.kernel = os.path.join(self.directory, "kernel")
        self.initrd = os.path.join(self.directory, "initrd.gz")
        self.disk = os.path.join(self.directory, "disk.qcow2")

    def __repr__(self):
        return "Guest(%r)" % self.directory

    def exists(self):
        """Whether all its parts are there (bool)."""
        return all(map(signals.exists, (self.kernel, self.initrd, self.disk)))

    def params(self, **changes):
        """Params (dict, autotest's names) of a VM that boots this guest.

        The disk is used as a snapshot: what one VM writes no other sees.  changes
        override or add params.
        """
        params = {
            "vm_type": "kvm", "main_vm": "vm1", "vms": "vm1",
            "kernel": self.kernel, "initrd": self.initrd,
            "kernel_params": "console=tty0 console=ttyS0,115200 quiet panic=-1 " + _BOOT_SOONER + self._kernel_words,
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

    def _ingredients(self):
        """What the parts depend on besides the packages."""
        return _VERSION, sorted(files().items()), MODULES, MORE_MODULES, self._wanted, DISK_SIZE, self.password

    def _make(self, root, made, log):
        """Make the parts, of unpacked packages (root), in a folder (made)."""
        log("making the initrd")
        with gzip.GzipFile(os.path.join(made, "initrd.gz"), "wb", 6, mtime=0) as f:
            f.write(make_initrd(root, self.password))
        make_kernel(root, os.path.join(made, "kernel"))
        log("making the disk")
        _make_disk(os.path.join(made, "disk.qcow2"), root)


def _check_folder(path):
    """Programs of the packages are run where they are unpacked: those that make the disk and unpack the kernel."""
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        raise GuestBuildError("%s: no program can be run there (the file system is mounted noexec): build the guest in"
                              " another folder" % path)


@contextmanager
def _locked(directory):
    with open(os.path.join(directory, ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _recipe(guest):
    return hashlib.sha256(repr(guest._ingredients()).encode()).hexdigest()


def _noted(directory):
    """What was noted (dict) when a guest was built in a folder; {} where none was."""
    try:
        with open(os.path.join(directory, "guest.json")) as f:
            found = json.load(f)
    except (OSError, ValueError) as e:
        signals.let_out(e)
        return {}
    return found if isinstance(found, dict) else {}


def kind_of(directory):
    """The kind (str) of the guest that was built in a folder; None where there is none."""
    return _noted(directory).get("kind")


def _is_built(guest):
    return _noted(guest.directory).get("recipe") == _recipe(guest) and guest.exists()


def _check_host(offline):
    """Say at once what is missing, not after the packages have been fetched."""
    if platform.machine() not in ("x86_64", "AMD64"):
        raise GuestBuildError("the guest is made for x86_64, and this host is %s: use a disk image: --image FILE"
                              % platform.machine())
    for program in ([] if offline else ["apt-cache", "apt-get"]) + ["dpkg-deb", "qemu-img"]:
        if shutil.which(program) is None:
            raise GuestBuildError(missing(program))


def _make_folder(path):
    try:
        signals.makedirs(path, exist_ok=True)
    except FileExistsError as e:
        signals.let_out(e)
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None


def _make_parts(guest, files, log):
    with scratch.Folder(".unpack.", folder=guest.directory) as root:
        root = signals.realpath(root)
        log("unpacking")
        for path in files:
            run(["dpkg-deb", "-x", path, root])
        with scratch.Folder(".unpack.", folder=guest.directory) as made:
            guest._make(root, made, log)
            _replace_parts(guest, made)


def _make_disk(path, root):
    raw = path + ".raw"
    with open(raw, "wb") as f:
        f.truncate(DISK_SIZE << 20)
    run([find_one(root, "bin/busybox"), "mke2fs", "-F", "-m", "0", raw])
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path])


def _replace_parts(guest, made):
    """An older guest's parts are replaced once all new ones are there; in between there is none."""
    with signals.suppress(FileNotFoundError):
        os.unlink(os.path.join(guest.directory, "guest.json"))
    for path in (guest.initrd, guest.kernel, guest.disk):
        os.chmod(os.path.join(made, os.path.basename(path)), 0o644)
        os.replace(os.path.join(made, os.path.basename(path)), path)


@contextmanager
def _told_in_a_line(directory):
    """Whatever goes wrong is a GuestBuildError: the disk, its rights, packages that are not as expected."""
    try:
        yield
    except OSError as e:
        signals.let_out(e)
        raise GuestBuildError("%s: %s" % (e.filename or directory, e.strerror or e)) from e
    except (LookupError, ValueError, struct.error, lzma.LZMAError, zlib.error, EOFError) as e:
        raise GuestBuildError("a package is not as expected: %s: %s" % (type(e).__name__, reason(str(e)))) from e


def build(directory, password=PASSWORD, offline=False, update=False, log=lambda line: None, kind=Guest):
    """Build the guest in a folder; return a Guest.

    directory: path (str), made if need be.  password: root's in the guest.  offline:
    use packages of an earlier build only.  update: build anew from the newest packages.
    log: called with a line (str) for each step.  kind: Guest, or full.FullGuest.  A guest that was built from the same
    recipe is kept; what is made appears whole or not at all.  Raises GuestBuildError, which
    tells in one line what is wrong, whatever it is.
    """
    guest = kind(directory, password)
    with _told_in_a_line(guest.directory):
        if _is_built(guest) and not update:         # by another machine, maybe, or read-only
            log("up to date")
            return guest
        _check_host(offline)
        _make_folder(guest.directory)
        _check_folder(guest.directory)
        _make_folder(os.path.join(guest.directory, "cache"))
        with _locked(guest.directory):
            _build_locked(guest, offline, update, log)
    return guest


def _sweep(folder):
    """Remove what builds that were killed have left.

    A dpkg-deb may still be at it: what it adds stays for the next one.
    """
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(_LEFTOVERS):
            scratch.remove_folder(path, forgiven=OSError)
            with signals.suppress(OSError):
                os.unlink(path)         # if it is a file


def _build_locked(guest, offline, update, log):
    if _is_built(guest) and not update:
        log("up to date")                           # built while we waited
        return
    cache = os.path.join(guest.directory, "cache")
    for folder in (guest.directory, cache):
        _sweep(folder)
    files = packages(cache, offline, update, log, guest._wanted, guest._find_names)
    _make_parts(guest, files, log)
    with whole(os.path.join(guest.directory, "guest.json")) as temporary, open(temporary, "w") as f:
        json.dump({"kind": guest._kind, "recipe": _recipe(guest), "packages": list(map(os.path.basename, files))}, f,
                  indent=1)
