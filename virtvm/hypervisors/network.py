"""The host's side of tap NICs: the bridge that a NIC is in, and the addresses that guests get.

What the kernel has to do is told by iproute2's `ip`; it takes root.
"""

import logging
import re
import time

from virtvm.companions import utils, virt_utils
from virtvm.companions.quoting import command_line

PRIVATE_BRIDGE = "atbr0"        # autotest's name for it

_NAME = re.compile(r"[^/\s\0-][^/\s\0]{0,14}")    # what the kernel takes for an interface

# What tcpdump says of a DHCP answer, in the order of the lines.
_ADDRESS = re.compile(r"Your.IP\s+(\d+\.\d+\.\d+\.\d+)")
_MAC = re.compile(r"Client.Ethernet.Address\s+([0-9A-Fa-f:]{17})")

_SAY_EVERY = 5                  # seconds, of one MAC address


def bridge_of(params):
    """The bridge (str) that a tap NIC's params put it in, or None.

    params: bridge: its name, or "private", whose name is priv_brname.
    """
    name = params.get("bridge")
    if name == "private":
        name = params.get("priv_brname") or PRIVATE_BRIDGE
    return name or None


def attach(ifname, bridge):
    """Put an interface into a bridge, and have it up.  CmdError says what `ip` said.

    ValueError if either is no name for an interface.
    """
    for name in (ifname, bridge):
        if not _NAME.fullmatch(name):
            raise ValueError("no name for an interface: %r" % name)
    utils.run(command_line("ip", "link", "set", "dev", ifname, "master", bridge, "up"), verbose=False)


def tcpdump_command():
    """The command (str) whose output learn_address() takes.  ValueError if tcpdump is missing."""
    return command_line(virt_utils.find_command("tcpdump"), "-lnpvi", "any", "dst port 68")


def learn_address(cache, line):
    """Take a line (str) of tcpdump's: note which address a DHCP server gave to which MAC.

    cache (dict): MAC in lower case -> address; "time_MAC" -> when it was seen (seconds since
    the epoch).  It is shared by the VMs of an Env.
    """
    found = _ADDRESS.search(line)
    if found:
        cache["last_seen"] = found.group(1)
        return
    found = _MAC.search(line)
    address = cache.get("last_seen")
    if found is None or not address:
        return
    mac = found.group(1).lower()
    now = time.time()
    if now - cache.get("time_" + mac, 0) > _SAY_EVERY or cache.get(mac) != address:
        logging.debug("(address cache) Adding cache entry: %s ---> %s", mac, address)
    cache[mac] = address
    cache["time_" + mac] = now
    del cache["last_seen"]


def has_tap(params):
    """Whether a VM of these params (of a whole test) has a tap NIC (bool)."""
    for vm in params.objects("vms"):
        vm_params = params.object_params(vm)
        if any(vm_params.object_params(nic).get("nic_mode") == "tap" for nic in vm_params.objects("nics")):
            return True
    return False
