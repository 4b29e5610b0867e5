"""Objects that are known for as long as others have them.

The library's own WeakSet and WeakValueDictionary run Python code whenever an object goes: a
signal handler that raises in it loses its exception there.  These run none.
"""

import functools
import weakref


class WeakBag:
    """Objects, in no order."""

    def __init__(self):
        self._references = set()

    def add(self, thing):
        self._references.add(weakref.ref(thing, self._references.discard))

    def __iter__(self):
        return iter([thing for thing in (reference() for reference in self._references.copy()) if thing is not None])


class WeakValues:
    """Objects by their keys."""

    def __init__(self):
        self._references = {}

    def __setitem__(self, key, thing):
        for other, reference in list(self._references.items()):     # what is gone is looked for here
            if reference() is None and self._references.get(other) is reference:
                self.pop(other)
        self._references[key] = weakref.ref(thing)

    def values(self):
        """All that are there (list)."""
        return [thing for thing in (reference() for reference in self._references.copy().values())
                if thing is not None]

    def pop(self, key):
        """Forget the object, if there is one."""
        self._references.pop(key, None)

    def get(self, key):
        """The object, or None."""
        reference = self._references.get(key)
        return None if reference is None else reference()


class WeakKeys:
    """What belongs to objects, known by themselves and not by what they equal."""

    def __init__(self):
        self._values = {}               # id -> (reference, value)

    def __len__(self):
        return len(self._values)

    def setdefault(self, thing, value):
        """The value of an object: this one, if it has none.  TypeError: nothing can refer to it weakly."""
        key = id(thing)
        if key not in self._values:
            self._values[key] = weakref.ref(thing, functools.partial(self._values.pop, key)), value
        return self._values[key][1]
