"""A log on a file server that dies: nobody waits for it."""

import os
import subprocess
import sys
import textwrap

import pytest
from support import inject

SESSIONS = """
    import ctypes, signal, sys, time
    from virtvm import _session
    from virtvm.companions import aexpect

    hang_far = ctypes.CDLL(sys.argv[1]).hang_far
    env = [b"PATH=/usr/bin:/bin", b"TERM=dumb"]
    bash = [b"/bin/bash", b"--norc", b"--noprofile"]

    def start(argv=bash, **keywords):
        return _session.open_pty(argv, env, **keywords)

    def until(condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return inject.build(str(tmp_path_factory.mktemp("hang")), "hang")


def run(library, tmp_path, program):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(SESSIONS) + textwrap.dedent(program), library,
                           str(tmp_path / "log.far")], env=dict(os.environ, LD_PRELOAD=library),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout
    path = tmp_path / "log.far"
    return path.read_text().splitlines() if path.exists() else []


def test_while_its_server_lives_the_log_is_there_at_once(library, tmp_path):
    lines = run(library, tmp_path, """
        with aexpect.ShellSession(engine=start(log=sys.argv[2])) as session:
            session.cmd("true")
            assert session.cmd("echo hello") == "hello\\n"
            assert ": hello\\n" in open(sys.argv[2]).read()
        """)
    assert len([line for line in lines if line.endswith(": hello")]) == 1


def test_a_dead_server_holds_up_nobody(library, tmp_path):
    """Commands, Ctrl-C's handler, the sessions that nobody waits for, close, and the interpreter's end."""
    run(library, tmp_path, """
        other = start([b"/bin/sh", b"-c", b"while :; do echo on; sleep 0.01; done"])
        session = aexpect.ShellSession(engine=start(log=sys.argv[2]))
        session.cmd("true")
        hang_far(1)
        for n in range(20):
            assert session.cmd("echo %d" % n, timeout=30) == "%d\\n" % n
        assert hang_far(1) == 1

        signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
        signal.alarm(1)
        try:
            session.cmd("sleep 60", timeout=60)
        except ZeroDivisionError:
            pass
        session.sendcontrol("c")
        session.read_up_to_prompt(timeout=30)

        session.sendline("yes")
        until(lambda: session._engine.total > 20 << 20)        # by the drainer, nobody waits for it
        before = other.total
        until(lambda: other.total > before + 100)
        session.sendcontrol("c")
        assert session.is_responsive(60)
        session.close()
        print("ends")
        """)


def test_what_a_server_did_not_take_is_told_once_it_is_back(library, tmp_path):
    lines = run(library, tmp_path, """
        session = aexpect.ShellSession(engine=start(log=sys.argv[2]))
        session.cmd("echo before")
        hang_far(1)
        session.cmd("echo caught")
        session.cmd("seq 2000000", timeout=60)
        hang_far(0)
        until(lambda: "2000000" not in session.cmd("echo after; sleep 0.1") and "after" in open(sys.argv[2]).read())
        session.close()
        """)
    text = "\n".join(lines)
    assert text.index("before") < text.index("caught") < text.rindex("after")
    assert text.count("bytes are left out here, the file took none") == 1
