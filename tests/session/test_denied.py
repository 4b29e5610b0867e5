"""Accounts that are known and not let in: what is told, when, and how often it is tried."""

import os
import subprocess
import tempfile
import threading

import pytest
from support.sshd import Account, Sshd, knows_penalties
from support.waiting import until
from virtvm import virt_vm
from virtvm.companions import login, transfer, virt_utils
from virtvm.companions.exceptions import LoginAuthenticationError, LoginError, SCPAuthenticationError

pytestmark = [pytest.mark.once,
              pytest.mark.skipif(os.getuid() != 0, reason="accounts and mount namespaces need root")]
PENALTIES = pytest.mark.skipif(not knows_penalties(), reason="OpenSSH 9.8 brought penalties")
PROMPT = r"[\#\$]\s*$"
WORDS = "System is booting up.\nUnprivileged users are not permitted to log in yet.\n"
SHOWN = "System is booting up. Unprivileged users are not permitted to log in yet."


@pytest.fixture(scope="module")
def account():
    account = Account()
    yield account
    account.remove()


@pytest.fixture(autouse=True)
def logs(tmp_path):
    virt_utils.set_log_file_dir(str(tmp_path))
    yield
    virt_utils.close_log_file()
    virt_utils.set_log_file_dir(tempfile.gettempdir())


@pytest.fixture
def door(account, tmp_path):
    """A server whose PAM denies each account while the file `nologin` is there."""
    nologin = tmp_path / "nologin"
    nologin.write_text(WORDS)
    os.chmod(tmp_path, 0o755)
    server = Sshd(account=account, pam="auth required pam_unix.so\n"
                                       "account required pam_nologin.so file=%s\n"
                                       "account required pam_permit.so\n"
                                       "session required pam_permit.so\n" % nologin)
    server.nologin = nologin
    yield server
    server.stop()


@pytest.fixture
def strict(new_sshd):
    """Builds servers that hold refused logins against our address, with these penalties."""
    return lambda penalties: new_sshd("PerSourcePenalties " + penalties)


def log_in(server, password, key=None, timeout=20):
    return login.remote_login("ssh", server.host, server.port, server.user, password, PROMPT, timeout=timeout,
                              ssh_identity_file=key)


def attempts(server):
    return server.read_log().count("by PAM account configuration")


@pytest.mark.parametrize("by", ["password", "key"])
def test_a_denied_account_is_told_at_once_in_the_servers_words(door, by):
    with pytest.raises(LoginAuthenticationError) as caught:
        log_in(door, door.password if by == "password" else "", door.key if by == "key" else None)
    error = caught.value
    assert error.stage == "authentication" and error.denied
    assert error.said == SHOWN and SHOWN in str(error)
    assert "hung up" in error.detail and attempts(door) == 1
    assert door.password not in str(error)


def test_a_banner_before_a_refusal_is_told(account):
    server = Sshd("Banner /etc/issue.net", account=account)
    try:
        with pytest.raises(LoginAuthenticationError) as caught:
            log_in(server, "wrong")
        with open("/etc/issue.net") as f:
            assert caught.value.said == f.read().strip()
        assert not caught.value.denied
    finally:
        server.stop()


def test_words_of_a_server_are_made_printable_and_bounded(account, tmp_path):
    banner = tmp_path / "banner"
    banner.write_bytes(b"\x1b]0;title\x07 one\r\n\t two \xff\n" + b"x" * 5000)
    os.chmod(tmp_path, 0o755)
    server = Sshd("Banner %s" % banner, account=account)
    try:
        with pytest.raises(LoginAuthenticationError) as caught:
            log_in(server, "wrong")
        said = caught.value.said
        assert "one two" in said and said.isprintable() and said.isascii() and len(said) < 256
    finally:
        server.stop()


class VM(virt_vm.BaseVM):
    """Logs into a server of support.sshd."""

    def __init__(self, server):
        virt_vm.BaseVM.__init__(self, "vm1", {
            "shell_client": "ssh", "shell_port": str(server.port), "username": server.user,
            "password": server.password, "shell_prompt": PROMPT, "shell_linesep": "\\n"})
        self.server, self.serial_console = server, None

    def get_address(self, index=0):
        return self.server.host

    def get_port(self, port, nic_index=0):
        return port


def test_wait_for_login_goes_on_until_the_account_is_let_in(door):
    opener = threading.Thread(target=lambda: (until(lambda: attempts(door) >= 2, 60), door.nologin.unlink()))
    opener.start()
    try:
        VM(door).wait_for_login(timeout=120).close()
    finally:
        opener.join()
    assert 2 <= attempts(door) <= 4


def test_wait_for_login_gives_up_on_an_account_that_is_denied_for_good(door, monkeypatch):
    """Eight tries, whatever time is left: another could lock the account."""
    monkeypatch.setattr(virt_vm.time, "sleep", lambda seconds: None)
    with pytest.raises(LoginAuthenticationError) as caught:
        VM(door).wait_for_login(timeout=600)
    assert attempts(door) == caught.value.tries == 8
    assert [count for count, _ in caught.value.history] == [8]
    assert SHOWN in caught.value.history[0][1]


def test_wait_for_login_without_a_vm(door, monkeypatch):
    import time
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(LoginAuthenticationError) as caught:
        login.wait_for_login("ssh", door.host, door.port, door.user, door.password, PROMPT, timeout=600)
    assert attempts(door) == caught.value.tries == 8


def test_copies_are_told_the_same(door, tmp_path):
    source = tmp_path / "file"
    source.write_text("content")
    with pytest.raises(SCPAuthenticationError) as caught:
        transfer.copy_files_to(door.host, "scp", door.user, door.password, door.port, str(source), "/tmp/x")
    assert caught.value.said == SHOWN and caught.value.denied


@pytest.mark.parametrize("penalties", ["no", pytest.param("yes", marks=PENALTIES)])
def test_a_password_that_is_set_late_is_waited_for(account, penalties):
    """As cloud-init does it: nobody is locked out meanwhile."""
    server = Sshd("PerSourcePenalties yes" if penalties == "yes" else "", account=account)
    password, account.password = account.password, "set late %s" % os.getpid()
    server.password = account.password
    setter = threading.Thread(target=lambda: (
        until(lambda: server.read_log().count("Failed password") >= 2, 60),
        subprocess.run(["chpasswd"], input="%s:%s\n" % (account.name, account.password), text=True, check=True)))
    setter.start()
    try:
        VM(server).wait_for_login(timeout=120).close()
        assert server.read_log().count("Failed password") <= 4
        assert "penalty" not in server.read_log()
    finally:
        setter.join()
        server.stop()
        subprocess.run(["chpasswd"], input="%s:%s\n" % (account.name, password), text=True, check=True)
        account.password = password


def test_an_expired_password_is_told_early(account):
    server = Sshd(account=account)
    subprocess.run(["passwd", "-e", "-q", account.name], check=True)
    try:
        with pytest.raises(LoginAuthenticationError) as caught:
            log_in(server, server.password, timeout=600)
        assert caught.value.denied and "expired" in caught.value.msg
        assert server.password not in str(caught.value)
        with pytest.raises(LoginAuthenticationError) as caught:
            login.remote_login("ssh", server.host, server.port, server.user, server.password, PROMPT, timeout=600,
                               ssh_auth="keyboard-interactive")
        assert caught.value.denied and "expired" in str(caught.value)
    finally:
        server.stop()
        subprocess.run(["chpasswd"], input="%s:%s\n" % (account.name, account.password), text=True, check=True)


AT_ONCE = "authfail:20s min:15s max:20s"        # one refusal is enough: it must come to more than min


def shut_out(server):
    """What a login is told once others were refused, as of an ssh of the user's in a loop."""
    def refused():
        with pytest.raises(LoginError) as caught:
            log_in(server, "wrong", timeout=10)
        return caught.value if "Not allowed" in str(caught.value) else None
    return until(refused, 120)


@PENALTIES
def test_an_address_that_is_shut_out_is_told_so_and_waits(strict):
    server = strict(AT_ONCE)
    error = shut_out(server)
    assert error.msg == "The server refuses us for now" and "Not allowed at this time" in error.detail
    assert error.stage == "banner" and "refused logins" in str(error)
    VM(server).wait_for_login(timeout=120).close()


@PENALTIES
def test_copies_wait_for_the_end_of_a_penalty(strict, account, tmp_path):
    server = strict(AT_ONCE)
    shut_out(server)
    source, target = tmp_path / "file", os.path.join(account.home, "copy")
    source.write_text("content")
    transfer.copy_files_to(server.host, "scp", server.user, server.password, server.port, str(source), target,
                           timeout=120)
    with open(target) as f:
        assert f.read() == "content"
