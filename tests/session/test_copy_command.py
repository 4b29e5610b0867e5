"""virtvm copy: what it takes places for, and what it does with them on real servers."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.rss_server import RssServer
from support.waiting import BUSY, LONG
from virtvm import cli
from virtvm.commands import copy
from virtvm.commands.copy import Place
from virtvm.companions import aexpect
from virtvm.companions.exceptions import SCPError


@pytest.mark.parametrize("text, expected", [
    ("file", (None, None, None, None, "file")),
    ("./a:b", (None, None, None, None, "./a:b")),
    ("/x/a:b", (None, None, None, None, "/x/a:b")),
    ("me@host:", ("scp", "host", 2222, "me", ".")),
    ("me@host:~/a b:c", ("scp", "host", 2222, "me", "~/a b:c")),
    ("me@realm@host:x", ("scp", "host", 2222, "me@realm", "x")),
    ("me@[::1]:/x", ("scp", "::1", 2222, "me", "/x")),
    ("me@[fe80::1%eth0]:x", ("scp", "fe80::1%eth0", 2222, "me", "x")),
    ("rss://host/C:\\x", ("rss", "host", 10023, None, "C:\\x")),
    ("rss://host:99/C:/dir/*.txt", ("rss", "host", 99, None, "C:\\dir\\*.txt")),
    ("rss://[::1]:99/%TEMP%", ("rss", "::1", 99, None, "%TEMP%")),
])
def test_places(text, expected):
    place = Place(text, port=2222)
    assert (place.client, place.host, place.port, place.user, place.path) == expected


def test_user_is_who_asks():
    import getpass
    assert Place("host:x").user == getpass.getuser() and Place("host:x").port == 22


@pytest.mark.parametrize("arguments, complaint", [
    (["a", "b"], "both on this machine"),
    (["h:a", "i:b", "."], "on one machine"),
    (["h:a", "b", "i:"], "on one machine"),
    (["rss://h/a", "i:b"], "over SSH"),
    (["rss://h", "."], "not of the form"),
    (["rss://h:0/x", "."], "not of the form"),
    (["not there", "h:"], "No such file"),
    (["-i", "/not/there", "h:a", "."], "No such file"),
    (["--password-file", "/not/there", "h:a", "."], "No such file"),
])
def test_what_cannot_be_done(arguments, complaint, capsys):
    assert cli.main(["copy"] + arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and complaint in err and err.startswith("virtvm: ") and err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["a"], ["-P", "x", "a", "h:"], ["-P", "65536", "a", "h:"],
                                       ["--timeout", "-1", "a", "h:"], ["--engine", "x", "a", "h:"]])
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as info:
        cli.main(["copy"] + arguments)
    assert info.value.code == 2 and "usage: virtvm copy" in capsys.readouterr().err


@pytest.fixture
def one_line(monkeypatch):
    """No line now and then, however long a copy takes."""
    monkeypatch.setattr(copy.Lines, "every", LONG)


# ---- on a real server ----

class There:
    """The server's account: run() copies with what it needs to log in."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder

    def place(self, path="", host="127.0.0.1"):
        return "%s@%s:%s" % (self.server.user, host, self.folder / path)

    def run(self, *arguments):
        return cli.main(["copy", "-P", str(self.server.port), "-i", self.server.key] + [str(a) for a in arguments])


@pytest.fixture
def there(sshd, monkeypatch):
    monkeypatch.delenv("VIRTVM_PASSWORD", raising=False)
    folder = Path(tempfile.mkdtemp(prefix="virtvm-remote-"))
    folder.chmod(0o777)
    yield There(sshd, folder)
    shutil.rmtree(folder)


def test_there_and_back(there, tmp_path, one_line, capsys):
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "a b").write_bytes(b"1" * 1000000)
    (tmp_path / "f").write_bytes(b"2")
    assert there.run("-r", tmp_path / "dir", tmp_path / "f", there.place()) == 0
    out, err = capsys.readouterr()
    assert out.startswith("copied 1.0 MB in ") and out.count("\n") == 1 and err == ""
    assert (there.folder / "dir" / "a b").read_bytes() == b"1" * 1000000
    (tmp_path / "back").mkdir()
    assert there.run("-q", there.place("dir"), there.place("f"), tmp_path / "back") == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "back" / "dir" / "a b").read_bytes() == b"1" * 1000000
    assert there.run("-q", there.place("*"), tmp_path / "back") == 0


def test_options_reach_the_engine(there, tmp_path):
    (tmp_path / "f").write_bytes(b"2")
    os.utime(tmp_path / "f", (1000000000, 1000000000))
    (tmp_path / "link").symlink_to("f")
    assert there.run("-q", "-p", "--keep-links", "--verify", "--engine", "sftp", tmp_path / "f", tmp_path / "link",
                     there.place()) == 0
    assert (there.folder / "f").stat().st_mtime == 1000000000 and os.readlink(there.folder / "link") == "f"


def test_less_than_all(there, tmp_path):
    for name in ("a.o", "b.c", "build"):
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).write_bytes(b"2")
        os.utime(tmp_path / "d" / name, (1000000000, 1000000000))
    assert there.run("-q", "-u", "--exclude", "*.o", "--exclude", "/build", tmp_path / "d", there.place()) == 0
    assert os.listdir(there.folder / "d") == ["b.c"]
    (there.folder / "d" / "b.c").write_bytes(b"3")
    assert there.run("-q", "-u", tmp_path / "d", there.place()) == 0
    assert (there.folder / "d" / "b.c").read_bytes() == b"3" and (there.folder / "d" / "a.o").exists()


def test_relative_paths(there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-f").write_bytes(b"2")
    assert there.run("-q", "--", "-f", there.place("g")) == 0
    assert there.run("-q", there.place("g"), "back") == 0
    assert (tmp_path / "back").read_bytes() == b"2"


def test_from_one_host_to_another(there):
    (there.folder / "f").write_bytes(b"2")
    (there.folder / "f").chmod(0o644)
    assert there.run("-q", there.place("f"), there.place("g")) == 0
    assert (there.folder / "g").read_bytes() == b"2"


def test_ipv6(new_sshd, tmp_path):
    try:
        server = new_sshd(listen=("127.0.0.1", "::1"))
    except RuntimeError:
        pytest.skip("no IPv6 on loopback")
    (tmp_path / "f").write_bytes(b"2")
    folder = Path(tempfile.mkdtemp(prefix="virtvm-remote-"))
    folder.chmod(0o777)
    try:
        there = There(server, folder)
        assert there.run("-q", tmp_path / "f", there.place("g", "[::1]")) == 0
        assert (folder / "g").read_bytes() == b"2"
    finally:
        shutil.rmtree(folder)


def test_failures_are_one_line(there, tmp_path, capsys):
    (tmp_path / "f").write_bytes(b"2")
    for arguments, words in (
            ([there.place("not there"), tmp_path], ["not there", "no such file", "port %d" % there.server.port]),
            ([tmp_path / "f", there.place("no/such/folder/f")], ["no/such/folder"]),
            ([tmp_path / "f", "u@127.0.0.1:x", "-P", "1"], ["refused", "port 1"]),
            (["--known-hosts", "/dev/null", tmp_path / "f", there.place()], ["Host key verification failed"])):
        assert there.run(*arguments) == 1
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("virtvm: copying ") and " failed: " in err and err.count("\n") == 1
        for word in words:
            assert word in err


# ---- passwords ----

def test_password_from_the_environment_or_a_file(there, tmp_path, monkeypatch, capsys):
    if not there.server.can_password:
        pytest.skip("passwords need an account of their own, which root alone can make")
    (tmp_path / "f").write_bytes(b"2")
    line = ["copy", "-q", "-P", str(there.server.port), str(tmp_path / "f"), there.place()]
    monkeypatch.setattr(sys, "stdin", open(os.devnull))
    assert cli.main(line) == 1
    assert "Authentication refused" in capsys.readouterr().err
    monkeypatch.setenv("VIRTVM_PASSWORD", there.server.password)
    assert cli.main(line) == 0
    monkeypatch.setenv("VIRTVM_PASSWORD", "wrong")
    assert cli.main(line) == 1
    assert "wrong" not in capsys.readouterr().err
    (tmp_path / "secret").write_text(there.server.password + "\n")
    assert cli.main(line + ["--password-file", str(tmp_path / "secret")]) == 0
    sys.stdin.close()


def command(*arguments):
    return " ".join([sys.executable, "-m", "virtvm", "copy"] + ["'%s'" % a for a in arguments])


def test_password_is_asked_for_and_a_bar_is_shown(there, tmp_path):
    if not there.server.can_password:
        pytest.skip("passwords need an account of their own, which root alone can make")
    (tmp_path / "big").write_bytes(b"2" * 5000000)
    line = command("-P", there.server.port, tmp_path / "big", there.place())
    with aexpect.Expect("TERM=xterm COLUMNS=120 " + line) as session:
        session.read_until_last_line_matches([r"'s password: $"], timeout=2 * BUSY)
        session.sendline(there.server.password)
        assert session.get_status() == 0
        output = session.get_stripped_output()
    assert there.server.password not in output
    assert "100%" in output and "5.0/5.0 MB" in output and "MB/s" in output and "0:00:00" in output
    assert (there.folder / "big").stat().st_size == 5000000


def test_ctrl_c(there, tmp_path):
    with open(tmp_path / "big", "wb") as f:
        f.truncate(1 << 40)
    line = "exec " + command("-P", there.server.port, "-i", there.server.key, tmp_path / "big", there.place())
    with aexpect.Expect("export TERM=xterm COLUMNS=120; " + line) as session:
        session.read_until_output_matches([r"[1-9]\S* MB/s"], timeout=2 * BUSY)
        session.sendcontrol("c")
        assert session.get_status() == 130
        assert "Traceback" not in session.get_output()
    assert os.listdir(there.folder) == []


# ---- Windows guests ----

def test_windows_guest(tmp_path, one_line, capsys):
    drive, here = tmp_path / "drive", tmp_path / "here"
    drive.mkdir()
    here.mkdir()
    (here / "a").write_bytes(b"1" * 2000000)
    (here / "b").write_bytes(b"2")
    with RssServer(drive) as server:
        url = "rss://127.0.0.1:%d/C:/" % server.port
        assert cli.main(["copy", str(here / "a"), str(here / "b"), url]) == 0
        assert capsys.readouterr().out.startswith("copied 2.0 MB in ")
        (tmp_path / "back").mkdir()
        assert cli.main(["copy", url + "a", url + "b", str(tmp_path / "back")]) == 0
        assert capsys.readouterr().out.startswith("copied 2.0 MB in ")
        assert sorted(os.listdir(tmp_path / "back")) == sorted(os.listdir(drive)) == ["a", "b"]
        assert cli.main(["copy", url + "no", str(here)]) == 1
        assert "does not match any files" in capsys.readouterr().err
        assert cli.main(["copy", str(here / "a"), url + "no/such/folder"]) == 1
        assert "the server said: RSS_CREATE_FILE" in capsys.readouterr().err


# ---- lines ----

def test_lines_now_and_then(capsys):
    lines = copy.Lines()
    now = [100.0]
    lines._clock = lambda: now[0]
    lines._began = lines._last = 100.0
    for second in range(1, 13):
        now[0] = 100.0 + second
        lines.progress("f", second * 1000000, 100000000 if second < 10 else None)
    lines.__exit__(None, None, None)
    assert capsys.readouterr().out.splitlines() == [
        "5.0 of 100.0 MB, 1.0 MB/s, 95 s left", "10.0 MB, 1.0 MB/s", "copied 12.0 MB in 12.0 s (1.0 MB/s)"]


def test_import_is_light():
    code = ("import sys; from virtvm import cli; cli._parser(); "
            "sys.exit(','.join(m for m in ('rich', 'virtvm._session', 'virtvm.companions.transfer')"
            " if m in sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True).stderr.strip() == ""


@pytest.mark.parametrize("said, hint", [
    ("big: the server said: failure", True), ("big: the server said: no such file", False),
    ("big: the server said: failure (No space left on device)", False)])
def test_full_disk_is_a_guess_in_words(said, hint):
    """OpenSSH's server has nothing but "failure" for it."""
    e = SCPError(said, "")
    assert ("disk is full" in copy._reason(e)) == hint and said in copy._reason(e)


def test_bar_waits_for_what_moves(capsys):
    """A password may be asked for before: an empty bar stood above and below each question."""
    bar = copy.Bar()
    with bar:
        with bar.paused():
            pass
        assert capsys.readouterr().err == ""
        bar.show("name", 1000000, 2000000)
        with bar.paused():
            pass
    assert "name" in capsys.readouterr().err
    try:
        with copy.Bar():
            raise KeyError
    except KeyError:
        pass
    assert capsys.readouterr().err == ""
