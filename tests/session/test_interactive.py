"""virtvm shell and console, by a person: here on a terminal of the test's."""

import os
import re
import subprocess
import sys
import termios

import pytest
from support.person import Person
from support.sshd import Sshd
from support.waiting import until


@pytest.fixture(scope="module")
def sshd():
    server = Sshd()
    yield server
    server.stop()


def shell_options(sshd):
    return ["shell", "--host", sshd.host, "--port", sshd.port, "--param", "username=" + sshd.user,
            "--param", "ssh_identity_file=" + sshd.key]


def test_shell_is_one_for_a_person(sshd):
    person = Person(*shell_options(sshd))
    person.see(r"[#$] ")
    person.type("stty size; echo on $TERM\r")
    person.see(r"30 100\s+on vt100")
    person.type("echo re''ady; cat\r")  # echoed by the far terminal, edited there
    person.see(r"ready\r?\n")           # before, the shell's line editor has the terminal
    person.type("typpo\x7f\x7fo\r")
    person.see(r"\ntypo")
    person.type("\x03")                 # which throws away what is typed ahead
    person.see(r"[#$] ")
    person.type("echo st''ill\r")
    person.see("still")
    person.type("\x1d")
    assert person.leave() == 0


def test_terminal_that_changes_its_size(sshd):
    person = Person(*shell_options(sshd))
    person.see(r"[#$] ")
    # A process group of its own: the terminal's foreground one is told.  Without a trap bash may let an
    # interrupt go by that comes while a sleep is just ending.
    person.type("""bash -c 'trap exit INT; trap "stty size" WINCH; echo re""ady; while :; do sleep 0.1; done'\r""")
    person.see(r"ready\r?\n")
    person.resize(41, 99)
    person.see(r"41 99\r?\n")
    person.type("\x03")
    person.see(r"[#$] ")
    person.type("\x1d")
    assert person.leave() == 0


def test_shell_that_is_left_by_exit(sshd):
    person = Person(*shell_options(sshd))
    person.see(r"[#$] ")
    person.type("exit\r")
    assert person.leave() == 0


def test_shell_takes_commands_from_a_pipe(sshd):
    done = subprocess.run([sys.executable, "-m", "virtvm", *map(str, shell_options(sshd))], input=b"echo pi''ped\n",
                          stdout=subprocess.PIPE)
    assert done.returncode == 0 and b"piped" in done.stdout


def test_failures_are_a_line(sshd, tmp_path):
    def run(*words):
        done = subprocess.run([sys.executable, "-m", "virtvm", *map(str, words)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 2 and done.stdout.startswith("virtvm: ") and "Traceback" not in done.stdout
        return done.stdout
    assert "no guest" in run("shell")
    assert "no guest" in run("console")
    assert "Cannot connect" in run("console", "--socket", tmp_path / "none")
    assert "stage: connect" in run("shell", "--port", "1", "--host", "127.0.0.1")


def test_console_of_a_socket(tmp_path):
    path = str(tmp_path / "console")
    server = subprocess.Popen(["socat", "UNIX-LISTEN:" + path,
                               "EXEC:'bash --norc --noprofile -i',pty,setsid,ctty,stderr"])
    try:
        until(lambda: os.path.exists(path))
        person = Person("console", "--socket", path)
        person.see(r"bash-[\d.]+[#$] ")
        person.type("echo $((6*7))\r")
        person.see(r"42")
        person.type("\x1d")
        assert person.leave() == 0
    finally:
        server.kill()
        server.wait()


# ---- who logs in, and into what ----

@pytest.fixture(scope="module")
def with_password(account):
    if account is None:
        pytest.skip("passwords need an account of their own, which root alone can make")
    server = Sshd(account=account)
    yield server
    server.stop()


def test_password_is_asked_for(with_password):
    server = with_password
    person = Person("shell", "--host", server.host, "--port", server.port, "--user", server.user)
    person.see("%s@%s's password: " % (server.user, server.host))
    person.type(server.password + "\r")
    person.see(r"[#$] ")
    person.type("id -un\r")
    person.see(server.user)
    person.type("\x1d")
    assert person.leave() == 0
    assert server.password not in person.seen


def test_wrong_password_is_a_line(with_password):
    server = with_password
    person = Person("shell", "--host", server.host, "--port", server.port, "--user", server.user)
    person.see("'s password: ")
    person.type("wrong one\r")
    for _ in range(2):
        person.see("That was refused. %s@%s's password: " % (server.user, server.host))
        person.type("wrong one\r")
    person.see("virtvm: Authentication refused")
    assert person.leave() == 2
    assert "wrong one" not in person.seen


def test_second_try_gets_in(with_password, tmp_path):
    server = with_password
    person = Person("copy", "-q", "-P", server.port, "/etc/passwd", "%s@%s:/tmp/%s" % (
        server.user, server.host, tmp_path.name))
    person.see("'s password: ")
    person.type("wrong one\r")
    person.see("refused.*'s password: ")
    person.type(server.password + "\r")
    try:
        assert person.leave() == 0
    finally:
        if os.path.exists("/tmp/" + tmp_path.name):
            os.unlink("/tmp/" + tmp_path.name)


@pytest.mark.parametrize("by_file", [True, False], ids=["file", "environment"])
def test_password_without_a_terminal(with_password, tmp_path, by_file):
    server = with_password
    (tmp_path / "word").write_text(server.password + "\n")
    words = ["shell", "--host", server.host, "--port", server.port, "--user", server.user]
    words += ["--password-file", tmp_path / "word"] if by_file else []
    env = dict(os.environ, VIRTVM_PASSWORD="another" if by_file else server.password)
    done = subprocess.run([sys.executable, "-m", "virtvm", *map(str, words)], input=b"echo pi''ped\n", env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and b"piped" in done.stdout and server.password.encode() not in done.stdout


@pytest.fixture(scope="module")
def locked(sshd):
    """Path of the server's key, protected by the passphrase "open it"."""
    path = os.path.join(sshd.folder, "locked")
    with open(sshd.key, "rb") as f, open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as copy:
        copy.write(f.read())
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "open it", "-f", path], check=True,
                   stdout=subprocess.DEVNULL)
    return path


def locked_options(sshd, locked, command):
    if command == "copy":
        return ["copy", "-q", "-P", sshd.port, "-i", locked, "/etc/passwd",
                "%s@%s:%s/copied" % (sshd.user, sshd.host, sshd.folder)]
    return ["shell", "--host", sshd.host, "--port", sshd.port, "--user", sshd.user, "-i", locked]


def without_agent():
    return {k: v for k, v in os.environ.items() if k != "SSH_AUTH_SOCK"}


@pytest.mark.parametrize("command", ["shell", "copy"])
def test_passphrase_is_asked_for(sshd, locked, command):
    person = Person(*locked_options(sshd, locked, command), SSH_AUTH_SOCK="")
    person.see("Passphrase of %s: " % re.escape(locked))
    person.type("open it\r")
    if command == "shell":
        person.see(r"[#$] ")
        person.type("\x1d")
    assert person.leave() == 0 and "open it" not in person.seen
    assert command == "shell" or os.path.exists(sshd.folder + "/copied")


@pytest.mark.parametrize("key, status", [("half of\x03", 130), ("\x04", 1)], ids=["Ctrl-C", "Ctrl-D"])
@pytest.mark.parametrize("question", ["passphrase", "password"])
@pytest.mark.parametrize("command", ["shell", "copy"])
def test_a_question_that_is_left(sshd, locked, command, question, key, status):
    """The terminal shows again what is typed, and nobody is told of our insides."""
    words = locked_options(sshd, locked, command)
    if question == "password":
        words = [word for word in words if word not in ("-i", locked)]
    person = Person(*words, SSH_AUTH_SOCK="")
    before = termios.tcgetattr(person.master)
    person.see("%s.*: " % {"passphrase": "Passphrase of", "password": "'s password"}[question])
    until(lambda: not termios.tcgetattr(person.master)[3] & termios.ECHO)
    person.type(key)
    try:
        until(lambda: person.process.poll() is not None)
        assert termios.tcgetattr(person.master) == before
    finally:
        person.process.kill()
    assert person.leave() == (2 if key == "\x04" and command == "shell" else status)
    assert "Traceback" not in person.seen and "half" not in person.seen, person.seen


@pytest.mark.parametrize("command", ["shell", "copy"])
def test_passphrase_of_the_environment(sshd, locked, command):
    words = [sys.executable, "-m", "virtvm", *map(str, locked_options(sshd, locked, command))]
    done = subprocess.run(words, input=b"echo pi''ped\n", env=dict(without_agent(), VIRTVM_PASSPHRASE="open it"),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and (command == "copy" or b"piped" in done.stdout)
    done = subprocess.run(words, stdin=subprocess.DEVNULL, env=dict(without_agent(), VIRTVM_PASSPHRASE="wrong"),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode in (1, 2) and b"the passphrase does not open the key" in done.stdout
    assert b"wrong" not in done.stdout and b"Traceback" not in done.stdout


@pytest.mark.parametrize("how", ["option", "param", "file"])
def test_shell_verifies_the_host_key(sshd, tmp_path, how):
    wrong = tmp_path / "wrong"
    with open(sshd.known_hosts) as f:
        place, kind, _blob = f.read().split()[:3]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    wrong.write_text("%s %s %s\n" % (place, kind, (tmp_path / "key.pub").read_text().split()[1]))
    (tmp_path / "run.toml").write_text('[params]\nssh_known_hosts = "%s"\n' % wrong)
    more = {"option": ["--known-hosts", wrong], "param": ["--param", "ssh_known_hosts=%s" % wrong],
            "file": ["--config", tmp_path / "run.toml"]}[how]

    def run(*words):
        return subprocess.run([sys.executable, "-m", "virtvm", *map(str, words)], input=b"echo pi''ped\n",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    done = run(*shell_options(sshd), *more)
    assert done.returncode == 2 and b"Host key verification failed" in done.stdout and b"piped" not in done.stdout
    done = run(*shell_options(sshd), "--known-hosts", sshd.known_hosts)
    assert done.returncode == 0 and b"piped" in done.stdout


@pytest.mark.parametrize("words", [["shell", "--host", "127.0.0.1"], ["copy", "f", "u@127.0.0.1:"]])
def test_known_hosts_of_a_variable_that_is_not_set_is_no_permission(words, capsys):
    from virtvm import cli
    with pytest.raises(SystemExit) as info:
        cli.main([*words, "--known-hosts", ""])
    assert info.value.code == 2 and "--known-hosts: invalid" in capsys.readouterr().err


def test_shell_logs_in_as_tests_do(monkeypatch, tmp_path):
    """All that params choose for a login of a test's holds for the shell."""
    from virtvm import cli
    from virtvm.companions import virt_utils
    from virtvm.hypervisors import qemu
    params = {"ssh_identity_file": "/k", "ssh_identity_passphrase": "p", "ssh_known_hosts": "/h", "ssh_auth": "agent",
              "ssh_keepalive": "9", "username": "u", "password": "w", "shell_prompt": "x", "shell_client": "telnet",
              "shell_linesep": r"\r\n", "shell_port": "23", "status_test_command": "s"}
    calls = []

    def remote_login(*args, **keywords):
        calls.append((args[:7] + (len(args),), keywords))
        raise virt_utils.LoginError("enough")
    monkeypatch.setattr(virt_utils, "remote_login", remote_login)
    vm = qemu.VM("vm1", dict(params, nics="nic1", nic_mode="tap", nic_mac="52:54:00:00:00:01"), "/",
                 {"52:54:00:00:00:01": "10.0.0.1"})
    with pytest.raises(virt_utils.LoginError):
        vm.login()
    words = [word for item in params.items() for word in ("--param", "%s=%s" % item)]
    assert cli.main(["shell", "--host", "10.0.0.1", *words]) == 2
    assert calls[0] == calls[1] and len(calls[0][1]) == 5 and calls[0][0][:3] == ("telnet", "10.0.0.1", 23)
    for address in ([], ["--port", "99"]):
        assert cli.main(["shell", "--host", "h", *address]) == 2
    assert [args[1:3] for args, _ in calls[2:]] == [("h", 22), ("h", 99)]
