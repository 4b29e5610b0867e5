"""Logins that run out of time: the next one goes on where they stand, on the same connection.

A starved guest's server pauses in the middle: wherever that is, nothing is begun anew.
"""

import socket

import pytest
from support.scripted import Scripted, relay, shuttle
from support.sshd import Sshd

SLEEP = "required pam_exec.so quiet /bin/sleep 2.5\n"
PLAIN = "auth required pam_unix.so\n%saccount required pam_unix.so\n"
SLOW_PASSWORD, SLOW_ACCOUNT, SLOW_SESSION = [PLAIN % (kind + SLEEP) for kind in ("auth ", "account ", "session ")]


@pytest.fixture
def slow(account):
    """Makes a server whose PAM does what it is told."""
    servers = []

    def make(pam, options="", **more):
        servers.append(Sshd("LogLevel VERBOSE\n" + options, account=account, pam=pam, **more))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def log_in(any_driver, server, **options):
    """A shell, by logins of a second each; their steps."""
    options = dict({"hedge": 1, "timeout": 1, "logins": 12}, **options)
    if "identity" not in options:
        options = dict({"password": server.password, "identity": None}, **options)
    return any_driver.at(server)("open", "exit 7\n", **options)


def log_in_counted(any_driver, server, **options):
    """The same; and how many connections the server saw."""
    with Scripted(lambda peer, number: relay(peer, server, port.stopped)) as port:
        return log_in(any_driver, server, port=port.port, **options), port.count


def is_in(steps):
    """Whether the last login was the one that came in, after others that had no time."""
    tries = [step for step in steps if step["step"] == "open"]
    assert [step.rc for step in tries] == ["VT_TIMEOUT"] * (len(tries) - 1) + ["VT_OK"], steps
    assert steps[-1].rc == "VT_EOF" and steps[-1].status == "7"
    return len(tries) > 1


@pytest.mark.parametrize("pam", [SLOW_PASSWORD, SLOW_ACCOUNT, SLOW_SESSION], ids=["password", "account", "session"])
@pytest.mark.parametrize("auth", ["password", "keyboard-interactive"])
def test_pam_that_takes_longer_than_a_login(any_driver, slow, pam, auth):
    steps, count = log_in_counted(any_driver, slow(pam), auth=auth)
    assert is_in(steps) and count == 1


def test_password_after_a_key_that_is_refused(any_driver, slow):
    """The call that is under way is not the first one."""
    server = slow(SLOW_PASSWORD, "AuthorizedKeysFile none\n")
    steps, count = log_in_counted(any_driver, server, identity=server.key, password=server.password)
    assert is_in(steps) and count == 1


def test_keyboard_interactive_where_no_password_is_taken(any_driver, slow):
    """The password is refused, the methods are asked for, and then it takes long."""
    steps, count = log_in_counted(any_driver, slow(SLOW_PASSWORD, "PasswordAuthentication no\n"))
    assert is_in(steps) and count == 1


def test_other_credentials_have_a_connection_of_their_own(any_driver, slow):
    steps, count = log_in_counted(any_driver, slow(SLOW_PASSWORD), logins=2, then_password="wrong")
    assert [step.rc for step in steps] == ["VT_TIMEOUT"] * 2 and count == 2


def test_a_wrong_password_that_takes_long_is_refused(any_driver, slow):
    steps, count = log_in_counted(any_driver, slow(SLOW_PASSWORD), password="wrong", auth="password", logins=12)
    assert "VT_AUTH" in [step.rc for step in steps] and count <= 2


@pytest.mark.parametrize("passed", [1, 3, 4, 20, *range(50, 2100, 130)])
def test_a_pause_anywhere(any_driver, server, passed):
    def script(peer, number):
        with socket.create_connection((server.host, server.port)) as there:
            shuttle(peer, there, passed, port.stopped, 1.3)

    with Scripted(script) as port:
        steps = log_in(any_driver, server, port=port.port, identity=server.key, timeout=0.5)
        is_in(steps)
        assert port.count == 1


def test_a_pause_in_the_first_bytes_of_the_banner(any_driver, server):
    """Longer than lines of another protocol would be waited for."""
    def script(peer, number):
        with socket.create_connection((server.host, server.port)) as there:
            shuttle(peer, there, 3, port.stopped, 3)

    with Scripted(script) as port:
        steps = log_in(any_driver, server, port=port.port, identity=server.key, told=2)
        assert is_in(steps) and port.count == 1


@pytest.mark.parametrize("said", [b"SSH-2.0-", b"welcome ", b"SSH-2.0-x\r\n"])
def test_a_banner_without_end(any_driver, server, said):
    def script(peer, number):
        peer.sendall(said)
        for _ in range(64):
            peer.sendall(b"x" * 65536)

    with Scripted(script) as port:
        steps = any_driver.at(server)("open", "exit\n", hedge=1, port=port.port, timeout=3)
    assert steps[-1].rc not in ("VT_OK", "VT_NOMEM") and int(steps[-1].peak) < 16384


def test_one_that_broke_meanwhile_is_begun_anew(any_driver, server):
    """The guest went down in the middle of a login: that is no refusal."""
    passed = []

    def script(peer, number):
        most = passed[0] * 3 // 4 if passed and number == 0 else None
        passed.append(relay(peer, server, port.stopped, most=most))

    for count in (1, 2):
        with Scripted(script) as port:
            steps = log_in(any_driver, server, port=port.port, identity=server.key)
            assert steps[-1].get("status") == "7" and port.count == count, (passed, steps)


def test_a_peer_that_drips_is_given_up(any_driver, server):
    """Bytes alone are no progress: whoever answers nothing is left after two minutes."""
    def script(peer, number):
        if number > 0:
            relay(peer, server, port.stopped)
        peer.sendall(b"SSH-2.0-drip\r\n\0\0\4\0")
        while not port.stopped.wait(0.2):
            peer.sendall(b"\4")

    with Scripted(script) as port:
        steps = log_in(any_driver, server, port=port.port, identity=server.key, timeout=0.5, pace=50, logins=20)
        assert steps[-1].get("status") == "7" and port.count == 2, steps


def test_many_at_once_lose_none(any_driver, server):
    """As many threads wait for one guest: none throws another's connection away."""
    def script(peer, number):
        with socket.create_connection((server.host, server.port)) as there:
            shuttle(peer, there, 900, port.stopped)

    with Scripted(script) as port:
        steps = any_driver.at(server)("open", "exit 7\n", hedge=1, port=port.port, timeout=1, logins=12, threads=6)
        assert [step.rc for step in steps if step["step"] == "end"] == ["VT_EOF"] * 6
        assert port.count == 6
