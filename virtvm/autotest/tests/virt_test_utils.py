"""What tests do over and over: a living VM, a login, a ping, a clock, a migration."""

import contextlib
import glob
import logging
import os
import re
import signal
import time

from virtvm import scratch, signals, virt_vm
from virtvm.autotest.tests import scan_results
from virtvm.companions import aexpect_2011 as aexpect
from virtvm.companions import error, utils, virt_utils
from virtvm.companions.quoting import command_line, operand

_DOWN_WAIT = 120                # seconds for a rebooting guest to go down
_EVENT_WAIT = 20                # for QEMU's RESET event
_INTERRUPTED_WAIT = 10          # for a command to end once it was interrupted
_LINE_MAX = 1024         # of what is looked for in a guest's line


def get_living_vm(env, vm_name):
    """The VM of that name (str) in env, which must be alive.  TestError."""
    vm = env.get_vm(vm_name)
    if not vm:
        raise error.TestError("VM '%s' not found in environment" % vm_name)
    if not vm.is_alive():
        raise error.TestError("VM '%s' seems to be dead; test requires a living VM" % vm_name)
    logging.info("Found living VM '%s'", vm_name)
    return vm


def wait_for_login(vm, nic_index=0, timeout=240, start=0, step=2, serial=None):
    """Log in until it works or timeout seconds are over; return the session.

    start: seconds to wait before the first try, which count.  step: seconds between
    tries.  serial: over the serial console.  Raises TestFail.
    """
    end = time.monotonic() + timeout
    kind = "serial" if serial else "remote"
    failures = virt_utils.LoginError if serial else (virt_utils.LoginError, virt_vm.VMError)
    last = None
    logging.info("Trying to log into guest '%s' using %s connection, timeout %ds", vm.name, kind, timeout)
    time.sleep(start)
    while time.monotonic() < end:
        try:
            return vm.serial_login() if serial else vm.login(nic_index=nic_index)
        except failures as e:
            last = e
            logging.debug(e)
        time.sleep(min(step, max(0.0, end - time.monotonic())))
    raise error.TestFail("Could not log into guest %s using %s connection" % (vm.name, kind)) from last


def reboot(vm, session, method="shell", sleep_before_reset=10, nic_index=0, timeout=240):
    """Reboot the VM and return a new session; the old one is closed.

    method: "shell" (params' reboot_command) or "system_reset" (by the monitor, after
    sleep_before_reset seconds).  timeout: seconds to log in.  Raises TestFail.
    """
    if method == "shell":
        session.sendline(vm.get_params().get("reboot_command"))
        logging.info("Reboot command sent; waiting for guest to go down")
    elif method == "system_reset":
        time.sleep(sleep_before_reset)
        monitors = [m for m in vm.monitors if m.protocol == "qmp"]
        for monitor in monitors:
            monitor.clear_events()
        vm.monitor.cmd("system_reset")
        for monitor in monitors:
            if not monitor.wait_event("RESET", _EVENT_WAIT):
                raise error.TestFail("RESET QMP event not received after system_reset (monitor '%s')" % monitor.name)
    else:
        logging.error("Unknown reboot method: %s", method)
    if not virt_utils.wait_for(lambda: not session.is_responsive(timeout=30), _DOWN_WAIT, 0, 1):
        raise error.TestFail("Guest refuses to go down")
    session.close()
    logging.info("Guest is down; waiting for it to come up again")
    return vm.wait_for_login(nic_index, timeout=timeout)


def migrate(vm, env=None, mig_timeout=3600, mig_protocol="tcp", mig_cancel=False, offline=False,
            stable_check=False, clean=False, save_path=None, dest_host="localhost", mig_port=None):
    """Migrate the VM; return the VM at the destination.

    mig_timeout: seconds.  mig_protocol: "tcp", "unix" or "exec".  mig_cancel: cancel after two
    seconds.  env: told of it.  The other arguments are those of the VM's migrate().

    Locally the object `vm` itself is the destination afterwards.  Raises TestFail.
    """
    try:
        vm.migrate(mig_timeout, mig_protocol, 2 if mig_cancel else None, offline, stable_check, clean,
                   save_path or "/tmp", dest_host, mig_port)
    except virt_vm.VMMigrateCancelError as e:
        raise error.TestFail("Failed to cancel migration") from e
    except virt_vm.VMMigrateTimeoutError as e:
        raise error.TestFail("Timeout expired while waiting for migration to finish") from e
    except virt_vm.VMMigrateStateMismatchError as e:
        raise error.TestFail("Mismatch of VM state before and after migration") from e
    except virt_vm.VMMigrateFailedError as e:
        raise error.TestFail("Migration failed") from e
    if env is not None:
        env.register_vm(vm.name, vm)
    return vm


# ---- Windows services ----

def stop_windows_service(session, service, timeout=120):
    """Stop a service of a Windows guest.  TestError if it goes on for timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        output = session.cmd_output("sc stop %s" % service, timeout=60)
        # 1060: it is not installed; 1062: it is not started.
        if re.search(r"\bFAILED (1060|1062)\b", output, re.I):
            return
        if time.monotonic() >= end:
            raise error.TestError("Could not stop service '%s'" % service)
        time.sleep(1)


def start_windows_service(session, service, timeout=120):
    """Start a service of a Windows guest.  TestError."""
    end = time.monotonic() + timeout
    while True:
        output = session.cmd_output("sc start %s" % service, timeout=60)
        if re.search(r"\bFAILED 1060\b", output, re.I):
            raise error.TestError("Could not start service '%s' (service not installed)" % service)
        if re.search(r"\bFAILED 1056\b", output, re.I):      # it runs
            return
        if time.monotonic() >= end:
            raise error.TestError("Could not start service '%s'" % service)
        time.sleep(1)


# ---- clocks and memory ----

def get_time(session, time_command, time_filter_re, time_format):
    """The host's and the guest's time (two floats, seconds since 1970).

    time_command: prints the guest's time; time_filter_re: finds it in the output;
    time_format: what strptime reads it by.  "ntpdate ..." and "w32tm ..." tell an offset to
    the host's time instead.  TestError.
    """
    if re.match("ntpdate", time_command):
        return _ntpdate_time(session, time_command, time_filter_re, time_format)
    if re.match("w32tm", time_command):
        return _w32tm_time(session, time_command, time_filter_re, time_format)
    host_time = time.time()
    output = session.cmd_output(time_command)
    found = re.findall(time_filter_re, output)
    if not found:
        logging.debug("The time string from guest is: %s", output)
        raise error.TestError("The time string from guest is unexpected.")
    text = found[0] if isinstance(found[0], str) else found[0][0]
    return host_time, time.mktime(time.strptime(text, time_format))


def _number(pattern, output):
    found = re.search(pattern, output)
    if found is None:
        raise error.TestError("The time string from guest is unexpected.")
    return float(found.group(1))


def _ntpdate_time(session, time_command, time_filter_re, time_format):
    output = session.cmd(time_command)
    offset = _number(r"offset (\S{1,40}) sec", output)
    main, fraction = re.findall(time_filter_re, output)[0]
    host_time = time.mktime(time.strptime(main, time_format)) + float("0." + fraction)
    return host_time, host_time - offset


def _w32tm_time(session, time_command, time_filter_re, time_format):
    output = session.cmd(time_command)
    text = re.findall(time_filter_re, output)[0][:-3]      # less " AM" or the like
    offset = _number(r"o:(\S{1,40})s", output)
    guest_time = time.mktime(time.strptime(text, time_format))
    return guest_time + offset, guest_time


def get_memory_info(lvms):
    """A line (str) on the host's free memory and what each living VM (list) shares, in MB."""
    if not isinstance(lvms, list):
        raise error.TestError("Invalid list passed to get_stat: %s " % (lvms,))
    try:
        line = "Host: memfree = %dM; swapfree = %dM; " % (
            utils.freememtotal() // 1024, utils.read_from_meminfo("SwapFree") // 1024)
    except Exception as e:
        signals.let_out(e)
        raise error.TestFail("Could not fetch host free memory info, reason: %s" % e) from e
    shared = []
    for vm in lvms:
        size = vm.get_shared_meminfo()
        if size is None:
            raise error.TestError("Could not get shared meminfo from VM %s" % vm)
        shared.append("%dM" % size)
    return line + "Guests memsh = {%s}" % "; ".join(shared)


# ---- the network ----

def get_loss_ratio(output):
    """Percents (int) of packets that a ping's output says were lost; -1 if it does not."""
    found = re.search(r"(?<!\d)(\d+)(?:\.\d+)?% packet loss", output)
    if found is None:
        logging.debug("No packet loss in: %s", output)
        return -1
    return int(found.group(1))


def raw_ping(command, timeout, session, output_func):
    """Run a ping command line here, or in a session; return (status, output).

    timeout: seconds, after which ping is interrupted and prints its statistics.  The status is
    -1 if it can't be told; the output is whatever was read.
    """
    if session is None:
        return _ping_here(command, timeout, output_func)
    try:
        return session.cmd_status_output(command, timeout=timeout, print_func=output_func)
    except aexpect.ShellStatusError as e:
        return -1, e.output
    except aexpect.ShellTimeoutError as e:
        output = e.output
    for _attempt in range(2):
        session.sendcontrol("c")
        try:
            output += session.read_up_to_prompt(timeout=_INTERRUPTED_WAIT, print_func=output_func)
            return _last_status(session), output
        except aexpect.ExpectTimeoutError as e:
            output += e.output
    return -1, output


def _last_status(session):
    """What the shell says of the last command (int), -1 if nothing."""
    try:
        found = re.search(r"\d+", session.cmd_output(session.status_test_command, timeout=_INTERRUPTED_WAIT))
    except aexpect.ShellError:
        return -1
    return int(found.group()) if found else -1


def _ping_here(command, timeout, output_func):
    process = aexpect.run_bg(command, output_func=output_func, timeout=timeout)
    try:
        for number in (signal.SIGINT, signal.SIGKILL):
            if process.is_alive():
                virt_utils.kill_process_tree(process.get_pid(), number)
                process._engine.wait(_INTERRUPTED_WAIT)
        return process.get_status(), process.get_output()
    finally:
        process.close()


def ping(dest=None, count=None, interval=None, interface=None, packetsize=None, ttl=None, hint=None,
         adaptive=False, broadcast=False, flood=False, timeout=0, output_func=logging.debug, session=None):
    """Ping; return (status, output).  The arguments are ping's options.

    timeout: seconds, 0: as long as count and interval ask for.  ValueError for a dest that
    ping would take for an option.
    """
    options = [("-c", count), ("-i", interval), ("-I", interface), ("-s", packetsize), ("-t", ttl), ("-M", hint)]
    words = [operand(dest or "localhost", "address")]
    for option, given in options:
        words += [option, given] if given else []
    words += ["-A"] * bool(adaptive) + ["-b"] * bool(broadcast)
    if flood:
        words += ["-f", "-q"]
        output_func = None
    if not timeout and count:
        timeout = float(count) * float(interval or 1) + 10
    return raw_ping(command_line("ping", *words), timeout, session, output_func)


def get_linux_ifname(session, mac_address):
    """Name (str) of the interface with that MAC address in a Linux guest, or None.

    By `ip`, or by `ifconfig` of any age where there is none.
    """
    name, mac = None, mac_address.lower()
    for line in session.cmd_output("ip -o link 2>/dev/null || ifconfig -a").splitlines():
        line = line[:_LINE_MAX]
        if line and not line[0].isspace():
            begins = re.match(r"([^\s:]+): ", line)        # what an ifconfig of today says below is of this one
            name = begins.group(1) if begins else None
        if mac in line.lower():
            found = (re.match(r"\d+:\s+([^:@\s]+)[:@]", line)
                     or re.search(r"(\w+)\s+Link", line, re.I))
            if found or name:
                return found.group(1) if found else name
    return None


# ---- autotest in the guest ----

_ARCHIVE = "autotest.tar.bz2"
_NOT_SENT = ["tests/kvm", "results", "tmp", "control*", "*.pyc", "*.svn", "*.git"]


def run_autotest(vm, session, control_path, timeout, outputdir, params):
    """Run an autotest control file in the guest; its results go to outputdir.

    The environment variable AUTODIR names the host's autotest client.  timeout: seconds.
    Params: migrate_background, mig_timeout, migration_protocol.  The session is closed.
    Raises TestError, TestFail.
    """
    if not signals.isfile(control_path):
        raise error.TestError("Invalid path to autotest control file: %s" % control_path)
    autotest_path = os.path.abspath(os.environ["AUTODIR"])
    failure = None
    try:
        _send_autotest(vm, session, autotest_path)
        vm.copy_files_to(control_path, os.path.join(autotest_path, "control"))
        _enter(session, autotest_path)
        session.cmd("rm -f control.state; rm -rf results/*")
        try:
            _run_control(vm, session, timeout, params)
        except aexpect.ShellTimeoutError:
            if not vm.is_alive():
                raise error.TestError("Autotest job on guest failed (VM terminated during job)") from None
            failure = "Timeout elapsed while waiting for job to complete"
            session = _interrupt(vm, session, autotest_path)
        except aexpect.ShellProcessTerminatedError:
            raise error.TestError("Autotest job on guest failed (Remote session terminated during job)") from None
        status = session.cmd_output("cat results/*/status")
    except (aexpect.ExpectError, aexpect.ShellError, virt_utils.LoginError, virt_vm.VMError) as e:
        if failure is None:
            raise
        logging.warning("The results of the interrupted job can't be read: %s", e)
        raise error.TestError(failure) from e
    finally:
        session.close()
    _fetch_results(vm, autotest_path, outputdir, failure)
    _judge(scan_results.parse_results(status), failure)


def _enter(session, autotest_path):
    session.cmd(command_line("cd", autotest_path))


def _interrupt(vm, session, autotest_path):
    """A session (perhaps another) at a prompt in autotest's folder, the job ended."""
    session.sendcontrol("c")
    try:
        session.read_up_to_prompt(timeout=_INTERRUPTED_WAIT)
    except aexpect.ExpectError:
        session.close()                 # the job is deaf; it is hung up on, and may still run
        session = vm.wait_for_login()
        _enter(session, autotest_path)
    return session


def _send_autotest(vm, session, autotest_path):
    with scratch.Folder("virtvm-autotest-") as folder:
        archive = os.path.join(folder, _ARCHIVE)
        below = autotest_path.lstrip("/")
        # Only what lies in this folder, whatever the folders above it are called.
        start = re.sub(r"([\\*?\[])", r"\\\1", below)
        excludes = ["--exclude=%s/%s" % (start, name) for name in _NOT_SENT]
        utils.run(command_line("tar", "-C", "/", "-cjf", archive, "--anchored", *excludes, "--", below))
        there = session.cmd_output("md5sum /tmp/%s" % _ARCHIVE)
        if utils.hash_file(archive) not in there:
            vm.copy_files_to(archive, "/tmp/" + _ARCHIVE)
            session.cmd("tar xjf /tmp/%s -C /" % _ARCHIVE, timeout=120)


def _run_control(vm, session, timeout, params):
    def run():
        session.cmd_output("bin/autotest control", timeout=timeout, print_func=logging.info)
    if params.get("migrate_background") != "yes":
        run()
        return
    background = virt_utils.Thread(run)
    background.start()
    try:
        while background.is_alive():
            vm.migrate(timeout=float(params.get("mig_timeout", 3600)),
                       protocol=params.get("migration_protocol", "tcp"))
    except BaseException:
        session.close()                 # the thread would wait for the job's whole time
        with contextlib.suppress(Exception):
            background.join()
        raise
    background.join()


def _fetch_results(vm, autotest_path, outputdir, failure):
    folder = os.path.join(outputdir, "guest_autotest_results")
    signals.makedirs(folder, exist_ok=True)
    try:
        vm.copy_files_from(os.path.join(glob.escape(autotest_path), "results", "default", "*"), folder)
    except (virt_utils.SCPError, virt_vm.VMError) as e:
        if failure is None:
            raise
        logging.warning("The results of the interrupted job can't be fetched: %s", e)


def _judge(results, failure):
    if failure is not None:
        raise error.TestError(failure)
    if not results:
        raise error.TestFail("Autotest control file run did not produce any recognizable results")
    bad = [name for kind in ("FAIL", "ERROR", "ABORT") for name, status, _, _ in results if status == kind]
    if bad:
        raise error.TestFail("%s %s failed during control file execution"
                             % ("Test" if len(bad) == 1 else "Tests", " ".join(bad)))
