"""Sessions that outlive the process which started them: the keeper, with real processes."""

import contextlib
import ctypes
import glob
import os
import pickle
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading

import pytest
import virtvm
from support.processes import processes
from support.waiting import BUSY, is_running, until
from virtvm.companions import _local, aexpect, aexpect_2011

BASH = "exec bash --norc --noprofile"


def keepers():
    return glob.glob(os.path.join(_local._keeper_folder(), "keeper-*"))


def keeper_pid(session):
    """The keeper is the parent of the session's shell."""
    with open("/proc/%d/stat" % session.get_pid()) as f:
        return int(f.read().rpartition(")")[2].split()[1])


def is_state(pid, state):
    """Whether the process is in that state of /proc's."""
    with open("/proc/%d/stat" % pid) as f:
        return f.read().rpartition(")")[2].split()[0] == state


def keepers_of(folder):
    """Process ids of the keepers that have that folder open."""
    return [int(pid) for pid, line in processes([folder]).items() if line.startswith("virtvm-keeper ")]


def python(program, *args, **keywords):
    """Run a program in another interpreter; return what it printed."""
    program = "import os, pickle, sys\nfrom virtvm.companions import aexpect\n" + textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", program, *args], stdout=subprocess.PIPE, timeout=60,
                          text=True, check=True, **keywords)
    return done.stdout


@pytest.fixture(autouse=True)
def nobody_left(tmp_path, monkeypatch):
    """Each test has keepers of its own, and they end with its sessions."""
    monkeypatch.setenv("VIRTVM_STATE_DIR", str(tmp_path / "state"))
    yield
    try:
        until(lambda: not keepers())
    finally:
        for pid in keepers_of(_local._keeper_folder()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def shell():
    session = aexpect.ShellSession(BASH, auto_close=False)
    yield session
    session.close()


def test_session_is_reached_by_id_from_another_process(shell):
    assert shell.cmd("x=5; echo from-here") == "from-here\n"
    seen = python("""
        s = aexpect.ShellSession(id=sys.argv[1], auto_close=False)
        assert s.is_alive() and s.get_pid() == int(sys.argv[2])
        assert s.read_nonblocking(0) == ""          # that was read already
        assert "from-here\\n" in s.get_output()
        print(s.cmd("echo $x; x=6; echo from-there"), end="")
        """, shell.id, str(shell.get_pid()))
    assert seen == "5\nfrom-there\n"
    assert shell.cmd("echo $x") == "6\n"
    until(lambda: "from-there\n" in shell.get_output())


def test_session_outlives_the_process_that_started_it():
    id = python("""
        s = aexpect.ShellSession("exec bash --norc --noprofile", auto_close=False)
        s.cmd("y=7")
        s.sendline("echo unread")
        s.read_until_output_matches(["unrea"])
        s.sendline("echo never read")
        print(s.id)
        """).strip()
    with aexpect.ShellSession(id=id) as session:
        assert "never read" in session.read_until_output_matches(["never"], timeout=2 * BUSY)[1]
        assert session.cmd("echo $y") == "7\n"
        pid = session.get_pid()
    assert not is_running(pid)
    assert not aexpect.ShellSession(id=id).is_alive()


def test_status_waits_until_somebody_closes():
    id = python("""print(aexpect.Spawn("sleep 0.1; echo out; exit 3").id)""").strip()
    for _ in range(2):
        session = aexpect.Spawn(id=id)
        assert session.get_status() == 3 and session.get_output() == "out\n"
        assert not session.is_alive()
        del session
    python("aexpect.Spawn(id=sys.argv[1]).close()", id)
    assert aexpect.Spawn(id=id).get_status() is None


def test_dropped_object_leaves_the_process(shell):
    id, pid = shell.id, shell.get_pid()
    other = aexpect.Spawn("sleep 60")
    other_id, other_pid = other.id, other.get_pid()
    assert keeper_pid(other) == keeper_pid(shell)
    del other
    assert is_running(other_pid) and is_running(pid)
    aexpect.Spawn(id=other_id).close()
    assert not is_running(other_pid) and aexpect.Spawn(id=id).is_alive()


def test_last_attachment_with_auto_close_takes_the_process_along(shell):
    pid, copies = shell.get_pid(), [aexpect.ShellSession(id=shell.id) for _ in range(2)]
    del copies[0]
    assert is_running(pid)
    python("aexpect.ShellSession(id=sys.argv[1], auto_close=False)", shell.id)
    assert is_running(pid)
    python("aexpect.ShellSession(id=sys.argv[1])", shell.id)
    until(lambda: not is_running(pid))


def test_two_attachments_see_the_same(shell):
    process = subprocess.Popen(
        [sys.executable, "-c", "from virtvm.companions import aexpect\nimport sys\n"
         "s = aexpect.Expect(id=sys.argv[1], auto_close=False)\nprint(s.is_alive(), flush=True)\n"
         "print(s.read_until_output_matches(['mar' + 'k'], timeout=60)[0], flush=True)\n"
         "print(s.get_status())", shell.id], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    shell.cmd("echo mark")
    assert process.stdout.readline() == "0\n"
    shell.sendline("exit 4")
    assert process.communicate(timeout=2 * BUSY)[0] == "4\n" and shell.get_status() == 4


def test_close_by_another_process_ends_ours(shell):
    python("aexpect.Expect(id=sys.argv[1], auto_close=False).close()", shell.id)
    until(lambda: not shell.is_alive())
    assert shell.get_status() == -signal.SIGKILL
    with pytest.raises(aexpect.ShellProcessTerminatedError):
        shell.cmd("true")


def test_process_has_our_surroundings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_VARIABLE", "of ours")
    old_umask = os.umask(0o027)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, limits[1]))
    reader, writer = os.pipe()
    try:
        with aexpect.Spawn("pwd; echo $SOME_VARIABLE; umask; ulimit -n; stty size; echo x >&%d" % writer,
                           pass_fds=(writer,)) as session:
            assert session.get_status() == 0
            assert session.get_output() == "%s\nof ours\n0027\n500\n0 0\n" % tmp_path
            assert os.read(reader, 10) == b"x\n"
    finally:
        os.umask(old_umask)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(reader)
        os.close(writer)


def test_keeper_holds_nothing_of_its_starter(shell):
    pid = keeper_pid(shell)
    with open("/proc/%d/comm" % pid) as f:
        assert f.read() == "virtvm-keeper\n"
    targets = []
    for path in glob.glob("/proc/%d/fd/*" % pid):
        with contextlib.suppress(FileNotFoundError):        # closed meanwhile
            targets.append(os.readlink(path))
    assert len(targets) <= 12 and os.getsid(pid) != os.getsid(0) and os.readlink("/proc/%d/cwd" % pid) == "/"
    assert targets.count("/dev/null") == 3


def test_bad_command_line_descriptor_is_told():
    with pytest.raises(OSError, match="descriptor 987"):
        aexpect.Spawn("true", pass_fds=(987,))


def test_output_that_nobody_takes_is_complete():
    id = python("""print(aexpect.Spawn("seq 600000; echo done").id)""").strip()
    session = aexpect.Spawn(id=id)
    assert session.get_status() == 0
    assert session.get_output() == "".join("%d\n" % n for n in range(1, 600001)) + "done\n"
    session.close()


def test_input_that_nobody_takes_blocks_and_is_not_lost():
    with aexpect.Expect("stty -icanon; echo ready; exec sleep 60", auto_close=False) as session:
        session.read_until_output_matches(["ready"], timeout=2 * BUSY)
        block, sent = b"x" * 65536, 0
        with pytest.raises(Exception, match="deadline|time"):
            for _ in range(64):
                session._engine.write(block, 0.3)
                sent += len(block)
        assert 1 << 20 <= sent < 3 << 20
        assert session.is_alive()
    assert not session.is_alive()


def test_large_input_arrives():
    with aexpect.Expect("stty raw -echo; echo ready; head -c 3000000 | wc -c", auto_close=False) as session:
        session.read_until_output_matches(["ready"], timeout=2 * BUSY)
        session.send("y" * 3000000)
        assert "3000000" in session.read_until_output_matches(["[0-9]{3}"], timeout=2 * BUSY)[1]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_session_goes_on_in_another_process(protocol, tmp_path):
    lines = []
    session = aexpect.Expect("while read x; do echo got $x; done", auto_close=False, output_func=lines.append)
    session.sendline("one")
    until(lambda: "got one" in lines)
    session.set_output_func(print)
    session.set_output_prefix("> ")
    path = tmp_path / "pickle"
    path.write_bytes(pickle.dumps(session, protocol))
    id = session.id
    aexpect.kill_tail_threads()
    del session
    seen = python("""
        s = pickle.load(open(sys.argv[1], "rb"))
        s.sendline("two")
        s.read_until_output_matches(["two"])
        s.close()
        """, str(path))
    assert seen == "> got two\n> (Process terminated with status -9)\n"
    assert not aexpect.Expect(id=id).is_alive()


def test_killed_keeper_ends_its_sessions_and_the_next_starts_anew():
    session = aexpect.ShellSession(BASH, auto_close=False)
    session.cmd("true")
    pid, shell_pid = keeper_pid(session), session.get_pid()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(aexpect.ShellProcessTerminatedError) as info:
        session.cmd("sleep 60")
    assert info.value.status is None
    until(lambda: not is_running(shell_pid))        # its terminal is gone
    assert len(keepers()) == 1                      # a socket that nobody serves
    assert not aexpect.ShellSession(id=session.id).is_alive()
    with aexpect.ShellSession(BASH, auto_close=False) as again:
        assert again.cmd("echo anew") == "anew\n" and keeper_pid(again) != pid
    session.close()


def test_processes_that_start_at_once_share_a_keeper():
    program = ("from virtvm.companions import aexpect\nimport sys\nsys.stdin.readline()\n"
               "s = aexpect.Spawn('sleep 60')\nprint(s.id)")
    starters = [subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True) for _ in range(6)]
    for starter in starters:
        starter.stdin.write("\n")
        starter.stdin.flush()
    sessions = [aexpect.Spawn(id=starter.communicate(timeout=60)[0].strip()) for starter in starters]
    assert len({keeper_pid(session) for session in sessions}) == 1
    for session in sessions:
        session.close()


def test_keeper_that_comes_and_goes_loses_nobody():
    """A keeper may be ending just when the next session starts."""
    for _ in range(30):
        with aexpect.Expect("echo here", auto_close=False) as session:
            assert session.read_until_output_matches(["here"], timeout=2 * BUSY)[0] == 0


def test_last_words_of_a_client_arrive():
    """It goes at once after them, with output that it has not read."""
    session = aexpect.Expect("while read x; do echo got $x; seq 3000; done", auto_close=False)
    for n in range(4):
        python("""
            s = aexpect.Expect(id=sys.argv[1], auto_close=False)
            s.sendline("a" + sys.argv[2])
            s.sendline("b" + sys.argv[2])
            os._exit(0)
            """, session.id, str(n))
        assert session.read_until_output_matches(["got b%d\n" % n], timeout=2 * BUSY)
    session.close()


def test_start_that_was_given_up_leaves_no_process(shell, tmp_path):
    from virtvm import _session
    pid = keeper_pid(shell)
    seconds = "987%d" % os.getpid()         # other suites run this test, too
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(_session.EngineError, match="does not answer"):
            _session.keep(_local._keeper_folder(), "late", [b"/bin/sleep", seconds.encode()], [], timeout=0.2)
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: _session.attach(_local._keeper_folder(), "late") is None)
    until(lambda: shell.cmd_status("pgrep -f '[s]leep %s'" % seconds) == 1)


@pytest.mark.parametrize("generation", [aexpect, aexpect_2011])
@pytest.mark.parametrize("name", ["Spawn", "Tail", "Expect", "ShellSession"])
def test_constructor_of_one_s_own_that_fails_leaves_no_process(generation, name):
    class Own(getattr(generation, name)):
        def __init__(self, command, fails, **keywords):
            super().__init__(command, auto_close=False, **keywords)
            pids.append(self.get_pid())
            if fails:
                raise LookupError("of the user's own")

    class Deeper(Own):
        def __init__(self, command):
            try:
                super().__init__(command, True)
            except LookupError:
                super().__init__(command, False)        # another try, with a process of its own

    pids = []
    with pytest.raises(LookupError, match="own"):
        Own("sleep 1000", True)
    assert not is_running(pids[0])
    session = Deeper("sleep 1000")
    try:
        assert not is_running(pids[1]) and session.is_alive() and session.get_pid() == pids[2]
        # What runs already has an owner: who looks for it by its id in vain does not end it.
        with pytest.raises(LookupError, match="own"):
            Own(None, True, id=session.id)
        assert is_running(pids[2]) and session.is_alive()
    finally:
        session.close()
    assert not is_running(pids[2])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a network namespace")
def test_process_runs_in_the_namespaces_of_its_starter(shell):
    program = ("from virtvm.companions import aexpect\n"
               "print(aexpect.Expect('cat /proc/net/dev; exec cat', auto_close=False).id)")
    id = subprocess.run(["unshare", "--net", sys.executable, "-c", program], stdout=subprocess.PIPE, text=True,
                        check=True, timeout=60).stdout.strip()
    with aexpect.Expect(id=id) as session:
        own = os.readlink("/proc/self/ns/net")
        assert os.readlink("/proc/%d/ns/net" % session.get_pid()) != own
        assert os.readlink("/proc/%d/ns/net" % shell.get_pid()) == own
        assert keeper_pid(session) != keeper_pid(shell)


def test_ctrl_c_while_closing_leaves_nothing():
    class Stop(Exception):
        pass

    def stop(signum, frame):
        raise Stop

    session = aexpect.Expect("trap '' TERM; echo ready; while :; do sleep 0.05; done", auto_close=False)
    session.read_until_output_matches(["ready"], timeout=2 * BUSY)
    pid, old = session.get_pid(), signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Stop):
            session.close(signal.SIGTERM)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert session.closed and not is_running(pid)


def test_keepers_of_other_versions_are_left_alone(shell):
    other = os.path.join(_local._keeper_folder(), "keeper-999-0")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(other)
        listener.listen(1)
        listener.settimeout(0)
        assert not aexpect.Spawn(id="nosuchid").is_alive()
        with pytest.raises(BlockingIOError):
            listener.accept()
    os.unlink(other)


def test_ids_are_told_apart(shell):
    from virtvm import _session
    with pytest.raises(_session.EngineError, match="session of that id"):
        _session.keep(_local._keeper_folder(), shell.id, [b"/bin/true"], [])
    for id in ("", "x" * 64, shell.id + "x", "../" + shell.id):
        assert _session.attach(_local._keeper_folder(), id) is None


def test_stopped_keeper_is_a_timeout(shell, monkeypatch):
    pid = keeper_pid(shell)
    os.kill(pid, signal.SIGSTOP)
    try:
        from virtvm import _session
        with pytest.raises(_session.EngineError, match="does not answer"):
            _session.attach(_local._keeper_folder(), "x", timeout=0.3)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_start_waits_for_a_keeper_with_no_room(shell):
    """Its queue of connections is full: that ends when it goes on."""
    pid, path, waiting, errors = keeper_pid(shell), keepers()[0], [], []

    def start():
        try:
            aexpect.Spawn("true").close()
        except Exception as e:
            errors.append(e)

    os.kill(pid, signal.SIGSTOP)
    starter = threading.Thread(target=start)
    try:
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK))
                waiting[-1].connect(path)
        starter.start()
        starter.join(0.3)
        assert errors == [] and starter.is_alive()
    finally:
        os.kill(pid, signal.SIGCONT)
        for peer in waiting:
            peer.close()
    starter.join()
    assert errors == []


@pytest.mark.parametrize("spoil", ["mode", "link"])
def test_folder_that_others_may_have_prepared_is_refused(tmp_path, monkeypatch, spoil):
    state = tmp_path / "state"
    state.mkdir(0o700)
    if spoil == "mode":
        (state / "keeper").mkdir()
        (state / "keeper").chmod(0o755)
    else:
        (tmp_path / "elsewhere").mkdir(0o700)
        (state / "keeper").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="keeper"):
        aexpect.Spawn("true")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_other_users_are_turned_away(monkeypatch):
    """In a folder of its own: pytest's are all runs', and too long for a socket's name under xdist."""
    usual, state = os.environ["VIRTVM_STATE_DIR"], tempfile.mkdtemp()
    monkeypatch.setenv("VIRTVM_STATE_DIR", state)
    program = ("import os, socket, sys\nos.setgid(65534)\nos.setuid(65534)\n"
               "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.settimeout(60)\n"
               "try:\n    s.connect(sys.argv[1])\nexcept OSError as e:\n    sys.exit(type(e).__name__)\n"
               "try:\n    print(s.recv(10))\nexcept ConnectionError:\n    print(b'')\n")

    def try_it():
        return subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)

    with aexpect.ShellSession(BASH, auto_close=False) as shell:
        path = keepers()[0]
        assert "PermissionError" in try_it().stderr
        os.chmod(state, 0o711)
        os.chmod(_local._keeper_folder(), 0o711)
        os.chmod(path, 0o777)
        assert try_it().stdout == "b''\n"
        os.chmod(_local._keeper_folder(), 0o700)
        assert shell.cmd("echo fine") == "fine\n"
    until(lambda: not keepers(), 3)
    monkeypatch.setenv("VIRTVM_STATE_DIR", usual)       # asking for the folder makes it
    shutil.rmtree(state)


def test_nonsense_does_the_keeper_no_harm(shell):
    layout = struct.Struct("=IiII3Q64s")
    for data in (b"", b"x", b"y" * 30000, layout.pack(99, 0, 0, 0, 0, 0, 0, b"id"),
                 layout.pack(1, 0, 0, 0, 0, 0, 0, b"new"), layout.pack(2, 0, 0, 0, 0, 0, 0, b"\xff" * 64),
                 layout.pack(2, 0, 0, 0, 0, 0, 0, shell.id.encode())
                 ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.settimeout(5)
            client.connect(keepers()[0])
            client.send(data)
            if len(data) == layout.size:
                client.recv(1000)
                for kind in (5, 77, 1):
                    try:
                        client.send(layout.pack(kind, -1, 2 ** 32 - 1, 0, 2 ** 63, 2 ** 63, 2 ** 63, b"z" * 64))
                    except OSError:
                        break
    assert shell.cmd("echo fine") == "fine\n"


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_child_of_a_fork_leaves_the_session_alone_and_may_attach(shell):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            assert not shell.is_alive()
            shell.close()
            mine = aexpect.ShellSession(id=shell.id, auto_close=False)
            code = 0 if mine.cmd("echo child") == "child\n" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert shell.cmd("echo parent") == "parent\n"


def test_auto_close_starts_no_keeper():
    with aexpect.Expect("sleep 60"):
        assert not keepers() and not os.path.exists(_local._keeper_folder())
    assert not aexpect.Expect(id="nosuchid").is_alive()
    assert not os.path.exists(_local._keeper_folder())


# What a keeper has of its starter: nothing

SHADOW = 1 << 30        # a mapping as large is a sanitizer's shadow, which holds no bytes of the program's


def memory_of(pid):
    """All that can be read of a process's memory, in pieces."""
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", buffering=0) as mem:
        for line in maps:
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            if end - begin >= SHADOW:
                continue
            try:
                mem.seek(begin)
                yield mem.read(end - begin)
            except (OSError, OverflowError, ValueError):        # not to be read: [vvar], [vsyscall]
                continue


@pytest.mark.skipif(os.getuid() != 0, reason="reads another process's memory")
def test_keeper_has_no_secret_of_its_starter(monkeypatch):
    canary = "canary" + os.urandom(12).hex()
    kept = [canary.encode() * 3 for _ in range(1000)]       # all over the heap
    for n in range(50):                 # so many that no later block of the keeper's lies over all of them
        monkeypatch.setenv("VIRTVM_PASSWORD%d" % n, canary + "x" * 100)
    session = aexpect.ShellSession("env -i PATH=\"$PATH\" TERM=dumb " + BASH.replace("exec ", ""), auto_close=False)
    try:
        pid = keeper_pid(session)
        assert not any(canary.encode() in piece for piece in memory_of(pid))
        with open("/proc/%d/environ" % pid, "rb") as environ:
            assert {entry.partition(b"=")[0] for entry in environ.read().split(b"\0")} <= {b"", b"TMPDIR"}
        assert any(kept[0] in piece for piece in memory_of(os.getpid()))    # it would have been found
        assert session.cmd("echo still there") == "still there\n"
    finally:
        session.close()


def test_keeper_is_a_program_of_its_own(shell):
    pid = keeper_pid(shell)
    with open("/proc/%d/cmdline" % pid, "rb") as cmdline:
        assert cmdline.read().split(b"\0")[0] == b"virtvm-keeper"
    assert os.path.basename(os.readlink("/proc/%d/exe" % pid)) == "virtvm-keeper"
    with open("/proc/%d/maps" % pid) as maps:
        libraries = {os.path.basename(line.split()[-1]) for line in maps if "/" in line}
    assert not any(name.startswith(("python", "libpython")) or ".cpython-" in name for name in libraries)


def test_keeper_that_cannot_be_started_is_told(tmp_path):
    shutil.copytree(os.path.dirname(virtvm.__file__), tmp_path / "virtvm",
                    ignore=shutil.ignore_patterns("virtvm-keeper"))
    said = python("""
        try:
            aexpect.ShellSession("sh", auto_close=False)
        except Exception as e:
            print(e)
        """, cwd=tmp_path)
    assert "the program virtvm-keeper cannot be started: No such file" in said


# A socket that somebody removed, as programs do that tidy up /tmp

def test_keeper_leaves_the_socket_of_a_later_one(shell):
    socket_path, = keepers()
    os.unlink(socket_path)
    later = aexpect.ShellSession(BASH, auto_close=False)
    try:
        assert keeper_pid(later) != keeper_pid(shell)
        first = keeper_pid(shell)
        shell.close()
        until(lambda: not is_running(first), 5)
        assert keepers() == [socket_path]
        again = aexpect.ShellSession(id=later.id, auto_close=False)
        assert again.cmd("echo reached") == "reached\n"
    finally:
        later.close()


PTRACE_CONT, PTRACE_SEIZE, PTRACE_O_TRACEEXIT = 7, 0x4206, 0x40


@contextlib.contextmanager
def immortal(pid):
    """The process does not end, whatever kills it: its exit waits for us, as others wait for a disk."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    if libc.ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXIT) != 0:
        pytest.skip("this system lets nobody trace")
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while True:
            _pid, status = os.waitpid(pid, 0x40000000)      # __WALL
            if not os.WIFSTOPPED(status):
                break
            libc.ptrace(PTRACE_CONT, pid, 0, 0)


def test_process_that_does_not_die_stops_no_other_session(shell):
    stuck = aexpect.ShellSession(BASH, auto_close=False)
    keeper = keeper_pid(shell)
    with immortal(stuck.get_pid()):
        closing = threading.Thread(target=stuck.close)
        closing.start()
        until(lambda: is_state(stuck.get_pid(), "t"))
        assert shell.cmd("echo word", timeout=2 * BUSY) == "word\n"
        assert closing.is_alive()       # it gives up after five seconds, and so did the keeper
        with aexpect.ShellSession(BASH, auto_close=False) as more:
            assert more.cmd("echo more", timeout=2 * BUSY) == "more\n"
        assert is_state(stuck.get_pid(), "t")          # all that time
    closing.join()
    assert keeper_pid(shell) == keeper


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a network namespace")
def test_stopped_keeper_hides_no_session_of_another(shell):
    program = "from virtvm.companions import aexpect\nprint(aexpect.Expect('exec cat', auto_close=False).id)"
    id = subprocess.run(["unshare", "--net", sys.executable, "-c", program], stdout=subprocess.PIPE, text=True,
                        check=True, timeout=60).stdout.strip()
    pid = keeper_pid(shell)
    other = None
    os.kill(pid, signal.SIGSTOP)
    try:
        other = aexpect.Expect(id=id)           # it answers; nobody waits for the other one
        other.sendline("word")
        other.read_until_output_matches(["word"], timeout=2 * BUSY)
        other.close()
        assert is_state(pid, "T")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert shell.cmd("echo word") == "word\n"
