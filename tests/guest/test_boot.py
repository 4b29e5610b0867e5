"""Guests that boot slowly: what their sshd sees of the waiting, with dropbear and with OpenSSH 10."""

import contextlib
import os
import re
import subprocess
import threading

import pytest
from support import openssh_guest
from support.frames import accepted
from virtvm import virt_vm
from virtvm.hypervisors.monitor import MonitorError

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FETCHED = os.path.join(TOP, ".cache", "openssh")


class Watch:
    """Looks at user networking while a guest is waited for: most, the most that was ever pending for port 22."""

    def __init__(self, vm):
        self.vm, self.most, self._stop = vm, 0, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.wait(1):
            with contextlib.suppress(MonitorError):
                text = self.vm.monitor.human_monitor_cmd("info usernet", debug=False)
                self.most = max(self.most, len(re.findall(r"SYN_SENT\].* 22 +\d+ +\d+", text)))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def slow_vm(new_vm, built_guest, tmp_path):
    """Makes a VM that boots by kernel parameters of its own, its NIC's frames dumped."""
    def make(*words, **changes):
        pcap = str(tmp_path / "frames")
        params = dict({"kernel_params": " ".join((built_guest.params()["kernel_params"], *words)),
                       "extra_params": "-object filter-dump,id=dump0,netdev=net0,maxlen=96,file=" + pcap}, **changes)
        vm = new_vm(**params)
        vm.pcap = pcap
        return vm
    return make


@pytest.fixture(scope="module")
def openssh(built_guest):
    """Params of the guest with OpenSSH 10."""
    os.makedirs(FETCHED, exist_ok=True)
    try:
        return {"initrd": openssh_guest.initrd(built_guest, FETCHED), "mem": "256"}
    except (OSError, subprocess.SubprocessError) as e:
        pytest.skip("Debian 13's packages cannot be had: %s" % e)


def test_slow_guest_sees_few_connections(slow_vm):
    """Boot, then a reset; a login after each."""
    vm = slow_vm("virtvm.delay=15")
    vm.create()
    with Watch(vm) as watch:
        vm.wait_for_login(timeout=240).close()
    assert accepted(vm.pcap) <= 9 and watch.most <= 8
    assert vm._boot.awaits() is None
    before = accepted(vm.pcap)
    with Watch(vm) as watch:
        vm.reboot(method="system_reset").close()
    assert accepted(vm.pcap) - before <= 9 and watch.most <= 8


def test_guest_without_a_canary(slow_vm):
    vm = slow_vm("virtvm.delay=5", canary_port="no")
    assert "-:9" not in vm.make_qemu_command()
    vm.create()
    assert vm._canary_port() is None
    vm.wait_for_login(timeout=240).close()
    assert accepted(vm.pcap) <= 9


def test_canary_is_no_redirection(slow_vm):
    vm = slow_vm()
    vm.create()
    assert set(vm.redirs) == {22}
    with pytest.raises(virt_vm.VMPortNotRedirectedError):
        vm.get_port(9)
    assert not vm.needs_restart(vm.name, vm.params, vm.root_dir)
    assert vm.needs_restart(vm.name, dict(vm.params, canary_port="no"), vm.root_dir)


@pytest.mark.parametrize("sshd", [5, 20])
def test_openssh_10_does_not_lock_out(slow_vm, openssh, sshd):
    """Its default limits: sixteen connections given up would do."""
    vm = slow_vm("virtvm.sshd=%d" % sshd, **openssh)
    vm.create()
    with vm.wait_for_login(timeout=280) as session, vm.wait_for_login(timeout=60):
        log = session.cmd("while read -r line; do echo \"$line\"; done < /log", timeout=120)
    assert "OpenSSH" in str(session.info["banner"])
    given_up = log.count("Connection from") - log.count("Accepted password")
    assert 0 <= given_up <= 8, log
    assert "drop connection" not in log and "Not allowed" not in log


def test_restored_guest_is_asked_once(slow_vm, tmp_path):
    vm = slow_vm()
    vm.create()
    vm.wait_for_login(timeout=240).close()
    vm.save_to_file(str(tmp_path / "state"))
    vm.restore_from_file(str(tmp_path / "state"))
    vm.wait_for_login(timeout=240).close()
    assert accepted(vm.pcap) == 1
