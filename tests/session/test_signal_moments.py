"""What a signal handler raises comes out of every call, at whichever of its lines, and of whatever kind it is."""

import ast
import builtins
import contextlib
import errno
import gc
import os
import pathlib
import signal
import socket
import time
import weakref

import pytest
from support.moments import lost

import virtvm
from virtvm import signals
from virtvm.companions import aexpect, secrets, utils, virt_utils
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


# ---- no other way ----

OSERRORS = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, OSError)}
TAKE_ALL = OSERRORS | {"Exception", "BaseException"}

# Where a handler's exception is not lost, or where none runs: file and function.
EXPLAINED = {
    ("autotest/python2/files.py", "__del__"): "what is raised in a __del__ has nowhere to go",
    ("autotest/virt_env_process.py", "_run"): "a thread",
    ("autotest/virt_env_process.py", "do"): "kept, and raised when all is done",
    ("autotest/virt_test_utils.py", "_run_control"): "another exception is on its way",
    ("companions/_process.py", "watch"): "a thread",
    ("companions/virt_utils.py", "run"): "a thread; kept, and raised by join()",
    ("hypervisors/monitor.py", "_serve"): "a thread",
    ("hypervisors/monitor.py", "_take"): "a thread",
    ("session/callbacks.py", "_call"): "a thread",
    ("signals.py", "_mode"): "calls let_out by its name",
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
    names = ["os.path." + name for name in ("exists", "lexists", "isfile", "isdir", "islink")]
    bad = ["%s:%d" % (path.relative_to(root), node.lineno) for path in sorted(root.rglob("*.py"))
           if path.name != "_unbuilt.py"        # which is there where there is no package to speak of
           for node in ast.walk(ast.parse(path.read_text()))
           if isinstance(node, ast.Attribute) and ast.unparse(node) in names]
    assert not bad
