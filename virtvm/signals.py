"""What signal handlers raise, told from what the code that they interrupted has to do with.

A handler runs between any two steps of Python code, and may raise anything: TimeoutError, and other kinds
of OSError, which a call that it interrupts expects from the kernel.
"""

import os
import stat


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
    """Whether a function in its traceback was given the very frame that it was called from (bool).

    Handlers are, and no others.  What is installed now says nothing: many a handler puts back the one before it.

    catcher: the frame that caught it, which runs yet.  Its variables are not looked at: before Python 3.13 a
    frame keeps what it has told, so that it would keep e, which keeps it, and with it all that called it.
    """
    step = e.__traceback__
    while step is not None:
        frame, step = step.tb_frame, step.tb_next
        if frame is catcher or frame.f_back is None:
            continue
        if any(map(_holds(frame.f_back), list(frame.f_locals.values()))):
            return True
    return False


def _holds(frame):
    return lambda value: value is frame or type(value) is tuple and any(one is frame for one in value)


# os.path's functions of these names take what a handler raises for an answer.

def _mode(look, path):
    try:
        return look(path).st_mode
    except (OSError, ValueError) as e:
        let_out(e)
        return None


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
