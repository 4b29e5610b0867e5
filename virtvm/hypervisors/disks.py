"""The files that a VM writes to when its disks are to stay as they are (image_snapshot=yes), and
those that belong to a saved state.

QEMU's own snapshot=on writes to a file that dies with its process: a state that is restored, or
migrated, would go on with a disk that lacks all that was written.  So each VM has overlays that
have names: a destination shares them, and a saved state keeps copies.
"""

import json
import logging
import os
import shutil
import struct

from virtvm import scratch, signals, virt_vm
from virtvm.companions import error, utils, virt_utils
from virtvm.companions.quoting import command_line
from virtvm.hypervisors._process import remove, remove_at_exit

# What stands behind QEMU's stream in a state file: JSON, its length, and this.
_MAGIC = b"virtvm-disks\n"
_LENGTH = struct.Struct(">Q")
_LARGEST = 1 << 20


def find_qemu_img(params, root_dir):
    """Path of qemu-img (str): params' qemu_img_binary, below root_dir or on PATH."""
    name = params.get("qemu_img_binary", "qemu-img")
    path = virt_utils.get_path(root_dir, name)
    if signals.exists(path):
        return path
    return (None if "/" in name else shutil.which(name)) or path


def _images(params, root_dir):
    """(number, path, params) of the images that a guest may write to."""
    names = [name for name in params.objects("images") if params.object_params(name).get("boot_drive") != "no"]
    for number, name in enumerate(names):
        image = params.object_params(name)
        if image.get("image_readonly") != "yes":
            yield number, virt_vm.get_image_filename(image, root_dir), image


def users(path, vms):
    """Those (list) of some VMs that have the image at path open for writing."""
    return [vm for vm in vms if hasattr(vm.params, "objects") and not vm.is_dead() and any(
        signals.realpath(image) == signals.realpath(path) and not _has_snapshot(params)
        for _number, image, params in _images(vm.params, getattr(vm, "root_dir", "/")))]


def check_used(params, root_dir):
    """As virt_vm.check_image() of an image that a VM writes to: QEMU has it locked, and qemu-img is told so.

    Clusters that leak are none of its faults: QEMU writes down later that they are used.  An image that
    qemu-img can't be told of (before QEMU 2.10) is not looked at.
    """
    path = virt_vm.get_image_filename(params, root_dir)
    if params.get("vm_type") != "kvm" or params.get("image_format", "qcow2") != "qcow2" or not signals.exists(path):
        return
    qemu_img = find_qemu_img(params, root_dir)
    known = utils.run(command_line(qemu_img, "check", "--help"), ignore_status=True, verbose=False)
    if "-U" not in known.stdout + known.stderr:
        logging.warning("%s is in use and %s can't look at it then: it is not checked", path, qemu_img)
        return
    result = utils.run(command_line(qemu_img, "check", "-U", path), ignore_status=True, verbose=False)
    for line in (result.stdout + result.stderr).splitlines():
        logging.debug("[qemu-img check] %s", line)
    if result.exit_status == 1:
        raise error.TestWarn("qemu-img check error. Some bad data in the image may have gone unnoticed")
    if result.exit_status == 2:
        raise virt_vm.VMImageCheckError(path)


def _has_snapshot(image):
    return image.get("image_snapshot") == "yes"


def _temporary_folder():
    return os.environ.get("TMPDIR") or "/var/tmp"       # where QEMU has its own


class Overlays:
    """{number of a drive: path of what the guest writes to} of one VM.

    owned: whether they go when the VM goes; a migration's loser has given them away.
    """

    def __init__(self, paths=(), owned=True):
        self.paths, self.owned = dict(paths), owned

    @classmethod
    def made(cls, params, root_dir):
        """Fresh ones for all images with image_snapshot=yes.

        An image for which there can be none (it is missing, or qemu-img is) is left to QEMU.
        """
        overlays = cls()
        try:
            for number, path, image in _images(params, root_dir):
                if _has_snapshot(image) and signals.exists(path):
                    overlays._make(number, path, image, find_qemu_img(params, root_dir))
        except BaseException:
            overlays.remove()
            raise
        return overlays

    def _make(self, number, base, image, qemu_img):
        overlay = self._new(number)
        try:
            utils.run(command_line(qemu_img, "create", "-q", "-f", "qcow2", "-b", os.path.abspath(base), "-F",
                                   image.get("image_format", "qcow2"), overlay), 60, verbose=False)
        except error.CmdError as e:
            logging.debug("No overlay for %s: %s", base, e)
            remove(overlay)
            del self.paths[number]

    def _new(self, number):
        path = scratch.name("virtvm-disk-", ".qcow2", _temporary_folder())
        remove_at_exit(path)
        self.paths[number] = path
        scratch.make_file(path)
        return path

    @classmethod
    def restored(cls, kept):
        """Those of a saved state: kept is what kept_disks() found."""
        overlays = cls()
        try:
            for disk in kept:
                if disk.get("file"):
                    _copy(disk["file"], overlays._new(disk["number"]))
        except BaseException:
            overlays.remove()
            raise
        return overlays

    def lent(self):
        """The same files, for a VM that will be this one."""
        return Overlays(self.paths, owned=False)

    def remove(self):
        """Remove the files, if they are this VM's."""
        if self.owned:
            for path in self.paths.values():
                remove(path)
        self.paths = {}

    def missing(self, params, root_dir):
        """Paths (list of str) of images whose changes are in a nameless file of QEMU's own."""
        return [path for number, path, image in _images(params, root_dir)
                if _has_snapshot(image) and number not in self.paths]


def _copy(source, target):
    """The content of one file to another that is there; holes stay holes, and it is quick where it can be."""
    utils.run(command_line("cp", "--reflink=auto", "--sparse=always", "--", source, target), verbose=False)


# ---- what belongs to a saved state ----

def _stamp(path):
    st = os.stat(path)
    return [st.st_size, st.st_mtime_ns]


def keep(overlays, params, root_dir, state_path):
    """Copy what a VM's disks have now, beside the file that its state will have; return what to note of it.

    The VM must have stopped, and its disks been written (as they are once a migration is complete).
    """
    kept = []
    folder, name = os.path.split(os.path.abspath(state_path))
    try:
        for number, path, image in _images(params, root_dir):
            disk = {"number": number, "image": os.path.abspath(path)}
            kept.append(disk)
            if _has_snapshot(image):
                disk["file"] = copy = scratch.name("%s.disk%d-" % (name, number), ".qcow2", folder)
                scratch.make_file(copy)
                _copy(overlays.paths[number], copy)
                os.chmod(copy, 0o400)
            disk["stamp"] = _stamp(path)
    except BaseException:
        discard(kept)
        raise
    return kept


def discard(kept):
    """Remove the copies of keep()."""
    for disk in kept:
        if disk.get("file") and signals.lexists(disk["file"]):
            os.unlink(disk["file"])


def note(fd, kept):
    """Write behind a state (its open file) which disks belong to it."""
    disks = [dict(disk, file=os.path.basename(disk["file"])) if "file" in disk else disk for disk in kept]
    text = json.dumps({"disks": disks}).encode()
    os.lseek(fd, 0, os.SEEK_END)
    data = memoryview(text + _LENGTH.pack(len(text)) + _MAGIC)
    while data:
        data = data[os.write(fd, data):]


def noted(state_path):
    """What note() wrote (list of dicts), None if nothing; "file" is a path beside the state.  OSError."""
    with open(state_path, "rb") as f:
        end = f.seek(0, os.SEEK_END) - len(_MAGIC) - _LENGTH.size
        if end < 0:
            return None
        f.seek(end)
        size, magic = _LENGTH.unpack(f.read(_LENGTH.size))[0], f.read()
        if magic != _MAGIC or size > min(end, _LARGEST):
            return None
        f.seek(end - size)
        text = f.read(size)
    try:
        disks = json.loads(text)["disks"]
        for disk in disks:
            if "file" in disk:
                disk["file"] = os.path.join(os.path.dirname(os.path.abspath(state_path)),
                                            os.path.basename(disk["file"]))
        return disks
    except (ValueError, TypeError, KeyError) as e:
        signals.let_out(e)
        return None


def kept_disks(state_path, params, root_dir):
    """The disks (list of dicts) that a VM of these params needs to go on from a saved state.

    Raises VMMigrateError in words if they are not what they were.
    """
    kept = noted(state_path)
    wanted = {number: (path, image) for number, path, image in _images(params, root_dir)}
    if kept is None:
        lost = [path for path, image in wanted.values() if _has_snapshot(image)]
        if lost:
            raise virt_vm.VMMigrateError("%s was saved without what the guest had written to %s"
                                         % (state_path, ", ".join(lost)))
        return []
    if {disk["number"] for disk in kept} != set(wanted):
        raise virt_vm.VMMigrateError("%s was saved by a VM with other disks" % state_path)
    for disk in kept:
        _check(disk, wanted[disk["number"]][0], state_path)
    return kept


def _check(disk, path, state_path):
    if not signals.exists(path) or not os.path.samefile(path, disk["image"]):
        raise virt_vm.VMMigrateError("%s was saved by a VM with the disk %s, not %s"
                                     % (state_path, disk["image"], path))
    if "file" in disk and not signals.exists(disk["file"]):
        raise virt_vm.VMMigrateError("The disk that belongs to %s is gone: %s" % (state_path, disk["file"]))
    if _stamp(path) != disk["stamp"]:
        raise virt_vm.VMMigrateError("%s has been written to since %s was saved: the guest would find another disk"
                                     % (path, state_path))
