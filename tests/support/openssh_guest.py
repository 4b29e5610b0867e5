"""The guest with an OpenSSH of Debian 13 (10.0) and its default limits in dropbear's place.

Debian's packages are fetched by apt with lists of its own and unpacked, not installed.  The
server lives in a folder of the guest with its own libraries, /openssh, and writes /openssh/log.
"""

import gzip
import os
import shutil
import subprocess

from virtvm.guest.initrd import Archive, files
from virtvm.guest.password import crypt
from virtvm.guest.unpacked import find_library, needed_by

_SOURCE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main\n"
_PACKAGES = ["openssh-server", "dash", "libc6", "libssl3t64", "zlib1g", "libpam0g", "libaudit1", "libcap-ng0",
             "libselinux1", "libpcre2-8-0", "libwrap0", "libcrypt1", "libgssapi-krb5-2", "libkrb5-3",
             "libk5crypto3", "libkrb5support0", "libcom-err2", "libkeyutils1", "libwtmpdb0", "libzstd1",
             "libsqlite3-0", "libnsl2", "libtirpc3t64"]
_PROGRAMS = ["sbin/sshd", "lib/openssh/sshd-session", "lib/openssh/sshd-auth", "bin/dash"]

# What keeps to its defaults: MaxStartups, PerSourcePenalties, LoginGraceTime.
_CONFIG = """HostKey /etc/ssh/key
PermitRootLogin yes
UsePAM no
LogLevel VERBOSE
PidFile none
"""

_INITTAB = """::sysinit:/etc/rc
::respawn:/etc/openssh
ttyS0::respawn:/sbin/getty -L 115200 ttyS0 linux
::ctrlaltdel:/sbin/reboot
"""

# virtvm.sshd=SECONDS: so long after power-on the server starts.
_START = """#!/bin/sh
at=$(sed -n 's/.*virtvm\\.sshd=\\([0-9]*\\).*/\\1/p' /proc/cmdline)
now=$(sed 's/\\..*//' /proc/uptime)
[ "${at:-0}" -le "$now" ] || sleep $((at - now))
for folder in dev proc sys; do
    mount --bind /$folder /openssh/$folder
done
mount --bind /dev/pts /openssh/dev/pts
/etc/tell-ready &
exec chroot /openssh /usr/sbin/sshd -D -E /log
"""

# For measurements, with virtvm.tell: a line on the console once the address is set and somebody listens.
_TELL = """#!/bin/sh
grep -q virtvm.tell /proc/cmdline || exit 0
until grep -q ":0016 0*:0000 0A" /proc/net/tcp && ip -4 addr show dev eth0 | grep -q inet; do
    usleep 50000
done
echo virtvm-ready > /dev/ttyS0
"""


def _fetch(folder):
    """The packages, unpacked below a folder; its path.  CalledProcessError, OSError."""
    root = os.path.join(folder, "root")
    if os.path.exists(os.path.join(root, "complete")):
        return root
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("lists/partial", "archives/partial"):
        os.makedirs(os.path.join(folder, name))
    with open(os.path.join(folder, "sources.list"), "w") as f:
        f.write(_SOURCE)
    open(os.path.join(folder, "status"), "w").close()
    options = ["apt-get", "-q", "-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root"]
    for name, value in [("Etc::sourcelist", "sources.list"), ("State", ""), ("State::status", "status"), ("Cache", "")]:
        options += ["-o", "Dir::%s=%s" % (name, os.path.join(folder, value))]
    options += ["-o", "Dir::Etc::sourceparts=/dev/null"]
    for command in (["update"], ["download"] + _PACKAGES):
        subprocess.run(options + command, cwd=os.path.join(folder, "archives"), check=True, timeout=200,
                       stdout=subprocess.DEVNULL)
    for name in os.listdir(os.path.join(folder, "archives")):
        if name.endswith(".deb"):
            subprocess.run(["dpkg", "-x", name, root], cwd=os.path.join(folder, "archives"), check=True)
    open(os.path.join(root, "complete"), "w").close()
    return root


def _add_program(archive, root, name):
    archive.copy("openssh/usr/" + name, os.path.join(root, "usr", name))
    wanted = needed_by(os.path.join(root, "usr", name))
    while wanted:
        library = os.path.basename(wanted.pop())
        place = "openssh/lib64/" if library.startswith("ld-linux") else "openssh/lib/x86_64-linux-gnu/"
        if place + library not in archive:
            path = find_library(root, library)
            archive.copy(place + library, path)
            wanted += needed_by(path)


def telling_initrd(guest, folder):
    """Path of an initrd: the guest's own, with dropbear, which says (with virtvm.tell) when it can be reached."""
    archive = Archive()
    inittab = files()["etc/inittab"][0]
    archive.file("etc/inittab", inittab + b"::once:/etc/tell-ready\n", 0o644)
    archive.file("etc/tell-ready", _TELL.encode(), 0o755)
    return _appended(guest, archive, os.path.join(folder, "telling.gz"))


def _appended(guest, archive, path):
    with open(os.path.join(guest.directory, "initrd.gz"), "rb") as f, open(path, "wb") as out:
        out.write(f.read() + gzip.compress(bytes(archive), 1))
    return path


def initrd(guest, folder):
    """Path of an initrd: the guest's with the server in it.  folder: what is fetched is kept there."""
    root = _fetch(os.path.join(folder, "packages"))
    key = os.path.join(folder, "key")
    if not os.path.exists(key):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    archive = Archive()
    for name in ("", "dev", "proc", "sys", "etc", "etc/ssh", "lib", "lib/x86_64-linux-gnu", "lib64", "usr", "usr/bin",
                 "usr/sbin", "usr/lib", "usr/lib/openssh", "bin", "run", "root", "var", "var/empty", "tmp"):
        archive.folder(("openssh/" + name).rstrip("/"))
    archive.folder("openssh/run/sshd")
    for name in _PROGRAMS:
        _add_program(archive, root, name)
    archive.link("openssh/bin/sh", "/usr/bin/dash")
    archive.copy("openssh/etc/ssh/key", key, 0o600)
    archive.file("openssh/etc/ssh/sshd_config", _CONFIG.encode(), 0o644)
    archive.file("openssh/etc/passwd", b"root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n", 0o644)
    archive.file("openssh/etc/group", b"root:x:0:\nnogroup:x:65534:\ntty:x:5:\n", 0o644)
    archive.file("openssh/etc/shadow", ("root:%s:19000:0:99999:7:::\n" % crypt(guest.password)).encode(), 0o600)
    archive.file("openssh/root/.profile", b"PS1='# '\n", 0o644)
    archive.file("etc/inittab", _INITTAB.encode(), 0o644)
    archive.file("etc/openssh", _START.encode(), 0o755)
    archive.file("etc/tell-ready", _TELL.encode(), 0o755)
    return _appended(guest, archive, os.path.join(folder, "initrd.gz"))
