"""Where 2011's aexpect and today's differ: docs/aexpect.rst's table, gone through in both.

What stands here of 1.8 was taken from aexpect 1.8.0 itself.
"""

import gc
import inspect
import os
import pickle
import select
import threading

import pytest

from support.autotest_tree import python
from support.waiting import LONG, is_running, until
from virtvm.companions import aexpect, aexpect_2011, login, virt_utils
from virtvm.session.generation import OF_1_8, OF_2011

TODAY, OLD = aexpect, aexpect_2011
BOTH = pytest.mark.parametrize("module", [TODAY, OLD], ids=["1.8", "2011"])
CLASSES = ["Spawn", "Tail", "Expect", "ShellSession", "RemoteSession"]
SHELL = "sh"


def old(module):
    return module is OLD


# ---- who gets which ----

def test_autotest_lib_gets_2011s(tmp_path):
    python("from autotest_lib.client.virt import aexpect\n"
           "from virtvm.companions import aexpect_2011\n"
           "assert aexpect is aexpect_2011", tmp_path)


def test_the_attribute_decides_and_is_set_in_one_place():
    for name in CLASSES:
        assert getattr(TODAY, name).generation is OF_1_8 and getattr(OLD, name).generation is OF_2011
        assert ("generation" in vars(getattr(TODAY, name))) == ("generation" in vars(getattr(OLD, name))) == (
            name == "Spawn")


def test_a_subclass_may_choose():
    class Mine(TODAY.ShellSession):
        generation = OF_2011

    with Mine(SHELL) as shell:
        assert shell.cmd(r"printf '\377\n'") == "\\xff\n"
    assert shell.get_output() == ""


def test_remote_login_makes_2011s():
    made = aexpect_2011.counterpart(aexpect.RemoteSession)
    assert made is OLD.RemoteSession and virt_utils.remote_login is login.remote_login
    assert aexpect_2011.counterpart(test_remote_login_makes_2011s) is test_remote_login_makes_2011s     # a patch


@pytest.mark.parametrize("name", CLASSES)
def test_a_session_of_either_is_one_of_both(name):
    for module, other in ((TODAY, OLD), (OLD, TODAY)):
        session = getattr(module, name)(id="nosuch")
        assert isinstance(session, getattr(other, name)) and isinstance(session, other.Spawn)
    assert issubclass(getattr(OLD, name), getattr(TODAY, name))
    assert issubclass(getattr(TODAY, name), getattr(OLD, name))
    assert not isinstance(TODAY.Spawn(id="nosuch"), OLD.Tail) and not isinstance("text", getattr(OLD, name))


def test_a_subclass_of_2011s_has_instances_of_its_own():
    class Mine(OLD.Expect):
        pass

    assert isinstance(Mine(id="nosuch"), Mine) and not isinstance(OLD.Expect(id="nosuch"), Mine)
    assert not isinstance(TODAY.Expect(id="nosuch"), Mine)


@BOTH
@pytest.mark.parametrize("name", CLASSES)
def test_pickles_keep_the_class(module, name):
    cls = getattr(module, name)
    assert type(pickle.loads(pickle.dumps(cls(id="nosuch")))) is cls


def test_the_same_names():
    assert set(OLD.__all__) == set(TODAY.__all__)
    for name in TODAY.__all__:
        assert hasattr(OLD, name)


# ---- bytes that are no text ----

# octal bytes -> text by 1.8, by 2011
BYTES = {
    r"\377": ("", "\\xff"),
    r"a\377b": ("ab", "a\\xffb"),
    r"\303\251\377\303\251": ("\u00e9\u00e9", "\u00e9\\xff\u00e9"),
    r"\303x": ("x", "\\xc3x"),
    r"\342\202\254\342\202": ("\u20ac", "\u20ac\\xe2\\x82"),
    r"\360\237\230\200\200": ("\U0001f600", "\U0001f600\\x80"),
}


@BOTH
@pytest.mark.parametrize("sent", BYTES)
def test_bytes_in_a_command(module, sent):
    with module.ShellSession(SHELL) as shell:
        assert shell.cmd("printf '%s\\n'" % sent) == BYTES[sent][old(module)] + "\n"


@BOTH
@pytest.mark.parametrize("sent", BYTES)
def test_bytes_in_reads_callbacks_and_all_output(module, sent):
    lines = []
    with module.Expect("printf '%s\\n'; read x" % sent, output_func=lines.append) as process:
        found, output = process.read_until_output_matches([r"\n"], timeout=LONG)
        assert output == BYTES[sent][old(module)] + "\n"
        until(lambda: lines)
        assert lines[0] == BYTES[sent][old(module)]
        assert process.get_output() == BYTES[sent][1] + "\n"


@BOTH
def test_no_character_is_lost_where_output_is_cut(module):
    text = "\u00e9\u20ac\U0001f600" * 3000
    with module.Expect("cat; read x", encoding="utf-8") as process:
        process.send_ctrl("raw")
        got = []
        for at in range(0, 900):
            process._write(text.encode()[at * 30:at * 30 + 30])
        process._write(b"\n")
        while "\n" not in "".join(got):
            got.append(process.read_nonblocking(0, LONG))
        assert "".join(got) == text[:len(text.encode()[:27000].decode())] + "\n"


# ---- after close ----

@BOTH
@pytest.mark.parametrize("name", CLASSES)
def test_after_close(module, name):
    session = getattr(module, name)("echo hi")
    session.get_status()
    assert session.get_output() == "hi\n"
    session.close()
    gone = "" if old(module) else None
    assert (session.get_output(), session.get_stripped_output()) == (gone, gone)
    assert (session.get_pid(), session.get_status(), session.is_alive()) == (None, None, False)


# ---- run_bg, run_tail ----

@BOTH
@pytest.mark.parametrize("name", ["run_bg", "run_tail"])
def test_what_is_run_in_the_background(module, name):
    run = getattr(module, name)
    assert inspect.signature(run).parameters["auto_close"].default is not old(module)
    process = run("sleep 300", timeout=0)
    assert type(process) is (module.Expect if name == "run_bg" else module.Tail)
    pid, id = process.get_pid(), process.get_id()
    del process
    gc.collect()
    assert is_running(pid) == old(module)
    module.Spawn(id=id).close()
    assert not is_running(pid)


@BOTH
def test_what_is_run_in_the_foreground(module):
    assert module.run_fg("echo hi; exit 3", timeout=LONG) == (3, "hi\n")


# ---- the same in both ----

@BOTH
@pytest.mark.parametrize("cont, patterns, found", [
    (["one", "two"], ["two"], -1), (["one", "two"], ["two", "one"], -2), (["one", "two"], ["x", "one"], -1),
    (["one"], ["x"], None), ([], ["x"], None), (["one"], [None, "", "one"], -1), (("one", "two"), ["x", "^t"], -1),
    ("one\ntwo\n", ["^two$"], -1), ("one\ntwo\n", ["x", "one", "two"], -2), ("", ["x"], None),
])
def test_match_patterns_multiline(module, cont, patterns, found):
    assert module.Expect.match_patterns_multiline(cont, patterns) == found


# class, arguments, text of 2011 and of 1.8 (which prints {self.output!r} for ShellError by mistake)
TEXTS = [
    ("ExpectError", (["a"], "o"), "Unknown error occurred while looking for pattern 'a'    (output: 'o')"),
    ("ExpectError", (["a", "b"], "o"), "Unknown error occurred while looking for patterns ['a', 'b']    (output: 'o')"),
    ("ExpectTimeoutError", (["a"], "o"), "Timeout expired while looking for pattern 'a'    (output: 'o')"),
    ("ExpectProcessTerminatedError", (["a"], 3, "o"),
     "Process terminated while looking for pattern 'a'    (status: 3,    output: 'o')"),
    ("ShellError", ("c", "o"), "Could not execute shell command 'c'    (output: 'o')"),
    ("ShellTimeoutError", ("c", "o"),
     "Timeout expired while waiting for shell command to complete: 'c'    (output: 'o')"),
    ("ShellProcessTerminatedError", ("c", 3, "o"),
     "Shell process terminated while waiting for command to complete: 'c'    (status: 3,    output: 'o')"),
    ("ShellCmdError", ("c", 3, "o"), "Shell command failed: 'c'    (status: 3,    output: 'o')"),
    ("ShellStatusError", ("c", "o"), "Could not get exit status of command: 'c'    (output: 'o')"),
]


@BOTH
@pytest.mark.parametrize("name, arguments, text", TEXTS)
def test_texts_of_errors(module, name, arguments, text):
    assert getattr(OLD, name) is getattr(TODAY, name)
    error = getattr(module, name)(*arguments)
    assert str(error) == text and error.args == (arguments[0], arguments[-1])


# ---- a descriptor to select on ----

def is_readable(fd, timeout=0.0):
    return bool(select.select([fd], [], [], timeout)[0])


@BOTH
def test_descriptor_is_readable_while_there_is_unread_output(module):
    with module.Expect("while read x; do echo $x; done") as process:
        fd = process._get_fd("expect")
        assert fd == process._get_fd() and not is_readable(fd)
        for word in ("one", "two"):
            process.sendline(word)
            assert is_readable(fd, LONG)
            assert is_readable(fd)                      # still
            output = ""
            while word + "\n" not in output:
                output += process.read_nonblocking(0.1, LONG)
            assert not is_readable(fd)
        assert process._get_fd("tail") is None
        process.sendcontrol("d")
        process.get_status()
        assert is_readable(fd, LONG)                    # the end can be read
    assert process._get_fd("expect") is None


def test_descriptor_of_output_that_came_before():
    with TODAY.Expect("echo hi; read x") as process:
        until(lambda: process.get_output())
        assert is_readable(process._get_fd("expect"), LONG)


def test_descriptor_and_commands():
    with TODAY.ShellSession(SHELL) as shell:
        fd = shell._get_fd("expect")
        assert shell.cmd("echo hi") == "hi\n"
        assert not is_readable(fd)
        assert shell.is_responsive(LONG) and not is_readable(fd)
        shell.sendline("echo later")
        assert is_readable(fd, LONG)


def test_descriptor_of_a_session_that_is_dropped_is_closed():
    before = set(os.listdir("/proc/self/fd"))
    process = TODAY.Expect("sleep 60")
    assert process._get_fd("expect") is not None
    del process
    gc.collect()
    until(lambda: set(os.listdir("/proc/self/fd")) <= before)


# ---- threads ----

def test_our_threads_are_not_named_as_aexpects():
    with TODAY.Tail("sleep 60", output_func=print) as default, \
            TODAY.Tail("sleep 60", output_func=print, thread_name="tail_thread_mine") as like, \
            TODAY.Tail("sleep 60", output_func=print, thread_name="mine") as own:
        assert default.thread_name.startswith("tail_thread_") and like.thread_name == "tail_thread_mine"
        assert own.tail_thread.name == "mine"
        assert not [t.name for t in threading.enumerate() if t.name.startswith("tail_thread")]
