"""What signal handlers raise, told from what the code that they interrupted has to do with.

A handler runs between any two steps of Python code, and may raise anything: TimeoutError, and other kinds
of OSError, which a call that it interrupts expects from the kernel.
"""

# signal.getsignal() makes an enum of each answer, and there are 64.
import _signal  # type: ignore[import-not-found]
import _thread
import collections
import functools
import os
import stat
import sys
import threading
import types

_NUMBERS = sorted(_signal.valid_signals())
_MOST_LINKS = 40        # in one path, as the kernel has it


def let_out(e):
    """Raise exception e again if a signal handler raised it: it is for whoever installed that.

    For the function that caught it.
    """
    if is_handlers(e, e.__traceback__.tb_frame):
        raise e


class suppress:
    """contextlib.suppress(*kinds), which lets out what a signal handler raised."""

    def __init__(self, *kinds):
        self._kinds = kinds

    def __enter__(self):
        pass

    def __exit__(self, kind, e, traceback):
        return kind is not None and issubclass(kind, self._kinds) and not is_handlers(e, traceback.tb_frame)


def is_handlers(e, catcher=None):
    """Whether a function in its traceback is a signal handler (bool).

    That is one that was given the very frame that it was called from, and no others are: what is installed now
    need not be it, since many a handler puts back the one before it.  Or, since a handler may let go of its frame,
    it is one that is installed now.

    catcher: the frame that caught it, which runs yet.  Its variables are not looked at: before Python 3.13 a
    frame keeps what it has told, so that it would keep e, which keeps it, and with it all that called it.
    """
    codes = None
    step = e.__traceback__
    while step is not None:
        frame, step = step.tb_frame, step.tb_next
        if frame is catcher:
            continue
        if codes is None:               # most exceptions have but the catcher's frame
            codes = {_code(handler) for handler in _installed()}
        if frame.f_code in codes:
            return True
        if frame.f_back is not None and any(map(_holds(frame.f_back), list(frame.f_locals.values()))):
            return True
    return False


def _holds(frame):
    return lambda value: value is frame or type(value) is tuple and any(one is frame for one in value)


def _installed():
    """The handlers of all signals, those that wait included."""
    for number in _NUMBERS:
        handler = _signal.getsignal(number)
        holder = _holder(handler)
        handler = handler if holder is None else holder.handlers.get(number)
        if callable(handler):
            yield handler


def _code(handler):
    """The code that runs when handler is called, None if that is no Python code."""
    while True:
        if isinstance(handler, functools.partial):
            handler = handler.func
        elif isinstance(handler, types.MethodType):
            handler = handler.__func__
        elif isinstance(handler, types.FunctionType):
            return handler.__code__
        else:
            handler = type(handler).__call__ if callable(handler) else None
            if not isinstance(handler, (types.FunctionType, types.MethodType, functools.partial)):
                return None


class held:
    """A context in which signal handlers wait, for what is started or opened and has nobody yet to end it.

        with signals.held() as handlers:
            fd = os.open(path, os.O_RDONLY)
            try:
                handlers.deliver()
                ...
            finally:
                os.close(fd)

    Python runs handlers in the main thread alone.  There all that are functions, of whatever signal, are noted
    when their signals come (each once, as Python does).  deliver() has those back that were there before, unless
    somebody else's has taken the place meanwhile, and calls those that came, in their order.  It is to be
    called where all that they may raise ends what was started; what has not been delivered at the end of the block
    is then.  All of them are called: what the first one raised is the context of what the next one raises.

    In another thread, and within another held(), it does nothing.  What waits for long has no place in it, since
    Ctrl-C waits, too.
    """

    def __init__(self):
        self.handlers = {}              # number of a signal -> what waits
        self._came = collections.deque()

    def __enter__(self):
        if _thread.get_ident() != threading.main_thread().ident:
            return self
        try:
            for number in _NUMBERS:
                handler = _signal.getsignal(number)
                if callable(handler) and _holder(handler) is None:
                    self.handlers[number] = handler
                    _signal.signal(number, self._note)
            return self
        except BaseException as e:      # of one that does not wait yet
            self.__exit__()
            if not isinstance(e, ValueError) or is_handlers(e, sys._getframe()):
                raise
            return self                 # a sub-interpreter gets no signals

    def __exit__(self, *exc_info):
        try:
            self.deliver()
        finally:                        # one that is back may have cut it short
            self.deliver()

    def _note(self, number, frame):
        if number not in self._came:
            self._came.append(number)

    def deliver(self):
        """Have the handlers back, and call those whose signals came."""
        try:
            self._put_back()
        finally:
            self._call()

    def _put_back(self):
        try:
            for number, handler in self.handlers.items():
                if _holder(_signal.getsignal(number)) is self:
                    _signal.signal(number, handler)
        except BaseException:           # of one that is back
            self._put_back()
            raise

    def _call(self):
        try:
            while self._came:
                number = self._came.popleft()
                self.handlers[number](number, sys._getframe())      # which it interrupts now
        except BaseException:
            self._call()
            raise


def _holder(handler):
    """The held() that has put handler where it is, or None."""
    holder = getattr(handler, "__self__", None)
    return holder if isinstance(holder, held) else None


# os's and os.path's functions of these names take what a handler raises for an answer.

def _told(look, path):
    """What look(path) returns, None if the system refuses."""
    try:
        return look(path)
    except (OSError, ValueError) as e:
        let_out(e)
        return None


def _mode(look, path):
    seen = _told(look, path)
    return None if seen is None else seen.st_mode


def exists(path):
    return _mode(os.stat, path) is not None


def lexists(path):
    return _mode(os.lstat, path) is not None


def isfile(path):
    mode = _mode(os.stat, path)
    return mode is not None and stat.S_ISREG(mode)


def isdir(path):
    mode = _mode(os.stat, path)
    return mode is not None and stat.S_ISDIR(mode)


def islink(path):
    mode = _mode(os.lstat, path)
    return mode is not None and stat.S_ISLNK(mode)


def makedirs(path, mode=0o777, exist_ok=False):
    """Make the folder path, and those above it that are missing.

    FileExistsError if it is there, unless it is a folder and exist_ok.  mode: of the last one.
    """
    above = os.path.dirname(os.fsdecode(path).rstrip("/"))
    if above and not exists(above):
        makedirs(above, exist_ok=True)
    try:
        os.mkdir(path, mode)
    except OSError as e:
        let_out(e)
        if not exist_ok or not isdir(path):
            raise


def realpath(path):
    """The path (of path's kind, str or bytes) without links, as far as it exists."""
    path = os.fspath(path)
    if isinstance(path, bytes):
        return os.fsencode(realpath(os.fsdecode(path)))
    rest = os.path.join(os.getcwd(), path).split("/")[::-1]
    real, links = "/", 0
    while rest:
        step = os.path.normpath(os.path.join(real, rest.pop()))     # of one name, or of none
        target = _told(os.readlink, step) if links < _MOST_LINKS else None
        if target is None:
            real = step
        else:
            links += 1
            real = "/" if target.startswith("/") else real
            rest += target.split("/")[::-1]
    return real
