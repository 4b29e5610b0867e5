"""Builtin functions that Python 3 lacks, or that mean something else in it."""

import decimal
import functools
import importlib
import itertools
import math
import sys

from virtvm import signals
from virtvm.autotest import hooks
from virtvm.autotest.python2 import files, runtime, text


def map_(function, *iterables):
    """map(): a list, as long as the longest."""
    if len(iterables) == 1:
        return list(iterables[0]) if function is None else [function(value) for value in iterables[0]]
    rows = itertools.zip_longest(*iterables)
    return list(rows) if function is None else [function(*row) for row in rows]


def filter_(function, iterable):
    """filter(): a list; of a str, a str; of a tuple, a tuple."""
    kept = list(filter(function, iterable))
    if isinstance(iterable, str):
        return "".join(kept)
    return tuple(kept) if isinstance(iterable, tuple) else kept


def zip_(*iterables):
    """zip(): a list."""
    return list(zip(*iterables))


def range_(*args):
    """range(): a list."""
    return list(range(*args))


def sorted_(iterable, cmp=None, key=None, reverse=False):
    """sorted(), with its comparison."""
    return sorted(iterable, key=runtime.sorting_key(cmp, key), reverse=reverse)


def apply(function, args=(), kwargs={}):
    """apply()."""
    return function(*args, **kwargs)


def coerce(a, b):
    """coerce(): two numbers as one type."""
    kind = next(kind for kind in (complex, float, int) if isinstance(a, kind) or isinstance(b, kind))
    return kind(a), kind(b)


def oct_(number):
    """oct(): "017", not "0o17"."""
    text = oct(number).replace("0o", "0")
    return "0" if text == "00" else text


def round_(number, digits=0):
    """round(): halves away from 0, and a float."""
    number = float(number)
    if not math.isfinite(number):
        return number
    exact = decimal.Decimal(number)
    return float(exact.quantize(decimal.Decimal(1).scaleb(-digits), decimal.ROUND_HALF_UP, _ENOUGH))


_ENOUGH = decimal.Context(prec=800)     # digits, for any float


def _extreme(function):
    """max() or min(), of values of unlike kinds, too."""
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except TypeError:
            return function(*args, **dict(kwargs, key=runtime.sorting_key(None, kwargs.get("key"))))
    return functools.wraps(function)(call)


def hasattr_(obj, name):
    """hasattr(): any exception meant no."""
    try:
        getattr(obj, name)
    except Exception as e:
        signals.let_out(e)
        return False
    return True


def input_(prompt=""):
    """input(): the value of what is typed."""
    frame = sys._getframe(1)
    return eval(runtime.code(input(prompt), "eval"), frame.f_globals, frame.f_locals)


def execfile(path, globals=None, locals=None):
    """execfile()."""
    frame = sys._getframe(1)
    if globals is None:
        globals, locals = frame.f_globals, frame.f_locals if locals is None else locals
    exec(hooks.compiler.translated(path).code, globals, globals if locals is None else locals)


def reload(module):
    """reload()."""
    from virtvm.autotest.python2 import modules
    if isinstance(module, modules.View):
        return module               # what it changes is not ours to reset
    return importlib.reload(module)


def buffer(obj, offset=0, size=None):
    """buffer(): a part of a string, or of what else has bytes."""
    end = None if size is None else offset + size
    return obj[offset:end] if isinstance(obj, str) else memoryview(obj)[offset:end]


NAMES = {
    "StandardError": Exception, "apply": apply, "basestring": text.basestring, "buffer": buffer, "bytes": str,
    "cmp": runtime.cmp, "coerce": coerce, "execfile": execfile, "file": files.File, "filter": filter_,
    "hasattr": hasattr_, "input": input_, "intern": sys.intern, "long": int, "map": map_, "max": _extreme(max),
    "min": _extreme(min), "oct": oct_, "open": files.open_, "range": range_, "raw_input": input,
    "reduce": functools.reduce, "reload": reload, "repr": ascii, "round": round_, "sorted": sorted_, "unichr": chr,
    "unicode": str, "xrange": range, "zip": zip_,
}

# The same for what both Pythons take: that one of these is used says nothing of a source.
ALIKE = {"hasattr", "max", "min", "repr"}
