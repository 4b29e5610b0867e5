"""From a source file to code that this Python runs, Python 2's translated.

What is Python 2?  Whatever Python 3 does not compile; and, of the rest, what uses
something that meant something else, unless it shows that it is Python 3's
(dialect.is_python3).  All other files are compiled as they are.

Translations are kept in the user's cache folder, under a key made of the file's path
and content and of all that has a part in translating it.
"""

import ast
import collections
import hashlib
import io
import marshal
import os
import re
import sys
import tokenize
import warnings

import virtvm
from virtvm import signals
from virtvm.autotest import hooks
from virtvm.autotest.python2 import caches
from virtvm.scratch import write_whole

Translated = collections.namedtuple("Translated", "code is_python2")

_MAGIC = b"virtvm translation 1\n"
_LITERAL_ESCAPE = re.compile(r"\\[uUN]")
_TAB_INDENT = re.compile(r"^ *\t", re.M)

_MOST_KEPT = 2000           # translations, about 10 KB each

_made = {}      # path: (key, Translated)


def _decode(data, path):
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError):
        # Python 2 took bytes in comments and strings as they came.
        if re.match(rb"(?:[^\n]*\n)?[^\n]*coding[:=]\s*(?!utf-?8)", data):
            raise SyntaxError("unknown encoding", (path, 1, 1, None)) from None
        return data.decode("latin-1")


def _bytes(path):
    with open(path, "rb") as f:
        return f.read()


def read(path):
    """The text of a source file, decoded as it declares (str), every line ending in a newline."""
    text = _decode(_bytes(path), path)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _show_lines(path, data):
    """Let tracebacks have the lines of a file whose encoding Python 3 does not accept."""
    if data.isascii():
        return
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError):
        import linecache
        text = _decode(data, path)
        linecache.cache[path] = len(data), None, text.splitlines(True), path


# Translating

# problems: [(node, reason)]; is_either: nothing in it means two things.
Analysis = collections.namedtuple("Analysis", "tree is_python2 problems is_either")


def analyse(text, path, mode="exec", look=None):
    """The tree of a source and what is wrong with it (Analysis); SyntaxError if nobody can read it.

    look: called with the tree before it is given Python 2's meaning.
    """
    look = look or (lambda tree: None)
    from virtvm.autotest.python2 import dialect, semantics, syntax
    tree, refusal = _parse3(text, path, mode)
    if tree is not None and dialect.is_python3(tree, text):
        look(tree)
        return Analysis(tree, False, [], False)
    marks, lines = {}, None
    if tree is None or _LITERAL_ESCAPE.search(text) or mode == "exec" and (
            dialect.has_print_statement(tree) or dialect.has_old_handler(tree)):
        try:
            converted = syntax.convert(text, path)
        except SyntaxError as e:
            raise _better(refusal, e) from None
        marks, lines = converted.marks, (text, converted.text)
        tree, again = _parse(converted.text, path, mode)
        if tree is None:
            raise _in_original(again, path, text)
    look(tree)
    module = tree if mode == "exec" else ast.Module([ast.copy_location(ast.Expr(tree.body), tree.body)], [])
    try:
        translation = semantics.translate(module, marks)
    except SyntaxError as e:
        raise _in_original(e, path, text) from None
    if mode == "eval":
        tree.body = module.body[0].value
    if refusal is None and not translation.changes and _is_same(lines):
        return Analysis(_parse(text, path, mode)[0], False, [], True)
    if lines is not None:
        _forget_columns(tree, lines)
    return Analysis(tree, True, translation.problems, False)


def _is_same(lines):
    """Whether Python 2's syntax was Python 3's."""
    return lines is None or lines[0].rstrip("\n") == lines[1].rstrip("\n")


def _parse(text, path, mode):
    """(tree, None), or (None, SyntaxError)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")         # "\d" in strings is as old as the hills
        try:
            return ast.parse(text, path, mode), None
        except (SyntaxError, ValueError) as e:
            return None, e if isinstance(e, SyntaxError) else SyntaxError(str(e), (path, 1, 1, None))


def _parse3(text, path, mode):
    """The same, if Python 3 would not only parse but also compile it."""
    tree, refusal = _parse(text, path, mode)
    if tree is not None:
        try:
            _compile(tree, path, mode)
        except SyntaxError as e:
            return None, e
    return tree, refusal


def _compile(tree, path, mode="exec"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile(tree, path, mode, dont_inherit=True)


def _better(refusal, e):
    """Of two complaints, the one that comes from whoever got further."""
    return refusal if refusal is not None and (refusal.lineno or 0) >= (e.lineno or 0) else e


def _in_original(e, path, text):
    """The complaint, showing the line that the user wrote."""
    from virtvm.autotest.python2 import syntax
    return syntax.syntax_error(e.msg, path, text, e.lineno or 1, 1)


def _forget_columns(tree, lines):
    """On lines that were changed, columns would point at nothing."""
    old, new = (text.split("\n") for text in lines)
    changed = {i + 1 for i, (a, b) in enumerate(zip(old, new)) if a != b}
    for node in ast.walk(tree):
        if getattr(node, "lineno", None) in changed or getattr(node, "end_lineno", None) in changed:
            node.col_offset = node.end_col_offset = -1


def compile_text(text, path, mode="exec"):
    """The code of a source text, Python 2 or 3."""
    tree = analyse(text, path, mode).tree
    return _compile(tree, path, mode)


# Files, and the cache

def translated(path):
    """The code in a source file (Translated).  OSError, or SyntaxError with the file's own line."""
    path = os.path.abspath(path)
    data = _bytes(path)
    key = _key(path, data)
    known, result = _made.get(path, (None, None))
    if known != key:
        _show_lines(path, data)
        result = _load(key) or _translate_file(path, key)
        _made[path] = key, result
    return result


def _translate_file(path, key):
    text = read(path)
    analysis = analyse(text, path)
    try:
        result = Translated(_compile(analysis.tree, path), analysis.is_python2)
    except SyntaxError as e:
        raise _in_original(e, path, text) from None
    _store(key, result)
    return result


def _key(path, data):
    parts = [virtvm.__version__, sys.version, str(sys.flags.optimize), _own_state(), path]
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape"))
    digest.update(b"\0" + data)
    return digest.hexdigest()


def _own_state():
    """What changes when this translator does."""
    global _own
    if _own is None:
        folder = os.path.dirname(os.path.abspath(__file__))
        names = ["translate", "dialect", "syntax", "semantics", "builtins", "modules", "runtime"]
        stats = [os.stat(os.path.join(folder, name + ".py")) for name in names]
        _own = ",".join("%d/%d" % (stat.st_mtime_ns, stat.st_size) for stat in stats)
    return _own


_own = None


def cache_folder():
    """Where translations are kept (str)."""
    return caches.folder("translated")


def _load(key):
    """A translation that was kept, or None."""
    try:
        with open(os.path.join(cache_folder(), key), "rb") as f:
            # It is run: nobody else may have written it.
            if os.fstat(f.fileno()).st_uid != os.geteuid():
                return None
            data = f.read()
    except OSError as e:
        signals.let_out(e)
        return None
    head, digest, body = data[:len(_MAGIC)], data[len(_MAGIC):len(_MAGIC) + 32], data[len(_MAGIC) + 32:]
    if head != _MAGIC or hashlib.sha256(body).digest() != digest:
        return None
    return Translated(*marshal.loads(body))


def _store(key, result):
    """Keep a translation; if that can't be done, it is made again next time."""
    body = marshal.dumps(tuple(result))
    folder = cache_folder()
    try:
        signals.makedirs(folder, mode=0o700, exist_ok=True)
        write_whole(os.path.join(folder, key), _MAGIC + hashlib.sha256(body).digest() + body)
        _prune(folder)
    except OSError as e:
        signals.let_out(e)


def _prune(folder):
    """Drop the older half of the cache when there is too much of it."""
    names = os.listdir(folder)
    if len(names) <= _MOST_KEPT:
        return
    paths = [os.path.join(folder, name) for name in names]
    times = {path: os.stat(path).st_mtime_ns for path in paths if signals.exists(path)}
    for path in sorted(times, key=times.get)[:len(times) // 2]:
        with signals.suppress(FileNotFoundError):       # somebody else may do the same
            os.unlink(path)


hooks.compiler = sys.modules[__name__]
