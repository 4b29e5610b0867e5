"""Helpers that virt_vm and virt tests call, with autotest's names.

Names, paths and ports; waiting; logs of sessions; threads; mounts; MAC
addresses.  Logging in and copying files, Params, Env and the exceptions stand
in modules of their own and are found here too.
"""

import errno
import logging
import os
import re
import threading
import time

from virtvm import signals
from virtvm.companions import error, utils
from virtvm.companions.exceptions import (      # noqa: F401 (part of the interface)
    LoginAuthenticationError, LoginBadClientError, LoginError, LoginProcessTerminatedError,
    LoginTimeoutError, SCPAuthenticationError, SCPAuthenticationTimeoutError, SCPError,
    SCPTransferFailedError, SCPTransferTimeoutError, TransferBadClientError)
from virtvm.companions.login import (           # noqa: F401
    _remote_login, remote_login, wait_for_login)
from virtvm.companions.quoting import command_line
from virtvm.companions.transfer import (        # noqa: F401
    copy_files_from, copy_files_to, remote_scp, scp_between_remotes, scp_from_remote,
    scp_to_remote)
from virtvm.host.logs import (              # noqa: F401
    _log_files, close_log_file, log_file_path, log_line, set_log_file_dir)
from virtvm.host.macs import (              # noqa: F401
    free_mac_address, generate_mac_address, get_mac_address, set_mac_address)
from virtvm.host.names import generate_random_string
from virtvm.host.processes import children_of, safe_kill
from virtvm.params.params import Env, EnvSaveError, Params, is_vm   # noqa: F401


# The environment, by functions that some tests call (a method of Env each)

def env_get_vm(env, name):
    """Return the VM of that name (str) in env (Env), or None."""
    return env.get_vm(name)


def env_register_vm(env, name, vm):
    """Keep vm in env (Env) by that name (str)."""
    env.register_vm(name, vm)


# Names and paths

def get_path(base_path, user_path):
    """Return user_path if it is absolute, else base_path/user_path (str)."""
    return os.path.join(base_path, user_path)


def generate_random_id():
    """Return a random name that can stand as an identifier: "id" and 6 more (str)."""
    return "id" + generate_random_string(6)


def generate_tmp_file_name(file, ext=None, dir="/tmp/"):
    """Return a path in dir that does not exist: "file-date-time-XXXX[.ext]" (str).

    Only the name: the file is not made.
    """
    while True:
        name = "%s-%s%s" % (file, time.strftime("%Y%m%d-%H%M%S-"), generate_random_string(4))
        path = os.path.join(dir, "%s.%s" % (name, ext) if ext else name)
        if not signals.lexists(path):
            return path


def find_command(cmd):
    """Return the path of a program in the system's folders (str).

    ValueError if there is none of that name.
    """
    for folder in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin",
                   "/sbin", "/bin"):
        path = os.path.join(folder, cmd)
        if signals.exists(path):
            return path
    raise ValueError("Missing command: %s" % cmd)


# Texts

def format_str_for_message(str):
    """Return str as it can follow a message: one line after a blank, more below it."""
    lines = str.splitlines()
    if not lines:
        return ""
    return (" " if len(lines) == 1 else "\n") + "\n".join(lines)


def display_attributes(instance):
    """Log the attributes of instance that are set, as debug output."""
    logging.debug("Attributes set:")
    for name in dir(instance):
        value = getattr(instance, name, None)
        if value and not callable(value) and not name.startswith("__"):
            logging.debug("    %s: %s", name, value)


# Waiting

def wait_for(func, timeout, first=0.0, step=1.0, text=None):
    """Call func until it returns something true; return that, or None in the end.

    timeout: seconds in which a call may begin.  first: seconds before the
    first call.  step: seconds between calls.  text: logged at each call.
    """
    start = time.monotonic()
    end = start + timeout
    time.sleep(max(0, min(first, timeout)))
    while time.monotonic() < end:
        if text:
            logging.debug("%s (%f secs)", text, time.monotonic() - start)
        output = func()
        if output:
            return output
        # Nothing is tried after the end, so there is nothing to sleep for.
        time.sleep(max(0, min(step, end - time.monotonic())))
    return None


# Ports

def is_port_free(port, address="localhost"):
    """Tell whether a TCP port is free (bool).

    localhost: nothing is bound to it.  Another address: a connection to it is
    refused; when nothing answers for 5 s, the port is not called free.
    """
    import socket
    if address == "localhost":
        with socket.socket() as s:
            try:
                s.bind(("", port))      # any local address in use counts
                return True
            except OSError as e:
                signals.let_out(e)
                return False
    try:
        socket.create_connection((address, port), timeout=5).close()
        return False
    except OSError as e:
        signals.let_out(e)
        return e.errno == errno.ECONNREFUSED


def find_free_port(start_port, end_port, address="localhost"):
    """Return the first free TCP port in range(start_port, end_port), or None."""
    ports = find_free_ports(start_port, end_port, 1, address)
    return ports[0] if ports else None


def find_free_ports(start_port, end_port, count, address="localhost"):
    """Return the first count free TCP ports in range(start_port, end_port) (list)."""
    ports = []
    for port in range(start_port, end_port):
        if len(ports) == count:
            break
        if is_port_free(port, address):
            ports.append(port)
    return ports


# Processes

def kill_process_tree(pid, sig=9):
    """Send signal sig to process pid and to all its descendants.

    They are stopped meanwhile, so that none can fork and get away.
    ValueError if pid is not positive: that would mean a group, or everybody.
    """
    import signal
    if pid <= 0:
        raise ValueError("not the number of a process: %r" % (pid,))
    tree = []
    try:
        _stop_tree(pid, tree)
        # Children before their parents; should this process be one of them, it comes last.
        for victim in sorted(reversed(tree), key=lambda p: p == os.getpid()):
            safe_kill(victim, sig)
    finally:
        for victim in tree:
            safe_kill(victim, signal.SIGCONT)


def _stop_tree(pid, tree):
    """Stop process pid and its descendants, but this one; add them to tree, parents first."""
    import signal
    level = [pid]
    while level:
        tree += level
        for p in level:
            if p != os.getpid():
                safe_kill(p, signal.SIGSTOP)
        level = [p for p in children_of(tree) if p not in tree]


def pid_exists(pid):
    """Tell whether there is a process pid (bool)."""
    try:
        os.kill(pid, 0)
        return True
    except OSError as e:
        signals.let_out(e)
        return e.errno == errno.EPERM


# Mounts

def _mounts():
    """What is mounted: (source, folder, type, options) of each, the last one on top."""
    def plain(field):
        # The kernel writes blanks, tabs, newlines and backslashes as \ooo.
        return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), field)
    return [tuple(map(plain, line.split(" ")[:4]))
            for line in utils.read_file("/proc/self/mounts").split("\n") if line]


def _find_mount(src, mount_point, type, perm=None):
    """Tell whether src is mounted so; type may be a part ("nfs" finds nfs4)."""
    folder = signals.realpath(mount_point)
    modes = ("ro", "rw") if perm is None else ("ro",) if "ro" in perm.split(",") else ("rw",)
    return any(source == src and where == folder and kind.startswith(type)
               and options.split(",")[0] in modes
               for source, where, kind, options in _mounts())


def umount(src, mount_point, type):
    """Unmount src from the folder mount_point.  True if it is not mounted any more.

    type: the file system's, such as "nfs".
    """
    if not _find_mount(src, mount_point, type):
        logging.debug("%s is not mounted on %s", src, mount_point)
        return True
    try:
        utils.run("umount", args=("--", mount_point))
        return True
    except error.CmdError as e:
        logging.error("%s", e)
        return False


def mount(src, mount_point, type, perm="rw"):
    """Mount src on the folder mount_point, unmounting it first.  True if it is there.

    type: the file system's, such as "nfs".  perm: mount options.
    """
    umount(src, mount_point, type)
    if _find_mount(src, mount_point, type, perm):
        logging.debug("%s is already mounted on %s with %s", src, mount_point, perm)
        return True
    try:
        utils.run("mount", args=("-t", type, "-o", perm, "--", src, mount_point))
    except error.CmdError as e:
        logging.error("%s", e)
        return False
    if _find_mount(src, mount_point, type, perm):
        return True
    logging.error("%s was mounted on %s, but is not there", src, mount_point)
    return False


# Addresses

def _in_arp_cache(ip, macs):
    for line in utils.read_file("/proc/net/arp").splitlines()[1:]:
        address, _, _, mac = line.split()[:4]
        if address == ip and mac.lower() in macs:
            return True
    return False


def verify_ip_address_ownership(ip, macs, timeout=10.0):
    """Tell whether an IP address belongs to one of some MAC addresses (bool).

    ip: IPv4 address (str).  macs: MAC addresses (list of str).  Looks at the
    host's ARP cache, then asks the network for timeout seconds at most.
    ValueError if a program that is needed for that is missing.
    """
    macs = [mac.lower() for mac in macs]
    if _in_arp_cache(ip, macs):
        return True
    if ip.startswith("-"):
        return False                # no address, but an option of the programs below
    route = utils.run(command_line(find_command("ip"), "route", "get", ip), ignore_status=True,
                      verbose=False).stdout
    device = re.search(r"\bdev\s+(\S+)", route)
    if device is None:
        return False
    try:
        answer = utils.run(command_line(find_command("arping"), "-f", "-c", 3, "-I", device.group(1), ip),
                           timeout, ignore_status=True, verbose=False).stdout.lower()
    except error.CmdError as e:
        logging.debug("%s", e)
        return False
    return any(re.search(r"\b%s\b" % re.escape(mac), answer) for mac in macs)


# Threads

class Thread(threading.Thread):
    """A thread whose join() returns what target returned, or raises what it raised."""

    def __init__(self, target, args=(), kwargs={}):
        threading.Thread.__init__(self, target=target, args=args, kwargs=kwargs)
        self._e = None
        self._retval = None

    def run(self):
        """Call the target and keep what comes of it."""
        try:
            self._retval = self._target(*self._args, **self._kwargs)
        except BaseException as e:
            logging.debug("%s ended by %s: %s", self.name, type(e).__name__, e)
            self._e = e
        finally:
            # They may refer to this thread.
            del self._target, self._args, self._kwargs

    def start(self):
        """Start it."""
        from virtvm.threads import start
        start(self)

    def join(self, timeout=None, suppress_exception=False):
        """Wait for the target and return its value, or raise its exception.

        timeout: seconds; if it passes, None is returned.  suppress_exception:
        return None instead of raising.  Both only the first time after the
        end; later calls return None.
        """
        threading.Thread.join(self, timeout)
        if self.is_alive():
            return None
        e, retval = self._e, self._retval
        self._e = self._retval = None
        if e is None or suppress_exception:
            return retval
        try:
            # It happened in another thread: what this one was doing belongs to it.
            s = error.join_contexts(error.get_context(), error.exception_context(e))
            error.set_exception_context(e, s)
            raise e
        finally:
            del e       # its traceback refers to this frame

    def isAlive(self):
        """As is_alive(), under the name that it had before Python 3.9."""
        return self.is_alive()


def parallel(targets):
    """Call targets at the same time and return their values in order (list).

    Each is a callable or (callable[, args[, kwargs]]).  Raises what the first
    of them that failed, in this order, has raised.
    """
    threads = [Thread(*target) if isinstance(target, (tuple, list)) else Thread(target)
               for target in targets]
    for thread in threads:
        thread.start()
    return [thread.join() for thread in threads]
