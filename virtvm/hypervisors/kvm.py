"""Whether KVM really works here.

/dev/kvm may be there and still be of no use, in nested and in container hosts above all.
So it is tried: a virtual machine is made, and on x86 its processor runs three instructions.
"""

import ctypes
import fcntl
import mmap
import os
import platform
import struct

from virtvm import signals

# <linux/kvm.h>
_GET_API_VERSION = 0xAE00
_CREATE_VM = 0xAE01
_GET_VCPU_MMAP_SIZE = 0xAE04
_CREATE_VCPU = 0xAE41
_SET_USER_MEMORY_REGION = 0x4020AE46
_RUN = 0xAE80
_SET_REGS = 0x4090AE82
_GET_SREGS = 0x8138AE83
_SET_SREGS = 0x4138AE84
_API_VERSION = 12
_EXIT_IO, _EXIT_HLT = 2, 5

_CODE = b"\xb0\x2a\xe6\x10\xf4"         # mov al, 42; out 0x10, al; hlt

_answer = None


def probe(path="/dev/kvm"):
    """None if KVM runs a virtual machine, else the reason (str) why not."""
    reason = _lacks_hardware()
    if reason:
        return reason
    with signals.held() as handlers:
        try:
            kvm = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as e:
            signals.let_out(e)
            return "%s: %s" % (path, e.strerror)
        try:
            handlers.deliver()
            return _try_vm(path, kvm)
        except OSError as e:
            signals.let_out(e)
            return "%s: cannot run a virtual machine: %s" % (path, e.strerror)
        finally:
            os.close(kvm)


def _is_x86():
    return platform.machine() in ("x86_64", "i686")


def _lacks_hardware():
    """KVM that emulates the hardware it lacks runs toys, and fails with real kernels."""
    if not _is_x86():
        return None
    with open("/proc/cpuinfo") as f:
        flags = next((line for line in f if line.startswith("flags")), "").split()
    return None if {"vmx", "svm"} & set(flags) else "the processor has no hardware virtualisation"


def _try_vm(path, kvm):
    version = fcntl.ioctl(kvm, _GET_API_VERSION, 0)
    if version != _API_VERSION:
        return "%s: API version %d, not %d" % (path, version, _API_VERSION)
    vm = fcntl.ioctl(kvm, _CREATE_VM, 0)
    try:
        if platform.machine() == "x86_64" and not _runs_code(kvm, vm):
            return "%s: a virtual processor does not run" % path
    finally:
        os.close(vm)
    return None


def _runs_code(kvm, vm):
    """Whether the VM's processor does what three instructions in real mode say."""
    cpu = fcntl.ioctl(vm, _CREATE_VCPU, 0)
    try:
        memory = mmap.mmap(-1, mmap.PAGESIZE)
        memory[:len(_CODE)] = _CODE
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        fcntl.ioctl(vm, _SET_USER_MEMORY_REGION, struct.pack("=IIQQQ", 0, 0, 0, mmap.PAGESIZE, address))
        sregs = bytearray(fcntl.ioctl(cpu, _GET_SREGS, bytes(0x138)))
        struct.pack_into("=Q", sregs, 0, 0)     # cs: base
        struct.pack_into("=H", sregs, 12, 0)    # cs: selector
        fcntl.ioctl(cpu, _SET_SREGS, bytes(sregs))
        fcntl.ioctl(cpu, _SET_REGS, struct.pack("=18Q", *[0] * 16, 0, 2))
        shared = mmap.mmap(cpu, fcntl.ioctl(kvm, _GET_VCPU_MMAP_SIZE, 0))
        reasons = []
        for _ in range(2):
            fcntl.ioctl(cpu, _RUN, 0)
            reasons.append(struct.unpack_from("=I", shared, 8)[0])
        shared.close()
        return reasons == [_EXIT_IO, _EXIT_HLT]
    finally:
        os.close(cpu)


def works():
    """Whether KVM works (bool); asked once a process."""
    global _answer
    if _answer is None:
        _answer = (probe(),)
    return _answer[0] is None
