"""Migrating QEMU's virtual machines: begun, waited for by events, cancelled, compared."""

import os
import time

from virtvm import scratch, signals, virt_vm
from virtvm.companions import utils
from virtvm.hypervisors.monitor import MonitorError, MonitorSocketError, QMPCmdError

_ENDS = ("completed", "failed", "cancelled")
_CANCEL_WAIT = _SETTLE_WAIT = 60        # seconds


def begin(monitor, uri):
    """Start migrating to uri (str); its progress comes as events.  VMMigrateFailedError."""
    _report_progress(monitor)
    if monitor.info("status")["status"] == "postmigrate":
        # Its disks were given up; running on takes them back.
        monitor.cmd("cont")
        monitor.cmd("stop")
    monitor.clear_events()
    try:
        monitor.cmd("migrate", {"uri": uri})
    except QMPCmdError as e:
        raise virt_vm.VMMigrateFailedError("Migration can't begin: %s" % e.data["desc"]) from None


def listen(monitor, uri):
    """Have a VM that was started for it wait for its state from uri (str).

    Returns the TCP port (int) that was chosen if the uri leaves it to QEMU, else None.
    """
    _report_progress(monitor)
    try:
        monitor.cmd("migrate-incoming", {"uri": uri})
        addresses = monitor.info("migrate").get("socket-address", [])
    except MonitorSocketError:
        return None         # it ended over the first bytes of a state: wait_incoming() tells
    for address in addresses:
        if address["type"] == "inet":
            return int(address["port"])
    return None


def _report_progress(monitor):
    monitor.cmd("migrate-set-capabilities",
                {"capabilities": [{"capability": "events", "state": True}]}, debug=False)


def _wait_end(monitor, timeout):
    """The final status of a migration (str), or None if none came in time."""
    event = monitor.wait_event("MIGRATION", timeout,
                               lambda event: event["data"].get("status") in _ENDS)
    return event["data"]["status"] if event else None


def wait(monitor, timeout):
    """Wait until the migration is complete; seconds.  What does not complete is cancelled.

    Raises VMMigrateTimeoutError, VMMigrateFailedError, VMMigrateCancelError.
    """
    status = None
    try:
        status = _wait_end(monitor, timeout)
    finally:
        if status is None and monitor.is_connected():
            monitor.cmd("migrate_cancel")
            _wait_end(monitor, _CANCEL_WAIT)
    if status == "completed":
        return _settle(monitor)
    if not monitor.is_connected():
        raise virt_vm.VMMigrateFailedError("QEMU ended while it migrated")
    if status is None:
        raise virt_vm.VMMigrateTimeoutError("Timeout expired while waiting for migration to finish")
    if status == "cancelled":
        raise virt_vm.VMMigrateCancelError("Migration was cancelled")
    raise _failure(monitor.info("migrate").get("error-desc", ""))


def _settle(monitor):
    """Wait until the VM may run on: QEMU says a moment before that a migration is complete.

    No event tells of it, and `cont` is refused until then.
    """
    end = time.monotonic() + _SETTLE_WAIT
    try:
        while monitor.info("status")["status"] == "finish-migrate" and time.monotonic() < end:
            time.sleep(0.01)
    except MonitorError:
        pass                # whoever needs it is told


def _failure(reason):
    return virt_vm.VMMigrateFailedError("Migration failed" + (": " + reason if reason else ""))


def cancel(monitor, delay):
    """Cancel the migration after `delay` seconds; VMMigrateCancelError if it can't be."""
    status = _wait_end(monitor, delay)
    if status is None:
        monitor.cmd("migrate_cancel")
        status = _wait_end(monitor, _CANCEL_WAIT)
    if status != "cancelled":
        raise virt_vm.VMMigrateCancelError("Failed to cancel migration (it is %s)" % status)


def wait_incoming(monitor, timeout):
    """Wait until the destination has all of the state; seconds.

    Raises VMMigrateTimeoutError, VMMigrateFailedError.
    """
    status = _wait_end(monitor, timeout)
    if status is None and monitor.is_connected():
        raise virt_vm.VMMigrateTimeoutError("The destination did not get all of the state")
    if status != "completed":
        raise virt_vm.VMMigrateFailedError("The destination can't take the state")


def save(monitor, fd):
    """Write the state of a VM, which is paused for it, to an open file (its descriptor)."""
    monitor.cmd("stop")
    limit = monitor.info("migrate-parameters")["max-bandwidth"]
    monitor.cmd("migrate-set-parameters", {"max-bandwidth": 1 << 40}, debug=False)
    try:
        # No program in between: when QEMU has written all, all is written.
        monitor.send_fd("state", fd)
        begin(monitor, "fd:state")
        wait(monitor, 3600)
    except virt_vm.VMMigrateFailedError as e:
        reason = _why_not_written(fd)
        raise (_failure(reason) if reason not in str(e) else e) from None
    finally:
        if monitor.is_connected():
            monitor.cmd("migrate-set-parameters", {"max-bandwidth": limit}, debug=False)


def _why_not_written(fd):
    """Why no more can be written to a file (str), "" if it can: QEMU does not always say."""
    try:
        for _ in range(2):              # the first one may fill the last room
            os.write(fd, bytes(1 << 16))
    except OSError as e:
        signals.let_out(e)
        return os.strerror(e.errno)
    return ""


def load(monitor, path):
    """Have a VM that was started for it read the state in a file (str)."""
    with open(path, "rb") as f:
        monitor.send_fd("state", f.fileno())
    listen(monitor, "fd:state")


class StateCheck:
    """Compares a paused VM's memory and processor registers before and after migrating.

    (Migration streams of equal machines differ: they are cut by the clock.)  folder: where
    the two dumps go (str).  clean: remove them at the end.
    """

    def __init__(self, folder, clean):
        self._folder = scratch.name("virtvm-migration-", folder=folder)
        self._clean = clean
        self._before = None

    def take(self, monitor):
        """Note the state of the source."""
        os.mkdir(self._folder, 0o700)
        self._before = self._dump(monitor, "src")

    def compare(self, monitor):
        """Raise VMMigrateStateMismatchError unless the destination's state is the same."""
        after = self._dump(monitor, "dst")
        if after != self._before:
            raise virt_vm.VMMigrateStateMismatchError(self._before, after)

    def close(self):
        """Remove the dumps, if asked to."""
        if self._clean:
            scratch.remove_folder(self._folder, forgiven=OSError)

    def _dump(self, monitor, name):
        path = os.path.join(self._folder, name)
        monitor.cmd("dump-guest-memory", {"paging": False, "protocol": "file:" + path}, timeout=600)
        return utils.hash_file(path)
