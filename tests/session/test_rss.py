"""Files to and from Windows guests, over the protocol of their remote shell server."""

import contextlib
import errno
import inspect
import io
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import rss_server
from support.rss_server import RssServer
from support.scripted import Scripted
from support.waiting import BUSY, until, when_waiting
from virtvm.companions import rss_client, transfer
from virtvm.companions.exceptions import Left, TransferBadClientError

CHUNK = rss_client.CHUNKSIZE


class Guest:
    """A server, with its drive as a folder of this machine."""

    def __init__(self, server, drive):
        self.server, self.drive = server, drive

    def uploads(self, **keywords):
        return rss_client.FileUploadClient("127.0.0.1", self.server.port, **keywords)

    def downloads(self, **keywords):
        return rss_client.FileDownloadClient("127.0.0.1", self.server.port, **keywords)

    def put(self, *args, **keywords):
        rss_client.upload("127.0.0.1", self.server.port, *map(str, args), **keywords)

    def get(self, *args, **keywords):
        rss_client.download("127.0.0.1", self.server.port, *map(str, args), **keywords)


@pytest.fixture
def guest(tmp_path):
    drive = tmp_path / "drive"
    drive.mkdir()
    with RssServer(drive) as server:
        yield Guest(server, drive)


@pytest.fixture
def here(tmp_path):
    """A folder of this machine to copy from and to."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def make(folder, tree):
    """Makes {name: contents or tree} (names are bytes) in a folder (bytes)."""
    for name, value in tree.items():
        path = os.path.join(folder, name)
        if isinstance(value, dict):
            os.mkdir(path)
            make(path, value)
        else:
            with open(path, "wb") as f:
                f.write(value)


def read(folder):
    """The tree in a folder, as make() takes it."""
    tree = {}
    for entry in os.scandir(os.fsencode(folder)):
        if entry.is_dir(follow_symlinks=False):
            tree[entry.name] = read(entry.path)
        else:
            with open(entry.path, "rb") as f:
                tree[entry.name] = f.read()
    return tree


# ---- where things come to lie ----

@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 7])
def test_file_there_and_back(size, guest, here):
    data = os.urandom(size)
    (here / "f").write_bytes(data)
    guest.put(here / "f", "C:\\")
    assert read(guest.drive) == {b"f": data}
    guest.get("C:\\f", here / "back")
    assert (here / "back").read_bytes() == data


def test_upload_into_a_folder_and_to_a_new_name(guest, here):
    (guest.drive / "Temp").mkdir()
    (here / "f").write_bytes(b"1")
    make(os.fsencode(here), {b"dir": {b"x": b"2", b"empty": {}}})
    with guest.uploads() as client:
        client.upload(str(here / "f"), "%TEMP%")
        client.upload(str(here / "f"), "C:\\g")
        client.upload(here / "dir", "C:\\Temp\\")
        client.upload(here / "dir", "C:\\new")
    assert read(guest.drive) == {b"Temp": {b"f": b"1", b"dir": {b"x": b"2", b"empty": {}}}, b"g": b"1",
                                 b"new": {b"x": b"2", b"empty": {}}}
    assert guest.server.errors == []


def test_download_into_a_folder_and_to_a_new_name(guest, here):
    tree = {b"dir": {b"x": b"2", b"empty": {}}, b"f.txt": b"1", b"g.TXT": b"3"}
    make(os.fsencode(guest.drive), tree)
    with guest.downloads() as client:
        client.download("C:\\f.txt", here)
        client.download("C:\\dir", here / "new")
        client.download("C:\\dir", here)
        client.download("C:\\dir\\*", here)
        client.download("C:\\*.txt", here)
    assert read(here) == {b"f.txt": b"1", b"g.TXT": b"3", b"new": tree[b"dir"], b"dir": tree[b"dir"],
                          b"x": b"2", b"empty": {}}


def test_download_merges_and_keeps_what_else_is_there(guest, here):
    make(os.fsencode(guest.drive), {b"dir": {b"x": b"new", b"sub": {b"y": b"new"}}})
    make(os.fsencode(here), {b"dir": {b"x": b"old", b"z": b"old", b"sub": {}}})
    (here / "dir" / "x").chmod(0o640)
    guest.get("C:\\dir", here)
    assert read(here) == {b"dir": {b"x": b"new", b"z": b"old", b"sub": {b"y": b"new"}}}
    assert stat.S_IMODE((here / "dir" / "x").stat().st_mode) == 0o640


def test_download_through_a_link_that_the_caller_names(guest, here):
    (guest.drive / "f").write_bytes(b"1")
    (here / "link").symlink_to("real")
    guest.get("C:\\f", here / "link")
    assert (here / "real").read_bytes() == b"1" and (here / "link").is_symlink()


def test_several_files_need_a_folder(guest, here):
    make(os.fsencode(guest.drive), {b"a": b"1", b"b": b"2"})
    with pytest.raises(rss_client.FileTransferError, match="no folder"):
        guest.get("C:\\*", here / "one")
    assert read(here) == {}


def test_upload_leaves_out_what_the_protocol_has_nothing_for(guest, here):
    make(os.fsencode(here), {b"dir": {b"x": b"1", b"sub": {}}})
    folder = here / "dir"
    os.mkfifo(folder / "fifo")
    (folder / "nowhere").symlink_to("not there")
    (folder / "loop").symlink_to(".")
    (folder / "link").symlink_to("x")
    guest.put(folder, "C:\\")
    assert read(guest.drive) == {b"dir": {b"x": b"1", b"link": b"1", b"sub": {}}}
    with pytest.raises(rss_client.FileTransferError):
        guest.put(folder / "fifo", "C:\\")      # what is named is not left out
    assert list(read(guest.drive)) == [b"dir"]


def test_patterns_of_an_upload(guest, here):
    make(os.fsencode(here), {b"a.txt": b"1", b"b.txt": b"2", b".hidden": b"3", b"dir": {b".hidden": b"4"}})
    guest.put(here / "*", "C:\\")
    assert read(guest.drive) == {b"a.txt": b"1", b"b.txt": b"2", b"dir": {b".hidden": b"4"}}


def test_download_of_links_and_what_cannot_be_read(guest, here):
    make(os.fsencode(guest.drive), {b"dir": {b"x": b"1"}})
    (guest.drive / "dir" / "link").symlink_to("x")
    guest.get("C:\\dir", here)
    assert read(here) == {b"dir": {b"x": b"1"}}


def test_deep_tree(guest, here):
    tree = {b"f": b"deep"}
    for n in range(40):
        tree = {b"d": tree}
    make(os.fsencode(here), tree)
    guest.put(here / "d", "C:\\")
    guest.get("C:\\d", here / "back")
    assert read(here / "back") == tree[b"d"]


def test_ipv6(tmp_path, here):
    (here / "f").write_bytes(b"1")
    with RssServer(tmp_path, listen="::1") as server:
        rss_client.upload("::1", server.port, str(here / "f"), "C:\\g")
        rss_client.download("[::1]", server.port, "C:\\g", str(here / "back"))
    assert (here / "back").read_bytes() == b"1"


# ---- trees, generated ----

NAMES = st.one_of(
    st.text(st.characters(blacklist_characters='/\\:*?"<>|', blacklist_categories=("Cc", "Cs")), min_size=1,
            max_size=20).map(str.encode),
    st.binary(min_size=1, max_size=8).filter(lambda name: min(name) >= 0x20 and not set(name) & set(b'/\\:*?"<>|')),
).filter(lambda name: name not in (b".", b".."))
SIZES = st.one_of(st.integers(0, 200), st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK]))
FILES = st.tuples(SIZES, st.binary(min_size=1, max_size=4)).map(lambda pair: (pair[1] * (pair[0] + 1))[:pair[0]])
TREES = st.recursive(st.dictionaries(NAMES, FILES, max_size=5),
                     lambda trees: st.dictionaries(NAMES, st.one_of(FILES, trees), max_size=4), max_leaves=12)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=TREES)
def test_trees_there_and_back(tree, guest, here):
    for folder in (guest.drive, here):
        for name in os.listdir(folder):
            shutil.rmtree(folder / name)
    make(os.fsencode(here), {b"tree": tree})
    guest.put(here / "tree", "C:\\t")
    assert read(guest.drive) == {b"t": tree}
    guest.get("C:\\t", here / "back")
    assert read(here / "back") == tree


# ---- the interface ----

def parameters(function):
    return [(p.name, p.default) for p in inspect.signature(function).parameters.values()
            if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]


def test_signatures():
    none = inspect.Parameter.empty
    one_shot = [("address", none), ("port", none), ("src_pattern", none), ("dst_path", none), ("log_func", None),
                ("timeout", 60), ("connect_timeout", 20)]
    made = [("address", none), ("port", none), ("log_func", None), ("timeout", 20)]
    copy = [("src_pattern", none), ("dst_path", none), ("timeout", 600)]
    assert parameters(rss_client.upload) == parameters(rss_client.download) == one_shot
    assert parameters(rss_client.FileUploadClient) == parameters(rss_client.FileDownloadClient) == made
    assert parameters(rss_client.FileTransferClient) == made
    assert parameters(rss_client.FileUploadClient.upload) == copy
    assert parameters(rss_client.FileDownloadClient.download) == copy


def test_counting_what_was_transferred(guest, here):
    (here / "e").write_bytes(b"")
    (here / "two").write_bytes(b"x" * CHUNK)
    with guest.uploads() as client:
        client.upload(here / "e", "C:\\x")
        assert client.transferred == 17
        client.upload(here / "two", "C:\\y")
        up = 17 + 8 + 7 + 4 + CHUNK + 4
        assert client.transferred == up
    assert client.transferred == up
    with guest.downloads() as client:
        client.download("C:\\y", here / "back")
        assert client.transferred == 8 + 5 + 4 + CHUNK + 4


def test_base_client_says_no_direction():
    heard = []

    def script(peer, number):
        peer.sendall(rss_server.word(rss_server.MAGIC))
        heard.append(peer.recv(64))
        heard.append(peer.recv(64))

    with Scripted(script) as server:
        client = rss_client.FileTransferClient("127.0.0.1", server.port)
        client.close()
        client.close()
    assert heard == [rss_server.word(CHUNK), b""]


def test_what_goes_over_the_wire(here):
    make(os.fsencode(here), {b"d": {b"e": b"", b"c": b"x" * CHUNK}})
    heard = bytearray()
    wanted = [rss_server.folder(b"d", *entries) for files in [
        (rss_server.file(b"e"), rss_server.file(b"c", b"x" * CHUNK))] for entries in (files, files[::-1])]
    head = (rss_server.word(CHUNK) + rss_server.word(rss_server.UPLOAD) + rss_server.word(rss_server.SET_PATH)
            + rss_server.packet(b"C:\\\xff"))
    size = len(head) + len(wanted[0]) + 4

    def script(peer, number):
        peer.sendall(rss_server.word(rss_server.MAGIC))
        while len(heard) < size:
            heard.extend(peer.recv(65536))
        peer.sendall(rss_server.word(rss_server.OK))

    with Scripted(script) as server:
        rss_client.upload("127.0.0.1", server.port, str(here / "d"), "C:\\\udcff")
    assert bytes(heard) in [head + body + rss_server.word(rss_server.DONE) for body in wanted]


def test_log_lines(guest, here):
    make(os.fsencode(guest.drive), {b"dir": {b"x": b"1"}, b"f": b"2"})
    lines = []
    with guest.downloads(log_func=lines.append) as client:
        client.download("C:\\dir", here / "new")
        client.download("C:\\f", here)
    assert lines == ["Receiving file %s/new/x" % here, "Receiving file %s/f" % here]
    lines = []
    with guest.uploads(log_func=lines.append) as client:
        client.upload(str(here / "new" / ".." / "f"), "C:\\y")
    assert lines == ["Sending file %s/f" % here]


def test_rate_lines(monkeypatch, here):
    clock = iter(range(100, 200))
    monkeypatch.setattr(rss_client, "monotonic", lambda: next(clock))

    def script(peer, number):
        rss_server.greet(peer)
        data = rss_server.file(b"f", b"x" * 3 * CHUNK)
        for at in range(0, len(data), CHUNK):
            peer.sendall(data[at:at + CHUNK])
            server.stopped.wait(0.11)       # rates are told no more often
        peer.sendall(rss_server.word(rss_server.DONE))
        peer.recv(64)

    lines = []
    with Scripted(script) as server:
        rss_client.download("127.0.0.1", server.port, "f", str(here), lines.append)
    assert lines[0] == "Receiving file %s/f" % here and 2 <= len(lines) <= 4     # fewer if it read late
    assert lines[1].startswith("Received 0.") and lines[-1].startswith("Received 0.1")
    assert all(line.endswith(" MB/sec)") for line in lines[1:])
    progress = rss_client._Progress(lines.append, "Sent", 0)
    progress.moved(3 << 20, 3 << 20)
    assert lines[-1] == "Sent 3.000 MB (3.000 MB/sec)"


def test_an_exception_of_the_log_function_ends_it(guest, here):
    (guest.drive / "f").write_bytes(b"2")

    def complain(line):
        raise ZeroDivisionError

    client = guest.downloads(log_func=complain)
    with pytest.raises(ZeroDivisionError):
        client.download("C:\\f", here)
    with pytest.raises(rss_client.FileTransferSocketError, match="Could not send data to server"):
        client.download("C:\\f", here)
    assert read(here) == {}


def test_not_found(guest, here):
    client = guest.uploads()
    with pytest.raises(rss_client.FileTransferNotFoundError) as info:
        client.upload(str(here / "no*"), "C:\\")
    assert info.value.msg == "Pattern %s/no* does not match any files or directories" % here
    with pytest.raises(rss_client.FileTransferSocketError):
        client.upload(str(here / "no*"), "C:\\")
    client = guest.downloads()
    with pytest.raises(rss_client.FileTransferNotFoundError) as info:
        client.download("C:\\no*", here)
    assert info.value.msg == "Pattern C:\\no* does not match any files or directories that could be downloaded"
    with pytest.raises(rss_client.FileTransferSocketError):
        client.download("C:\\no*", here)


def test_server_errors(guest, here):
    (here / "f").write_bytes(b"1")
    with pytest.raises(rss_client.FileTransferServerError) as info:
        guest.put(here / "f", "C:\\" + "x" * 600)
    e = info.value
    assert e.e == e.error == "RSS_SET_PATH: could not receive path, or path too long"
    assert e.args == (None, e.e, None) and e.msg is None and e.port == guest.server.port
    assert str(e).startswith("Server said: %r" % e.e)
    again = pickle.loads(pickle.dumps(e))
    assert type(again) is type(e) and again.args == e.args and str(again) == str(e) and again.e == e.e


def test_exceptions_as_they_were():
    e = rss_client.FileTransferError("msg")
    assert (e.args, e.msg, e.e, e.filename, str(e)) == (("msg", None, None), "msg", None, None, "msg")
    e = rss_client.FileTransferSocketError("msg", OSError("gone"), "/f")
    assert str(e) == "msg    (error: gone,    filename: /f)"
    assert str(rss_client.FileTransferError("msg", "why")) == "msg    (why)"
    assert str(rss_client.FileTransferError("msg", filename="/f")) == "msg    (filename: /f)"
    e = rss_client.FileTransferServerError("it's bad")
    assert str(e) == 'Server said: "it\'s bad"' and e.args == (None, "it's bad", None)
    e.filename = "f"
    assert str(e) == 'Server said: "it\'s bad"    (filename: f)'
    e.error = "other"
    assert e.e == "other"
    kinds = [rss_client.FileTransferConnectError, rss_client.FileTransferTimeoutError,
             rss_client.FileTransferProtocolError, rss_client.FileTransferSocketError,
             rss_client.FileTransferServerError, rss_client.FileTransferNotFoundError]
    assert all(kind.__base__ is rss_client.FileTransferError for kind in kinds)


def test_local_failures_are_os_errors_too(guest, here):
    (guest.drive / "f").write_bytes(b"1")
    with pytest.raises(rss_client.FileTransferError) as info:
        guest.get("C:\\f", here / "no" / "f")
    assert isinstance(info.value, FileNotFoundError) or info.value.errno == 2
    again = pickle.loads(pickle.dumps(info.value))
    assert again.errno == 2 and again.filename == info.value.filename and str(again) == str(info.value)
    with pytest.raises(OSError):
        guest.get("C:\\f", here / "no" / "f")


def test_unreadable_file(guest):
    """A regular file that can be opened, and not read."""
    with pytest.raises(OSError) as info:
        guest.put("/proc/self/mem", "C:\\x")
    assert isinstance(info.value, rss_client.FileTransferLocalError) and info.value.filename == "/proc/self/mem"
    assert info.value.errno == errno.EIO and info.value.e.errno == errno.EIO


def test_devices_are_no_targets(guest):
    (guest.drive / "f").write_bytes(b"1")
    with pytest.raises(rss_client.FileTransferError, match="no regular file"):
        guest.get("C:\\f", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


# ---- by way of the collaborators ----

def test_copy_files(guest, here, caplog):
    (here / "f").write_bytes(b"1")
    caplog.set_level("DEBUG")
    where = ("127.0.0.1", "rss", "Administrator", "secret", guest.server.port)
    transfer.copy_files_to(*where, str(here / "f"), "C:\\g", timeout=2 * BUSY)
    assert caplog.messages == []
    transfer.copy_files_from(*where, "C:\\g", str(here / "back"), verbose=True, timeout=2 * BUSY)
    assert (here / "back").read_bytes() == b"1"
    assert caplog.messages == ["Receiving file %s/back" % here]
    with pytest.raises(TransferBadClientError):
        transfer.copy_files_to("127.0.0.1", "ftp", "u", "p", 1, "a", "b")


def test_command_line(guest, here):
    (here / "f").write_bytes(b"1")

    def run(*args):
        return subprocess.run([sys.executable, "-m", "virtvm.companions.rss_client", *map(str, args)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    done = run("-u", "-v", "127.0.0.1", guest.server.port, here / "f", "C:\\g")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Sending file %s/f\n" % here, "")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert rss_client.main(["-d", "127.0.0.1", str(guest.server.port), "C:\\g", str(here / "back")]) == 0
    assert (here / "back").read_bytes() == b"1" and out.getvalue() == ""
    done = run("-d", "-t", "5", "127.0.0.1", guest.server.port, "C:\\no", here)
    assert done.returncode == 1 and done.stderr.startswith("rss_client: Pattern C:\\no does not match")
    assert len(done.stderr.splitlines()) == 1


def test_command_line_shows_no_name_raw(here, capsys):
    name = "a\x9b2J\u202eb\x85c\x7f"

    def script(peer, number):
        rss_server.greet(peer)
        peer.sendall(rss_server.folder(name.encode(), rss_server.file(name.encode(), b"1")) + rss_server.word(9))
        server.stay()

    with Scripted(script) as server:
        assert rss_client.main(["-v", "-d", "127.0.0.1", str(server.port), "C:\\*", str(here)]) == 0
    out, err = capsys.readouterr()
    assert (here / name / name).read_bytes() == b"1" and err == ""
    assert out.startswith("Receiving file ") and out.count("\n") == 1 and out[:-1].isprintable()


def test_interrupt(guest, here):
    """Ctrl-C ends it at once, and closes the connection."""
    def script(peer, number):
        rss_server.greet(peer)
        peer.sendall(rss_server.file(b"f", b"x" * 100)[:-50])
        server.stay()

    def on_alarm(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        with Scripted(script) as server:
            client = rss_client.FileDownloadClient("127.0.0.1", server.port)
            with pytest.raises(KeyboardInterrupt), when_waiting(os.kill, os.getpid(), signal.SIGALRM):
                client.download("x", here)
            with pytest.raises(rss_client.FileTransferSocketError):
                client.download("x", here)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert read(here) == {}


def test_an_interrupt_says_what_is_left_from_the_begin_on():
    """While the server is waited for, too; the name says so by its kind."""
    def handler(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with Scripted(lambda peer, number: peer.recv(1)) as server:
            with pytest.raises(KeyboardInterrupt) as info, when_waiting(os.kill, os.getpid(), signal.SIGALRM):
                rss_client.FileUploadClient("127.0.0.1", server.port)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert getattr(info.value, "left", Left(0, ())) == Left(0, ()) and str(getattr(info.value, "left", "")) == ""


def test_progress_is_told(guest, here):
    (here / "f").write_bytes(b"x" * 5)
    seen = []
    where = ("127.0.0.1", "rss", "u", "p", guest.server.port)
    transfer.copy_files_to(*where, [str(here / "f")], "C:\\g", progress=lambda *args: seen.append(args))
    transfer.copy_files_from(*where, "C:\\g", str(here / "back"), progress=lambda *args: seen.append(args))
    assert seen == [("", 5, 5), ("", 5, 5)]


def test_the_servers_nagle_algorithm_is_not_waited_for(guest, here):
    """The server sends a packet in two pieces; unacknowledged, the second would come 40 ms late."""
    (guest.drive / "f").write_bytes(b"1")
    with guest.downloads() as client:
        def is_quick():
            began = time.monotonic()
            client.download("C:\\f", here)
            return time.monotonic() - began < 0.03
        until(is_quick)         # else none ever is
