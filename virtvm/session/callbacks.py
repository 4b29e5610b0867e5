"""Output callbacks: lines and the end of a session, handed to functions of the user's.

Each session that has callbacks has one thread that calls them, so that a slow or blocking
function holds up nobody else, and may use the session.  What is read meanwhile waits in
the engine's store.
"""

import logging
import os
import threading

from virtvm import _session, signals, threads
from virtvm.session.text import decoder
from virtvm.weak import WeakBag

_PIECE = 65536          # bytes of output that are looked at in one go
_PATIENCE = 10.0        # seconds in which callbacks may catch up once a session is closed
_PAUSE = 0.05           # seconds of silence after which an unfinished line is delivered


_running = WeakBag()


class Source:
    """What all session objects share that stand for one process or connection.

    engine: the _session.Session.  id: its name (str).  told: offset of the output that
    callbacks have not had yet.  Who uses it are session objects.
    """

    def __init__(self, engine, id, pid):
        self.engine, self.id, self.pid = engine, id, pid
        self.told = 0
        self._users = set()             # id() of each
        self.closing = threading.RLock()        # a close hook may close again
        self._lock = threading.Lock()
        self._listeners = []
        self._readable = None

    def take(self, user):
        """One more uses it."""
        self._users.add(id(user))

    def leave(self, user):
        """It uses it no more, if it did; whether nobody does (bool)."""
        self._users.discard(id(user))
        return not self._users

    def listen(self, listener):
        """Have listener() called whenever there is news; see Session.set_news."""
        with self._lock:
            self._listeners = self._listeners + [listener]
            self.engine.set_news(*self._listeners)

    def unlisten(self, listener):
        with self._lock:
            self._listeners = [other for other in self._listeners if other != listener]
            self.engine.set_news(*self._listeners)

    def tell(self):
        """Call all listeners: there is news."""
        for listener in self._listeners:
            listener()

    def readable(self):
        """A descriptor (int) that is readable while there is unread output, and at its end."""
        if self._readable is None:
            self._readable = _Readable(self.engine)
            self.listen(self._readable.update)
            self._readable.update()
        return self._readable.fd

    def tell_readable(self):
        """Output was read: the descriptor, if there is one, may be readable no more."""
        if self._readable is not None:
            self._readable.update()

    def close_readable(self):
        """Close the descriptor."""
        readable, self._readable = self._readable, None
        if readable is not None:
            self.unlisten(readable.update)
            readable.close()

    def next_piece(self):
        """Output (bytes) that no callback has had yet: each piece goes to one of them."""
        with self._lock:
            self.told, piece = self.engine.peek(self.told, _PIECE)
            if piece:
                self.engine.mark_told(self.told)
            return piece

    def skip(self):
        """Let the callbacks do without the output that is there."""
        with self._lock:
            self.told = self.engine.total


class _Readable(_session.Finalized):
    """A pipe with something in it while a session has output to read.

    Any thread may update it: it is emptied first, and looked at what there is afterwards, so that
    whoever is last leaves what is true.
    """

    fd = None

    def __init__(self, engine):
        self._engine = engine
        with signals.held():
            self.fd, self._end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def update(self):
        fd, end = self.fd, self._end
        if fd is None:
            return
        try:
            os.read(fd, 4096)
        except OSError as e:            # nothing in it, or closed meanwhile
            signals.let_out(e)
        if self._engine.unread or self._engine.ended:
            try:
                os.write(end, b"+")
            except OSError as e:
                signals.let_out(e)

    def close(self):
        with signals.held():
            fd, end, self.fd, self._end = self.fd, self._end, None, None
            os.close(fd)
            os.close(end)

    def _finalize(self):
        if self.fd is not None:
            self.close()


class Lines:
    """Cuts output into lines for a function; a multi-byte character may come in pieces."""

    def __init__(self, emit, encoding, errors="backslashreplace"):
        self._emit = emit
        self._decode = decoder(encoding, errors)
        self.rest = ""                  # the unfinished line

    def feed(self, output, final=False):
        text = self.rest + self._decode(output, final).replace("\r", "")
        *lines, self.rest = text.split("\n")
        for line in lines:
            self._emit(line)

    def flush(self):
        """Deliver the unfinished line, if there is one."""
        rest, self.rest = self.rest, ""
        if rest:
            self._emit(rest)


def _own_name(name):
    """aexpect's kill_tail_threads() waits for every thread that is named like one of its own."""
    return "virtvm_" + name if name.startswith("tail_thread") else name


class Reporter:
    """The callbacks of one session, and the thread that calls them."""

    def __init__(self, source, encoding, thread_name, errors="backslashreplace"):
        self.source, self.encoding, self.thread_name = source, encoding, thread_name
        self._errors = errors
        self.output_func, self.output_params, self.output_prefix = None, (), ""
        self.termination_func, self.termination_params = None, ()
        self._thread = None
        self._news = threads.Wake()
        self._stopped = self._skipping = False

    @property
    def thread(self):
        """The thread (threading.Thread) while it runs, or None."""
        thread = self._thread
        return thread if thread is not None and thread.is_alive() else None

    def start(self):
        """Start calling the functions that there are, unless that goes on already."""
        if self.thread is None and (self.output_func or self.termination_func):
            self._stopped = False
            self._thread = threading.Thread(target=self._run, name=_own_name(self.thread_name), daemon=True)
            _running.add(self)
            threads.start(self._thread)

    def stop(self):
        """Call no function any more, from the next line on."""
        self._stopped = True
        self._news.set()

    def join(self, patience=None):
        """Wait until the last function has returned, unless called by one.

        After patience seconds they do without the output that they have not had yet.
        """
        thread = self.thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(patience)
        if thread.is_alive():
            logging.warning("Session %s printed faster than %r takes it: the rest is left out",
                            self.source.id, self.output_func)
            self._skipping = True
            thread.join(patience)

    def _run(self):
        self.source.listen(self._news.set)
        try:
            lines = Lines(self._emit, self.encoding, self._errors)
            while not self._stopped and self._step(lines):
                pass
            if not self._stopped:
                lines.feed(b"", final=True)
                lines.flush()
                self._finish()
        finally:
            self.source.unlisten(self._news.set)

    def _step(self, lines):
        """Deliver what there is, or wait for it; False once the end has come."""
        if self._skipping:
            self.source.skip()
        ended = self.source.engine.ended        # asked first: what came before it is there then
        piece = self.source.next_piece()
        if piece:
            lines.feed(piece)
        elif ended:
            return False
        elif not self._news.wait(_PAUSE if lines.rest else None):
            lines.flush()
        return True

    def _finish(self):
        self._skipping = False
        status = self.source.engine.status
        self._emit("(Process terminated with status %s)" % status)
        if self.termination_func is not None:
            self._call(self.termination_func, self.termination_params, status)

    def _emit(self, line):
        if self.output_func is not None and not self._stopped and not self._skipping:
            self._call(self.output_func, self.output_params, self.output_prefix + line.rstrip())

    def _call(self, func, params, value):
        """A function that raises must not end the reporting: it is logged."""
        try:
            func(*params, value)
        except BaseException:           # pytest.fail() and sys.exit() among them: this is not the main thread
            logging.exception("Callback %r of session %s failed", func, self.source.id)


def stop_all():
    """End all reporting; the processes go on."""
    reporters = list(_running)
    for reporter in reporters:
        reporter.stop()
    for reporter in reporters:
        reporter.join()
