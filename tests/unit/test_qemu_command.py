"""From params to QEMU's command line."""

import pytest
from virtvm.companions import virt_utils
from virtvm.hypervisors import qemu_command


def argv(**params):
    params.setdefault("qemu_binary", "/usr/bin/qemu")
    setup = qemu_command.Setup("vm, 1", "/root dir", monitors=[("qmp1", 3)], console=4,
                               redirs={22: 5000, 80: 5001}, macs=["9a:00:00:00:00:01"] * 3,
                               ifnames=["t0", "t1", "t2"], testlog="/tmp/testlog")
    return qemu_command.make_argv(virt_utils.Params(params), setup)


def options(args, name):
    return [args[i + 1] for i, arg in enumerate(args) if arg == name]


def test_machine():
    args = argv(mem="512", smp="2", cpu_model="max", machine_type="q35")
    assert args[0] == "/usr/bin/qemu" and "-S" in args and "-nodefaults" in args
    assert options(args, "-name") == ["vm,, 1"]
    assert options(args, "-m") == ["512"] and options(args, "-smp") == ["2"]
    assert options(args, "-machine") == ["q35"] and options(args, "-cpu") == ["max"]
    assert options(args, "-accel") == ["tcg"]


@pytest.mark.parametrize("kind, device", [
    ("ide", "ide-hd,drive=drive0"), ("virtio", "virtio-blk-pci,drive=drive0"),
    ("scsi", "scsi-hd,drive=drive0,bus=scsi0.0"), ("ahci", "ide-hd,drive=drive0,bus=ahci0.0")])
def test_images(kind, device):
    args = argv(images="image1", image_name="im,age", drive_format=kind, image_snapshot="yes",
                drive_cache="none")
    assert options(args, "-drive") == [
        "file=/root dir/im,,age.qcow2,if=none,id=drive0,format=qcow2,cache=none,snapshot=on"]
    assert device in options(args, "-device")


def test_each_image_has_its_own_params():
    args = argv(images="disk1 disk2 disk3", image_name_disk1="one", image_name_disk2="two",
                image_format_disk2="raw", boot_drive_disk3="no", drive_format="virtio",
                image_boot_disk2="yes")
    assert [drive.split(",")[0] for drive in options(args, "-drive")] == [
        "file=/root dir/one.qcow2", "file=/root dir/two.raw"]
    assert "virtio-blk-pci,drive=drive1,bootindex=2" in options(args, "-device")


def test_nics():
    args = argv(nics="n1 n2", nic_model="virtio", nic_mode_n2="tap", kernel="vmlinuz")
    assert options(args, "-netdev") == [
        "user,id=net0,hostfwd=tcp:127.0.0.1:5000-:22,hostfwd=tcp:127.0.0.1:5001-:80",
        "tap,id=net1,ifname=t1,script=no,downscript=no"]
    assert "virtio-net-pci,netdev=net0,id=nic0,mac=9a:00:00:00:00:01,romfile=" in options(args, "-device")


def test_kernel_display_clock_and_the_rest():
    args = argv(kernel="boot/vmlinuz", initrd="/initrd", kernel_params="console=ttyS0 a='b c'",
                display="vnc", vga="cirrus", rtc_base="utc", rtc_clock="host", rtc_drift="slew",
                extra_params="-device 'a b' -no-reboot", boot_order="dc", virtio_rng="no")
    assert options(args, "-kernel") == ["/root dir/boot/vmlinuz"]
    assert options(args, "-initrd") == ["/initrd"]
    assert options(args, "-append") == ["console=ttyS0 a='b c'"]
    assert options(args, "-vnc") == ["127.0.0.1:0,to=199"] and options(args, "-vga") == ["cirrus"]
    assert options(args, "-rtc") == ["base=utc,clock=host,driftfix=slew"]
    assert options(args, "-boot") == ["order=dc"]
    assert args[-3:] == ["-device", "a b", "-no-reboot"]
    assert "virtio-rng-pci" not in args


def test_serial_monitor_and_testlog():
    args = argv(testdev="yes")
    assert "socket,id=monitor0,fd=3,server=on,wait=off" in options(args, "-chardev")
    assert "socket,id=serial0,fd=4,server=on,wait=off" in options(args, "-chardev")
    assert "file,id=testlog,path=/tmp/testlog" in options(args, "-chardev")


def test_cdroms_and_hugepages():
    args = argv(cdroms="cd1 cd2", cdrom_cd1="a.iso", hugepage="yes")
    assert "if=none,id=cd0,media=cdrom,readonly=on,file=/root dir/a.iso,format=raw" in options(args, "-drive")
    assert "if=none,id=cd1,media=cdrom,readonly=on" in options(args, "-drive")
    assert options(args, "-mem-path") == ["/mnt/kvm_hugepage"]
