"""QEMU's monitor, spoken in QMP through the qemu.qmp package.

qemu.qmp is asynchronous: one event loop in one thread serves all monitors of a process.
The methods here are kvm_monitor's, so that tests of that time find what they know.
"""

import asyncio
import atexit
import collections
import logging
import os
import queue
import re
import sys
import threading
import time

from virtvm import signals, threads
from virtvm.weak import WeakBag, WeakValues

_MOST_EVENTS = 10000    # that are kept: a guest can cause as many as it likes


class MonitorError(Exception):
    """Base of what goes wrong at a monitor."""


class MonitorConnectError(MonitorError):
    """The monitor's socket takes no connection, or nobody greets on it."""


def _qmp():
    """The package qemu.qmp, which only those need who have a monitor."""
    try:
        from qemu import qmp
    except ImportError as e:
        raise MonitorConnectError("QEMU's monitors need qemu.qmp: pip install 'virtvm[run]'    (%s)" % e) from e
    return qmp


def _read_as(value, read, meant):
    """value (of JSON), in which each text was read in one encoding, read in another.

    QEMU takes bytes of UTF-8 for names of files as they are; Python's texts are what the locale's encoding
    makes of a name's bytes.
    """
    if read == meant:
        return value
    if isinstance(value, str):
        try:
            return value.encode(read, "surrogateescape").decode(meant, "surrogateescape")
        except UnicodeError:
            return value            # no name that this host could have
    if isinstance(value, dict):
        return {key: _read_as(one, read, meant) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_read_as(one, read, meant) for one in value]
    return value


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


class _Job:
    """A coroutine that the loop's thread runs, function(*args); answers gets its result and its exception."""

    def __init__(self, function, args):
        self._function, self._args = function, args
        self.answers = queue.SimpleQueue()
        self.is_wanted, self._task = True, None

    def begin(self):
        if self.is_wanted:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def end(self):
        if self._task is not None:
            self._task.cancel()

    async def _run(self):
        try:
            self.answers.put((await self._function(*self._args), None))
        except BaseException as e:      # the caller's
            self.answers.put((None, e))


class _Loop:
    """The thread that runs qemu.qmp's event loop, as long as a monitor is open."""

    def __init__(self):
        self.pid = os.getpid()
        self.users = 0
        self._calls = queue.SimpleQueue()
        # asyncio's own way in from other threads takes a signal handler's OSError for a failure to wake it.
        self._told, self._tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock, self._is_closed = threading.RLock(), False      # of the two; a signal handler may call, too
        began = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, args=(began.put,), name="virtvm-monitor", daemon=True)
        try:
            threads.start(self._thread)
        except RuntimeError:
            self._close()
            raise
        failure = began.get()
        if failure is not None:
            raise failure

    def _serve(self, began):
        try:
            self._loop = asyncio.new_event_loop()
        except OSError as e:            # no descriptors left
            self._close()
            began(e)
            return
        self._loop.add_reader(self._told, self._take)
        began(None)
        self._loop.run_forever()
        self._loop.close()
        self._close()

    def _close(self):
        with self._lock:
            self._is_closed = True
            os.close(self._told)
            os.close(self._tell)

    def _take(self):
        os.read(self._told, 4096)
        while not self._calls.empty():
            self._calls.get()()

    def _call(self, function):
        """Have function() called in the loop's thread, which is dropped if that has ended."""
        with self._lock:                # the thread may hear of it before it is told, and end
            self._calls.put(function)
            if not self._is_closed:
                with signals.suppress(BlockingIOError):         # it is told already
                    os.write(self._tell, b"+")

    def run(self, timeout, function, *args):
        """What the coroutine function(*args) comes to; MonitorProtocolError after timeout seconds."""
        job = _Job(function, args)
        try:
            self._call(job.begin)
            result, failure = job.answers.get(timeout=min(max(0, timeout), threading.TIMEOUT_MAX))
        except queue.Empty:
            self._give_up(job)
            raise MonitorProtocolError("no answer within %g seconds" % timeout) from None
        except BaseException:
            self._give_up(job)
            raise
        if failure is not None:
            raise failure
        return result

    def begin(self, function, *args):
        """Have the coroutine function(*args) run; nobody hears what it comes to."""
        self._call(_Job(function, args).begin)

    def _give_up(self, job):
        job.is_wanted = False
        self._call(job.end)

    @staticmethod
    async def _settle():
        """Ends what is still under way: a connection that was given up, say."""
        for _ in range(3):              # ending may begin something new
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self):
        """Have the thread end, which needs nobody for that from here on."""
        self._call(self._end)

    def _end(self):
        self._loop.call_later(5, self._loop.stop)       # whatever is under way yet
        task = self._loop.create_task(self._settle())
        task.add_done_callback(lambda task: self._loop.stop())

    def join(self):
        """Wait until the thread has ended."""
        self._thread.join()


# qemu.qmp logs what it raises, too.  Another user of it, in this process, may want to see what it logs.
_silent = logging.Logger("virtvm.monitor", logging.CRITICAL + 1)

_loop = None
_loop_lock = threading.Lock()


def _take_loop():
    """The loop, for one more monitor."""
    global _loop
    with _loop_lock:
        if _loop is None or _loop.pid != os.getpid():
            _loop = _Loop()
        _loop.users += 1
        return _loop


def _leave_loop(loop):
    global _loop
    with signals.held(), _loop_lock:
        loop.users -= 1
        is_last = loop.users == 0 and loop.pid == os.getpid()
        if is_last:
            if _loop is loop:
                _loop = None            # nobody else's, even if the wait for its end is cut short
            loop.stop()
    if is_last:
        loop.join()


@atexit.register
def _close_all():
    """At exit: no thread is left behind with a loop that asyncio is taking down."""
    for monitor in _open.values():
        monitor.close()


_open = WeakValues()    # socket -> monitor that is connected to it


def _restore(cls, name, filename):
    """Unpickle a monitor.  QEMU serves one client a socket: this process's, if it has one."""
    monitor = _open.get((os.getpid(), filename))
    return monitor if monitor is not None else cls(name, filename, True)


def _restore_human(cls, name, filename):
    """The same for one in human words, which needs its own connection no more than the other."""
    return cls(name, filename, qmp=_restore(QMPMonitor, name, filename))


async def _answer_to(client, message):
    """QEMU's whole response (dict) to a command (dict), with the id that this has."""
    try:
        if "execute" in message or "exec-oob" in message:
            answer = {"return": await client.execute_msg(_qmp().Message(message))}
        else:                           # QEMU's own words
            answer = {"error": {"class": "GenericError", "desc": "QMP input lacks member 'execute'"}}
    except _qmp().ExecuteError as e:
        answer = {"error": e.received["error"]}
    return {**answer, "id": message["id"]} if "id" in message else answer


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
        self._waiting = WeakBag()               # Wakes of who waits for events, or for the connection's loss
        self._listeners = []
        self._lost = False
        self._client = None
        try:
            self._connect(sock, timeout)
        except MonitorError as e:
            if not suppress_exceptions:
                raise
            logging.warning("monitor %s: %s", name, e)

    def _connect(self, sock, timeout):
        self._loop = None
        try:
            with signals.held():
                self._loop = _take_loop()
            self._loop.run(timeout, self._greet, sock or self.filename)
            _open[os.getpid(), self.filename] = self
        except BaseException as e:
            self._give_up(sock)
            if isinstance(e, MonitorProtocolError):
                raise MonitorConnectError("No QMP greeting message received") from None
            raise

    def _give_up(self, sock):
        if self._loop is not None:
            self._loop.begin(self._end_what_came)
        if sock is not None:
            sock.close()
        if self._loop is not None:
            _leave_loop(self._loop)

    async def _greet(self, address):
        client = _qmp().QMPClient()
        client.logger = _silent
        # A filter is called as events are read: before the answers that come after them.
        client.events.event_filter = self._take
        try:
            await client.connect(address)
        except (_qmp().QMPError, OSError) as e:
            raise MonitorConnectError("Could not connect to monitor socket    (%s)" % e) from None
        self._watcher = asyncio.get_running_loop().create_task(self._watch(client))
        self._client = client           # here: an exception may come before anybody hears of it

    def _take(self, event):
        """Puts an event aside; the listener need not keep it."""
        self._events.append(dict(event))
        self._wake()
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:           # the monitor goes on
                logging.exception("monitor %s: a listener fails", self.name)
        return False

    async def _watch(self, client):
        while client.runstate == _qmp().Runstate.RUNNING:
            await client.runstate_changed()
        self._lose()

    def _lose(self):
        self._lost = True
        self._wake()

    def _wake(self):
        for news in self._waiting:
            news.set()

    def __reduce__(self):
        return _restore, (type(self), self.name, self.filename)

    def __repr__(self):
        return "<%s %s at %s>" % (type(self).__name__, self.name, self.filename)

    def is_connected(self):
        """Whether QEMU is still at the other end (bool), as far as is known."""
        return self._client is not None and not self._lost

    def is_inherited(self):
        """Whether the connection belongs to the process that this one was forked from (bool).

        Nothing answers here then: the thread that reads it is the other process's.
        """
        return self._client is not None and self._loop.pid != os.getpid()

    def close(self):
        """End the connection.  Does nothing the second time."""
        inherited = self.is_inherited()
        with signals.held() as handlers:
            client, self._client = self._client, None
            if client is not None and not inherited:
                self._close(client, handlers)

    def _close(self, client, handlers):
        _open.pop((os.getpid(), self.filename))
        try:
            handlers.deliver()
            self._loop.run(5, self._end, client)
        except MonitorError as e:       # what ended it before, whatever that was: it is gone either way
            logging.debug("monitor %s: %s", self.name, e)
        except BaseException:
            self._loop.begin(self._end, client)
            raise
        finally:
            _leave_loop(self._loop)
            self._lose()

    async def _end_what_came(self):
        client, self._client = self._client, None
        if client is not None:
            await self._end(client)

    async def _end(self, client):
        self._watcher.cancel()
        try:
            await client.disconnect()
        except Exception as e:          # it may be what ended it before
            raise MonitorSocketError("Could not end the connection", e) from None

    # Commands

    def _exchange(self, message, timeout, what, fd=None):
        client = self._client
        if client is None or self._lost:
            raise MonitorSocketError("Could not send %s" % what, "the connection has ended")
        if self.is_inherited():
            raise MonitorSocketError("Could not send %s" % what, "the connection is the parent process's")
        try:
            message = _read_as(message, sys.getfilesystemencoding(), "utf-8")
            answer = self._loop.run(timeout, self._send, client, message, fd)
            return _read_as(dict(answer), "utf-8", sys.getfilesystemencoding())
        except MonitorProtocolError:
            raise MonitorProtocolError("Received no response to %s" % what) from None

    @staticmethod
    async def _send(client, message, fd):
        try:
            if fd is not None:
                client.send_fd_scm(fd)
            return await _answer_to(client, message)
        except (_qmp().QMPError, OSError, EOFError) as e:
            raise MonitorSocketError("Could not receive data from monitor", e) from None

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
        greeting = self._client.greeting if self._client else None
        if greeting is None:
            return None
        return {"QMP": {"version": dict(greeting.QMP.version), "capabilities": list(greeting.QMP.capabilities)}}

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

    def listen(self, listener):
        """Have listener(event) called with each event (dict) as it comes, in the monitor's thread.

        It should be quick, and must not use the monitor.
        """
        self._listeners.append(listener)

    def get_events(self):
        """The events (list of dict) that came since the last clear_events(), of many the last."""
        return list(self._events)

    def get_event(self, name):
        """The first event of that name (dict), or None."""
        return self._find(name)

    def _find(self, name, where=lambda event: True):
        for event in list(self._events):        # more may come meanwhile
            if event.get("event") == name and where(event):
                return event
        return None

    def clear_events(self):
        """Forget the events so far."""
        self._events.clear()

    def wait_event(self, name, timeout, where=lambda event: True):
        """Wait for an event of that name for which where(event) is true.

        Returns it (dict), at once if it came already; None after timeout seconds, or when
        the connection ends.
        """
        deadline = time.monotonic() + timeout
        news = threads.Wake()
        self._waiting.add(news)
        while True:
            is_over = not self.is_connected()       # asked first: what came before is there then
            event = self._find(name, where)
            left = deadline - time.monotonic()
            if event is not None or left <= 0 or is_over:
                return event
            news.wait(min(left, threading.TIMEOUT_MAX))


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
