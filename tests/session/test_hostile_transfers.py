"""Servers that lie, by SFTP and by SCP: nothing lands elsewhere, nothing is left, all ends."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from support import fake_scp, fake_sftp
from support.sshd import Sshd
from virtvm.companions import transfer
from virtvm.companions.exceptions import SCPError, SCPTransferFailedError, SCPTransferTimeoutError

pytestmark = pytest.mark.once         # the C core before lying servers

OUTSIDE = Path("/tmp/virtvm-evil")


class Liar:
    """A server whose scp and SFTP server have the fault that was last set."""

    def __init__(self, make, engine):
        self.folder = Path(tempfile.mkdtemp(prefix="virtvm-liar-"))
        self.folder.chmod(0o777)
        self.fault_file = self.folder / "fault"
        module = {"scp": fake_scp, "sftp": fake_sftp}[engine]
        lines = {"scp": "ForceCommand %s %s %s", "sftp": "Subsystem sftp %s %s @%s"}[engine]
        self.server = make(lines % (sys.executable, module.__file__, self.fault_file))
        self.engine = engine

    def copy(self, direction, source, target, fault, **keywords):
        self.fault_file.write_text(fault)
        server, way = self.server, getattr(transfer, "scp_%s_remote" % direction)
        keywords.setdefault("timeout", 20)
        source = source if isinstance(source, list) else str(source)
        way(server.host, server.port, server.user, server.password or "", source, str(target),
            ssh_identity_file=server.key, transfer_engine=self.engine, **keywords)


@pytest.fixture(scope="module")
def servers():
    """Makes servers for the user who runs the tests, whose Python others might not see."""
    made = []

    def make(options):
        made.append(Sshd(options))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture(scope="module")
def scp(servers):
    liar = Liar(servers, "scp")
    yield liar
    shutil.rmtree(liar.folder)


@pytest.fixture(scope="module")
def sftp(servers):
    liar = Liar(servers, "sftp")
    yield liar
    shutil.rmtree(liar.folder)


@pytest.fixture
def here(tmp_path):
    """A target with an old file in it; what surrounds it must stay as it is."""
    (tmp_path / "around").mkdir()
    folder = tmp_path / "around" / "here"
    folder.mkdir()
    (folder / "asked").write_text("old")
    yield folder
    assert os.listdir(tmp_path) == ["around"] and os.listdir(tmp_path / "around") == ["here"]
    assert not OUTSIDE.exists()


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ---- SCP, downloads ----

@pytest.fixture
def asked(scp):
    """The path of a file on the server, which its shell sees."""
    path = scp.folder / "asked"
    path.write_text("real")
    yield path
    path.unlink()


@pytest.fixture
def asked_folder(scp):
    (scp.folder / "folder" / "asked").mkdir(parents=True)
    yield scp.folder / "folder" / "asked"
    shutil.rmtree(scp.folder / "folder")


@pytest.mark.parametrize("fault", ["other-name", "folder-instead", "up", "absolute", "empty-name", "dots",
                                   "long-name", "short", "long", "failed", "fatal", "negative-size",
                                   "enormous-size", "bad-mode", "bad-times", "leave", "nonsense", "nul",
                                   "nothing", "endless-line"])
def test_scp_that_sends_something_else_changes_nothing(scp, here, asked, fault):
    with pytest.raises(SCPTransferFailedError) as info:
        scp.copy("from", asked, here, fault)
    assert info.value.stage == "transfer" and len(str(info.value)) < 1000
    assert names(here) == ["asked"] and (here / "asked").read_text() == "old"


@pytest.mark.parametrize("fault", ["one-more", "twice"])
def test_scp_that_sends_more_than_was_asked_for(scp, here, asked, fault):
    with pytest.raises(SCPTransferFailedError, match="nobody asked"):
        scp.copy("from", asked, here, fault)
    assert names(here) == ["asked"] and (here / "asked").read_text() == "data"


def test_scp_that_complains_for_ever(scp, here, asked):
    with pytest.raises((SCPTransferFailedError, SCPTransferTimeoutError)):
        scp.copy("from", asked, here, "endless-complaint", timeout=5)
    assert (here / "asked").read_text() == "old"


def test_scp_folder_stays_in_the_target(scp, here, asked_folder):
    (here / "asked").unlink()
    with pytest.raises(SCPTransferFailedError, match="could lie elsewhere"):
        scp.copy("from", asked_folder, here, "folder-up")
    assert names(here) == ["asked", "asked/good"]
    scp.copy("from", asked_folder, here, "folder-many")
    assert len(names(here)) == 52


@pytest.mark.parametrize("fault", ["folder-open", "folder-deep"])
def test_scp_folder_that_never_ends_is_not_there(scp, here, asked_folder, fault):
    (here / "asked").unlink()
    with pytest.raises(SCPTransferFailedError):
        scp.copy("from", asked_folder, here, fault)
    assert names(here) == []


def test_scp_folder_with_a_file_twice_keeps_the_first(scp, here, asked_folder):
    (here / "asked").unlink()
    with pytest.raises(SCPTransferFailedError, match="File exists"):
        scp.copy("from", asked_folder, here, "folder-twice")
    assert (here / "asked" / "f").read_text() == "evil"


@pytest.mark.parametrize("fault, arrives", [("folder-deaf", []), ("folder-deaf-below", ["asked", "asked/f"])])
def test_scp_that_goes_on_with_what_was_left_out(scp, here, asked_folder, fault, arrives):
    """What it says then is another thing, or nonsense; what was left out is not there."""
    (here / "asked").unlink()
    with pytest.raises(SCPTransferFailedError, match="nonsense|never entered"):
        scp.copy("from", asked_folder, here, fault, transfer_exclude="out")
    assert names(here) == arrives


def test_scp_planted_links_are_not_followed(scp, here, asked_folder, tmp_path):
    (here / "asked").unlink()
    (here / "asked").symlink_to(tmp_path)
    with pytest.raises(SCPTransferFailedError, match="cannot replace"):
        scp.copy("from", asked_folder, here, "folder-good")
    (here / "asked").unlink()
    (here / "asked").mkdir()
    (here / "asked" / "f").symlink_to(tmp_path / "planted")
    scp.copy("from", asked_folder, here, "folder-good")
    assert (here / "asked" / "f").read_text() == "evil" and not (here / "asked" / "f").is_symlink()


def test_scp_set_id_bits_do_not_arrive(scp, here, asked_folder):
    (here / "asked").unlink()
    scp.copy("from", asked_folder, here, "folder-with-set-ids")
    assert (here / "asked").stat().st_mode & 0o7777 == 0o755
    assert (here / "asked" / "f").stat().st_mode & 0o7777 == 0o755


# ---- SCP, uploads ----

@pytest.mark.parametrize("fault, words", [
    ("refuse-ready", "Permission denied"), ("never-ready", None), ("chatter", "elcome"),
    ("end-after-line", "ended"), ("end-in-data", "ended"), ("fatal-after-data", "broken"),
    ("early-answers", "nobody asked"), ("endless-answer", None), ("accept-and-forget", "No such file")])
def test_scp_sink_that_misbehaves(scp, tmp_path, fault, words):
    (tmp_path / "f").write_bytes(os.urandom(1000000))
    target = scp.folder / "target"
    target.mkdir(mode=0o777)
    target.chmod(0o777)
    (target / "f").write_text("old")
    try:
        with pytest.raises((SCPTransferFailedError, SCPTransferTimeoutError), match=words):
            scp.copy("to", tmp_path / "f", target, fault, timeout=1 if words is None else 20)
        assert names(target) == ["f"] and (target / "f").read_text() == "old"
    finally:
        shutil.rmtree(target)


# ---- checksums ----

@pytest.fixture(params=["sftp", "scp"])
def liar(request):
    return request.getfixturevalue(request.param)


def test_file_that_changed_on_its_way_up_does_not_get_its_name(liar, tmp_path):
    (tmp_path / "f").write_bytes(b"abc" * 10000)
    target = liar.folder / "target"
    target.mkdir()
    (target / "f").write_text("old")
    try:
        liar.copy("to", tmp_path / "f", target / "unchecked", "spoil")
        assert (target / "unchecked").read_bytes()[:3] == b"?bc"
        with pytest.raises(SCPTransferFailedError, match="checksums of both sides differ") as info:
            liar.copy("to", tmp_path / "f", target, "spoil", transfer_verify="yes")
        assert info.value.filename == str(tmp_path / "f")
        assert names(target) == ["f", "unchecked"] and (target / "f").read_text() == "old"
    finally:
        shutil.rmtree(target)


def test_file_that_changed_on_its_way_down_does_not_get_its_name(liar, here):
    (liar.folder / "asked").write_bytes(b"real")
    fault = {"scp": "none", "sftp": "spoil"}[liar.engine]       # which sends "data"
    with pytest.raises(SCPTransferFailedError, match="checksums of both sides differ"):
        liar.copy("from", liar.folder / "asked", here, fault, transfer_verify="yes")
    assert names(here) == ["asked"] and (here / "asked").read_text() == "old"
    liar.copy("from", liar.folder / "asked", here, fault)
    assert (here / "asked").read_text() in ("data", "?eal")


# ---- SFTP ----

@pytest.mark.parametrize("fault", ["plain", "short", "plain short", "small=5000", "slow-handles", "no-attrs"])
def test_sftp_servers_that_are_odd_but_honest(sftp, tmp_path, fault):
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    for n, size in enumerate([0, 1, 999, 1000, 1001, 40000, 300000]):
        (tree / "sub" / str(n)).write_bytes(os.urandom(size))
    target = sftp.folder / "odd"
    try:
        sftp.copy("to", tree, target, fault)
        sftp.copy("to", str(tree) + "/.", target, fault)        # once more, over itself
        sftp.copy("from", target, tmp_path / "back", fault)
        for path in (tree / "sub").iterdir():
            assert (tmp_path / "back" / "sub" / path.name).read_bytes() == path.read_bytes()
        assert names(target) == names(tree)
    finally:
        shutil.rmtree(target)


@pytest.mark.parametrize("fault, words", [
    ("full=300000", "No space"), ("lie", "bytes instead of"), ("no-close", "no space left"),
    ("no-rename", "permission denied"), ("die=8", "ended"), ("wrong-id", "nobody asked"),
    ("huge", "no packet"), ("chatter", "Welcome")])
def test_sftp_server_that_spoils_an_upload(sftp, tmp_path, fault, words):
    (tmp_path / "f").write_bytes(os.urandom(1 << 20))
    target = sftp.folder / "target"
    target.mkdir()
    target.chmod(0o777)
    (target / "f").write_text("old")
    try:
        with pytest.raises(SCPTransferFailedError, match=words):
            sftp.copy("to", tmp_path / "f", target, fault)
        assert (target / "f").read_text() == "old"
        left = [name for name in names(target) if name != "f"]
        # Whoever lost the server cannot remove what it was given.
        assert left == [] or fault.startswith(("die", "wrong-id", "huge"))
    finally:
        shutil.rmtree(target)


@pytest.mark.parametrize("fault, words", [
    ("die=8", "ended"), ("wrong-id", "nobody asked"), ("huge", "no packet"), ("long-data", "damaged data"),
    ("chatter", "Welcome"), ("stall=7", "stalled")])
def test_sftp_server_that_spoils_a_download(sftp, here, fault, words):
    (sftp.folder / "asked").write_bytes(os.urandom(3 << 20))
    with pytest.raises((SCPTransferFailedError, SCPTransferTimeoutError), match=words) as info:
        keywords = {"transfer_stall_timeout": "0.5"} if words == "stalled" else {}
        sftp.copy("from", sftp.folder / "asked", here, fault, **keywords)
    assert names(here) == ["asked"] and (here / "asked").read_text() == "old"
    assert isinstance(info.value, SCPError)


@pytest.mark.parametrize("size, at", [(22, 0), (300000, 0), (300000, 65536), (3 << 20, 1 << 20)])
@pytest.mark.parametrize("more", ["", " plain", " short"])
def test_sftp_read_that_returns_nothing_makes_no_file(sftp, here, size, at, more):
    (sftp.folder / "asked").write_bytes(os.urandom(size))
    with pytest.raises(SCPTransferFailedError, match="damaged data"):
        sftp.copy("from", sftp.folder / "asked", here, "empty-data=%d%s" % (at, more))
    assert names(here) == ["asked"] and (here / "asked").read_text() == "old"


@pytest.mark.parametrize("kind", [3, 4, 6, 8, 10, 14, 18, 200])
@pytest.mark.parametrize("more", ["", " plain"])
def test_sftp_answers_of_another_kind_are_no_success_of_an_upload(sftp, tmp_path, kind, more):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"new" * 1000)
    (tmp_path / "f").write_bytes(b"new" * 1000)
    target = sftp.folder / "target"
    target.mkdir()
    (target / "f").write_text("old")
    used = [] if more and kind == 200 else [kind]
    ignored = [10]                  # a file system without modes
    try:
        sftp.copy("to", [str(tmp_path / "f"), str(tmp_path / "d")], target, "wrong-kind=%d%s" % (kind, more))
    except SCPTransferFailedError:
        assert used and used != ignored
    else:
        assert not used or used == ignored
    finally:
        assert (target / "f").read_text() in ("old", "new" * 1000)
        shutil.rmtree(target)


@pytest.mark.parametrize("evil", ["..|.", "../evil", "/tmp/virtvm-evil", "a/b", "x" * 300, "asked/../../evil"])
def test_sftp_names_that_lead_elsewhere(sftp, here, evil):
    (here / "asked").unlink()
    (sftp.folder / "listed").mkdir(exist_ok=True)
    (sftp.folder / "listed" / "good").write_text("good")
    try:
        sftp.copy("from", sftp.folder / "listed", here, "names=good|%s" % evil)
    except SCPTransferFailedError as e:
        assert "elsewhere" in str(e)
    else:
        assert evil == "..|."       # those two are in every listing
    assert names(here) == ["listed", "listed/good"]


def test_sftp_names_twice_and_listings_without_end(sftp, here):
    (here / "asked").unlink()
    (sftp.folder / "listed").mkdir(exist_ok=True)
    (sftp.folder / "listed" / "good").write_text("good")
    with pytest.raises(SCPTransferFailedError, match="File exists"):
        sftp.copy("from", sftp.folder / "listed", here, "twice")
    shutil.rmtree(here / "listed", ignore_errors=True)
    with pytest.raises((SCPTransferFailedError, SCPTransferTimeoutError)):
        sftp.copy("from", sftp.folder / "listed", here, "endless", timeout=2)
    assert names(here) == []
