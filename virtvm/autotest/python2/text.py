"""Python 2's one kind of string, in Python 3's two.

A str of Python 2 is a str here.  Where it meets files, sockets and processes, each
byte is the character of the same number (Latin-1), so that lengths, struct and
comparisons come out right, and what was read is written back as it was.  Characters
that are no byte are written in UTF-8.
"""

import codecs


def _utf8(e):
    if not isinstance(e, UnicodeEncodeError):
        raise e
    return b"".join(_encoded(c) for c in e.object[e.start:e.end]), e.end


def _encoded(character):
    if "\udc80" <= character <= "\udcff":       # a byte that UTF-8 did not decode
        return bytes([ord(character) - 0xdc00])
    return character.encode("utf-8", "surrogatepass")


codecs.register_error("virtvm.python2", _utf8)


def to_bytes(data):
    """The bytes that a str of Python 2, or anything with a buffer, stands for."""
    return data.encode("latin-1", "virtvm.python2") if isinstance(data, str) else bytes(data)


def from_bytes(data):
    """Bytes (or anything with a buffer) as a str of Python 2."""
    return str(data, "latin-1")


def adapted(function):
    """A function of bytes as one of strings: str arguments and bytes results are converted."""
    def call(*args, **kwargs):
        args = [to_bytes(arg) if isinstance(arg, str) else arg for arg in args]
        result = function(*args, **kwargs)
        return from_bytes(result) if isinstance(result, (bytes, bytearray)) else result
    call.__name__ = call.__qualname__ = getattr(function, "__name__", "call")
    call.__doc__ = function.__doc__
    return call


class _AnyString(type):
    def __instancecheck__(cls, obj):
        return isinstance(obj, (str, bytes))


class basestring(metaclass=_AnyString):     # Python 2's name
    """What isinstance() is asked about; nothing else can be done with it."""
