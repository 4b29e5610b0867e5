"""A seed for cloud-init as a guest finds it, and that it is gone with whoever started the guest."""

import base64
import json
import os
import signal
import struct
import subprocess
import sys

import pytest
from support.runs import environment, virtvm
from support.waiting import until
from virtvm.guest import cloud_init


@pytest.fixture(autouse=True)
def run():
    cloud_init.end_run()
    yield cloud_init.this_run()
    cloud_init.end_run()


MOUNT = ('while read -r module; do insmod "/lib/modules/$module.ko"; done < /lib/modules/more'
         ' && mount -t vfat -o ro /dev/vdb1 /mnt')
LET_IN = "umask 077 && mkdir -p /root/.ssh && cat > /root/.ssh/authorized_keys <<'end'\n%s\nend"


def label(session):
    """That of a FAT file system, where blkid looks for it: the first sector and the root folder agree."""
    def sector(number):
        return base64.b64decode(session.cmd("dd if=/dev/vdb1 bs=512 skip=%d count=1 2>/dev/null | base64" % number))
    first = sector(0)
    assert first[54:59] == b"FAT16"
    reserved, copies, length = (*struct.unpack_from("<HB", first, 14), *struct.unpack_from("<H", first, 22))
    entry = sector(reserved + copies * length)[:32]
    assert entry[11] & 8 and entry[:11] == first[43:54]
    return entry[:11].decode().rstrip()


def test_guest_finds_the_seed_and_lets_its_key_in(new_vm, run):
    vm = new_vm(cloud_init="yes")
    vm.create()
    with vm.wait_for_login(timeout=240) as session:
        session.cmd(MOUNT, timeout=60)
        assert label(session) == "CIDATA"
        assert session.cmd("ls /mnt").split() == ["meta-data", "user-data"]
        assert json.loads(session.cmd("cat /mnt/meta-data"))["local-hostname"] == "vm1"
        head, _, config = session.cmd("cat /mnt/user-data").partition("\n")
        assert head == "#cloud-config"
        config = json.loads(config)
        # The guest's own params have a password, which is root's then.
        assert config["users"][1]["name"] == "root" and config["disable_root"] is False
        for write in ("touch /mnt/x", "dd if=/dev/zero of=/dev/vdb count=1"):
            assert session.cmd_status(write) != 0
        strings = session.cmd("cat /sys/firmware/dmi/entries/11-*/raw | tr '\\0' '\\n'")
        key, = config["ssh_authorized_keys"]
        assert "\x01%s\n\n" % cloud_init.credential(key) in strings       # of one string, this is all
        session.cmd(LET_IN % key)
    vm.params.update(password="wrong", ssh_auth="publickey")
    with vm.login() as session:
        assert session.cmd("id -u") == "0\n"
    vm.destroy(gracefully=False)
    assert os.path.exists(run.identity)         # another machine of the run's may need it


SCRIPT = """
import sys, time
from virtvm import guest
from virtvm.guest import cloud_init
from virtvm.hypervisors.qemu import VM
params = guest.Guest(sys.argv[1], guest.PASSWORD).params(
    kernel="", initrd="", kernel_params="", images="", cloud_init="yes")
vm = VM("vm1", params, sys.argv[2])
vm.create()
print(cloud_init.this_run().folder, flush=True)
%s
"""


@pytest.mark.parametrize("end", ["kill", "interrupt", "exit", "exception"])
def test_nothing_of_it_outlives_its_process(built_guest, tmp_path, end):
    last = {"exit": "", "exception": "raise SystemExit(3)"}.get(end, "time.sleep(600)")
    process = subprocess.Popen([sys.executable, "-c", SCRIPT % last, built_guest.directory, str(tmp_path)],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               env=dict(environment(), TMPDIR=str(tmp_path)))
    with process:
        folder = process.stdout.readline().strip()
        assert os.path.dirname(folder) == str(tmp_path)
        if end in ("kill", "interrupt"):
            assert sorted(os.listdir(folder)) == ["0", "id_ed25519", "id_ed25519.pub"]
            process.send_signal(signal.SIGKILL if end == "kill" else signal.SIGINT)
        process.wait()
    until(lambda: os.listdir(tmp_path) == [])


TEST = """
import os

def test_key(env, params):
    from virtvm.hypervisors.qemu import VM
    identity = params["ssh_identity_file"]
    vm = VM("vm1", params, ".")
    vm.create()
    try:
        assert os.path.exists(identity)
        with open("identity", "w") as f:
            f.write(identity)
    finally:
        vm.destroy(gracefully=False)
"""


def test_run_leaves_no_key(built_guest, tmp_path):
    (tmp_path / "test_key.py").write_text(TEST)
    virtvm(tmp_path, "run", "test_key.py", "--guest", built_guest.directory, "--cloud-init",
           "--param", "kernel=", "--param", "initrd=", "--param", "kernel_params=")
    identity = (tmp_path / "identity").read_text()
    assert not os.path.exists(os.path.dirname(identity))
    assert not [name for _place, folders, names in os.walk(tmp_path) for name in folders + names if "id_ed" in name]


def test_saved_machine_goes_on_with_its_seed(new_vm, tmp_path, run):
    vm = new_vm(kernel="", initrd="", kernel_params="", cloud_init="yes")
    vm.create()
    vm.save_to_file(str(tmp_path / "state"))
    vm.restore_from_file(str(tmp_path / "state"))
    assert vm.is_alive()
