"""What translated code calls, under the name __virtvm__.

virtvm.autotest.python2.semantics puts the calls there.  Each function does what an operator, a
statement or a method did in Python 2, and for objects that Python 2 did not know what
Python 3 does.
"""

import binascii
import functools
import logging
import os
import sys

from virtvm import signals
from virtvm.autotest import hooks
from virtvm.autotest.python2.text import from_bytes, to_bytes


# Statements

def say(stream, *values, comma=False):
    """The print statement.  comma: it ended in one, so the line goes on."""
    if stream is None:
        stream = sys.stdout
    space = getattr(stream, "softspace", False)
    for value in values:
        text = str_(value)
        stream.write(" " + text if space else text)
        space = not text.endswith(("\n", "\t", "\r", "\f", "\v"))
    if not comma:
        stream.write("\n")
        space = False
    try:
        stream.softspace = space
    except AttributeError:
        pass                            # the blank is missing, then


def error(kind, value=None, traceback=None):
    """The exception that `raise kind, value, traceback` raises."""
    if not isinstance(kind, type):
        exc = kind
    elif value is None:
        exc = kind()
    elif isinstance(value, kind):
        exc = value
    else:
        exc = kind(*value) if isinstance(value, tuple) else kind(value)
    return exc if traceback is None else exc.with_traceback(traceback)


def code(source, mode):
    """What exec and eval get: their text may be Python 2, too."""
    if not isinstance(source, (str, bytes)):
        return source
    if isinstance(source, bytes):
        source = from_bytes(source)
    return hooks.compiler.compile_text(source.lstrip() if mode == "eval" else source, "<string>", mode)


# Operators

def div(a, b):
    """a / b: whole numbers give a whole number."""
    return a // b if isinstance(a, int) and isinstance(b, int) else a / b


class Divisor:
    """The right side of `a /= b` for an a that has to be evaluated once."""

    def __init__(self, value):
        self.value = value

    def __rtruediv__(self, other):
        return div(other, self.value)


def item(obj, index):
    """obj[index]: exceptions had their arguments as items."""
    return obj.args[index] if isinstance(obj, BaseException) else obj[index]


def items(obj):
    """What `a, b = obj` unpacks."""
    return obj.args if isinstance(obj, BaseException) else obj


def cmp(a, b):
    """-1, 0 or 1.  Values of unlike kinds have an order: None, numbers, then by the names of their types."""
    try:
        return (a > b) - (a < b)
    except TypeError:
        if a == b:
            return 0
        for kind, order in ((list, _order_of_items), (tuple, _order_of_items), (dict, _order_of_dicts)):
            if isinstance(a, kind) and isinstance(b, kind):
                return order(a, b)
        return -1 if _rank(a) < _rank(b) else 1


def _rank(value):
    if value is None:
        return (0, "", 0)
    return (1, "", 0) if isinstance(value, (int, float)) else (2, type(value).__name__, id(value))


def _order_of_items(a, b):
    for x, y in zip(a, b):
        if not (x is y or x == y):
            return cmp(x, y)
    return cmp(len(a), len(b))


def _order_of_dicts(a, b):
    """By size, then by the least key whose values differ, then by its value."""
    if len(a) != len(b):
        return cmp(len(a), len(b))

    def least(one, other):
        return min((key for key in one if key not in other or one[key] != other[key]), key=ordered)
    x, y = least(a, b), least(b, a)
    return cmp(x, y) or cmp(a[x], b[y])


ordered = functools.cmp_to_key(cmp)


def sorting_key(cmp_, key):
    """The key function for what sort() and sorted() of Python 2 were given."""
    order = ordered if cmp_ is None else functools.cmp_to_key(cmp_)
    return order if key is None else lambda value: order(key(value))


def less(a, b):
    """a < b, for values of unlike kinds, too."""
    try:
        return a < b
    except TypeError:
        return cmp(a, b) < 0


def less_or_equal(a, b):
    """a <= b."""
    try:
        return a <= b
    except TypeError:
        return cmp(a, b) <= 0


def greater(a, b):
    """a > b."""
    return less(b, a)


def greater_or_equal(a, b):
    """a >= b."""
    return less_or_equal(b, a)


class Compared:
    """A link of a chain of comparisons, as a < b <= c."""

    __hash__ = None

    def __init__(self, value):
        self.value = value

    def __lt__(self, other):
        return less(self.value, other.value)

    def __le__(self, other):
        return less_or_equal(self.value, other.value)

    def __gt__(self, other):
        return greater(self.value, other.value)

    def __ge__(self, other):
        return greater_or_equal(self.value, other.value)

    def __eq__(self, other):
        return self.value == other.value

    def __ne__(self, other):
        return self.value != other.value

    def __contains__(self, item):
        return item.value in self.value


class Identified(Compared):
    """A link that the one before it is to be the same object as."""

    __hash__ = None

    def __contains__(self, item):
        return item.value is self.value


# Methods

def sort(obj, *args, **kwargs):
    """obj.sort(...): the first argument was a comparison."""
    if not isinstance(obj, list):
        return obj.sort(*args, **kwargs)

    def sort_list(cmp=None, key=None, reverse=False):
        obj.sort(key=sorting_key(cmp, key), reverse=reverse)

    return sort_list(*args, **kwargs)


_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))


def listed(result):
    """What keys(), values() and items() return: a list for a dict."""
    return list(result) if isinstance(result, _VIEWS) else result


def _bytes_codecs(encoding):
    """(encode, decode) from bytes to bytes, for the encodings that are no character set."""
    import codecs
    try:
        info = codecs.lookup(encoding)
    except LookupError:
        return None
    if getattr(info, "_is_text_encoding", True):
        return None
    return (lambda data: info.encode(data)[0], lambda data: info.decode(data)[0])


def encode(obj, encoding="ascii", errors="strict"):
    """obj.encode(...): bytes stand in a str, a character each."""
    if not isinstance(obj, str):
        return obj.encode(encoding, errors)
    special = _bytes_codecs(encoding)
    if special is not None:
        return from_bytes(special[0](to_bytes(obj)))
    if encoding.replace("-", "_") == "string_escape":
        return obj.encode("unicode_escape").decode("ascii")
    return obj if obj.isascii() and encoding.lower().startswith(("ascii", "utf-8", "utf8", "latin", "iso")) \
        else from_bytes(obj.encode(encoding, errors))


def decode(obj, encoding="ascii", errors="strict"):
    """obj.decode(...)."""
    if not isinstance(obj, str):
        return obj.decode(encoding, errors)
    special = _bytes_codecs(encoding)
    if special is not None:
        try:
            return from_bytes(special[1](to_bytes(obj)))
        except binascii.Error as e:
            raise TypeError(str(e)) from None       # what Python 2 raised
    if encoding.replace("-", "_") == "string_escape":
        encoding = "unicode_escape"
    return to_bytes(obj).decode(encoding, errors)


def translate(obj, table, *deleted):
    """obj.translate(...): str took characters to delete."""
    if isinstance(obj, str) and deleted:
        obj = "".join(c for c in obj if c not in deleted[0])
        return obj if table is None else obj.translate(table)
    return obj.translate(table, *deleted)


# Calls of types whose meaning has changed

def str_(*args):
    """str(...): a float with twelve digits."""
    if len(args) == 1 and isinstance(args[0], (bytes, bytearray)):
        return from_bytes(args[0])
    if len(args) == 1 and type(args[0]) is float:
        text = "%.12g" % args[0]
        return text + ".0" if text.lstrip("-").isdigit() else text
    return str(*args)


def unicode_(obj="", encoding=None, errors="strict"):
    """unicode(...)."""
    if encoding is not None and isinstance(obj, str):
        return decode(obj, encoding, errors)
    return str_(obj) if encoding is None else str(obj, encoding, errors)


def bytearray_(*args):
    """bytearray(...)."""
    return bytearray(to_bytes(args[0])) if args and isinstance(args[0], str) else bytearray(*args)


def path_walk(top, visit, arg):
    """os.path.walk()."""
    names = os.listdir(top)
    visit(arg, top, names)
    for name in names:
        path = os.path.join(top, name)
        if signals.isdir(path) and not signals.islink(path):
            path_walk(path, visit, arg)


# Attributes that are gone, renamed, or only deprecated so that they warn

def _message(e):
    if not isinstance(e, BaseException):
        raise AttributeError("message")
    return e.args[0] if len(e.args) == 1 else ""


def _named(name):
    return lambda obj: getattr(obj, name)


def _iterator(name):
    return lambda obj: lambda: iter(getattr(obj, name)())


def _decorated(name):
    """For methods: of the function below."""
    return lambda obj: getattr(getattr(obj, "__func__", obj), name)


LOST = {
    "has_key": lambda obj: obj.__contains__,
    "iteritems": _iterator("items"), "iterkeys": _iterator("keys"), "itervalues": _iterator("values"),
    "viewitems": _named("items"), "viewkeys": _named("keys"), "viewvalues": _named("values"),
    "isAlive": _named("is_alive"),
    "message": _message,
    "next": _named("__next__"),
    "xreadlines": lambda obj: lambda: iter(obj),
    "func_name": _decorated("__name__"), "func_code": _decorated("__code__"),
    "func_defaults": _decorated("__defaults__"), "func_globals": _decorated("__globals__"),
    "func_doc": _decorated("__doc__"), "func_dict": _decorated("__dict__"),
    "func_closure": _decorated("__closure__"),
    "im_func": lambda obj: getattr(obj, "__func__", obj),
    "im_self": lambda obj: getattr(obj, "__self__", None),
    "im_class": lambda obj: type(obj.__self__),
}
# These are asked for under their later names first.
RENAMED = {"isSet": "is_set", "notifyAll": "notify_all", "currentThread": "current_thread",
           "activeCount": "active_count"}


def attr(obj, name):
    """obj.name."""
    if name in RENAMED:
        return getattr(obj, RENAMED[name]) if hasattr(obj, RENAMED[name]) else getattr(obj, name)
    if name == "warn" and (obj is logging or isinstance(obj, (logging.Logger, logging.LoggerAdapter))):
        return obj.warning
    try:
        return getattr(obj, name)
    except AttributeError:
        if name not in LOST:
            raise
        try:
            return LOST[name](obj)
        except AttributeError:
            pass
        raise


ATTRIBUTES = frozenset(LOST) | frozenset(RENAMED) | {"warn"}


# Classes

object_hash = object.__hash__


def _by_cmp(test):
    def method(self, other):
        result = self.__cmp__(other)
        return result if result is NotImplemented else test(result)
    return method


lt, le, eq = _by_cmp(lambda c: c < 0), _by_cmp(lambda c: c <= 0), _by_cmp(lambda c: c == 0)
gt, ge, ne = _by_cmp(lambda c: c > 0), _by_cmp(lambda c: c >= 0), _by_cmp(lambda c: c != 0)


def _remake(cls, args):
    return cls(*args)


def reduce(self):
    """__reduce__ of a class that has __getinitargs__, which only classes of old called."""
    state = self.__getstate__() if hasattr(type(self), "__getstate__") else None
    if state is None or sys.version_info >= (3, 11) and type(self).__getstate__ is object.__getstate__:
        state = self.__dict__
    return _remake, (type(self), tuple(self.__getinitargs__())), state
