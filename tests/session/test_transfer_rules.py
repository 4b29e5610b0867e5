"""The table of docs/transfers.rst, row by row: by both engines and RSS, up and down, beside both modes of scp."""

import csv
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.rss_server import RssServer
from support.sshd import Sshd
from virtvm.companions import rss_client, transfer
from virtvm.companions.exceptions import SCPTransferFailedError

pytestmark = pytest.mark.once         # the C core

DOCUMENT = Path(__file__).parents[2] / "docs" / "transfers.rst"


def rows():
    """(source, target, result, result of scp -O, of scp, and by RSS) of each row."""
    text = DOCUMENT.read_text()
    table = re.search(r":header: Source, Target, .*?\n\n(.*?)\n\n", text, re.S).group(1)
    return [[field.strip() for field in row] for row in csv.reader(table.splitlines(), skipinitialspace=True)]


@pytest.fixture(scope="module")
def server():
    server = Sshd()
    yield server
    server.stop()


@pytest.fixture
def work():
    folder = Path(tempfile.mkdtemp(prefix="virtvm-rules-"))
    (folder / "here" / "d").mkdir(parents=True)
    (folder / "here" / "f").write_text("new")
    (folder / "here" / "d" / "x").write_text("new")
    (folder / "other" / "d").mkdir(parents=True)
    (folder / "other" / "f").write_text("new")
    (folder / "other" / "d" / "x").write_text("new")
    (folder / "there").mkdir()
    yield folder
    shutil.rmtree(folder)


def prepare(there, target):
    """Makes the target; its path."""
    T, end = there / "T", there / "end"
    if target in ("file", "file/", "below a file"):
        T.write_text("old")
    elif target.startswith("folder"):
        T.mkdir()
        if target == "folder with d":
            (T / "d").mkdir()
            (T / "d" / "x").write_text("old")
            (T / "d" / "old").write_text("old")
    elif target.startswith("link"):
        T.symlink_to("end")
        if target == "link to a file":
            end.write_text("old")
        elif target == "link to a folder":
            end.mkdir()
    return str(T) + ("/new" if target.startswith("below") else "/" if target.endswith("/") else "")


def sources(work, words):
    first = [work / "here" / word.replace("/.", "") for word in words.split()[:1]]
    more = [work / "other" / word for word in words.split()[1:]]
    return [str(path) + ("/." if "/." in words else "") for path in first + more]


def contents(there):
    """{name: what is in it}, links followed by nobody."""
    def what(path):
        return "link" if path.is_symlink() else "folder" if path.is_dir() else path.read_text()

    return {str(path.relative_to(there)): what(path) for path in there.rglob("*")}


def expected(before, result):
    """What is there after what the table says."""
    after = dict(before)
    if result == "error":
        return after
    if result == "T and its end":
        after["end"] = "new"
        return after
    if result == "T and f":
        after["T"] = after["f"] = "new"
        return after
    result = result.replace(" and what was there", "")
    path = ""
    parts = result.replace("its end", "end").split("/")
    for part in parts:
        path = path + "/" + part if path else part
        after[path] = "folder"
    after[path] = "new"
    return after


@pytest.mark.parametrize("engine", ["sftp", "scp"])
@pytest.mark.parametrize("direction", ["to", "from"])
@pytest.mark.parametrize("row", rows(), ids=lambda row: "%s-%s" % tuple(row[:2]))
def test_row(server, work, row, engine, direction):
    source, target, result = row[:3]
    path = prepare(work / "there", target)
    before = contents(work / "there")
    error = None
    try:
        getattr(transfer, "scp_%s_remote" % direction)(
            server.host, server.port, server.user, "", sources(work, source), path, timeout=60,
            ssh_identity_file=server.key, transfer_engine=engine)
    except SCPTransferFailedError as e:
        error = e
    assert contents(work / "there") == expected(before, result), error
    assert (error is not None) is (result == "error")


@pytest.mark.parametrize("mode", ["-O", ""])
@pytest.mark.parametrize("row", rows(), ids=lambda row: "%s-%s" % tuple(row[:2]))
def test_what_the_table_says_of_scp(server, work, row, mode):
    source, target, result, old, new, _rss = row
    wanted = old if mode else new
    path = prepare(work / "there", target)
    before = contents(work / "there")
    done = subprocess.run(
        ["scp", *mode.split(), "-q", "-r", "-P", str(server.port), "-i", server.key, "-o", "StrictHostKeyChecking=no",
         "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", *sources(work, source),
         "%s@%s:%s" % (server.user, server.host, path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, env=dict(os.environ, LC_ALL="C"))
    result = result if wanted == "same" else wanted
    assert (done.returncode != 0) is (result == "error"), done.stdout
    if result != "error":           # what it leaves then is its own matter
        assert contents(work / "there") == expected(before, result), done.stdout


def windows_path(work, path):
    """The path below the folder that is disk C:."""
    text = str(path)
    return "C:\\" + os.path.relpath(text, work).replace("/", "\\") + ("\\" if text.endswith("/") else "")


@pytest.mark.parametrize("row, direction", [
    (row, direction) for row in rows() for direction in ("up", "down")
    if direction == "up" or row[0] in ("f", "d")],          # one name, or a pattern, is asked for
    ids=lambda value: value if isinstance(value, str) else "%s-%s" % tuple(value[:2]))
def test_row_by_rss(work, row, direction):
    source, target, result, _old, _new, rss = row
    result = result if rss == "same" else rss
    path = prepare(work / "there", target)
    before = contents(work / "there")
    error = None
    with RssServer(work) as server:
        try:
            if direction == "up":
                rss_client.upload("127.0.0.1", server.port, sources(work, source), windows_path(work, path))
            else:
                rss_client.download("127.0.0.1", server.port, "C:\\here\\" + source, path)
        except rss_client.FileTransferError as e:
            error = e
    assert contents(work / "there") == expected(before, result), error
    assert (error is not None) is (result == "error")


@pytest.mark.parametrize("target", ["missing", "file"])
def test_several_by_rss_need_a_folder_on_the_way_down(work, target):
    path = prepare(work / "there", target)
    (work / "here" / "f2").write_text("new")
    before = contents(work / "there")
    with RssServer(work) as server, pytest.raises(rss_client.FileTransferError):
        rss_client.download("127.0.0.1", server.port, "C:\\here\\f*", path)
    assert contents(work / "there") == before
