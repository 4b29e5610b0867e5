"""Tap NICs: what QEMU is told, which bridge is theirs, and how addresses are learned."""

import pytest
from virtvm.companions.params import Params
from virtvm.hypervisors import network, qemu, qemu_command

# tcpdump 4.99 of Debian, tcpdump 4.1 of 2011.
NEW = """07:51:43.118713 testbr Out IP (tos 0xc0, ttl 64, id 46817, offset 0, flags [none], proto UDP (17), length 328)
    192.168.58.1.67 > 192.168.58.31.68: BOOTP/DHCP, Reply, length 300, xid 0x3c8d1c1e, Flags [none]
\t  Your-IP 192.168.58.31
\t  Server-IP 192.168.58.1
\t  Client-Ethernet-Address 52:54:00:AB:cd:01
""".splitlines()
OLD = [line.replace("Your-IP", "Your IP:").replace("Ethernet-Address", "Ethernet Address").replace("IP:", "IP")
       for line in NEW]


@pytest.mark.parametrize("lines", [NEW, OLD], ids=["new", "old"])
def test_addresses_are_learned(lines):
    cache = {}
    for line in lines:
        network.learn_address(cache, line)
    seen = cache.pop("time_52:54:00:ab:cd:01")
    assert seen > 1e9 and cache == {"52:54:00:ab:cd:01": "192.168.58.31"}


def test_lines_out_of_order_teach_nothing():
    cache = {}
    for line in NEW[4:] + NEW[:2]:
        network.learn_address(cache, line)
    assert cache == {}


def test_bridges():
    assert network.bridge_of({}) is None
    assert network.bridge_of({"bridge": "br0"}) == "br0"
    assert network.bridge_of({"bridge": "private"}) == "atbr0"
    assert network.bridge_of({"bridge": "private", "priv_brname": "mine"}) == "mine"
    for names in (("t0", "a b"), ("t0; reboot", "br0"), ("t0", "longer-than-sixteen")):
        with pytest.raises(ValueError, match="no name for an interface"):
            network.attach(*names)


@pytest.mark.parametrize("mode, expected", [("tap", True), ("user", False)])
def test_tap_of_one_nic_of_one_vm(mode, expected):
    params = Params({"vms": "vm1 vm2", "nics": "nic1", "nics_vm2": "nic1 nic2", "nic_mode": "user",
                     "nic_mode_nic2": mode})
    assert network.has_tap(params) is expected


@pytest.mark.parametrize("script, expected", [
    (None, "tap,id=net0,ifname=t0-x,script=no,downscript=no"),
    ("scripts/qemu-ifup", "tap,id=net0,ifname=t0-x,script=/suite/scripts/qemu-ifup,downscript=no"),
    ("/etc/my,ifup", "tap,id=net0,ifname=t0-x,script=/etc/my,,ifup,downscript=no")])
def test_script_that_brings_a_tap_up(script, expected):
    params = Params({"nics": "nic1", "nic_mode": "tap", "mem": "128"})
    if script:
        params["nic_script"] = script
    argv = qemu_command.make_argv(params, qemu_command.Setup(
        "vm1", "/suite", kvm=False, monitors=[("qmp1", 3)], console=4, testlog="/tmp/log", redirs={}, macs=[],
        ifnames=["t0-x"], uuid=None, incoming=False))
    assert argv[argv.index("-netdev") + 1] == expected


def test_another_bridge_needs_a_restart():
    params = Params({"nics": "nic1", "nic_mode": "tap", "bridge": "br0", "mem": "128", "disable_kvm": "yes"})
    vm = qemu.VM("vm1", params, "/suite")
    other = params.copy()
    assert not vm.needs_restart("vm1", other, "/suite")
    other["bridge"] = "br1"
    assert vm.needs_restart("vm1", other, "/suite")
    other["nic_mode"] = params["nic_mode"] = "user"
    assert not vm.needs_restart("vm1", other, "/suite")
