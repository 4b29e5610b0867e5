"""Transfers that something ends in the middle: what they raise, and what is left then."""

import contextlib
import filecmp
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from support.netns import Namespace
from support.scripted import Scripted, relay
from support.sshd import Account, Sshd
from support.waiting import LONG, due, interrupt, when_waiting
from virtvm import _session
from virtvm.companions import transfer
from virtvm.companions.exceptions import SCPTransferFailedError, SCPTransferTimeoutError

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root: mounts, accounts and namespaces")
LARGE = 1 << 30         # a hole: takes a second or more on its way, and no room


class Place:
    """A server, by one engine: copy("to" or "from", source, target)."""

    def __init__(self, server, engine):
        self.server, self.engine = server, engine

    def copy(self, direction, source, target, **keywords):
        keywords.setdefault("timeout", LONG)
        server = self.server
        getattr(transfer, "scp_%s_remote" % direction)(
            server.host, server.port, server.user, server.password or "", str(source), str(target),
            ssh_identity_file=server.key, transfer_engine=self.engine, **keywords)


@pytest.fixture(scope="module")
def sshd():
    server = Sshd()
    yield server
    server.stop()


@pytest.fixture(params=["sftp", "scp"])
def place(sshd, request):
    return Place(sshd, request.param)


@pytest.fixture
def sides(tmp_path):
    """Folders with a large file, and with an old target."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    with open(source / "file", "wb") as f:
        f.truncate(LARGE)
    (target / "file").write_text("old")
    return source, target


def assert_untouched(target):
    assert os.listdir(target) == ["file"] and (target / "file").read_text() == "old"


def once(function):
    """A progress callback that calls the function when bytes begin to move."""
    done = []

    def progress(name, moved, total):
        if not done and moved > 0:
            done.append(moved)
            function()

    return progress


# A disk that is full

@pytest.fixture
def small_disk(tmp_path):
    if os.getuid() != 0:
        pytest.skip("needs root: mounts")
    folder = tmp_path / "small disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=True)
    (folder / "file").write_text("old")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("direction", ["to", "from"])
def test_full_disk_keeps_the_old_file_and_says_which_one_failed(place, small_disk, tmp_path, direction):
    source = tmp_path / "file"
    source.write_bytes(os.urandom(3 << 20))
    with pytest.raises(SCPTransferFailedError) as info:
        place.copy(direction, source, small_disk)
    assert info.value.filename == str(source) and 0 < info.value.bytes <= 3 << 20
    text = str(info.value)
    # SFTP version 3 knows of no full disk: OpenSSH's says "failure".
    assert "No space left" in text or (place.engine, direction) == ("sftp", "to") and "failure" in text
    assert_untouched(small_disk)


@pytest.mark.once
@pytest.mark.parametrize("direction", ["to", "from"])
def test_full_disk_in_a_tree_leaves_no_part_of_a_file(place, small_disk, tmp_path, direction):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "fits").write_text("fits")
    (tree / "large").write_bytes(os.urandom(3 << 20))
    with pytest.raises(SCPTransferFailedError, match="large"):
        place.copy(direction, tree, small_disk)
    assert sorted(os.listdir(small_disk)) == ["file", "tree"]
    for path in (small_disk / "tree").iterdir():        # if it came before the other one
        assert (path.name, path.read_text()) == ("fits", "fits")


# Permissions

@needs_root
@pytest.mark.parametrize("engine", ["sftp", "scp"])
def test_what_the_account_may_not_do(engine, tmp_path):
    account = Account()
    server = Sshd(account=account)
    folder = Path(tempfile.mkdtemp(prefix="virtvm-remote-"))
    try:
        folder.chmod(0o755)
        (folder / "file").write_text("old")
        (folder / "secret").write_text("secret")
        (folder / "secret").chmod(0o600)
        (tmp_path / "file").write_text("new")
        place = Place(server, engine)
        with pytest.raises(SCPTransferFailedError, match="[Pp]ermission denied") as info:
            place.copy("to", tmp_path / "file", folder)
        assert info.value.filename == str(tmp_path / "file") and info.value.bytes == 0
        with pytest.raises(SCPTransferFailedError, match="[Pp]ermission denied") as info:
            place.copy("from", folder / "secret", tmp_path / "file")
        assert info.value.filename == str(folder / "secret")
        assert (tmp_path / "file").read_text() == "new" and (folder / "file").read_text() == "old"
        assert sorted(os.listdir(folder)) == ["file", "secret"] and os.listdir(tmp_path) == ["file"]
    finally:
        server.stop()
        account.remove()
        shutil.rmtree(folder)


# A server that dies

@pytest.mark.once
@pytest.mark.parametrize("direction", ["to", "from"])
def test_server_process_killed_keeps_the_old_file_and_leaves_nothing(place, sides, direction):
    source, target = sides
    with pytest.raises(SCPTransferFailedError) as info:
        place.copy(direction, source / "file", target, progress=once(place.server.kill_sessions))
    assert "connection" in str(info.value) or "ended" in str(info.value)
    assert info.value.filename == str(source / "file") and info.value.bytes < LARGE
    assert_untouched(target)


@pytest.mark.once
def test_only_the_file_server_killed(place, sides):
    """The SSH connection lives on: what was left is removed over it."""
    def kill():
        server.kill("sftp-server|scp -r .*-t")

    source, target = sides
    server = Sshd("Subsystem sftp /usr/lib/openssh/sftp-server")
    try:
        with pytest.raises(SCPTransferFailedError, match="ended"):
            Place(server, place.engine).copy("to", source / "file", target, progress=once(kill))
    finally:
        server.stop()
    assert_untouched(target)


# A wire that is cut

@pytest.mark.once
@needs_root
@pytest.mark.parametrize("engine, direction", [("sftp", "to"), ("scp", "from")])
@pytest.mark.parametrize("keywords, words", [
    ({"transfer_stall_timeout": "0.4"}, "stalled"), ({"timeout": 1.5}, "time for the transfer is over")])
def test_host_that_vanishes(engine, direction, keywords, words, sides):
    source, target = sides
    namespace = Namespace()
    server = None
    try:
        server = Sshd(namespace=namespace)
        with due(0), pytest.raises(SCPTransferTimeoutError, match=words) as info:
            Place(server, engine).copy(direction, source / "file", target, progress=once(namespace.cut), **keywords)
        assert info.value.filename == str(source / "file") and 0 < info.value.bytes < LARGE
    finally:
        if server is not None:
            server.stop()
        namespace.close()
    assert (target / "file").read_text() == "old"
    if direction == "from":
        assert_untouched(target)
    else:                   # nobody could tell the host; the message says what is there
        left = [name for name in os.listdir(target) if name != "file"]
        assert len(left) == 1 and "could not remove %s" % (target / left[0]) in str(info.value)


# Ctrl-C

@pytest.mark.parametrize("direction", ["to", "from"])
def test_ctrl_c_ends_a_transfer_at_once_and_leaves_nothing(place, sides, direction):
    source, target = sides
    with pytest.raises(KeyboardInterrupt) as info, contextlib.ExitStack() as stack:
        place.copy(direction, source / "file", target,
                   progress=once(lambda: stack.enter_context(when_waiting(interrupt, looks=20))))
    told = getattr(info.value, "left", None)
    if told is not None and told.count == 1:        # a busy server had no time to remove it
        (left,) = set(os.listdir(target)) - {"file"}
        assert os.path.basename(told.names[0]) == left
        os.unlink(target / left)
    assert_untouched(target)


def test_callback_is_not_called_again_after_its_exception(sshd, tmp_path):
    """A large upload counts what its second connection has sent after the end, too."""
    source, calls = tmp_path / "file", []
    with open(source, "wb") as f:
        f.truncate(LARGE)

    def progress(name, moved, total):
        calls.append(moved)
        if moved > 16 << 20:
            time.sleep(0.2)         # so that the next word is due
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _session.put(sshd.host, sshd.port, sshd.user, "", (os.fsencode(source),), os.fsencode(tmp_path / "target"),
                     identity_file=sshd.key, engine="sftp", progress=progress)
    assert len([moved for moved in calls if moved > 16 << 20]) == 1


def test_exception_of_a_callback_ends_a_transfer_and_leaves_nothing(place, sides):
    def fail():
        raise ZeroDivisionError

    source, target = sides
    for direction in ("to", "from"):
        with pytest.raises(ZeroDivisionError):
            place.copy(direction, source / "file", target, progress=once(fail))
        assert_untouched(target)


# A large upload's second connection

@pytest.mark.once
@pytest.mark.parametrize("most", [None, 0, 2500, 4500])
def test_large_upload_is_whole_whatever_becomes_of_its_second_connection(sshd, tmp_path, most):
    """most: bytes that the second one gets from the server before it ends; None: all."""
    source, target = tmp_path / "file", tmp_path / "target"
    source.write_bytes(os.urandom(66 << 20))
    target.write_text("old")
    seen = []

    def script(peer, number):
        seen.append(number)
        relay(peer, sshd, port.stopped, most if number == 1 else None)

    with Scripted(script) as port:
        transfer.scp_to_remote(sshd.host, port.port, sshd.user, "", str(source), str(target),
                               ssh_identity_file=sshd.key, timeout=60)
    assert filecmp.cmp(source, target, shallow=False)
    assert seen == ([0, 1] if (os.cpu_count() or 1) > 1 else [0])
    assert sorted(os.listdir(tmp_path)) == ["file", "target"]
