"""The guest from the packages of a Debian that this host may not be."""

import os
import subprocess

import pytest
from support.archive import Release
from virtvm import guest

RELEASE = "trixie"


def build(folder, monkeypatch):
    """The guest, built each time; its packages are kept between runs."""
    apt = Release(folder, RELEASE)
    monkeypatch.setenv("APT_CONFIG", apt.environment()["APT_CONFIG"])
    if os.path.exists(os.path.join(folder, "guest.json")):
        os.unlink(os.path.join(folder, "guest.json"))
    try:
        return guest.build(folder, offline=True)
    except guest.GuestBuildError:
        apt.update()
        return guest.build(folder)


@pytest.mark.once
def test_guest_of_the_current_release(built_guest, new_vm, monkeypatch):
    built = build("%s-%s" % (built_guest.directory, RELEASE), monkeypatch)
    with open(built.kernel, "rb") as f:
        assert f.read(4) == b"\x7fELF"
    monkeypatch.undo()
    vm = new_vm(kernel=built.kernel, initrd=built.initrd, image_name=built.params()["image_name"])
    vm.create()
    session = vm.wait_for_login(timeout=240)
    assert "deb13" in session.cmd("uname -r")
    # A disk, a network and entropy: each of the modules that these need was there.
    assert "ext4" in session.cmd("grep ' /data ' /proc/mounts")
    assert session.cmd("cat /sys/class/misc/hw_random/rng_current").startswith("virtio_rng")
    assert session.cmd_status("insmod /lib/modules/$(tail -n 1 /lib/modules/order).ko") != 0       # it is in use
    session.close()
    assert subprocess.run(["qemu-img", "check", "-q", built.disk]).returncode == 0
