"""A host of its own, as far as the network goes: a namespace at the end of a wire (needs root)."""

import itertools
import os
import subprocess

_MAC = "02:00:00:00:00:02"
_numbers = itertools.count(os.getpid() % 200)


def _run(*command, check=True):
    subprocess.run(command, check=check, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=None if check else subprocess.DEVNULL)


class Namespace:
    """address: the host's own (str); prefix: what a command line begins with to run there.

    prefix_with_sysfs: the same, with /sys telling of that host's devices (needs a / that is a mount point).
    cut() takes the wire away: packets vanish both ways, and no side hears of it; mend() brings it back.
    """

    def __init__(self):
        number = next(_numbers)
        self.name = "virtvm-%d-%d" % (os.getpid(), number)
        self._near, self._far = "vt%xa%x" % (os.getpid() & 0xffff, number), "vt%xb%x" % (os.getpid() & 0xffff, number)
        # One of 2^22 networks of two, so that runs side by side do not meet.
        network = (os.getpid() * 64 + number) % (1 << 22) * 4
        octets = [network >> 16 & 255, network >> 8 & 255, network & 255]
        self.address = "10.%d.%d.%d" % (octets[0], octets[1], octets[2] + 2)
        near_address = "10.%d.%d.%d" % (octets[0], octets[1], octets[2] + 1)
        # Not `ip netns exec`, which mounts: that fails where / is no mount point, as in a chroot.
        self.prefix = ["nsenter", "--net=/run/netns/" + self.name, "--"]
        self.prefix_with_sysfs = [*self.prefix, "unshare", "--mount", "--", "sh", "-c",
                                  'mount -t sysfs sysfs /sys && exec "$@"', "sh"]
        try:
            _run("ip", "netns", "add", self.name)
            _run("ip", "link", "add", self._near, "type", "veth", "peer", "name", self._far, "address", _MAC,
                 "netns", self.name)
            _run("ip", "addr", "add", near_address + "/30", "dev", self._near)
            _run("ip", "link", "set", self._near, "up")
            # Its place on the wire stays known, or a host that is gone would soon be unreachable.
            _run("ip", "neigh", "replace", self.address, "lladdr", _MAC, "dev", self._near, "nud", "permanent")
            for command in (["addr", "add", self.address + "/30", "dev", self._far], ["link", "set", self._far, "up"],
                            ["link", "set", "lo", "up"]):
                _run(*self.prefix, "ip", *command)
        except BaseException:
            self.close()
            raise

    def cut(self):
        _run(*self.prefix, "ip", "addr", "flush", "dev", self._far)

    def mend(self):
        _run(*self.prefix, "ip", "addr", "add", self.address + "/30", "dev", self._far)

    def close(self):
        _run("ip", "link", "del", self._near, check=False)
        _run("ip", "netns", "del", self.name, check=False)
