"""QEMU's monitor, spoken in QMP through the qemu.qmp package.

qemu.qmp is asynchronous: one event loop in one thread serves all monitors of a process.
The methods here are kvm_monitor's, so that tests of that time find what they know.
"""

import asyncio
import atexit
import collections
import logging
import os
import re
import threading
import time
import weakref
from concurrent import futures

from qemu.qmp import QMPClient, QMPError, Runstate

_MOST_EVENTS = 10000    # that are kept: a guest can cause as many as it likes


class MonitorError(Exception):
    """Base of what goes wrong at a monitor."""


class MonitorConnectError(MonitorError):
    """The monitor's socket takes no connection, or nobody greets on it."""


class MonitorSocketError(MonitorError):
    """The connection was lost.  msg: what was tried; e: the cause."""

    def __init__(self, msg, e):
        Exception.__init__(self, msg, e)
        self.msg, self.e = msg, e

    def __str__(self):
        return "%s    (%s)" % (self.msg, self.e)


class MonitorLockError(MonitorError):
    """The monitor was busy for too long."""


class MonitorProtocolError(MonitorError):
    """No answer came in time, or none that is QMP."""


class MonitorNotSupportedError(MonitorError):
    """This monitor has no such command."""


class QMPCmdError(MonitorError):
    """QEMU refused a command.  cmd, qmp_args, data: command, arguments, error object."""

    def __init__(self, cmd, qmp_args, data):
        Exception.__init__(self, cmd, qmp_args, data)
        self.cmd, self.qmp_args, self.data = cmd, qmp_args, data

    def __str__(self):
        return ("QMP command %r failed    (arguments: %r,    error message: %r)"
                % (self.cmd, self.qmp_args, self.data))


class _Loop:
    """The thread that runs qemu.qmp's event loop, as long as a monitor is open."""

    def __init__(self):
        self.pid = os.getpid()
        self.users = 0
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="virtvm-monitor", daemon=True)
        self._thread.start()

    def run(self, coroutine, timeout):
        """Its result; MonitorProtocolError if it takes longer than timeout seconds."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout)
        except futures.TimeoutError:
            if not future.cancel():     # it ended just now
                return future.result()
            raise MonitorProtocolError("no answer within %g seconds" % timeout) from None
        except BaseException:
            future.cancel()
            raise

    @staticmethod
    async def _settle():
        """Ends what is still under way: a connection that was given up, say."""
        for _ in range(3):              # ending may begin something new
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self):
        try:
            self.run(self._settle(), 5)
        except MonitorError as e:
            logging.debug("monitors' tasks do not end: %s", e)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


_loop = None
_loop_lock = threading.Lock()


def _take_loop():
    """The loop, for one more monitor."""
    global _loop
    with _loop_lock:
        if _loop is None or _loop.pid != os.getpid():
            logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)     # it logs what it raises
            _loop = _Loop()
        _loop.users += 1
        return _loop


def _leave_loop(loop):
    global _loop
    with _loop_lock:
        loop.users -= 1
        if loop.users == 0 and loop.pid == os.getpid():
            loop.stop()
            if _loop is loop:
                _loop = None


@atexit.register
def _close_all():
    """At exit: no thread is left behind with a loop that asyncio is taking down."""
    for monitor in list(_open.values()):
        monitor.close()


_open = weakref.WeakValueDictionary()       # socket -> monitor that is connected to it


def _restore(cls, name, filename):
    """Unpickle a monitor.  QEMU serves one client a socket: this process's, if it has one."""
    monitor = _open.get((os.getpid(), filename))
    return monitor if monitor is not None else cls(name, filename, True)


def _restore_human(cls, name, filename):
    """The same for one in human words, which needs its own connection no more than the other."""
    return cls(name, filename, qmp=_restore(QMPMonitor, name, filename))


class Monitor:
    """What both kinds of monitor are."""


class QMPMonitor(Monitor):
    """One connection to a QMP monitor.

    name: of the monitor (str).  filename: its unix socket (str).  suppress_exceptions:
    a connection that fails is logged, not raised; every later call raises then.  sock: a
    connected socket to use instead of filename, the monitor's from here on.  timeout:
    seconds for the greeting.

    Unpickled it is this process's connection to that socket, or a new one.
    """

    protocol = "qmp"

    def __init__(self, name, filename, suppress_exceptions=False, sock=None, timeout=20):
        self.name, self.filename = name, filename
        self.qmp = self                 # as every monitor has one that speaks QMP
        self._events = collections.deque(maxlen=_MOST_EVENTS)
        self._news = threading.Condition()      # of events and of the connection's loss
        self._lost = False
        self._client = None
        try:
            self._connect(sock, timeout)
        except MonitorError as e:
            if not suppress_exceptions:
                raise
            logging.warning("monitor %s: %s", name, e)

    def _connect(self, sock, timeout):
        self._loop = _take_loop()
        try:
            self._client = self._loop.run(self._greet(sock or self.filename), timeout)
        except MonitorProtocolError:
            raise MonitorConnectError("No QMP greeting message received") from None
        except (QMPError, OSError) as e:
            raise MonitorConnectError("Could not connect to monitor socket    (%s)" % e) from None
        finally:
            if self._client is None:
                if sock is not None:
                    sock.close()
                _leave_loop(self._loop)
        _open[os.getpid(), self.filename] = self

    async def _greet(self, address):
        client = QMPClient(self.name)
        # A filter is called as events are read: before the answers that come after them.
        client.events.event_filter = self._take
        await client.connect(address)
        self._watcher = asyncio.get_running_loop().create_task(self._watch(client))
        return client

    def _take(self, event):
        """Puts an event aside; the listener need not keep it."""
        with self._news:
            self._events.append(dict(event))
            self._news.notify_all()
        return False

    async def _watch(self, client):
        while client.runstate == Runstate.RUNNING:
            await client.runstate_changed()
        self._lose()

    def _lose(self):
        with self._news:
            self._lost = True
            self._news.notify_all()

    def __reduce__(self):
        return _restore, (type(self), self.name, self.filename)

    def __repr__(self):
        return "<%s %s at %s>" % (type(self).__name__, self.name, self.filename)

    def is_connected(self):
        """Whether QEMU is still at the other end (bool), as far as is known."""
        return self._client is not None and not self._lost

    def close(self):
        """End the connection.  Does nothing the second time."""
        client, self._client = self._client, None
        if client is not None:
            _open.pop((os.getpid(), self.filename), None)
            try:
                self._loop.run(self._end(client), 5)
            except (MonitorError, QMPError, OSError, EOFError, RuntimeError):
                pass                    # it is gone either way
            _leave_loop(self._loop)
            self._lose()

    async def _end(self, client):
        self._watcher.cancel()
        await client.disconnect()

    # Commands

    def _exchange(self, message, timeout, what, fd=None):
        client = self._client
        if client is None or self._lost:
            raise MonitorSocketError("Could not send %s" % what, "the connection has ended")
        try:
            return self._loop.run(self._send(client, message, fd), timeout)
        except MonitorProtocolError:
            raise MonitorProtocolError("Received no response to %s" % what) from None
        except (QMPError, OSError, EOFError) as e:
            raise MonitorSocketError("Could not receive data from monitor", e) from None

    @staticmethod
    async def _send(client, message, fd):
        if fd is not None:
            client.send_fd_scm(fd)
        return await client._raw(message, assign_id="id" not in message)

    def send_fd(self, name, fd, timeout=20):
        """Give QEMU an open file (its descriptor) under a name, which "fd:NAME" then means."""
        message = {"execute": "getfd", "arguments": {"fdname": name}}
        response = self._exchange(message, timeout, "descriptor '%s'" % name, fd)
        if "error" in response:
            raise QMPCmdError("getfd", message["arguments"], response["error"])

    def cmd_raw(self, data, timeout=20):
        """Send a command as JSON text (str); return the response (dict)."""
        import json
        return dict(self._exchange(json.loads(data), timeout, "data: %r" % (data,)))

    def cmd_obj(self, obj, timeout=20):
        """Send a command object (dict); return the response (dict)."""
        return dict(self._exchange(obj, timeout, "data: %r" % (obj,)))

    def cmd_qmp(self, cmd, args=None, id=None, timeout=20):
        """Run a command; return the response (dict) with "return" or "error"."""
        message = {"execute": cmd}
        if args is not None:
            message["arguments"] = args
        if id is not None:
            message["id"] = id
        return dict(self._exchange(message, timeout, "QMP command '%s'" % cmd))

    def cmd(self, cmd, args=None, timeout=20, debug=True):
        """Run a command; return what it returned.

        timeout: seconds.  debug: log it.  Raises QMPCmdError if QEMU refuses,
        MonitorSocketError, MonitorProtocolError.
        """
        if debug:
            logging.debug("(monitor %s) Sending command '%s'", self.name, cmd)
        response = self.cmd_qmp(cmd, args, timeout=timeout)
        if "error" in response:
            raise QMPCmdError(cmd, args, response["error"])
        return response.get("return")

    def human_monitor_cmd(self, cmd, timeout=20, debug=True):
        """Run a command of the human monitor (str); return its output (str)."""
        return self.cmd("human-monitor-command", {"command-line": cmd}, timeout, debug)

    def info(self, what):
        """cmd("query-WHAT")."""
        return self.cmd("query-" + what, debug=False)

    query = info

    def get_greeting(self):
        """The greeting of QEMU: {"QMP": {...}}."""
        return self._client.greeting._asdict() if self._client and self._client.greeting else None

    def verify_responsive(self):
        """Raise a MonitorError unless the monitor answers."""
        self.cmd("query-status", debug=False)

    def is_responsive(self):
        """Whether the monitor answers (bool)."""
        try:
            self.verify_responsive()
            return True
        except MonitorError:
            return False

    def verify_status(self, status):
        """Whether the VM's status ("running", "paused", ...) is that one (bool)."""
        return self.cmd("query-status", debug=False)["status"] == status

    def quit(self, timeout=20):
        """Tell QEMU to end; it may be gone before it answers."""
        try:
            self.cmd("quit", timeout=timeout)
        except MonitorSocketError:
            pass

    def screendump(self, filename, debug=True):
        """Write a picture of the screen to a file: PNG if it is named so, else PPM."""
        args = {"filename": filename}
        if filename.endswith(".png"):
            args["format"] = "png"
        return self.cmd("screendump", args, debug=debug)

    def migrate(self, uri, full_copy=False, incremental_copy=False, wait=False):
        """Begin to migrate to uri (str)."""
        return self.cmd("migrate", {"uri": uri, "blk": full_copy, "inc": incremental_copy})

    def migrate_set_speed(self, value):
        """Limit migration to so many bytes a second: a number, or text such as "32m"."""
        units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
        text = str(value).strip().lower().rstrip("b")
        factor = units.get(text[-1:], 1)
        number = float(text.rstrip("kmgt") or 0)
        return self.cmd("migrate-set-parameters", {"max-bandwidth": int(number * factor)})

    # Events

    def get_events(self):
        """The events (list of dict) that came since the last clear_events(), of many the last."""
        with self._news:
            return list(self._events)

    def get_event(self, name):
        """The first event of that name (dict), or None."""
        with self._news:
            return self._find(name)

    def _find(self, name, where=lambda event: True):
        for event in self._events:
            if event.get("event") == name and where(event):
                return event
        return None

    def clear_events(self):
        """Forget the events so far."""
        with self._news:
            self._events.clear()

    def wait_event(self, name, timeout, where=lambda event: True):
        """Wait for an event of that name for which where(event) is true.

        Returns it (dict), at once if it came already; None after timeout seconds, or when
        the connection ends.
        """
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                event = self._find(name, where)
                left = deadline - time.monotonic()
                if event is not None or left <= 0 or not self.is_connected():
                    return event
                self._news.wait(left)


# QEMU of 2011 took these.
_LINK_WORDS = {"up": "on", "down": "off"}
_OLD_LINK = re.compile(r"(\s*set_link\s+\S+\s+)(up|down)(?=\s*$)")


class HumanMonitor(Monitor):
    """A monitor spoken to in the human monitor's words, which QMP carries.

    The arguments are QMPMonitor's.  qmp: the QMPMonitor beneath, made if None.

    Unpickled it speaks over this process's connection to that socket, or a new one.
    """

    protocol = "human"

    def __init__(self, name, filename, suppress_exceptions=False, sock=None, timeout=20, qmp=None):
        self.name, self.filename = name, filename
        self.qmp = qmp or QMPMonitor(name, filename, suppress_exceptions, sock, timeout)

    def __reduce__(self):
        return _restore_human, (type(self), self.name, self.filename)

    def __repr__(self):
        return "<%s %s at %s>" % (type(self).__name__, self.name, self.filename)

    def is_connected(self):
        """Whether QEMU is still at the other end (bool), as far as is known."""
        return self.qmp.is_connected()

    def close(self):
        """End the connection.  Does nothing the second time."""
        self.qmp.close()

    def cmd(self, command, timeout=20, debug=True):
        """Run a command (str); return its output (str) without a newline at its end.

        `set_link ID up|down` is told in today's words, on and off.
        Raises MonitorSocketError, MonitorProtocolError.
        """
        command = _OLD_LINK.sub(lambda found: found.group(1) + _LINK_WORDS[found.group(2)], command)
        return self.qmp.human_monitor_cmd(command, timeout, debug).replace("\r\n", "\n").rstrip("\n")

    def info(self, what):
        """cmd("info WHAT")."""
        return self.cmd("info %s" % what, debug=False)

    query = info

    def verify_responsive(self):
        """Raise a MonitorError unless the monitor answers."""
        self.info("status")

    def is_responsive(self):
        """Whether the monitor answers (bool)."""
        return self.qmp.is_responsive()

    def verify_status(self, status):
        """Whether the VM is "paused" or "running" (bool); None for another word."""
        return status in self.info("status") if status in ("paused", "running") else None

    def quit(self, timeout=20):
        """Tell QEMU to end."""
        self.qmp.quit(timeout)

    def screendump(self, filename, debug=True):
        """Write a picture of the screen to a file: PNG if it is named so, else PPM."""
        return self.qmp.screendump(filename, debug)

    def migrate(self, uri, full_copy=False, incremental_copy=False, wait=False):
        """Begin to migrate to uri (str); with wait, return when it is over."""
        words = ["migrate"] + ["-d"] * (not wait) + ["-b"] * bool(full_copy) + ["-i"] * bool(incremental_copy)
        return self.cmd(" ".join(words + [uri]), timeout=3600 if wait else 20)

    def migrate_set_speed(self, value):
        """Limit migration to so many bytes a second: a number, or text such as "32m"."""
        self.qmp.migrate_set_speed(value)
        return ""

    def sendkey(self, keystr, hold_time=1):
        """Press keys ("ctrl-alt-delete") for hold_time milliseconds."""
        return self.cmd("sendkey %s %s" % (keystr, hold_time))

    def mouse_move(self, dx, dy):
        """Move the mouse."""
        return self.cmd("mouse_move %d %d" % (dx, dy))

    def mouse_button(self, state):
        """Set the mouse's buttons: 1 left, 2 middle, 4 right, added up."""
        return self.cmd("mouse_button %d" % state)


TYPES = {"qmp": QMPMonitor, "human": HumanMonitor}     # by param monitor_type
