"""ShellSession's interface, over a local bash."""

import os
import pickle
import signal
import threading

import pytest
from support.waiting import BUSY, LONG, due, until, when_waiting
from virtvm.companions import aexpect

BASH = "exec bash --norc --noprofile"


@pytest.fixture
def shell():
    with aexpect.ShellSession(BASH) as session:
        session.find_prompt()
        yield session


def test_find_prompt_returns_what_came_before():
    with aexpect.ShellSession("echo welcome; " + BASH) as session:
        output = session.find_prompt()
        assert output.startswith("welcome\n") and "vt1:" not in output


def test_size_of_the_terminal(shell):
    assert shell._engine.resize(41, 99) is True
    assert shell.cmd("stty size") == "41 99\n"
    with aexpect.ShellSession(BASH, auto_close=False) as kept:
        kept.find_prompt()
        assert kept._engine.resize(41, 99) is False     # its terminal is the keeper's
        assert kept.cmd("stty size") == "0 0\n"


def test_cmd_returns_output_of_a_command_that_succeeds(shell):
    assert shell.cmd("echo hi; echo there") == "hi\nthere\n"


def test_cmd_raises_with_status_and_output(shell):
    with pytest.raises(aexpect.ShellCmdError) as info:
        shell.cmd("echo no; (exit 5)")
    assert (info.value.cmd, info.value.status, info.value.output) == ("echo no; (exit 5)", 5, "no\n")
    assert info.value.args == ("echo no; (exit 5)", "no\n")
    assert "Shell command failed: 'echo no; (exit 5)'    (status: 5,    output: 'no\\n')" in str(info.value)


def test_cmd_accepts_other_statuses(shell):
    assert shell.cmd("(exit 5)", ok_status=[0, 5]) == ""
    assert shell.cmd("(exit 5)", ignore_all_errors=True) is None


def test_status_and_output(shell):
    assert shell.cmd_status_output("printf abc; false") == (1, "abc")
    assert shell.cmd_status("sh -c 'kill -9 $$'") == 137
    assert shell.cmd_output("printf abc") == "abc"
    assert shell.get_command_output("echo a") == "a\n"
    assert shell.get_command_status("exit 3 | false") == 1
    assert shell.get_command_status_output("(exit 2)") == (2, "")


def test_cmd_output_keeps_the_status_for_the_next_command(shell):
    assert shell.cmd_output("(exit 9)") == ""
    assert shell.cmd_output("echo $?") == "9\n"


def test_own_status_command(shell):
    shell.set_status_test_command("/bin/echo $?")
    assert shell.cmd_status("(exit 3)") == 3
    shell.set_status_test_command("printf '%s\\n' $?")
    assert shell.cmd_status_output("echo 12; (exit 4)") == (4, "12\n")
    shell.set_status_test_command("")
    assert shell.cmd_status("(exit 5)") == 5


def test_status_command_without_an_answer_is_a_status_error(shell):
    shell.set_status_test_command("true")
    with pytest.raises(aexpect.ShellStatusError) as info:
        shell.cmd("echo out")
    assert info.value.output == "out\n"


def test_timeout_tells_the_output_so_far_and_the_shell_survives(shell):
    with due(3), pytest.raises(aexpect.ShellTimeoutError) as info:
        shell.cmd("echo before; sleep 1000", timeout=3)
    assert info.value.output == "before\n"
    shell.sendcontrol("c")
    shell.read_up_to_prompt(timeout=BUSY)
    assert shell.cmd("echo again") == "again\n"


def test_shell_that_ends_is_a_terminated_error_with_its_status(shell):
    with pytest.raises(aexpect.ShellProcessTerminatedError) as info:
        shell.cmd("exit 3")
    assert info.value.status == 3
    assert not shell.is_alive()
    assert shell.get_status() == 3


def test_shell_killed_by_a_signal_is_not_status_0(shell):
    with pytest.raises(aexpect.ShellProcessTerminatedError):
        shell.cmd("kill -9 $$")
    assert shell.get_status() == -signal.SIGKILL


def test_prompt_that_changes(shell):
    assert shell.cmd_output("PS1='other> $ '; echo x") == "x\n"
    assert shell.cmd("cd /; pwd") == "/\n"
    shell.set_prompt(r"^>>> $")
    shell.sendline("python3 -q 2>/dev/null || exec sh")
    shell.read_up_to_prompt(timeout=BUSY)
    assert shell.cmd_output("6*7") == "42\n"


def test_long_and_binary_output(shell):
    assert shell.cmd_output("seq 200000") == "".join("%d\n" % n for n in range(1, 200001))
    assert shell.cmd_output(r"printf 'a\377b\303\244\n'") == "ab\u00e4\n"


def test_command_longer_than_a_terminal_line_takes_is_refused():
    with aexpect.ShellSession("exec dash -i") as dash:
        dash.find_prompt()
        with pytest.raises(aexpect.ShellError, match="4095"):
            dash.cmd("echo " + "x" * 5000)
        assert dash.cmd("echo fine") == "fine\n"


def test_line_editor_takes_a_command_of_any_length(shell):
    assert shell.cmd("echo " + "x" * 50000) == "x" * 50000 + "\n"


def test_read_until_patterns(shell):
    shell.sendline("echo one; echo two words; cat")
    index, output = shell.read_until_last_line_matches([None, r"^nothing$", r"two \w+$"], timeout=BUSY)
    assert index == 2 and output.endswith("two words\n")
    shell.sendline("third")
    assert shell.read_until_output_matches(["thi(r)d"], timeout=BUSY)[0] == 0
    shell.sendline("a b last")
    assert shell.read_until_last_word_matches(["^last$"], timeout=BUSY)[0] == 0
    shell.sendline("x\ny")
    assert shell.read_until_any_line_matches(["^nope$", "^x$"], timeout=BUSY)[0] == -1


def test_read_timeout_and_end_have_their_exceptions(shell):
    with pytest.raises(aexpect.ExpectTimeoutError) as info:
        shell.read_until_output_matches(["never"], timeout=0.3)
    assert info.value.patterns == ["never"]
    shell.sendline("echo bye; exit 4")
    with pytest.raises(aexpect.ExpectProcessTerminatedError) as info:
        shell.read_until_output_matches(["never"], timeout=BUSY)
    assert info.value.status == 4 and "bye\n" in info.value.output


def test_output_that_never_pauses_obeys_the_timeout(shell):
    shell.sendline("yes")
    with due(0.5), pytest.raises(aexpect.ExpectTimeoutError):
        shell.read_until_output_matches(["never"], timeout=0.5)
    shell.sendcontrol("c")
    shell.read_up_to_prompt(timeout=BUSY)
    assert shell.cmd("echo ok") == "ok\n"


def test_is_responsive(shell):
    assert shell.is_responsive(LONG)
    shell.sendline("echo it; sleep 1000")
    shell.read_until_output_matches(["^it$"], timeout=BUSY)
    assert not shell.is_responsive(timeout=0.3)
    shell.sendcontrol("c")
    shell.read_up_to_prompt(timeout=BUSY)
    assert shell.is_responsive()
    assert shell.cmd("echo after") == "after\n"


def test_get_output_is_complete_though_nobody_reads(shell):
    shell.sendline("seq 300000; echo the-end")
    until(lambda: "\nthe-end\n" in shell.get_output())
    assert "".join("%d\n" % n for n in range(1, 300001)) in shell.get_output()


def test_output_func_gets_lines_while_nobody_waits(shell):
    lines, arrived = [], threading.Event()

    def take(tag, line):
        lines.append((tag, line))
        if line.endswith("last"):
            arrived.set()

    shell.set_output_params(("tag",))
    shell.set_output_prefix("(guest) ")
    shell.set_output_func(take)
    shell.sendline("echo first; echo; echo '  last'")
    assert arrived.wait(BUSY)

    assert ("tag", "(guest)   last") in lines
    shell.set_output_func(None)
    count = len(lines)
    shell.cmd("echo silent")
    assert len(lines) == count


def test_print_func_gets_lines(shell):
    lines = []
    assert shell.cmd("echo a; echo b", print_func=lines.append) == "a\nb\n"
    assert "b" in lines


def test_close_wakes_a_waiter_in_another_thread(shell):
    with pytest.raises(aexpect.ShellProcessTerminatedError), when_waiting(shell.close):
        shell.cmd("sleep 1000", timeout=LONG)
    assert shell.closed and not shell.is_alive()
    shell.close()


def test_close_runs_hooks_once(shell):
    seen = []
    shell.close_hooks.append(seen.append)
    shell.close()
    shell.close()
    assert seen == [shell]


def test_exception_of_a_signal_handler_ends_the_wait(shell):
    class Stop(Exception):
        pass

    def stop(signum, frame):
        raise Stop

    old = signal.signal(signal.SIGALRM, stop)
    try:
        with pytest.raises(Stop), when_waiting(os.kill, os.getpid(), signal.SIGALRM):
            shell.cmd("sleep 1000", timeout=LONG)
    finally:
        signal.signal(signal.SIGALRM, old)


def test_threads_share_a_session_in_turn(shell):
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append((n, shell.cmd("echo %d" % n))))
               for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(n, "%d\n" % n) for n in range(8)]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_child_of_a_fork_leaves_the_session_alone(shell):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            try:
                shell.cmd("echo child")
            except aexpect.ShellProcessTerminatedError:
                with aexpect.ShellSession(BASH) as mine:
                    code = 0 if mine.cmd("echo mine") == "mine\n" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert shell.cmd("echo parent") == "parent\n"


def test_run_says_that_it_needs_ssh(shell):
    with pytest.raises(aexpect.ShellError, match="pty session has no channels"):
        shell.run("true")


def test_sendcontrol_refuses_unknown(shell):
    with pytest.raises(KeyError):
        shell.sendcontrol("1")


def test_errors_pickle(shell):
    with pytest.raises(aexpect.ShellCmdError) as info:
        shell.cmd("false")
    again = pickle.loads(pickle.dumps(info.value))
    assert str(again) == str(info.value) and again.status == 1
