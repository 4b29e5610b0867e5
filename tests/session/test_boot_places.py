"""Waiting for a guest that boots, from Python: what outlives a login, a fork, an exit."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading

import pytest
from support.netns import Namespace
from support.scripted import Scripted, relay, shuttle
from support.slirp import Slirp
from support.sshd import Sshd
from support.waiting import until
from virtvm import _session
from virtvm.companions import login
from virtvm.companions.exceptions import LoginAuthenticationError, LoginError, LoginTimeoutError

pytestmark = [pytest.mark.once,
              pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")]
PROMPT = r"[\#\$]\s*$"


def log_in(sshd, port, timeout, **keywords):
    return login.remote_login("ssh", "127.0.0.1", port, sshd.user, sshd.password or "", PROMPT,
                              timeout=timeout, ssh_identity_file=sshd.key, **keywords)


@pytest.fixture
def silent():
    """A port that accepts and says nothing: (port, list of its peers)."""
    peers = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            while True:
                try:
                    peers.append(listener.accept()[0])
                except OSError:
                    return
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], peers
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for peer in peers:
        peer.close()
    _session._drop_places()


def open_until_timeout(port):
    with pytest.raises(_session.EngineError) as caught:
        _session.open_ssh("127.0.0.1", port, "user", "password", timeout=0.2)
    assert caught.value.code == "timeout"


def has_ended(peer):
    """Whether the client has closed its end; what it said before is its greeting alone."""
    peer.settimeout(30)
    said = b""
    while True:
        data = peer.recv(4096)
        if not data:
            break
        said += data
    assert said.startswith(b"SSH-2.0-libssh2_") and said.count(b"\n") == 1
    return True


def test_next_login_takes_the_connection_over(silent):
    port, peers = silent
    for _ in range(3):
        open_until_timeout(port)
    assert len(peers) == 1


def test_kept_connections_are_closed_when_nobody_comes(silent):
    port, peers = silent
    open_until_timeout(port)
    peers[0].setblocking(False)
    peers[0].recv(100)
    with pytest.raises(BlockingIOError):
        peers[0].recv(100)
    peers[0].settimeout(120)            # it takes 30 s; nothing else wakes the engine meanwhile
    assert peers[0].recv(100) == b""


def test_forgotten_places_are_closed_at_once(silent):
    port, peers = silent
    place = _session.place("127.0.0.1", port, forwarded=True)
    open_until_timeout(port)
    place.forget()
    assert has_ended(until(lambda: peers)[0])


def test_fork_closes_its_copies_without_a_byte(silent):
    """The parent's connection stays; once that is closed, the child has nothing open."""
    port, peers = silent
    open_until_timeout(port)
    go_on, wait = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(wait)
        os.read(go_on, 1)
        os._exit(0)
    try:
        os.close(go_on)
        _session._drop_places()
        assert has_ended(until(lambda: peers)[0])       # the child still runs
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    finally:
        os.close(wait)
        os.waitpid(child, 0)


def test_fork_while_another_thread_waits(silent):
    """The child can log in by itself, whatever the parent's thread was about to do."""
    port, peers = silent
    thread = threading.Thread(target=open_until_timeout, args=(port,))
    thread.start()
    until(lambda: peers)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            open_until_timeout(port)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()


def test_exit_ends_them_without_a_byte(silent):
    port, peers = silent
    code = ("from virtvm import _session\n"
            "try: _session.open_ssh('127.0.0.1', %d, 'user', 'password', timeout=0.2)\n"
            "except _session.EngineError: pass\n" % port)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert has_ended(until(lambda: peers)[0])


def test_threads_that_wait_for_one_guest(sshd):
    """Each gets a session of its own; together they give up no more than one alone may."""
    with Slirp((sshd.host, sshd.port), network=2, sshd=2, pace=1) as user:
        place = _session.place("127.0.0.1", user.port, forwarded=True, canary=("127.0.0.1", user.canary))
        sessions = []
        threads = [threading.Thread(target=lambda: sessions.append(log_in(sshd, user.port, 60))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(sessions) == 6
        assert [session.cmd("echo in") for session in sessions] == ["in\n"] * 6
        assert len(user.seen) <= 6 + 8
        for session in sessions:
            session.close()
        place.forget()


def test_a_place_tells_what_is_waited_for(sshd):
    with Slirp((sshd.host, sshd.port), network=1e9, sshd=1e9, pace=1) as user:
        place = _session.place("127.0.0.1", user.port, forwarded=True, canary=("127.0.0.1", user.canary))
        assert place.awaits() is None
        with pytest.raises(LoginTimeoutError, match="reason: no sign of life yet"):
            log_in(sshd, user.port, 0.5)
        words, seconds = place.awaits()
        assert words == "no sign of life yet" and seconds >= 0.4
        user.network = 0                        # and nobody listens
        with pytest.raises(LoginTimeoutError, match="the network is up, nobody listens on port %d" % user.port):
            log_in(sshd, user.port, 2)
        user.sshd = 0
        log_in(sshd, user.port, 30).close()
        assert place.awaits() is None
        place.forget()


def test_a_reset_has_it_begin_anew(sshd):
    """A guest that was logged into is trusted with one connection, until its machine is reset."""
    with Slirp((sshd.host, sshd.port), pace=1) as user:
        place = _session.place("127.0.0.1", user.port, forwarded=True, canary=("127.0.0.1", user.canary))
        log_in(sshd, user.port, 30).close()
        asked = user.canaries
        log_in(sshd, user.port, 30).close()
        assert len(user.seen) <= 3 and user.canaries == asked
        user.reset(2, 2)
        place.reset()
        log_in(sshd, user.port, 60).close()
        assert len(user.seen) <= 5 and user.canaries > asked
        place.forget()


def test_a_key_exchange_from_before_a_reset_is_not_gone_on_with():
    """The login was in the middle of it when the machine was reset."""
    def script(peer, number):
        peer.sendall(b"SSH-2.0-reset\r\n")
        port.stay()

    with Scripted(script) as port:
        place = _session.place("127.0.0.1", port.port, forwarded=True)
        resets = threading.Timer(0.5, place.reset)
        resets.start()
        for timeout in (2, 1):
            with pytest.raises(_session.EngineError) as caught:
                _session.open_ssh("127.0.0.1", port.port, "user", "password", timeout=timeout)
            assert (caught.value.code, caught.value.stage) == ("timeout", "key exchange")
        resets.join()
        assert port.count == 2
        place.forget()


def test_a_server_that_drops_a_few_is_found_by_short_logins(sshd):
    """The pause after the drops is longer than a login."""
    def script(peer, number):
        peer.sendall(b"SSH-2.0-early\r\n")
        if number >= 4:
            raise_up.set()
        peer.recv(4096)

    raise_up = threading.Event()
    with Scripted(script) as port:
        with pytest.raises(LoginError):
            login.wait_for_login("ssh", "127.0.0.1", port.port, "user", "password", PROMPT, timeout=12,
                                 internal_timeout=0.3)
        assert raise_up.is_set()


@pytest.fixture(scope="module")
def slow_sshd(account):
    """A server that needs three seconds to let somebody in."""
    if account is None:
        pytest.skip("needs root: an account of its own")
    server = Sshd(account=account, pam="auth required pam_unix.so\naccount required pam_exec.so quiet /bin/sleep 3\n"
                  "account required pam_unix.so\n")
    yield server
    server.stop()


def test_a_login_that_was_begun_by_another_name_is_not_gone_on_with(slow_sshd, tmp_path):
    """Its host key was looked up for that one."""
    sshd = slow_sshd
    with open(sshd.known_hosts) as f:
        _, kind, key = f.read().split()
    with Scripted(lambda peer, number: relay(peer, sshd, port.stopped)) as port:
        known = tmp_path / "known_hosts"
        known.write_text("[localhost]:%d %s %s\n[127.0.0.1]:%d %s %s\n" % (
            port.port, kind, key, port.port, kind, "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43))
        place = _session.place("127.0.0.1", port.port)
        seen = []
        for host in ("localhost", "127.0.0.1"):
            with pytest.raises(_session.EngineError) as caught:
                _session.open_ssh(host, port.port, sshd.user, sshd.password, identity_file=sshd.key,
                                  known_hosts=str(known), timeout=2)
            seen.append((caught.value.code, caught.value.stage))
        place.forget()
    assert seen[0] == ("timeout", "authentication")
    assert seen[1] == ("hostkey", "host key")


@pytest.mark.parametrize("stage", ["key exchange", "authentication"])
@pytest.mark.parametrize("change", ["other key", "revoked", "gone"])
def test_known_hosts_that_change_meanwhile_are_heeded(request, tmp_path, stage, change):
    sshd = request.getfixturevalue("sshd" if stage == "key exchange" else "slow_sshd")

    def script(peer, number):
        if stage == "authentication":
            relay(peer, sshd, port.stopped)
            return
        with socket.create_connection((sshd.host, sshd.port)) as there:
            shuttle(peer, there, 600, port.stopped, 3 if number == 0 else 0)

    with open(sshd.known_hosts) as f:
        _, kind, key = f.read().split()
    known = tmp_path / "known_hosts"
    with Scripted(script) as port:
        line = "[127.0.0.1]:%d %s " % (port.port, kind)

        def log_in():
            with pytest.raises(_session.EngineError) as caught:
                _session.open_ssh("127.0.0.1", port.port, sshd.user, sshd.password, identity_file=sshd.key,
                                  known_hosts=str(known), timeout=2)
            return caught.value

        known.write_text(line + key + "\n")
        place = _session.place("127.0.0.1", port.port)
        first = log_in()
        assert (first.code, first.stage) == ("timeout", stage)
        if change == "gone":
            known.unlink()
        else:
            known.write_text("@revoked %s%s\n" % (line, key) if change == "revoked" else
                             line + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + "\n")
        second = log_in()
        assert (second.code, second.stage) == ("hostkey", "host key") and port.count == 1
        place.forget()


def test_a_place_is_pickled_by_how_it_is_reached():
    place = _session.place("127.0.0.1", 2222, forwarded=True, canary=("127.0.0.1", 3333))
    again = pickle.loads(pickle.dumps(place, 0))
    assert repr(again) == repr(place)
    again.forget()


@pytest.mark.parametrize("args, error", [
    (("127.0.0.1", 0), ValueError), (("127.0.0.1", 70000), ValueError), (("a" * 300, 22), ValueError),
    (("127.0.0.1", 22, True, ("localhost", 9)), ValueError),
    (("127.0.0.1", 22, True, ("127.0.0.1", 0x10000)), ValueError), (("", 22), ValueError),
    (("127.0.0.1", 22, True, 9), TypeError), ((None, 22), TypeError), (("\0", 22), ValueError)])
def test_what_is_no_place(args, error):
    with pytest.raises(error):
        _session.place(*args)


def test_a_server_that_refuses_for_now_is_no_stranger(sshd):
    with Slirp((sshd.host, sshd.port), pace=1, greet=lambda number: b"Not allowed at this time\r\n") as user:
        with pytest.raises(LoginError) as caught:
            log_in(sshd, user.port, 0.5)
        error = caught.value
        assert error.msg == "The server refuses us for now" and error.stage == "banner"
        assert "Not allowed at this time" in error.detail and not isinstance(error, LoginAuthenticationError)


def test_interrupt_while_a_guest_boots(silent):
    port, peers = silent
    main = threading.main_thread().ident
    threading.Thread(target=lambda: (until(lambda: peers), signal.pthread_kill(main, signal.SIGINT))).start()
    with pytest.raises(KeyboardInterrupt):
        _session.open_ssh("127.0.0.1", port, "user", "password", timeout=600)


@pytest.mark.skipif(os.getuid() != 0, reason="a network of its own needs root")
def test_guest_on_a_network_of_its_own():
    """As by tap: the address comes, then sshd; that sees the connection that wins, and no other."""
    wire = Namespace()
    try:
        server = Sshd("LogLevel VERBOSE", namespace=wire)
        try:
            server.process.kill()
            server.process.wait()
            wire.cut()
            before = server.read_log().count("Connection from")
            never = threading.Event()
            steps = threading.Thread(target=lambda: (never.wait(2), wire.mend(), never.wait(1), server.start()))
            steps.start()
            session = login.wait_for_login("ssh", server.host, server.port, server.user, "", PROMPT, timeout=60,
                                           ssh_identity_file=server.key)
            steps.join()
            assert session.cmd("echo in") == "in\n"
            session.close()
            # Sshd.start() asks by a connection of its own.
            assert server.read_log().count("Connection from") - before <= 2
        finally:
            server.stop()
    finally:
        wire.close()


def test_many_logins_at_once_to_a_server_that_takes_few():
    """MaxStartups: who is sent away comes again, and all get in."""
    server = Sshd("MaxStartups 2:100:3")
    sessions = []
    try:
        threads = [threading.Thread(target=lambda: sessions.append(log_in(server, server.port, 60)))
                   for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(sessions) == 10
    finally:
        for session in sessions:
            session.close()
        server.stop()
