"""A guest with systemd, OpenSSH and cloud-init, which behaves as a distribution's cloud image does.

Packages are unpacked; their maintainer scripts, which need root and a running system, are not run: what they
would do for such a guest is done here.
"""

import gzip
import os
import re
import stat

from virtvm import scratch, signals
from virtvm.guest.building import Guest, kind_of
from virtvm.guest.commands import GuestBuildError, filtered, run
from virtvm.guest.initrd import Archive, add_busybox, add_modules
from virtvm.guest.kernel import Modules, make_kernel
from virtvm.guest.packages import UNPACKERS, names_with_libraries
from virtvm.guest.unpacked import find, find_one, unpacked_program

PROGRAMS = ["systemd", "systemd-sysv", "udev", "kmod", "openssh-server", "openssh-client", "openssh-sftp-server",
            "cloud-init", "sudo", "bash", "dash", "coreutils", "base-files", "base-passwd", "login", "passwd",
            "util-linux", "mount", "libpam-runtime", "libpam-modules", "libpam-modules-bin", "iproute2", "procps",
            "grep", "sed", "mawk", "findutils", "tar", "hostname", "e2fsprogs", "busybox-static", "libc-bin",
            "netbase", "ncurses-base"] + UNPACKERS
MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "ext4"]
SEED_MODULES = ["vfat", "nls_cp437", "nls_ascii", "nls_utf8"]
_SIZE = 1024                # MiB
_FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "full_files")
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_DROPPED = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian",
            "usr/share/bug", "usr/share/bash-completion", "usr/share/zsh", "usr/lib/udev/hwdb.d",
            "usr/lib/modules", "usr/lib/systemd/catalog", "boot"]
_UNITS = ["ssh.service", "systemd-networkd.service", "cloud-init-local.service", "cloud-init.service",
          "cloud-config.service", "cloud-final.service"]
# What such a guest has no use for, or that waits for what is not there.
_MASKED = ["systemd-logind.service", "systemd-networkd-wait-online.service", "systemd-binfmt.service",
           "proc-sys-fs-binfmt_misc.automount", "systemd-pstore.service", "systemd-hwdb-update.service",
           "systemd-journal-catalog-update.service", "ldconfig.service", "systemd-journal-flush.service",
           "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
           "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "modprobe@.service", "fstrim.timer",
           "e2scrub_all.timer", "e2scrub_reap.service", "getty@tty1.service", "getty-static.service",
           "systemd-random-seed.service", "systemd-sysusers.service", "systemd-update-utmp.service",
           "systemd-update-utmp-runlevel.service", "systemd-tmpfiles-clean.timer"]
_EMPTY = ["etc/machine-id", "etc/environment", "etc/fstab"]
_COPIES = {"usr/share/openssh/sshd_config": "etc/ssh/sshd_config", "usr/share/base-files/profile": "etc/profile",
           "usr/share/base-files/dot.profile": "root/.profile", "usr/share/base-files/dot.bashrc": "root/.bashrc"}
_LINKS = {"usr/bin/awk": "mawk", "var/run": "/run", "var/lock": "/run/lock",
          "etc/systemd/system/default.target": "/lib/systemd/system/multi-user.target"}


_VERSION = 2                # of what is built: another one is built anew
_NOT_COMPILED = "/(test|tests|idlelib|lib2to3|distutils|tkinter|ensurepip|turtledemo|sources)/"


class FullGuest(Guest):
    """A built guest that takes a seed (params' cloud_init) to let somebody in; its root has no password until then."""

    _kind = "full"
    _kernel_words = " root=/dev/vda net.ifnames=0"
    _wanted = PROGRAMS

    @staticmethod
    def _find_names():
        return names_with_libraries(PROGRAMS, _is_wanted)

    def params(self, **changes):
        """Params (dict) of a VM that boots this guest."""
        params = {"mem": "512", "cloud_init": "yes", "image_size": "%dM" % _SIZE, "login_timeout": "360"}
        return super().params(**{**params, **changes})

    def _ingredients(self):
        return _VERSION, sorted(_own_files()), _read(os.path.join(_FILES, "init")), PROGRAMS, _UNITS, _MASKED

    def _make(self, root, made, log):
        log("making the initrd")
        with gzip.GzipFile(os.path.join(made, "initrd.gz"), "wb", 6, mtime=0) as f:
            f.write(make_initrd(root))
        make_kernel(root, os.path.join(made, "kernel"))
        log("laying out the disk")
        lay_out(root)
        _compile_python(root)
        log("making the disk")
        _make_disk(root, os.path.join(made, "disk.qcow2"))


def kind_in(directory):
    """The class of the guest that was built in a folder: Guest where there is none."""
    return FullGuest if kind_of(directory) == FullGuest._kind else Guest


def _is_wanted(name):
    """Libraries and Python's packages.  Nothing that runs needs Perl."""
    return name.startswith(("lib", "python3", "zlib1g", "gcc-")) and "perl" not in name


def lay_out(root):
    """Make of unpacked packages what an installation of them would be."""
    _merge_usr(root)
    for path in _DROPPED:
        scratch.remove_folder(os.path.join(root, path), forgiven=OSError)
    for source, target in _COPIES.items():
        _write(root, target, _read(os.path.join(root, source)))
    for path in _EMPTY:
        _write(root, path, "")
    for path, text in _own_files():
        _write(root, path, text)
    for path, target in _LINKS.items():
        _link(root, path, target)
    os.chmod(os.path.join(root, "etc/sudoers"), 0o440)
    _make_accounts(root)
    for unit in _UNITS:
        _enable(root, unit)
    for unit in _MASKED:
        _link(root, "etc/systemd/system/" + unit, "/dev/null")


def _merge_usr(root):
    """Debian 12 has files of both kinds, below /usr and not."""
    for name in _MERGED:
        top = os.path.join(root, name)
        if signals.isdir(top) and not signals.islink(top):
            _move_into(top, os.path.join(root, "usr", name))
            os.rmdir(top)
        if signals.isdir(os.path.join(root, "usr", name)) and not signals.lexists(top):
            os.symlink("usr/" + name, top)


def _move_into(source, target):
    signals.makedirs(target, exist_ok=True)
    for name in os.listdir(source):
        old, new = os.path.join(source, name), os.path.join(target, name)
        if signals.isdir(old) and not signals.islink(old) and signals.isdir(new):
            _move_into(old, new)
            os.rmdir(old)
        else:
            os.rename(old, new)


def _own_files():
    top = os.path.join(_FILES, "etc")
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            yield os.path.relpath(path, _FILES), _read(path)


def _read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def _place(root, path):
    full = os.path.join(root, path)
    signals.makedirs(os.path.dirname(full), exist_ok=True)
    if signals.lexists(full) and not stat.S_ISDIR(os.lstat(full).st_mode):
        os.unlink(full)
    return full


def _write(root, path, text, mode=0o644):
    full = _place(root, path)
    with open(full, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(full, mode)


def _link(root, path, target):
    full = _place(root, path)
    if signals.isdir(full):
        scratch.remove_folder(full)
    os.symlink(target, full)


# ---- accounts ----

def _make_accounts(root):
    """Those of base-passwd, and those that packages ask systemd-sysusers for or make by adduser."""
    passwd = _read(os.path.join(root, "usr/share/base-passwd/passwd.master"))
    group = _read(os.path.join(root, "usr/share/base-passwd/group.master"))
    passwd += "sshd:*:100:65534::/run/sshd:/usr/sbin/nologin\n"
    number = 999
    for name in sorted(set(_wanted_accounts(root))):
        if not re.search("^%s:" % re.escape(name), group, re.M):
            group += "%s:*:%d:\n" % (name, number)
            passwd += "%s:*:%d:%d::/:/usr/sbin/nologin\n" % (name, number, number)
            number -= 1
    names = [line.split(":")[0] for line in passwd.splitlines()]
    _write(root, "etc/passwd", passwd.replace(":*:", ":x:"))
    _write(root, "etc/group", group.replace(":*:", ":x:"))
    _write(root, "etc/shadow", "".join("%s:*:19000:0:99999:7:::\n" % name for name in names), 0o640)
    _write(root, "etc/gshadow", re.sub("^([^:]*):.*$", r"\1:*::", group, flags=re.M), 0o640)


def _wanted_accounts(root):
    yield from ("systemd-journal", "systemd-network", "netdev", "render", "kvm", "sgx")
    for path in find(root, "lib/sysusers.d/*.conf"):
        for line in _read(path).splitlines():
            words = line.split()
            if words[:1] in (["u"], ["g"]):
                yield words[1]


# ---- units ----

def _enable(root, unit):
    """What `systemctl enable` does by the section [Install]."""
    path = find_one(root, "lib/systemd/system/" + unit)
    target = "/lib/systemd/system/" + unit
    for key, value in re.findall(r"^(WantedBy|RequiredBy|Alias)=(.*)$", _read(path), re.M):
        for name in value.split():
            place = name if key == "Alias" else "%s.%s/%s" % (name, {"WantedBy": "wants"}.get(key, "requires"), unit)
            _link(root, "etc/systemd/system/" + place, target)


# ---- what is booted ----

def make_initrd(root):
    """An initrd (bytes) that loads modules and hands over to the disk."""
    archive = Archive()
    for name in ("bin", "dev", "lib", "lib/modules", "root", "sbin", "usr", "usr/bin", "usr/sbin"):
        archive.folder(name)
    archive.device("dev/console", 0o600, 5, 1)
    archive.device("dev/null", 0o666, 1, 3)
    add_busybox(archive, root)
    archive.copy("init", os.path.join(_FILES, "init"))
    modules = Modules(root)
    add_modules(archive, modules, MODULES + list(filter(modules.has, SEED_MODULES)))
    return bytes(archive)


def _compile_python(root):
    """Byte-code for what runs at each boot: an emulated processor takes longer to make it than to boot without."""
    python = unpacked_program(root, os.path.basename(signals.realpath(find_one(root, "bin/python3"))))
    folders = find(root, "lib/python3", "lib/python3.*")
    try:
        run(["env", "PYTHONHOME=" + os.path.join(root, "usr")] + python
            + ["-S", "-m", "compileall", "-q", "-s", root, "-p", "/", "-x", _NOT_COMPILED] + folders)
    except GuestBuildError:
        pass                    # of some file: it is compiled when it is needed


def _make_disk(root, path):
    """An ext4 file system of root's files, all of which belong to root, whoever unpacked them."""
    raw = path + ".raw"
    with open(raw, "wb") as f:
        f.truncate(_SIZE << 20)
    run([*unpacked_program(root, "mke2fs", "sbin/"),
        "-q", "-F", "-t", "ext4", "-m", "0", "-L", "root", "-E", "root_owner=0:0,lazy_itable_init=1", "-J", "size=8",
        "-d", root, raw])
    _give_to_root(root, raw)
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path])


def _give_to_root(root, raw):
    lines = []
    for folder, folders, names in os.walk(root):
        for name in folders + names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            for field, number in (("uid", status.st_uid), ("gid", status.st_gid)):
                if number:
                    lines.append('sif "%s" %s 0\n' % (_inside(root, path), field))
    if lines:
        filtered(unpacked_program(root, "debugfs", "sbin/") + ["-w", "-f", "-", raw], "".join(lines).encode())


def _inside(root, path):
    found = "/" + os.path.relpath(path, root)
    if '"' in found or not found.isprintable():         # debugfs takes a line of words, which may be quoted
        raise GuestBuildError("a package has a file whose name can't be used: %r" % found)
    return found
