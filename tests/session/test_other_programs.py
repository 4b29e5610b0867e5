"""Programs that are no shell, and what is still to come of what was typed before."""

import sys
import time

import pytest
from support.waiting import BUSY, LONG
from virtvm.companions import aexpect
from virtvm.companions.exceptions import ShellStatusError, ShellTimeoutError

pytestmark = pytest.mark.once         # the C core before programs of its own

# Writes down what it is sent, and says what it does not know.
PROGRAM = r'''
import sys
prompt, heard = sys.argv[1:]
while True:
    sys.stdout.write(prompt); sys.stdout.flush()
    line = sys.stdin.readline()
    if not line or line == "quit\n":
        break
    with open(heard, "a") as f:
        f.write(line)
    print("one\ntwo" if line == "list\n" else "unknown command: " + line.split(" ")[0].strip())
'''


def command_line(tmp_path, prompt):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    (tmp_path / "heard").write_text("")
    return "%s %s '%s' %s" % (sys.executable, program, prompt, tmp_path / "heard")


@pytest.mark.parametrize("prompt", ["virsh # ", "(gdb) ", "ftp> "])
def test_output_and_reading_type_nothing(tmp_path, prompt):
    with aexpect.ShellSession(command_line(tmp_path, prompt), prompt=r"(#|\)|>)\s*$") as session:
        session.read_up_to_prompt(timeout=LONG)
        for _ in range(5):
            assert session.cmd_output("list", timeout=LONG) == "one\ntwo\n"
        session.sendline("list")
        session.read_up_to_prompt(timeout=LONG)
        assert session.cmd_output("list", timeout=LONG) == "one\ntwo\n"
    assert (tmp_path / "heard").read_text() == "list\n" * 7


def test_a_status_is_asked_for_once(tmp_path):
    with aexpect.ShellSession(command_line(tmp_path, "virsh # "), prompt=r"#\s*$") as session:
        def questions():
            return (tmp_path / "heard").read_text().count("vt")

        for _ in range(4):
            start = time.monotonic()
            with pytest.raises(ShellStatusError) as info:
                session.cmd("list", timeout=LONG)
            assert info.value.output == "one\ntwo\n"
            assert time.monotonic() - start < LONG / 2      # not the ten seconds of a silent guest
        assert questions() == 1
        assert session.cmd_output("list", timeout=LONG) == "one\ntwo\n"
        session.set_status_test_command("echo $status")
        with pytest.raises(ShellStatusError):
            session.cmd("list", timeout=LONG)
        assert questions() == 2


def test_a_program_within_a_shell(tmp_path):
    with aexpect.ShellSession("bash --norc --noprofile -i", prompt=r"[\$#>]\s*$") as session:
        assert session.cmd("echo in", timeout=LONG) == "in\n"
        session.cmd_output(command_line(tmp_path, "virsh > "), timeout=LONG)
        for _ in range(3):
            assert session.cmd_output("list", timeout=LONG) == "one\ntwo\n"
        assert (tmp_path / "heard").read_text() == "list\n" * 3
        with pytest.raises(ShellStatusError):
            session.cmd_status("list", timeout=LONG)
        session.cmd_output("quit", timeout=LONG)
        assert session.cmd_status_output("echo out; (exit 3)", timeout=LONG) == (3, "out\n")


@pytest.mark.parametrize("status", [True, False])
@pytest.mark.parametrize("line", ["sleep 0.4; echo late", "printf early; sleep 0.4; echo late",
                                  "echo now; sleep 0.4; echo late", "sleep 0.2; echo a; sleep 0.2; printf b"])
def test_output_that_is_still_to_come_is_no_command_s(line, status):
    with aexpect.ShellSession("bash --norc --noprofile -i") as session:
        session.cmd("true", timeout=LONG)
        for n in range(2):
            session.sendline(line)
            session.sendline("echo more")
            if status:
                assert session.cmd_status_output("echo x%d; (exit 3)" % n, timeout=LONG) == (3, "x%d\n" % n)
            else:
                assert session.cmd_output("echo x%d" % n, timeout=LONG) == "x%d\n" % n


@pytest.mark.parametrize("shell,question", [("bash --norc --noprofile -i", "echo $?"), ("dash -i", "echo $?"),
                                            ("tcsh -f", "echo $status")])
def test_the_next_command_after_a_time_out_and_ctrl_c(shell, question):
    with aexpect.ShellSession(shell, prompt=r"[\#\$%>]\s*$", status_test_command=question) as session:
        session.cmd("true", timeout=LONG)
        for n in range(2):
            with pytest.raises(ShellTimeoutError):
                session.cmd("sleep 0.5; echo old", timeout=0.1)
            assert session.cmd("echo new%d" % n, timeout=LONG) == "new%d\n" % n
            with pytest.raises(ShellTimeoutError):
                session.cmd("sleep 60; echo old", timeout=0.2)
            session.sendcontrol("c")
            assert session.cmd_output("echo again%d" % n, timeout=2 * BUSY) == "again%d\n" % n
            assert session.cmd_status("true", timeout=LONG) == 0


def test_a_password_that_is_asked_for_is_the_caller_s_to_give():
    """A question for a status would be taken for the password."""
    with aexpect.ShellSession("bash --norc --noprofile -i") as session:
        session.cmd("true", timeout=LONG)
        session.sendline("read -p 'Password: ' word; echo \"got $word\"")
        session.read_until_last_line_matches([r"[Pp]assword:\s*$"], timeout=LONG)
        assert session.cmd_output("secret", timeout=LONG) == "got secret\n"


# A shell that knows one status command, and two of whose replies are torn.
TORN = r'''
import re, sys
with open(sys.argv[1], "a") as heard:
    while True:
        sys.stdout.write("torn> "); sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            break
        hit = re.match(r"echo (vt(\d+):.*)", line)
        if hit is None:
            print("out")
            continue
        print(line, end="", file=heard, flush=True)
        reply = hit.group(1).replace("%errorlevel%", "0")
        print(reply if hit.group(2) not in ("9", "10") else reply[0] + "message\n" + reply[1:])
'''


def test_a_question_that_is_put_again_with_more_digits(tmp_path):
    """The numbers have one digit, then two: what is asked behind them stays the same."""
    program, heard = tmp_path / "torn.py", tmp_path / "heard"
    program.write_text(TORN)
    with aexpect.ShellSession("%s %s %s" % (sys.executable, program, heard), prompt=r">\s*$") as session:
        session.set_status_test_command("echo %errorlevel%")
        while not heard.exists() or "vt8:" not in heard.read_text():
            assert session.cmd_status_output("run", timeout=LONG) == (0, "out\n")
        with pytest.raises(ShellStatusError) as info:       # the answer is that of the torn question
            session.cmd("run", timeout=LONG)
        assert info.value.output == "out\n"
    assert heard.read_text().splitlines()[-3:] == ["echo vt%d:%%errorlevel%%" % n for n in (9, 10, 11)]
