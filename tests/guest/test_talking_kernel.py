"""A real guest whose kernel talks on the console: commands amid its messages, and logins amid those of a boot.

VIRTVM_GUEST_COMMANDS=1000 VIRTVM_GUEST_BOOTS=50 is what the design asks; less keeps `make test` short.
"""

import os
import re

import pytest
from support.waiting import BUSY

COMMANDS = int(os.environ.get("VIRTVM_GUEST_COMMANDS", "60"))
BOOTS = int(os.environ.get("VIRTVM_GUEST_BOOTS", "1"))
TALK = "(while :; do echo 'usb 1-1: new device' >/dev/kmsg; usleep 50000 || sleep 0.05; done) >/dev/null 2>&1 & echo $!"


def without_messages(text):
    """The begin of a message that came into an echo may be gone with that (docs/internals/prompts.rst)."""
    text = re.sub(r"\[ *\d+\.\d{6}\] [^\n]*\n", "", text.replace("\r", ""))
    return re.sub(r"\A[^\n]*: new device\n", "", text)


def run(console, n):
    """What is wrong with one command's status and output; None."""
    text, end = "out %d" % n, "" if n % 2 else "\\n"
    status, output = console.cmd_status_output("printf '%s%s'; (exit %d)" % (text, end, n % 100), timeout=4 * BUSY)
    wanted = text + end.replace("\\n", "\n")
    return None if (status, without_messages(output)) == (n % 100, wanted) else (n, status, output)


@pytest.mark.timeout(240 + COMMANDS)
def test_commands_amid_messages(vm):
    console = vm.wait_for_serial_login(timeout=8 * BUSY)
    console.cmd("dmesg -n 8 || echo 8 >/proc/sys/kernel/printk", timeout=4 * BUSY)
    talker = console.cmd(TALK, timeout=4 * BUSY).split()[0]
    try:
        wrong = [failure for failure in (run(console, n) for n in range(COMMANDS)) if failure]
        seen = console.cmd_output("dmesg | grep -c 'new device'", timeout=4 * BUSY)
    finally:
        console.cmd_output("kill %s" % talker, timeout=4 * BUSY)
    assert not wrong, wrong[:5]
    assert int(without_messages(seen)) > 0, "the kernel said nothing"


@pytest.mark.timeout(240 * BOOTS)
def test_logins_amid_a_boot(built_guest, new_vm):
    """The login waits from the first byte on that the console says; the kernel says all that it has to."""
    talkative = built_guest.params()["kernel_params"].replace("quiet", "ignore_loglevel")
    for boot in range(BOOTS):
        vm = new_vm("vm%d" % (boot + 1), uuid="random", kernel_params=talkative)
        vm.create()
        try:
            console = vm.wait_for_serial_login(timeout=8 * BUSY)
            assert run(console, boot) is None
            assert console.get_output().count("] ") > 50, "the kernel said little"
        finally:
            vm.destroy(gracefully=False)
