"""What goes wrong at the start has its own exception, and leaves nothing behind."""

import hashlib
import os
import subprocess

import pytest
from support.waiting import LONG
from virtvm import virt_vm
from virtvm.hypervisors import kvm


def left(vm):
    """Sockets that a VM of that instance left."""
    return [name for name in os.listdir("/tmp") if name.endswith(vm.instance)]


def fails(vm, error, match=None):
    with pytest.raises(error, match=match) as info:
        vm.create(timeout=LONG)         # by what is seen, not by the time allowed
    assert vm.is_dead() and left(vm) == []
    return info.value


def test_option_that_qemu_does_not_know(new_vm):
    error = fails(new_vm(extra_params="-no-such-option"), virt_vm.VMCreateError)
    assert error.status == 1 and "-no-such-option: invalid option" in error.output
    assert "-no-such-option" in error.cmd and "status: 1" in str(error)


def test_missing_disk_image(new_vm):
    error = fails(new_vm(image_name="/nonexistent/image"), virt_vm.VMCreateError)
    assert "Could not open '/nonexistent/image.qcow2'" in error.output


def test_image_of_another_format(new_vm, tmp_path):
    (tmp_path / "bad.qcow2").write_bytes(b"not a qcow2 image at all" * 100)
    error = fails(new_vm(image_name=str(tmp_path / "bad")), virt_vm.VMCreateError)
    assert "qcow2" in error.output


def test_missing_qemu(new_vm):
    fails(new_vm(qemu_binary="/nonexistent/qemu"), virt_vm.VMCreateError, "/nonexistent/qemu: No such file")
    error = fails(new_vm(qemu_binary="qemu-system-none"), virt_vm.VMCreateError)
    assert error.output == "qemu-system-none is missing: install it, or name one by qemu_binary"


def test_missing_cdrom(new_vm):
    error = fails(new_vm(cdroms="cd1", cdrom="none.iso"), virt_vm.VMImageMissingError)
    assert error.filename.endswith("none.iso")


def test_cdrom_with_another_hash(new_vm, tmp_path):
    image = tmp_path / "cd.iso"
    image.write_bytes(os.urandom(4096))
    vm = new_vm(cdroms="cd1", cdrom=str(image), md5sum="0" * 32)
    error = fails(vm, virt_vm.VMHashMismatchError)
    assert error.actual_hash == hashlib.md5(image.read_bytes()).hexdigest()
    vm.params["md5sum"] = error.actual_hash
    vm.create()
    assert vm.is_alive()


def test_kvm_where_there_is_none(new_vm):
    if kvm.works():
        pytest.skip("KVM works here")
    error = fails(new_vm(enable_kvm="yes"), virt_vm.VMKVMInitError)
    assert error.output == kvm.probe()


def test_hugepages_that_are_not_there(new_vm):
    fails(new_vm(hugepage="yes", hugepage_path="/nonexistent/hugepages"), virt_vm.VMHugePageError)


def test_devices_to_assign(new_vm):
    assert fails(new_vm(pci_assignable="vf"), virt_vm.VMPAError).pa_type == "vf"
    assert fails(new_vm(pci_assignable="teapot"), virt_vm.VMBadPATypeError).pa_type == "teapot"


def test_port_that_another_process_takes_meanwhile(new_vm, monkeypatch):
    import socket
    from virtvm.companions import virt_utils
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        ports = [[taken.getsockname()[1]], virt_utils.find_free_ports(5000, 6000, 1)]
        monkeypatch.setattr(virt_utils, "find_free_ports", lambda *args: ports.pop(0))
        vm = new_vm()
        vm.create()
        assert vm.is_alive() and ports == []


def test_qemu_that_dies_before_it_is_asked(new_vm, tmp_path):
    script = tmp_path / "qemu"
    script.write_text("#!/bin/sh\necho my last words\nkill -9 $$\n")
    script.chmod(0o755)
    error = fails(new_vm(qemu_binary=str(script)), virt_vm.VMCreateError)
    assert error.output == "my last words" and error.status == -9


def test_qemu_that_is_silent(new_vm, tmp_path):
    script = tmp_path / "qemu"
    script.write_text("#!/bin/sh\nsleep 600\n")
    script.chmod(0o755)
    vm = new_vm(qemu_binary=str(script))
    with pytest.raises(virt_vm.VMCreateError, match="No QMP greeting"):
        vm.create(timeout=0.5)
    assert vm.is_dead() and left(vm) == []
    assert subprocess.run(["pgrep", "-f", str(script)]).returncode == 1
