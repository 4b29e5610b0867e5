"""From a test's params to QEMU's command line: a list of arguments, no shell.

Nothing here looks at a running VM: what depends on the host comes in a Setup.
"""

import errno
import shlex
import shutil

from virtvm import signals, virt_vm
from virtvm.companions import virt_utils
from virtvm.guest.cloud_init import LABEL

HUGEPAGE_PATH = "/mnt/kvm_hugepage"


class Setup:
    """What a command line needs to know besides the params.

    name: of the VM.  root_dir: folder of relative paths.  kvm: use KVM (bool).
    monitors: [(name, descriptor)]; console: descriptor; both of listening sockets.
    testlog: path.  redirs: {guest port: host port}.  canary: (guest port, host port) of one
    more, on which nobody listens, or None.  macs: one MAC address a NIC.
    ifnames: one host interface a NIC, for tap.  uuid: str or None.  incoming: whether
    it waits for its state by migration (bool).  overlays: {number of a drive: path of what is
    written instead of its image}.  seed: cloud_init.Seed, or None.
    """

    def __init__(self, name, root_dir, kvm=False, monitors=(), console=None, testlog=None,
                 redirs=None, macs=(), ifnames=(), uuid=None, incoming=False, canary=None,
                 overlays=None, seed=None):
        self.name, self.root_dir, self.kvm = name, root_dir, kvm
        self.monitors, self.console, self.testlog = list(monitors), console, testlog
        self.redirs, self.macs, self.ifnames = dict(redirs or {}), list(macs), list(ifnames)
        self.uuid, self.incoming, self.canary = uuid, incoming, canary
        self.overlays = dict(overlays or {})
        self.seed = seed


def escape(value):
    """A value within QEMU's comma-separated options."""
    return str(value).replace(",", ",,")


def find_binary(params, root_dir):
    """Path of QEMU (str): params' qemu_binary, below root_dir or on PATH."""
    name = params.get("qemu_binary", "qemu-system-x86_64")
    path = virt_utils.get_path(root_dir, name)
    if signals.exists(path):
        return path
    return (None if "/" in name else shutil.which(name)) or path


def why_not_run(params, path, e):
    """Why QEMU, for which path was found, could not be run (str); e: OSError."""
    name = params.get("qemu_binary", "qemu-system-x86_64")
    if e.errno != errno.ENOENT or "/" in name:
        return "%s: %s" % (path, e.strerror)
    package = " (Debian: the package qemu-system-x86)" if name == "qemu-system-x86_64" else ""
    return "%s is missing: install it%s, or name one by qemu_binary" % (name, package)


def make_argv(params, setup):
    """QEMU's command line (list of str) for those params (Params) and that Setup."""
    argv = [find_binary(params, setup.root_dir), "-name", escape(setup.name), "-S", "-nodefaults"]
    argv += _machine(params, setup) + _memory(params)
    for number, (name, fd) in enumerate(setup.monitors):
        argv += ["-chardev", "socket,id=monitor%d,fd=%d,server=on,wait=off" % (number, fd),
                 "-mon", "chardev=monitor%d,mode=control" % number]
    argv += _serial(params, setup)
    first = 0 if setup.seed and not _says_what_boots(params) else None
    for number, image in enumerate(_drives(params)):
        argv += _image(number, params.object_params(image), setup, number == first)
    for number, cdrom in enumerate(params.objects("cdroms")):
        argv += _cdrom(number, params.object_params(cdrom), setup.root_dir)
    argv += _seed(setup.seed)
    for number, nic in enumerate(params.objects("nics")):
        argv += _nic(number, params.object_params(nic), setup)
    argv += _kernel(params, setup.root_dir) + _display(params) + _rest(params, setup)
    return argv


def _machine(params, setup):
    argv = ["-machine", params.get("machine_type", "pc"), "-accel", "kvm" if setup.kvm else "tcg"]
    if params.get("cpu_model"):
        argv += ["-cpu", params.get("cpu_model")]
    argv += ["-smp", params.get("smp", "1")]
    return argv


def _memory(params):
    argv = ["-m", params.get("mem", "128")]
    if params.get("hugepage") == "yes":
        argv += ["-mem-path", params.get("hugepage_path", HUGEPAGE_PATH), "-mem-prealloc"]
    return argv


def _serial(params, setup):
    argv = []
    if setup.console is not None:
        argv += ["-chardev", "socket,id=serial0,fd=%d,server=on,wait=off" % setup.console,
                 "-device", "isa-serial,chardev=serial0"]
    if params.get("testdev") == "yes":
        argv += ["-chardev", "file,id=testlog,path=%s" % escape(setup.testlog),
                 "-device", "testdev,chardev=testlog"]
    return argv


def _drives(params):
    return [image for image in params.objects("images")
            if params.object_params(image).get("boot_drive") != "no"]


_DEVICES = {"ide": "ide-hd", "virtio": "virtio-blk-pci", "scsi": "scsi-hd", "ahci": "ide-hd",
            "usb": "usb-storage", "sd": "sd-card"}
_CONTROLLERS = {"scsi": "virtio-scsi-pci,id=scsi%d", "ahci": "ahci,id=ahci%d", "usb": "qemu-xhci,id=xhci%d"}
_BUSES = {"scsi": ",bus=scsi%d.0", "ahci": ",bus=ahci%d.0", "usb": ",bus=xhci%d.0"}


def _says_what_boots(params):
    return any(params.get(name) for name in ("kernel", "boot_order", "boot_once")) or any(
        params.object_params(image).get("image_boot") == "yes" for image in _drives(params))


def _image(number, params, setup, boots):
    kind = params.get("drive_format", "ide")
    overlay = setup.overlays.get(number)
    drive = "file=%s,if=none,id=drive%d,format=%s" % (
        escape(overlay or virt_vm.get_image_filename(params, setup.root_dir)), number,
        "qcow2" if overlay else escape(params.get("image_format", "qcow2")))
    for option, name in (("cache", "drive_cache"), ("werror", "drive_werror"),
                         ("rerror", "drive_rerror"), ("aio", "drive_aio")):
        if params.get(name) and not (overlay and option == "cache"):
            drive += ",%s=%s" % (option, escape(params.get(name)))
    if overlay:
        drive += ",cache=unsafe"        # as snapshot=on has it: it need not outlive the host's power
    elif params.get("image_snapshot") == "yes":
        drive += ",snapshot=on"
    if params.get("image_readonly") == "yes":
        drive += ",readonly=on"
    device = "%s,drive=drive%d" % (_DEVICES.get(kind, kind), number)
    argv = ["-drive", drive]
    if kind in _CONTROLLERS:
        argv += ["-device", _CONTROLLERS[kind] % number]
        device += _BUSES[kind] % number
    if params.get("drive_serial"):
        device += ",serial=" + escape(params.get("drive_serial"))
    if boots or params.get("image_boot") == "yes":
        device += ",bootindex=%d" % (number + 1)
    return argv + ["-device", device]


def cdrom_path(params, root_dir):
    """Path (str) of the CD image that a cdrom's params name, or None."""
    name = params.get("cdrom")
    return virt_utils.get_path(root_dir, name) if name else None


def _cdrom(number, params, root_dir):
    path = cdrom_path(params, root_dir)
    drive = "if=none,id=cd%d,media=cdrom,readonly=on" % number
    if path:
        drive += ",file=%s,format=raw" % escape(path)
    return ["-drive", drive, "-device", "ide-cd,drive=cd%d" % number]


def _seed(seed):
    """A small disk that QEMU makes of a folder, and what systemd finds in SMBIOS."""
    if seed is None:
        return []
    argv = ["-drive", "driver=vvfat,dir=%s,label=%s,read-only=on,if=none,id=seed" % (escape(seed.folder), LABEL),
            "-device", "virtio-blk-pci,drive=seed"]
    return argv + (["-smbios", "type=11,path=" + escape(seed.credential)] if seed.credential else [])


def _nic(number, params, setup):
    mode = params.get("nic_mode", "user")
    backend = "%s,id=net%d" % (mode, number)
    if mode == "user" and number == 0:
        for guest_port, host_port in sorted(setup.redirs.items()) + [setup.canary] * (setup.canary is not None):
            backend += ",hostfwd=tcp:127.0.0.1:%d-:%d" % (host_port, guest_port)
    elif mode == "tap":
        script = params.get("nic_script")
        backend += ",ifname=%s,script=%s,downscript=no" % (
            escape(setup.ifnames[number]), escape(virt_utils.get_path(setup.root_dir, script)) if script else "no")
    model = params.get("nic_model", "rtl8139")
    device = "%s,netdev=net%d,id=nic%d" % ({"virtio": "virtio-net-pci"}.get(model, model), number, number)
    if number < len(setup.macs) and setup.macs[number]:
        device += ",mac=" + escape(setup.macs[number])
    if params.get("romfile") is not None:
        device += ",romfile=" + escape(params.get("romfile"))
    elif params.get("kernel"):
        device += ",romfile="            # nothing boots from it
    if params.get("nic_extra_params"):
        device += "," + params.get("nic_extra_params")
    return ["-netdev", backend, "-device", device]


def _kernel(params, root_dir):
    argv = []
    for option in ("kernel", "initrd"):
        if params.get(option):
            argv += ["-" + option, virt_utils.get_path(root_dir, params.get(option))]
    if params.get("kernel_params"):
        argv += ["-append", params.get("kernel_params")]
    return argv


def _display(params):
    argv = ["-vga", params.get("vga", "std")]
    display = params.get("display", "none")
    if display == "vnc":
        return argv + ["-vnc", "127.0.0.1:0,to=199"]
    if display in ("sdl", "gtk"):
        return argv + ["-display", display]
    return argv + ["-display", "none"]


def _rtc(params):
    options = []
    for option, name in (("base", "rtc_base"), ("clock", "rtc_clock"), ("driftfix", "rtc_drift")):
        if params.get(name):
            options.append("%s=%s" % (option, escape(params.get(name))))
    return ["-rtc", ",".join(options)] if options else []


def _rest(params, setup):
    argv = _rtc(params)
    if params.get("virtio_rng", "yes") == "yes":
        argv += ["-device", "virtio-rng-pci"]       # the guest's first key exchange is quick
    if setup.uuid:
        argv += ["-uuid", setup.uuid]
    boot = [params.get("boot_order") and "order=" + params.get("boot_order"),
            params.get("boot_once") and "once=" + params.get("boot_once"),
            params.get("boot_menu") and "menu=" + params.get("boot_menu")]
    if any(boot):
        argv += ["-boot", ",".join(filter(None, boot))]
    if setup.incoming:
        argv += ["-incoming", "defer"]          # from where is said at its monitor
    return argv + shlex.split(params.get("extra_params", ""))
