"""Settings of the host that a test asks for: huge pages, transparent ones, a bridge for guests.

They change the whole host, so they put back what they found.  They need root.
"""

import logging
import os
import random
import re

from virtvm import signals
from virtvm.companions import error, utils, virt_utils
from virtvm.companions.quoting import command_line
from virtvm.hypervisors import network
from virtvm.hypervisors._process import Process
from virtvm.hypervisors.qemu_command import HUGEPAGE_PATH

# Where kernels have the settings: Red Hat's of 2011, everybody else's.
THP_PATHS = ("/sys/kernel/mm/redhat_transparent_hugepage", "/sys/kernel/mm/transparent_hugepage")

NR_HUGEPAGES = "/proc/sys/vm/nr_hugepages"
OWNER = "virtvm"                    # its bridges are known by that, and the process's id
DNSMASQ_PATIENCE = 0.5              # seconds in which it would have said what it can't do
KHUGEPAGED_PATIENCE = 5             # seconds until the thread has followed a setting


class THPError(Exception):
    """Something of transparent huge pages failed; the base of the others."""


class THPNotSupportedError(THPError):
    """The kernel has no transparent huge pages."""


class THPWriteConfigError(THPError):
    """A setting was refused by the kernel."""


class THPKhugepagedError(THPError):
    """The kernel's thread khugepaged does not follow the settings."""


def _read(path):
    with open(path) as f:
        return f.read().strip()


def _write(path, value):
    with open(path, "w") as f:
        f.write(str(value))


def _sees_kernel_threads():
    """Not so in a PID namespace of one's own: then nothing can be said of khugepaged."""
    try:
        return _read("/proc/2/comm") == "kthreadd"
    except OSError as e:
        signals.let_out(e)
        return False


def _chosen(text):
    """The word in brackets among those that a setting can be (str), or None."""
    found = re.search(r"\[([^\]]+)\]", text)
    return found.group(1) if found else None


class TransparentHugePageConfig:
    """The kernel's settings of transparent huge pages, changed for a test and put back.

    test, params: the test's.  params' test_config is "PATH:VALUE;PATH:VALUE...".
    Raises THPNotSupportedError; IndexError for a piece without a colon.

    thp_path: the folder of the settings (str).  test_config: what the params ask for
    (dict, path to value).  original_config: all that can be written, as found (dict, path
    to the chosen word or a number).  file_list_str, file_list_num: those paths (lists).
    """

    def __init__(self, test, params):
        for path in THP_PATHS:
            if signals.isdir(path):
                self.thp_path = path
                break
        else:
            raise THPNotSupportedError("System doesn't support transparent hugepages")
        self.test_config = {}
        for piece in (params.get("test_config") or "").split(";"):
            if piece.strip():
                parts = piece.split(":", 1)
                self.test_config[parts[0].strip()] = parts[1].strip()
        self.original_config, self.file_list_str, self.file_list_num = {}, [], []
        for folder, _, names in sorted(os.walk(self.thp_path)):
            for name in sorted(names):
                self._note(os.path.join(folder, name))

    def _note(self, path):
        if not os.stat(path).st_mode & 0o222:
            return
        try:
            text = _read(path)
        except OSError as e:
            signals.let_out(e)
            return
        chosen = _chosen(text)
        if chosen:
            self.original_config[path] = chosen
            self.file_list_str.append(path)
        elif re.fullmatch(r"\d+", text):
            self.original_config[path] = int(text)
            self.file_list_num.append(path)

    def set_env(self):
        """Write the settings that the params ask for.  THPWriteConfigError."""
        for path, value in self.test_config.items():
            logging.info("Setting %s to %s", path, value)
            self._set(path, value)

    @staticmethod
    def _set(path, value):
        try:
            _write(path, value)
        except OSError as e:
            signals.let_out(e)
            raise THPWriteConfigError("Could not write %s to %s: %s" % (value, path, e)) from e

    def setup(self):
        """Write the settings that the params ask for, then see that khugepaged follows all.

        Raises THPWriteConfigError, THPKhugepagedError.
        """
        self.set_env()
        self.khugepaged_test()

    def khugepaged_test(self):
        """Change every setting, see that khugepaged runs exactly when it should, put it back.

        Where kernel threads can't be seen (in a PID namespace), only the writing is checked.
        Raises THPKhugepagedError, for a setting that is refused as well.
        """
        try:
            self._try_all()
        except THPWriteConfigError as e:
            raise THPKhugepagedError(str(e)) from e

    def _try_all(self):
        enabled = os.path.join(self.thp_path, "enabled")
        for path in self.file_list_str:
            words = [word.strip("[]") for word in _read(path).split()]
            if path == enabled:
                self._try(path, [value for word in words for value in ("never", word)],
                          lambda value: self._expect_running(value != "never"))
            else:
                self._try(path, words)
        for path in self.file_list_num:
            now = int(_read(path))
            if now > 1:                 # 0 and 1 are switches
                self._try(path, [random.randint(1, now - 1)])
        self._expect_running(self._is_enabled(enabled))

    @staticmethod
    def _is_enabled(path):
        return signals.exists(path) and "[never]" not in _read(path)

    def _try(self, path, values, look=lambda value: None):
        """Each of the values is taken and told back, and look(value) called; then what was there again."""
        text = _read(path)
        before = _chosen(text) or text
        try:
            for value in values:
                self._set(path, value)
                told = _read(path)
                if told != str(value) and "[%s]" % value not in told.split():
                    raise THPWriteConfigError("%s tells %r after %r was written" % (path, told, value))
                look(value)
        finally:
            self._set(path, before)

    def _expect_running(self, running):
        if not _sees_kernel_threads():
            logging.warning("khugepaged can't be seen from here: not checked")
            return
        if not virt_utils.wait_for(lambda: utils.process_is_alive("khugepaged") == running,
                                   KHUGEPAGED_PATIENCE, 0, 0.05):
            raise THPKhugepagedError("khugepaged is%s running, its settings say otherwise"
                                     % (" not" if running else ""))

    def cleanup(self):
        """Put back every setting as it was found.  THPWriteConfigError after all were tried."""
        failure = None
        for path, value in self.original_config.items():
            try:
                self._set(path, value)
            except THPWriteConfigError as e:
                failure = failure or e
        if failure is not None:
            raise failure


class HugePageConfig:
    """Huge pages for the guests' memory, and the file system that they come from.

    params: mem (MB), vms, max_vms (count, 0).  Each guest wants 64 MB beside its memory.

    hugepage_path: where it is mounted (str).  target_hugepages: how many pages (int).
    """

    _before = None      # pages that were there before setup(): cleanup() is another object's

    def __init__(self, params):
        self.hugepage_path = HUGEPAGE_PATH
        self.kernel_hp_file = NR_HUGEPAGES
        self.vms = max(len(params.objects("vms")), int(params.get("max_vms") or 0))
        self.mem = int(params["mem"])
        self.hugepage_size = self.get_hugepage_size()
        kilobytes = self.vms * (self.mem + 64) * 1024
        self.target_hugepages = -(-kilobytes // self.hugepage_size)

    @staticmethod
    def get_hugepage_size():
        """Size of a huge page in KiB (int).  ValueError if the kernel has none."""
        found = re.search(r"^Hugepagesize:\s+(\d+) kB", _read("/proc/meminfo"), re.M)
        if found is None:
            raise ValueError("The kernel has no huge pages")
        return int(found.group(1))

    @error.context_aware
    def set_hugepages(self):
        """Have that many pages.  ValueError if the kernel can't find them."""
        error.context("setting hugepages limit to %s" % self.target_hugepages)
        now = int(_read(self.kernel_hp_file))
        if HugePageConfig._before is None:
            HugePageConfig._before = now
        while now < self.target_hugepages:      # memory is freed on the way: try while it helps
            last = now
            _write(self.kernel_hp_file, self.target_hugepages)
            now = int(_read(self.kernel_hp_file))
            if now <= last:
                break
        if now < self.target_hugepages:
            raise ValueError("Cannot set the kernel hugepage setting to the target value of %d hugepages."
                             % self.target_hugepages)

    @error.context_aware
    def mount_hugepage_fs(self):
        """Mount the file system, unless it is.  CmdError, OSError."""
        error.context("mounting hugepages path")
        signals.makedirs(self.hugepage_path, exist_ok=True)
        if not os.path.ismount(self.hugepage_path):
            utils.system_output(command_line("mount", "-t", "hugetlbfs", "none", self.hugepage_path))

    def setup(self):
        """Reserve the pages and mount the file system; nothing is left if either fails."""
        logging.debug("Huge pages: %d of %d KiB", self.target_hugepages, self.hugepage_size)
        try:
            self.set_hugepages()
            self.mount_hugepage_fs()
        except Exception:
            self._release()
            raise

    def _release(self):
        before, HugePageConfig._before = HugePageConfig._before, None
        if before is not None:
            _write(self.kernel_hp_file, before)

    @error.context_aware
    def cleanup(self):
        """Unmount, and give the pages back.  A guest that still uses them keeps them: only logged."""
        error.context("deallocating hugepages")
        if os.path.ismount(self.hugepage_path):
            try:
                utils.system(command_line("umount", self.hugepage_path))
            except error.CmdError as e:
                logging.warning("Huge pages are still in use: %s", e)
                return
        self._release()


class PrivateBridgeError(Exception):
    """The bridge could not be set up.  brname: its name (str)."""

    def __init__(self, brname):
        Exception.__init__(self, brname)
        self.brname = brname

    def __str__(self):
        return "Bridge %s not available after setup" % self.brname


class PrivateBridgeConfig:
    """A bridge of the host's own for guests' tap NICs, with addresses for them, and a way out.

    params: priv_brname ("atbr0"), priv_subnet ("192.168.58"): the bridge has address 1 of it, dnsmasq
    gives out the others; iptables lets guests out by the host's other interfaces, if it is there.
    Needs root, `ip` and dnsmasq.  Instances share what they know: the last params count.
    A bridge of that name that is there already is used as it is, and is not removed.
    """

    _shared = {}
    _undo = []              # (what, function), of this process: cleanup() may be another object's

    def __init__(self, params=None):
        self.__dict__ = PrivateBridgeConfig._shared
        if params is None and self.__dict__:
            return
        params = params or {}
        self.brname = params.get("priv_brname") or network.PRIVATE_BRIDGE
        self.subnet = params.get("priv_subnet") or "192.168.58"
        self.ip_version = params.get("bridge_ip_version") or "ipv4"
        if not re.fullmatch(r"[\w.][\w.-]{0,14}", self.brname):
            raise ValueError("priv_brname: no name for a bridge: %r" % self.brname)
        if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", self.subnet) or self.ip_version != "ipv4":
            raise ValueError("priv_subnet is three numbers of an IPv4 address, like 192.168.58: %r" % self.subnet)

    def _is_there(self):
        return signals.isdir("/sys/class/net/%s/bridge" % self.brname)

    @error.context_aware
    def setup(self):
        """Have the bridge, unless it is there.

        What was done is undone if a later step fails: PrivateBridgeError, its cause says why.
        """
        self._remove_orphan()
        if self._is_there():
            return
        error.context("setting up private bridge %s" % self.brname)
        try:
            self._add_bridge()
            self._let_out()
            self._give_addresses()
            if not self._is_there():
                raise OSError("it is not there")
        except (error.CmdError, OSError, ValueError) as e:
            logging.error("Bridge %s: %s", self.brname, e)
            self._take_down()
            signals.let_out(e)
            raise PrivateBridgeError(self.brname) from e

    def _remove_orphan(self):
        """A bridge that a process made and, being killed, did not remove has no DHCP server any more."""
        try:
            owner = _read("/sys/class/net/%s/ifalias" % self.brname).split()
        except OSError as e:
            signals.let_out(e)
            return
        if len(owner) == 2 and owner[0] == OWNER and not signals.exists("/proc/" + owner[1]) and not self._ports():
            utils.run(command_line("ip", "link", "del", "dev", self.brname), ignore_status=True, verbose=False)

    def _ports(self):
        """Interfaces (list of str) in the bridge."""
        try:
            return sorted(os.listdir("/sys/class/net/%s/brif" % self.brname))
        except OSError as e:
            signals.let_out(e)
            return []

    @staticmethod
    def _do(*words):
        utils.run(command_line(*words), verbose=False)

    def _undo_by(self, *words):
        self._undo.append((command_line(*words), lambda: self._do(*words)))

    def _add_bridge(self):
        self._do("ip", "link", "add", "name", self.brname, "type", "bridge")
        self._undo_by("ip", "link", "del", "dev", self.brname)
        self._do("ip", "link", "set", "dev", self.brname, "alias", "%s %d" % (OWNER, os.getpid()))
        self._do("ip", "addr", "add", self.subnet + ".1/24", "dev", self.brname)
        self._do("ip", "link", "set", "dev", self.brname, "up")

    def _let_out(self):
        try:
            iptables = virt_utils.find_command("iptables")
        except ValueError:
            logging.warning("iptables is missing: guests on %s reach the host alone", self.brname)
            return
        forward = "/proc/sys/net/ipv4/ip_forward"
        before = _read(forward)
        if before != "1":
            _write(forward, "1")
            self._undo.append((forward, lambda: _write(forward, before)))
        net = self.subnet + ".0/24"
        for rule in ("INPUT -i %(bridge)s -p udp --dport 67 -j ACCEPT",
                     "INPUT -i %(bridge)s -p udp --dport 53 -j ACCEPT",
                     "INPUT -i %(bridge)s -p tcp --dport 53 -j ACCEPT",
                     "FORWARD -i %(bridge)s -s %(net)s -j ACCEPT",
                     "FORWARD -o %(bridge)s -d %(net)s -m state --state RELATED,ESTABLISHED -j ACCEPT",
                     "FORWARD -i %(bridge)s -o %(bridge)s -j ACCEPT",
                     "POSTROUTING -t nat -s %(net)s ! -d %(net)s -j MASQUERADE"):
            words = [word % {"bridge": self.brname, "net": net} for word in rule.split()]
            # A process that was killed may have left it.
            asked = utils.run(command_line(iptables, "-w", "-C", *words), ignore_status=True, verbose=False)
            if asked.exit_status != 0:
                self._do(iptables, "-w", "-I", *words)
            self._undo_by(iptables, "-w", "-D", *words)

    def _give_addresses(self):
        # Not a daemon: it ends with this process, by its own watcher, if nothing else ends it.
        argv = [virt_utils.find_command("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts",
                "--log-facility=-", "--pid-file", "--leasefile-ro", "--dhcp-authoritative", "--strict-order",
                "--bind-interfaces", "--except-interface=lo", "--interface=%s" % self.brname,
                "--listen-address=%s.1" % self.subnet, "--dhcp-no-override",
                "--dhcp-range=%s.2,%s.254" % (self.subnet, self.subnet)]
        server = Process(argv)
        self._undo.append(("dnsmasq", server.close))
        if server.wait(DNSMASQ_PATIENCE):
            raise OSError("dnsmasq ended: %s" % server.get_output().strip())

    @error.context_aware
    def cleanup(self):
        """Remove what setup() of this process made, unless a guest's interface is still in the bridge."""
        if not self._undo:
            return
        error.context("removing private bridge %s" % self.brname)
        if self._ports():
            logging.debug("Bridge %s stays: %s", self.brname, ", ".join(self._ports()))
            return
        self._take_down()

    def _take_down(self):
        while self._undo:
            what, undo = self._undo.pop()
            try:
                undo()
            except (error.CmdError, OSError) as e:
                signals.let_out(e)
                logging.warning("Could not undo: %s: %s", what, e)
