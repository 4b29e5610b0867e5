"""Floods: deadlines, Ctrl-C and bounds hold, whatever a guest sends."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from support.scripted import Scripted
from support.waiting import BUSY, until
from virtvm import _session
from virtvm.companions import aexpect, virt_utils
from virtvm.companions.exceptions import LoginError

PROMPT = r"[\#\$]\s*$"
BASH = "exec bash --norc --noprofile"
ENV = [b"PATH=/usr/bin:/bin", b"TERM=dumb"]
MIB = 1 << 20


def log_in(sshd, **keywords):
    return virt_utils.remote_login("ssh", sshd.host, sshd.port, sshd.user, sshd.password or "", PROMPT,
                                   ssh_identity_file=sshd.key, timeout=20, **keywords)


@pytest.fixture(params=["ssh", "local"])
def shell(request, tmp_path):
    log = str(tmp_path / "log")
    if request.param == "ssh":
        session = log_in(request.getfixturevalue("sshd"), log_filename=log)
    else:
        engine = _session.open_pty([b"/bin/bash", b"--norc", b"--noprofile"], ENV, log=log)
        session = aexpect.ShellSession(engine=engine)
    session.cmd("true")
    yield session
    session.close()


@contextlib.contextmanager
def within(seconds):
    """What a deadline of that many seconds promises, with room for a busy machine."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds + BUSY


@contextlib.contextmanager
def interrupted_in(seconds):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def ends(peer):
    """Sends SIGINT to nobody; a sender that the other side leaves is no failure."""
    with contextlib.suppress(OSError):
        yield peer


# Deadlines and Ctrl-C

def test_a_command_that_floods_ends_at_its_deadline(shell):
    with within(2), pytest.raises(aexpect.ShellTimeoutError) as info:
        shell.cmd("yes", timeout=2)
    assert len(info.value.output) < 3 * MIB and len(str(info.value)) < 7 * MIB


def test_ctrl_c_ends_a_command_that_floods(shell):
    with within(1), interrupted_in(1):
        shell.cmd("yes", timeout=600)


def test_reading_a_flood_ends_at_its_deadline(shell):
    shell.sendline("yes")
    with within(2), pytest.raises(aexpect.ExpectTimeoutError) as info:
        shell.read_until_last_line_matches(["never"], timeout=2)
    assert len(info.value.output) < 3 * MIB


class Looking(aexpect.Expect):
    """Notes in what lines are looked for."""

    looked, pause = [], 0.0

    @classmethod
    def match_patterns_multiline(cls, cont, patterns):
        cls.looked.append(cont)
        time.sleep(cls.pause)
        return aexpect.Expect.match_patterns_multiline(cont, patterns)


def test_a_look_at_millions_of_lines_ends_at_the_deadline(monkeypatch):
    monkeypatch.setattr(Looking, "looked", [])
    monkeypatch.setattr(Looking, "pause", 2.5)
    with Looking("seq 1 400000; exec sleep 1000", auto_close=True) as session:
        until(lambda: session._engine.total > 2 * MIB)
        with pytest.raises(aexpect.ExpectTimeoutError):
            session.read_until_any_line_matches(["never"], timeout=2)
    assert 0 < sum(map(len, Looking.looked)) < MIB


def test_a_whole_line_is_looked_at_once(monkeypatch):
    monkeypatch.setattr(Looking, "looked", [])
    with Looking("for i in 1 2 3 4; do echo line $i; sleep 0.4; done; exec sleep 1000", auto_close=True) as session:
        index, output = session.read_until_any_line_matches(["^never$", "4$", "^line 4$"], timeout=BUSY)
    assert index == -2 and "line 1\n" in output
    assert "".join(Looking.looked).count("line 1\n") == 1


def test_of_two_patterns_in_a_flood_the_first_is_named():
    with aexpect.Expect("echo second; seq 1 100000; echo first; exec sleep 1000", auto_close=True) as session:
        until(lambda: session.get_output().endswith("first\n"))
        assert session.read_until_any_line_matches(["^first$", "^second$"], timeout=BUSY)[0] == -2


def test_the_next_command_after_one_that_was_cut_off_gets_its_own_output(shell):
    with pytest.raises(aexpect.ShellTimeoutError):
        shell.cmd("sleep 1; echo old", timeout=0.3)
    assert shell.cmd("echo new", timeout=60) == "new\n"
    with interrupted_in(0.3):
        shell.cmd("sleep 1; echo old; false", timeout=60)
    assert shell.cmd_status_output("echo new; exit_with() { return $1; }; exit_with 3", timeout=60) == (3, "new\n")


def test_a_program_that_does_not_answer_gets_the_next_command(shell):
    """A cut-off command left another program reading: it is spoken to as before."""
    with pytest.raises(aexpect.ShellTimeoutError):
        shell.cmd("printf '>>> '; while read line; do echo \"<$line>\"; printf '>>> '; done", timeout=0.5)
    shell.set_prompt(r">>> $")
    assert "<hello>" in shell.cmd_output("hello", timeout=60)


def test_run_ends_a_flood_at_its_deadline(sshd):
    with log_in(sshd) as session:
        with within(2), pytest.raises(aexpect.ShellError):
            session.run("yes", timeout=2)
        with within(1), interrupted_in(1):
            session.run("while :; do echo x; done", timeout=600)
        with within(1), interrupted_in(1):
            session.run("cat /dev/zero >&2", timeout=600, limit=1 << 40)


def ignore_flood(peer, number):
    """Greets, and answers everything with packets that nobody asked for."""
    peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    piece = bytes([0, 0, 0, 12, 6, 2]) + bytes(10)
    while True:
        peer.sendall(piece * 1000)


def test_a_login_against_a_server_that_sends_packets_without_end():
    with Scripted(ignore_flood) as server:
        with within(2), pytest.raises(_session.EngineError):
            _session.open_ssh("127.0.0.1", server.port, "u", "p", timeout=2.0, hedge=False)


def endless_lines(peer, number):
    while True:
        peer.sendall(b"there is always one more line to say\r\n" * 1000)


@pytest.mark.parametrize("client", ["telnet", "nc"])
def test_a_login_to_a_server_that_prints_without_end(client):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Scripted(endless_lines) as server:
        with within(2), pytest.raises(LoginError):
            virt_utils.remote_login(client, "127.0.0.1", server.port, "u", "p", PROMPT, timeout=2)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.parametrize("question", ["Are you sure?", "Please wait", "Warning: careful"])
def test_a_dialogue_that_never_ends_ends_at_the_deadline(question):
    def ask(peer, number):
        while True:
            peer.sendall(question.encode() + b"\r\n")
            time.sleep(0.1)

    with Scripted(ask) as server:
        with within(2), pytest.raises(LoginError):
            virt_utils.remote_login("telnet", "127.0.0.1", server.port, "u", "p", PROMPT, timeout=2)


@pytest.mark.parametrize("text", ["head -c 4000000 /dev/zero | tr '\\0' e", "seq -f 'echo echo echo %g' 100000",
                                  "head -c 4000000 /dev/zero | tr '\\0' '\\r'",
                                  "printf 'a\\r\\n'; head -c 4000000 /dev/zero | tr '\\0' '\\r'; printf x"])
def test_text_behind_what_looked_like_a_prompt_costs_no_time(text):
    with aexpect.ShellSession(BASH) as session:
        session.cmd("PS1='[root@guest ~]# '")
        session.cmd("true")
        spent = time.process_time()
        session.cmd("printf '[root@guest ~]# '; sleep 0.2; %s; echo" % text, timeout=60)
        assert time.process_time() - spent < 5      # took a minute: a time of our own processor


@pytest.mark.parametrize("silence", [1e10, float("inf"), 1e300])
def test_a_silence_without_end_ends_at_the_timeout(silence):
    engine = _session.open_pty([b"/bin/sh", b"-c", b"sleep 0.2; echo late; sleep 60"], ENV)
    try:
        assert engine.read(silence, 0.6) == (b"late\n", "timeout")
    finally:
        engine.close()


# Bounds

def test_a_command_past_the_limit_is_an_error_with_its_two_ends(shell):
    shell.output_limit = 8 * MIB
    with pytest.raises(aexpect.ShellError, match="the output passed the limit of %d bytes" % (8 * MIB)) as info:
        shell.cmd("seq 10000000", timeout=60)
    output = info.value.output
    assert not isinstance(info.value, aexpect.ShellTimeoutError)
    assert output.startswith("1\n2\n3\n") and "bytes are left out here]\n" in output and len(output) < 3 * MIB
    shell.sendcontrol("c")
    assert shell.cmd("echo next", timeout=60) == "next\n"


def test_a_limit_holds_for_the_text_too(sshd):
    """Four characters stand for a byte that is none: 200 MiB of those took 1.2 GiB."""
    printing = "head -c %d /dev/zero | tr '\\0' '\\377'"
    with log_in(sshd) as session:
        session.output_limit = 8 * MIB
        for run in (session.run, session.cmd):
            with pytest.raises(aexpect.ShellError, match="passed the limit of %d bytes as text" % (8 * MIB)) as info:
                run(printing % (4 * MIB), timeout=60)
            output = info.value.output
            assert output.startswith("\\xff\\xff") and "are left out here]\n" in output and len(output) < 3 * MIB
        assert session.run(printing % (2 * MIB), timeout=60).stdout == "\\xff" * (2 * MIB)
        assert session.cmd(printing % (2 * MIB), timeout=60) == "\\xff" * (2 * MIB)
        assert session.run(printing % (4 * MIB), timeout=60, text=False).stdout == b"\xff" * (4 * MIB)
        with pytest.raises(aexpect.ShellError, match="passed the limit of 9 bytes as text") as info:
            session.run("printf 'abc\\377\\376'", limit=9)
        assert info.value.output.startswith("abc")


def test_what_is_returned_below_the_limit_is_whole(shell):
    assert shell.cmd("seq 1000000", timeout=60) == "".join("%d\n" % n for n in range(1, 1000001))


def test_run_past_its_limit_is_an_error_with_its_two_ends(sshd):
    with log_in(sshd) as session:
        with pytest.raises(aexpect.ShellError, match="too large|passed the limit") as info:
            session.run("seq 10000000", timeout=60, limit=8 * MIB)
        assert info.value.output.startswith("1\n2\n") and len(info.value.output) < 3 * MIB
        assert session.run("seq 3", limit=6).stdout == "1\n2\n3\n"
        with pytest.raises(aexpect.ShellError):
            session.run("seq 3; seq 3 >&2", limit=11)


def test_is_responsive_keeps_no_flood(sshd):
    with log_in(sshd) as session:
        session.sendline("yes")
        until(lambda: session._engine.total > MIB)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with within(2):
            session.is_responsive(timeout=2)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 << 10      # KiB
        session.sendcontrol("c")
        until(lambda: session.is_responsive(timeout=BUSY))
        assert session.cmd("echo here", timeout=60) == "here\n"


def test_reading_past_the_limit_is_an_error(shell):
    shell.output_limit = 8 * MIB
    shell.sendline("seq 10000000")
    with pytest.raises(aexpect.ExpectError, match="passed the limit") as info:
        shell.read_until_last_line_matches(["never"], timeout=60)
    assert not isinstance(info.value, aexpect.ExpectTimeoutError) and len(info.value.output) < 3 * MIB


def spilled():
    """Bytes of this process's unlinked files."""
    total = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if " (deleted)" in os.readlink("/proc/self/fd/" + number):
                total += os.stat("/proc/self/fd/" + number).st_size
    return total


def test_output_that_finds_no_place_is_an_error(shell, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/proc/none")
    with pytest.raises(aexpect.ShellError, match="no place for [0-9]+ bytes of the output") as info:
        shell.cmd("seq 1000000", timeout=60)
    assert info.value.output.endswith("\n1000000\n") and not isinstance(info.value, aexpect.ShellTimeoutError)
    assert shell.cmd_status_output("echo next; false", timeout=60) == (1, "next\n")


@pytest.mark.once
def test_a_turn_of_the_gibibyte(tmp_path):
    """More than what is kept comes: output() is what is there, whole, while the rest comes and afterwards."""
    console, pid = str(tmp_path / "console"), os.getpid()
    total, size = (1 << 30) + (64 << 20), 1 << 16

    def line(n):
        return b"%015d" % n * (size // 15 - 1) + b"\r\n"

    length = len(line(0))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(console)
        listener.listen(1)
        engine = _session.open_unix(console, log=str(tmp_path / "log"))
        peer = listener.accept()[0]

    def flood():
        for n in range(total // length):
            peer.sendall(line(n))
        peer.close()

    def numbers(output):
        """Of the first and the last whole line; all between them are there."""
        assert os.getpid() == pid and output
        whole = output[output.index(b"\n") + 1:output.rindex(b"\n") + 1]
        first, last = int(whole[:15]), int(whole[-16:-1])
        assert len(whole) == (last - first + 1) * (length - 1)
        for n in range(first, last + 1, 97):
            at = (n - first) * (length - 1)
            assert whole[at:at + length - 1] == line(n).replace(b"\r", b"")
        return first, last

    sender = threading.Thread(target=flood)
    sender.start()
    try:
        while not engine.wait(1.0):
            numbers(engine.output(max(0, engine.total - (16 << 20))))
        assert 0 < engine.forgotten <= engine.total - (1 << 30)
        numbers(engine.output(engine.total - (100 << 20)))
        assert len(engine.output()) + engine.forgotten >= engine.total * (1 - 1 / length) - length
    finally:
        engine.close()
        sender.join()
    with open(str(tmp_path / "log"), "rb") as log:
        assert os.fstat(log.fileno()).st_size < (1 << 30) + 200
        log.seek(-200, os.SEEK_END)
        assert log.read().endswith(b"virtvm: the log ends here, it has reached its bound\n")


def test_close_gives_the_disk_back():
    before = spilled()
    session = aexpect.Expect("seq 2000000")
    session.read_until_last_line_matches(["^2000000$"], timeout=60)
    assert spilled() - before > 8 * MIB
    session.close()
    assert spilled() == before


def test_a_failed_login_gives_the_disk_back():
    before = spilled()
    with Scripted(endless_lines) as server:
        with pytest.raises(LoginError):
            virt_utils.remote_login("nc", "127.0.0.1", server.port, "u", "p", PROMPT, timeout=1)
    assert spilled() == before


def test_memory_under_a_flood_stays_small():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent("""
        import resource, time
        from virtvm.companions import aexpect
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        s = aexpect.ShellSession("exec bash --norc")
        s.cmd("true")
        before = peak()
        s.sendline("yes")
        time.sleep(2)
        for call in (lambda: s.cmd("echo", timeout=2), lambda: s.read_until_any_line_matches(["n"], timeout=0.5)):
            try:
                call()
            except aexpect.ShellError as e:
                pass
            except aexpect.ExpectError:
                pass
        print((peak() - before) >> 10)
        s.close()
        """)], stdout=subprocess.PIPE, timeout=100)
    assert int(done.stdout) < 32 + 64       # a reading of text, up to where it ended


# Much that is sent

@pytest.mark.parametrize("mode", ["-echo", "echo", "raw -echo"])
def test_a_megabyte_sent_to_a_shell_arrives(sshd, tmp_path, mode):
    lines = b"".join(b"%07d %s\n" % (n, b"x" * 55) for n in range(1 << 14))
    with log_in(sshd) as session:
        session.cmd("stty " + mode)
        target = "/tmp/virtvm-typed-%d" % os.getpid()
        session.sendline("head -c %d >%s; stty sane; echo it is all there" % (len(lines), target))
        session._engine.write(lines, 60.0)
        session.read_until_any_line_matches(["^it is all there"], timeout=60)
        try:
            assert session.run("md5sum <" + target).stdout == _md5(lines)
        finally:
            session.run("rm -f " + target)


def _md5(data):
    return subprocess.run(["md5sum"], input=data, stdout=subprocess.PIPE, check=True).stdout.decode()


def test_what_nobody_reads_does_not_end_the_session(sshd):
    with log_in(sshd) as session:
        session.sendline("exec sleep 100")
        with pytest.raises(_session.EngineError, match="timeout"):
            session._engine.write(b"typed ahead\n" * 700000, 3.0)
        assert session.is_alive()


# Servers with manners of their own

def test_a_synch_of_telnet_leaves_no_byte_behind():
    def synch(peer, number):
        peer.sendall(b"before ")
        time.sleep(0.2)
        peer.sendall(b"\xff")
        peer.send(b"\xf2", socket.MSG_OOB)
        peer.sendall(b"hello\n")

    with Scripted(synch) as server:
        engine = _session.open_tcp("127.0.0.1", server.port, telnet=True)
        output = b""
        while not engine.wait(10.0):
            pass
        output = engine.read(-1.0, 5.0)[0]
        engine.close()
    assert output == b"before hello\n"
