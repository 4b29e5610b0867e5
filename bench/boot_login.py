#!/usr/bin/env python3
"""How long after its own login prompt a booting guest's session is there.

For each delay (seconds that the guest waits before it starts its services) a guest is
booted and logged into with vm.wait_for_login(), while another thread notes when the
guest's login prompt appears on its serial port.  Prints a line a boot and, last, JSON.
What counts is `late`: seconds from the prompt to the session; on an idle machine at most 0.6.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time

from virtvm import guest
from virtvm.companions import virt_utils
from virtvm.hypervisors import qemu


def watch(vm, seen):
    """Notes the moment at which the login prompt is on the console."""
    offset = 0
    while not seen:
        text = vm.serial_console.get_output()
        if "login: " in text[offset:]:
            seen.append(time.monotonic())
            return
        offset = max(0, len(text) - 16)
        time.sleep(0.005)


def boot(built, folder, delay):
    """One boot: seconds from start to prompt, and from prompt to session."""
    params = built.params()
    params["kernel_params"] += " virtvm.delay=%d" % delay
    vm = qemu.VM("vm1", params, folder)
    seen = []
    try:
        start = time.monotonic()
        vm.create()
        watcher = threading.Thread(target=watch, args=(vm, seen))
        watcher.start()
        session = vm.wait_for_login(timeout=600)
        there = time.monotonic()
        watcher.join()
        tries = session.info["tries"]
        session.close()
    finally:
        seen.append(0)
        vm.destroy(gracefully=False)
    return {"delay": delay, "boot": seen[0] - start, "late": there - seen[0], "tries": tries}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guest", default=".cache/guest", help="folder of the guest")
    parser.add_argument("--delays", default="0,0,0,15,60", help="seconds, comma-separated")
    args = parser.parse_args()
    built = guest.build(args.guest)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        virt_utils.set_log_file_dir(folder)
        for delay in map(int, args.delays.split(",")):
            results.append(boot(built, folder, delay))
            print("boot %(boot)6.2f s, session %(late)5.2f s after the prompt, %(tries)d connections"
                  % results[-1], flush=True)
    late = [result["late"] for result in results]
    print(json.dumps({"boots": results, "late_median": statistics.median(late), "late_max": max(late)}))


if __name__ == "__main__":
    main()
