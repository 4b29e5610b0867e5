"""The guest with systemd, OpenSSH and cloud-init: one boot of it, `make full-guest`"""

import os

import pytest
from virtvm import guest
from virtvm.companions import virt_utils
from virtvm.guest import cloud_init, full
from virtvm.hypervisors.qemu import VM

CACHE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                     ".cache", "full-guest")
BOOT = 1000             # seconds: the processor is emulated, and others may have the host's


@pytest.fixture
def vm(tmp_path):
    virt_utils.set_log_file_dir(str(tmp_path))
    params = guest.build(CACHE, kind=full.FullGuest, log=print).params(password="secret words")
    vm = VM("vm1", params, str(tmp_path))
    try:
        vm.create()
        yield vm
    finally:
        vm.destroy(gracefully=False)
        cloud_init.end_run()
        virt_utils.close_log_file()


def look(session):
    """What has to hold after each boot."""
    assert session.cmd("id -u") == "0\n"
    assert session.cmd("hostname") == "vm1\n"
    assert session.cmd("systemctl --failed --plain --no-legend") == ""


@pytest.mark.timeout(3000)
def test_boot_as_of_a_cloud_image(vm):
    with vm.wait_for_login(timeout=BOOT) as session:
        look(session)
        assert session.cmd("cloud-init status --wait", timeout=BOOT).split()[-1] == "done"
        assert "NoCloud" in session.cmd("cat /run/cloud-init/result.json")
        first = session.cmd("cat /proc/sys/kernel/random/boot_id")
        # Whoever unpacked it: programs belong to root, and those that make one root still do.
        assert session.cmd("stat -c '%u %g %a' /usr/bin/sudo") == "0 0 4755\n"
        assert session.cmd("find / -xdev -not -user root -not -path '/home/*' -not -path '/var/*'") == ""
        assert session.cmd("runuser -u debian -- sudo -n id -u") == "0\n"
        again = vm.reboot(session, timeout=BOOT)        # a login of its own has ten seconds for the prompt

    with again as session:
        look(session)
        assert session.cmd("cat /proc/sys/kernel/random/boot_id") != first

    vm.params["ssh_auth"] = "password"          # its sshd takes none for root
    with pytest.raises(virt_utils.LoginError):
        vm.login()
    with vm.serial_login(timeout=BOOT) as session:
        assert session.cmd("tty") == "/dev/ttyS0\n"
        assert session.cmd("printf '%s\\n' one two") == "one\ntwo\n"
        session.sendline("poweroff")
        assert vm.process.wait(BOOT)
    assert vm.process.get_status() == 0
