"""Consoles with a talking kernel: its messages come into prompts, echoes and replies, and without end."""

import os
import random
import re

import pytest
from support.noisy import BARE, STAMPED, Noisy, without_messages
from support.waiting import BUSY
from virtvm.companions import aexpect, login

pytestmark = pytest.mark.once         # the C core before a program of its own
PROMPT = r"[\#\$]\s*$"
BASH = ["bash", "--norc", "--noprofile", "-i"]
ENV = {"PATH": os.environ["PATH"], "TERM": "vt220", "HOME": "/", "LANG": "C.UTF-8", "PS1": "root@vm:~# "}


def log_in(noisy):
    console = aexpect.ConsoleSession(noisy.path, name="vm")
    console.sendline()
    login._remote_login(console, "root", "x", PROMPT, timeout=2 * BUSY)
    return console


def run(console, n, torn_echo=False):
    """A command of known output and status, whose output has no newline every other time."""
    text, end = "out %d" % n, "" if n % 2 else "\n"
    status, output = console.cmd_status_output("printf '%s%s'; (exit %d)" % (text, end.replace("\n", "\\n"), n % 100),
                                               timeout=2 * BUSY)
    assert status == n % 100
    output = without_messages(output), without_messages(console.cmd_output("echo out", timeout=2 * BUSY))
    # A line of anybody's in the midst of an echo keeps that from being known as one.
    assert output == (text + end, "out\n") or (torn_echo and output[0].endswith(text + end)
                                               and output[1].endswith("out\n"))


@pytest.mark.parametrize("where", range(24))
def test_message_at_each_place_of_a_reply(tmp_path, where):
    """The n-th byte of each reply is followed by a message."""
    def torn(before, data):
        return [hit.start() + where for hit in re.finditer(rb"vt\d+:\d+\r\n(?:[^ ]* )?", data)
                if hit.start() + where <= hit.end()]

    with Noisy(tmp_path, BASH, ENV, torn) as noisy, log_in(noisy) as console:
        for n in range(20, 24):
            run(console, n)
        assert noisy.count > 0 or where > 6     # further on the prompt may come apart from the reply


@pytest.mark.parametrize("where", range(2, 12))
def test_message_of_any_kind_in_a_reply_has_it_asked_for_again(tmp_path, where):
    asked = []

    def torn(before, data):
        for hit in re.finditer(rb"vt(\d+):\d+\r\n", data):
            asked.append(int(hit.group(1)))
            if len(asked) % 3 == 0 and hit.start() + where < hit.end():
                return [hit.start() + where]
        return []

    with Noisy(tmp_path, BASH, ENV, torn, message=BARE) as noisy, log_in(noisy) as console:
        for n in range(20, 24):
            run(console, n)


@pytest.mark.parametrize("lines", [1, 3, 4, 12, 40, 2000])
@pytest.mark.parametrize("message", [STAMPED, BARE], ids=["kernel", "anybody"])
def test_burst_over_a_prompt(tmp_path, lines, message):
    def torn(before, data):
        hit = re.search(rb"hi\r\n[^\n]*root@vm:~# $", before + data)
        return [len(data)] * lines if hit else []

    with Noisy(tmp_path, BASH, ENV, torn, message=message) as noisy, log_in(noisy) as console:
        for _ in range(3):
            assert console.cmd_status_output("echo hi; (exit 4)", timeout=2 * BUSY) == (4, "hi\n")
            assert console.cmd_output("echo hi", timeout=2 * BUSY) == "hi\n"
        assert noisy.count >= lines


@pytest.mark.parametrize("message", [STAMPED, BARE], ids=["kernel", "anybody"])
def test_messages_that_never_cease(tmp_path, message):
    """The prompt is never the last line for long, and a command ends all the same."""
    with Noisy(tmp_path, BASH, ENV, lambda before, data: [len(data)] if noisy.every else [],
               every=0.02 if message is STAMPED else None, message=message) as noisy, log_in(noisy) as console:
        noisy.every = 0.02
        for n in range(3):
            run(console, n, message is BARE)


def test_storm_that_tears_everything(tmp_path):
    """A message after each 7 to 40 bytes: echoes, outputs, replies and prompts are all in pieces.

    On a dumb terminal, since a sequence that is torn, too, is no longer known as the shell's own. After
    the login, which asks for no second prompt when the first is torn amid messages without end.
    """
    dice, storm, left = random.Random(7), [], [20]

    def torn(before, data):
        places, at = [], left[0] if storm else len(data)
        while at < len(data):
            places.append(at)
            at += dice.randint(7, 40)
        left[0] = at - len(data)        # bytes come in pieces that are smaller on a busy machine
        return places

    with Noisy(tmp_path, BASH, dict(ENV, TERM="dumb"), torn) as noisy, log_in(noisy) as console:
        storm.append(True)
        noisy.every = 0.05
        for n in range(30):
            run(console, n)
        assert noisy.count > 100
