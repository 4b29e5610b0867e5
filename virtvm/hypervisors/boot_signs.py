"""What a hypervisor tells the session engine of a guest that boots, so that it is waited for well.

docs/internals/boot.rst tells what the engine makes of it.  A class that tells nothing works, too.
"""

import re

_EVENTS = {"NIC_RX_FILTER_CHANGED", "VSERPORT_CHANGE"}      # of QEMU's, that a running guest causes
_LOGIN = re.compile(rb"login: ?$")
_TAIL = 64              # bytes of the console in which that is looked for


class Signs:
    """The places (host, port) where one guest is logged into, and its signs of life.

    places: list of _session.Place.
    """

    def __init__(self, places):
        self.places = places
        self._source, self._from = None, 0

    def __reduce__(self):
        return Signs, (self.places,)    # the console's reader is this process's

    def alive(self):
        for place in self.places:
            place.alive()

    def reset(self, up=False):
        """The machine starts anew.  up: its guest runs already, as after a migration."""
        for place in self.places:
            place.reset(up=up)
        if not up:
            self._listen()

    def forget(self):
        """The machine is gone."""
        self._unlisten()
        self._source = None
        for place in self.places:
            place.forget()

    def awaits(self):
        """(what logins wait for, in words; for how many seconds), or None."""
        for place in self.places:
            found = place.awaits()
            if found is not None:
                return found
        return None

    def on_event(self, event):
        """Take an event (dict) of QEMU's monitor."""
        name = event.get("event")
        if name == "RESET":
            self.reset()
        elif name in _EVENTS and event.get("data", {}).get("open", True):
            self.alive()

    def watch_console(self, console):
        """Take the console's `login: ` for a sign of life; console: aexpect.ConsoleSession."""
        self._source = console._source
        self._listen()

    def _listen(self):
        if self._source is not None:
            self._unlisten()
            self._from = self._source.engine.total
            self._source.listen(self._look)

    def _unlisten(self):
        if self._source is not None:
            self._source.unlisten(self._look)

    def _look(self):
        engine = self._source.engine
        end, tail = engine.peek(max(self._from, engine.total - _TAIL), _TAIL)
        if _LOGIN.search(tail):
            self.alive()
            self._unlisten()
