"""Copies of a tree over an old one while each step goes wrong in turn: each file is the old one or
the new one, whole; what is new is there whole, or not at all."""

import contextlib
import errno
import os
import re
import selectors
import shutil
import socket
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import fake_scp, fake_sftp, fault_scp, inject, rss_server
from support.rss_server import RssServer
from support.scripted import Scripted
from support.sshd import Sshd
from support.waiting import LONG
from virtvm.companions import rss_client, transfer
from virtvm.companions.exceptions import SCPError

pytestmark = pytest.mark.once         # the C core

OLD, NEW = b"old", b"new" * 30000
AT_ONCE = 4


def make(folder):
    """What is copied."""
    (folder / "new" / "sub").mkdir(parents=True)
    for name in ("f", "new/a", "new/sub/b"):
        (folder / name).write_bytes(NEW)
    (folder / "new" / "empty").touch()
    (folder / "new" / "zeros").write_bytes(bytes(8192))     # a hole, if it is left out: then it is cut to its size


def judge(folder, error, may_leave, lies=False):
    """What is in a folder that had f, the old one, before.

    A server that lies, and enters a folder that it said to refuse, has what comes next in there.
    """
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    left = [name for name in names if ".vt-" in (name.split("/")[0] if lies else name)]
    asides = [name for name in left if name.startswith(".f.vt-") and name.endswith(".old")]
    f = folder / "f"
    whole = (f.exists() and f.read_bytes() in (OLD, NEW)) or (may_leave and asides and error.left)
    new = not (folder / "new").exists() or all(
        (folder / name).read_bytes() == NEW for name in ("new/a", "new/sub/b") if (folder / name).exists())
    if error is None:
        return f.read_bytes() == NEW and (folder / "new/sub/b").exists() and not left
    told = not left or (may_leave and error.left.count > 0)
    return bool(whole and new and told)


class Bench:
    """A server with faults, and a place for each copy that goes wrong."""

    def __init__(self, module, line):
        self.top = Path(tempfile.mkdtemp(prefix="virtvm-faults-"))
        self.program = shutil.copy(module.__file__, self.top / "server.py")
        self.line, self.number = line, 0
        (self.top / "source").mkdir()
        make(self.top / "source")

    def close(self):
        shutil.rmtree(self.top, ignore_errors=True)

    def copy(self, direction, fault, may_leave, **keywords):
        """Whether all is as it should be, the error or None, and how many steps there were."""
        self.number += 1
        work = self.top / str(self.number)
        work.mkdir()
        (work / "fault").write_text(fault)
        (work / "target").mkdir()
        (work / "target" / "f").write_bytes(OLD)
        server = Sshd(self.line % (sys.executable, self.program, work / "fault"))
        function = transfer.scp_to_remote if direction == "to" else transfer.scp_from_remote
        error = None
        try:
            function(server.host, server.port, server.user, "", str(self.top / "source") + "/.",
                     str(work / "target"), ssh_identity_file=server.key, timeout=30,
                     transfer_stall_timeout=LONG if ENDS.search(fault) else 0.5, **keywords)
        except SCPError as e:
            error = e
        finally:
            server.stop()
        # What failed alone is told, and the rest is there: so "new" may lack what was named.
        fine = judge(work / "target", error, may_leave and direction == "to", lies="error" in fault)
        fired = (work / "fault").read_text() != fault
        state = sorted(str(path.relative_to(work / "target")) for path in (work / "target").rglob("*"))
        return fine, error, fired, state


@pytest.fixture(scope="module")
def sftp():
    bench = Bench(fake_sftp, "Subsystem sftp %s -I -S %s @%s")
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def scp():
    bench = Bench(fault_scp, "ForceCommand %s -I -S %s %s")
    yield bench
    bench.close()


# What these do is seen at once; to the others a server that is slow to start looks like a silent one.
ENDS = re.compile(r"how=(refuse|cut|garbage|error)( |$)")


def run_all(bench, direction, faults, may_leave, **keywords):
    """Each fault once, some at a time; those that did not come are left out."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda fault: bench.copy(direction, fault, may_leave, **keywords), faults))
    wrong = [(fault, str(error), state) for fault, (fine, error, _fired, state) in zip(faults, results) if not fine]
    assert not wrong, wrong
    return sum(fired for _fine, _error, fired, _state in results)


@pytest.mark.parametrize("direction, more, how", [
    (direction, more, how) for direction, more in [("to", ""), ("to", " plain"), ("from", "")]
    for how in ("refuse", "cut", "cut-short", "silent", "wrong-id")])
def test_each_sftp_request_goes_wrong(sftp, direction, more, how):
    # What ends all does so in the same way wherever it comes: a part of the places will do.
    step = {"refuse": 1, "cut": 1, "cut-short": 2, "silent": 4, "wrong-id": 6}[how]
    faults = ["at=%d how=%s%s%s" % (n, how, more, " then=plain" if more else "") for n in range(0, 37, step)]
    fired = run_all(sftp, direction, faults, how != "refuse" or bool(more), transfer_engine="sftp")
    assert fired > len(faults) // 2


@pytest.mark.parametrize("how", ["refuse", "cut", "silent", "garbage", "error"])
@pytest.mark.parametrize("direction", ["to", "from"])
def test_each_command_of_scp_goes_wrong(scp, direction, how):
    places = [0] if how == "refuse" else [0, 1, 3, 6, 9] if direction == "to" else [0, 10, 60, 90070, 200000]
    faults = ["%d %s %d" % (n, how, place) for n in range(4) for place in places]
    # Bytes of files have no sums in the protocol.
    verify = "yes" if how == "garbage" and direction == "from" else None
    fired = run_all(scp, direction, faults, how != "refuse" or direction == "to", transfer_engine="scp",
                    transfer_verify=verify)
    assert fired > len(faults) // 3


# ---- this machine's disk ----

LOCAL = """
import errno, os, shutil, sys
from support import inject
from virtvm.companions import transfer
from virtvm.companions.exceptions import SCPError
sys.path.insert(0, %r)
from test_copy_faults import judge, OLD
host, port, user, key, engine, source, target, function, error = sys.argv[1:]
from pathlib import Path
n = 0
while True:
    shutil.rmtree(target, ignore_errors=True)
    os.mkdir(target)
    (Path(target) / "f").write_bytes(OLD)
    inject.arm(function, target, n, getattr(errno, error))
    failure = None
    try:
        transfer.scp_from_remote(host, int(port), user, "", source + "/.", target, ssh_identity_file=key,
                                 transfer_engine=engine, transfer_sync="yes", transfer_sparse=function == "ftruncate",
                                 timeout=30)
    except SCPError as e:
        failure = e
    calls = inject.seen()
    inject.arm("", "", -1, 0)
    # A rename or removal that fails may leave something, which is told.
    if not judge(Path(target), failure, function in ("unlinkat", "renameat2")):
        print("wrong", n, failure, sorted(str(p) for p in Path(target).rglob("*")))
    if calls <= n:
        print("steps", n)
        break
    n += 1
""" % os.path.dirname(os.path.abspath(__file__))


@pytest.mark.skipif("VIRTVM_PYTHON" in os.environ, reason="preloads a library itself")
@pytest.mark.parametrize("function, error", [
    ("pwrite", "ENOSPC"), ("openat", "EACCES"), ("mkdirat", "ENOSPC"), ("ftruncate", "EIO"), ("fsync", "EIO"),
    ("close", "EIO"), ("renameat", "EACCES"), ("renameat2", "EIO"), ("fchmod", "EIO")])
@pytest.mark.parametrize("engine", ["sftp", "scp"])
def test_each_call_of_a_download_goes_wrong(tmp_path, engine, function, error):
    (tmp_path / "source").mkdir()
    make(tmp_path / "source")
    server = Sshd()
    try:
        told = inject.run(LOCAL, server.host, server.port, server.user, server.key, engine, tmp_path / "source",
                          tmp_path / "target", function, error)
    finally:
        server.stop()
    assert "wrong" not in told, told
    assert hasattr(errno, error) and int(told.split()[-1]) > 0


UPLOAD = """
import errno, os, shutil, sys
from pathlib import Path
from support import inject
from virtvm.companions import rss_client, transfer
from virtvm.companions.exceptions import SCPError
sys.path.insert(0, %r)
from test_copy_faults import judge, OLD
host, port, user, key, engine, source, top, function, error = sys.argv[1:]
n = 0
while True:
    target = top + str(n)           # a server of Windows' may still write into the last one
    os.mkdir(target)
    (Path(target) / "f").write_bytes(OLD)
    inject.arm(function, source, n, getattr(errno, error))
    failure = None
    try:
        if engine == "rss":
            rss_client.upload(host, int(port), [source + "/f", source + "/new"],
                              "C:\\\\" + os.path.basename(target), timeout=30)
        else:
            transfer.scp_to_remote(host, int(port), user, "", source + "/.", target, ssh_identity_file=key,
                                   transfer_engine=engine, timeout=30)
    except (SCPError, rss_client.FileTransferError) as e:
        failure = e
    calls = inject.seen()
    inject.arm("", "", -1, 0)
    hit = calls > n and function != "close"     # of a file that was read, nobody needs its word
    whole = engine == "rss" or judge(Path(target), failure, False)      # its protocol can't do more
    if not whole or (hit and failure is None):
        print("wrong", n, failure, sorted(str(p) for p in Path(target).rglob("*")))
    if calls <= n:
        print("steps", n, "" if failure is None else "wrong: %%s" %% failure)
        break
    n += 1
""" % os.path.dirname(os.path.abspath(__file__))


@pytest.mark.skipif("VIRTVM_PYTHON" in os.environ, reason="preloads a library itself")
@pytest.mark.parametrize("engine, function, error", [
    ("sftp", "pread", "EIO"), ("scp", "read", "EIO"), ("rss", "read", "EIO")] + [
    (engine, function, error) for engine in ("sftp", "scp", "rss")
    for function, error in (("openat", "EACCES"), ("readdir", "EIO"), ("close", "EIO"))])
def test_each_call_of_an_upload_goes_wrong(tmp_path, engine, function, error):
    make(tmp_path / "source")
    server = RssServer(tmp_path) if engine == "rss" else Sshd()
    place = ("127.0.0.1", server.port, "", "") if engine == "rss" else (
        server.host, server.port, server.user, server.key)
    try:
        told = inject.run(UPLOAD, *place, engine, tmp_path / "source", tmp_path / "target", function, error)
    finally:
        if engine == "rss":
            server.__exit__()
        else:
            server.stop()
    assert "wrong" not in told, told
    assert int(told.split("steps")[1].split()[0]) > 0


REMOVAL = """
import os, signal, sys, threading
from support import inject
from support.waiting import until
from virtvm.companions import rss_client, transfer
host, port, user, key, engine, source, target = sys.argv[1:]
inject.arm("unlinkat", target, -1, 0)
inject.slow(50)

def press():
    until(lambda: inject.seen() > 0)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
try:
    if engine == "rss":
        rss_client.download(host, int(port), "C:\\\\asked", target, stall_timeout=1)
    else:
        transfer.scp_from_remote(host, int(port), user, "", source, target, ssh_identity_file=key,
                                 transfer_engine=engine, transfer_stall_timeout=1)
except KeyboardInterrupt as e:
    print(e.left.count, *e.left.names)
"""


def serve_wide(peer, number):
    """Many files in a folder, and then nothing more."""
    rss_server.greet(peer)
    peer.sendall(rss_server.word(rss_server.CREATE_DIR) + rss_server.packet(b"asked")
                 + b"".join(rss_server.file(b"f%d" % n, b"x") for n in range(400)))
    peer.recv(1)                    # until the client hangs up


@contextlib.contextmanager
def wide_server(engine, folder):
    """What to call REMOVAL with: a server that falls silent amid a folder of many files."""
    if engine == "rss":
        with Scripted(serve_wide) as server:
            yield ("127.0.0.1", server.port, "", "")
        return
    (folder / "asked").mkdir()
    for n in range(400):
        (folder / "asked" / str(n)).write_bytes(b"x")
    (folder / "fault").write_text("folder-wide")
    server = Sshd("Subsystem sftp %s %s stall=900" % (sys.executable, fake_sftp.__file__) if engine == "sftp"
                  else "ForceCommand %s %s %s" % (sys.executable, fake_scp.__file__, folder / "fault"))
    try:
        yield (server.host, server.port, server.user, server.key)
    finally:
        server.stop()


@pytest.mark.skipif("VIRTVM_PYTHON" in os.environ, reason="preloads a library itself")
@pytest.mark.parametrize("engine", ["sftp", "scp", "rss"])
def test_ctrl_c_is_heard_while_a_large_tree_is_removed(tmp_path, engine):
    """How much there is to remove after the end of a download, the server has decided."""
    target = tmp_path / "target"
    target.mkdir()
    with wide_server(engine, tmp_path) as place:
        told = inject.run(REMOVAL, *place, engine, tmp_path / "asked", target)
    count, name = told.split()
    assert int(count) == 1 and name.startswith(".asked.vt-")
    assert os.listdir(target) == [name] and os.listdir(target / name)


RSS_DOWNLOAD = LOCAL.replace(
    "from virtvm.companions import transfer", "from virtvm.companions import rss_client").replace(
    "SCPError as e", "rss_client.FileTransferError as e").replace(
    """transfer.scp_from_remote(host, int(port), user, "", source + "/.", target, ssh_identity_file=key,
                                 transfer_engine=engine, transfer_sync="yes", transfer_sparse=function == "ftruncate",
                                 timeout=30)""",
    """rss_client.download(host, int(port), "C:\\\\source\\\\*", target, timeout=30)""")


@pytest.mark.skipif("VIRTVM_PYTHON" in os.environ, reason="preloads a library itself")
@pytest.mark.parametrize("function, error", [
    ("write", "ENOSPC"), ("openat", "EACCES"), ("mkdirat", "ENOSPC"), ("close", "EIO"), ("renameat", "EACCES"),
    ("renameat2", "EIO")])
def test_each_call_of_a_download_from_windows_goes_wrong(tmp_path, function, error):
    make(tmp_path / "source")
    with RssServer(tmp_path) as server:
        told = inject.run(RSS_DOWNLOAD, "127.0.0.1", server.port, "", "", "rss", tmp_path / "source",
                          tmp_path / "target", function, error)
    assert "wrong" not in told, told
    assert int(told.split()[-1]) > 0


# ---- a Windows guest that goes wrong at each point ----

def count(data, seen, most):
    """As much of the data as may pass."""
    passed = data[:max(0, most - seen[0])]
    seen[0] += len(data)
    return passed


def passing(server, direction, how, place, whole):
    """A script for support.scripted: bytes pass between a client and the server, until so many of the
    given direction ("up": the client's) have; whole gets how many there were in all."""
    def script(peer, number):
        seen = [0]
        with socket.create_connection(("127.0.0.1", server.port)) as there, selectors.DefaultSelector() as ready:
            ready.register(peer, selectors.EVENT_READ, ("up", there))
            ready.register(there, selectors.EVENT_READ, ("down", peer))
            while True:
                for key, _events in ready.select():
                    which, other = key.data
                    data = key.fileobj.recv(65536)
                    passed = count(data, seen, place) if which == direction else data
                    whole[0] = seen[0]
                    if passed:
                        other.sendall(passed)
                    if len(passed) < len(data) and how == "said":
                        peer.sendall(rss_server.error(b"gone wrong"))
                    if len(passed) < len(data) and how == "silent":
                        port.stay()
                    if not data or len(passed) < len(data):
                        return

    port = Scripted(script)
    return port


def rss_copy(work, direction, how, place):
    """(the error or None, how many bytes there were to pass) of a copy that goes wrong there."""
    whole, error = [0], None
    target = work / "target"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    (target / "f").write_bytes(OLD)
    with RssServer(work) as server, passing(server, "up" if direction == "to" else "down", how, place, whole) as port:
        try:
            if direction == "to":
                rss_client.upload("127.0.0.1", port.port, [str(work / "source" / "f"), str(work / "source" / "new")],
                                  "C:\\target", timeout=30, stall_timeout=0.2)
            else:
                rss_client.download("127.0.0.1", port.port, "C:\\source\\*", str(target), timeout=30,
                                    stall_timeout=0.2)
        except rss_client.FileTransferError as e:
            error = e
    return error, whole[0]


# Words amid a file's bytes would be bytes: the protocol has no sums.
@pytest.mark.parametrize("direction, how", [("to", "cut"), ("to", "said"), ("to", "silent"), ("from", "cut"),
                                            ("from", "silent")])
def test_each_part_of_a_copy_with_windows_goes_wrong(tmp_path, direction, how):
    (tmp_path / "source" / "new" / "sub").mkdir(parents=True)
    for name in ("f", "new/a", "new/sub/b", "new/empty"):
        (tmp_path / "source" / name).write_bytes(b"" if name == "new/empty" else b"new" * 10)
    error, size = rss_copy(tmp_path, direction, how, 1 << 30)
    assert error is None and size > 100
    small = [OLD, b"new" * 10]
    for place in range(0, size, {"cut": 1, "said": 5, "silent": 20}[how]):
        error, _size = rss_copy(tmp_path, direction, how, place)
        now = (tmp_path / "target" / "f").read_bytes()
        files = {str(path.relative_to(tmp_path / "target")): path.read_bytes()
                 for path in (tmp_path / "target").rglob("*") if path.is_file()}
        assert error is not None, place
        if direction == "from":         # its protocol can do no more on the way up than tell
            assert now in small and all(".vt-" not in name for name in files), (place, files)
            assert set(files) in ({"f"}, {"f", "new/a", "new/sub/b", "new/empty"}), (place, files)
