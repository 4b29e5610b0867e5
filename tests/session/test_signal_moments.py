"""What a signal handler raises comes out of every call, at whichever of its lines, and of whatever kind it is."""

import ast
import builtins
import contextlib
import errno
import functools
import gc
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref

import pytest
from support.moments import lost

import virtvm
from virtvm import signals
from virtvm.companions import aexpect, error, secrets, transfer, utils, virt_utils
from virtvm.host import processes
from virtvm.hypervisors._process import Process
from virtvm.session import local

KINDS = {
    "time-out": lambda: TimeoutError("time is over"),
    "bare": lambda: OSError(),
    "missing": lambda: FileNotFoundError(errno.ENOENT, "of the handler's"),
    "gone": lambda: ProcessLookupError(errno.ESRCH, "of the handler's"),
    "again": lambda: BlockingIOError(errno.EAGAIN, "of the handler's"),
    "pipe": lambda: BrokenPipeError(errno.EPIPE, "of the handler's"),
}


pytestmark = pytest.mark.timeout(60, method="thread")


@contextlib.contextmanager
def strikes(make):
    """A function that runs a signal handler, which raises what make() gives."""
    def handler(signum, frame):
        raise make()

    def strike():
        os.kill(os.getpid(), signal.SIGALRM)
        time.sleep(0)

    old = signal.signal(signal.SIGALRM, handler)
    try:
        yield strike
    finally:
        signal.signal(signal.SIGALRM, old)


@pytest.fixture(autouse=True)
def undisturbed(tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTVM_STATE_DIR", str(tmp_path / "state"))
    gc.collect()
    gc.disable()                        # it would run what others left, at a line of ours
    yield
    gc.enable()


def spawn():
    with aexpect.Spawn("true", auto_close=True) as session:
        session.is_defunct()


def busy_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        s.listen()
        port = s.getsockname()[1]
        assert virt_utils.find_free_port(port, port + 1) is None
    virt_utils.is_port_free(port, "127.0.0.1")


CALLS = {
    "spawn": spawn,
    "unknown_id": lambda: aexpect.Spawn(id="nobody's").is_alive(),
    "port": busy_port,
    "alive": lambda: (utils.pid_is_alive(os.getpid()), utils.pid_is_alive(1 << 22)),
    "exists": lambda: virt_utils.pid_exists(1 << 22),
    "kill": lambda: virt_utils.kill_process_tree(1 << 22, 0),
    "nuke": lambda: utils.signal_pid(1 << 22, 0),
    "run": lambda: utils.run("cat", stdin="x" * 100000, verbose=False),
    "folders": lambda: signals.makedirs("/proc/self/task", exist_ok=True),
    "links": lambda: signals.realpath("/proc/self/cwd"),
    "locked": lambda: secrets.is_locked("/nowhere"),
}


SLOW = {"spawn": ["time-out", "gone"], "run": ["bare", "pipe"]}


@pytest.mark.parametrize("name, kind", [(name, kind) for name in CALLS for kind in SLOW.get(name, KINDS)])
def test_at_each_line_of_a_call(name, kind):
    CALLS[name]()                       # what it imports, it imports now
    ctrl_c = signal.getsignal(signal.SIGINT)
    assert lost(CALLS[name], KINDS[kind]) == []
    assert signal.getsignal(signal.SIGINT) is ctrl_c


def test_in_the_terminal_that_is_switched(monkeypatch):
    with aexpect.Spawn("sleep 60", auto_close=True) as session:
        for make in KINDS.values():
            monkeypatch.setattr(local, "switch_terminal", lambda *args: strike())
            with strikes(make) as strike, pytest.raises(OSError) as caught:
                session.send_ctrl("raw")
            assert caught.value.args == make().args


class Local:
    """What a function has."""


def looks(how):
    """Ends with an error of the kernel's that a function of it takes; whether what it had is gone."""
    def take():
        mine = Local()
        gone.append(weakref.ref(mine))
        if how == "suppress":
            with signals.suppress(OSError):
                os.stat("/nonexistent")
        elif how == "exists":
            assert not signals.exists("/nonexistent")
        else:
            try:
                os.stat("/nonexistent")
            except OSError as e:
                signals.let_out(e)

    gone = []
    take()
    return gone[0]() is None


def test_paths_are_found_and_made_as_ever(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    signals.makedirs("a/b//c/", 0o700)
    assert os.stat("a/b/c").st_mode & 0o777 == 0o700
    signals.makedirs(tmp_path / "a", exist_ok=True)
    os.symlink("a/b", "link")
    os.symlink(str(tmp_path / "link" / "c"), "absolute")
    os.symlink("nowhere", "dangling")
    os.symlink("absolute", "file")
    open("a/plain", "w").close()
    for kind, exist_ok, path in [(FileExistsError, False, "a"), (FileExistsError, True, "a/plain"),
                                 (NotADirectoryError, True, "a/plain/c"), (FileExistsError, True, "dangling")]:
        with pytest.raises(kind):
            signals.makedirs(path, exist_ok=exist_ok)
        with pytest.raises(kind):
            os.makedirs(path, exist_ok=exist_ok)
    for path in ("", ".", "/", "a", "a/", "link", "link/..", "link/c/../..", "absolute", "file/x", "dangling/x/../y",
                 "/..", "//tmp", "/proc/self/cwd", "a/plain/..", tmp_path / "link"):
        assert signals.realpath(path) == os.path.realpath(path), path
    os.symlink("loop", "loop")
    assert signals.realpath("loop") == str(tmp_path / "loop")


@pytest.mark.parametrize("how", ["let_out", "suppress", "exists"])
def test_a_look_keeps_nothing_alive(how):
    # Not even until the next collection of garbage: sessions end with the last reference.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        assert looks(how)
    finally:
        if was_enabled:
            gc.enable()


def test_the_kernels_own_errors_are_no_handlers():
    for fails in (lambda: os.stat("/nowhere"), lambda: open("/nowhere"), lambda: os.kill(1 << 22, 0),
                  lambda: socket.create_connection(("127.0.0.1", 1), 5), lambda: os.makedirs("/proc/x/y")):
        with pytest.raises(OSError) as caught:
            fails()
        signals.let_out(caught.value)


def handlers():
    class Object:
        def method(self, signum, frame):
            raise OSError("method")

        def __call__(self, *args):
            raise OSError("called")

    def nested(signum, frame):
        def deeper():
            raise OSError("deeper")
        deeper()

    def enclosing(signum, frame):
        raise OSError(lambda: frame)

    return [Object().method, Object(), nested, enclosing]


@pytest.mark.parametrize("number", range(4))
def test_all_that_can_be_a_handler_is_known_as_one(number):
    old = signal.signal(signal.SIGALRM, handlers()[number])
    try:
        with pytest.raises(OSError):
            try:
                os.kill(os.getpid(), signal.SIGALRM)
                time.sleep(0)
            except OSError as e:
                signal.signal(signal.SIGALRM, signal.SIG_IGN)       # as many a handler does itself
                signals.let_out(e)
    finally:
        signal.signal(signal.SIGALRM, old)


# ---- nothing is left ----

def children():
    """Of this thread: ended ones, too."""
    pid = os.getpid()
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return set(f.read().split())


def left_since(known, descriptors):
    """What is there that was not: children, or descriptors."""
    if any(_left_since(known, descriptors)):
        gc.collect()                    # what was raised holds frames
        processes, more = _left_since(known, descriptors)
        for child in processes:         # not to be told of once more
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(OSError):
                    kill(int(child), signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.waitpid(int(child), 0)
        for fd in more:
            os.close(int(fd))
        return ["process"] * len(processes) + more
    return []


def _left_since(known, descriptors):
    more = set(os.listdir("/proc/self/fd")) - descriptors
    more = [fd for fd in more if os.path.lexists("/proc/self/fd/" + fd)]        # else it was the listing's own
    return children() - known, more


def in_memory():
    with transfer._in_memory("text") as path, open(path) as f:
        assert f.read() == "text"


def logged(folder):
    virt_utils.log_line("%s/log/%d" % (folder, time.monotonic_ns()), "line")
    virt_utils.close_log_file()


def job():
    return utils.BgJob("sleep 60", stdin="x", verbose=False)


LEAVES_NOTHING = {
    "run": lambda folder: utils.run("cat", stdin="x", verbose=False),
    "too_long": lambda folder: utils.run("sleep 60", timeout=0.01, ignore_status=True, verbose=False),
    "parallel": lambda folder: utils.run_parallel(["true"] * 2),
    "job": lambda folder: jobs.append(job()),
    "memory": lambda folder: in_memory(),
    "mac": lambda folder: virt_utils.generate_mac_address("vm", 0),
    "log": logged,
    "wait": lambda folder: utils.signal_pid(1, 0) if os.geteuid() else processes.wait_end(os.getpid(), 0),
    "machine": lambda folder: machines.append(Process(["sleep", "60"])),
    "new_folders": lambda folder: transfer._make_folders("%s/%d/b" % (folder, time.monotonic_ns()), True),
}
jobs, machines = [], []


@pytest.mark.timeout(600)       # hundreds of processes are started, beside four other suites
@pytest.mark.parametrize("name", LEAVES_NOTHING)
def test_nothing_is_left_wherever_a_signal_comes(name, tmp_path):
    def call():
        with contextlib.suppress(error.CmdError):
            LEAVES_NOTHING[name](tmp_path)

    def left():
        with contextlib.suppress(error.CmdError):
            while jobs:                 # what its maker has
                utils.join_bg_jobs([jobs.pop()], 0)
        while machines:
            machines.pop().close()
        virt_utils.close_log_file()
        return left_since(known, descriptors)

    known = children()                  # servers of other tests
    call()
    descriptors = {str(fd) for fd in range(1024)}
    left()                              # ends what the first one made
    descriptors = set(os.listdir("/proc/self/fd"))
    try:
        assert lost(call, lambda: TimeoutError("time is over"), left, [subprocess.__file__]) == []
    finally:
        left()                          # ends what the last one made


def test_handlers_that_wait_are_called_in_their_order():
    called = []

    def handler(signum, frame):
        called.append((signum, frame is sys._getframe(1)))

    def raising(signum, frame):
        called.append(signum)
        raise TimeoutError(signum)

    numbers = [signal.SIGUSR2, signal.SIGALRM, signal.SIGUSR1, signal.SIGTERM]
    old = {number: signal.signal(number, handler) for number in numbers}
    try:
        signal.signal(signal.SIGALRM, raising)
        signal.signal(signal.SIGUSR1, raising)
        with signals.held() as handlers:
            with signals.held() as inner:
                for number in numbers[:3] * 2:
                    signal.raise_signal(number)
                inner.deliver()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)       # which stays
            assert not called
            with pytest.raises(TimeoutError) as caught:
                handlers.deliver()
            assert called == [(signal.SIGUSR2, True), signal.SIGALRM, signal.SIGUSR1]
            assert caught.value.args == (signal.SIGUSR1,) and caught.value.__context__.args == (signal.SIGALRM,)
            assert signals.is_handlers(caught.value)
            signal.raise_signal(signal.SIGUSR2)
            assert len(called) == 4
        assert [signal.getsignal(number) for number in numbers] == [handler, raising, raising, signal.SIG_IGN]
    finally:
        for number in numbers:
            signal.signal(number, old[number])


def test_only_the_main_threads_handlers_wait():
    before = signal.getsignal(signal.SIGINT)
    found = []

    def look():
        with signals.held():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]


# ---- handlers that let go of their frame ----

def forgetful():
    def deleted(signum, frame):
        del signum, frame
        raise TimeoutError("deleted")

    def rebound(signum, frame):
        frame = frame.f_code.co_name
        raise TimeoutError(frame)

    class Object:
        def method(self, *args):
            del args
            raise TimeoutError("method")

        def __call__(self, signum, frame):
            frame = None
            raise TimeoutError(frame)

    return {"deleted": deleted, "rebound": rebound, "method": Object().method, "object": Object(),
            "partial": functools.partial(functools.partial(lambda one, *args: deleted(*args), 1)),
            "partial_method": functools.partial(Object().method)}


@pytest.mark.parametrize("shape", forgetful())
@pytest.mark.parametrize("is_held", [False, True])
def test_a_handler_that_lets_go_of_its_frame_is_known(shape, is_held, monkeypatch):
    def stat(pid):
        time_out()
        raise FileNotFoundError(errno.ENOENT, "gone", str(pid))

    def time_out():
        signal.raise_signal(signal.SIGALRM)
        time.sleep(0)

    monkeypatch.setattr(processes, "stat", stat)
    calls = [lambda: utils.pid_is_alive(os.getpid()), lambda: utils.process_is_alive("nobody")]
    old = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        for call in calls:
            assert call() is False
        signal.signal(signal.SIGALRM, forgetful()[shape])
        for call in calls:
            with pytest.raises(TimeoutError), signals.held() if is_held else contextlib.nullcontext() as handlers:
                try:
                    time_out()          # waits, if it is held
                    if is_held:
                        handlers.deliver()
                except TimeoutError as e:
                    signals.let_out(e)
            with pytest.raises(TimeoutError):
                call()
    finally:
        signal.signal(signal.SIGALRM, old)


def test_a_value_error_of_a_handlers_is_no_text(tmp_path):
    class Text(str):
        def __float__(self):
            signal.raise_signal(signal.SIGALRM)
            return float(str(self))

    def handler(signum, frame):
        raise ValueError("of the handler's")

    assert utils._number_or_text("1x") == "1x"
    old = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(ValueError, match="of the handler's"):
            utils._number_or_text(Text("1.5"))
    finally:
        signal.signal(signal.SIGALRM, old)


# ---- no other way ----

OSERRORS = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, OSError)}
TAKE_ALL = OSERRORS | {"Exception", "BaseException"}

# Where a handler's exception is not lost, or where none runs: file and function.
EXPLAINED = {
    ("autotest/python2/files.py", "__del__"): "what is raised in a __del__ has nowhere to go",
    ("autotest/tests/virt_env_process.py", "_run"): "a thread",
    ("autotest/tests/virt_env_process.py", "do"): "kept, and raised when all is done",
    ("autotest/tests/virt_test_utils.py", "_run_control"): "another exception is on its way",
    ("boot_progress.py", "_draw"): "a thread",
    ("companions/virt_utils.py", "run"): "a thread; kept, and raised by join()",
    ("host/processes.py", "watch"): "a thread",
    ("hypervisors/monitor.py", "_serve"): "a thread",
    ("hypervisors/monitor.py", "_take"): "a thread",
    ("session/callbacks.py", "_call"): "a thread",
    ("signals.py", "_told"): "calls let_out by its name",
    ("signals.py", "__enter__"): "is looked at, and raised if it was a handler's",
    ("signals.py", "makedirs"): "calls let_out by its name",
    ("threads.py", "_start"): "a thread",
}


def caught(node):
    if node is None:
        return {"BaseException"}
    if isinstance(node, ast.Tuple):
        return set().union(*map(caught, node.elts))
    return {node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")}


def lets_out(handler):
    """Whether it raises what it caught again, or has signals.let_out look at it."""
    def is_it(statement):
        text = ast.unparse(statement)
        return text == "raise" or text.startswith("signals.let_out(")
    return any(map(is_it, handler.body))


def takers(path):
    def visit(node, function, is_ours):
        for child in ast.iter_child_nodes(node):
            inner, ours = function, is_ours
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                inner, ours = child.name, isinstance(child, ast.FunctionDef)    # async: the monitors' own thread
            if ours and isinstance(child, ast.ExceptHandler) and caught(child.type) & TAKE_ALL and not lets_out(child):
                yield function, child.lineno
            if ours and isinstance(child, ast.Call) and ast.unparse(child.func) in (
                    "contextlib.suppress", "suppress") and set().union(*map(caught, child.args)) & TAKE_ALL:
                yield function, child.lineno
            yield from visit(child, inner, ours)
    yield from visit(ast.parse(path.read_text()), "", True)


def test_whatever_takes_an_error_of_the_systems_lets_a_handlers_out():
    root = pathlib.Path(virtvm.__file__).parent
    bad, used = [], set()
    for path in sorted(root.rglob("*.py")):
        for function, line in takers(path):
            where = str(path.relative_to(root)), function
            if where in EXPLAINED:
                used.add(where)
            else:
                bad.append("%s:%d in %s" % (where[0], line, function))
    assert not bad
    assert used == set(EXPLAINED)


def test_files_are_looked_for_by_our_functions():
    root = pathlib.Path(virtvm.__file__).parent
    names = ["os.path." + name for name in ("exists", "lexists", "isfile", "isdir", "islink", "realpath")]
    names.append("os.makedirs")
    bad = ["%s:%d" % (path.relative_to(root), node.lineno) for path in sorted(root.rglob("*.py"))
           if path.name != "_unbuilt.py"        # which is there where there is no package to speak of
           for node in ast.walk(ast.parse(path.read_text()))
           if isinstance(node, ast.Attribute) and ast.unparse(node) in names]
    assert not bad
