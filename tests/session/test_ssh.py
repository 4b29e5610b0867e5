"""Logging in over SSH: a real server, and servers that misbehave at each stage."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest
from support.scripted import Scripted, relay
from support.waiting import LONG, due, when_waiting
from virtvm.companions import aexpect, login
from virtvm.companions.exceptions import (
    LoginAuthenticationError, LoginBadClientError, LoginError, LoginTimeoutError)

PROMPT = r"[\#\$]\s*$"


def log_in(server, password=None, timeout=20, **keywords):
    if not server.can_password or keywords.pop("by_key", False):
        keywords.setdefault("ssh_identity_file", server.key)
    return login.remote_login("ssh", keywords.pop("host", server.host), keywords.pop("port", server.port),
                              keywords.pop("user", server.user), password or server.password or "",
                              PROMPT, timeout=timeout, **keywords)


def needs_password(server):
    if not server.can_password:
        pytest.skip("logins by password need root")


def test_password(sshd):
    needs_password(sshd)
    with log_in(sshd) as session:
        assert session.info["method"] == "password" and session.info["tries"] == 1
        assert session.cmd("echo hi; stty size") == "hi\n0 0\n"
        assert session._engine.prompts[0][1]


def test_size_of_the_terminal(sshd):
    with log_in(sshd, by_key=True) as session:
        for rows, columns in ((24, 80), (65535, 1), (50, 132)):
            assert session._engine.resize(rows, columns) is True
            assert session.cmd("stty size") == "%d %d\n" % (rows, columns)
        for size in ((0, 80), (24, -1), (24, 65536)):
            with pytest.raises(ValueError):
                session._engine.resize(*size)
        assert session.cmd("stty size") == "50 132\n"


def test_key(sshd):
    with log_in(sshd, by_key=True) as session:
        assert session.info["method"] == "publickey"
        assert session.cmd("whoami") == sshd.user + "\n"
        assert session.info["hostkey"].startswith("SHA256:")


def test_keyboard_interactive_as_the_fallback_and_by_name(new_sshd, sshd):
    needs_password(sshd)
    with log_in(new_sshd("PasswordAuthentication no")) as session:
        assert session.info["method"] == "keyboard-interactive"
    with log_in(sshd, ssh_auth="keyboard-interactive") as session:
        assert session.info["method"] == "keyboard-interactive"


def test_key_and_password_both_required(new_sshd, sshd):
    needs_password(sshd)
    server = new_sshd("AuthenticationMethods publickey,password")
    with log_in(server, ssh_identity_file=server.key, ssh_auth="publickey,password") as session:
        assert session.cmd("echo both") == "both\n"


def test_agent(sshd, tmp_path, monkeypatch):
    started = subprocess.run(["ssh-agent", "-s", "-a", str(tmp_path / "agent")], stdout=subprocess.PIPE,
                             text=True, check=True).stdout
    pid = int(started.split("SSH_AGENT_PID=")[1].split(";")[0])
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        with pytest.raises(LoginAuthenticationError):
            log_in(sshd, ssh_auth="agent", ssh_identity_file=None)
        key = tmp_path / "key"
        shutil.copy(sshd.key, key)
        key.chmod(0o600)
        subprocess.run(["ssh-add", "-q", str(key)], check=True)
        with log_in(sshd, ssh_auth="agent", ssh_identity_file=None) as session:
            assert session.cmd("echo agent") == "agent\n"
    finally:
        os.kill(pid, signal.SIGTERM)


def test_refused_password_names_the_methods(sshd):
    needs_password(sshd)
    with pytest.raises(LoginAuthenticationError) as info:
        log_in(sshd, "wrong password")
    error = info.value
    assert error.stage == "authentication" and "publickey" in error.methods and "password" in error.methods
    assert (error.host, error.port, error.user) == (sshd.host, sshd.port, sshd.user)
    assert "wrong password" not in str(error) and sshd.password not in str(error)


def test_key_that_is_not_there(sshd, tmp_path):
    with pytest.raises(LoginAuthenticationError, match="none"):
        log_in(sshd, ssh_identity_file=str(tmp_path / "none"), ssh_auth="publickey")


def test_unknown_method(sshd):
    with pytest.raises(LoginError, match="telepathy"):
        log_in(sshd, ssh_auth="telepathy")


def test_known_hosts(sshd, tmp_path):
    with log_in(sshd, by_key=True, ssh_known_hosts=sshd.known_hosts) as session:
        assert session.cmd("echo known") == "known\n"
    empty = tmp_path / "empty"
    empty.write_text("")
    with pytest.raises(LoginError) as info:
        log_in(sshd, by_key=True, ssh_known_hosts=str(empty))
    assert info.value.stage == "host key" and "SHA256:" in str(info.value)
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)
    kind, blob = (tmp_path / "k.pub").read_text().split()[:2]
    other.write_text("[%s]:%d %s %s\n" % (sshd.host, sshd.port, kind, blob))
    with pytest.raises(LoginError) as info:
        log_in(sshd, by_key=True, ssh_known_hosts=str(other))
    assert info.value.stage == "host key"
    hashed = tmp_path / "hashed"
    shutil.copy(sshd.known_hosts, hashed)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(hashed)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log_in(sshd, by_key=True, ssh_known_hosts=str(hashed)).close()


def test_names_and_both_families(new_sshd):
    server = new_sshd(listen=("127.0.0.1", "::1"))
    for host, address in (("localhost", None), ("127.0.0.1", "127.0.0.1"), ("::1", "::1")):
        with log_in(server, by_key=True, host=host) as session:
            assert address is None or session.info["address"] == address
    with pytest.raises(LoginError) as info:
        log_in(server, host="no-such-host.invalid")
    assert info.value.stage == "resolve"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: namespaces")
@pytest.mark.parametrize("host, stages", [("localhost", {"connect"}), ("LocalHost", {"connect"}),
                                          ("localhost.invalid", {"resolve"})])
def test_localhost_is_this_host_without_a_file_that_says_so(host, stages):
    """As on a minimal system, whose installer has not written /etc/hosts."""
    code = ("from virtvm.companions import login, virt_utils\n"
            "try:\n    virt_utils.remote_login('ssh', %r, 9, 'user', 'pass', '#', timeout=20)\n"
            "except login.LoginError as e:\n    print(e.stage)\n" % host)
    done = subprocess.run(["unshare", "--mount", "--net", "sh", "-c", "mount --bind /dev/null /etc/hosts"
                           " && mount --bind /dev/null /etc/resolv.conf && ip link set lo up && exec \"$@\"", "sh",
                           sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert set(done.stdout.decode().split()) == stages


def test_bad_client(sshd):
    with pytest.raises(LoginBadClientError, match="smoke signals"):
        login.remote_login("smoke signals", sshd.host, sshd.port, "u", "p", PROMPT)


def test_prompt_that_never_comes(sshd):
    with pytest.raises(LoginTimeoutError) as info:
        login.remote_login("ssh", sshd.host, sshd.port, sshd.user, sshd.password or "", "never>", timeout=3,
                           ssh_identity_file=sshd.key)
    assert info.value.stage == "prompt" and "$ " in info.value.output


def test_exact_status_and_signal_of_a_command_beside_the_shell(sshd):
    with log_in(sshd, by_key=True) as session:
        result = session.run("echo out; echo err >&2; cat; exit 7", input="text in\n")
        assert (result.status, result.signal, result.stdout, result.stderr) == (7, "", "out\ntext in\n", "err\n")
        assert session.run("kill -KILL $$").signal == "KILL"
        assert session.run("head -c 3000000 /dev/zero", text=False).stdout == bytes(3000000)
        assert session.run("cat", input=b"x" * 3000000, text=False).stdout == b"x" * 3000000
        with pytest.raises(aexpect.ShellTimeoutError):
            session.run("sleep 30", timeout=0.3)
        assert session.cmd("echo the shell is fine") == "the shell is fine\n"


def test_many_commands_beside_the_shell_leave_nothing(sshd):
    with log_in(sshd, by_key=True) as session:
        before = len(os.listdir("/proc/self/fd"))
        for n in range(60):
            assert session.run("cat; exit %d" % n, input="x" * n).status == n
        assert len(os.listdir("/proc/self/fd")) == before
        assert session.cmd("echo shell") == "shell\n"


def test_server_that_has_one_channel_only(new_sshd):
    server = new_sshd("MaxSessions 1")
    with log_in(server, by_key=True) as session:
        for _ in range(3):
            with pytest.raises(aexpect.ShellError, match="channel") as info:
                session.run("true")
            assert info.value.stage == "channel" and info.value.host == server.host
        assert session.cmd("echo shell") == "shell\n"


def test_large_output_is_whole(sshd):
    with log_in(sshd, by_key=True) as session:
        output = session.cmd_output("seq 1000000")
        assert len(output) == 6888896 and output.endswith("\n999999\n1000000\n")


def test_shell_that_exits(sshd):
    with log_in(sshd, by_key=True) as session:
        with pytest.raises(aexpect.ShellProcessTerminatedError) as info:
            session.cmd("exit 4")
        assert info.value.status == 4 and info.value.host == sshd.host


def test_server_that_is_killed(new_sshd):
    server = new_sshd()
    with log_in(server, by_key=True) as session:
        with pytest.raises(aexpect.ShellProcessTerminatedError) as info, when_waiting(server.kill_sessions):
            session.cmd("sleep 1000", timeout=LONG)
        assert info.value.status is None
        assert not session.is_alive()


def test_many_sessions_from_threads_leave_nothing(sshd):
    before = len(os.listdir("/proc/self/fd"))
    results = []

    def work(n):
        with log_in(sshd, by_key=True, timeout=60) as session:
            results.append(session.cmd("echo %d" % n))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results, key=int) == ["%d\n" % n for n in range(12)]
    assert len(os.listdir("/proc/self/fd")) <= before + 2       # the drainer's own


def test_signal_interrupts_a_login():
    class Stop(Exception):
        pass

    def stop(signum, frame):
        raise Stop

    with Scripted(lambda peer, n: server.stay()) as server:
        old = signal.signal(signal.SIGALRM, stop)
        try:
            with pytest.raises(Stop), when_waiting(os.kill, os.getpid(), signal.SIGALRM):
                attempt(server.port, timeout=LONG)
        finally:
            signal.signal(signal.SIGALRM, old)


# ---- servers that misbehave ----

def attempt(port, timeout=2.0):
    return login.remote_login("ssh", "127.0.0.1", port, "user", "pass", PROMPT, timeout=timeout)


def failure(port, timeout=LONG):
    with pytest.raises(LoginError) as info:
        attempt(port, timeout)
    return info.value


def test_closed_port_is_refused_at_once():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    error = failure(port)
    assert error.stage == "connect" and "refused" in str(error) and error.port == port


def test_silent_port():
    with Scripted(lambda peer, n: server.stay()) as server, due(1):
        error = failure(server.port, 1)
    assert isinstance(error, LoginTimeoutError) and error.stage == "banner"


def test_other_protocol():
    with Scripted(lambda peer, n: (peer.sendall(b"220 ftp ready\r\n"), server.stay())) as server:
        error = failure(server.port)
    assert error.stage == "banner" and "220 ftp ready" in str(error)


def test_connection_closed_before_the_banner():
    with Scripted(lambda peer, n: None) as server, due(1):      # as a guest that boots: it is tried again
        error = failure(server.port, 1)
    assert error.stage in ("banner", "connect")


def test_garbage_after_the_banner():
    with Scripted(lambda peer, n: (peer.sendall(b"SSH-2.0-broken\r\n" + b"\xff" * 4000), server.stay())) as server:
        error = failure(server.port)
    assert error.stage == "key exchange"


def test_silence_after_the_banner():
    with Scripted(lambda peer, n: (peer.sendall(b"SSH-2.0-silent\r\n"), server.stay())) as server, due(1):
        error = failure(server.port, 1)
    assert isinstance(error, LoginTimeoutError) and error.stage == "key exchange"


def test_server_that_falls_silent_while_it_authenticates(sshd):
    with Scripted(lambda peer, n: (relay(peer, sshd, port.stopped, most=1200), port.stay())) as port, due(1.5):
        error = failure(port.port, 1.5)
    assert isinstance(error, LoginTimeoutError) and error.stage in ("key exchange", "authentication")


def test_guest_that_boots_is_reached_when_it_is_ready(sshd):
    """At first connections are taken and left silent, as user networking does it."""
    def script(peer, number):
        if number < 3:
            while peer.recv(100):       # until it is given up
                pass
        else:
            relay(peer, sshd, port.stopped)

    with Scripted(script) as port:
        with login.remote_login("ssh", "127.0.0.1", port.port, sshd.user, sshd.password or "", PROMPT,
                                timeout=LONG, ssh_identity_file=sshd.key) as session:
            assert session.cmd("echo booted") == "booted\n"
            assert session.info["tries"] > 1 and port.count <= 4
