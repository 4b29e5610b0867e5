"""Every call that a module makes fails once, in turn: `make faults`.

For each scenario and kind of call a process of its own runs the scenario with the n-th call
failing, for n = 0, 1, 2... until a run ends in which none failed.  Each run must end within its
time, in success or with a documented exception, and leave nothing behind; then the scenario must
pass in the same process.  How many points there are may not shrink: floor.json.

Usage: inject.py [SCENARIO[:KIND]]...
"""

import ctypes
import errno
import faulthandler
import gc
import itertools
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from concurrent import futures

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.dirname(os.path.dirname(HERE))]

from support.rss_server import RssServer  # noqa: E402
from support.sshd import Account, Sshd  # noqa: E402
from virtvm import _session  # noqa: E402
from virtvm.companions import aexpect, exceptions, rss_client, transfer, virt_utils  # noqa: E402

PROMPT = r"[\#\$]\s*$"
LIMIT = 60.0                # seconds for a run, on a busy machine
DOCUMENTED = (exceptions.LoginError, exceptions.ShellError, exceptions.ExpectError, exceptions.SCPError,
              MemoryError, OSError, _session.EngineError, rss_client.FileTransferError)
FLOOR = os.path.join(HERE, "floor.json")

PY_NULL, PY_MINUS, ALLOC, SYS_MINUS, SYS_NULL = range(5)
PYTHON_NULL = """
    PyUnicode_FromString PyUnicode_FromFormat PyUnicode_DecodeUTF8 PyUnicode_FSConverter PyUnicode_AsUTF8
    PyUnicode_AsUTF8AndSize PyObject_GetAttrString PyObject_GetAttr PyObject_CallFunctionObjArgs
    PyObject_CallFunction _PyObject_CallFunction_SizeT PyObject_CallMethod _PyObject_CallMethod_SizeT
    PyObject_Call PyObject_CallNoArgs PyLong_FromLong PyLong_FromUnsignedLong PyLong_FromUnsignedLongLong
    PyLong_FromSize_t PyTuple_New PyDict_New PyList_New PyList_AsTuple PyImport_ImportModule
    PyBytes_FromStringAndSize PyBytes_FromString PyBytes_FromFormat PySequence_Fast Py_BuildValue
    _Py_BuildValue_SizeT PyMem_Calloc PyMem_Malloc PyObject_GC_New _PyObject_GC_New PyWeakref_NewRef
    PyArg_ParseTuple _PyArg_ParseTuple_SizeT PyArg_ParseTupleAndKeywords _PyArg_ParseTupleAndKeywords_SizeT"""
PYTHON_MINUS = """
    PyObject_SetAttrString PyObject_SetAttr PyObject_IsTrue PyDict_SetItem PyList_Append PyList_SetSlice
    PyBytes_AsStringAndSize PyObject_AsFileDescriptor"""
ALLOCATE = "malloc calloc realloc strdup strndup"
SYSTEM = """
    open open64 openat openat64 __open_2 __open64_2 read write pread pread64 pwrite pwrite64 recv send sendmsg
    recvmsg poll epoll_ctl epoll_create1 eventfd socket connect getsockopt setsockopt fcntl fcntl64 ioctl
    fork ftruncate ftruncate64 fstat fstat64 stat stat64 tcgetattr tcsetattr posix_openpt grantpt
    unlockpt pipe2 memfd_create dup2 syscall __poll_chk __recv_chk __read_chk __pread_chk __pread64_chk
    mkostemp mkostemp64 pthread_create renameat renameat2 mkdirat unlinkat futimens utimensat fchmod fchmodat
    getaddrinfo getsockname getpeername bind listen accept4 socketpair readlinkat fstatat fstatat64 fsync
    symlinkat linkat waitpid waitid kill"""
SYSTEM_NULL = "fopen fopen64 fdopendir opendir readdir readdir64 fgets"
# Of those that give NULL only these: after the others libssh2's own last error is asked for.
LIBSSH2_NULL = "libssh2_session_init_ex libssh2_knownhost_init"
LIBSSH2_MINUS = """
    libssh2_session_handshake libssh2_userauth_password_ex libssh2_userauth_publickey_fromfile_ex
    libssh2_userauth_publickey_frommemory libssh2_userauth_publickey
    libssh2_userauth_keyboard_interactive_ex libssh2_channel_request_pty_ex libssh2_channel_process_startup
    libssh2_channel_read_ex libssh2_channel_write_ex libssh2_channel_send_eof libssh2_session_method_pref
    libssh2_session_banner_set libssh2_channel_wait_closed libssh2_session_disconnect_ex
    libssh2_channel_request_pty_size_ex libssh2_channel_receive_window_adjust2"""
KINDS = {
    "alloc": [(ALLOCATE, ALLOC)],
    "python": [(PYTHON_NULL, PY_NULL), (PYTHON_MINUS, PY_MINUS)],
    "system": [(SYSTEM, SYS_MINUS), (SYSTEM_NULL, SYS_NULL)],
    "libssh2": [(LIBSSH2_NULL, SYS_NULL), (LIBSSH2_MINUS, SYS_MINUS)],
}


def load():
    """The injector, compiled."""
    path = os.path.join(tempfile.gettempdir(), "virtvm-fail-%d.so" % os.getpid())
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-O1", "-o", path,
                    os.path.join(HERE, "fail.c"), "-ldl"], check=True)
    library = ctypes.PyDLL(path)
    os.unlink(path)
    library.fail_name.restype = ctypes.c_char_p
    library.fail_disarm.restype = ctypes.c_long
    library.fail_arm.argtypes = [ctypes.c_long, ctypes.c_int]
    library.fail_patch.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
    return library


# ---- scenarios ----

class Scenarios:
    def __init__(self, server, folder, rss_server):
        self.server, self.folder, self.rss_server = server, folder, rss_server
        self.home = server.account.home if server.account else folder
        self.copies = itertools.count()

    def log_in(self, **keywords):
        s = self.server
        return virt_utils.remote_login("ssh", s.host, s.port, s.user, s.password or "", PROMPT,
                                       ssh_identity_file=s.key, timeout=8, **keywords)

    def local(self):
        with aexpect.ShellSession("exec bash --norc --noprofile") as session:
            assert session.cmd("echo hi") == "hi\n"
            assert session.cmd_status_output("(exit 3)") == (3, "")
            assert session.is_alive() and "hi" in session.get_output()
            session.sendline("echo a")
            session.read_nonblocking(0.02)

    def start(self):
        with aexpect.Expect("echo hi") as session:
            session.read_until_any_line_matches(["^hi$"], timeout=20)

    def news(self):
        lines = []
        with aexpect.ShellSession("exec bash --norc --noprofile", output_func=lines.append) as session:
            session.cmd("echo hi", print_func=lines.append)

    def login(self):
        with self.log_in(log_filename=os.path.join(self.folder, "log")) as session:
            assert session.cmd("echo hi") == "hi\n"
            assert session.run("cat; exit 4", input="x", timeout=10).status == 4
            session._engine.resize(30, 90)


    # copies: what has its final name is whole, whatever failed

    def tree(self):
        """A small tree (path), and its files by their names below it."""
        path = os.path.join(self.folder, "tree")
        files = {"a": b"a" * 10, "b": b"b" * 70000, "in/c": b""}
        if not os.path.exists(path):
            os.makedirs(path + "/in")
            for name, data in files.items():
                with open(os.path.join(path, name), "wb") as f:
                    f.write(data)
        return path, files

    def copied(self, copy, target, in_place=False):
        """Runs copy() to a target (path).  in_place: the far end knows no other way to write."""
        files = self.tree()[1]
        shutil.rmtree(target, ignore_errors=True)
        done = False
        try:
            copy()
            done = True
        finally:
            for name, data in files.items():
                path = os.path.join(target, name)
                if done or (os.path.exists(path) and not in_place):
                    with open(path, "rb") as f:
                        assert f.read() == data, name

    def by_ssh(self, function, folder, engine):
        s, target = self.server, os.path.join(folder, "copy-%d" % os.getppid())
        self.copied(lambda: function(s.host, s.port, s.user, s.password or "", self.tree()[0], target,
                                     ssh_identity_file=s.key, transfer_engine=engine, timeout=8), target)

    def put(self, engine="sftp"):
        self.by_ssh(transfer.scp_to_remote, self.home, engine)

    def get(self, engine="sftp"):
        self.by_ssh(transfer.scp_from_remote, self.folder, engine)

    def put_scp(self):
        self.put("scp")

    def get_scp(self):
        self.get("scp")

    def rss(self):
        """Up and down again; under a new name each time, since the server may still make what one before asked for."""
        name, port = "copy-%d-%d" % (os.getpid(), next(self.copies)), self.rss_server.port
        there, here = os.path.join(self.folder, "drive", name), os.path.join(self.folder, name)
        self.copied(lambda: rss_client.upload("127.0.0.1", port, self.tree()[0], "C:\\" + name, timeout=8), there,
                    in_place=True)
        self.copied(lambda: rss_client.download("127.0.0.1", port, "C:\\" + name, here, timeout=8), here)

    def keep(self):
        """Start, a command, and the same session by its id."""
        session = None
        try:
            session = aexpect.ShellSession("exec bash --norc --noprofile", auto_close=False)
            assert session.cmd("echo hi") == "hi\n"
            again = aexpect.ShellSession(id=session.id)
            assert again.cmd("echo again") == "again\n"
        finally:
            if session is not None:
                session.close()


PLAN = """
    login:system login:alloc put:alloc get:alloc put_scp:alloc get_scp:alloc put:system get:system
    put:python put:libssh2 login:libssh2 login:python news:alloc news:python local:alloc local:python start:alloc
    start:python start:system keep:alloc keep:python keep:system rss:alloc rss:python rss:system"""


class Keeper:
    """Keeps a keeper alive, in processes of its own."""

    HOLD = "from virtvm.companions import aexpect; print(aexpect.Spawn('sleep 100000', auto_close=False).id)"
    CLOSE = "import sys; from virtvm.companions import aexpect; aexpect.Spawn(id=sys.argv[1]).close()"

    def __enter__(self):
        top = os.path.dirname(os.path.dirname(HERE))
        self.id = subprocess.run([sys.executable, "-c", self.HOLD], cwd=top, stdout=subprocess.PIPE, text=True,
                                 check=True).stdout.strip()
        return self

    def left(self):
        """The keeper's other processes, after some time to go away; in words."""
        holder = aexpect.Spawn(id=self.id).get_pid()
        with open("/proc/%d/stat" % holder) as f:
            keeper = f.read().rpartition(")")[2].split()[1]
        end = time.monotonic() + 10
        while True:
            with open("/proc/%s/task/%s/children" % (keeper, keeper)) as f:
                others = [pid for pid in f.read().split() if pid != str(holder)]
            if not others or time.monotonic() > end:
                return ["left in the keeper: %s" % pid for pid in others]
            time.sleep(0.02)

    def __exit__(self, *exc):
        top = os.path.dirname(os.path.dirname(HERE))
        subprocess.run([sys.executable, "-c", self.CLOSE, self.id], cwd=top, check=True)


# ---- one run ----

def descriptors():
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + number)
        except OSError:
            continue
        if not target.startswith("anon_inode:[event"):      # of the module's threads, once
            found[number] = target
    return found


def children():
    with open("/proc/self/task/%d/children" % threading.get_native_id()) as f:
        return f.read().split()


def left_behind(before):
    """What the run has left, after some time to go away."""
    end = time.monotonic() + 5
    _session._drop_places()             # a login that failed leaves its connection to the next
    while True:
        gc.collect()
        left = [target for number, target in descriptors().items() if before.get(number) != target]
        left += ["thread " + t.name for t in threading.enumerate() if t is not threading.main_thread()]
        left += ["process " + pid for pid in children()]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.02)


def attempt(injector, scenario, call):
    """The scenario with that call failing; what went wrong, in words, or ""; how many calls."""
    before, wrong = descriptors(), ""
    injector.fail_arm(call, errno.ENOBUFS)        # EIO is how a terminal hangs up
    try:
        scenario()
    except DOCUMENTED:
        pass
    except BaseException as e:
        wrong = "%s: %s (line %d)" % (type(e).__name__, e, e.__traceback__.tb_next.tb_lineno)
    calls = injector.fail_disarm()
    failed = injector.fail_name().decode()
    left = left_behind(before)
    if left:
        wrong += " left behind: %s" % left
    if not wrong and failed:
        try:
            scenario()
        except BaseException as e:
            wrong = "afterwards %s: %s" % (type(e).__name__, e)
    return {"calls": calls, "failed": failed, "wrong": wrong}


def run(injector, scenario, call):
    """attempt() in a process of its own."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.close(out)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2) if "VIRTVM_TRACE" not in os.environ else None
        faulthandler.dump_traceback_later(LIMIT - 5, exit=True)
        os.write(into, json.dumps(attempt(injector, scenario, call)).encode())
        os._exit(0)
    os.close(into)
    data = b""
    if select.select([out], [], [], LIMIT)[0]:
        data = os.read(out, 65536)
    os.close(out)
    if not data:
        os.killpg(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if data:
        return json.loads(data)
    return {"calls": 0, "failed": "?", "wrong": "crashed, or did not end: status %#x" % status}


def every_call(injector, name, kind, scenario):
    """(points, failures in words)."""
    wrong, call = [], 0
    while True:
        result = run(injector, scenario, call)
        if result["wrong"]:
            wrong.append("%s:%s call %d, %s: %s" % (name, kind, call, result["failed"], result["wrong"]))
        if not result["failed"]:
            return call, wrong
        call += 1


def in_process(name, kind, scenario):
    """every_call() where only calls of that kind are patched."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        injector = load()
        for names, how in KINDS[kind]:
            injector.fail_patch(b"_session.cpython", " ".join(names.split()).encode(), how)
        with os.fdopen(into, "w") as f:
            json.dump(every_call(injector, name, kind, scenario), f)
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as f:
        text = f.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def one(scenarios, key, floor):
    """One scenario and kind; failures in words."""
    name, kind = key.split(":")
    began = time.monotonic()
    points, wrong = in_process(name, kind, getattr(scenarios, name))
    if points < floor.get(key, 0):
        wrong.append("%s: %d points, there were %d" % (key, points, floor[key]))
    line = "%-16s %4d points, at least %d, %5.1f s, %d wrong" % (key, points, floor.get(key, 0),
                                                               time.monotonic() - began, len(wrong))
    print("\n".join([line] + wrong), flush=True)
    return wrong


def go(scenarios, chosen, floor):
    """All scenarios, two at a time; failures in words."""
    keys = [key for key in PLAN.split() if not chosen or key in chosen or key.split(":")[0] in chosen]
    scenarios.tree()
    with futures.ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda key: one(scenarios, key, floor), keys), [])


def main(chosen):
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with open(FLOOR) as f:
        floor = json.load(f)
    account = Account() if os.getuid() == 0 else None
    server = Sshd(account=account)
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            for name in ("drive", "state"):
                os.mkdir(os.path.join(folder, name), 0o700)
            os.environ["VIRTVM_STATE_DIR"] = os.path.join(folder, "state")
            with Keeper() as keeper, RssServer(os.path.join(folder, "drive")) as rss_server:
                bad = go(Scenarios(server, folder, rss_server), chosen, floor)
                left = keeper.left()
                print("\n".join(left), end="\n" * bool(left))
                bad += left
    finally:
        server.stop()
        if account is not None:
            account.remove()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(set(sys.argv[1:])))
