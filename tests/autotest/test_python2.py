"""Python 2 on Python 3: what runs, where it says it is, and what is left alone."""

import glob
import os
import pickle
import subprocess
import sys
import textwrap
import traceback

import pytest
from support.autotest_tree import environment, python, write
from virtvm import autotest
from virtvm.autotest.python2 import translate

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = sorted(glob.glob(os.path.join(HERE, "python2", "*.py")))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VIRTVM_AUTOTEST_DIR", raising=False)
    yield tmp_path / "cache" / "virtvm" / "translated"
    autotest.uninstall()


def load(folder, text, name="sample.py"):
    write(folder, {name: text})
    return autotest.load_test(os.path.join(str(folder), name))


@pytest.mark.parametrize("path", SOURCES, ids=os.path.basename)
def test_prints_what_python2_printed(path, tmp_path):
    code = "from virtvm import autotest; autotest.load_test(%r)" % path
    done = subprocess.run([sys.executable, "-c", code], cwd=str(tmp_path), env=environment(tmp_path / "cache"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=50, check=False)
    assert done.stderr.decode() == "error\n" * done.stderr.count(b"error\n")
    assert done.returncode == 0
    with open(path[:-len(".py")] + ".out", encoding="utf-8") as f:
        assert done.stdout.decode() == f.read()


def test_nothing_beside_the_source_is_written(tmp_path):
    write(tmp_path / "tests", {"one.py": "print 'x'\n"})
    autotest.load_test(str(tmp_path / "tests" / "one.py"))
    assert os.listdir(str(tmp_path / "tests")) == ["one.py"]


# Lines

LINES = '''
    import os
    def outer((a, b)):
        """Text."""
        text = """
    two lines""" + 'x' \\
            + `a`
        print >>open(os.devnull, "w"), text, \\
            b
        try:
            inner(a, b)
        except (KeyError,
                ValueError), e:
            print >>open(os.devnull, "w"), e
        return inner(
            a,
            b / 0)


    def inner(a, b):
        if a <> b:

            raise ZeroDivisionError, "here"
    '''


def test_tracebacks_have_the_lines_and_the_text_of_the_original(tmp_path):
    module = load(tmp_path, LINES)
    with pytest.raises(ZeroDivisionError) as caught:
        module.outer((1, 2))
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [(f.filename, f.lineno, f.line) for f in frames[-2:]] == [
        (str(tmp_path / "sample.py"), 10, "inner(a, b)"),
        (str(tmp_path / "sample.py"), 22, 'raise ZeroDivisionError, "here"')]
    text = "".join(traceback.format_exception(None, caught.value, caught.value.__traceback__))
    assert "__virtvm__" not in text.split("sample.py", 1)[1]


def test_the_loader_gives_the_source(tmp_path):
    module = load(tmp_path, LINES)
    import inspect
    assert inspect.getsource(module.inner).startswith("def inner(a, b):\n    if a <> b:")
    assert module.__loader__.get_source(module.__name__).startswith("import os\ndef outer((a, b))")
    assert module.__file__ == str(tmp_path / "sample.py")


def test_text_in_an_old_encoding(tmp_path):
    source = b"# caf\xe9\nNAME = 'x'\nprint >>None, ''\ndef fail():\n    raise E, NAME  # \xe9\n"
    (tmp_path / "latin.py").write_bytes(source)
    module = autotest.load_test(str(tmp_path / "latin.py"))
    with pytest.raises(NameError) as caught:
        module.fail()
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (frame.lineno, frame.line) == (5, "raise E, NAME  # \xe9")


# Syntax that nobody knows

@pytest.mark.parametrize("text, line, shown", [
    ("print 'a'\nx = = 1\n", 2, "x = = 1"),
    ("print 'a'\nx = (1,\n", 2, None),
    ("print 'a'\n\n  y = 1\n", 3, "  y = 1"),
    ("def f():\n    print 'a'\n    from os import *\n", 3, "    from os import *"),
    ("x = 1\nasync def f():\n    await = 1\n", 3, "    await = 1"),
])
def test_a_syntax_error_shows_the_users_own_line(tmp_path, text, line, shown):
    with pytest.raises(SyntaxError) as caught:
        load(tmp_path, text)
    assert caught.value.filename == str(tmp_path / "sample.py")
    assert caught.value.lineno >= line
    if shown is not None:
        assert (caught.value.lineno, caught.value.text.rstrip("\n")) == (line, shown)


# What is left alone

PYTHON3 = {
    "f-string": "def half(n):\n    return n / 2, f'{n}', map(str, [n])\n",
    "annotation": "def half(n: int):\n    return n / 2, '', map(str, [n])\n",
    "keyword only": "def half(n, *, m=1):\n    return n / 2, '', map(str, [n])\n",
    "shebang": "#!/usr/bin/env python3\ndef half(n):\n    return n / 2, '', map(str, [n])\n",
    "new module": "import pathlib\ndef half(n):\n    return n / 2, '', map(str, [n])\n",
    "keyword of open": "def half(n):\n    return n / 2, open('/dev/null', encoding='utf-8').close(), map(str, [n])\n",
    "name in a module": "import time\ndef half(n):\n    return n / 2, time.monotonic(), map(str, [n])\n",
    "print to a file": "import sys\ndef half(n):\n    return n / 2, print('', file=sys.stderr), map(str, [n])\n",
    "keyword of a method": "import os\ndef half(n):\n    os.makedirs('/', exist_ok=True)\n"
                           "    return n / 2, '', map(str, [n])\n",
    "starred": "a, *b = 1, 2\ndef half(n):\n    return n / 2, b, map(str, [n])\n",
    "super": "class A:\n    def f(self):\n        super().f()\ndef half(n):\n    return n / 2, '', map(str, [n])\n",
}


@pytest.mark.parametrize("sign", PYTHON3)
def test_python3_is_python3(tmp_path, sign):
    module = load(tmp_path, PYTHON3[sign])
    assert module.half(3)[0] == 1.5 and not isinstance(module.half(3)[2], list)
    assert not translate.translated(str(tmp_path / "sample.py")).is_python2


def test_a_file_that_is_both_is_compiled_as_it_is(tmp_path):
    text = textwrap.dedent('''
        import logging, time, os, warnings
        from autotest_lib.client.common_lib import error


        @error.context_aware
        def run_both(test, params, env):
            """Nothing in it means two things."""
            names = sorted(os.listdir("/"), key=len, reverse=True)
            names.sort()
            warnings.warn if len(names) > 10**6 else None
            for i in range(3):
                for a, b in zip("ab", "cd"):
                    logging.info("%s %d", a, i)
            try:
                return os.path.join("a", str(len(params)))
            except (KeyError, OSError):
                raise error.TestFail("no")
        ''')
    write(tmp_path, {"sample.py": text})
    translated = translate.translated(str(tmp_path / "sample.py"))
    assert not translated.is_python2
    assert translated.code == compile(text.lstrip(), str(tmp_path / "sample.py"), "exec", dont_inherit=True)
    assert autotest.load_test(str(tmp_path / "sample.py")).run_both(None, {}, None) == "a%s0" % os.sep


@pytest.mark.parametrize("text, value", [
    ("value = 7 / 2", 3),
    ("from __future__ import division\nvalue = 7 / 2", 3.5),
    ("from __future__ import print_function\nimport sys\nprint('', file=sys.stderr)\nvalue = 7 / 2", 3),
    ("value = map(str, [1])", ["1"]),
    ("value = {1: 2}.keys()", [1]),
    ("import commands\nvalue = commands.getoutput('echo x')", "x"),
    ("import string\nvalue = string.letters[:3]", "abc"),
    ("value = len(open('/proc/self/comm').read()) > 0", True),
    ("def map(f, l):\n    return 'mine'\nvalue = map(str, [1])", "mine"),
])
def test_a_file_that_both_compile_but_take_otherwise_is_python2(tmp_path, text, value):
    assert load(tmp_path, text + "\n").value == value


@pytest.mark.parametrize("text", [
    "def start(name, daemon=False):\n    return 7/2\nvalue = start('x', daemon=True)",
    "class Run:\n    def makedirs(self, exist_ok=0):\n        return 7/2\nvalue = Run().makedirs(exist_ok=1)",
    "def print_(**words):\n    return 7/2\nvalue = print_(missing_ok=1, capture_output=2, start_new_session=3)",
    "value = (7/2, dict(daemon=1, exist_ok=2))[0]"])
def test_words_of_a_file_s_own_do_not_say_that_it_is_python3(tmp_path, text):
    assert load(tmp_path, text + "\n").value == 3


CHAINS = """
print ""
calls = []
def f(x):
    calls.append(x)
    return x
class A(object):
    value = 0 < "5" < 10, [1 < n <= "a" for n in (2, None, "b")]
chains = [0 < "5" < 10, None < f(0) <= f("a") < f([]), 1 < f(0) < f(9), 0 < 1 == f(1) != 2, 0 < 1 in [1, 2],
          not 3 > f("x") > 1, 2 not in [1] > None, 1 < None is None, 0 < calls is calls, 0 < calls is not calls == 1]
"""


def test_chains_compare_as_single_comparisons_do(tmp_path):
    """What CPython 2.7 gives: numbers stand before lists, those before texts; a link is asked for once, or never."""
    module = load(tmp_path, CHAINS)
    assert module.A.value == (False, [True, False, False])
    assert module.chains == [False, False, False, True, True, True, True, False, True, False]
    assert module.calls == [0, "a", [], 0, 1, "x"]


ORDERS = [((1, None), (1, 2)), ([1, 2], [1, "a"]), ([[1], None], [[1], [0]]), ((1,), (1, None)), ([None, "x"], [0]),
          ({"a": None}, {"a": 1}), ({"a": 1}, {"a": None, "b": 0}), ({"a": 1, "b": "x"}, {"a": 1, "c": 0}),
          ({1: 0}, {"a": 0}), ((1, {"a": None}), (1, {"a": 0}))]


@pytest.mark.parametrize("less, more", ORDERS, ids=repr)
def test_what_holds_unlike_kinds_has_an_order(less, more):
    """As CPython 2.7 has it, in both directions, and none of the helpers disagrees with another."""
    from virtvm.autotest.python2 import runtime
    assert (runtime.cmp(less, more), runtime.cmp(more, less), runtime.cmp(less, less)) == (-1, 1, 0)
    assert sorted([more, less, more], key=runtime.ordered) == [less, more, more]
    assert runtime.less(less, more) and not runtime.less(more, less)
    assert runtime.less_or_equal(less, more) and runtime.greater_or_equal(more, less)
    assert not runtime.greater(less, more)


def test_what_has_no_order_has_one_that_does_not_contradict_itself():
    from virtvm.autotest.python2 import runtime
    things = [object(), object(), [object()], 1j, 2j]
    for a in things:
        assert [runtime.cmp(a, b) for b in things] == [-runtime.cmp(b, a) for b in things]


@pytest.mark.parametrize("text, filled", [
    ("5, 3", "005"), ("'-5', 4", "-005"), ("1.5, 6", "0001.5"), ("None, 6", "00None")])
def test_zfill_takes_what_is_no_string(tmp_path, text, filled):
    assert load(tmp_path, "import string\nprint ''\nvalue = string.zfill(%s)\n" % text).value == filled


def test_names_of_python2_are_in_translated_modules_alone(tmp_path):
    python("""
        import builtins, os, socket, string, subprocess, sys, threading
        before = {module: dict(vars(module)) for module in
                  (builtins, os, socket, string, subprocess, sys, threading, threading.Thread, socket.socket)}
        from virtvm import autotest
        open("old.py", "w").write('''import string, socket, sys, os, threading
        print string.letters[:1], unicode("x"), sys.maxint > 0, os.getcwdu() > "", 3 / 2
        string.new_thing = 1
        '''.replace("        ", ""))
        autotest.load_test("old.py")
        assert string.new_thing == 1        # set on the module itself
        del string.new_thing
        assert "commands" not in sys.modules and "ConfigParser" not in sys.modules
        for module, names in before.items():
            now = dict(vars(module))
            assert {n: now[n] for n in names if n != "meta_path"} == {n: names[n] for n in names if n != "meta_path"}
            assert module is sys or set(now) == set(names), set(now) ^ set(names)
        """, tmp_path)


def test_classes_that_are_pickled_by_their_arguments(tmp_path):
    module = load(tmp_path, """
        class Kept:
            def __init__(self, name):
                self.name, self.calls = name, ["made"]

            def __getinitargs__(self):
                exec ""
                return (self.name,)


        class Below(Kept):
            def __getstate__(self):
                return {"state": 1}
        """)
    kept = module.Kept("k")
    kept.calls.append("used")
    assert pickle.loads(pickle.dumps(kept)).calls == ["made", "used"]
    below = pickle.loads(pickle.dumps(module.Below("b")))
    assert vars(below) == {"name": "b", "calls": ["made"], "state": 1}


def test_is_alive_of_the_librarys_threads(tmp_path):
    module = load(tmp_path, """
        import threading

        def run():
            thread = threading.Thread(target=threading.Event().isSet)
            thread.start()
            thread.join()
            return thread.isAlive(), threading.currentThread().isAlive()
        """)
    assert module.run() == (False, True)


# The cache

def test_a_translation_is_kept_and_used(tmp_path, own_cache, monkeypatch):
    path = write(tmp_path, {"sample.py": "print >>None, ''\nVALUE = 7 / 2\n"}) + "/sample.py"
    first = translate.translated(path)
    assert len(os.listdir(str(own_cache))) == 1
    assert os.stat(str(own_cache)).st_mode & 0o77 == 0

    def refuse(*args, **kwargs):
        raise AssertionError("translated again")

    monkeypatch.setattr(translate, "_made", {})
    monkeypatch.setattr(translate, "analyse", refuse)
    again = translate.translated(path)
    assert again == first and again is not first
    write(tmp_path, {"sample.py": "print >>None, ''\nVALUE = 9 / 2\n"})
    with pytest.raises(AssertionError):
        translate.translated(path)


@pytest.mark.parametrize("damage", [b"", b"virtvm translation 1\n", b"virtvm translation 1\n" + 40 * b"x", None])
def test_a_damaged_translation_is_made_again(tmp_path, own_cache, monkeypatch, damage):
    path = write(tmp_path, {"sample.py": "print >>None, ''\nVALUE = 7 / 2\n"}) + "/sample.py"
    first = translate.translated(path)
    (kept,) = own_cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage if damage is not None else whole[:-1] + bytes([whole[-1] ^ 1]))
    monkeypatch.setattr(translate, "_made", {})
    assert translate.translated(path) == first
    assert kept.read_bytes() == whole


def test_without_a_cache_it_is_translated_each_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load(tmp_path, "print >>None, ''\nVALUE = 7 / 2\n").VALUE == 3


def test_many_may_translate_at_once(tmp_path, own_cache):
    write(tmp_path, {"sample.py": "print 7 / 2\n" * 200})
    code = "from virtvm import autotest; autotest.load_test('sample.py')"
    children = [subprocess.Popen([sys.executable, "-c", code], cwd=str(tmp_path), stdout=subprocess.PIPE,
                                 env=environment(tmp_path / "cache")) for _ in range(4)]
    for child in children:
        assert child.communicate(timeout=50)[0] == b"3\n" * 200
        assert child.returncode == 0
    assert len(os.listdir(str(own_cache))) == 1


# Other things that imports and texts need

def test_python2_on_a_path_that_a_test_adds(tmp_path):
    write(tmp_path / "lib", {"libhelper/__init__.py": "LOW = 010\nfrom libhelper import deeper\nHALF = 7 / 2\n",
                             "libhelper/deeper.py": "import threading\nLOW = 0777\n",
                             "plainhelper.py": "def half(n): return n / 2\n"})
    code = """
        import sys
        sys.path.append(%r)
        import libhelper, plainhelper
        from libhelper import deeper
        value = libhelper.HALF, deeper.LOW, deeper is libhelper.deeper, plainhelper.half(3)
        print >>None, ""
        """ % str(tmp_path / "lib")
    try:
        # What Python 3 reads itself is its own affair.
        assert load(tmp_path, code).value == (3, 511, True, 1.5)
    finally:
        sys.path.remove(str(tmp_path / "lib"))
        sys.modules.pop("plainhelper", None)


def test_the_u_of_texts_that_are_compared(tmp_path):
    module = load(tmp_path, '''
        import json
        state = json.loads('{"running": true}')
        found = "u'running': True" in str(state), "u'x'" == repr(u"x")
        kept = "qemu'x", "-u'user'", "u'", 'a u" b'
        ''')
    assert module.found == (True, True)
    assert module.kept == ("qemu'x", "-u'user'", "u'", 'a u" b')


def test_a_name_that_leaks_from_a_list_is_told(tmp_path):
    write(tmp_path, {"sample.py": "def f(l):\n    a = [x for x in l]\n    b = [y for y in l for z in y]\n"
                                  "    y = 1\n    print x, y\nx = 0\n"})
    assert autotest.check([str(tmp_path / "sample.py")]) == []       # there is another x
    write(tmp_path, {"sample.py": "def f(l):\n    a = [x for x in l]\n    print a, x\n"})
    (problem,) = autotest.check([str(tmp_path / "sample.py")])
    assert (problem.line, problem.message) == (3, "x is known within the list only")


@pytest.mark.parametrize("text, lines", [
    ("l = [i for i in range(3)]; print i\n", [1]), ("l = [i for i in 'a']\ndef f():\n    return i\nprint f()\n", [3]),
    ("l = [i for i in 'a']\nclass A:\n    x = i\n    def f(self):\n        print i\n", [3, 5]),
    ("class A:\n    l = [i for i in 'a']\n    print i\n", [3]),
    ("for i in 'a':\n    l = [i for i in 'a']\nprint i\n", []),
    ("l = [i for i in 'a']\ndef f(i):\n    print i\n", []), ("l = [i for i in 'a']\nprint [i for i in 'b']\n", [])])
def test_a_name_that_leaks_from_a_list_outside_of_functions_is_told(tmp_path, text, lines):
    write(tmp_path, {"sample.py": text})
    problems = autotest.check([str(tmp_path / "sample.py")])
    assert [(problem.line, problem.message) for problem in problems] == [
        (line, "i is known within the list only") for line in lines]


@pytest.mark.parametrize("path", SOURCES + sorted(glob.glob(os.path.join(HERE, "shelf", "*.py"))),
                         ids=os.path.basename)
def test_every_line_stays_where_it_is(path):
    import ast

    from virtvm.autotest.python2 import syntax
    text = translate.read(path)
    converted = syntax.convert(text, path).text
    assert converted.count("\n") == text.count("\n")
    lines = {node.lineno for node in ast.walk(translate.analyse(text, path).tree) if hasattr(node, "lineno")}
    assert max(lines) <= text.count("\n") + 1


@pytest.mark.parametrize("handler, is_python2", [
    ("except ValueError, e", True), ("except (ValueError, KeyError), e", True), ("except (ValueError), e", True),
    ("except ValueError, sys.last_value", True), ("except ValueError, e[0]", True), ("except ValueError, (a, b)", True),
    ("except (ValueError, KeyError)", False), ("except (ValueError, KeyError) as e", False),
    ("except ((ValueError), (KeyError))", False)])
def test_exception_and_its_name_stay_python2(handler, is_python2):
    """Python 3.14 takes `except A, B` for two exceptions."""
    analysis = translate.analyse("try:\n    f()\n%s:\n    pass\n" % handler, "sample.py")
    assert analysis.is_python2 == is_python2
    handler, = analysis.tree.body[0].handlers
    assert not is_python2 or handler.name


@pytest.mark.skipif(sys.version_info < (3, 14), reason="they are two exceptions from Python 3.14 on")
@pytest.mark.parametrize("kinds, body", [("ValueError, KeyError, OSError", "pass"), ("ValueError, kinds()", "pass"),
                                         ("ValueError, KeyError", "print(f'{1}')")])
def test_exceptions_without_parentheses_are_python3s(kinds, body):
    analysis = translate.analyse("try:\n    f()\nexcept %s:\n    %s\n" % (kinds, body), "sample.py")
    assert not analysis.is_python2 and analysis.tree.body[0].handlers[0].name is None
