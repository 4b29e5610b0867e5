"""How long there is still time."""


class Deadline:
    """Seconds that are left of a timeout."""

    def __init__(self, timeout):
        from time import monotonic
        self._now = monotonic
        self._end = monotonic() + timeout

    def left(self):
        return max(0.0, self._end - self._now())

    def expired(self):
        return self._now() >= self._end
