"""Copies as root by a real sudo, where the login is another user's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.copies import ENGINES, Host, mode, names, open_folder, stop_at, write, write_huge
from support.sshd import path_without
from virtvm.companions import transfer, virt_utils
from virtvm.companions.exceptions import SCPTransferFailedError, SCPTransferTimeoutError

pytestmark = [pytest.mark.once, pytest.mark.skipif(os.getuid() != 0 or shutil.which("sudo") is None,
                                                   reason="needs root, for accounts, and sudo")]


@pytest.fixture
def may(account):
    """may(text): what sudoers says of the account."""
    path = Path("/etc/sudoers.d") / ("virtvm-%s" % account.name)

    def say(text):
        path.write_text("%s %s\nDefaults:%s lecture=always\n" % (account.name, text, account.name))
        path.chmod(0o440)

    yield say
    path.unlink(missing_ok=True)
    shutil.rmtree("/run/sudo/ts/%s" % account.name, ignore_errors=True)


@pytest.fixture
def secret():
    """A folder that is root's alone."""
    with open_folder() as folder:
        folder.chmod(0o700)
        yield folder


@pytest.fixture(params=ENGINES)
def host(sshd, secret, request):
    return Host(sshd, secret, request.param)


def nobody_shows(word, seen):
    """A progress function that looks for the word in all command lines."""
    def progress(name, moved, total):
        lines = subprocess.run(["ps", "axww", "-o", "args"], stdout=subprocess.PIPE, check=True).stdout
        seen.append(word.encode() in lines)
    return progress


@pytest.mark.parametrize("rule", ["ALL=(ALL) NOPASSWD: ALL", "ALL=(ALL) ALL"])
def test_there_and_back(host, may, tmp_path, rule):
    may(rule)
    write(tmp_path / "d" / "f", "new", 0o640)
    write(tmp_path / "d" / "big", os.urandom(3 << 20))
    with pytest.raises(SCPTransferFailedError):
        host.put(tmp_path / "d", host.folder)
    seen = []
    for _ in range(2):
        host.put(tmp_path / "d", host.folder, transfer_sudo="yes", transfer_verify="yes",
                 progress=nobody_shows(host.server.password, seen))
    assert names(host.folder / "d") == ["big", "f"] and mode(host.folder / "d" / "f") == 0o640
    assert (host.folder / "d" / "f").stat().st_uid == 0
    host.get(host.folder / "d" / "*", tmp_path / "d", transfer_sudo="yes")
    host.get(host.folder / "d", tmp_path / "back", transfer_sudo="yes",
             progress=nobody_shows(host.server.password, seen))
    assert (tmp_path / "back" / "big").read_bytes() == (host.folder / "d" / "big").read_bytes()
    assert seen and not any(seen)


def test_sudo_that_remembers_the_password_is_not_told_it_as_a_command(host, may, account, tmp_path):
    """It would not read the line: the shell or the server behind it would, and could say it again."""
    may("ALL=(ALL) ALL\nDefaults:%s timestamp_type=global" % account.name)
    for _ in range(2):
        host.put(write(tmp_path / "f", "new"), host.folder, transfer_sudo="yes", transfer_verify="yes")
        host.get(host.folder / "f", tmp_path / "back", transfer_sudo="yes")
    assert (tmp_path / "back").read_text() == "new"


def test_password_of_its_own(host, may, account, tmp_path):
    """The login's is another, or there is none."""
    may("ALL=(ALL) ALL")
    seen, log = [], tmp_path / "log"
    where = (host.server.host, host.server.port, host.server.user)
    keywords = {"ssh_identity_file": host.server.key, "ssh_auth": "publickey", "transfer_engine": host.engine,
                "transfer_sudo": "yes", "transfer_sudo_password": account.password, "transfer_verify": "yes",
                "log_filename": str(log), "progress": nobody_shows(account.password, seen), "timeout": 60}
    for password in ("", "of-the-login"):
        transfer.scp_to_remote(*where, password, str(write(tmp_path / "f", "new")), str(host.folder), **keywords)
        transfer.scp_from_remote(*where, password, str(host.folder / "f"), str(tmp_path / "back"), **keywords)
    assert (host.folder / "f").stat().st_uid == 0 and (tmp_path / "back").read_text() == "new"
    virt_utils.close_log_file(str(log))
    assert seen and not any(seen) and account.password not in log.read_text()


def test_wrong_password_of_its_own(host, may, account, tmp_path):
    """The login's, which would be right, is not tried: the user has said another."""
    may("ALL=(ALL) ALL")
    wrong = account.password[::-1]
    with pytest.raises(SCPTransferFailedError, match="sudo does not let us") as info:
        host.put(write(tmp_path / "f"), host.folder, transfer_sudo="yes", transfer_sudo_password=wrong)
    ours = [entry for entry in info.traceback if entry.path.parts[-3:-1] == ("virtvm", "companions")]
    shown = [repr(value) for entry in ours for value in entry.frame.f_locals.values()]
    assert names(host.folder) == [] and len(ours) > 1
    assert not any(wrong in text for text in [repr(info.value), str(info.value), *shown])


@pytest.mark.parametrize("password", ["nul\0x", "two\nlines", "end\r", "\n", "\udc80x", "\ud800"])
def test_password_that_is_no_line(tmp_path, password):
    """Refused before anybody is asked, in words that have the param's name and nothing of the password."""
    path = write(tmp_path / "f")
    where = ("nowhere.invalid", "scp", "user", "", 1)
    for call in (lambda **kw: transfer.copy_files_to(*where, str(path), "/f", **kw),
                 lambda **kw: transfer.copy_files_from(*where, "/f", str(path), **kw),
                 lambda **kw: transfer.write_file(*where, "/f", "x", **kw),
                 lambda **kw: transfer.read_file(*where, "/f", **kw)):
        with pytest.raises(ValueError, match="^transfer_sudo_password has a") as info:
            call(transfer_sudo="yes", transfer_sudo_password=password)
        assert type(info.value) is ValueError and password.strip() not in str(info.value).split()


FAKE_SUDO = """#!/bin/sh
# A sudo that refuses -n, and then does not ask: who is in a trusted group, say.
case $1 in -n) echo "sudo: a password is required" >&2; exit 1;; esac
while :; do case $1 in -k|-S) shift;; -p) shift 2;; *) break;; esac; done
%s
"""


@pytest.fixture
def server_with(new_sshd, secret):
    """server_with(text): a server whose sudo is a script that ends so, once it is to ask."""
    def make(text):
        tools = secret / "tools"
        tools.mkdir()
        write(tools / "sudo", FAKE_SUDO % text, 0o755)
        secret.chmod(0o777)
        return new_sshd("SetEnv PATH=%s:%s" % (tools, os.environ["PATH"]))

    return make


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("before", ["", "wrong\n", "x\n"])
def test_password_that_sudo_does_not_read_is_not_run(server_with, secret, tmp_path, engine, before):
    """Neither where nobody asks for it, nor of several lines."""
    ends = 'exec "$@"' if not before else 'IFS= read -r line || exit 1; exec "$@"'
    host = Host(server_with(ends), secret, engine)
    host.server.password = "%stouch '%s'" % (before, secret / "ran")
    try:
        host.put(write(tmp_path / "f", "new"), secret, transfer_sudo="yes", transfer_verify="yes")
        host.get(secret / "f", tmp_path / "back", transfer_sudo="yes")
    except SCPTransferFailedError as e:
        assert before and "touch" not in str(e)
    else:
        assert not before and (tmp_path / "back").read_text() == "new"
    assert not (secret / "ran").exists()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ends", [
    'read -r word; echo "$word: wrong" >&2; exit 1', 'read -r word; echo "$word"; exec "$@"',
    'read -r word; printf "%0200d%s" 0 "$word" >&2; exit 1', 'read -r word; echo "(${word%????}" >&2; exit 1'])
def test_password_that_the_guest_says_again_is_in_no_error(server_with, secret, tmp_path, engine, ends):
    host, log, password = Host(server_with(ends), secret, engine), tmp_path / "log", "Tr0ub4dor&3"
    try:
        host.put(write(tmp_path / "f", "new"), secret, transfer_sudo="yes", transfer_sudo_password=password,
                 log_filename=str(log))
    except SCPTransferFailedError as e:
        assert password[:5] not in str(e) + repr(e)
    virt_utils.close_log_file(str(log))
    assert password[:5] not in log.read_text()


@pytest.mark.parametrize("engine", ENGINES)
def test_sudo_that_hangs_ends_in_time(server_with, secret, tmp_path, engine):
    host = Host(server_with("exec tail --pid=$PPID -f /dev/null"), secret, engine)
    with pytest.raises(SCPTransferTimeoutError):
        host.put(write(tmp_path / "f"), secret, transfer_sudo="yes", transfer_sudo_password="x", timeout=5)
    assert names(secret) == ["tools", "tools/sudo"]


def test_files_and_homes(host, may, account):
    may("ALL=(ALL) ALL")
    where, keywords = host.access()
    keywords["transfer_sudo"] = "yes"
    transfer.write_file(*where, str(host.folder / "f"), "x", mode=0o600, owner="daemon:root", **keywords)
    assert (host.folder / "f").stat().st_uid != 0 and mode(host.folder / "f") == 0o600
    assert transfer.read_file(*where, str(host.folder / "f"), **keywords) == b"x"
    transfer.write_file(*where, "~/mine", "x", **keywords)
    assert (Path(account.home) / "mine").read_text() == "x"
    (Path(account.home) / "mine").unlink()


def test_interrupt_leaves_nothing(host, may, tmp_path):
    may("ALL=(ALL) ALL")
    write(host.folder / "f", "old")
    with pytest.raises(KeyboardInterrupt) as info:
        host.put(write_huge(tmp_path / "f"), host.folder, transfer_sudo="yes", progress=stop_at(100000))
    assert names(host.folder) == ["f"] or info.value.left
    assert (host.folder / "f").read_text() == "old"


@pytest.mark.parametrize("rule, password, words", [
    ("ALL=(ALL) ALL", "wrong", "sudo does not let us"), ("ALL=(ALL) ALL", "x" * 5000, "sudo does not let us"),
    ("ALL=(ALL) ALL", None, "sudo does not let us: .*password"),
    ("ALL=(daemon) ALL", "right", "sudo does not let us: .*not allowed")], ids=["wrong", "long", "none", "other"])
def test_who_may_not_is_told(host, may, account, tmp_path, rule, password, words):
    may(rule)
    with pytest.raises(SCPTransferFailedError, match=words):
        transfer.scp_to_remote(
            host.server.host, host.server.port, host.server.user,
            account.password if password == "right" else password or "", str(write(tmp_path / "f")), str(host.folder),
            ssh_identity_file=host.server.key, ssh_auth="publickey", transfer_engine=host.engine,
            transfer_sudo="yes", timeout=60)
    assert names(host.folder) == []


def test_server_without_sudo(new_sshd, secret, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "id", "env", "scp", "cat", "ls", "mv", "rm", "wc", "dd", "readlink"):
        (tools / name).symlink_to(shutil.which(name))
    for folder in [tools, *list(tools.parents)[:-1]]:
        if folder.stat().st_uid == 0 and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    server = new_sshd("SetEnv PATH=%s" % tools)
    for engine in ENGINES:
        with pytest.raises(SCPTransferFailedError, match="the server has no sudo"):
            Host(server, secret, engine).put(write(tmp_path / "f"), secret, transfer_sudo="yes")


def test_root_needs_no_sudo(new_own_sshd, secret, tmp_path):
    server = new_own_sshd(path_without("sudo", tmp_path))
    for engine in ENGINES:
        Host(server, secret, engine).put(write(tmp_path / "f", engine), secret, transfer_sudo="yes")
        assert (secret / "f").read_text() == engine
