"""Trees of any kind arrive as they are: names of any bytes, modes, sizes, links, holes."""

import contextlib
import itertools
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from virtvm.companions import transfer
from virtvm.companions.exceptions import SCPTransferFailedError

pytestmark = pytest.mark.once         # the C core with many trees

LETTERS = [bytes([c]) for c in range(1, 256) if c != 0x2f]
FILE_MODES = [0o400, 0o444, 0o600, 0o644, 0o666, 0o755, 0o4755, 0o2711, 0o1644]
FOLDER_MODES = [0o755, 0o700, 0o555, 0o500, 0o777, 0o1777, 0o2755]
MASK = os.umask(0o022)
os.umask(MASK)
NUMBERS = itertools.count()
SIZES = [0, 1, 4095, 4096, 32767, 32768, 65537, 261120, 261121]

# A line break in a folder's name is beyond scp: test_transfers.py has what happens then.
plain = st.lists(st.sampled_from([c for c in LETTERS if c != b"\n"]), min_size=1, max_size=12).map(b"".join)
any_name = st.one_of(plain, st.lists(st.sampled_from(LETTERS), min_size=1, max_size=12).map(b"".join),
                     st.sampled_from([b"x" * 255, b"\xff\xfe", b"~", b"-r", b"*", b"a\nb", b"\\^J", b"'\"$(id)`id`"]))


def is_name(name):
    return name not in (b".", b"..") and b".vt-" not in name


files = st.tuples(st.sampled_from(FILE_MODES), st.sampled_from(SIZES), st.integers(0, 255))
trees = st.recursive(
    st.dictionaries(any_name.filter(is_name), files, max_size=4).map(lambda d: (0o755, d)),
    lambda inner: st.tuples(st.sampled_from(FOLDER_MODES), st.builds(
        lambda a, b: {**a, **b}, st.dictionaries(any_name.filter(is_name), files, max_size=4),
        st.dictionaries(plain.filter(is_name), inner, max_size=3))), max_leaves=8)


def build(path, tree):
    mode, entries = tree
    os.mkdir(path)
    for name, what in entries.items():
        there = os.path.join(path, name)
        if isinstance(what[1], dict):
            build(there, what)
            continue
        with open(there, "wb") as f:
            f.write(bytes([what[2]]) * what[1])
        os.chmod(there, what[0])
    os.chmod(path, mode)


def seen(path, mask):
    """The tree that is there: what build made."""
    entries = {}
    for name in os.listdir(path):
        there = os.path.join(path, name)
        info = os.lstat(there)
        if stat.S_ISDIR(info.st_mode):
            entries[name] = seen(there, mask)
            continue
        with open(there, "rb") as f:
            data = f.read()
        assert data == data[:1] * len(data)
        entries[name] = (stat.S_IMODE(info.st_mode) & mask, len(data), data[0] if data else None)
    return stat.S_IMODE(os.lstat(path).st_mode) & mask, entries


def expected(tree, mask):
    mode, entries = tree
    return mode & mask, {name: expected(what, mask) if isinstance(what[1], dict)
                         else (what[0] & mask, what[1], what[2] if what[1] else None)
                         for name, what in entries.items()}


def remove(path):
    for folder, folders, _ in os.walk(path):
        for name in folders:
            with contextlib.suppress(OSError):
                os.chmod(os.path.join(folder, name), 0o700)
    os.chmod(path, 0o700)
    shutil.rmtree(path)


class Place:
    def __init__(self, server, engine):
        self.server, self.engine = server, engine

    def copy(self, direction, source, target, **keywords):
        server = self.server
        getattr(transfer, "scp_%s_remote" % direction)(
            server.host, server.port, server.user, server.password or "", os.fsdecode(source), os.fsdecode(target),
            ssh_identity_file=server.key, transfer_engine=self.engine, **keywords)


@pytest.fixture(scope="module", params=["sftp", "scp"])
def place(sshd, request):
    return Place(sshd, request.param)


@pytest.fixture(scope="module")
def there():
    """A folder on the server that its account may write to."""
    folder = Path(tempfile.mkdtemp(prefix="virtvm-remote-"))
    folder.chmod(0o777)
    yield folder
    remove(folder)


@settings(max_examples=20, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(tree=trees)
def test_any_tree_goes_up_and_comes_back(place, there, tmp_path, tree):
    number = next(NUMBERS)
    local, remote = tmp_path / ("tree %d" % number), there / ("tree %d" % number)
    build(os.fsencode(local), tree)
    try:
        place.copy("to", local, remote)
        assert seen(os.fsencode(remote), 0o7777) == expected(tree, 0o7777)
        place.copy("from", remote, tmp_path / "back")
        assert seen(os.fsencode(tmp_path / "back"), 0o7777) == expected(tree, 0o777 & ~MASK)
    finally:
        for path in (local, tmp_path / "back"):
            if path.exists():
                remove(path)


def test_over_a_tree_that_is_there(place, there, tmp_path):
    old, new = (0o755, {b"both": (0o600, 10, 1), b"old": (0o644, 5, 2), b"dir": (0o750, {b"x": (0o644, 1, 3)})}), \
        (0o700, {b"both": (0o644, 99, 4), b"new": (0o755, 7, 5), b"dir": (0o755, {b"y": (0o600, 2, 6)})})
    build(os.fsencode(tmp_path / "old"), old)
    build(os.fsencode(tmp_path / "new"), new)
    name = "over-%s" % place.engine
    place.copy("to", tmp_path / "old", there / name)
    place.copy("to", str(tmp_path / "new") + "/.", there / name)
    merged = (0o755, {b"both": (0o600, 99, 4), b"old": (0o644, 5, 2), b"new": (0o755, 7, 5),
                      b"dir": (0o750, {b"x": (0o644, 1, 3), b"y": (0o600, 2, 6)})})
    assert seen(os.fsencode(there / name), 0o7777) == merged
    place.copy("from", str(there / name) + "/.", tmp_path / "new")
    assert seen(os.fsencode(tmp_path / "new"), 0o777)[1].keys() == merged[1].keys()


def test_link_that_leads_back_to_a_folder_above_ends(place, there, tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "f").write_text("f")
    (tree / "loop").symlink_to("..")
    with pytest.raises(SCPTransferFailedError, match="loop"):
        place.copy("to", tree, there / ("loop-%s" % place.engine))
    assert (there / ("loop-%s" % place.engine) / "f").read_text() == "f"
    if place.engine == "sftp":      # an scp follows it until the path is too long
        shutil.rmtree(there / "loop-sftp" / "loop", ignore_errors=True)
        (there / "loop-sftp" / "again").symlink_to(".")
        with pytest.raises(SCPTransferFailedError, match="loop"):
            place.copy("from", there / "loop-sftp", tmp_path / "back")
        assert os.listdir(tmp_path / "back") == ["f"]


def test_files_whose_size_the_kernel_does_not_tell(place, there, tmp_path):
    place.copy("to", "/proc/version", there / ("version-%s" % place.engine))
    with open("/proc/version") as f:
        assert (there / ("version-%s" % place.engine)).read_text() == f.read()


def test_devices_as_targets(place, tmp_path):
    (tmp_path / "f").write_text("f")
    place.copy("to", tmp_path / "f", "/dev/null")
    place.copy("from", "/etc/passwd", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_list_of_files_and_one_that_fails_among_them(place, there, tmp_path):
    folder = there / ("list-%s" % place.engine)
    folder.mkdir()
    folder.chmod(0o777)
    for name in ("a", "b", "c d"):
        (tmp_path / name).write_text(name)
    (tmp_path / "b").unlink()
    with pytest.raises(SCPTransferFailedError, match="No such file") as info:
        place.copy("to", "%s %s '%s'" % (tmp_path / "a", tmp_path / "b", tmp_path / "c d"), folder)
    assert info.value.filename == str(tmp_path / "b")
    assert sorted(os.listdir(folder)) == ["a", "c d"]
