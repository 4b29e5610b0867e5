"""SSH connections without Python: each stage, with good peers and with bad ones."""

import base64
import hmac
import os
import shutil
import subprocess
import tempfile
import time

import pytest
from support.scripted import Scripted, SilentAgent, black_hole, relay, reset
from support.sshd import Sshd
from support.waiting import LONG


def local(any_driver, port, *actions, **options):
    """Drives the engine against a port here, as a user that nobody knows."""
    return any_driver(*actions, host="127.0.0.1", port=port, user="user", password="pass", **options)


def keygen(path, *options):
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", str(path)] + list(options), check=True)
    return str(path)


# ---- connecting ----

def test_refused_port_fails_at_once_with_and_without_hedge(any_driver):
    with Scripted(lambda peer, n: None) as gone:
        port = gone.port
    for hedge in (0, 1):
        login, = local(any_driver, port, hedge=hedge, timeout=LONG)
        assert (login.rc, login.stage, login.sys) == ("VT_CONNECT", "connect", "111")


def test_next_address_is_tried_when_one_refuses(any_driver, server):
    login, = any_driver.at(server, host="localhost")()      # ::1 comes first, nobody listens there
    assert login.rc == "VT_OK" and login.address == "127.0.0.1"


@pytest.mark.parametrize("host, rc, stage", [
    ("no-such-host.invalid", "VT_RESOLVE", "resolve"), ("", "VT_INVALID", "resolve"),
    ("127.0.0.1", "VT_INVALID", "resolve")])
def test_places_that_are_none(any_driver, host, rc, stage):
    login, = any_driver(host=host, port=0 if host == "127.0.0.1" else 22, user="u")
    assert (login.rc, login.stage) == (rc, stage)


def test_address_in_brackets_is_one(any_driver, server):
    login, = any_driver.at(server, host="[127.0.0.1]")()
    assert login.address == "127.0.0.1"


@pytest.mark.parametrize("hedge", [0, 1])
def test_port_without_an_answer_ends_at_the_deadline(any_driver, hedge):
    with black_hole() as port:
        login, = local(any_driver, port, hedge=hedge, timeout=1.5)
    assert (login.rc, login.stage) == ("VT_TIMEOUT", "connect")
    assert login.took(1.5)


# ---- the banner, and guests that boot ----

def test_lines_before_the_version_string_are_no_failure(any_driver, server):
    def script(peer, number):
        peer.sendall(b"Please wait\r\n")
        time.sleep(0.2)
        peer.sendall(b"a little longer\r\n")
        relay(peer, server, port.stopped)

    with Scripted(script) as port:
        login, = any_driver.at(server, port=port.port)()
    assert login.rc == "VT_OK" and login.banner.startswith("SSH-2.0-OpenSSH")


@pytest.mark.parametrize("hedge", [0, 1])
@pytest.mark.parametrize("ends", [False, True])
def test_other_protocol_is_shown(any_driver, hedge, ends):
    def script(peer, number):
        peer.sendall(b"220 ftp\xff\r\n")
        if not ends:
            port.stay()

    with Scripted(script) as port:
        login, = local(any_driver, port.port, hedge=hedge)
    assert (login.rc, login.stage) == ("VT_BANNER", "banner")
    assert r"220 ftp\xff\x0d\x0a" in login.text


def test_endless_talk_is_bounded(any_driver):
    def script(peer, number):
        while True:
            peer.sendall(b"x" * 10000)

    with Scripted(script) as port:
        login, = local(any_driver, port.port)
    assert login.rc == "VT_BANNER"


@pytest.mark.parametrize("end", [lambda peer: None, reset])
def test_connection_that_ends_without_a_word(any_driver, end):
    """A close becomes a reset where the greeting was not read: they are told alike."""
    with Scripted(lambda peer, n: end(peer)) as port:
        login, = local(any_driver, port.port, timeout=3)
    assert (login.rc, login.stage) == ("VT_BANNER", "banner")


@pytest.mark.parametrize("how, most", [("silent", 4), ("closed", 30), ("reset", 30), ("greets and closes", 8)])
def test_booting_guest_is_reached_once_it_answers(any_driver, server, how, most):
    """Of a place of which nobody told; test_boot.py has what is known to boot."""
    ready_at = time.monotonic() + 2

    def script(peer, number):
        if number > 0 and time.monotonic() >= ready_at:
            relay(peer, server, port.stopped)
        elif how == "silent":
            port.stay()
        elif how == "reset":
            reset(peer)
        elif how == "greets and closes":
            peer.sendall(b"SSH-2.0-early\r\n")

    with Scripted(script) as port:
        login, = any_driver.at(server, port=port.port, hedge=1, timeout=LONG)()
        opened = port.count
    assert login.rc == "VT_OK"
    assert 1 < opened <= most and int(login.tries) >= opened - 1


def test_guest_that_never_answers_ends_at_the_deadline(any_driver):
    with Scripted(lambda peer, n: port.stay() if n % 2 else None) as port:
        login, = local(any_driver, port.port, hedge=1, timeout=2)
        assert port.count <= 3
    assert (login.rc, login.stage) == ("VT_TIMEOUT", "banner")
    assert "connections: " in login.text and login.took(2)


def test_slow_banner_is_waited_for(any_driver, server):
    def script(peer, number):
        port.stopped.wait(3)
        relay(peer, server, port.stopped)

    with Scripted(script) as port:
        login, = any_driver.at(server, port=port.port, hedge=1, timeout=LONG)()
    assert login.rc == "VT_OK"


# ---- interruption and deadlines at each stage ----

def ends_in_time(drive, how, stage):
    options = {"timeout": 2} if how == "timeout" else {"timeout": LONG, "interrupt_ms": 2000}
    login, = drive(**options)
    assert (login.rc, login.stage) == ("VT_TIMEOUT" if how == "timeout" else "VT_INTR", stage)
    assert login.took(2 if how == "timeout" else 0)     # the interrupt's time began with the driver's


@pytest.mark.parametrize("stage, most", [("banner", 0), ("key exchange", 60)])
@pytest.mark.parametrize("how", ["timeout", "interrupt"])
def test_stall_before_the_login_ends_in_time(any_driver, server, how, stage, most):
    def script(peer, number):
        relay(peer, server, port.stopped, most)
        port.stay()

    with Scripted(script) as port:
        ends_in_time(any_driver.at(server, port=port.port), how, stage)


@pytest.mark.skipif(os.getuid() != 0, reason="sshd runs a command for keys as root only")
@pytest.mark.parametrize("how", ["timeout", "interrupt"])
def test_stall_in_authentication_ends_in_time(drive_at, how):
    drive = drive_at("AuthorizedKeysFile none\nAuthorizedKeysCommand /bin/sleep 200\nAuthorizedKeysCommandUser root")
    ends_in_time(drive, how, "authentication")


def test_interrupt_while_no_answer_comes(any_driver):
    with black_hole() as port:
        login, = local(any_driver, port, hedge=1, timeout=LONG, interrupt_ms=500)
    assert login.rc == "VT_INTR"


# ---- key exchange ----

def test_nothing_in_common_is_named(drive_at):
    login, = drive_at("Ciphers chacha20-poly1305@openssh.com")()
    if login.rc == "VT_OK":
        pytest.skip("this libssh2 has that cipher")
    assert (login.rc, login.stage) == ("VT_KEX", "key exchange")
    assert "no cipher in common, the server offers chacha20-poly1305@openssh.com" in login.text
    assert "SSH-2.0-OpenSSH" in login.text and "libssh2 1." in login.text


@pytest.mark.parametrize("method", [
    "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521", "diffie-hellman-group1-sha1", "diffie-hellman-group14-sha1",
    "diffie-hellman-group14-sha256", "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512"])
def test_each_key_exchange_of_a_group_that_is_known(drive_at, method):
    if method not in subprocess.run(["ssh", "-Q", "kex"], stdout=subprocess.PIPE, text=True).stdout.split():
        pytest.skip("this OpenSSH does not have it")
    login, = drive_at("KexAlgorithms " + method)()
    assert login.rc == "VT_OK", login.text


@pytest.mark.parametrize("method", ["diffie-hellman-group-exchange-sha256", "diffie-hellman-group-exchange-sha1"])
def test_group_of_the_servers_choice_is_refused(drive_at, method):
    """It may have a modulus of 16,384 bits, with which libssh2 computes deaf to deadlines and signals."""
    drive = drive_at("KexAlgorithms " + method)
    login, = drive()
    assert (login.rc, login.stage) == ("VT_KEX", "key exchange")
    assert "no key exchange method in common, the server offers " + method in login.text
    login, = drive_at("KexAlgorithms %s,ecdh-sha2-nistp256" % method)()
    assert login.rc == "VT_OK", login.text


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"\xff" * 64, b"\0\0\4\0\4\x14" + b"A" * 2000,
                                  b"\0\0\0\x0c\x0a\1" + b"\0" * 10])
def test_damaged_key_exchange(any_driver, data):
    def script(peer, number):
        peer.sendall(b"SSH-2.0-damaged\r\n" + data)
        peer.recv(4096)

    with Scripted(script) as port:
        login, = local(any_driver, port.port, timeout=3)
    assert login.rc in ("VT_KEX", "VT_EOF", "VT_IO", "VT_TIMEOUT") and login.stage == "key exchange"


# ---- host keys ----

@pytest.fixture
def known(server, tmp_path):
    """Writes a known_hosts file out of lines that have the server's {name} and {key}."""
    def write(*lines):
        with open(server.known_hosts) as f:
            name, _, key = f.read().strip().partition(" ")
        hashed = base64.b64encode(hmac.digest(b"salt" * 5, name.encode(), "sha1")).decode()
        path = tmp_path / "known_hosts"
        path.write_bytes("".join(line.format(name=name, key=key, port=server.port, hash="|1|%s|%s" % (
            base64.b64encode(b"salt" * 5).decode(), hashed)) + "\n" for line in lines).encode())
        return str(path)
    return write


@pytest.mark.parametrize("line", [
    "{name} {key}", "other,{name},more {key} a comment", "[127.0.0.?]:* {key}", "*:{port} {key}", "{name} {key}\r",
    "{hash} {key}", "{hash}\t {key}  \r"])
def test_known_key_is_accepted(drive, known, line):
    login, = drive(known_hosts=known("# a comment", "", "@cert-authority * nonsense", "x ssh-unknown AAAA", line))
    assert login.rc == "VT_OK", login.text


@pytest.mark.parametrize("lines, why", [
    (["127.0.0.1 {key}"], "not known"),                      # of port 22 only
    (["!{name},* {key}"], "not known"),
    (["{name} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"], "not the known one"),
    (["{name} {key}", "@revoked * {key}"], "revoked"),
    (["{name} {key}", "@revoked {name} {key}\r"], "revoked"),    # as Windows ends its lines
    (["{name} {key}", "@revoked\t{name}\t{key}\f"], "revoked"),
    (["{hash} {key}", "@revoked {hash} {key} "], "revoked"),
    (["*" * 40 + "x {key}"], "not known"),                   # took for ever
    ([], "not known")])
def test_other_key_is_refused(drive, known, lines, why):
    login, = drive(known_hosts=known(*lines))
    assert (login.rc, login.stage) == ("VT_HOSTKEY", "host key")
    assert why in login.text and "SHA256:" in login.text


def test_brackets_around_an_address_are_no_part_of_its_name(drive, server):
    login, = drive(host="[127.0.0.1]", known_hosts=server.known_hosts)
    assert login.rc == "VT_OK", login.text


OTHERS = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.parametrize("before", [
    ["|1|c2FsdHNhbHRzYWx0c2FsdHNhbHQ=|%027d= " % number + OTHERS for number in range(100000)],
    ["x%d %s" % (number, OTHERS) for number in range(100000)], ["x" * 3000000]], ids=["hashes", "names", "long"])
def test_known_hosts_of_many_others(drive, known, before):
    login, = drive(known_hosts=known(*before, "{name} {key}"))
    assert login.rc == "VT_OK", login.text
    login, = drive(known_hosts=known("{name} {key}", *before, "@revoked * {key}"))
    assert login.rc == "VT_HOSTKEY" and "revoked" in login.text


def test_known_hosts_with_too_much_of_one_host(drive, known):
    login, = drive(known_hosts=known(*["{name} " + OTHERS] * 2000, "{name} {key}"))
    assert login.rc == "VT_HOSTKEY" and "more than 1000 keys" in login.text


@pytest.mark.parametrize("path", ["pipe", "/dev/zero", "."])
def test_known_hosts_that_never_ends(drive, tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    login, = drive(known_hosts=str(tmp_path / path), timeout=1)
    assert login.rc == ("VT_HOSTKEY" if path == "." else "VT_TIMEOUT") and login.stage == "host key", login.text


def test_known_hosts_through_a_pipe(drive, server, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cp", server.known_hosts, tmp_path / "pipe"]):
        login, = drive(known_hosts=str(tmp_path / "pipe"))
    assert login.rc == "VT_OK", login.text


def test_missing_known_hosts_is_named(drive):
    login, = drive(known_hosts="/no/such/file")
    assert login.rc == "VT_HOSTKEY" and "/no/such/file: No such file" in login.text


def test_kind_of_key_that_is_known_is_asked_for(drive_at, tmp_path):
    keys = {kind: keygen(tmp_path / kind, "-t", kind) for kind in ("ecdsa", "ed25519")}
    drive = drive_at("\n".join("HostKey " + path for path in keys.values()))
    for path in keys.values():
        with open(path + ".pub") as f:
            blob = " ".join(f.read().split()[:2])
        known_hosts = tmp_path / "known"
        known_hosts.write_text("[127.0.0.1]:%d %s\n" % (drive.options["port"], blob))
        login, = drive(known_hosts=str(known_hosts))
        assert login.rc == "VT_OK", login.text


# ---- authentication ----

def test_unusable_key_files_are_told_apart(drive, server, tmp_path, monkeypatch):
    keygen(tmp_path / "locked")
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(tmp_path / "locked")],
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "secret", "-f", str(tmp_path / "pem")],
                   check=True)
    (tmp_path / "text").write_text("no key")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "bad.pub").write_text("ssh-ed25519 AAAA nobody")
    for path, why in (("locked", "protected by a passphrase"), ("bad.pub", "is a damaged public key"),
                      ("pem", "protected by a passphrase"), ("text", "no private key"),
                      ("locked.pub", "is a public key: no SSH agent is there"), ("none", "No such file"),
                      ("pipe", "cannot be read"), ("", "cannot be read")):
        login, = drive(identity=str(tmp_path / path), auth="publickey")
        assert login.rc == "VT_AUTH" and why in login.text, (path, login.text)
        assert "secret" not in login.text


def make_key(path, kind, form):
    """A private key and its .pub: ssh-keygen's forms are OpenSSH (None), PEM and PKCS8."""
    name, _, bits = kind.partition("-")
    if (name, form) == ("ed25519", "PKCS8"):        # ssh-keygen writes no other form than its own
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)], check=True)
        os.chmod(path, 0o600)
        public = subprocess.run(["openssl", "pkey", "-in", str(path), "-pubout", "-outform", "DER"],
                                check=True, stdout=subprocess.PIPE).stdout[-32:]
        blob = b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", public))
        path.with_name(path.name + ".pub").write_text("ssh-ed25519 %s\n" % base64.b64encode(blob).decode())
        return
    keygen(path, "-t", name, *(["-b", bits] if bits else []), *(["-m", form] if form else []))


@pytest.fixture(scope="module")
def key_server():
    """A server that still takes what libssh2 1.10 signs with RSA keys."""
    server = Sshd("PubkeyAcceptedAlgorithms +ssh-rsa")
    yield server
    server.stop()


KINDS = ["rsa-2048", "rsa-3072", "ecdsa-256", "ecdsa-384", "ecdsa-521", "ed25519"]


@pytest.mark.parametrize("has_public", [True, False])
@pytest.mark.parametrize("kind, form", [(kind, form) for kind in KINDS for form in (None, "PEM", "PKCS8")
                                        if form is None or kind != "ed25519"])
def test_key_files_of_each_kind_and_form(any_driver, key_server, tmp_path, kind, form, has_public):
    path = tmp_path / "key"
    make_key(path, kind, form)
    public = tmp_path / "key.pub"
    with open(os.path.join(key_server.folder, "authorized_keys"), "w") as allowed:
        allowed.write(public.read_text())
    if not has_public:
        public.unlink()
    login, ran = any_driver.at(key_server, identity=str(path))("exec", "echo fine")
    assert login.rc == "VT_OK" and login.method == "publickey", login.text
    assert ran.bytes("out") == b"fine\n"


def test_ed25519_key_in_a_form_of_others(any_driver, key_server, tmp_path):
    """libssh2 reads these in OpenSSH's form alone, and so does OpenSSH of that time."""
    make_key(tmp_path / "key", "ed25519", "PKCS8")
    shutil.copy(tmp_path / "key.pub", os.path.join(key_server.folder, "authorized_keys"))
    login, *_ = any_driver.at(key_server, identity=str(tmp_path / "key"))()
    assert login.rc == "VT_AUTH" and "is an ed25519 key in PKCS#8 form" in login.text


@pytest.mark.parametrize("kind", KINDS)
def test_refused_key_of_each_kind(drive, tmp_path, kind):
    make_key(tmp_path / "stranger", kind, None)
    login, = drive(identity=str(tmp_path / "stranger"))
    assert login.rc == "VT_AUTH" and "publickey refused" in login.text


def test_refusals_are_told_with_what_the_server_offers(drive, tmp_path):
    login, = drive(identity=keygen(tmp_path / "stranger"))
    assert login.rc == "VT_AUTH" and "publickey refused" in login.text and "publickey" in login.methods


def test_silent_agent_does_not_outlast_the_deadline(drive, tmp_path, monkeypatch):
    with SilentAgent(tmp_path) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", agent.path)
        login, = drive(auth="agent", timeout=2)
        assert (login.rc, login.stage) == ("VT_TIMEOUT", "authentication") and login.took(2)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    login, = drive(auth="agent")
    assert login.rc == "VT_AUTH" and "no SSH agent" in login.text


@pytest.mark.parametrize("form", [[], ["-m", "PEM"], ["-m", "PKCS8"]], ids=["openssh", "pem", "pkcs8"])
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_locked_key_is_opened_by_its_passphrase_alone(any_driver, key_server, tmp_path, monkeypatch, kind, form):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "open sesame", "-f", str(path)] + form, check=True)
    shutil.copy(tmp_path / "key.pub", os.path.join(key_server.folder, "authorized_keys"))
    drive = any_driver.at(key_server, identity=str(path))
    login, = drive(passphrase="open sesame")
    assert (login.rc, login.method) == ("VT_OK", "publickey"), login.text
    login, = drive(passphrase="another one")
    assert login.rc == "VT_AUTH" and "the passphrase does not open the key" in login.text
    login, = drive()
    assert login.rc == "VT_AUTH" and "is protected by a passphrase, and none is given" in login.text


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """A real SSH agent; agent(path...) has it hold those keys."""
    folder = tempfile.mkdtemp(prefix="virtvm-agent-")
    monkeypatch.setenv("SSH_AUTH_SOCK", os.path.join(folder, "socket"))
    process = subprocess.Popen(["ssh-agent", "-D", "-a", os.path.join(folder, "socket")],
                               stdout=subprocess.PIPE)
    process.stdout.readline()                   # it listens

    yield lambda *paths: subprocess.run(["ssh-add", "-q", *map(str, paths)], check=True)
    process.kill()
    process.communicate()
    shutil.rmtree(folder)


@pytest.fixture
def strangers(tmp_path):
    """Paths of more keys than a server takes tries, none of which it knows."""
    return [keygen(tmp_path / ("stranger%d" % n), "-t", "ed25519") for n in range(8)]


def test_agent_with_many_keys_is_told_which_one(drive, server, agent, strangers, tmp_path):
    agent(*strangers, server.key)
    login, = drive(identity=None, auth="agent")
    assert login.rc == "VT_AUTH" and "of the SSH agent's keys: name one by its .pub file" in login.text
    shutil.copy(server.key + ".pub", tmp_path / "mine.pub")     # the private half is elsewhere
    for auth in (None, "agent", "publickey"):
        login, = drive(identity=str(tmp_path / "mine.pub"), auth=auth)
        assert (login.rc, login.method) == ("VT_OK", "agent"), login.text
    login, = drive(auth="agent")                # a private key's turn comes first, too
    assert (login.rc, login.method) == ("VT_OK", "agent"), login.text


def test_key_that_the_agent_does_not_hold(drive, agent, strangers):
    agent(*strangers[:2])
    login, = drive(identity=strangers[2] + ".pub")
    assert login.rc == "VT_AUTH" and "is a public key: the SSH agent does not hold that key" in login.text
    login, = drive(identity=strangers[0] + ".pub")
    assert login.rc == "VT_AUTH" and "agent refused" in login.text


def test_locked_key_without_its_passphrase_is_asked_of_the_agent(drive, server, agent, tmp_path):
    path = tmp_path / "locked"
    shutil.copy(server.key, path)
    agent(path)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(path)], check=True,
                   stdout=subprocess.DEVNULL)
    login, = drive(identity=str(path))
    assert (login.rc, login.method) == ("VT_OK", "agent"), login.text


@pytest.mark.parametrize("chain", ["publickey,password", "password,publickey", "publickey,keyboard-interactive",
                                   "keyboard-interactive,publickey"])
def test_servers_that_want_two_methods(drive_at, account, chain):
    drive = drive_at("AuthenticationMethods " + chain, account)
    login, = drive(password=account.password, identity=drive.options["identity"])
    assert login.rc == "VT_OK", login.text


def test_server_that_ends_the_connection_after_a_refusal(drive_at, account):
    login, = drive_at("MaxAuthTries 1", account, password="wrong")()
    assert login.rc == "VT_AUTH" and "Too many authentication failures" in login.text
    assert "wrong" not in login.text


def test_hedge_does_not_repeat_a_refused_password(drive_at, account):
    login, = drive_at("", account, password="wrong")(hedge=1, timeout=20)
    assert login.rc == "VT_AUTH" and login.methods.startswith("publickey,password")


# ---- shells and commands ----

def test_both_streams_input_and_status(drive):
    _, both, copy, killed, missing = drive(
        "exec", "echo out; echo err >&2; exit 3", ",", "exec", "cat", "in\nput", ",",
        "exec", "kill -SEGV $$", ",", "exec", "/no/such/command")
    assert (both.status, both.bytes("out"), both.bytes("err")) == ("3", b"out\n", b"err\n")
    assert (copy.status, copy.bytes("out")) == ("0", b"in\nput")
    assert (killed.status, killed.signal) == ("-1", "SEGV")
    assert missing.status == "127"


def test_command_that_outlasts_the_deadline_leaves_the_connection_usable(drive):
    _, late, after = drive("exec", "sleep 60", ",", "exec", "echo fine", timeout=1)
    assert (late.rc, late.stage) == ("VT_TIMEOUT", "command")
    assert after.bytes("out") == b"fine\n"


def test_output_past_its_bound(drive):
    _, big, after = drive("exec", "head -c 80000000 /dev/zero", ",", "exec", "echo fine")
    assert big.rc == "VT_TOOBIG" and after.bytes("out") == b"fine\n"


def test_shell_has_no_echo_no_size_and_a_status(drive):
    _, opened, end = drive("shell", "echo \"<$(stty size)>\"; exit 5\n")
    assert opened.rc == "VT_OK" and end.rc == "VT_EOF" and (end.known, end.status) == ("1", "5")
    assert b"<0 0>\n" in end.bytes("out") and b"stty" not in end.bytes("out")


def test_shell_ended_by_a_signal(drive):
    _, _, end = drive("shell", "exec sh -c 'kill -TERM $$'\n")
    assert end.rc == "VT_EOF" and (end.known, end.status) == ("1", "-15")


def test_large_output_is_whole(drive):
    _, _, end = drive("shell", "PS1=; seq 2000000; exit\n")
    assert end.rc == "VT_EOF" and int(end.total) >= 14888896


def test_what_came_before_the_connection_broke_is_not_lost(drive):
    """The server's process is killed while 2 MB of its output are on their way."""
    _, _, end = drive("shell", "PS1=; seq 300000; sleep 0.5; kill -9 $PPID\n")
    assert end.rc in ("VT_EOF", "VT_IO") and end.known == "0"
    assert int(end.total) >= 1988895


def test_no_pty_no_shell(drive_at):
    _, opened = drive_at("PermitTTY no")("shell", "exit\n")
    assert (opened.rc, opened.stage) == ("VT_CHANNEL", "channel")


def test_server_that_allows_no_channel(drive_at):
    _, ran = drive_at("MaxSessions 0")("exec", "true")
    assert (ran.rc, ran.stage) == ("VT_CHANNEL", "channel")


def test_rekeying_in_the_middle_loses_nothing(drive_at):
    _, ran, copy = drive_at("RekeyLimit 1M")("exec", "seq 2000000", ",", "exec", "cat", "x" * 100000)
    assert ran.rc == "VT_OK" and ran.length == "14888896"
    assert copy.length == "100000"
