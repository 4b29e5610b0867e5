"""Sessions whose prompt had not come when their login ran out of time, for the next login.

A starved guest's shell may take longer to start than one login has.  A second connection would wait as long.
What is kept is closed after half a minute if nobody comes for it, and by the session engine, so that no
thread of ours has to wait for that.
"""

import os
import threading
import time

from virtvm import _session

_KEPT_FOR = 30.0        # seconds in which another login may come
_STEP = 120.0           # a prompt that has not come in so many seconds is not waited for on that connection
_MOST = 8

_lock = threading.Lock()
_kept = []


class Unended:
    """session: a RemoteSession.  options: those of its login (dict).  began: time.monotonic()."""

    def __init__(self, session, options, began):
        self.session, self.began = session, began
        self.options = {name: value for name, value in options.items() if name not in ("timeout", "log_filename")}

    def is_good(self):
        """Whether its guest is still the one that it was opened to, and may yet give a prompt."""
        o = self.options
        return (self.session._engine.give_up(-1.0) and time.monotonic() - self.began < _STEP
                and _session.is_current(str(o["host"]), int(o["port"]), self.began))


def keep(unended):
    """Leave it to the next login with the same options."""
    if time.monotonic() - unended.began >= _STEP or not unended.session._engine.give_up(_KEPT_FOR):
        unended.session.close()
        return
    with _lock:
        gone = [one for one in _kept if one.session._engine.closed]
        for one in gone:
            _kept.remove(one)
        _kept.append(unended)
        if len(_kept) > _MOST:
            gone.append(_kept.pop(0))
    for one in gone:
        one.session.close()


def take(options):
    """One that a login with these options can go on with, or None."""
    wanted = Unended(None, options, 0).options
    while True:
        with _lock:
            found = next((one for one in _kept if one.options == wanted), None)
            if found is not None:
                _kept.remove(found)
        if found is None or found.is_good():
            return found
        found.session.close()


def _forget():
    """In a fork's child they are the parent's."""
    global _lock
    _lock = threading.Lock()
    _kept.clear()


os.register_at_fork(after_in_child=_forget)
