#!/usr/bin/env python3
"""The main job, once, on a real Linux guest: `make demo`.

Builds a small guest, boots it under QEMU through virtvm.hypervisors.qemu.VM (a Python
subclass of virt_vm.BaseVM), and does to it what a test does to a virtual machine. Says at
each step what it called, how long that took and what came of it.
"""

import argparse
import contextlib
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import time

from virtvm import guest, virt_vm
from virtvm.companions import aexpect, virt_utils
from virtvm.hypervisors import kvm, qemu


class Demo:
    """The steps, in order, and the folder where their results go."""

    def __init__(self, guest_folder, results):
        self.guest_folder = os.path.abspath(guest_folder)
        self.results = os.path.abspath(results)
        self.number = 0
        self.params = self.vm = self.session = None

    # ---- telling ----

    @contextlib.contextmanager
    def step(self, title, call):
        self.number += 1
        print("%2d. %s\n      %s" % (self.number, title, call), flush=True)
        start = time.monotonic()
        yield
        print("      done in %.2f s\n" % (time.monotonic() - start), flush=True)

    @staticmethod
    def say(text):
        for line in text.rstrip("\n").split("\n"):
            print("      | " + line, flush=True)

    def path(self, name):
        return os.path.join(self.results, name)

    # ---- the steps ----

    def build_guest(self):
        with self.step("Build a small Linux guest from distribution packages",
                       "guest.build(%r)" % os.path.relpath(self.guest_folder)):
            built = guest.build(self.guest_folder, log=self.say)
        # A disk of the demo's own, kept after it: the guest mounts it on /data.
        self.params = virt_utils.Params(built.params(
            image_name=self.path("disk"), image_size="64M", image_snapshot="no"))

    def create_disk(self):
        with self.step("Create the guest's disk", "virt_vm.create_image(params, folder)"):
            self.say(virt_vm.create_image(self.params, self.results))

    def start(self):
        self.vm = qemu.VM("vm1", self.params, self.results)
        with self.step("Start the virtual machine", "vm.create()"):
            self.vm.create()
            self.say("QEMU runs as process %d, %s" % (
                self.vm.get_pid(), "with KVM" if kvm.works() else "emulated: KVM does not work here"))

    def log_in(self):
        with self.step("Wait until the guest has booted, and log in", "session = vm.wait_for_login()"):
            self.session = self.vm.wait_for_login(timeout=300)

    def run_commands(self):
        with self.step("Run commands", "session.cmd(...), session.cmd_status(...)"):
            self.say("uname -sr:  " + self.session.cmd("uname -sr"))
            self.say("%d processor, %d MB" % (self.vm.get_cpu_count(), self.vm.get_memory_size()))
            self.say("exit status of 'grep nobody /etc/hosts': %d"
                     % self.session.cmd_status("grep nobody /etc/hosts"))
            try:
                self.session.cmd("cat /no/such/file")
            except aexpect.ShellCmdError as e:
                self.say("a command that fails raises %s:\n%s" % (type(e).__name__, e))

    def copy_files(self):
        sent, back = self.path("sent.bin"), self.path("back.bin")
        content = os.urandom(2 * 1024 * 1024)
        with open(sent, "wb") as f:
            f.write(content)
        with self.step("Copy 2 MB to the guest and back",
                       "vm.copy_files_to(path, '/data'), vm.copy_files_from('/data/sent.bin', path)"):
            self.vm.copy_files_to(sent, "/data")
            found = self.session.cmd_output("sha256sum /data/sent.bin").split()[0]
            check(found == hashlib.sha256(content).hexdigest(), "the guest has the same bytes")
            self.vm.copy_files_from("/data/sent.bin", back)
            with open(back, "rb") as f:
                check(f.read() == content, "the bytes that came back are the same")
            self.say("sha256 %s, there and back" % found)

    def watch_console(self):
        with self.step("Look for a kernel crash on the serial console", "vm.verify_kernel_crash()"):
            self.vm.verify_kernel_crash()
            self.say("none")

    def take_picture(self):
        with self.step("Take a picture of the guest's screen", "vm.screendump(path)"):
            self.vm.screendump(self.path("screen.png"))
            self.say(self.path("screen.png"))

    def reboot(self):
        before = self.session.cmd_output("cat /proc/sys/kernel/random/boot_id")
        with self.step("Reboot, and log in again", "session = vm.reboot(session)"):
            self.session = self.vm.reboot(self.session, timeout=300)
        after = self.session.cmd_output("cat /proc/sys/kernel/random/boot_id")
        check(before != after, "the guest has booted anew")

    def provoke_crash(self):
        with self.step("Make the guest's kernel report an oops, and notice it",
                       "vm.verify_kernel_crash()"):
            self.session.cmd("provoke-oops")
            crash = virt_utils.wait_for(self.seen_crash, 30, step=0.05)
            check(crash, "the crash is noticed")
            lines = str(crash).split("\n")
            self.say("\n".join([type(crash).__name__ + ":"] + lines[:3] + ["..."] + lines[-1:]))

    def seen_crash(self):
        try:
            self.vm.verify_kernel_crash()
        except virt_vm.VMDeadKernelCrashError as e:
            return e
        return None

    def shut_down(self):
        self.session.close()
        with self.step("Shut the guest down", "vm.destroy()"):
            self.vm.destroy()
            try:
                self.vm.verify_alive()
            except virt_vm.VMDeadError as e:
                self.say("vm.verify_alive() now raises VMDeadError:\n%s" % e)

    def check_disk(self):
        with self.step("Check the disk image that the guest wrote to",
                       "virt_vm.check_image(params, folder)"):
            virt_vm.check_image(self.params, self.results)
            self.say("no errors")

    def run(self):
        start = time.monotonic()
        self.build_guest()
        self.create_disk()
        try:
            self.start()
            self.log_in()
            self.run_commands()
            self.copy_files()
            self.watch_console()
            self.take_picture()
            self.reboot()
            self.provoke_crash()
            self.shut_down()
        finally:
            if self.vm is not None:
                self.vm.destroy(gracefully=False)
        self.check_disk()
        print("All of it took %.1f s." % (time.monotonic() - start))


def check(condition, what):
    if not condition:
        raise RuntimeError("it is not so that %s" % what)


def start_logs(folder):
    if os.path.exists(os.path.join(folder, "demo.log")):
        shutil.rmtree(folder)           # an earlier demo's
    os.makedirs(folder, exist_ok=True)
    virt_utils.set_log_file_dir(folder)
    logging.basicConfig(filename=os.path.join(folder, "demo.log"), level=logging.DEBUG,
                        format="%(asctime)s %(levelname)-7s %(message)s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--guest", default=".cache/guest", help="folder of the guest (default: %(default)s)")
    parser.add_argument("--results", default="demo-results",
                        help="folder for logs and pictures; an earlier demo's are removed (default: %(default)s)")
    args = parser.parse_args()
    start_logs(os.path.abspath(args.results))
    demo = Demo(args.guest, args.results)
    version = subprocess.run(["qemu-system-x86_64", "--version"], stdout=subprocess.PIPE, check=True)
    print("virtvm demo on %s\n" % version.stdout.decode().split("\n")[0])
    try:
        demo.run()
    except Exception as e:
        logging.exception("the demo failed")
        print("\nThe demo failed: %s: %s" % (type(e).__name__, e))
        return 1
    finally:
        print("Logs (demo.log, sessions, the serial console) and screen.png: %s" % demo.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
