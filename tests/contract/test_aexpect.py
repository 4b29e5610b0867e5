"""aexpect's classes over local processes: the facts recorded of 2011's and of 1.8."""

import contextlib
import gc
import glob
import inspect
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from support.waiting import BUSY, LONG, due, is_running, until
from virtvm.companions import aexpect

BASH = "exec bash --norc --noprofile"


@pytest.fixture
def shell():
    with aexpect.ShellSession(BASH) as session:
        session.find_prompt()
        yield session


class Record:
    """Callbacks that keep what they got."""

    def __init__(self):
        self.lines, self.statuses = [], []
        self.done = threading.Event()

    def line(self, *args):
        self.lines.append(args[0] if len(args) == 1 else args)

    def end(self, *args):
        self.statuses.append(args[0] if len(args) == 1 else args)
        self.done.set()


# ---- names, signatures ----

def test_names():
    for name in ("Spawn Tail Expect ShellSession RemoteSession run_bg run_fg run_tail "
                 "kill_tail_threads ExpectError ExpectTimeoutError ExpectProcessTerminatedError "
                 "ShellError ShellTimeoutError ShellProcessTerminatedError ShellCmdError "
                 "ShellStatusError").split():
        assert name in aexpect.__all__ and hasattr(aexpect, name)


def test_hierarchy():
    assert aexpect.RemoteSession.__mro__[1:5] == (aexpect.ShellSession, aexpect.Expect, aexpect.Tail, aexpect.Spawn)
    assert not issubclass(aexpect.ShellError, aexpect.ExpectError)


COMMON = [("command", None), ("id", None), ("auto_close", False), ("echo", False), ("linesep", "\n")]
REPORT = [("termination_func", None), ("termination_params", ()), ("output_func", None),
          ("output_params", ()), ("output_prefix", "")]


@pytest.mark.parametrize("cls, names", [
    (aexpect.Spawn, COMMON), (aexpect.Tail, COMMON + REPORT),
    (aexpect.Expect, COMMON[:2] + [("auto_close", True)] + COMMON[3:] + REPORT),
    (aexpect.ShellSession, COMMON[:2] + [("auto_close", True)] + COMMON[3:] + REPORT)])
def test_constructors_take_the_arguments_of_2011_in_order(cls, names):
    parameters = [p for p in inspect.signature(cls).parameters.values()
                  if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [(p.name, p.default) for p in parameters] == names


METHODS = {
    "cmd_output": [("timeout", 60), ("internal_timeout", None), ("print_func", None), ("safe", False),
                   ("strip_console_codes", False)],
    "cmd_status_output": [("timeout", 60), ("internal_timeout", None), ("print_func", None), ("safe", False)],
    "cmd_status": [("timeout", 60), ("internal_timeout", None), ("print_func", None), ("safe", False)],
    "cmd": [("timeout", 60), ("internal_timeout", None), ("print_func", None), ("ok_status", None),
            ("ignore_all_errors", False)],
    "cmd_output_safe": [("timeout", 60), ("strip_console_codes", False)],
    "get_command_output": [("timeout", 60), ("internal_timeout", None), ("print_func", None)],
    "get_command_status": [("timeout", 60), ("internal_timeout", None), ("print_func", None)],
    "get_command_status_output": [("timeout", 60), ("internal_timeout", None), ("print_func", None)],
}


@pytest.mark.parametrize("name", METHODS)
def test_commands_take_their_arguments_in_order(name):
    parameters = list(inspect.signature(getattr(aexpect.ShellSession, name)).parameters.values())
    assert parameters[1].name == "cmd"
    assert [(p.name, p.default) for p in parameters[2:]] == METHODS[name]


def test_positional_arguments_of_both_generations():
    args = (None, "nosuchid", True, False, "\n", None, (), None, (), "")
    old = aexpect.ShellSession(*args, "prompt>", "status")
    assert (old.prompt, old.status_test_command) == ("prompt>", "status")
    assert aexpect.ShellSession(*args, "prompt>").prompt == "prompt>"
    new = aexpect.ShellSession(*args, "thread", "prompt>", "status", (), "latin-1")
    assert (new.thread_name, new.prompt, new.status_test_command, new.encoding) == (
        "thread", "prompt>", "status", "latin-1")
    assert aexpect.ShellSession(*args, None, "prompt>").prompt == "prompt>"
    assert aexpect.Tail(*args, "thread", (), "latin-1").thread_name == "thread"
    remote = aexpect.RemoteSession(*args, "thread", "prompt>", "status", "telnet", "host", 23, "me", "secret")
    assert (remote.client, remote.host, remote.port, remote.username, remote.password, remote.prompt) == (
        "telnet", "host", 23, "me", "secret", "prompt>")
    with pytest.raises(TypeError):
        aexpect.Spawn(None, None, True, False, "\n", (), None, "too many")


def test_keywords_of_both_generations():
    assert aexpect.Expect(id="nosuchid").id == aexpect.Expect(a_id="nosuchid").a_id == "nosuchid"
    session = aexpect.ShellSession(a_id="x", thread_name="t", prompt="p", status_test_command="s",
                                   pass_fds=(), encoding=None)
    assert (session.thread_name, session.prompt, session.status_test_command) == ("t", "p", "s")
    assert aexpect.Expect(a_id="x").thread_name == "tail_thread_x_None"
    remote = aexpect.RemoteSession(a_id="x")
    assert (remote.client, remote.host, remote.port, remote.username, remote.password) == (
        "ssh", "localhost", 22, "root", "test1234")


def children():
    """Process ids of this process's children."""
    found = set()
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(path) as f:     # it ended meanwhile
            if int(f.read().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(path)
    return found


def test_bad_arguments_start_nothing(tmp_path):
    command = "touch %s/started" % tmp_path
    before = children()                         # servers of other tests, for instance
    with pytest.raises(LookupError):
        aexpect.Spawn(command, encoding="no such")
    with pytest.raises(re.error):
        aexpect.ShellSession(command, prompt="(")
    assert children() <= before                 # nor was a process started that could do so yet
    assert os.listdir(tmp_path) == []


def test_attributes_of_a_session(shell):
    assert re.fullmatch(r"\w{8}", shell.a_id) and shell.get_id() == shell.id == shell.a_id
    assert (shell.command, shell.auto_close, shell.echo, shell.linesep) == (BASH, True, False, "\n")
    assert (shell.prompt, shell.status_test_command) == (r"[\#\$]\s*$", "echo $?")
    assert (shell.closed, shell.close_hooks, shell.reader_fds, shell.tail_thread) == (False, [], {}, None)
    shell.cmd("echo for-the-file")
    path = shell.output_filename
    with open(path) as f:
        assert "for-the-file\n" in f.read()
    shell.close()
    assert shell.closed and not os.path.exists(path)


# ---- the child ----

def test_child_runs_in_a_shell_that_is_its_parent():
    with aexpect.Expect("echo $PPID $TERM; sleep 30") as session:
        output = session.read_until_output_matches([r"\n"], timeout=BUSY)[1]
        assert output.split() == [str(os.getpid()), "dumb"] and session.get_pid() != os.getpid()
        with open("/proc/%d/cmdline" % session.get_pid()) as f:
            assert session.id in f.read().split("\0")


def test_child_inherits_folder_and_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_VARIABLE", "of ours")
    assert aexpect.run_fg("pwd; echo $SOME_VARIABLE; stty size", timeout=BUSY) == (0, "%s\nof ours\n0 0\n" % tmp_path)


@pytest.mark.parametrize("command, expected", [
    ("echo a\necho b", (0, "a\nb\n")), ("echo a;", (0, "a\n")), ("echo a # comment", (0, "a\n")),
    ("true &", (0, "")), ("false", (1, "")), ("exit 3", (3, "")), ("cat <<X\nhere\nX", (0, "here\n")),
    ("printf 'a\\r\\nb\\rc\\n'", (0, "a\nbc\n")), ("echo $0 $# $1", (0, "/bin/bash 0\n")),
    ("yes | head -1", (0, "y\n")), ("set -o pipefail; yes | head -1", (141, "y\n")), ("", (0, "")),
])
def test_command_lines(command, expected):
    assert aexpect.run_fg(command, timeout=BUSY) == expected


def test_bad_syntax_is_status_2():
    status, output = aexpect.run_fg("if", timeout=BUSY)
    assert status == 2 and "syntax error" in output


@pytest.mark.parametrize("size", [255, 300, 100000, 2500000])
def test_long_commands(size):
    status, output = aexpect.run_fg("true %s; echo ${#BASH}" % ("x" * size), timeout=BUSY)
    assert (status, output) == (0, "9\n")


def test_pass_fds():
    reader, writer = os.pipe()
    with aexpect.Expect("echo through >&%d" % writer, pass_fds=(writer,)) as session:
        os.close(writer)
        session.get_status()
        assert os.read(reader, 100) == b"through\n"
    os.close(reader)


def test_status_is_minus_the_signal_that_ended_it():
    with aexpect.Expect("kill -TERM $$") as session:
        assert session.get_status() == -signal.SIGTERM
        with pytest.raises(aexpect.ExpectProcessTerminatedError) as info:
            session.read_until_output_matches(["never"])
        assert info.value.status == -signal.SIGTERM


def test_background_child_that_keeps_the_terminal_does_not_delay_the_end():
    with aexpect.Expect("trap '' HUP; sleep 1000 & echo $!") as session:
        assert session.get_status() == 0
        pid = int(session.get_output())
        assert is_running(pid)
        assert not session.is_alive()
    os.kill(pid, signal.SIGKILL)


def terminals_of(pid):
    folder = "/proc/%d/fd" % pid
    return [name for name in os.listdir(folder) if os.readlink(os.path.join(folder, name)).startswith("/dev/pts/")]


def test_process_that_lets_go_of_its_terminal_is_alive_until_it_ends(tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    with aexpect.Expect("echo here; exec >/dev/null 2>&1 </dev/null; read x <%s; exit $x" % go) as session:
        until(lambda: session.get_output() and not terminals_of(session.get_pid()))
        assert session.is_alive()
        go.write_text("7")
        assert session.get_status() == 7


def test_interrupt_works_though_we_ignore_it():
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with aexpect.Expect("echo ready; exec sleep 60") as session:
            session.read_until_output_matches(["ready"], timeout=BUSY)
            session.sendcontrol("c")
            assert session.get_status() == -signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, old)


def test_is_defunct():
    with aexpect.Expect("sh -c 'true & exec sleep 60'") as session:
        assert until(session.is_defunct)
    assert not session.is_defunct()


# ---- writing ----

def test_send_takes_text_only(shell):
    for wrong in (b"bytes", 1, None):
        with pytest.raises((AttributeError, TypeError)):
            shell.send(wrong)
    with pytest.raises(UnicodeEncodeError):
        shell.send("\udc80")


def test_send_to_the_dead_is_logged_less_its_text(caplog):
    with aexpect.Expect("true") as session:
        session.get_status()
        session.sendline("secret")
    session.sendline("secret")
    assert len(caplog.records) >= 1 and "secret" not in caplog.text


@pytest.mark.parametrize("char, byte", [
    ("a", 1), ("Z", 26), ("@", 0), ("`", 0), ("[", 27), ("{", 27), ("\\", 28), ("|", 28), ("]", 29),
    ("}", 29), ("^", 30), ("~", 30), ("_", 31), ("?", 127)])
def test_sendcontrol(char, byte):
    with aexpect.Expect("stty raw; echo ready; head -c1 | od -An -tu1") as session:
        session.read_until_output_matches(["ready"], timeout=BUSY)
        session.sendcontrol(char)
        session.get_status()
        assert session.get_output().split()[-1] == str(byte)


def test_sendcontrol_of_none_is_a_key_error(shell):
    for char in ("1", "\u00e4", "ab"):
        with pytest.raises(KeyError):
            shell.sendcontrol(char)


def test_send_ctrl_switches_the_terminal():
    with aexpect.Expect("echo ready; head -c2 | od -An -tu1; read x; echo got $x") as session:
        session.read_until_output_matches(["ready"], timeout=BUSY)
        session.send_ctrl("raw")
        session.send("\x03\x04")                # bytes, no signal and no end
        assert "3   4" in session.read_until_output_matches([r"\d+ +\d+\n"], timeout=BUSY)[1]
        session.send_ctrl("standard")
        session.sendline("it")
        assert "got it" in session.read_until_output_matches(["got"], timeout=BUSY)[1]
        session.send_ctrl()
        session.send_ctrl("nonsense")
    session.send_ctrl("raw")


# ---- reports ----

def test_lines_as_they_are_reported(tmp_path):
    record = Record()
    go = tmp_path / "go"
    os.mkfifo(go)
    with aexpect.Tail("printf 'one  \\n\\n  two\\t\\nthr'; read x <%s; printf 'ee\\n'; exit 4" % go,
                      output_prefix="(p) ", output_func=record.line, termination_func=record.end, auto_close=True):
        until(lambda: "(p) thr" in record.lines)            # it came without an end, and then nothing
        go.write_text("\n")
        assert record.done.wait(BUSY)
    assert record.lines == ["(p) one", "(p) ", "(p)   two", "(p) thr", "(p) ee",
                            "(p) (Process terminated with status 4)"]
    assert record.statuses == [4]


def test_params_stand_before_line_and_status():
    record = Record()
    with aexpect.Tail("echo x", output_func=record.line, output_params=(1, 2),
                      termination_func=record.end, termination_params=("t",), auto_close=True):
        assert record.done.wait(BUSY)
    assert record.lines == [(1, 2, "x"), (1, 2, "(Process terminated with status 0)")]
    assert record.statuses == [("t", 0)]


def test_characters_survive_any_cut():
    record = Record()
    with aexpect.Tail("yes '\u00e4\u00f6\u20ac\U0001f600' | head -20000", output_func=record.line,
                      termination_func=record.end, auto_close=True):
        assert record.done.wait(BUSY)
    # A line that comes with a pause in it, as on a busy machine, is told in two.
    assert "".join(record.lines[:-1]) == "\u00e4\u00f6\u20ac\U0001f600" * 20000


def test_close_waits_for_pending_callbacks():
    record = Record()
    come, go = threading.Event(), threading.Event()
    with aexpect.Expect("echo a; echo b; echo c; sleep 60", termination_func=record.end,
                        output_func=lambda line: (come.set(), go.wait(BUSY), record.line(line))) as session:
        come.wait(BUSY)
        until(lambda: "c" in session.get_output())
        threading.Timer(0.05, go.set).start()               # while it is being closed
    assert session.closed
    assert record.lines == ["a", "b", "c", "(Process terminated with status -9)"]
    assert record.statuses == [-9] and session.tail_thread is None


@pytest.mark.parametrize("wrong", [lambda: None, lambda line: 1 / 0])
def test_function_that_fails_is_logged_and_reporting_goes_on(wrong, caplog):
    record = Record()
    with aexpect.Tail("echo a; echo b", output_func=wrong, termination_func=record.end, auto_close=True):
        assert record.done.wait(BUSY)
    assert record.statuses == [0] and caplog.text.count("Traceback") == 3


def test_close_does_not_wait_for_a_function_that_is_far_behind(monkeypatch, caplog):
    monkeypatch.setattr("virtvm.companions._reporter._PATIENCE", 0.2)
    record = Record()
    session = aexpect.Expect("yes", output_func=lambda line: (time.sleep(0.001), record.line(line)),
                             termination_func=record.end)
    until(lambda: len(record.lines) > 10)
    session.close()
    assert "faster than" in caplog.text
    assert record.lines[-1] == "(Process terminated with status -9)" and record.statuses == [-9]


def test_functions_may_use_the_session():
    answers = []
    with aexpect.Expect("read x; echo got $x; sleep 60") as session:
        def answer(line):
            answers.append(session.get_output())
            if line == "got it":
                session.close()
        session.set_output_func(answer)
        session.sendline("it")
        until(lambda: session.closed)
    assert any("got it" in answer for answer in answers)


def test_blocking_function_holds_up_nobody_else():
    go = threading.Event()
    try:
        with aexpect.Expect("echo a; sleep 60", output_func=lambda line: go.wait(LONG)):
            record = Record()
            with aexpect.Tail("echo b", termination_func=record.end, auto_close=True):
                assert record.done.wait(BUSY)
            go.set()
    finally:
        go.set()


def test_output_func_set_later_gets_what_came_before_and_none_silences():
    with aexpect.ShellSession(BASH) as session:
        session.cmd("echo; echo early")
        assert session.tail_thread is None
        record = Record()
        session.set_output_params(("tag",))
        session.set_output_prefix("> ")
        session.set_output_func(record.line)
        assert session.tail_thread.name == "virtvm_" + session.thread_name
        until(lambda: ("tag", "> early") in record.lines)
        session.cmd("echo; echo later")
        until(lambda: ("tag", "> later") in record.lines)
        session.set_output_func(None)
        session.cmd("echo silent")
    assert not any("silent" in line for _tag, line in record.lines)


def test_set_termination_func_on_a_running_session():
    record = Record()
    with aexpect.Expect("read x; exit 5") as session:
        session.set_termination_params(("p",))
        session.set_termination_func(record.end)
        session.sendline()
        assert record.done.wait(BUSY)
    assert record.statuses == [("p", 5)]


def test_kill_tail_threads_ends_the_reporting_alone():
    record = Record()
    with aexpect.Expect("read x; echo $x; sleep 60", output_func=record.line) as session:
        aexpect.kill_tail_threads()
        assert session.is_alive() and session.tail_thread is None
        session.sendline("later")
        until(lambda: "later" in session.get_output())
    assert record.lines == []


def test_output_that_nobody_reads_stalls_nothing():
    with aexpect.Expect("seq 200000; echo done >&2; exit 3") as session:
        assert session.get_status() == 3
        assert session.get_output() == "".join("%d\n" % n for n in range(1, 200001)) + "done\n"
        assert aexpect.strip_console_codes("\033[1mx\033[0m\a") == "x"


def test_stripped_output():
    with aexpect.Expect(r"printf '\033[31mred\033[0m\n'") as session:
        session.get_status()
        assert (session.get_output(), session.get_stripped_output()) == ("\033[31mred\033[0m\n", "red\n")


# ---- run_bg and its kin ----

def test_run_bg_waits_for_timeout_or_end():
    with due(0.2):
        process = aexpect.run_bg("sleep 1000", timeout=0.2, auto_close=True)
    with process:
        assert isinstance(process, aexpect.Tail) and process.is_alive()
    record = Record()
    with aexpect.run_bg("echo x; exit 2", record.end, record.line, "p: ", LONG, auto_close=True) as process:
        assert process.get_status() == 2
    assert record.lines == ["p: x", "p: (Process terminated with status 2)"] and record.statuses == [2]


def test_run_fg_returns_status_and_output_and_kills_at_the_timeout():
    assert aexpect.run_fg("echo x; exit 2", timeout=BUSY) == (2, "x\n")
    record = Record()
    with due(3):
        result = aexpect.run_fg("echo $$; exec sleep 1000", record.line, "p: ", timeout=3)
    assert result == (None, record.lines[0][3:] + "\n")
    assert not is_running(int(record.lines[0][3:]))
    assert record.lines[-1] == "p: (Process terminated with status -9)"


def test_run_tail():
    with aexpect.run_tail("echo x", timeout=BUSY, auto_close=True) as process:
        assert type(process) is aexpect.Tail and process.get_output() == "x\n"


# ---- Expect ----

@pytest.fixture
def cat():
    with aexpect.Expect("stty -icanon; echo ready; exec cat") as session:
        session.read_until_output_matches(["ready"], timeout=BUSY)
        session.read_nonblocking(0, BUSY)
        yield session


def test_first_pattern_of_the_list_wins(cat):
    cat.send("abc")
    assert cat.read_until_output_matches([None, "", "zzz", re.compile("c"), "a"], timeout=BUSY) == (3, "abc")


def test_all_that_was_read_is_returned_and_consumed(cat):
    cat.send("one two three")
    assert cat.read_until_output_matches(["one"], timeout=BUSY) == (0, "one two three")
    with pytest.raises(aexpect.ExpectTimeoutError) as info:
        cat.read_until_output_matches(["two", "x"], timeout=0.2)
    assert info.value.args == (["two", "x"], "") == (info.value.patterns, info.value.output)
    assert str(info.value) == "Timeout expired while looking for patterns ['two', 'x']    (output: '')"


@pytest.mark.parametrize("patterns, text", [
    (["x"], "pattern 'x'"), (["x", "y"], "patterns ['x', 'y']"), ([], "patterns []")])
def test_timeout_texts(cat, patterns, text):
    with pytest.raises(aexpect.ExpectTimeoutError) as info:
        cat.read_until_output_matches(patterns, timeout=0)
    assert str(info.value) == "Timeout expired while looking for %s    (output: '')" % text


def test_filters_of_both_spellings(cat):
    for keyword in ("filter", "filter_func"):
        cat.send("abc")
        assert cat.read_until_output_matches(["^C"], timeout=BUSY, **{keyword: lambda text: text.upper()[2:]}) == (
            0, "abc")
    cat.send("abc")
    assert cat.read_until_output_matches(["^C"], lambda text: text.upper()[2:], BUSY) == (0, "abc")
    with pytest.raises(TypeError):
        cat.read_until_output_matches(["x"], nonsense=1)


def test_match_func_decides(cat):
    cat.send("abc")
    found = cat.read_until_output_matches(["p"], lambda text: text + "!", 5,
                                          match_func=lambda text, patterns: (text, patterns))
    assert found == (("abc!", ["p"]), "abc")


@pytest.mark.parametrize("text, line", [
    ("", ""), (" \n\t\n", ""), ("one", "one"), ("one\ntwo \n \n", "two "), ("x\n" * 5000 + "last $ ", "last $ "),
    ("x\n" + "long " * 2000, ("long " * 2000)[-4096:]), ("a\nb" + "\n \n" * 3000, "b"),
    ("\x1b]0;" + "t" * 9000 + "\x07one", "one"), ("x\n" * 5000 + "\x1b[1mbold\x1b[0m$ \n\n", "bold$ "),
], ids=range(9))
def test_last_line_wherever_it_begins(text, line):
    assert aexpect.Expect._last_line(text) == line


@pytest.mark.parametrize("unit", ["x", "x ", "\n", " \n", "\x1b[m", "\x1b[m\n", "\r"], ids=range(7))
def test_last_line_and_word_have_a_bound(unit):
    # What a pattern sees has one, and so has what is looked through for it.
    class Text(str):
        cut = 0

        def __getitem__(self, part):
            Text.cut += len(range(*part.indices(len(self))))
            return str(self)[part]

    text = Text(unit * (32 << 20 >> len(unit)))
    assert len(aexpect.Expect._last_line(text)) <= 4096 and len(aexpect.Expect._last_word(text)) <= 65536
    assert Text.cut < 8 << 20


def test_last_line_and_last_word_and_any_line(cat):
    cat.send("first\nlast words  \n\n")
    assert cat.read_until_last_line_matches(["first", "^last words  $"], BUSY)[0] == 1
    cat.send("first\nlast words  \n\n")
    assert cat.read_until_last_word_matches(["^last", "^words$"], BUSY)[0] == 1
    cat.send("one\ntwo\nthree")
    assert cat.read_until_any_line_matches(["^four$", "^two$", "^one$"], BUSY)[0] == -2
    cat.send(" \n ")
    with pytest.raises(aexpect.ExpectTimeoutError):
        cat.read_until_last_word_matches(["x"], 0.2)


def test_static_matchers():
    assert aexpect.Expect.match_patterns("abc", ["x", None, "b"]) == 2
    assert aexpect.Expect.match_patterns("abc", "xb") == 1
    assert aexpect.Expect.match_patterns("abc", []) is None
    assert aexpect.Expect.match_patterns_multiline("a\nb", ["^b$", "^a$"]) == -2


def test_bad_patterns_and_timeouts_raise(cat):
    cat.send("x")
    with pytest.raises(re.error):
        cat.read_until_output_matches(["("], timeout=BUSY)
    with pytest.raises(TypeError):
        cat.read_until_output_matches(["x"], timeout=None)


def test_match_in_what_the_dead_left():
    with aexpect.Expect("echo last words; exit 3") as session:
        session.get_status()
        assert session.read_until_output_matches(["words"], timeout=BUSY) == (0, "last words\n")
        for _ in range(2):
            with pytest.raises(aexpect.ExpectProcessTerminatedError) as info:
                session.read_until_output_matches(["more"], timeout=LONG)
            assert info.value.status == 3
        assert str(info.value) == (
            "Process terminated while looking for pattern 'more'    (status: 3,    output: '')")
        assert session.read_nonblocking() == ""


def test_print_func_gets_lines_of_each_piece(cat):
    lines = []
    cat.send("one\ntwo")
    cat.read_until_output_matches(["two"], timeout=BUSY, print_func=lines.append)
    assert lines == ["one", "two"]


def test_endless_output_obeys_the_timeout():
    with aexpect.Expect("yes") as session:
        with due(0.3), pytest.raises(aexpect.ExpectTimeoutError):
            session.read_until_output_matches(["never"], timeout=0.3)


def send_and_see(session, text):
    """Send, and wait until that has come back."""
    seen = session.get_output()
    session.send(text)
    until(lambda: session.get_output() == seen + text)


def test_read_nonblocking_of_both_generations(cat):
    send_and_see(cat, "x")
    assert cat.read_nonblocking(0.2) == "x"
    send_and_see(cat, "y")
    assert cat.read_nonblocking(timeout=0.2) == "y"         # 2011: the silence
    with due(0.2):
        assert cat.read_nonblocking(LONG, 0.2) == ""        # 1.8: silence, and the limit
    with due(0.2):
        assert cat.read_nonblocking(internal_timeout=LONG, timeout=0.2) == ""


def test_character_that_comes_in_two_reads():
    with aexpect.Expect(r"printf '\303'; read x; printf '\244\n'") as session:
        until(session.get_output)
        first = session.read_nonblocking(0)
        session.sendline()
        session.get_status()
        assert first + session.read_nonblocking(0) == "\u00e4\n"


# ---- ShellSession ----

def test_command_output_is_exact(shell):
    assert shell.cmd_output("printf '\\n\\n x\\n\\n'") == "\n\n x\n\n"
    assert shell.cmd_output("") == ""
    assert shell.cmd_output("printf abc") == "abc"
    assert shell.cmd_output("echo '[root@vm ~]# '") == "[root@vm ~]# \n"
    assert shell.cmd_output_safe("echo x") == "x\n" == shell.cmd_output("echo x", safe=True)
    assert shell.cmd_output(r"printf '\033[1mx\033[0m\n'", strip_console_codes=True) == "x\n"


def test_ok_status_and_ignored_errors(shell):
    with pytest.raises(aexpect.ShellCmdError):
        shell.cmd("true", ok_status=[1])
    assert shell.cmd("echo x; (exit 5)", ok_status=[0, 5]) == "x\n"
    assert shell.cmd("sleep 1000", timeout=0.3, ignore_all_errors=True) is None
    shell.sendcontrol("c")
    shell.read_up_to_prompt(BUSY)
    with pytest.raises((AttributeError, TypeError)):
        shell.cmd(None, ignore_all_errors=True)
    assert shell.cmd("exit", ignore_all_errors=True) is None
    assert shell.cmd("true", ignore_all_errors=True) is None


def test_causes_and_texts_of_shell_errors(shell):
    with pytest.raises(aexpect.ShellTimeoutError) as info:
        shell.cmd_output("echo x; sleep 1000", timeout=3)
    assert info.value.args == ("echo x; sleep 1000", "x\n")
    assert isinstance(info.value.__cause__, aexpect.ExpectTimeoutError)
    assert str(aexpect.ShellError("c", "o")) == "Could not execute shell command 'c'    (output: 'o')"
    shell.sendcontrol("c")
    shell.read_up_to_prompt(BUSY)
    with pytest.raises(aexpect.ShellProcessTerminatedError) as info:
        shell.cmd_output("exit 6")
    assert isinstance(info.value.__cause__, aexpect.ExpectProcessTerminatedError)
    assert info.value.status == 6 and pickle.loads(pickle.dumps(info.value)).status == 6


def test_a_dead_or_closed_shell_says_so_at_once(shell):
    shell.cmd("echo before")
    shell.sendline("exit 4")
    until(lambda: not shell.is_alive())
    with pytest.raises(aexpect.ShellProcessTerminatedError) as info:
        shell.cmd("true", timeout=LONG)
    assert info.value.status == 4 and info.value.output == ""
    assert not shell.is_responsive(LONG)
    shell.close()
    with pytest.raises(aexpect.ShellProcessTerminatedError):
        shell.cmd("true", timeout=LONG)
    with pytest.raises(aexpect.ExpectProcessTerminatedError):
        shell.read_up_to_prompt(LONG)
    assert not shell.is_responsive(LONG) and shell.read_nonblocking(LONG) == ""


def test_print_func_gets_the_commands_lines_alone(shell):
    for command, lines in [("echo a; echo b", ["a", "b"]), ("printf 'a\\nb'", ["a", "b"]), ("true", [])]:
        for method in (shell.cmd, shell.cmd_output):
            got = []
            method(command, print_func=got.append)
            assert got == lines


def test_print_func_that_raises(shell):
    def fail(line):
        raise RuntimeError(line)
    with pytest.raises(RuntimeError, match="a"):
        shell.cmd("echo a; echo b", print_func=fail)
    assert shell.cmd("echo fine") == "fine\n"


def test_line_removers():
    session = aexpect.ShellSession
    assert session.remove_command_echo("cmd\nout\n", "cmd") == "out\n"
    assert session.remove_command_echo("out\n", "cmd") == "out\n"
    assert session.remove_command_echo("", "") == ""
    assert session.remove_last_nonempty_line("a\n\nprompt# \n\n") == "a\n\n"
    assert session.remove_last_nonempty_line("prompt") == ""


def test_is_responsive_ends_with_the_answer(shell):
    assert shell.is_responsive(LONG)


# ---- closing ----

def test_close_kills_the_whole_tree(shell, tmp_path):
    file = tmp_path / "pids"
    shell.cmd("(setsid sleep 1000 & echo $!; sleep 1000 & echo $!; echo $BASHPID; exec sleep 1000) >>%s &" % file)
    shell.cmd("sleep 1000 & echo $! >>%s" % file)
    pids = until(lambda: len(file.read_text().split("\n")) == 5 and [int(pid) for pid in file.read_text().split()])
    until(lambda: any(os.getsid(pid) == pid for pid in pids))       # it has left the shell's session
    assert all(map(is_running, pids + [shell.get_pid()]))
    pids.append(shell.get_pid())
    shell.close()
    until(lambda: not any(map(is_running, pids)))


def test_close_by_a_signal_and_what_survives_it():
    record = Record()
    with aexpect.Expect("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done",
                        output_func=record.line) as session:
        until(lambda: "ready" in record.lines)
        session.close(signal.SIGTERM)
    assert record.lines[-2:] == ["bye", "(Process terminated with status 5)"]


def test_closed_session(shell):
    pid = shell.get_pid()
    shell.close()
    shell.close()
    assert not is_running(pid)
    assert (shell.get_pid(), shell.get_status(), shell.get_output(), shell.get_stripped_output()) == (
        None, None, None, None)
    assert not shell.is_alive() and shell.closed


def test_hooks_run_once_after_the_end():
    seen = []
    session = aexpect.Expect("sleep 60")
    pid = session.get_pid()
    session.close_hooks.append(lambda s: (seen.append((s, is_running(pid), s.closed)), s.close()))
    session.close()
    session.close()
    assert seen == [(session, False, False)]


def test_kill_does_not_close(shell):
    shell.kill(signal.SIGKILL)
    assert shell.get_status() == -9 and not shell.closed
    shell.kill()


def test_dropped_session_ends_its_process():
    session = aexpect.Expect("sleep 60")
    pid = session.get_pid()
    del session
    gc.collect()
    assert not is_running(pid)


def test_auto_close_that_is_switched_off_leaves_the_process():
    session = aexpect.Expect("sleep 60")
    session.auto_close = False
    id, pid = session.id, session.get_pid()
    del session
    gc.collect()
    assert is_running(pid)
    aexpect.Expect(id=id).close()
    assert not is_running(pid) and not aexpect._left_running


def test_garbage_is_closed_by_whoever_finds_it():
    """The drainer's thread, for one, when it has just read that very session."""
    gc.disable()
    try:
        session = aexpect.Expect("while :; do echo x; sleep 0.01; done", output_func=lambda line: None)
        session._source.listen(gc.collect)
        session.me, pid, name = session, session.get_pid(), "virtvm_" + session.thread_name
        del session
        until(lambda: not is_running(pid))
        until(lambda: name not in [thread.name for thread in threading.enumerate()])
    finally:
        gc.enable()


def test_interpreter_exit_ends_the_process():
    program = ("from virtvm.companions import aexpect\n"
               "s = aexpect.Expect('sleep 60', output_func=print)\n"
               "s.me = s\nprint(s.get_pid(), flush=True)\n")
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60, text=True, check=False)
    first, *others = done.stdout.splitlines()
    assert not is_running(int(first)) and done.returncode == 0
    assert others == ["(Process terminated with status -9)"]


# ---- ids and pickles ----

def test_unknown_id_gives_a_dead_session():
    session = aexpect.ShellSession(id="nosuchid")
    assert not session.is_alive() and session.get_status() is None and session.get_pid() is None
    assert session.get_output() == "" and session.id == "nosuchid"
    session.sendline("x")
    with pytest.raises(aexpect.ShellProcessTerminatedError):
        session.cmd("true")
    session.close()


def test_another_object_of_the_same_id(shell):
    other = aexpect.ShellSession(id=shell.id, auto_close=False)
    shell.cmd("x=5; echo seen")
    assert other.cmd("echo $x") == "5\n" and "seen\n" in other.get_output()
    assert other.get_pid() == shell.get_pid()
    other.close()
    assert not shell.is_alive() and shell.get_output() is None and not shell.closed


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", [aexpect.Spawn, aexpect.Tail, aexpect.Expect, aexpect.ShellSession])
def test_pickles_in_this_process(cls, protocol):
    keywords = {} if cls is aexpect.Spawn else {
        "output_func": logging.debug, "output_params": ("p",), "output_prefix": "x", "thread_name": "t"}
    if cls is aexpect.ShellSession:
        keywords.update(prompt="p>", status_test_command="s")
    with cls("sleep 60", auto_close=True, echo=True, linesep="\r\n", encoding="latin-1", **keywords) as session:
        again = pickle.loads(pickle.dumps(session, protocol))
        assert type(again) is cls and again.is_alive() and again.get_pid() == session.get_pid()
        assert (again.echo, again.linesep, again.encoding, again.command) == (True, "\r\n", "latin-1", None)
        for name, value in keywords.items():
            assert getattr(again, name) == value
        del again
        assert session.is_alive()               # a copy that goes takes nothing along
        closed = session
    assert not pickle.loads(pickle.dumps(closed, protocol)).is_alive()
