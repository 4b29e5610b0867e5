"""QEMU virtual machines: the reference subclass of virt_vm.BaseVM.

What a new hypervisor has to provide is here, method for method: see docs/subclassing.rst.
The command line is made in qemu_command.py, the monitor is in monitor.py, the process in
_process.py.
"""

import contextlib
import logging
import os
import re
import shlex
import socket
import time
import uuid

from virtvm import _session, scratch, signals, virt_vm
from virtvm.companions import aexpect, error, utils, virt_utils
from virtvm.companions.quoting import command_line, quote
from virtvm.guest import cloud_init
from virtvm.host import processes
from virtvm.hypervisors import disks, kernel_crash, kvm, migration, network, qemu_command
from virtvm.hypervisors.boot_signs import Signs
from virtvm.hypervisors._process import Process, folder_is_gone, remove, remove_at_exit, remove_folder_at_exit
from virtvm.hypervisors.monitor import TYPES, MonitorError, QMPCmdError
from virtvm.session.prompt import PROMPT

_PORTS = (5000, 6000)           # host ports for redirections, as autotest took them
_PORT_TRIES = 5                 # another process may take a port in between
_SHUTDOWN_WAIT = 60             # seconds for the guest to power off when asked
_QUIT_WAIT = 10                 # for QEMU to end when told
_LAST_WORDS_WAIT = 1            # for the end of a console whose QEMU is gone
_DOWN_WAIT = 120                # for a rebooting guest to go down
_LAST_BREATH = 2                # from the end of QEMU's monitors to that of its process

# What QEMU says when it has no memory of huge pages, or no KVM.
_HUGEPAGE_WORDS = ("alloc_mem_area", "unable to map backing store for guest RAM",
                   "can't open backing store", "unable to create backing store")
_KVM_WORDS = ("Could not access KVM", "could not initialize KVM", "Could not initialize KVM",
              "failed to initialize kvm", "invalid accelerator kvm", "KVM not supported")
_PORT_WORDS = ("Could not set up host forwarding rule",)


class VM(virt_vm.BaseVM):
    """A virtual machine under QEMU, by KVM where it works, else emulated.

    name: str.  params: Params (a dict will do).  root_dir: folder (str) that relative
    paths in params start from.  address_cache: dict of MAC to IP address, for NICs that
    are not on user networking.
    """

    MIGRATION_PROTOS = ["tcp", "unix", "exec"]
    _canary = None          # host port that is forwarded to one on which nobody listens
    _boot = None            # Signs, while QEMU runs
    _overlays = disks.Overlays()

    def __init__(self, name, params, root_dir, address_cache=None, state=None):
        if state is not None:
            self.__dict__ = state
            return
        virt_vm.BaseVM.__init__(self, name, _as_params(params))
        self.root_dir = root_dir
        self.address_cache = {} if address_cache is None else address_cache
        self.uuid = None
        self._forget_process()

    def _forget_process(self):
        self.process = None
        self.monitors = []
        self.serial_console = None
        self.redirs = {}
        self._canary = self._boot = None
        self._command_line = None
        self.migration_port = None
        self.migration_file = None

    # ---- state ----

    @property
    def monitor(self):
        """The main monitor (params' main_monitor, else the first); None if there is none."""
        for monitor in self.monitors:
            if monitor.name == self.params.get("main_monitor"):
                return monitor
        return self.monitors[0] if self.monitors else None

    @property
    def _qmp(self):
        """The main monitor in QMP, whatever its own words are."""
        return None if self.monitor is None else self.monitor.qmp

    def is_dead(self):
        """Whether QEMU does not run (bool)."""
        return self.process is None or not self.process.is_alive()

    def is_alive(self):
        """Whether QEMU runs and its monitor answers (bool)."""
        if self.is_dead() or self.monitor is None:
            return False
        return self._qmp.is_inherited() or self.monitor.is_responsive()     # a fork can't ask

    def verify_alive(self):
        """Raise VMDeadError, with QEMU's exit status and last words, unless it runs.

        Raises a MonitorError if it runs and its monitor does not answer.
        """
        if self.monitor is not None and not self.monitor.is_connected():
            self.process.wait(_LAST_BREATH)
        if self.is_dead():
            raise virt_vm.VMDeadError(*self._why_dead())
        self.monitor.verify_responsive()

    def _why_dead(self):
        if self.process is None:
            return "it is not started", ""
        status, output = self.process.get_status(), self.process.get_output().strip()
        if status is None:
            reason = "QEMU is gone"
        elif status < 0:
            reason = "QEMU was killed by signal %d" % -status
        else:
            reason = "QEMU ended with status %d" % status
        return reason, output[-1000:]

    def verify_kernel_crash(self):
        """Raise VMDeadKernelCrashError if the serial console shows that the kernel crashed.

        Params used: kernel_crash_patterns: `seed` (the default; what BaseVM finds), `modern` (what
        today's kernels print when they crash or hang) or a regular expression to look for in each line.
        Raises ValueError for one that is none.
        """
        patterns = self.params.get("kernel_crash_patterns") or kernel_crash.SEED
        if patterns == kernel_crash.SEED or self.serial_console is None:
            super().verify_kernel_crash()
            return
        try:
            crash = kernel_crash.find(self.serial_console, patterns)
        except re.error as e:
            raise ValueError("kernel_crash_patterns: %s is neither %s, %s nor a regular expression: %s" % (
                patterns, kernel_crash.SEED, kernel_crash.MODERN, e)) from None
        if crash is not None:
            raise virt_vm.VMDeadKernelCrashError(crash)

    def verify_status(self, status):
        """Raise VMStatusError unless the VM's status is that one ("running", "paused")."""
        self.verify_alive()
        found = self._qmp.info("status")["status"]
        if found != status:
            raise virt_vm.VMStatusError("Unexpected VM status: %s instead of %s" % (found, status))

    def get_pid(self):
        """QEMU's process id (int), or None."""
        return None if self.process is None else self.process.get_pid()

    get_shell_pid = get_pid         # there is no shell between us and QEMU

    def get_shared_meminfo(self):
        """MB (float) of QEMU's memory that is shared with others, or None if it is dead."""
        if self.is_dead():
            return None
        return processes.shared_memory(self.get_pid()) / (1024.0 * 1024.0)

    # ---- addresses ----

    def _nic_params(self, index):
        return self.params.object_params(self.params.objects("nics")[index])

    def _is_user(self, index):
        return self._nic_params(index).get("nic_mode", "user") == "user"

    def get_address(self, index=0):
        """Address (str) to reach the guest at: "localhost" with user networking.

        Raises VMMACAddressMissingError, VMIPAddressMissingError.
        """
        if self._is_user(index):
            return "localhost"
        mac = self.get_mac_address(index).lower()
        address = self.address_cache.get(mac)
        if not address:
            raise virt_vm.VMIPAddressMissingError(mac)
        return address

    def get_port(self, port, nic_index=0):
        """The port (int) to connect to for that port of the guest.

        Raises VMPortNotRedirectedError.
        """
        if not self._is_user(nic_index):
            return port
        try:
            return self.redirs[port]
        except KeyError:
            raise virt_vm.VMPortNotRedirectedError(port) from None

    def _file_access(self, nic_index):
        """(where, keywords) for the functions of transfer that take files."""
        params = self.params
        choices = ("ssh_identity_file", "ssh_identity_passphrase", "ssh_known_hosts", "ssh_auth", "transfer_engine",
                   "transfer_verify", "transfer_stall_timeout", "transfer_parents", "transfer_sync",
                   "transfer_in_place", "transfer_sudo", "transfer_sudo_password")
        where = (self.get_address(nic_index), params.get("file_transfer_client"), params.get("username", ""),
                 params.get("password", ""), self.get_port(int(params.get("file_transfer_port")), nic_index))
        return where, {name: params[name] for name in choices if params.get(name)}

    def write_file(self, path, data, mode=None, owner=None, nic_index=0, timeout=600, **keywords):
        """Write data (bytes, str or a file object) to a file of the guest's, whole or not at all.

        The params are those of copy_files_to; see transfer.write_file for the other arguments
        and the errors.
        """
        from virtvm.companions import transfer
        where, choices = self._file_access(nic_index)
        transfer.write_file(*where, path, data, mode=mode, owner=owner, timeout=timeout, **{**choices, **keywords})

    def read_file(self, path, nic_index=0, timeout=600, **keywords):
        """The contents of a file of the guest's (bytes); see transfer.read_file."""
        from virtvm.companions import transfer
        where, choices = self._file_access(nic_index)
        return transfer.read_file(*where, path, timeout=timeout, **{**choices, **keywords})

    def get_peer(self, netid):
        """The other end of a network connection (str), by its id; None if there is none."""
        other = {"net": "nic", "nic": "net"}
        kind, number = netid[:3], netid[3:]
        return other[kind] + number if kind in other and number.isdigit() else None

    @property
    def netdev_id(self):
        """Ids of the network back ends (list of str), one a NIC."""
        return ["net%d" % n for n in range(len(self.params.objects("nics")))]

    @property
    def device_id(self):
        """Ids of the network devices (list of str), one a NIC."""
        return ["nic%d" % n for n in range(len(self.params.objects("nics")))]

    def get_ifname(self, nic_index=0):
        """Name (str) of the host's interface of a tap NIC."""
        return self._nic_params(nic_index).get("nic_ifname") or (
            "t%d-%s" % (nic_index, self.instance[-11:]))

    def free_mac_address(self, nic_index=0):
        """Give a NIC's MAC address back to the pool."""
        virt_utils.free_mac_address(self.instance, nic_index)

    # ---- creating ----

    def clone(self, name=None, params=None, root_dir=None, address_cache=None, copy_state=False):
        """A VM like this one, not started; what is not given is this one's.

        copy_state: it is this very machine by another object.
        """
        params = _as_params(self.params.copy() if params is None else params)
        other = self.__class__(name or self.name, params, root_dir or self.root_dir,
                               self.address_cache if address_cache is None else address_cache,
                               state=self.__dict__.copy() if copy_state else None)
        if copy_state:
            other.params = params
        return other

    @error.context_aware
    def create(self, name=None, params=None, root_dir=None, timeout=20.0, migration_mode=None,
               mac_source=None):
        """Start the VM; one that runs is destroyed first.

        name, params, root_dir: what is given replaces this VM's.  timeout: seconds for
        QEMU to greet.  migration_mode: wait for an incoming migration by "tcp" (on params'
        migration_address, by default this host's own), "unix" or "exec", or from a QEMU
        uri.  mac_source: a VM to share the MAC addresses and the random uuid of.

        Raises VMCreateError, VMKVMInitError, VMHugePageError, VMImageMissingError,
        VMHashMismatchError, VMPAError, VMBadPATypeError.
        """
        error.context("creating '%s'" % self.name)
        self.destroy(gracefully=False, free_mac_addresses=False)
        self.name = name or self.name
        self.set_params(self.params if params is None else params)
        self.root_dir = root_dir or self.root_dir
        self._check_assignable()
        self._check_cdroms()
        use_kvm = self._choose_kvm()
        self._choose_uuid(mac_source or (self if migration_mode else None))
        self._take_macs(mac_source)
        for left in range(_PORT_TRIES, 0, -1):
            try:
                self._start(use_kvm, timeout, migration_mode, mac_source)
                return
            except virt_vm.VMCreateError as e:
                if left == 1 or not any(word in e.output for word in _PORT_WORDS):
                    raise

    def set_params(self, params):
        """Params that this VM is to have from now on.  Those with cloud_init learn who logs in by which key."""
        self.params = _as_params(params)
        if cloud_init.wanted(self.params):
            with self._told_seed_errors():
                self.params = self.params.copy()
                self.params.update(cloud_init.completion(self.params))

    @contextlib.contextmanager
    def _told_seed_errors(self):
        try:
            yield
        except cloud_init.SeedError as e:
            raise virt_vm.VMCreateError("cloud_init = yes", None, str(e)) from None

    def _seed(self, make):
        """What cloud-init in the guest is to find (Seed), made if told to; or None."""
        if not cloud_init.wanted(self.params):
            return None
        with self._told_seed_errors():
            run = cloud_init.this_run()
            if not make:
                return run.seed(self.name, self.params)
            if not run.at_end:
                remove_folder_at_exit(run.folder)       # however this process ends
                run.at_end.append(lambda: folder_is_gone(run.folder))
            return run.make_seed(self.name, self.params)

    def _check_assignable(self):
        kind = self.params.get("pci_assignable", "no")
        if kind == "no":
            return
        if kind not in ("vf", "pf", "mixed"):
            raise virt_vm.VMBadPATypeError(kind)
        # Nothing is bound to VFIO for us, and we take no device away from the host.
        raise virt_vm.VMPAError(kind)

    def _check_cdroms(self):
        for cdrom in self.params.objects("cdroms"):
            params = self.params.object_params(cdrom)
            path = qemu_command.cdrom_path(params, self.root_dir)
            if path is None:
                continue
            if not signals.exists(path):
                raise virt_vm.VMImageMissingError(path)
            for key, size, method in (("md5sum_1m", 1048576, "md5"), ("md5sum", None, "md5"),
                                      ("sha1sum", None, "sha1")):
                if params.get(key):
                    actual = utils.hash_file(path, size, method)
                    if actual != params.get(key):
                        raise virt_vm.VMHashMismatchError(actual, params.get(key))
                    break

    def _choose_kvm(self):
        if self.params.get("disable_kvm") == "yes":
            return False
        if not kvm.works() and self.params.get("enable_kvm") == "yes":
            raise virt_vm.VMKVMInitError(qemu_command.find_binary(self.params, self.root_dir),
                                         kvm.probe())
        return kvm.works()

    def _choose_uuid(self, same_as=None):
        asked = self.params.get("uuid")
        if asked == "random":
            asked = (same_as.uuid if same_as is not None else None) or str(uuid.uuid4())
        self.uuid = asked

    def _take_macs(self, mac_source):
        for n, nic in enumerate(self.params.objects("nics")):
            if self.params.object_params(nic).get("nic_mac"):
                continue
            mac = mac_source.get_mac_address(n) if mac_source is not None else None
            if mac:
                virt_utils.set_mac_address(self.instance, n, mac)
            elif not virt_utils.get_mac_address(self.instance, n):
                virt_utils.generate_mac_address(self.instance, n)

    def _macs(self):
        """MAC addresses, None for a NIC that has none yet."""
        macs = []
        for n in range(len(self.params.objects("nics"))):
            try:
                macs.append(self.get_mac_address(n))
            except virt_vm.VMMACAddressMissingError:
                macs.append(None)
        return macs

    def _find_ports(self):
        """Choose host ports for the redirections, and for the canary."""
        names = self.params.objects("redirs")
        guests = [int(self.params.object_params(name).get("guest_port")) for name in names]
        hosts = virt_utils.find_free_ports(*_PORTS, len(guests) + 1)
        self.redirs = dict(zip(guests, hosts))
        self._canary = hosts[len(guests)] if len(hosts) > len(guests) else None

    def _canary_port(self):
        """The guest's port (int) on which nobody listens, or None.  It is no redirection of the user's."""
        asked = self.params.get("canary_port", "9")
        return None if asked == "no" or int(asked) in self.redirs else int(asked)

    def _tell_places(self):
        """Tell the engine where this guest is waited for."""
        places = []
        if self.params.objects("nics") and self._is_user(0):
            canary = self._canary if self._canary_port() else None
            for guest_port, port in self.redirs.items():
                places.append(_session.place("127.0.0.1", port, forwarded=True, guest_port=guest_port,
                                             canary=canary and ("127.0.0.1", canary)))
        self._boot = Signs(places)
        self._boot.reset()

    def _note_reset(self):
        """The guest goes down and comes up again, as far as the engine has not heard of it."""
        if self._boot is not None:
            self._boot.reset()
        for n in range(len(self.params.objects("nics"))):
            address = None if self._is_user(n) else self.address_cache.get((self.get_mac_address(n) or "").lower())
            if address:
                _session.place(address, int(self.params.get("shell_port") or 22)).reset()

    def _note_running(self):
        """The guest's state came from elsewhere: it is up already."""
        if self._boot is not None:
            self._boot.reset(up=True)

    def get_monitor_filename(self, name):
        """Path (str) of a monitor's unix socket."""
        return "/tmp/monitor-%s-%s" % (name, self.instance)

    def _monitor_names(self):
        return self.params.objects("monitors") or ["qmp1"]

    def _monitor_class(self, name):
        kind = self.params.object_params(name).get("monitor_type", "qmp")
        if kind not in TYPES:
            raise virt_vm.VMCreateError(self._command_line, None,
                                        "unknown monitor_type %r of monitor %s" % (kind, name))
        return TYPES[kind]

    def _listen_for(self, sockets):
        """Adds listening sockets for QEMU to inherit: whoever connects now is not too early."""
        for name in self._monitor_names():
            sockets.append(_listen(self.get_monitor_filename(name)))
        sockets.append(_listen(self.get_serial_console_filename()))

    def _setup(self, use_kvm, sockets=None, incoming=False):
        fds = [s.fileno() for s in sockets] if sockets else list(range(3, 4 + len(self._monitor_names())))
        ifnames = [self.get_ifname(n) for n in range(len(self.params.objects("nics")))]
        return qemu_command.Setup(
            self.name, self.root_dir, kvm=use_kvm, monitors=list(zip(self._monitor_names(), fds)),
            console=fds[-1], testlog=self.get_testlog_filename(), redirs=self.redirs,
            macs=self._macs(), ifnames=ifnames, uuid=self.uuid, incoming=incoming,
            overlays=self._overlays.paths if sockets else None, seed=self._seed(make=bool(sockets)),
            canary=(self._canary_port(), self._canary) if self._canary and self._canary_port() else None)

    def make_qemu_command(self, name=None, params=None, root_dir=None):
        """QEMU's command line as text (str), to read and to compare.

        name, params, root_dir: instead of this VM's.
        """
        probe = self.clone(name, params, root_dir, copy_state=True)
        probe.name, probe.root_dir = name or self.name, root_dir or self.root_dir
        probe._choose_uuid(self)
        use_kvm = probe.params.get("disable_kvm") != "yes" and kvm.works()
        return command_line(*qemu_command.make_argv(probe.params, probe._setup(use_kvm)))

    def needs_restart(self, name, params, basedir):
        """Whether QEMU would have to be started anew for these (bool)."""
        params = _as_params(params)
        redirs = {int(params.object_params(r).get("guest_port")) for r in params.objects("redirs")}
        if redirs != set(self.redirs) or _bridges(params) != _bridges(self.params):
            return True
        return self.make_qemu_command() != self.make_qemu_command(name, params, basedir)

    def _choose_overlays(self, migration_mode, source):
        """What this VM writes to instead of its images: its own, or what belongs to the state that it waits for."""
        if migration_mode and migration_mode.startswith("file:"):
            return disks.Overlays.restored(
                disks.kept_disks(migration_mode[len("file:"):], self.params, self.root_dir))
        if migration_mode and source is not None:
            return source._overlays.lent()
        return disks.Overlays.made(self.params, self.root_dir)

    def _start(self, use_kvm, timeout, migration_mode, source=None):
        self._forget_process()
        self._find_ports()
        sockets, clients = [], []
        try:
            self._listen_for(sockets)
            self._overlays = self._choose_overlays(migration_mode, source)
            if self.params.get("testdev") == "yes":
                _make_own(self.get_testlog_filename())
            argv = qemu_command.make_argv(self.params, self._setup(use_kvm, sockets, bool(migration_mode)))
            self._command_line = command_line(*argv)
            logging.info("Running qemu command:\n%s", self._command_line)
            try:
                clients += map(_connect, [s.getsockname() for s in sockets[:-1]])
                self._open_console()
                self._run(argv, sockets)
                # Only QEMU listens now: if it ends, its clients hear of it at once.
                _close_all(sockets)
                self._greet(clients, timeout)
            finally:
                _close_all(clients)
            self._attach_taps()
            self._tell_places()
            self._boot.watch_console(self.serial_console)
            self._qmp.listen(self._boot.on_event)
            if migration_mode:
                self._await_state(migration_mode)
            elif "-S" not in shlex.split(self.params.get("extra_params", "")):
                self._qmp.cmd("cont")
        except BaseException:
            self._clean_up()
            raise
        finally:
            _close_all(sockets)

    def _await_state(self, mode):
        try:
            if mode.startswith("file:"):
                migration.load(self._qmp, mode[len("file:"):])
            elif mode == "tcp":
                address = self.params.get("migration_address", "127.0.0.1")
                self.migration_port = migration.listen(self._qmp, "tcp:%s:0" % address)
            else:
                migration.listen(self._qmp, self._meeting_place(mode))
        except QMPCmdError as e:
            raise virt_vm.VMCreateError(self._command_line, None, e.data["desc"]) from None

    def _meeting_place(self, mode):
        """Where source and destination meet (uri, str); any other mode is a uri."""
        if mode not in ("unix", "exec"):
            return mode
        self.migration_file = "/tmp/migration-%s-%s" % (mode, self.instance)
        remove_at_exit(self.migration_file)
        if mode == "unix":
            return "unix:" + self.migration_file
        os.mkfifo(self.migration_file, 0o600)
        return "exec:cat < " + quote(self.migration_file)

    def _open_console(self):
        self.serial_console = aexpect.ConsoleSession(
            self.get_serial_console_filename(), name=self.name, prompt=self.params.get("shell_prompt", PROMPT),
            log_filename=virt_utils.log_file_path("console-%s-%s.log" % (self.name, self.instance)))

    def _run(self, argv, sockets):
        try:
            with signals.held():
                self.process = Process(argv, pass_fds=[s.fileno() for s in sockets])
        except OSError as e:
            signals.let_out(e)
            raise virt_vm.VMCreateError(self._command_line, None, qemu_command.why_not_run(
                self.params, argv[0], e)) from None

    def _greet(self, clients, timeout):
        for name in self._monitor_names():
            try:
                self.monitors.append(self._monitor_class(name)(
                    name, self.get_monitor_filename(name), sock=clients.pop(0), timeout=timeout))
            except MonitorError as e:
                self._raise_complaint(e)
        if self.is_dead():
            self._raise_complaint(None)

    def _attach_taps(self):
        """QEMU has made them, the guest does not run yet: now into their bridges."""
        for number in range(len(self.params.objects("nics"))):
            bridge = _bridges(self.params)[number]
            if bridge is None:
                continue
            try:
                network.attach(self.get_ifname(number), bridge)
            except error.CmdError as e:
                raise virt_vm.VMCreateError(e.command, e.result_obj.exit_status, e.result_obj.stderr) from None

    def _raise_complaint(self, cause):
        """QEMU did not come up: what it said, as the exception that fits."""
        self.process.wait(1.0 if cause is not None else 0.1)
        output, status = self.process.get_output().strip(), self.process.get_status()
        self.process.close()
        if any(word in output for word in _HUGEPAGE_WORDS):
            raise virt_vm.VMHugePageError(self._command_line, output)
        if any(word in output for word in _KVM_WORDS):
            raise virt_vm.VMKVMInitError(self._command_line, output)
        raise virt_vm.VMCreateError(self._command_line, status, output or str(cause))

    # ---- ending ----

    @error.context_aware
    def destroy(self, gracefully=True, free_mac_addresses=True):
        """End the VM: by the guest's own shutdown, by the monitor, by force.

        gracefully: try params' shutdown_command in a shell first.  free_mac_addresses:
        give generated MAC addresses back.  Does nothing to a VM that is not there.
        """
        error.context("destroying '%s'" % self.name)
        try:
            if not self.is_dead():
                if not (gracefully and self._shut_down()) and not self._quit():
                    logging.warning("VM '%s' does not quit: it is killed", self.name)
        finally:
            self._clean_up()
        if free_mac_addresses:
            for n in range(len(self.params.objects("nics"))):
                self.free_mac_address(n)

    def _shut_down(self):
        """Ask the guest to power off; whether QEMU has ended."""
        command = self.params.get("shutdown_command")
        if not command or not self.params.get("shell_client"):
            return False
        try:
            if self._qmp.cmd("query-status", timeout=_QUIT_WAIT, debug=False)["status"] != "running":
                return False            # nobody would hear
            session = self.login()
        except (virt_utils.LoginError, virt_vm.VMError, MonitorError, ValueError, TypeError) as e:  # or odd params
            logging.debug("VM '%s' can't be shut down by its shell: %s", self.name, e)
            return False
        try:
            session.sendline(command)
            return self.process.wait(float(self.params.get("shutdown_timeout", _SHUTDOWN_WAIT)))
        finally:
            session.close()

    def _quit(self):
        if self.monitor is None:
            return False
        try:
            self._qmp.quit(timeout=_QUIT_WAIT)
        except MonitorError as e:
            logging.debug("VM '%s' can't be told to quit: %s", self.name, e)
            return False
        return self.process.wait(_QUIT_WAIT)

    def _clean_up(self):
        """Ends what is left of QEMU and removes all its files.  Its last words stay."""
        if self._boot is not None:
            self._boot.forget()
            self._boot = None
        if self.process is not None:
            self.process.close()
        for monitor in self.monitors:
            monitor.close()
        self.monitors = []
        if self.serial_console is not None:
            if self.process is not None:
                self.serial_console._engine.wait(_LAST_WORDS_WAIT)      # what QEMU had sent before it ended
            self.serial_console.close()
        paths = [self.get_monitor_filename(name) for name in self._monitor_names()]
        paths += [self.get_serial_console_filename(), self.get_testlog_filename(), self.migration_file]
        for path in filter(None, paths):
            remove(path)
        self._overlays.remove()

    # ---- running ----

    def pause(self):
        """Stop the guest's processors."""
        self.verify_alive()
        self._qmp.cmd("stop")

    def resume(self):
        """Let them go on."""
        self.verify_alive()
        self._qmp.cmd("cont")

    def screendump(self, filename, debug=True):
        """Write a picture of the guest's screen: PNG if filename ends with .png, else PPM."""
        self.verify_alive()
        return self.monitor.screendump(os.path.abspath(filename), debug)

    def send_key(self, keystr):
        """Press keys together and release them: "a", "shift-a", "ctrl-alt-delete"."""
        self.verify_alive()
        keys = [{"type": "qcode", "data": _QCODES.get(key, key)} for key in _split_keys(keystr)]
        self._qmp.cmd("send-key", {"keys": keys})

    @error.context_aware
    def reboot(self, session=None, method="shell", nic_index=0, timeout=240):
        """Reboot the guest and log in again.

        session: a shell to do it from (it is closed), else a new one.  method: "shell"
        (params' reboot_command) or "system_reset" (by the monitor).  timeout: seconds to
        log in.  Returns the new session.  Raises VMRebootError.
        """
        error.context("rebooting '%s'" % self.name, logging.info)
        if method not in ("shell", "system_reset"):
            raise virt_vm.VMRebootError("Unknown reboot method: %s" % method)
        self.verify_alive()
        if session is None and method == "shell":
            session = self.login(nic_index)
        try:
            self._qmp.clear_events()
            if method == "shell":
                session.sendline(self.params.get("reboot_command"))
                complaint = "Guest refuses to go down"
            else:
                self._qmp.cmd("system_reset")
                complaint = ("RESET QMP event not received after system_reset (monitor '%s')"
                             % self.monitor.name)
            error.context("waiting for guest to go down", logging.info)
            if not self._qmp.wait_event("RESET", _DOWN_WAIT if method == "shell" else 20):
                self.verify_alive()
                raise virt_vm.VMRebootError(complaint)
            self._note_reset()
        finally:
            if session is not None:
                session.close()
        error.context("logging in after reboot", logging.info)
        return self.wait_for_login(nic_index, timeout=timeout)

    # ---- saving and migrating ----

    def save_to_file(self, path):
        """Write the VM's state to a file; the VM is paused then, resume() lets it go on.

        The file appears whole or not at all.  What the guest wrote to disks with
        image_snapshot=yes goes to files beside it, PATH.disk<N>-<random>.qcow2.  Raises
        VMMigrateError and its kin.
        """
        folder = os.path.dirname(os.path.abspath(path))
        self.verify_alive()
        self._check_named_disks("saved")
        older = disks.noted(path) if signals.isfile(path) else None
        kept = []
        with scratch.File(".%s." % os.path.basename(path), folder=folder) as temporary:
            with signals.held() as handlers:
                fd = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
                try:
                    handlers.deliver()
                    migration.save(self._qmp, fd)
                    kept = self._keep_disks(path)
                    disks.note(fd, kept)
                    os.replace(temporary, path)
                except BaseException:
                    disks.discard(kept)
                    raise
                finally:
                    os.close(fd)
        disks.discard(older or [])

    def _keep_disks(self, path):
        try:
            return disks.keep(self._overlays, self.params, self.root_dir, path)
        except error.CmdError as e:
            raise virt_vm.VMMigrateFailedError("The disks can't be kept: %s" % e.result_obj.stderr.strip()) from None

    def _check_named_disks(self, what):
        """Raise VMMigrateFailedError if a disk's changes are where nobody else can have them."""
        lost = self._overlays.missing(self.params, self.root_dir)
        if lost:
            raise virt_vm.VMMigrateFailedError(
                "The VM can't be %s: what it writes to %s is in a file of QEMU's own (image_snapshot=yes, and no"
                " overlay could be made: is qemu-img there?)" % (what, ", ".join(lost)))

    @error.context_aware
    def restore_from_file(self, path):
        """Start the VM from a state that save_to_file() wrote; it runs then.

        Raises VMMigrateFailedError if it is no such state; the VM is dead then.
        """
        error.context("restoring '%s'" % self.name)
        if not signals.exists(path):
            raise virt_vm.VMMigrateError("No saved state: %s" % path)
        disks.kept_disks(path, self.params, self.root_dir)     # before this VM ends, which may run
        self.create(migration_mode="file:" + path)
        try:
            self._wait_state(600)
            self.resume()
        except BaseException:
            self.destroy(gracefully=False)
            raise

    def _wait_state(self, timeout):
        try:
            migration.wait_incoming(self._qmp, timeout)
            self._note_running()
        except virt_vm.VMMigrateFailedError as e:
            raise self._with_last_words(e) from None

    def _with_last_words(self, failure):
        """That VMMigrateFailedError with what this VM, the destination, said at its end."""
        self.process.wait(_LAST_BREATH)
        words = self.process.get_output().strip()[-1000:]
        return virt_vm.VMMigrateFailedError("%s: %s" % (failure, words) if words else "%s" % failure)

    @error.context_aware
    def migrate(self, timeout=3600, protocol="tcp", cancel_delay=None, offline=False,
                stable_check=False, clean=True, save_path="/tmp", dest_host="localhost",
                remote_port=None):
        """Migrate the VM to another QEMU process, and be that one.

        timeout: seconds for all of it.  protocol: "tcp", "unix" or "exec".  cancel_delay:
        cancel after so many seconds (this VM stays what it is).  offline: paused
        meanwhile.  stable_check: compare the state before and after; save_path: folder of
        the two state files, which clean removes.  dest_host, remote_port: another host's,
        where a VM waits already; this object is then a dead VM.

        Raises VMMigrateProtoUnsupportedError, VMMigrateTimeoutError, VMMigrateFailedError,
        VMMigrateCancelError, VMMigrateStateMismatchError.
        """
        error.base_context("migrating '%s'" % self.name)
        if protocol not in self.MIGRATION_PROTOS:
            raise virt_vm.VMMigrateProtoUnsupportedError(
                "Migration protocol %r is not supported (only %s are)"
                % (protocol, ", ".join(self.MIGRATION_PROTOS)))
        self.verify_alive()
        local = dest_host == "localhost"
        self._check_named_disks("migrated")
        if not local and self._overlays.paths:
            raise virt_vm.VMMigrateFailedError(
                "The VM can't be migrated to another host: what it writes to its disks is in files of this host's"
                " (image_snapshot=yes)")
        dest = self.clone()
        try:
            if local:
                dest.create(migration_mode=protocol, mac_source=self)
            uri = self._migration_uri(dest, protocol, local, dest_host, remote_port)
            check = migration.StateCheck(save_path, clean) if local and stable_check else None
            try:
                self._migrate(dest if local else None, uri, check, timeout, cancel_delay, offline)
            finally:
                if check is not None:
                    check.close()
            if cancel_delay is None:
                # Ours are the destination's state and process; the source's go with dest.
                self.__dict__, dest.__dict__ = dest.__dict__, self.__dict__
                self._overlays.owned = True
        finally:
            dest._overlays = disks.Overlays()   # those of the VM that goes on
            dest.destroy(gracefully=False)      # the addresses belong to its own instance

    @staticmethod
    def _migration_uri(dest, protocol, local, dest_host, remote_port):
        if not local:
            return "tcp:%s:%d" % (dest_host, int(remote_port))
        if protocol == "tcp":
            return "tcp:127.0.0.1:%d" % dest.migration_port
        if protocol == "unix":
            return "unix:%s" % dest.migration_file
        return "exec:cat > " + quote(dest.migration_file)

    def _migrate(self, dest, uri, check, timeout, cancel_delay, offline):
        deadline = time.monotonic() + timeout
        was_running = self._qmp.verify_status("running")
        if offline or check is not None:
            self.pause()
        try:
            if check is not None:
                check.take(self._qmp)
            migration.begin(self._qmp, uri)
            if cancel_delay is not None:
                migration.cancel(self._qmp, cancel_delay)
            else:
                self._wait_migrated(dest, deadline)
                if check is not None:
                    check.compare(dest._qmp)
        except BaseException:
            if was_running and self.is_alive():
                self.resume()           # it goes on where it was
            raise
        if was_running and cancel_delay is not None:
            self.resume()
        elif was_running and dest is not None:
            dest.resume()

    def _wait_migrated(self, dest, deadline):
        try:
            migration.wait(self._qmp, deadline - time.monotonic())
        except virt_vm.VMMigrateFailedError as e:
            raise e if dest is None else dest._with_last_words(e)
        if dest is not None:
            dest._wait_state(max(1.0, deadline - time.monotonic()))


# ---- helpers ----

# Names that QEMU's key codes and characters do not share.
_QCODES = {" ": "spc", "\n": "ret", "enter": "ret", "-": "minus", "=": "equal", ".": "dot", ",": "comma",
           "/": "slash", ";": "semicolon", "'": "apostrophe", "\\": "backslash", "`": "grave_accent",
           "[": "bracket_left", "]": "bracket_right", "*": "asterisk", "del": "delete"}


def _split_keys(keystr):
    """ "ctrl-alt-delete" -> its keys; "-" and "shift--" have the minus key."""
    if keystr.endswith("-"):
        return [key for key in keystr[:-1].split("-") if key] + ["-"]
    return keystr.split("-")


def _as_params(params):
    return params if hasattr(params, "object_params") else virt_utils.Params(params)


def _bridges(params):
    """For each NIC the bridge (str) that its tap is put into, or None."""
    nics = [params.object_params(nic) for nic in params.objects("nics")]
    return [network.bridge_of(nic) if nic.get("nic_mode") == "tap" and not nic.get("nic_script") else None
            for nic in nics]


def _make_own(path):
    """An empty file for its user alone: /tmp is everybody's, and QEMU would follow a link."""
    if signals.lexists(path):
        os.unlink(path)
    scratch.make_file(path)


def _listen(path):
    """A listening unix socket at that path, for its user alone."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if signals.lexists(path):
            os.unlink(path)
        listener.bind(path)
        os.chmod(path, 0o600)
        remove_at_exit(path)
        listener.listen(4)
    except BaseException:
        listener.close()
        raise
    return listener


def _connect(path):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.connect(path)
        client.setblocking(False)
    except BaseException:
        client.close()
        raise
    return client


def _close_all(sockets):
    for s in sockets:
        s.close()
