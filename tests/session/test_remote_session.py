"""remote_login's session as aexpect's users know it: attributes, keywords, pickles."""

import copy
import logging
import os
import pickle
import re
import subprocess
import sys
import threading

import pytest
from support import inject
from support.waiting import BUSY, until
from virtvm import virt_vm
from virtvm.companions import aexpect, login, virt_utils
from virtvm.companions.exceptions import LoginError

PROMPT = r"[\#\$]\s*$"


def by_key(server, *args, **keywords):
    return login.remote_login("ssh", server.host, server.port, server.user, "not used", PROMPT, *args,
                              **dict({"ssh_identity_file": server.key}, **keywords))


def test_attributes(sshd):
    with by_key(sshd) as session:
        assert isinstance(session, aexpect.RemoteSession) and session.tail_thread is None
        assert (session.client, session.host, session.port, session.username) == (
            "ssh", sshd.host, sshd.port, sshd.user)
        assert (session.password, session.prompt, session.linesep) == ("not used", PROMPT, "\n")
        assert session.get_pid() is None and session.auto_close and session.output_prefix == ""
        assert "not used" not in repr(session)


def test_output_func_set_after_the_login(sshd):
    lines, arrived = [], threading.Event()

    def take(tag, line):
        lines.append((tag, line))
        if line.endswith("the-end"):
            arrived.set()

    with by_key(sshd) as session:
        session.set_output_params(("tag",))
        session.set_output_func(take)
        session.sendline("echo; echo the-end")
        assert arrived.wait(2 * BUSY)
        assert ("tag", "the-end") in lines


def test_keywords_of_today(sshd, tmp_path):
    lines = []
    with login.remote_login(
            "ssh", sshd.host, sshd.port, sshd.user, "", PROMPT, log_function=lambda *args: lines.append(args),
            log_filename="name", identity_file=sshd.key, status_test_command="echo status=$?; echo $?",
            user_known_hosts_file="/dev/null", interface=None, verbose=True, bind_ip=None,
            extra_cmdline="") as session:
        assert session.status_test_command == "echo status=$?; echo $?"
        assert session.output_prefix == sshd.host
        session.set_status_test_command("echo $?")
        session.cmd("echo; echo hi")
        until(lambda: ("name", sshd.host + "hi") in lines)


def test_order_of_today(sshd):
    lines = []
    args = ("ssh", sshd.host, sshd.port, sshd.user, "", PROMPT, "\n", None)
    with login.remote_login(*args, lines.append, 10, None, sshd.key) as session:
        assert session.cmd("echo hi") == "hi\n" and session.output_func == lines.append
    with login.remote_login(*args, None, 10, None, sshd.key, "echo $?") as session:
        assert session.output_func is None
    with login.wait_for_login(*args, lines.append, 20, 10, identity_file=sshd.key) as session:
        assert session.output_func == lines.append
    with login.wait_for_login(*args, 20, 10, identity_file=sshd.key) as session:
        assert session.output_func is None
    with pytest.raises(TypeError):
        login.remote_login(*args, 10, "too many")
    with pytest.raises(TypeError):
        login.remote_login(*args, nonsense=1)


@pytest.mark.parametrize("keyword", ["bind_ip", "extra_cmdline"])
def test_what_only_a_command_line_can_do_is_refused(sshd, keyword):
    with pytest.raises(ValueError, match=keyword):
        login.remote_login("ssh", sshd.host, sshd.port, sshd.user, "", PROMPT, **{keyword: "x"})


def test_link_local_addresses_get_their_interface():
    assert login._scoped("fe80::1", "eth0") == "fe80::1%eth0"
    assert login._scoped("fe80::1%lo", "eth0") == "fe80::1%lo"
    assert login._scoped("10.0.0.1", "eth0") == "10.0.0.1" == login._scoped("10.0.0.1", None)


def test_handle_prompts_returns_what_it_saw(caplog):
    with aexpect.ShellSession("printf 'login: '; read u; printf 'Password: '; read p; echo welcome $u;"
                              " PS1='[me]$ ' exec bash --norc --noprofile") as session:
        with caplog.at_level(logging.DEBUG):
            seen = login.handle_prompts(session, "me", "secret", login.PROMPT_LINUX, 10, debug=True)
        assert "login: " in seen and "Password: " in seen and "welcome me" in seen
        assert "secret" not in caplog.text
        assert session.cmd("echo in") == "in\n"
    assert re.search(login.PROMPT_WINDOWS, "C:\\Users>")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_session_logs_in_again_when_it_is_used(sshd, protocol):
    with by_key(sshd, linesep="\n") as session:
        session.set_status_test_command("echo $?")
        session.cmd("x=5")
        again = pickle.loads(pickle.dumps(session, protocol))
    with again:
        assert not again.closed and "ssh, open" in repr(again)
        assert again.cmd("echo x=$x") == "x=\n"         # a shell of its own
        assert again.is_alive() and again._engine is not session._engine
        assert (again.host, again.username, again.prompt) == (session.host, session.username, session.prompt)
    assert not again.is_alive()
    closed = pickle.loads(pickle.dumps(again, protocol))
    assert not closed.is_alive()
    with pytest.raises(aexpect.ShellProcessTerminatedError):
        closed.cmd("true")


def test_pickled_session_reports_again(sshd):
    with by_key(sshd) as session:
        session.output_lines = []
        session.set_output_func(logging.info)
        again = pickle.loads(pickle.dumps(session))
    with again:
        assert again.output_func is logging.info and again.tail_thread is None
        again.cmd("true")
        assert again.tail_thread is not None


def test_unpickled_session_says_why_it_cannot_log_in(new_sshd):
    server = new_sshd()
    with by_key(server, timeout=2 * BUSY) as session:
        data = pickle.dumps(session)
    server.stop()
    again = pickle.loads(data)
    assert not again.is_alive()
    for use in (lambda: again.cmd("true"), again.read_nonblocking, again.sendline):
        with pytest.raises(LoginError) as info:
            use()
        assert info.value.stage == "connect" and info.value.port == server.port
    again.close()
    assert again.closed


def test_vm_with_open_sessions_is_pickled_and_copied(sshd):
    vm = virt_vm.BaseVM("vm1", virt_utils.Params({"main": "yes"}))
    with by_key(sshd) as session, aexpect.Expect("sleep 60") as process:
        vm.session, vm.process = session, process
        for again in (pickle.loads(pickle.dumps(vm, 0)), copy.copy(vm), copy.deepcopy(vm)):
            assert again.process.get_pid() == process.get_pid() and again.process.is_alive()
            with again.session:
                assert again.session.cmd("echo hi") == "hi\n"
            if session.closed:
                session = vm.session = by_key(sshd)
        session.close()


def test_remote_session_over_a_local_client():
    with aexpect.RemoteSession("exec bash --norc --noprofile", host="h", username="u") as session:
        assert session.cmd("echo hi") == "hi\n" and session.host == "h"
        with pytest.raises(aexpect.ShellCmdError, match="host: h"):
            session.cmd("false")
        again = pickle.loads(pickle.dumps(session))
        assert again.get_pid() == session.get_pid() and (again.host, again.username) == ("h", "u")


ASK = """
import sys
from virtvm.companions import virt_utils
host, port, user, key = sys.argv[1:]
with virt_utils.remote_login("ssh", host, int(port), user, "", r"[#$]\\s*$", ssh_identity_file=key,
                             timeout=20) as session:
    print(session.run("echo out; exit 3"))
    session.sendline("exit 3")
    try:
        session.read_until_output_matches(["never"], timeout=20)
    except Exception as e:
        print(type(e).__name__, session.get_status())
"""


@pytest.mark.once
@pytest.mark.parametrize("can_tell", [False, True])
def test_server_that_sends_no_exit_status(sshd, tmp_path, can_tell):
    # libssh2 says 0 then; from 1.11.2 on it can be asked.
    env = dict(os.environ, LD_PRELOAD=inject.build(str(tmp_path), "no_status")) if can_tell else None
    done = subprocess.run([sys.executable, "-c", ASK, sshd.host, str(sshd.port), sshd.user, sshd.key or ""], env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    status = None if can_tell else 3
    assert "status=%s, signal='', stdout='out\\n'" % status in done.stdout, done.stdout
    assert "ExpectProcessTerminatedError %s\n" % status in done.stdout, done.stdout
