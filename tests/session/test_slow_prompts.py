"""Shells whose prompt takes longer than one login has: the next login goes on with that session."""

import os
import re
import time

import pytest
from support.sshd import Sshd
from support.waiting import until
from virtvm import _session
from virtvm.companions import _unended, login
from virtvm.companions.exceptions import LoginError, LoginTimeoutError

PROMPT = r"[\#\$]\s*$"


@pytest.fixture
def slow():
    """Makes a server for the user who runs the tests, by key, whose shell is a command line."""
    servers = []

    def make(command):
        servers.append(Sshd("LogLevel VERBOSE\nForceCommand %s\n" % command))
        return servers[-1]

    yield make
    while _unended._kept:
        _unended._kept.pop().session.close()
    for server in servers:
        server.stop()


def let_in(server):
    return len(re.findall("Accepted publickey", server.read_log()))


def arguments(server, **changes):
    return dict({"client": "ssh", "host": server.host, "port": server.port, "username": server.user, "password": None,
                 "prompt": PROMPT, "ssh_identity_file": server.key}, **changes)


def time_out(server, **changes):
    with pytest.raises(LoginTimeoutError):
        login.remote_login(**arguments(server, timeout=1, **changes))


def test_prompt_that_takes_longer_than_a_login(slow):
    server = slow("sleep 4; PS1='ready# ' exec bash --norc --noprofile -i")
    with login.wait_for_login(**arguments(server, timeout=60, internal_timeout=1)) as session:
        assert session.cmd("echo $((6 * 7))") == "42\n"
        assert session.cmd_status("false") == 1
    assert let_in(server) == 1


def test_prompt_that_came_between_two_logins(slow):
    server = slow("sleep 2; PS1='ready# ' exec bash --norc --noprofile -i")
    time_out(server)
    kept, = _unended._kept
    assert until(lambda: b"ready#" in kept.session._engine.output())
    with login.remote_login(**arguments(server, timeout=30)) as session:
        assert session.cmd("echo $((6 * 7))") == "42\n"
    assert let_in(server) == 1


@pytest.mark.parametrize("change", [{"prompt": "other>"}, {"linesep": "\r\n"}])
def test_other_options_have_a_session_of_their_own(slow, change):
    server = slow("sleep 60")
    time_out(server)
    time_out(server, **change)
    assert let_in(server) == 2


def test_machine_that_was_reset(slow):
    server = slow("sleep 60")
    place = _session.place(server.host, server.port)
    try:
        time_out(server)
        place.reset()
        time_out(server)
        assert let_in(server) == 2
    finally:
        place.forget()


def test_session_that_ended_meanwhile_is_begun_anew(slow):
    server = slow("sleep 60")
    time_out(server)
    kept, = _unended._kept
    server.kill_sessions()
    assert until(lambda: kept.session._engine.ended)
    time_out(server)
    assert let_in(server) == 2


def test_session_that_ends_while_it_is_waited_for_is_begun_anew(slow, tmp_path):
    """As by a guest that reboots behind our back."""
    flag = tmp_path / "second"
    server = slow("if [ -e %s ]; then PS1='ready# ' exec bash --norc --noprofile -i; else touch %s; sleep 2; fi"
                  % (flag, flag))
    time_out(server)
    with login.remote_login(**arguments(server, timeout=30)) as session:
        assert session.cmd("echo $((6 * 7))") == "42\n"


def test_nobody_comes_for_it(slow, monkeypatch):
    monkeypatch.setattr(_unended, "_KEPT_FOR", 0.5)
    server = slow("sleep 60")
    time_out(server)
    kept, = _unended._kept
    assert until(lambda: kept.session._engine.closed)
    time_out(server)
    assert let_in(server) == 2


def test_prompt_that_never_comes_is_left_after_a_while(slow, monkeypatch):
    server = slow("sleep 60")
    time_out(server)
    monkeypatch.setattr(_unended, "_STEP", 0.5)
    time_out(server)
    assert let_in(server) == 2 and not _unended._kept


def test_few_are_kept(slow, monkeypatch):
    monkeypatch.setattr(_unended, "_MOST", 2)
    server = slow("sleep 60")
    for prompt in ("a>", "b>", "c>"):
        time_out(server, prompt=prompt)
    assert [kept.options["prompt"] for kept in _unended._kept] == ["b>", "c>"]


def test_password_that_has_expired_is_not_kept(slow):
    server = slow("printf 'New password: '; sleep 60")
    with pytest.raises(LoginError):
        login.remote_login(**arguments(server, timeout=30))
    assert not _unended._kept


def test_fork_leaves_it_to_the_parent(slow):
    server = slow("sleep 3; PS1='ready# ' exec bash --norc --noprofile -i")
    time_out(server)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if not _unended._kept else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    began = time.monotonic()
    with login.remote_login(**arguments(server, timeout=30)) as session:
        assert session.cmd("echo $((6 * 7))") == "42\n" and time.monotonic() - began < 30
    assert let_in(server) == 1
