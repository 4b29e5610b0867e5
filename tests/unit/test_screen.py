"""What a person at a terminal of 80 columns sees of `virtvm run`: a hypervisor of the test's own stands for a guest."""

import os
import re
import sys
import termios

import pytest
from support.person import Person
from support.runs import environment, virtvm, write
from virtvm import boot_progress
from virtvm.plugin import screen

# Its login takes until a file is there, and its console says what a terminal obeys.
HYPERVISOR = """
    import logging, os, time
    import virtvm._session

    class Engine:
        text = b"\\x1b]0;title\\x07\\x1b[2Jfirst\\r\\n" + b"[    1.0] loading " + b"x" * 90 + b"\\x1b[6n\\r\\n  \\r\\n"
        total = len(text)
        def peek(self, start, limit):
            return self.total, self.text[start:start + limit]

    class Console:
        name, _engine = "c", Engine()
        def get_output(self):
            return ""
        def close(self):
            pass

    class VM:
        serial_console = Console()
        def __init__(self, name, params, root_dir, address_cache=None):
            self.name, self.params, self.instance, self.alive, self.monitor = name, params, name, False, None
        def create(self, name="vm1", params=None, root_dir=".", migration_mode=None):
            logging.info("which makes a handler")
            self.alive, self.params = True, params or self.params
        def destroy(self, gracefully=True, free_mac_addresses=True):
            self.alive = False
            open("ended", "w").close()
        def is_alive(self):
            return self.alive
        def is_dead(self):
            return not self.alive
        def needs_restart(self, name, params, basedir):
            return False
        def screendump(self, path):
            pass
        def wait_for_login(self, timeout):
            logging.debug("of no use to a person")
            while not os.path.exists("up"):
                time.sleep(0.05)
            return self
        def close(self):
            pass
    """
TESTS = """
    import time
    import pytest

    def test_up(vm):
        pass

    @pytest.mark.parametrize("name", ["p" * 100])
    def test_long(name):
        pass

    def test_bad(test_object):
        print("printed by it")
        assert "a" == "b" + 100 * "c"

    @pytest.mark.skip("for a reason")
    def test_skipped():
        pass

    @pytest.mark.xfail(reason="known")
    def test_known():
        assert 0
    """
RUN = ["run", "--param", "vm_class=hypervisor:VM"]
ROWS = [r"PASS  test_up  \d+\.\d s", r"PASS  test_long\[p+\.\.\.  \d+\.\d s", r"FAIL  test_bad  \d+\.\d s  .*",
        r"SKIP  test_skipped  \d+\.\d s  for a reason", r"XFAIL test_known  \d+\.\d s  known"]


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, hypervisor=HYPERVISOR, test_new=TESTS)
    return tmp_path


def at_terminal(folder, *more, words=RUN, columns=80):
    variables = {name: "" for name in os.environ.keys() - environment().keys()}
    path = os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])
    return Person(*words, *more, cwd=folder, columns=columns, PYTHONPATH=path, NO_COLOR="1", **variables)


def lines(seen):
    """What is left on the screen (list of str): the line that is written anew is not."""
    assert "\x1b" not in seen.replace("\r\x1b[K", "")       # what the guest sent is obeyed by nothing
    seen = re.sub(r"[^\n]*\r\x1b\[K", "", seen.replace("\r\n", "\n"))
    return [line.rstrip() for line in seen.split("\n")]


@pytest.mark.once
def test_line_while_a_guest_boots_and_one_for_each_test(folder):
    person = at_terminal(folder, "test_new.py")
    first = person.see(r"booting vm1 \u2026 \d+ s  \[    1.0\] loading x+\.\.\.")
    assert len(first) == 79 and "first" not in first
    person.see(r"\r\x1b\[Kbooting vm1 \u2026 \d+ s  \[    1.0\]")
    (folder / "up").touch()
    person.see(r"\r\x1b\[K(?=PASS)")
    assert person.leave() == 1
    shown = lines(person.seen)
    assert all(re.fullmatch(row, line) for row, line in zip(ROWS, shown)), shown[:6]
    assert max(map(len, shown[:shown.index("")])) < 80
    table = shown[next(n for n, line in enumerate(shown) if " virtual machines " in line):]
    end = next(n for n, line in enumerate(table) if line.startswith("Logs, consoles and pictures: virtvm-results"))
    assert max(map(len, table[:end + 1])) <= 80, table
    assert any("1 failed, 2 passed, 1 skipped, 1 xfailed" in line for line in shown)


@pytest.mark.once
@pytest.mark.parametrize("words, rows", [
    (["-q"], [ROWS[2], ROWS[3], ROWS[4]]), (["--", "-s"], None), (["-n", "2"], None), (["--", "--tb=no", "-v"], None)])
def test_ways_to_say_more_and_less(folder, words, rows):
    (folder / "up").touch()
    person = at_terminal(folder, "test_new.py", *words)
    assert person.leave() == 1
    shown = [line for line in person.seen.replace("\r\n", "\n").replace("\r\x1b[K", "\n").split("\n")]
    told = [line for line in shown if re.match("(PASS|FAIL|SKIP|XFAIL) ", line)]
    if "-v" in words:                   # pytest's own way
        assert not [line for line in told if re.fullmatch(ROWS[1], line)]
        assert any(re.match(r"test_new.py::test_bad FAILED", line) for line in shown)
    else:
        found = [line for line in told if any(re.fullmatch(row, line) for row in rows or ROWS)]
        assert len(found) == len(rows or ROWS)
        assert ("PASS" in "".join(told)) == (rows is None)
    assert "booting" not in person.seen
    assert any("1 failed, 2 passed, 1 skipped, 1 xfailed" in line for line in shown)


@pytest.mark.once
@pytest.mark.parametrize("columns", [30, 39, 50])
def test_each_test_has_one_row_of_a_narrow_terminal(folder, columns):
    (folder / "up").touch()
    person = at_terminal(folder, "test_new.py", columns=columns)
    assert person.leave() == 1
    shown = lines(person.seen)
    told = [line for line in shown[:shown.index("")] if re.match("(PASS|FAIL|SKIP|XFAIL) ", line)]
    assert len(told) == len(ROWS) and max(map(len, told)) == columns - 1


@pytest.mark.once
def test_without_a_terminal_it_is_silent_as_ever(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([".", os.environ.get("PYTHONPATH", "")]))
    (folder / "up").touch()
    said = virtvm(folder, *RUN, "test_new.py", status=1)
    assert re.match(r"\.\.Fsx +\[100%\]\n", said) and "test_up  0" not in said and "cccc" in said
    said = virtvm(folder, *RUN, "test_new.py", "-v", status=1)
    shown = said.split("\n")
    assert all(re.fullmatch(row, line) for row, line in zip(ROWS, shown)), said
    assert "b" + 100 * "c" in said
    said = virtvm(folder, *RUN, "test_new.py", "-k", "test_up", "-q")
    assert said.strip().startswith("1 passed")
    said = virtvm(folder, *RUN, "test_new.py", "-k", "test_up", "--", "--html=report.html", "--self-contained-html")
    assert (folder / "report.html").exists()


@pytest.mark.once
def test_debugger_has_the_terminal_alone(folder):
    write(folder, test_stop="""
        def test_stop(vm):
            breakpoint()
        """)
    (folder / "up").touch()
    person = at_terminal(folder, "test_stop.py")
    person.see(r"\(Pdb\) ")
    person.type("import time; time.sleep(3)\n")
    person.see(r"\(Pdb\) ")
    assert "test_stop \u2026" not in person.seen
    person.type("c\n")
    assert person.leave() == 0 and re.search(r"PASS  test_stop  \d", person.seen)


@pytest.mark.once
def test_ctrl_c_is_answered(folder):
    person = at_terminal(folder, "test_new.py")
    person.see(r"booting vm1")
    person.type("\x03")
    person.see(r"\r\x1b\[Kending vm1 \u2026\r\n")
    assert person.leave() == 2


@pytest.mark.once
@pytest.mark.parametrize("key, status", [("\x1d", 0), ("\x03", 130)])
def test_shell_says_that_a_guest_boots_and_can_be_left(folder, key, status):
    person = at_terminal(folder, words=["shell", "--param", "vm_class=hypervisor:VM", "--param", "password=x"])
    person.see("starting 'vm1'; Ctrl-] leaves")
    said = person.see(r"[^\0]*booting vm1 \u2026 \d+ s  \[    1.0\] loading x+\.\.\.")
    settings = termios.tcgetattr(person.master)
    assert settings[6][termios.VQUIT] == b"\x1d"
    person.type(key)
    assert person.leave() == status and "Traceback" not in person.seen
    assert "of no use" not in said + person.seen
    assert (folder / "ended").exists()


@pytest.mark.once
def test_kept_guest_that_ends_says_so(folder):
    (folder / "up").touch()
    write(folder, test_fails="def test_fails(vm):\n    assert 0\n", talks=HYPERVISOR + """
        monitors = ()
        def get_address(self):
            return "localhost"
        def get_port(self, port):
            return 5000
        def get_serial_console_filename(self):
            return "/none"
    """)
    person = at_terminal(folder, "test_fails.py", "--keep", "--param", "vm_class=talks:VM")
    said = person.see(r"[^\0]*Press Ctrl-C to end the guest.")
    assert "ending" not in said
    person.type("\x03")
    person.see("ending vm1 \u2026")
    assert person.leave() == 2          # it was stopped, as ever


class Console:
    def __init__(self, text):
        self._engine, self.text, self.total = self, text, len(text)

    def peek(self, start, limit):
        return self.total, self.text[start:start + limit]


@pytest.mark.parametrize("text, line", [
    (b"", ""), (b"\r\n \r\n", ""), (b"a\r\nb", "b"), (b"GRUB loading\r\n\x1b[H\x1b[J", "GRUB loading"),
    (b"\x1b[0;32mOK\x1b[0m ] Started \x1b]0;evil\x07it\r\n", "OK ] Started it"), (b"\x9b31mraw\x00\xff\xfe\r\n", None),
    (b"x" * 10000 + b"\xe2\x80\xa6", None), (b"12%\r50%\r100%", "100%")])
def test_last_line_of_a_console(text, line):
    found = boot_progress.last_line(Console(text))
    assert found.isprintable() and (line is None or found == line)


def test_foreign_console_has_none():
    assert boot_progress.last_line(object()) == "" and boot_progress.last_line(None) == ""


@pytest.mark.parametrize("text, width, cutting", [
    ("abc", 3, "abc"), ("abcd", 3, "..."), ("abcde", 4, "a..."), ("\u6f22\u5b57\u6f22", 5, "\u6f22..."),
    ("abc", 2, ".."), ("abc", 0, "")])
def test_texts_fit(text, width, cutting):
    assert boot_progress.cut(text, width) == cutting


def test_screen_is_for_terminals(monkeypatch):
    monkeypatch.setattr(sys, "stdout", open(os.devnull, "w"))
    with sys.stdout:
        assert screen.made() is None
        assert screen.made(is_quiet=True).is_quiet
