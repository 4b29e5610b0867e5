"""Modules of Python 2's library: renamed ones, gone ones, and ones whose functions took strings.

A View is a module of Python 3 with names of Python 2 before it; what is set on it is
set on the module, so that sys.stdout = ... works.
"""

import importlib
import sys
import types

from virtvm import signals

# Renamed, and else as they were.
RENAMED = {
    "BaseHTTPServer": "http.server", "CGIHTTPServer": "http.server", "Cookie": "http.cookies",
    "DocXMLRPCServer": "xmlrpc.server", "HTMLParser": "html.parser", "Queue": "queue",
    "SimpleHTTPServer": "http.server", "SimpleXMLRPCServer": "xmlrpc.server",
    "SocketServer": "socketserver", "Tkinter": "tkinter", "UserDict": "collections",
    "UserList": "collections", "UserString": "collections", "__builtin__": "builtins", "anydbm": "dbm",
    "cookielib": "http.cookiejar", "copy_reg": "copyreg", "dbhash": "dbm", "dummy_thread": "_thread",
    "dummy_threading": "threading", "dumbdbm": "dbm.dumb", "exceptions": "builtins", "gdbm": "dbm.gnu",
    "htmlentitydefs": "html.entities", "httplib": "http.client", "repr": "reprlib",
    "robotparser": "urllib.robotparser", "sets": "builtins", "sre": "re", "thread": "_thread",
    "urlparse": "urllib.parse", "whichdb": "dbm", "xmlrpclib": "xmlrpc.client",
    "email.MIMEBase": "email.mime.base", "email.MIMEMultipart": "email.mime.multipart",
    "email.MIMEText": "email.mime.text", "email.Utils": "email.utils",
}

# Of these, a use counts only if a name is used that Python 3's module lacks or has otherwise.
ADDED = {
    "collections": ("Callable", "Hashable", "Iterable", "Iterator", "Mapping", "MutableMapping",
                    "MutableSequence", "MutableSet", "Sequence", "Set", "Sized"),
    "inspect": ("getargspec",),
    "itertools": ("ifilter", "ifilterfalse", "imap", "izip", "izip_longest"),
    "logging": ("warn",),
    "math": ("ceil", "floor"),
    "operator": ("div", "isCallable", "isMappingType", "isNumberType", "isSequenceType",
                 "repeat", "sequenceIncludes"),
    "os": ("errno", "fdopen", "getcwdu", "popen", "popen2", "popen3", "popen4", "read", "tmpfile",
           "urandom", "write"),
    "pipes": ("quote",),
    "platform": ("dist", "linux_distribution"),
    "string": ("atof", "atoi", "atol", "capitalize", "center", "count", "expandtabs", "find", "index",
               "index_error", "join", "joinfields", "letters", "ljust", "lower", "lowercase", "lstrip",
               "maketrans", "replace", "rfind", "rindex", "rjust", "rsplit", "rstrip", "split",
               "splitfields", "strip", "swapcase", "translate", "upper", "uppercase", "zfill"),
    "sys": ("exc_clear", "exc_type", "exc_value", "exc_traceback", "maxint", "setcheckinterval",
            "setdefaultencoding", "subversion"),
    "tempfile": ("NamedTemporaryFile", "TemporaryFile"),
    "thread": ("allocate", "start_new"),
    "threading": ("_Condition", "_Event", "_RLock", "_Semaphore", "_Timer"),
    "time": ("clock",),
    "types": ("BooleanType", "BufferType", "ClassType", "ComplexType", "DictType", "DictionaryType",
              "EllipsisType", "FileType", "FloatType", "InstanceType", "IntType", "ListType", "LongType",
              "NoneType", "NotImplementedType", "ObjectType", "SliceType", "StringType", "StringTypes",
              "TupleType", "TypeType", "UnboundMethodType", "UnicodeType", "XRangeType"),
    "urllib": ("ContentTooShortError", "FancyURLopener", "URLopener", "getproxies", "pathname2url", "quote",
               "quote_plus", "splitport", "unquote", "unquote_plus", "url2pathname", "urlcleanup",
               "urlencode", "urlopen", "urlretrieve"),
}

# Gone, or with other strings in all of them: importing one is to use it.
OTHER = ("ConfigParser", "StringIO", "array", "base64", "binascii", "cPickle", "cStringIO", "commands",
         "fcntl", "hashlib", "imp", "md5", "new", "pickle", "popen2", "sha", "socket", "struct", "subprocess",
         "urllib2", "zlib")

# Made of what we have alone; importing some of the old ones warns.
_STANDALONE = {"ConfigParser", "StringIO", "cPickle", "cStringIO", "commands", "imp", "md5", "new", "pipes",
               "popen2", "sha", "urllib", "urllib2"}

NAMES = frozenset(RENAMED) | frozenset(ADDED) | frozenset(OTHER) | {"re"}


class View(types.ModuleType):
    """A module with names before those of another; without another, those alone."""

    def __init__(self, name, names, base=None):
        types.ModuleType.__init__(self, name, getattr(base, "__doc__", None))
        self.__dict__.update(names, _base=base)
        public = [n for n in list(names) + dir(base) if not n.startswith("_")] if base else list(names)
        self.__dict__["__all__"] = sorted(set(public))

    def __getattr__(self, name):
        if self._base is None:
            raise AttributeError("module %r has no attribute %r" % (self.__name__, name))
        return getattr(self._base, name)

    def __setattr__(self, name, value):
        if self._base is None or name.startswith("__") or name in self.__dict__:
            types.ModuleType.__setattr__(self, name, value)
        else:
            setattr(self._base, name, value)

    def __delattr__(self, name):
        if name in self.__dict__:
            types.ModuleType.__delattr__(self, name)
        else:
            delattr(self._base, name)


_made = {}


def find(name, fromlist=()):
    """The module for an import statement's name, or None if it is none of these."""
    head = name.partition(".")[0]
    if name in NAMES:
        full = get(name)
        if full is not None and (fromlist or name == head):
            return full
    return get(head) if head in NAMES and not fromlist else None


def get(name):
    """The module of this name, made once; None if this Python lacks what it stands on."""
    if name not in _made:
        try:
            _made[name] = _make(name)
        except ModuleNotFoundError:
            return None
    return _made[name]


def _make(name):
    make = _MAKERS.get(name)
    if make is None:
        base = importlib.import_module(RENAMED[name])
        return View(name, _ALIASES.get(name, dict)(), base)
    base = None if name in _STANDALONE else importlib.import_module(RENAMED.get(name, name))
    return (_SysView if name == "sys" else View)(name, make(base), base)


# What stands where: a function for each that gives its names, Python 3's module being the argument

def _adapted(*functions):
    """Names of functions of bytes, as functions of strings."""
    def make(base):
        from virtvm.autotest.python2.text import adapted
        return {name: adapted(getattr(base, name)) for name in functions if hasattr(base, name)}
    return make


def _array(base):
    import array

    from virtvm.autotest.python2.text import from_bytes, to_bytes

    class Array(array.array):
        """array.array, with the names and strings of Python 2."""

        def __new__(cls, typecode, initial=()):
            if isinstance(initial, str) and typecode != "u":
                initial = to_bytes(initial)
            return array.array.__new__(cls, "B" if typecode == "c" else typecode, initial)

        def tostring(self):
            """The bytes as str."""
            return from_bytes(self.tobytes())

        def fromstring(self, data):
            """Append what bytes, as str, stand for."""
            self.frombytes(to_bytes(data))

    return {"array": Array, "ArrayType": Array}


def _collections(base):
    from collections import abc
    return {name: getattr(abc, name) for name in ADDED["collections"]}


def _commands(base):
    import subprocess

    from virtvm.autotest.python2 import files
    from virtvm.autotest.python2.text import from_bytes

    def getstatusoutput(cmd):
        """(wait status, stdout and stderr less one newline) of a command line."""
        done = subprocess.run(cmd, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        text = from_bytes(done.stdout)
        return files.wait_status(done.returncode), text[:-1] if text.endswith("\n") else text

    def getoutput(cmd):
        """What a command line prints, less one newline."""
        return getstatusoutput(cmd)[1]

    def mkarg(x):
        """A blank, and the text quoted for a shell."""
        import shlex
        return " " + shlex.quote(x)

    return {"getstatusoutput": getstatusoutput, "getoutput": getoutput, "mkarg": mkarg}


def _config_parser(base):
    import configparser

    class _Parser:
        def __init__(self, defaults=None, dict_type=dict, allow_no_value=False):
            super().__init__(defaults, dict_type, allow_no_value, strict=False, inline_comment_prefixes=(";",))

        def readfp(self, fp, filename=None):
            """Read from a file, or whatever gives lines."""
            self.read_file(fp, filename)

        def read(self, filenames):
            """Read files; those that are not there are left out."""
            return super().read(filenames, encoding="latin-1")

        def get(self, section, option, raw=False, vars=None, **kwargs):
            """The value of an option."""
            return super().get(section, option, raw=raw, vars=vars, **kwargs)

        def write(self, fp):
            """Write all of it to a file."""
            super().write(fp)

    class RawConfigParser(_Parser, configparser.RawConfigParser):
        """ConfigParser.RawConfigParser."""

    class ConfigParser(_Parser, configparser.ConfigParser):
        """ConfigParser.ConfigParser and SafeConfigParser."""

        def set(self, section, option, value=None):
            """Set an option, to anything that has a text."""
            super().set(section, option, value if value is None else str(value))

    names = {name: getattr(configparser, name) for name in configparser.__all__ if name.endswith("Error")}
    return dict(names, RawConfigParser=RawConfigParser, ConfigParser=ConfigParser,
                SafeConfigParser=ConfigParser, DEFAULTSECT=configparser.DEFAULTSECT)


def _hashlib(base):
    import hashlib

    from virtvm.autotest.python2.text import from_bytes, to_bytes

    class Hash:
        """A hash that is fed with str."""

        def __init__(self, real):
            self._real = real

        def __getattr__(self, name):
            if name == "_real":
                raise AttributeError(name)
            return getattr(self._real, name)

        def update(self, data):
            """Feed it."""
            self._real.update(to_bytes(data))

        def digest(self):
            """The digest, a character a byte."""
            return from_bytes(self._real.digest())

        def copy(self):
            """One that has been fed the same."""
            return Hash(self._real.copy())

    def new(name, data=""):
        """A hash by its name."""
        return Hash(hashlib.new(name, to_bytes(data), usedforsecurity=False))

    def named(name):
        return lambda data="": new(name, data)

    return dict({name: named(name) for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")}, new=new)


def _one_hash(name, *functions):
    def make(base):
        function = _hashlib(None)[name]
        return dict.fromkeys(functions, function)
    return make


def _imp(base):
    from virtvm.autotest.python2 import imp
    return {name: value for name, value in vars(imp).items() if not name.startswith("_")}


def _inspect(base):
    from collections import namedtuple

    def getargspec(function):
        """(args, varargs, keywords, defaults)."""
        full = base.getfullargspec(function)
        return ArgSpec(full.args, full.varargs, full.varkw, full.defaults)

    ArgSpec = namedtuple("ArgSpec", "args varargs keywords defaults")
    return {"getargspec": getargspec}


def _itertools(base):
    return {"ifilter": filter, "ifilterfalse": base.filterfalse, "imap": map, "izip": zip,
            "izip_longest": base.zip_longest}


def _logging(base):
    return {"warn": base.warning}


def _math(base):
    return {"floor": lambda x: float(base.floor(x)), "ceil": lambda x: float(base.ceil(x))}


def _new(base):
    return {"classobj": type, "function": types.FunctionType, "module": types.ModuleType,
            "instancemethod": lambda function, instance, cls=None: types.MethodType(function, instance)}


def _operator(base):
    from collections import abc
    from numbers import Number

    from virtvm.autotest.python2 import runtime
    return {"div": runtime.div, "isCallable": callable, "sequenceIncludes": base.contains,
            "isMappingType": lambda x: isinstance(x, abc.Mapping),
            "isNumberType": lambda x: isinstance(x, Number),
            "isSequenceType": lambda x: isinstance(x, abc.Sequence), "repeat": base.mul}


def _os(base):
    import errno

    from virtvm.autotest.python2 import files

    def tmpfile():
        """A file without a name."""
        import tempfile
        return files.File.over(tempfile.TemporaryFile("w+b"), "w+b")

    return {"errno": errno, "fdopen": files.fdopen, "getcwdu": base.getcwd, "popen": files.popen,
            "popen2": files.popen2, "popen3": files.popen3, "popen4": files.popen4, "read": files.read,
            "write": files.write, "tmpfile": tmpfile,
            "urandom": lambda size: str(base.urandom(size), "latin-1")}


def _pickle(base):
    import pickle

    from virtvm.autotest.python2 import files
    from virtvm.autotest.python2.text import from_bytes, to_bytes

    class _Reader:
        def __init__(self, file):
            self.read = lambda size=-1: to_bytes(file.read(size))
            self.readline = lambda: to_bytes(file.readline())

    def binary(file):
        return file._file if isinstance(file, files.File) else _Reader(file)

    def load(file):
        """The object in a file."""
        return pickle.load(binary(file), encoding="latin-1")

    def loads(data):
        """The object in a str."""
        return pickle.loads(to_bytes(data), encoding="latin-1")

    def dump(obj, file, protocol=0):
        """Write an object to a file."""
        file.write(from_bytes(pickle.dumps(obj, protocol)))

    def dumps(obj, protocol=0):
        """An object as str."""
        return from_bytes(pickle.dumps(obj, protocol))

    return dict({name: getattr(pickle, name) for name in pickle.__all__},
                load=load, loads=loads, dump=dump, dumps=dumps)


def _pipes(base):
    import shlex
    return {"quote": shlex.quote}


def _platform(base):
    def linux_distribution(*args, **kwargs):
        """(name, version, code name) from /etc/os-release."""
        values = {}
        try:
            with open("/etc/os-release", encoding="utf-8") as f:
                values = dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line)
        except OSError as e:
            signals.let_out(e)
        return tuple(values.get(key, "").strip('"') for key in ("ID", "VERSION_ID", "VERSION_CODENAME"))

    return {"linux_distribution": linux_distribution, "dist": linux_distribution}


def _popen2(base):
    from virtvm.autotest.python2 import files
    # Here the output comes first.
    return {"popen2": lambda command, bufsize=-1, mode="t": files.popen2(command)[::-1],
            "popen4": lambda command, bufsize=-1, mode="t": files.popen4(command)[::-1],
            "popen3": lambda command, bufsize=-1, mode="t": [files.popen3(command)[i] for i in (1, 0, 2)]}


def _re(base):
    """Patterns of old: an escape of any letter meant the letter, and flags could stand anywhere."""
    escape = base.compile(r"\\(\\|[^a-zA-Z]|[abBdDfnrsStvwWxAZ])|\\(.)", base.S)
    flags = base.compile(r"\(\?([aiLmsux]+)\)")

    def mend(pattern):
        """The same pattern as Python 3 takes it."""
        pattern = escape.sub(lambda m: m.group(0) if m.group(2) is None else m.group(2), pattern)
        found = flags.findall(pattern)
        return "(?%s)%s" % ("".join(found), flags.sub("", pattern)) if found else pattern

    def tolerant(function):
        def call(pattern, *args, **kwargs):
            try:
                return function(pattern, *args, **kwargs)
            except (base.error, DeprecationWarning):     # 3.9 and 3.10 only warn
                if not isinstance(pattern, str):
                    raise
                return function(mend(pattern), *args, **kwargs)
        call.__name__, call.__doc__ = function.__name__, function.__doc__
        return call

    def replacing(function):
        template = base.compile(r"\\(.)", base.S)

        def literal(m):
            known = m.group(1) in "abfgnrtv" or not m.group(1).isalpha()
            return m.group(0) if known else "\\" + m.group(0)

        def call(pattern, repl, *args, **kwargs):
            if isinstance(repl, str):
                repl = template.sub(literal, repl)
            return tolerant(function)(pattern, repl, *args, **kwargs)
        call.__name__, call.__doc__ = function.__name__, function.__doc__
        return call

    names = {name: tolerant(getattr(base, name)) for name in
             ("compile", "search", "match", "findall", "finditer", "split")}
    return dict(names, sub=replacing(base.sub), subn=replacing(base.subn))


def _socket(base):
    from virtvm.autotest.python2 import files

    def create_connection(*args, **kwargs):
        """As socket.create_connection()."""
        return files.over_socket(base.create_connection(*args, **kwargs))

    def fromfd(*args):
        """As socket.fromfd()."""
        return files.over_socket(base.fromfd(*args))

    def socketpair(*args):
        """As socket.socketpair()."""
        return tuple(map(files.over_socket, base.socketpair(*args)))

    names = _adapted("inet_aton", "inet_ntoa", "inet_ntop", "inet_pton")(base)
    names["inet_pton"] = lambda family, text: str(base.inet_pton(family, text), "latin-1")
    names["inet_aton"] = lambda text: str(base.inet_aton(text), "latin-1")
    return dict(names, socket=files.Socket, SocketType=files.Socket, create_connection=create_connection,
                fromfd=fromfd, socketpair=socketpair)


def _string(base):
    letters = base.ascii_letters

    def method(name):
        return lambda s, *args: getattr(s, name)(*args)

    def maketrans(old, new):
        """A table for translate()."""
        table = [chr(i) for i in range(256)]
        for a, b in zip(old, new):
            table[ord(a)] = b
        return "".join(table)

    def join(words, sep=" "):
        """The words with sep between them."""
        return sep.join(words)

    def translate(s, table, deletions=""):
        """s without deletions, each character replaced."""
        from virtvm.autotest.python2 import runtime
        return runtime.translate(s, table, deletions)

    def zfill(s, width):
        """s with zeros in front; what is no string is one by repr()."""
        return (s if isinstance(s, str) else repr(s)).zfill(width)

    methods = ("capitalize", "center", "count", "expandtabs", "find", "index", "ljust", "lower", "lstrip",
               "replace", "rfind", "rindex", "rjust", "rsplit", "rstrip", "split", "strip", "swapcase",
               "upper")
    return dict({name: method(name) for name in methods}, letters=letters, lowercase=base.ascii_lowercase,
                uppercase=base.ascii_uppercase, maketrans=maketrans, join=join, joinfields=join,
                splitfields=method("split"), translate=translate, zfill=zfill, index_error=ValueError,
                atoi=lambda s, radix=10: int(s, radix), atol=lambda s, radix=10: int(s, radix), atof=float)


def _string_io(base):
    from virtvm.autotest.python2 import files
    return {"StringIO": files.StringIO}


def _struct(base):
    from virtvm.autotest.python2.text import adapted, from_bytes, to_bytes

    def strings(values):
        return tuple(from_bytes(value) if isinstance(value, bytes) else value for value in values)

    def pack(fmt, *values):
        """The values as str, a character a byte."""
        return adapted(base.pack)(fmt, *values)

    def unpack(fmt, data):
        """The values (tuple) that a str stands for."""
        return strings(base.unpack(fmt, to_bytes(data)))

    def unpack_from(fmt, data, offset=0):
        """The values (tuple) that stand in a str."""
        return strings(base.unpack_from(fmt, to_bytes(data), offset))

    return {"pack": pack, "unpack": unpack, "unpack_from": unpack_from}


def _subprocess(base):
    from virtvm.autotest.python2 import files
    return {"Popen": files.Popen, "call": files.call, "check_call": files.check_call,
            "check_output": files.check_output}


def _sys(base):
    return {"maxint": base.maxsize, "exc_clear": lambda: None, "setdefaultencoding": lambda name: None,
            "setcheckinterval": lambda count: None, "subversion": ("CPython", "", "")}


class _SysView(View):
    """sys, with the exception that is being handled."""

    @property
    def exc_type(self):
        """Its class."""
        return sys.exc_info()[0]

    @property
    def exc_value(self):
        """The exception itself."""
        return sys.exc_info()[1]

    @property
    def exc_traceback(self):
        """Its traceback."""
        return sys.exc_info()[2]


def _tempfile(base):
    from virtvm.autotest.python2 import files

    def wrapped(make):
        def temporary(mode="w+b", bufsize=-1, *args, **kwargs):
            binary = mode if "b" in mode else mode + "b"
            return files.File.over(make(binary, bufsize, None, None, *args, **kwargs), mode)
        return temporary

    return {"TemporaryFile": wrapped(base.TemporaryFile), "NamedTemporaryFile": wrapped(base.NamedTemporaryFile)}


def _thread(base):
    return {"start_new": base.start_new_thread, "allocate": base.allocate_lock}


def _threading(base):
    return {"_Condition": base.Condition, "_Event": base.Event, "_RLock": base._RLock,
            "_Semaphore": base.Semaphore, "_Timer": base.Timer}


def _time(base):
    return {"clock": base.process_time}


def _types(base):
    from virtvm.autotest.python2 import files
    return {"BooleanType": bool, "BufferType": memoryview, "ClassType": type, "ComplexType": complex,
            "DictType": dict, "DictionaryType": dict, "EllipsisType": type(Ellipsis), "FileType": files.File,
            "FloatType": float, "InstanceType": object, "IntType": int, "ListType": list, "LongType": int,
            "NoneType": type(None), "NotImplementedType": type(NotImplemented), "ObjectType": object,
            "SliceType": slice, "StringType": str, "StringTypes": (str,), "TupleType": tuple, "TypeType": type,
            "UnboundMethodType": types.FunctionType, "UnicodeType": str, "XRangeType": range}


def _opener(request):
    def urlopen(url, data=None, *args, **kwargs):
        """The answer to a request, as a file."""
        from virtvm.autotest.python2 import files
        from virtvm.autotest.python2.text import to_bytes
        return files.File.over(request.urlopen(url, None if data is None else to_bytes(data), *args, **kwargs))
    return urlopen


def _urllib(base):
    from urllib import error, parse, request
    names = {}
    for name in ADDED["urllib"]:
        for module in (parse, request, error):
            if hasattr(module, name):
                names[name] = getattr(module, name)
    return dict(names, urlopen=_opener(request))


def _urllib2(base):
    from urllib import error, request
    names = {name: value for module in (error, request) for name, value in vars(module).items()
             if not name.startswith("_") and not isinstance(value, types.ModuleType)}
    return dict(names, urlopen=_opener(request))


_MAKERS = {
    "ConfigParser": _config_parser, "StringIO": _string_io, "array": _array,
    "base64": _adapted("b64encode", "b64decode", "b32encode", "b32decode", "b16encode", "b16decode",
                       "urlsafe_b64encode", "urlsafe_b64decode", "standard_b64encode", "standard_b64decode"),
    "binascii": _adapted("a2b_base64", "a2b_hex", "a2b_uu", "b2a_base64", "b2a_hex", "b2a_uu", "crc32",
                         "hexlify", "unhexlify"),
    "cPickle": _pickle, "cStringIO": _string_io, "collections": _collections, "commands": _commands,
    "fcntl": _adapted("fcntl", "ioctl"),
    "hashlib": _hashlib, "imp": _imp, "inspect": _inspect, "itertools": _itertools, "logging": _logging,
    "math": _math, "md5": _one_hash("md5", "md5", "new"), "new": _new, "operator": _operator, "os": _os,
    "pickle": _pickle, "pipes": _pipes, "platform": _platform, "popen2": _popen2,
    "re": _re, "sha": _one_hash("sha1", "sha", "new"), "socket": _socket, "string": _string, "struct": _struct,
    "subprocess": _subprocess, "sys": _sys, "tempfile": _tempfile, "thread": _thread, "threading": _threading,
    "time": _time, "types": _types, "urllib": _urllib, "urllib2": _urllib2,
    "zlib": _adapted("adler32", "compress", "crc32", "decompress"),
}

# Names that the renamed module had, and its heir lacks.
_ALIASES = {
    "UserDict": lambda: {"IterableUserDict": importlib.import_module("collections").UserDict},
    "exceptions": lambda: {"StandardError": Exception},
    "sets": lambda: {"Set": set, "ImmutableSet": frozenset},
}
