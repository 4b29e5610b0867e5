"""dropbear, the SSH server of small systems: generated trees, there and back, by both engines."""

import os
import shutil
import stat
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.dropbear import Dropbear
from virtvm.companions import transfer

pytestmark = pytest.mark.once         # the C core with another server


@pytest.fixture(scope="module")
def dropbear(account):
    if account is None:
        pytest.skip("passwords need an account of their own, which root alone can make")
    server = Dropbear(account)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def folder():
    """A folder that the server's account may write to."""
    path = tempfile.mkdtemp(prefix="virtvm-trees-")
    os.chmod(path, 0o777)
    yield os.fsencode(path)
    shutil.rmtree(path)


# A folder is (mode, {name: entry}), a file (mode, contents). SCP has no way to send a line
# break in a folder's name; the account must be able to read what it wrote.
NAMES = st.one_of(
    st.binary(min_size=1, max_size=12).map(lambda name: name.translate(bytes(
        ord("_") if byte in b"/\0\n" else byte for byte in range(256)))),
    st.text(min_size=1, max_size=60).map(lambda name: name.encode("utf-8", "surrogatepass").translate(None, b"/\0\n")),
    st.sampled_from([b"-", b"--", b"-r", b"~", b"*", b"a b", b"$(id)", b"`id`", b"'", b'"', b"\\", b"...", b"x" * 240]),
).filter(lambda name: name not in (b"", b".", b"..") and len(name) < 241)
SIZES = st.one_of(st.integers(0, 100), st.sampled_from([4096, 32768, 65536, 261120, 261121, 600000]))
FILES = st.tuples(st.integers(0, 0o777).map(lambda mode: mode | 0o400),
                  st.tuples(SIZES, st.binary(min_size=1, max_size=7)).map(lambda p: (p[1] * (p[0] + 1))[:p[0]]))


def folder_of(entries, most):
    return st.tuples(st.integers(0, 0o777).map(lambda mode: mode | 0o700),
                     st.dictionaries(NAMES, entries, max_size=most))


TREES = folder_of(st.recursive(FILES, lambda entries: folder_of(entries, 4), max_leaves=10), 5)


def make(path, entry):
    mode, what = entry
    if isinstance(what, dict):
        os.mkdir(path)
        for name, child in what.items():
            make(os.path.join(path, name), child)
    else:
        with open(path, "wb") as f:
            f.write(what)
    os.chmod(path, mode)


def read(path):
    st = os.lstat(path)
    if stat.S_ISDIR(st.st_mode):
        return stat.S_IMODE(st.st_mode), {name: read(os.path.join(path, name)) for name in os.listdir(path)}
    with open(path, "rb") as f:
        return stat.S_IMODE(st.st_mode), f.read()


def where(server):
    return server.host, server.port, server.user, server.password


@pytest.mark.parametrize("engine", ["sftp", "scp"])
def test_trees_there_and_back(engine, dropbear, folder):
    @settings(max_examples=10, deadline=None, database=None,
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(tree=TREES)
    def check(tree):
        here, there, back = (os.path.join(folder, name) for name in (b"here", b"there", b"back"))
        for path in (here, there, back):
            shutil.rmtree(path, ignore_errors=True)
        make(here, tree)
        transfer.scp_to_remote(*where(dropbear), os.fsdecode(here), os.fsdecode(there), timeout=60,
                               transfer_engine=engine)
        assert read(there) == tree
        mask = os.umask(0)              # all modes come back
        try:
            transfer.scp_from_remote(*where(dropbear), os.fsdecode(there), os.fsdecode(back), timeout=60,
                                     transfer_engine=engine)
        finally:
            os.umask(mask)
        assert read(back) == tree

    check()


def test_one_command_after_another(dropbear, folder):
    """dropbear closes a channel that has no process yet when another's process ends; so the
    commands of a transfer by SCP must not overlap. One in four met that."""
    here = os.path.join(os.fsdecode(folder), "one")
    with open(here, "wb") as f:
        f.write(b"1")
    for _ in range(15):
        transfer.scp_to_remote(*where(dropbear), here, here + " there", timeout=20, transfer_engine="scp")
