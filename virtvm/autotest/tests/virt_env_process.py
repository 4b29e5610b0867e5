"""What is done before and after a test: images made, VMs started and ended, evidence kept.

Params drive it; "yes" means exactly that word.  A failing step of postprocess() does not
keep later ones from being done: the first failure is raised at the end.
"""

import glob
import importlib
import logging
import os
import re
import threading
import time

from virtvm import scratch, signals, threads, virt_vm
from virtvm.autotest.tests import virt_test_setup
from virtvm.companions import aexpect_2011 as aexpect
from virtvm.companions import error, utils, virt_utils
from virtvm.companions.quoting import command_line
from virtvm.companions.secrets import hidden, is_secret
from virtvm.host import pictures
from virtvm.hypervisors import disks, network
from virtvm.hypervisors.monitor import MonitorError

# Params' vm_type -> "module:class" of the hypervisor; params' vm_class names another one.
VM_CLASSES = {"kvm": "virtvm.hypervisors.qemu:VM"}


def _is_yes(params, key, default="no"):
    return params.get(key, default) == "yes"


# ---- images ----

def preprocess_image(test, params):
    """Create the image if params ask for it: create_image (if it is not there), force_create_image."""
    filename = virt_vm.get_image_filename(params, test.bindir)
    if _is_yes(params, "force_create_image") or (_is_yes(params, "create_image") and not signals.exists(filename)):
        if not virt_vm.create_image(params, test.bindir):
            raise error.TestError("Could not create image")


def postprocess_image(test, params, check=None):
    """Check and remove the image, if params ask for it: check_image, remove_image.

    check: instead of virt_vm.check_image.
    """
    try:
        if _is_yes(params, "check_image"):
            (check or virt_vm.check_image)(params, test.bindir)
    finally:
        if _is_yes(params, "remove_image"):
            virt_vm.remove_image(params, test.bindir)


# ---- VMs ----

def vm_class(params):
    """The class of VMs that params name, by vm_class ("module:Class") or vm_type.  TestError."""
    where = params.get("vm_class") or VM_CLASSES.get(params.get("vm_type", "kvm"))
    if not where:
        raise error.TestError("No hypervisor for vm_type %r: name its class by vm_class=MODULE:CLASS"
                              % params.get("vm_type"))
    module, _, name = where.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as e:
        raise error.TestError("vm_class %s: %s" % (where, e)) from e


def _screendump(test, vm, prefix):
    """A picture beside the test's logs; a monitor that can't is only warned of."""
    if not getattr(vm, "monitor", None):
        return
    path = os.path.join(test.debugdir, "%s_%s.ppm" % (prefix, vm.name))
    try:
        vm.monitor.screendump(path, debug=False)
    except (MonitorError, virt_vm.VMError) as e:
        logging.warning("No screendump of VM '%s': %s", vm.name, e)


def preprocess_vm(test, params, env, name):
    """Have the VM `name` in env, started if params ask for it and as they ask.

    Params: restart_vm, start_vm, migration_mode.
    """
    cls = vm_class(params)
    vm = env.get_vm(name)
    if vm is not None and isinstance(cls, type) and type(vm) is not cls:    # another hypervisor's
        vm.destroy()
        vm = None
    if vm is None:
        vm = cls(name, params, test.bindir, env.get("address_cache"))
        env.register_vm(name, vm)
    start = (_is_yes(params, "restart_vm") or bool(params.get("migration_mode"))
             or (_is_yes(params, "start_vm")
                 and (not vm.is_alive() or vm.needs_restart(name=name, params=params, basedir=test.bindir))))
    if start:
        vm.create(name, params, test.bindir, migration_mode=params.get("migration_mode"))
    elif hasattr(vm, "set_params"):
        vm.set_params(params)
    else:
        vm.params = params
    _screendump(test, vm, "pre")


def postprocess_vm(test, params, env, name):
    """A last picture; end the VM if params ask for it: kill_vm, kill_vm_timeout, kill_vm_gracefully."""
    vm = env.get_vm(name)
    if vm is None:
        return
    _screendump(test, vm, "post")
    if _is_yes(params, "kill_vm"):
        patience = float(params.get("kill_vm_timeout", 0))
        if patience:
            virt_utils.wait_for(vm.is_dead, patience, 0, 1)
        vm.destroy(gracefully=_is_yes(params, "kill_vm_gracefully"))


def process(test, params, env, image_func, vm_func):
    """Call image_func(test, params) for each image of each VM, and vm_func(test, params, env, name)."""
    for vm_name in params.objects("vms"):
        vm_params = params.object_params(vm_name)
        for image_name in vm_params.objects("images"):
            image_func(test, vm_params.object_params(image_name))
        vm_func(test, vm_params, env, vm_name)


def process_command(test, params, env, command, command_timeout, command_noncritical):
    """Run a command line of the params' in the test's folder.

    It finds each param KEY as KVM_TEST_KEY in its environment.  command_timeout: seconds.
    command_noncritical: a failure is only warned of.  Raises CmdError.
    """
    # Not in the command line: params hold passwords, and every user sees that.
    settings = {}
    for key, value in params.items():
        if re.fullmatch(r"[A-Za-z0-9_]+", key):
            value = str(value).replace("\0", "")
            settings["KVM_TEST_" + key] = hidden(value) if is_secret(key) else value
    try:
        utils.run(command, command_timeout, verbose=False, stdout_tee=utils.TEE_TO_LOGS, stderr_tee=utils.TEE_TO_LOGS,
                  env=settings, cwd=test.bindir)
    except error.CmdError as e:
        if not command_noncritical:
            raise
        logging.warning("Command '%s' failed: %s", command, e)


# ---- pictures while a test runs ----

def _fresh_name(base):
    """Name (str) of a picture that is not there yet: several may be taken in a second."""
    path, number = base + ".png", 1
    while signals.lexists(path):
        number += 1
        path = "%s.%d.png" % (base, number)
    return path


class _Screendumps:
    """One thread that takes a picture of each living VM now and then."""

    def __init__(self, test, params, env):
        self._test, self._env = test, env
        self._delay = float(params.get("screendump_delay", 5))
        self._seen = {}             # {digest of a picture: its path}
        self._stop = threads.Wake()
        self._thread = threading.Thread(target=self._run, name="virtvm-screendumps", daemon=True)
        threads.start(self._thread)

    def _run(self):
        while not self._stop.wait(self._delay):
            for vm in self._env.get_all_vms():
                try:
                    self._take(vm)
                except (MonitorError, virt_vm.VMError, OSError, AttributeError) as e:
                    logging.debug("No screendump of VM '%s': %s", vm.name, e)

    def _take(self, vm):
        if not vm.is_alive():
            return
        folder = os.path.join(self._test.debugdir, "screendumps_%s" % vm.name)
        signals.makedirs(folder, exist_ok=True)
        path = _fresh_name(os.path.join(folder, "%s_%s" % (vm.name, time.strftime("%Y-%m-%d_%H-%M-%S"))))
        vm.monitor.screendump(path, debug=False)
        digest = utils.hash_file(path)
        if digest in self._seen:            # nothing moved: the same picture by another name
            os.unlink(path)
            os.link(self._seen[digest], path)
        else:
            self._seen[digest] = path

    def stop(self):
        self._stop.set()
        self._thread.join(10)


_screendumps = None


def _start_screendumps(test, params, env):
    global _screendumps
    _stop_screendumps()
    _screendumps = _Screendumps(test, params, env)


def _stop_screendumps():
    global _screendumps
    running, _screendumps = _screendumps, None
    if running is not None:
        running.stop()


# ---- before and after ----

def _kvm_version():
    if not signals.exists("/dev/kvm"):
        return "Unknown"
    try:
        with open("/sys/module/kvm/version") as f:
            return f.read().strip()
    except OSError as e:
        signals.let_out(e)
        return os.uname().release


def _qemu_version(test, params):
    from virtvm.hypervisors.qemu_command import find_binary
    binary = find_binary(params, test.bindir)
    result = utils.run(command_line(binary, "-version"), ignore_status=True, verbose=False)
    found = re.search(r"version ([^,\s]+)", result.stdout)
    return found.group(1) if found else "Unknown"


# ---- networks of the host's ----

def _watch_addresses(params, env):
    """Have a tcpdump that tells which address a guest on a tap NIC gets.

    params: run_tcpdump: "yes" where there are tap NICs, if it is not given.  Where tcpdump is missing or
    not allowed, that is only warned of: addresses may be known otherwise.
    """
    tcpdump = env.get("tcpdump")
    if tcpdump is not None and not tcpdump.is_alive():
        _stop_tcpdump(env)
    if "tcpdump" in env or not _is_yes(params, "run_tcpdump", "yes" if network.has_tap(params) else "no"):
        return
    try:
        command = network.tcpdump_command()
    except ValueError as e:
        logging.warning("%s: addresses of guests on tap NICs will not be known", e)
        return
    logging.debug("Starting tcpdump...")
    env["tcpdump"] = tcpdump = aexpect.Tail(
        command=command, auto_close=True, output_func=network.learn_address, output_params=(env["address_cache"],))
    if virt_utils.wait_for(lambda: not tcpdump.is_alive(), 0.1, 0.1, 1.0):
        logging.warning("Could not start tcpdump (status %s): %s", tcpdump.get_status(),
                        tcpdump.get_output().strip())


def _end_reporting(env):
    """No function of the test's is called any more; tcpdump, which is env's, goes on to tell addresses."""
    aexpect.kill_tail_threads()
    tcpdump = env.get("tcpdump")
    if tcpdump is not None:
        tcpdump.set_output_func(network.learn_address)


def _stop_tcpdump(env):
    tcpdump = env.pop("tcpdump", None)
    if tcpdump is not None:
        tcpdump.close()


def end_networks(env):
    """When no VM of env lives any more: what watched and joined them is ended, too."""
    if any(vm.is_alive() for vm in env.get_all_vms()):
        return
    _stop_tcpdump(env)
    virt_test_setup.PrivateBridgeConfig().cleanup()


@error.context_aware
def preprocess(test, params, env):
    """Prepare for a test: VMs that it does not name are ended, its own are there.

    Params besides those of the steps: pre_command, pre_command_timeout,
    pre_command_noncritical, setup_hugepages, take_regular_screendumps, bridge ("private"),
    run_tcpdump.
    """
    error.context("preprocessing")
    if params.get("bridge") == "private":
        virt_test_setup.PrivateBridgeConfig(params).setup()
    env.setdefault("address_cache", {})
    _watch_addresses(params, env)
    names = params.objects("vms")
    for vm in env.get_all_vms():
        if vm.name not in names:
            vm.destroy()
            env.unregister_vm(vm.name)
    test.write_test_keyval({"kvm_version": _kvm_version()})
    if params.get("vm_type", "kvm") == "kvm" and not params.get("vm_class"):
        test.write_test_keyval({"kvm_userspace_version": _qemu_version(test, params)})
    if _is_yes(params, "setup_hugepages"):
        virt_test_setup.HugePageConfig(params).setup()
    if params.get("pre_command"):
        process_command(test, params, env, params.get("pre_command"),
                        int(params.get("pre_command_timeout", 600)), _is_yes(params, "pre_command_noncritical"))
    process(test, params, env, preprocess_image, preprocess_vm)
    if _is_yes(params, "take_regular_screendumps"):
        _start_screendumps(test, params, env)


class _Images:
    """The images' part of postprocess(): a VM that runs has locked what it writes to."""

    def __init__(self, env, steps):
        self._env, self._steps, self._later = env, steps, []

    def postprocess(self, test, params):
        if not self._is_used(test, params):
            self._steps.do(postprocess_image, test, params)
        elif _is_yes(params, "kill_vm"):
            self._later.append((test, params))
        else:
            self._steps.do(postprocess_image, test, params, disks.check_used)

    def finish(self):
        """What had to wait for the end of the VMs."""
        later, self._later = self._later, []
        for test, params in later:
            check = [disks.check_used] if self._is_used(test, params) else []       # by another VM, or it stayed
            self._steps.do(postprocess_image, test, params, *check)

    def _is_used(self, test, params):
        if not _is_yes(params, "check_image"):
            return False
        return bool(disks.users(virt_vm.get_image_filename(params, test.bindir), self._env.get_all_vms()))


class _Steps:
    """Does each step whatever became of those before; then raises the first failure, or else the first warning."""

    def __init__(self):
        self.failure = None

    def do(self, step, *args):
        try:
            step(*args)
        except Exception as e:
            if self.failure is None or (_is_warning(self.failure) and not _is_warning(e)):
                self.failure, e = e, self.failure
            if e is not None:
                logging.error("Postprocessing failed further: %s: %s", type(e).__name__, e)

    def finish(self):
        if self.failure is not None:
            raise self.failure


def _is_warning(exception):
    return isinstance(exception, error.TestWarn)


def _tidy_pictures(test, params):
    """PPM pictures become PNG or go, as params ask."""
    for path in glob.glob(os.path.join(glob.escape(test.debugdir), "*.ppm")):
        if not pictures.image_verify_ppm_file(path):
            logging.warning("Found corrupt PPM file: %s", path)
        elif _is_yes(params, "convert_ppm_files_to_png"):
            pictures.to_png(path, path[:-len(".ppm")] + ".png")
        if not _is_yes(params, "keep_ppm_files"):
            os.unlink(path)
    if not _is_yes(params, "keep_screendumps"):
        for folder in glob.glob(os.path.join(glob.escape(test.debugdir), "screendumps_*")):
            if signals.isdir(folder) and not signals.islink(folder):
                scratch.remove_folder(folder)


def _kill_unresponsive(env):
    for vm in env.get_all_vms():
        if vm.is_alive() and hasattr(vm, "login"):
            try:
                vm.login().close()
            except (virt_utils.LoginError, virt_vm.VMError) as e:
                logging.warning("VM '%s' does not answer: %s", vm.name, e)
                vm.destroy(gracefully=False)


@error.context_aware
def postprocess(test, params, env):
    """Clean up after a test: images, VMs, pictures, as params ask."""
    error.context("postprocessing")
    steps = _Steps()
    images = _Images(env, steps)
    steps.do(process, test, params, env, images.postprocess, lambda *args: steps.do(postprocess_vm, *args))
    images.finish()
    steps.do(_stop_screendumps)
    steps.do(_tidy_pictures, test, params)
    if _is_yes(params, "kill_unresponsive_vms"):
        steps.do(_kill_unresponsive, env)
    steps.do(_end_reporting, env)
    steps.do(end_networks, env)
    if _is_yes(params, "setup_hugepages"):
        steps.do(lambda: virt_test_setup.HugePageConfig(params).cleanup())
    if params.get("post_command"):
        steps.do(process_command, test, params, env, params.get("post_command"),
                 int(params.get("post_command_timeout", 600)), _is_yes(params, "post_command_noncritical"))
    steps.finish()


def postprocess_on_error(test, params, env):
    """Let KEY_on_error replace KEY in the postprocessing that follows."""
    params.update(params.object_params("on_error"))
