"""Waiting for a guest that boots, on real sockets: what the guest's sshd sees is counted.

The clock of user networking and that of the engine go ten times as fast; how late a login is
by a plan without sockets is tests/core/test_boot_plan.c's.
"""

import socket

import pytest
from support.scripted import Scripted, relay, shuttle
from support.slirp import Slirp
from test_hostile_server import kexinit

PACE = 10
BOOTS = [(0, 0), (1, 1), (5, 6.5), (15, 15), (15, 11), (40, 41)]


def wait(any_driver, server, slirp, *actions, **options):
    """Logs in through user networking, of which somebody told; the last login's step."""
    options = dict({"hedge": 1, "timeout": 20, "pace": slirp.pace, "told": 1, "canary": slirp.canary,
                    "port": slirp.port}, **options)
    steps = any_driver.at(server)(*actions, **options)
    return steps[-1] if not actions else steps


@pytest.fixture
def slirp(server):
    made = []

    def make(*times, **options):
        made.append(Slirp((server.host, server.port), *times, **dict({"pace": PACE}, **options)))
        return made[-1]

    yield make
    for slirp in made:
        slirp.__exit__()


@pytest.mark.parametrize("network, sshd", BOOTS)
def test_a_canary_keeps_the_guest_from_seeing_more_than_two(any_driver, server, slirp, network, sshd):
    user = slirp(network, sshd)
    login = wait(any_driver, server, user)
    assert login.rc == "VT_OK"
    assert user.most_in() <= 2          # the first one, and the one that won


@pytest.mark.parametrize("network, sshd", BOOTS)
def test_a_place_of_which_nobody_told_anything(any_driver, server, slirp, network, sshd):
    user = slirp(network, sshd, canary=False)
    login = wait(any_driver, server, user, told=None, canary=None)
    assert login.rc == "VT_OK" and user.most_in() <= 8


@pytest.mark.parametrize("network, sshd", [(5, 6.5), (15, 11)])
def test_a_canary_that_a_firewall_mutes(any_driver, server, slirp, network, sshd):
    user = slirp(network, sshd, mute=True)
    login = wait(any_driver, server, user)
    assert login.rc == "VT_OK" and user.most_in() <= 8


def test_connections_outlive_a_login_that_ran_out_of_time(any_driver, server, slirp):
    user = slirp(60, 60)
    login = wait(any_driver, server, user, timeout=1, logins=20)
    assert login.rc == "VT_OK"
    assert user.most_in() <= 2 and user.accepted <= 4


def test_user_networking_that_hangs_up_after_75_seconds_is_no_sign(any_driver, server, slirp):
    user = slirp(1e9, 1e9, mute=True, pace=20)
    steps = any_driver.at(server)(hedge=1, port=user.port, canary=user.canary, told=1, pace=20, timeout=2.5, logins=2)
    assert [step.rc for step in steps] == ["VT_TIMEOUT"] * 2
    assert all(step.text.startswith("no sign of life yet") for step in steps)
    assert user.accepted == 2           # it is opened again, once


@pytest.mark.parametrize("seconds", [3, 6, 9])
def test_a_banner_that_takes_long_is_waited_for(any_driver, server, slirp, seconds):
    user = slirp(5, 5, greet=lambda number: seconds)
    login = wait(any_driver, server, user)
    assert login.rc == "VT_OK" and user.most_in() <= 5


def test_a_banner_that_takes_longer_than_a_login_is_found_by_the_next(any_driver, server, slirp):
    user = slirp(0, 0, greet=lambda number: 25)
    login = wait(any_driver, server, user, timeout=1, logins=5)
    assert login.rc == "VT_OK" and user.most_in() <= 4


@pytest.mark.parametrize("said", [b"Not allowed at this time\r\n", b"Exceeded MaxStartups\r\n"])
def test_a_server_that_refuses_for_now_is_left_alone(any_driver, server, slirp, said):
    user = slirp(greet=lambda number: said if user.now() < 10 else 0)
    login = wait(any_driver, server, user)
    assert login.rc == "VT_OK"
    assert len(user.seen) <= 6          # at 0, 1, 3, 7, 12 s
    user = slirp(greet=lambda number: said)
    login = wait(any_driver, server, user, timeout=2)
    assert login.rc == "VT_LATER" and login.stage == "banner"
    assert "refuses us for now" in login.text and said.decode().strip() in login.text


def test_another_protocol_ends_a_login_and_paces_the_next(any_driver, server, slirp):
    user = slirp(greet=lambda number: b"220 ftp\r\n")
    steps = any_driver.at(server)(hedge=1, port=user.port, pace=PACE, timeout=1, logins=4)
    assert steps[0].rc == "VT_BANNER" and "220 ftp" in steps[0].text
    assert len(user.seen) <= 4


def test_a_guest_without_a_listener_is_said_to_be_up(any_driver, server, slirp):
    user = slirp(1, 1e9)
    steps = any_driver.at(server)(hedge=1, port=user.port, canary=user.canary, told=1, pace=PACE, timeout=1, logins=5)
    assert [step.rc for step in steps] == ["VT_TIMEOUT"] * 5
    # At some ends a connection is open, and not yet hung up on.
    words = "the network is up, nobody listens on port %d" % user.port
    assert any(step.text.startswith(words) for step in steps), [step.text for step in steps]
    assert user.seen == []


def test_drops_behind_the_banner_are_few(any_driver, server):
    def script(peer, number):
        peer.sendall(b"SSH-2.0-early\r\n")
        peer.recv(4096)

    with Scripted(script) as port:
        login, = any_driver.at(server)(hedge=1, port=port.port, pace=PACE, timeout=8)
        assert port.count <= 9          # in 80 s
    assert login.stage == "key exchange" and login.rc in ("VT_EOF", "VT_IO")


def test_key_exchanges_that_fail_are_few(any_driver, server):
    """Whoever waits asks again and again; the server holds each one against us."""
    def script(peer, number):
        peer.sendall(b"SSH-2.0-strange\r\n" + kexinit(b"none-that-is-known", b"ssh-ed25519"))
        peer.recv(4096)
        port.stay()

    with Scripted(script) as port:
        steps = any_driver.at(server)(hedge=1, port=port.port, timeout=1, logins=30)
        assert 2 <= port.count <= 8
    assert len(steps) == 30 and {(step.rc, step.stage) for step in steps} == {("VT_KEX", "key exchange")}
    assert "none-that-is-known" in steps[-1].text


def test_host_keys_that_are_wrong_are_few(any_driver, server, tmp_path):
    wrong = tmp_path / "known_hosts"
    wrong.write_text("[%s]:1 ssh-ed25519 %s\n" % (server.host, "A" * 68))
    with Scripted(lambda peer, number: relay(peer, server, port.stopped)) as port:
        steps = any_driver.at(server)(hedge=1, port=port.port, known_hosts=wrong, timeout=1, logins=30)
        assert 2 <= port.count <= 8
    assert len(steps) == 30 and {(step.rc, step.stage) for step in steps} == {("VT_HOSTKEY", "host key")}


def test_drops_are_few_where_a_name_leads_to_what_was_told_by_address(any_driver, server):
    """As with QEMU's user networking: told of 127.0.0.1, asked at localhost."""
    def script(peer, number):
        peer.sendall(b"SSH-2.0-early\r\n")
        peer.recv(4096)

    with Scripted(script) as port:
        any_driver.at(server)(hedge=1, host="localhost", told=1, told_host="127.0.0.1", port=port.port, pace=PACE,
                              timeout=2)
        assert port.count <= 9          # in 80 s


def test_a_key_exchange_is_gone_on_with_where_a_name_leads_to_what_was_told_by_address(any_driver, server):
    def script(peer, number):
        with socket.create_connection((server.host, server.port)) as there:
            shuttle(peer, there, 700, port.stopped)

    with Scripted(script) as port:
        steps = any_driver.at(server)("exec", "echo in", hedge=1, host="localhost", told=1, told_host="127.0.0.1",
                                      port=port.port, timeout=1, logins=8)
        assert port.count == 1
    assert steps[-2].rc == "VT_OK" and steps[-1].bytes("out") == b"in\n"


@pytest.mark.parametrize("passed", [300, 700])
def test_a_key_exchange_that_takes_longer_than_a_login_is_gone_on_with(any_driver, server, passed):
    """A starved guest: its server is slow in the middle of it.  Nothing is begun anew."""
    def script(peer, number):
        with socket.create_connection((server.host, server.port)) as there:
            shuttle(peer, there, passed, port.stopped)

    with Scripted(script) as port:
        steps = any_driver.at(server)("exec", "echo in", hedge=1, port=port.port, timeout=1, logins=8)
        assert port.count == 1
    assert [step.stage for step in steps[:-2]] == ["key exchange"] * (len(steps) - 2) and len(steps) >= 4
    assert steps[-2].rc == "VT_OK" and steps[-1].bytes("out") == b"in\n"


def test_a_key_exchange_that_stays_silent_is_given_up(any_driver, server):
    """A guest that was reset, of which nobody told: it never answers on the first one."""
    def script(peer, number):
        if number == 0:
            peer.sendall(b"SSH-2.0-reset\r\n")
            port.stay()
        else:
            relay(peer, server, port.stopped)

    with Scripted(script) as port:
        steps = any_driver.at(server)(hedge=1, port=port.port, pace=PACE, timeout=1, logins=9)
        assert port.count == 2
    assert steps[-1].rc == "VT_OK" and len(steps) >= 3
