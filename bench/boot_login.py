#!/usr/bin/env python3
"""How long after a booting guest can be reached its session is there, and what its sshd saw meanwhile.

One guest has OpenSSH 10 with default limits, which starts so many seconds after power-on; the other
one dropbear, whose network and server start so many seconds after the kernel has. It
says on its serial port when that listens and the address is set. vm.wait_for_login() and
aexpect's wait_for_login (with the `ssh` program) take turns. Prints a line a boot and, last,
JSON: late: seconds from that line to the session; seen: connections that the guest's port 22 took;
given_up: those of OpenSSH's that ended without
authentication; refused: connections that sshd dropped by its penalties or limits; load: the
host's load average, before and after.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests"))

from support import openssh_guest  # noqa: E402
from support.frames import accepted  # noqa: E402
from virtvm import guest  # noqa: E402
from virtvm.companions import virt_utils  # noqa: E402
from virtvm.hypervisors import qemu  # noqa: E402

READY = "virtvm-ready"
LOG = "while read -r line; do echo \"$line\"; done < /log"


def by_virtvm(vm, timeout):
    return vm.wait_for_login(timeout=timeout)


def by_aexpect(vm, timeout):
    from aexpect import remote
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]      # its helper
    return remote.wait_for_login("ssh", "127.0.0.1", vm.get_port(22), vm.params["username"], vm.params["password"],
                                 vm.params["shell_prompt"], timeout=timeout)


CLIENTS = {"virtvm": by_virtvm, "aexpect": by_aexpect}


def watch(vm, seen, over):
    """Notes the moment at which the guest says that it can be reached."""
    while not over.wait(0.02):
        if READY in vm.serial_console.get_output()[-4096:]:
            seen.append(time.monotonic())
            return


def judged(session):
    """What the guest's sshd has logged, in numbers."""
    log = session.cmd(LOG, timeout=120)
    return {"given_up": log.count("Connection from") - log.count("Accepted password"),
            "refused": log.count("drop connection")}


def boot(built, kind, initrd, folder, client, sshd):
    """One boot (dict)."""
    pcap = os.path.join(folder, "frames")
    params = built.params(initrd=initrd, mem="256",
                          extra_params="-object filter-dump,id=dump0,netdev=net0,maxlen=96,file=" + pcap)
    params["kernel_params"] += " virtvm.tell virtvm.%s=%d" % ("sshd" if kind == "openssh" else "delay", sshd)
    vm, seen, over = qemu.VM("vm1", params, folder), [], threading.Event()
    row = {"guest": kind, "client": client, "sshd": sshd, "load": [os.getloadavg()[0]]}
    try:
        vm.create()
        start = time.monotonic()
        watcher = threading.Thread(target=watch, args=(vm, seen, over))
        watcher.start()
        try:
            session = CLIENTS[client](vm, sshd + 150)
            row.update(in_after=time.monotonic() - start, seen=accepted(pcap))
            with session:
                row.update(judged(session) if kind == "openssh" else {})
        except Exception as e:          # it never came in, say
            print("%s: %s" % (client, e), file=sys.stderr, flush=True)
        if "in_after" not in row:       # by the way that is sure, once the penalties are over
            row.update(in_after=None, seen=accepted(pcap))
            with vm.wait_for_login(timeout=600) as session:
                row.update(judged(session) if kind == "openssh" else {})
    finally:
        over.set()
        watcher.join()
        vm.destroy(gracefully=False)
    row["ready_after"] = seen[0] - start if seen else None
    row["late"] = row["in_after"] - row["ready_after"] if seen and row["in_after"] else None
    row["load"].append(os.getloadavg()[0])
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guest", default=os.path.join(TOP, ".cache", "guest"), help="folder of the guest")
    parser.add_argument("--sshd", default="5,20,60,100", help="seconds from power-on to sshd, comma-separated")
    parser.add_argument("--kinds", default="openssh,dropbear", help="of guests, comma-separated")
    parser.add_argument("--clients", default="virtvm,aexpect", help="who waits, comma-separated")
    args = parser.parse_args()
    fetched = os.path.join(TOP, ".cache", "openssh")
    os.makedirs(fetched, exist_ok=True)
    built, rows = guest.build(args.guest), []
    with tempfile.TemporaryDirectory() as folder:
        virt_utils.set_log_file_dir(folder)
        for kind in args.kinds.split(","):
            make = openssh_guest.initrd if kind == "openssh" else openssh_guest.telling_initrd
            initrd = make(built, fetched)
            for sshd in map(int, args.sshd.split(",")):
                for client in args.clients.split(","):
                    rows.append(boot(built, kind, initrd, folder, client, sshd))
                    print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"boots": rows}))


if __name__ == "__main__":
    main()
