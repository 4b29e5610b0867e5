"""The corpus on a serial console, by Telnet and over bare TCP: on a terminal that echoes, ends lines
with CR LF, and is no dumb one."""

import os

import pytest
from support.prompt_corpus import PATIENCE, Serial, Tcp, Telnet, cases, prepare_home, run_case

# What such a terminal makes another thing of, in principle.
OTHERWISE = {
    "paste-loop": "later lines of a command are echoed, with the prompt for them, among its output",
    "heredoc-bash": "the same", "backslash": "the same",
    "read": "a second line that the command reads is echoed", "head": "it is echoed, and equals the output",
    "b-paste-marks": "the shell's own switches of bracketed paste can't be told from these",
    "status-in-echo": "a status is asked for so that $? stays, since the reply may be torn",
    "b-crlf-mix": "CR LF is how lines end here", "b-crlf-mix-dash": "the same", "b-crlf-mix-busybox": "the same",
}


CASES = [case for case in cases() if case["id"] not in OTHERWISE]


def run(case, served, tmp_path):
    prepare_home(str(tmp_path))
    try:
        run_case(case, served.open, str(tmp_path))
    finally:
        served.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_corpus_case_is_right_on_a_console(case, tmp_path):
    run(case, Serial(str(tmp_path)), tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_corpus_case_is_right_over_tcp(case, tmp_path):
    run(case, Tcp(str(tmp_path)), tmp_path)


@pytest.mark.skipif(os.getuid() != 0, reason="telnetd needs root")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_corpus_case_is_right_by_telnet(case, tmp_path):
    run(case, Telnet(str(tmp_path)), tmp_path)


def test_exceptions_are_cases():
    assert set(OTHERWISE) | set(PATIENCE) < {case["id"] for case in cases()}
