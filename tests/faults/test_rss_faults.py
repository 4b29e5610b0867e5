"""Windows guests' file servers that fail, lie, stall and hang up, and what is left then."""

import errno
import os
import socket
import subprocess
import sys

import pytest
from support import rss_server
from support.rss_server import RssServer, file, folder, greet, packet, word
from support.scripted import Scripted, black_hole, reset
from support.waiting import due, when_waiting
from virtvm.companions import rss_client

CHUNK = rss_client.CHUNKSIZE
BIG = 40 << 20              # more than any socket buffer takes
DONE, OK, LEAVE = word(rss_server.DONE), word(rss_server.OK), word(rss_server.LEAVE_DIR)


def download(server, target, **keywords):
    rss_client.download("127.0.0.1", server.port, "C:\\x", os.fspath(target), **keywords)


def sending(*parts, then=None):
    """A server that answers a download with these bytes, and hangs up, or does something then."""
    def script(peer, number):
        greet(peer)
        peer.sendall(b"".join(parts))
        if then is not None:
            then(peer)
        else:
            peer.shutdown(socket.SHUT_WR)
            peer.recv(1)
    return Scripted(script)


def names(folder):
    """All paths below a folder."""
    return sorted(os.path.relpath(os.path.join(top, name), folder)
                  for top, folders, files in os.walk(folder) for name in folders + files)


def big_file(folder):
    path = folder / "big"
    with open(path, "wb") as f:
        f.truncate(BIG)
    return path


# ---- connecting ----

def test_refused_unreachable_and_unknown(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with pytest.raises(rss_client.FileTransferConnectError) as info:
        rss_client.FileUploadClient("127.0.0.1", port)
    e = info.value
    assert e.msg == "Cannot connect to server at 127.0.0.1:%d" % port and e.e.errno == errno.ECONNREFUSED
    assert e.__cause__ is e.e and e.stage == "connect"
    with black_hole() as port, pytest.raises(rss_client.FileTransferConnectError, match="timed out") as info:
        rss_client.FileUploadClient("127.0.0.1", port, timeout=0.3)
    assert isinstance(info.value.e, OSError)
    with pytest.raises(rss_client.FileTransferConnectError, match="Cannot connect to server at no.such.host.invalid:1"):
        rss_client.FileUploadClient("no.such.host.invalid", 1)


CLOSED = "Connection closed unexpectedly while receiving data from server"


@pytest.mark.parametrize("script, kind, msg", [
    (lambda peer, n: peer.sendall(b"SSH-2\r\n"), rss_client.FileTransferConnectError, "Received wrong magic number"),
    (lambda peer, n: None, rss_client.FileTransferProtocolError, CLOSED),
    (lambda peer, n: peer.sendall(b"SS"), rss_client.FileTransferProtocolError, CLOSED),
    (lambda peer, n: reset(peer), rss_client.FileTransferSocketError,
     "Error receiving data from server"),
])
def test_no_such_server(script, kind, msg):
    with Scripted(script) as server, pytest.raises(rss_client.FileTransferError) as info:
        rss_client.FileDownloadClient("127.0.0.1", server.port)
    # A busy client may hear of the reset before it hears that it is connected.
    early = kind is rss_client.FileTransferSocketError and "reset by peer" in str(info.value)
    assert early or type(info.value) is kind and info.value.msg == msg


def test_silent_server():
    with Scripted(lambda peer, n: server.stay()) as server:
        with due(0.2), pytest.raises(rss_client.FileTransferConnectError) as info:
            rss_client.FileDownloadClient("127.0.0.1", server.port, timeout=0.2)
        assert info.value.msg == "Timeout expired while waiting to receive magic number"


# ---- timeouts ----

@pytest.mark.parametrize("parts", [[], [file(b"f", b"x" * 100)[:2]], [file(b"f", b"x" * 100)[:-50]],
                                   [file(b"f", b"x")], [folder(b"d", file(b"f"))[:-4]]])
@pytest.mark.parametrize("how", ["timeout", "stall_timeout"])
def test_silence_during_a_download(parts, how, tmp_path):
    with sending(*parts, then=lambda peer: server.stay()) as server:
        with due(0.2), pytest.raises(rss_client.FileTransferTimeoutError) as info:
            download(server, tmp_path / "new", **{how: 0.2})
        assert info.value.msg == "Timeout expired while receiving data from server"
    assert ("no byte moved" in str(info.value)) == (how == "stall_timeout")
    assert names(tmp_path) == []


def test_a_byte_now_and_then_does_not_keep_it_alive(tmp_path):
    def drip(peer):
        for byte in file(b"f", b"x" * 1000):
            peer.sendall(bytes([byte]))
            server.stopped.wait(0.02)

    with sending(then=drip) as server, pytest.raises(rss_client.FileTransferTimeoutError):
        download(server, tmp_path / "new", timeout=0.4)
    assert names(tmp_path) == []


def test_a_server_that_does_not_read(tmp_path):
    def script(peer, number):
        peer.sendall(word(rss_server.MAGIC))
        server.stay()

    with Scripted(script) as server, pytest.raises(rss_client.FileTransferTimeoutError) as info:
        rss_client.upload("127.0.0.1", server.port, str(big_file(tmp_path)), "C:\\x", timeout=0.3)
    assert info.value.msg == "Timeout expired while sending data to server"
    assert info.value.filename == str(tmp_path / "big")


def test_a_server_that_never_says_that_it_has_all(tmp_path):
    (tmp_path / "f").write_bytes(b"1")

    def script(peer, number):
        peer.sendall(word(rss_server.MAGIC))
        while peer.recv(65536):
            pass

    with Scripted(script) as server, pytest.raises(rss_client.FileTransferTimeoutError) as info:
        rss_client.upload("127.0.0.1", server.port, str(tmp_path / "f"), "C:\\x", timeout=0.2)
    assert info.value.msg == "Timeout expired while receiving data from server"


# ---- the server's words ----

def test_guests_disk_is_full(tmp_path):
    """The words come while the client is still sending, with a reset behind them."""
    drive = tmp_path / "drive"
    drive.mkdir()
    for _ in range(5):
        with RssServer(drive, full_after=300000) as server:
            client = rss_client.FileUploadClient("127.0.0.1", server.port)
            with pytest.raises(rss_client.FileTransferServerError) as info:
                client.upload(big_file(tmp_path), "C:\\x")
            assert info.value.e == "RSS_CREATE_FILE: error receiving or writing file contents"
            with pytest.raises(rss_client.FileTransferSocketError):
                client.upload(big_file(tmp_path), "C:\\x")


def test_words_just_before_a_reset(tmp_path):
    def script(peer, number):
        peer.sendall(word(rss_server.MAGIC))
        peer.recv(100)
        peer.sendall(rss_server.error(b"no \xff"))
        reset(peer) if number else peer.close()

    with Scripted(script) as server:
        for _ in range(2):
            with pytest.raises(rss_client.FileTransferError) as info:
                rss_client.upload("127.0.0.1", server.port, str(big_file(tmp_path)), "C:\\x")
            if isinstance(info.value, rss_client.FileTransferServerError):
                assert info.value.e == "no \udcff" and "Server said: 'no \\udcff'" in str(info.value)
            else:                   # a reset may overtake the words
                assert info.value.msg == "Could not send data to server"


def test_a_hang_up_without_a_word(tmp_path):
    def script(peer, number):
        peer.sendall(word(rss_server.MAGIC))
        peer.recv(100000)
        peer.close()

    with Scripted(script) as server, pytest.raises(rss_client.FileTransferSocketError) as info:
        rss_client.upload("127.0.0.1", server.port, str(big_file(tmp_path)), "C:\\x")
    assert info.value.msg == "Could not send data to server" and isinstance(info.value.e, OSError)
    assert info.value.filename == str(tmp_path / "big")


def test_words_during_a_download(tmp_path):
    (tmp_path / "old").write_bytes(b"old")
    with sending(file(b"f", b"1"), rss_server.error(b"FindNextFile failed")) as server:
        with pytest.raises(rss_client.FileTransferServerError, match="FindNextFile failed"):
            download(server, tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"old" and names(tmp_path) == ["old"]


def test_words_without_end(tmp_path):
    with sending(word(rss_server.ERROR), word(0xffffffff), b"x" * 100000) as server:
        with pytest.raises(rss_client.FileTransferServerError) as info:
            download(server, tmp_path)
    assert len(info.value.e) <= 1024


# ---- whole or absent ----

TREE = (folder(b"d", file(b"a", b"1" * 10), folder(b"sub", file(b"b", b"2" * CHUNK)), file(b"c")) + DONE)

ALL = ["there/d", "there/d/a", "there/d/c", "there/d/sub", "there/d/sub/b"]


@pytest.mark.parametrize("target", ["new", "there"])
def test_a_download_cut_anywhere_leaves_nothing(target, tmp_path):
    """A new folder is there when all of it is; in one that was there, each file for itself."""
    cuts = list(range(0, 70, 3)) + [CHUNK, len(TREE) - 20, len(TREE) - 5, len(TREE) - 1]
    (tmp_path / "there").mkdir()
    script = iter(cuts)

    def serve(peer, number):
        greet(peer)
        peer.sendall(TREE[:next(script)])
        peer.shutdown(socket.SHUT_WR)
        peer.recv(1)

    with Scripted(serve) as server:
        for cut in cuts:
            with pytest.raises(rss_client.FileTransferProtocolError, match="closed unexpectedly"):
                download(server, tmp_path / target)
            whole = cut >= len(TREE) - 4 and target == "there"
            assert names(tmp_path) == ["there"] + (ALL if whole else [])


def test_a_cut_file_leaves_the_old_one(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    for target in (tmp_path / "f", tmp_path):
        with sending(file(b"f", b"x" * 2 * CHUNK)[:-4]) as server:
            with pytest.raises(rss_client.FileTransferProtocolError) as info:
                download(server, target)
        assert info.value.filename == str(tmp_path / "f") and info.value.bytes == 2 * CHUNK
        assert (tmp_path / "f").read_bytes() == b"old" and names(tmp_path) == ["f"]


def test_files_that_were_whole_stay(tmp_path):
    with sending(file(b"a", b"1"), file(b"b", b"x" * 100)[:-10]) as server:
        with pytest.raises(rss_client.FileTransferProtocolError):
            download(server, tmp_path)
    assert names(tmp_path) == ["a"]


def test_disk_is_full_here(tmp_path):
    if os.getuid() != 0:
        pytest.skip("mounting needs root")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", small], check=True)
    try:
        (small / "f").write_bytes(b"old")
        for data, target in ((file(b"f", b"x" * 3 * CHUNK), small), (folder(b"d", file(b"f", b"x" * 3 * CHUNK)), small),
                             (file(b"f", b"x" * 3 * CHUNK), small / "f")):
            with sending(data, DONE) as server, pytest.raises(rss_client.FileTransferError) as info:
                download(server, target)
            assert isinstance(info.value, OSError) and info.value.errno == errno.ENOSPC
            assert (small / "f").read_bytes() == b"old" and names(small) == ["f"]
    finally:
        subprocess.run(["umount", small], check=True)


def test_server_killed_during_a_download(tmp_path):
    with sending(file(b"f", b"x" * 100)[:-50], then=reset) as server:
        with pytest.raises(rss_client.FileTransferSocketError) as info:
            download(server, tmp_path)
    assert info.value.msg == "Error receiving data from server" and info.value.e.errno == errno.ECONNRESET
    assert names(tmp_path) == []


def test_closed_by_another_thread(tmp_path):
    with sending(file(b"f", b"x" * 100)[:-50], then=lambda peer: server.stay()) as server:
        client = rss_client.FileDownloadClient("127.0.0.1", server.port)
        with pytest.raises(rss_client.FileTransferSocketError, match="closed by another thread"), \
                when_waiting(client.close):
            client.download("x", tmp_path)
    assert names(tmp_path) == []


# ---- servers that are not to be trusted ----

@pytest.mark.parametrize("name", [
    b"", b".", b"..", b"../x", b"/tmp/x", b"a/b", b"..\\x", b"a\\b", b"C:x", b"a:stream", b"a\0b", b"a\nb",
    b"\x1b[2J", b"x" * 2000], ids=repr)
@pytest.mark.parametrize("make", [file, folder])
@pytest.mark.parametrize("inside", [False, True])
def test_names_that_are_none(name, make, inside, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    bad = make(name)
    with sending(folder(b"d", bad) if inside else bad, DONE) as server:
        with pytest.raises(rss_client.FileTransferProtocolError, match="Received unexpected msg"):
            download(server, target)
    assert names(tmp_path) == ["target"]


def test_a_name_too_long_for_this_machine(tmp_path):
    with sending(file(b"x" * 256), DONE) as server, pytest.raises(OSError) as info:
        download(server, tmp_path)
    assert info.value.errno == errno.ENAMETOOLONG and names(tmp_path) == []


@pytest.mark.parametrize("parts", [
    [LEAVE, file(b"f")], [folder(b"d"), LEAVE, file(b"f")], [OK], [word(rss_server.UPLOAD)], [word(0xffffffff)],
    [word(rss_server.CREATE_FILE), word(0xffffffff)], [word(rss_server.CREATE_DIR), word(1025)],
    [word(rss_server.CREATE_FILE), packet(b"f"), word(CHUNK + 1), b"x" * (CHUNK + 1)],
    [word(rss_server.CREATE_DIR), packet(b"d"), DONE],
], ids=range(9))
def test_messages_that_have_no_place(parts, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    with sending(*parts, DONE) as server:
        with pytest.raises(rss_client.FileTransferProtocolError, match="Received unexpected msg"):
            download(server, target)
    assert [name for name in names(tmp_path) if name != "target/d"] == ["target"]


def test_no_second_thing_beside_the_target(tmp_path):
    """The genuine client would write it into the folder that the target is in."""
    for parts in ([file(b"f"), file(b"g")], [folder(b"d"), file(b"g")], [file(b"f"), folder(b"d")]):
        with sending(*parts, DONE) as server, pytest.raises(rss_client.FileTransferError, match="no folder"):
            download(server, tmp_path / "target")
        assert names(tmp_path) == []


def test_links_in_the_target_are_not_followed(tmp_path):
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (tmp_path / "precious").write_bytes(b"old")
    (target / "link").symlink_to(outside)
    (target / "f").symlink_to(tmp_path / "precious")
    with sending(folder(b"link", file(b"x", b"1")), DONE) as server, pytest.raises(OSError) as info:
        download(server, target)
    assert info.value.errno in (errno.ELOOP, errno.ENOTDIR) and names(outside) == []
    with sending(file(b"f", b"new"), DONE) as server:
        download(server, target)
    assert (tmp_path / "precious").read_bytes() == b"old"
    assert (target / "f").read_bytes() == b"new" and not (target / "f").is_symlink()


def test_a_file_where_a_folder_is_and_the_reverse(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_bytes(b"old")
    os.mkfifo(tmp_path / "fifo")
    for parts, number in (([file(b"d")], errno.EISDIR), ([folder(b"f")], errno.ENOTDIR),
                          ([file(b"fifo")], errno.EMEDIUMTYPE)):
        with sending(*parts, DONE) as server, pytest.raises(OSError) as info:
            download(server, tmp_path)
        assert info.value.errno == number
    assert (tmp_path / "f").read_bytes() == b"old" and names(tmp_path) == ["d", "f", "fifo"]


def test_bounds_of_depth_files_and_bytes(tmp_path):
    deep = (word(rss_server.CREATE_DIR) + packet(b"d")) * 1000
    with sending(deep) as server, pytest.raises(rss_client.FileTransferError, match="deep"):
        download(server, tmp_path)
    bounds = {"max_files": 3, "max_bytes": 1000}
    with sending(*[file(b"f%d" % n) for n in range(4)], DONE) as server:
        with pytest.raises(rss_client.FileTransferError, match="more than 3 files"):
            download(server, tmp_path, **bounds)
    assert names(tmp_path) == ["f0", "f1", "f2"]
    with sending(file(b"g", b"x" * 1001), DONE) as server:
        with pytest.raises(rss_client.FileTransferError, match="more than 1000 bytes"):
            download(server, tmp_path, **bounds)
    assert names(tmp_path) == ["f0", "f1", "f2"]


def test_the_same_name_twice(tmp_path):
    with sending(folder(b"d", file(b"f", b"1"), file(b"f", b"2")), DONE) as server, pytest.raises(OSError) as info:
        download(server, tmp_path)
    assert info.value.errno == errno.EEXIST and names(tmp_path) == []


CLIENT = """
import resource, sys
from virtvm.companions import rss_client
def grown(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
copy, port, src, dst = sys.argv[1:]
getattr(rss_client, copy)("127.0.0.1", int(port), src + ".small", dst + ".small")
before = grown()
getattr(rss_client, copy)("127.0.0.1", int(port), src, dst)
print(grown() - before)
"""


def test_memory_stays_bounded(tmp_path):
    drive = tmp_path / "drive"
    drive.mkdir()
    (tmp_path / "big.small").write_bytes(b"1")
    with RssServer(drive) as server:
        for copy, src, dst in (("upload", big_file(tmp_path), "C:\\big"), ("download", "C:\\big", tmp_path / "back")):
            grown = subprocess.check_output([sys.executable, "-c", CLIENT, copy, str(server.port), str(src), str(dst)])
            assert int(grown) < 4096        # KiB
    assert (tmp_path / "back").stat().st_size == BIG
