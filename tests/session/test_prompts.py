"""Every case of the corpus, on a local terminal: the output and status that the command really had."""

import pytest
from support.prompt_corpus import cases, open_local, prepare_home, run_case
from virtvm.companions import aexpect

pytestmark = pytest.mark.once         # the C core with many outputs


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["id"])
def test_corpus_case_is_right_every_time(case, tmp_path):
    prepare_home(str(tmp_path))
    run_case(case, lambda shell: open_local(shell, str(tmp_path)), str(tmp_path))


def test_patience_is_for_a_guest_that_pauses(tmp_path):
    """What looks like a prompt stands for half a second, which is five times what is believed."""
    prepare_home(str(tmp_path))
    engine = open_local("bash", str(tmp_path))

    def match(line):
        return line.endswith(b"$ ")

    engine.find_prompt(match, timeout=60)
    text = b"printf 'total $ '; sleep 0.5; echo 5"
    assert engine.command(text, match, timeout=60, want_status=False, patience=100) == (None, b"total $ 5\n")
    engine.close()


MARKS = {
    # As /etc/profile.d/80-systemd-osc-context.sh of systemd 258 has it.
    "3008": "PROMPT_COMMAND='printf \"\\e]3008;end=%s;exit=success\\e\\\\\\e]3008;start=%s;type=shell;cwd=/\\e\\\\\""
            " $RANDOM $RANDOM'; PS0='\\e]3008;start=$RANDOM;type=command;cwd=/\\e\\\\'; PS1='guest:# '",
    "133": "PROMPT_COMMAND='printf \"\\e]133;D;%s\\a\" $?'; PS0='\\e]133;C\\a'"
           "; PS1='\\[\\e]133;A\\a\\]guest:# \\[\\e]133;B\\a\\]'",
    "633": "PROMPT_COMMAND='printf \"\\e]633;D;%s\\a\" $?'; PS0='\\e]633;C\\a'"
           "; PS1='\\[\\e]633;A\\a\\]guest:# \\[\\e]633;B\\a\\]'",
}


@pytest.mark.parametrize("term", ["xterm", "vt220", "dumb"])
@pytest.mark.parametrize("kind", MARKS)
def test_marks_that_a_shell_makes_for_terminals_are_no_output(kind, term, tmp_path):
    (tmp_path / "rc").write_text(MARKS[kind] + "\n")
    with aexpect.ShellSession("env TERM=%s bash --rcfile %s" % (term, tmp_path / "rc"), prompt=r"[\#\$]\s*$") as shell:
        assert shell.cmd_status_output("echo a; false") == (1, "a\n")
        assert int(shell.cmd("nproc")) > 0
        assert shell.cmd("true") == "" and shell.cmd_status_output("printf x") == (0, "x")
        assert shell.cmd_output("printf '\\033]0;title\\007\\033[1mb'").strip() == "\033]0;title\a\033[1mb"
        assert shell.cmd("seq 3000") == "".join("%d\n" % n for n in range(1, 3001))
