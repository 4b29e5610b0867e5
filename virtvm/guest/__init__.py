"""Builds a small Linux guest from Debian's packages: for the demo and for tests.

The guest is a distribution kernel and an initrd of a few MB that holds busybox, dropbear,
an SFTP server and scp.  It needs no network to boot, logs in over SSH and on its serial
console, and has a second disk to write to.  Packages are fetched by apt-get, unpacked
and never installed on the host.  What is looked for in them is found by what it is, not by
where one release has it.
"""

from virtvm.guest.building import DISK_SIZE, PASSWORD, Guest, build
from virtvm.guest.commands import GuestBuildError

__all__ = ["DISK_SIZE", "PASSWORD", "Guest", "GuestBuildError", "build"]
