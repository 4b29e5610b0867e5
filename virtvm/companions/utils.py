"""Commands, files and facts of the host, with autotest's names.

Commands are run by /bin/bash without a terminal, each in a session of its own.
Output is decoded as UTF-8; a byte that is none stands as \\xNN in the text, so
that it can always be logged and written.
"""

import functools
import logging
import os
import re

from virtvm import signals
from virtvm.companions import error
from virtvm.companions.quoting import quote as _quote
from virtvm.host import commands as _commands
from virtvm.host import processes as _processes
from virtvm.host.commands import (              # noqa: F401 (part of the interface)
    DEFAULT_STDERR_LEVEL, DEFAULT_STDOUT_LEVEL, DEVNULL, STDERR_PREFIX, STDOUT_PREFIX,
    TEE_TO_LOGS, BgJob, CmdResult, join_bg_jobs)
from virtvm.host.tables import matrix_to_string     # noqa: F401


def __getattr__(name):
    # Used by two tests in a hundred, and longer than all the rest.
    if name == "SystemLoad":
        from virtvm.host.load import SystemLoad
        return SystemLoad
    raise AttributeError("module %r has no attribute %r" % (__name__, name))


# Running commands

def sh_escape(command):
    """Escape what means something to a shell between double quotes (str to str)."""
    return re.sub(r'([\\$"`])', r"\\\1", command)


def run(command, timeout=None, ignore_status=False, stdout_tee=None, stderr_tee=None,
        verbose=True, stdin=None, stderr_is_expected=None, args=(), *, env=None, cwd=None):
    """Run a command line on the host and return its CmdResult.

    timeout: seconds, None for no limit; then the command and all that it
        started is ended.
    ignore_status: do not raise when the command fails.
    stdout_tee, stderr_tee: a file that gets the output as it comes, or
        TEE_TO_LOGS, or DEVNULL.
    verbose: log the command line.
    stdin: str, bytes, file or descriptor; None is an empty input.
    stderr_is_expected: log stderr as debug output (default: ignore_status).
    args: sequence of further arguments, which are quoted.
    env: variables (dict of str) that the command finds in its environment besides
        ours; every user sees command lines, but only its own user what is here.
    cwd: its working folder (str; default: ours).
    Raises CmdError if the exit status is not 0 (negative: ended by that
    signal) or the timeout passes.
    """
    if isinstance(args, (str, bytes)):
        raise TypeError("args must be a sequence of arguments, not a %s" % type(args).__name__)
    if args:
        command = " ".join([command] + [_quote(arg) for arg in args])
    if stderr_is_expected is None:
        stderr_is_expected = ignore_status
    level = DEFAULT_STDOUT_LEVEL if stderr_is_expected else DEFAULT_STDERR_LEVEL
    job, = _commands.run_jobs(
        [lambda: BgJob(command, stdout_tee, stderr_tee, verbose, stdin, level, env=env, cwd=cwd)], timeout)
    if not ignore_status:
        _verify_status(job)
    return job.result


def _verify_status(job):
    status = job.result.exit_status
    if status is None:
        raise error.CmdError(job.command, job.result, "Command's exit status is not known")
    if status != 0:
        raise error.CmdError(job.command, job.result, "Command returned non-zero exit status")


def run_parallel(commands, timeout=None, ignore_status=False, stdout_tee=None,
                 stderr_tee=None):
    """Run command lines at the same time and return their CmdResults (list).

    As run(); CmdError names the first that failed.
    """
    level = DEFAULT_STDOUT_LEVEL if ignore_status else DEFAULT_STDERR_LEVEL
    jobs = _commands.run_jobs(
        [functools.partial(BgJob, command, stdout_tee, stderr_tee, stderr_level=level)
         for command in commands], timeout)
    if not ignore_status:
        for job in jobs:
            _verify_status(job)
    return [job.result for job in jobs]


def system(command, timeout=None, ignore_status=False):
    """Run a command line, its output going to the log, and return its exit status.

    Raises CmdError as run() does.
    """
    return run(command, timeout, ignore_status, TEE_TO_LOGS, TEE_TO_LOGS).exit_status


def system_output(command, timeout=None, ignore_status=False, retain_output=False, args=()):
    """Run a command line and return its stdout less the last newline (str).

    retain_output: the output goes to the log as well.  Raises as run().
    """
    tee = TEE_TO_LOGS if retain_output else None
    out = run(command, timeout, ignore_status, tee, tee, args=args).stdout
    return out[:-1] if out.endswith("\n") else out


def system_output_parallel(commands, timeout=None, ignore_status=False, retain_output=False):
    """Run command lines at the same time and return what each printed (list of str)."""
    tee = TEE_TO_LOGS if retain_output else None
    results = run_parallel(commands, timeout, ignore_status, tee, tee)
    return [r.stdout[:-1] if r.stdout.endswith("\n") else r.stdout for r in results]


# Files

def _open_text(filename, mode="r"):
    return open(filename, mode, encoding="utf-8", errors="surrogateescape", newline="")


def read_file(filename):
    """Return the content of a text file (str)."""
    with _open_text(filename) as f:
        return f.read()


def read_one_line(filename):
    """Return the first line of a text file without its newline (str)."""
    with _open_text(filename) as f:
        return f.readline().rstrip("\n")


def open_write_close(filename, data):
    """Make data (str, or bytes) the content of a file."""
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    with open(filename, "wb") as f:
        f.write(data)


def write_one_line(filename, line):
    """Make one line (str, with or without its newline) the content of a file."""
    open_write_close(filename, line.rstrip("\n") + "\n")


def hash(type, input=None):
    """Return a hashlib object of the named type, fed with input (bytes or str).

    ValueError if there is no such type.
    """
    import hashlib
    if not isinstance(type, str) or type.lower() not in hashlib.algorithms_available:
        raise ValueError("Unsupported hash type: %s" % type)
    digest = hashlib.new(type, usedforsecurity=False)
    if input is not None:
        digest.update(input.encode() if isinstance(input, str) else input)
    return digest


def hash_file(filename, size=None, method="md5"):
    """Return the hash of a file as hex digits (str).

    size: how many bytes from its start count; None, 0 or too many: all.
    method: "md5", "sha1" or another that hashlib has, else ValueError.
    OSError if the file can't be read.
    """
    digest = hash(method)
    with open(filename, "rb", buffering=0) as f:
        left = size or None
        while left is None or left > 0:
            piece = f.read(1 << 20 if left is None else min(left, 1 << 20))
            if not piece:
                break
            digest.update(piece)
            left = None if left is None else left - len(piece)
    return digest.hexdigest()


_KEY = re.compile(r"[-.\w]+(\{\w+\})?")


def _number_or_text(value):
    for convert in (int, float):
        try:
            return convert(value)
        except ValueError as e:
            signals.let_out(e)
    return value


def read_keyval(path):
    """Return the dict that a file of "key=value" lines holds, {} if there is no file.

    path: the file, or the folder of a file named keyval.  Numbers become int
    or float; what follows "#" is a comment.
    """
    if signals.isdir(path):
        path = os.path.join(path, "keyval")
    if not signals.exists(path):
        return {}
    keyval = {}
    for line in read_file(path).split("\n"):
        line = line.partition("#")[0].rstrip()
        if line:
            key, equals, value = line.partition("=")
            if not equals:
                raise ValueError("Invalid keyval line in %s: %s" % (path, line))
            keyval[key] = _number_or_text(value)
    return keyval


def write_keyval(path, dictionary, type_tag=None):
    """Append the items of dictionary to a file as sorted "key=value" lines.

    path: the file, or the folder of a file named keyval.  type_tag: makes the
    lines "key{type_tag}=value".  ValueError, and nothing written, if a key has
    other characters than letters, digits, "_", "-" and ".".  A value's line breaks are written
    as \\n and \\r: they would make lines of their own.
    """
    if signals.isdir(path):
        path = os.path.join(path, "keyval")
    tag = "{%s}" % type_tag if type_tag else ""
    for key in dictionary:
        if not _KEY.fullmatch(key):
            raise ValueError("Invalid key: %s" % key)
    with _open_text(path, "a") as f:
        for key in sorted(dictionary):
            value = str(dictionary[key]).replace("\r", "\\r").replace("\n", "\\n")
            f.write("%s%s=%s\n" % (key, tag, value))


def file_contains_pattern(path, pattern):
    """Tell whether a line of a text file matches a regular expression anywhere (bool)."""
    return any(re.search(pattern, line) for line in read_file(path).split("\n"))


# Processes

def get_process_name(pid):
    """Return the name of process pid as the kernel has it (str).

    OSError if there is no such process.
    """
    return _processes.stat(int(pid))[0]


def pid_is_alive(pid):
    """Tell whether process pid exists and is not a zombie (bool)."""
    return _processes.state(int(pid)) not in (None, "Z", "X")


def process_is_alive(name):
    """Tell whether a process of this name is running (bool)."""
    for pid in _processes.all_pids():
        try:
            if get_process_name(pid) == name[:15] and pid_is_alive(pid):
                return True
        except OSError as e:
            signals.let_out(e)          # else it ended meanwhile
    return False


def signal_pid(pid, sig):
    """Send signal sig to process pid.  True if it ends within 5 s."""
    return _processes.end_process(pid, sig, 5.0)


def nuke_pid(pid, signal_queue=(15, 9)):
    """End process pid by each signal in turn, 5 s for each.

    Raises AutotestRunError if it is still there.
    """
    if not any(signal_pid(pid, sig) for sig in signal_queue):
        raise error.AutotestRunError("Could not kill process %d" % pid)


def nuke_subprocess(subproc):
    """End a subprocess.Popen by SIGTERM, then SIGKILL; return its exit status."""
    if subproc.poll() is None:
        nuke_pid(subproc.pid)
    return subproc.wait(5)


# Memory and processors

def read_from_meminfo(key):
    """Return the number on the first line of /proc/meminfo that has key (int, KiB).

    key is a part of a name or a regular expression.  CmdError if no line has it.
    """
    lines = read_file("/proc/meminfo").splitlines()
    hits = [line for line in lines if key in line] or \
           [line for line in lines if re.search(key, line)]
    if not hits:
        command = "grep %s /proc/meminfo" % key
        raise error.CmdError(command, CmdResult(command, exit_status=1),
                             "Command returned non-zero exit status")
    return int(re.search(r":\s*(\d+)", hits[0]).group(1))


def memtotal():
    """Return the size of the host's memory (int, KiB)."""
    return read_from_meminfo("MemTotal")


def freememtotal():
    """Return how much of the host's memory is free (int, KiB)."""
    return read_from_meminfo("MemFree")


def drop_caches():
    """Write dirty pages to disk and empty the page, dentry and inode caches."""
    run("sync", verbose=False)
    run("echo 3 > /proc/sys/vm/drop_caches", verbose=False)


def count_cpus():
    """Return the number of processors that are on line (int)."""
    return len(re.findall(r"^processor\b", read_file("/proc/cpuinfo"), re.M)) or os.cpu_count()


_VENDORS = {"GenuineIntel": "intel", "AuthenticAMD": "amd"}


def get_cpu_vendor():
    """Return "intel" or "amd", or another vendor as the processor names it (str)."""
    found = re.search(r"^(?:vendor_id|CPU implementer|vendor)\s*:\s*(\S+)",
                      read_file("/proc/cpuinfo"), re.M)
    vendor = found.group(1) if found else ""
    return _VENDORS.get(vendor, vendor)


# Kernel modules

def _loaded_modules():
    """Names of the loaded modules, each with the names of those that use it."""
    modules = {}
    if not signals.exists("/proc/modules"):
        return modules          # a kernel that can load none
    for line in read_file("/proc/modules").splitlines():
        fields = line.split()
        modules[fields[0]] = [user for user in fields[3].split(",") if user not in ("", "-")]
    return modules


def get_loaded_modules():
    """Return the names of the kernel modules that are loaded (list of str)."""
    return list(_loaded_modules())


def module_is_loaded(module_name):
    """Tell whether a kernel module is loaded; "-" and "_" are the same (bool)."""
    return module_name.replace("-", "_") in _loaded_modules()


def load_module(module_name):
    """Load a kernel module.  False if it was there already.  CmdError if it fails."""
    if module_is_loaded(module_name):
        return False
    run("/sbin/modprobe", args=("--", module_name))
    return True


def unload_module(module_name):
    """Unload a kernel module and before it all that use it.  CmdError if it fails."""
    users = _loaded_modules().get(module_name.replace("-", "_"))
    if users is None:
        return
    for user in users:
        unload_module(user)
    run("/sbin/modprobe -r", args=("--", module_name))
    logging.info("Module %s unloaded", module_name)


# For star imports: all but the modules used here, and what __getattr__ gives.
__all__ = [name for name, value in sorted(globals().items())
           if not name.startswith("_") and type(value) is not type(os)] + ["SystemLoad"]
