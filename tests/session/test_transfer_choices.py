"""What is left out of a copy, because of its name or because it is there already."""

import os

import pytest
from support.copies import Host, names, stop_at, write, write_huge
from support.rss_server import RssServer
from virtvm.companions import rss_client, transfer
from virtvm.companions.exceptions import SCPError, SCPTransferFailedError

pytestmark = pytest.mark.once         # the C core

TREE = ["a.o", "b.c", "sub/a.o", "sub/b.c", "sub/build/x", "build/x", "build/sub/b.c", "od\nd.o", "-r", "\xe4.o"]
# What a pattern leaves of it.
LEAVES = {
    "*.o": ["-r", "b.c", "build", "build/sub", "build/sub/b.c", "build/x", "sub", "sub/b.c", "sub/build",
            "sub/build/x"],
    "build": ["-r", "a.o", "b.c", "od\nd.o", "sub", "sub/a.o", "sub/b.c", "\xe4.o"],
    "/build/": ["-r", "a.o", "b.c", "od\nd.o", "sub", "sub/a.o", "sub/b.c", "sub/build", "sub/build/x",
                "\xe4.o"],
    "sub/*": ["-r", "a.o", "b.c", "build", "build/sub", "build/sub/b.c", "build/x", "od\nd.o", "sub", "\xe4.o"],
    "**/sub/*.c ?.o od*": ["-r", "b.c", "build", "build/sub", "build/x", "sub", "sub/build", "sub/build/x"],
    "*": [],
}
# Several at once, as a list, and one that has a blank.
LISTS = {("sub", "b ild", "build"): ["-r", "a.o", "b.c", "od\nd.o", "\xe4.o"]}


def tree(folder):
    for name in TREE:
        write(folder / name, name)
    return folder


def as_param(patterns):
    return patterns if isinstance(patterns, str) else list(patterns)


@pytest.mark.parametrize("patterns", [*LEAVES, *LISTS])
@pytest.mark.parametrize("is_there", [False, True])
def test_names_that_are_left_out(host, tmp_path, patterns, is_there):
    """The same both ways; what the other side has of them stays."""
    left = {**LEAVES, **LISTS}[patterns]
    tree(tmp_path / "d")
    if is_there:
        write(host.folder / "d" / "a.o", "old")
        write(tmp_path / "back" / "d" / "a.o", "old")
        left = sorted({*left, "a.o"})
    host.put(tmp_path / "d", host.folder, transfer_exclude=as_param(patterns), transfer_verify="yes")
    assert names(host.folder / "d") == left
    whole = tree(host.folder / "whole" / "d")
    (tmp_path / "back").mkdir(exist_ok=True)
    host.get(whole, tmp_path / "back", transfer_exclude=as_param(patterns), transfer_times="yes")
    assert names(tmp_path / "back" / "d") == left
    for name in left:
        for place in (host.folder, tmp_path / "back"):
            if name in TREE:
                old = is_there and name == "a.o" and "a.o" not in {**LEAVES, **LISTS}[patterns]
                assert (place / "d" / name).read_text() == ("old" if old else name)


def test_what_is_left_out_can_not_fail(host, tmp_path):
    """Pipes, loops, what may not be read: nobody has a look."""
    ends = {"put": tmp_path / "d", "get": host.folder / "d"}
    for folder in ends.values():
        write(folder / "f")
        os.mkfifo(folder / "pipe.x")
        (folder / "loop.x").symlink_to(".")
        (folder / "nowhere.x").symlink_to("no/such")
        write(folder / "closed.x" / "f").parent.chmod(0)
        write(folder / "secret.x", "s", 0)
    host.put(ends["put"], host.folder / "there", transfer_exclude="*.x")
    host.get(ends["get"], tmp_path / "back", transfer_exclude="*.x")
    assert names(host.folder / "there") == names(tmp_path / "back") == ["f"]
    with pytest.raises(SCPTransferFailedError):
        host.put(ends["put"], host.folder / "again", transfer_exclude="*.y")
    for folder in ends.values():
        (folder / "closed.x").chmod(0o700)


def test_folder_pattern_does_not_hide_a_file_that_fails(host, tmp_path):
    write(host.folder / "d" / "cache", "x", 0)
    try:
        host.get(host.folder / "d", tmp_path / "back", transfer_exclude="cache/")
    except SCPTransferFailedError:
        return
    assert names(tmp_path / "back") == ["cache"]


def test_links_to_folders(host, tmp_path):
    """Followed, they are folders; else links, which "/" at a pattern's end does not mean."""
    for folder in (tmp_path / "d", host.folder / "d"):
        write(folder / "real" / "f")
        (folder / "link").symlink_to("real")
    host.put(tmp_path / "d", host.folder / "there", transfer_exclude="link/")
    host.get(host.folder / "d", tmp_path / "back", transfer_exclude="link/")
    assert names(host.folder / "there") == names(tmp_path / "back") == ["real", "real/f"]
    if host.engine == "sftp":
        host.get(host.folder / "d", tmp_path / "links", transfer_exclude="link/", transfer_keep_links="yes")
        assert os.readlink(tmp_path / "links" / "link") == "real"


def test_what_is_named_is_copied(host, tmp_path):
    write(tmp_path / "d" / "d", "x")
    write(tmp_path / "f.o", "x")
    host.put([tmp_path / "d", tmp_path / "f.o"], host.folder, transfer_exclude="d *.o")
    assert names(host.folder) == ["d", "f.o"]
    host.get([host.folder / "d", host.folder / "f.o"], tmp_path, transfer_exclude="d *.o")
    host.put(str(tmp_path / "d") + "/.", host.folder, transfer_exclude="/d")
    assert names(host.folder) == ["d", "f.o"] and not names(host.folder / "d")


@pytest.mark.parametrize("patterns", ["'a", "/", "a //", ["a\0b"], [""], "''"])
def test_patterns_that_are_none(host, tmp_path, patterns):
    with pytest.raises(SCPError, match="transfer_exclude has a"):
        host.put(write(tmp_path / "f"), host.folder, transfer_exclude=patterns)
    assert names(host.folder) == []


def test_by_rss(tmp_path):
    """Its server sends all of a folder: that is refused, and nothing is done."""
    (tmp_path / "drive").mkdir()
    tree(tmp_path / "d")
    with RssServer(tmp_path / "drive") as server:
        where = ("127.0.0.1", "rss", "", "", server.port)
        transfer.copy_files_to(*where, str(tmp_path / "d"), "C:\\", transfer_exclude="*.o /build/")
        assert names(tmp_path / "drive" / "d") == ["-r", "b.c", "sub", "sub/b.c", "sub/build", "sub/build/x"]
        with pytest.raises(rss_client.FileTransferError, match="transfer_exclude: "):
            transfer.copy_files_from(*where, "C:\\d", str(tmp_path / "back"), transfer_exclude="*.o")
        for copy in (transfer.copy_files_to, transfer.copy_files_from):
            with pytest.raises(rss_client.FileTransferError, match="transfer_update: "):
                copy(*where, str(tmp_path / "d"), str(tmp_path / "back"), transfer_update="yes")
        assert not (tmp_path / "back").exists()


def test_interrupt_leaves_nothing(host, tmp_path):
    write_huge(tmp_path / "d" / "huge")
    write(tmp_path / "d" / "left-out", "x" * 1000)
    with pytest.raises(KeyboardInterrupt):
        host.put(tmp_path / "d", host.folder, transfer_exclude="left-out", progress=stop_at(100000))
    assert names(host.folder) == []


def test_names_with_line_breaks(host, tmp_path):
    """Names that no protocol of lines has, links that lead back, and patterns for all of them."""
    for folder in (tmp_path / "d", host.folder / "d"):
        write(folder / "li\nne" / "f")
        (folder / "li\nne" / "up").symlink_to("..")
        write(folder / "f\n.x", "x")
        write(folder / "keep", "x")
    for pattern in (["li\n*", "*\n.x"], ["*[\n]*"], "li?ne f?.x", ["[!k]*"]):
        host.put("%s/." % (tmp_path / "d"), host.folder / "there", transfer_exclude=pattern)
        assert names(host.folder / "there") == ["keep"]
        if host.engine == "sftp":       # a server's scp can't find a folder of such a name
            host.get("%s/." % (host.folder / "d"), tmp_path / "back", transfer_exclude=pattern)
            assert names(tmp_path / "back") == ["keep"]


@pytest.mark.parametrize("name", ["a\nb.x", "a: b\n\nc: d.x", "\n.x", "a\nC0644 5 b.x", "a\nEnd\nThe.x", "\nTo 1\nDo.x",
                                  "a\n" * 40 + ".x"])
def test_complaints_about_names_with_line_breaks(host, tmp_path, name):
    """One that can't be opened stops no other one, and is left out by its whole name."""
    folder = host.folder / "d"
    for path in (folder / "keep", folder / "sub" / "f", folder / "zz"):
        write(path)
    for place in (folder, folder / "sub"):
        (place / name).symlink_to("nowhere")
    whole = ["keep", "sub", "sub/f", "zz"]
    host.get(folder, tmp_path / "out", transfer_exclude="*.x")
    assert names(tmp_path / "out") == whole
    with pytest.raises(SCPTransferFailedError) as info:
        host.get(folder, tmp_path / "all")
    assert names(tmp_path / "all") == whole
    assert info.value.failures == 2 and info.value.filename.endswith("/" + name)


# ---- what is there already ----

def copies(host, tmp_path):
    """(copy, from, to): both ways, where they can tell what is as new."""
    yield host.get, host.folder / "from", tmp_path / "to"
    if host.engine == "sftp":
        yield host.put, tmp_path / "from", host.folder / "to"


def at(path, seconds):
    os.utime(path, (seconds, seconds))
    return path


def state(folder):
    """{name: (inode, contents)} of all files in the folder."""
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.read_bytes())
            for path in folder.rglob("*") if path.is_file()}


def test_only_what_is_newer_or_of_another_size(host, tmp_path):
    """What is said to be empty is copied always: files of the kernel are said to be."""
    for copy, source, target in copies(host, tmp_path):
        for name, here, there in [("same", 5, 5), ("older", 4, 5), ("newer", 6, 5), ("sub/newer", 6, 5),
                                  ("sub/older", 4, 5), ("longer", 4, 5), ("new/f", 4, None), ("empty", 4, 5),
                                  ("link", 4, 5)]:
            text = {"longer": "from-longer", "empty": ""}.get(name, "from")
            at(write(source / name, text), here)
            if there is not None:
                at(write(target / name, "" if name == "empty" else "to.."), there)
        (target / "link").rename(target / "end")
        (target / "link").symlink_to("end")
        before = state(target)
        seen = []
        copy(str(source) + "/.", target, transfer_update="yes", transfer_verify="yes",
             progress=lambda *told: seen.append(told))
        after = state(target)
        copied = {name for name in after if after[name] != before.get(name)}
        assert copied == {"newer", "sub/newer", "longer", "new/f", "link", "empty"}
        assert after["longer"][1] == b"from-longer" and not (target / "link").is_symlink()
        assert seen[-1][1:] == (sum(len(after[name][1]) for name in copied),) * 2


def test_nothing_moves_the_second_time(host, tmp_path):
    for copy, source, target in copies(host, tmp_path):
        tree(source)
        for name in TREE:
            at(source / name, 1000)
        target.mkdir()
        copy(str(source) + "/.", target, transfer_update="yes", transfer_times="yes")
        before, seen = state(target), []
        assert len(before) == len(TREE)
        copy(str(source) + "/.", target, transfer_update="yes", transfer_times="yes",
             progress=lambda *told: seen.append(told))
        assert state(target) == before and seen[-1][1] == 0


def test_clock_that_is_ahead(host, tmp_path):
    """What was copied has the source's time, so that a later one is newer."""
    for copy, source, target in copies(host, tmp_path):
        at(write(source, "from"), 1000)
        copy(source, target, transfer_update="yes")
        at(write(source, "more"), 1001)
        copy(source, target, transfer_update="yes")
        assert target.read_text() == "more" and target.stat().st_mtime == 1001


@pytest.mark.parametrize("first", [-5, -(1 << 31), 1 << 31, (1 << 32) - 1, (1 << 32) + 5])
def test_times_that_no_protocol_tells(host, tmp_path, first):
    """Nothing that differs is left out for a time that wrapped, whichever side has it."""
    for copy, source, target in copies(host, tmp_path):
        at(write(source, "old!"), first)
        copy(source, target, transfer_update="yes")
        # What a server tells of a time behind 2106 looks like any other.
        again = [(first, "same")] if first < 1 << 32 else []
        for time, text in [*again, (5000, "new!")]:
            at(write(source, text), time)
            copy(source, target, transfer_update="yes")
            assert target.read_text() == text
        at(write(source, "more"), 5001)
        at(write(target, "old!", 0o666), first)     # by whatever else
        copy(source, target, transfer_update="yes")
        assert target.read_text() == "more"


def test_times_that_sftp_cannot_hold(sshd, folder, tmp_path):
    host = Host(sshd, folder, "sftp")
    for time, kept in ((-5, 0), (-(1 << 33), 0), ((1 << 32) - 1, (1 << 32) - 1), ((1 << 32) + 5, (1 << 32) - 1)):
        host.put(at(write(tmp_path / "d" / "f"), time).parent, folder / str(time), transfer_times="yes")
        assert (folder / str(time) / "f").stat().st_mtime == kept


def test_contents_are_always_written(host):
    """They are new whatever the clock says of what is there."""
    where, keywords = host.access()
    at(write(host.folder / "f", "old", 0o666), 1 << 31)
    transfer.write_file(*where, str(host.folder / "f"), "new", transfer_update="yes", **keywords)
    assert transfer.read_file(*where, str(host.folder / "f"), transfer_update="yes", **keywords) == b"new"


def test_one_file(host, tmp_path):
    for copy, source, target in copies(host, tmp_path):
        at(write(source, "from"), 5)
        for time, is_copied in ((5, False), (4, True)):
            at(write(target, "to.."), time)
            copy(source, target, transfer_update="yes")
            assert target.read_text() == ("from" if is_copied else "to..")


def test_folder_in_the_way(host, tmp_path):
    for copy, source, target in copies(host, tmp_path):
        write(source / "f", "x")
        write(target / "f" / "x")
        with pytest.raises(SCPTransferFailedError):
            copy(str(source) + "/.", target, transfer_update="yes")
        assert names(target) == ["f", "f/x"]


def test_upload_by_scp_is_refused(new_own_sshd, folder, tmp_path):
    """Nothing there tells what is there, as new."""
    write(folder / "f", "old")
    for engine, server in (("scp", ""), (None, "Subsystem sftp /bin/false")):
        host = Host(new_own_sshd(server), folder, engine)
        with pytest.raises(SCPTransferFailedError, match="takes SFTP"):
            host.put(write(tmp_path / "f", "new"), folder, transfer_update="yes")
        assert names(folder) == ["f"] and (folder / "f").read_text() == "old"


def test_in_place(sshd, folder, tmp_path):
    host = Host(sshd, folder, "sftp")
    path = write(folder / "f", "old", 0o666)
    for time, text in ((5, "old"), (4, "new")):
        at(path, time)
        host.put(at(write(tmp_path / "f", "new"), 5), folder, transfer_update="yes", transfer_in_place="yes")
        assert path.read_text() == text


def test_interrupt_amid_comparing_leaves_nothing(sshd, folder, tmp_path):
    host = Host(sshd, folder, "sftp")
    for n in range(300):
        at(write(tmp_path / "d" / str(n), "new"), 9)
        at(write(folder / "d" / str(n), "old"), 5 + 5 * (n % 2))
    (folder / "d").chmod(0o777)
    write_huge(tmp_path / "d" / "huge")
    with pytest.raises(KeyboardInterrupt) as info:
        host.put(tmp_path / "d", folder, transfer_update="yes", progress=stop_at(1 << 20))
    assert info.value.left.count == 0
    assert names(folder) == ["d", *sorted("d/%d" % n for n in range(300))]


def test_between_two_hosts(sshd, folder):
    """The first host's times count, not those of the copy in between."""
    tree(folder / "d")
    at(folder / "d" / "b.c", 5)
    at(write(folder / "to" / "d" / "b.c", "b.d"), 6)
    (folder / "to" / "d").chmod(0o777)
    transfer.scp_between_remotes(
        sshd.host, sshd.host, sshd.port, sshd.password or "", sshd.password or "", sshd.user, sshd.user,
        str(folder / "d"), str(folder / "to"), ssh_identity_file=sshd.key, transfer_exclude="*.o",
        transfer_update="yes")
    assert (folder / "to" / "d" / "b.c").read_text() == "b.d"
    assert "a.o" not in names(folder / "to" / "d")


# ---- holes ----

@pytest.mark.parametrize("engine, server", [("sftp", ""), ("scp", ""), (None, "Subsystem sftp /bin/false")])
def test_holes_between_two_hosts(new_own_sshd, folder, engine, server):
    """Those of the copy in between are no reason to fail, where the protocol has none."""
    sshd = new_own_sshd(server)
    write(folder / "d" / "zeros", b"a" * 4096 + bytes(1 << 20) + b"b" * 10)
    with open(write(folder / "d" / "holes", "x"), "r+b") as f:
        f.truncate(8 << 20)
    (folder / "to").mkdir(0o777)
    transfer.scp_between_remotes(
        sshd.host, sshd.host, sshd.port, sshd.password or "", sshd.password or "", sshd.user, sshd.user,
        str(folder / "d"), str(folder / "to"), ssh_identity_file=sshd.key, transfer_engine=engine,
        transfer_sparse="yes", timeout=60)
    for name in ("zeros", "holes"):
        assert (folder / "to" / "d" / name).read_bytes() == (folder / "d" / name).read_bytes()
    if engine == "sftp":
        assert (folder / "to" / "d" / "holes").stat().st_blocks * 512 < 1 << 20


def test_holes_by_scp(new_own_sshd, folder, tmp_path):
    """Down they are made of zeros; up the protocol fills them: refused, file by file."""
    host = Host(new_own_sshd(""), folder, "scp")
    for path in (folder / "d" / "holes", tmp_path / "d" / "holes"):
        with open(write(path, "x" * 5000), "r+b") as f:
            f.truncate(8 << 20)
            f.seek(6 << 20)
            f.write(b"y" * 5000)
        write(path.parent / "whole", "x" * 100000)
    host.get(folder / "d" / "holes", tmp_path / "back", transfer_sparse="yes", transfer_verify="yes")
    assert (tmp_path / "back").stat().st_blocks * 512 < 1 << 20
    assert (tmp_path / "back").read_bytes() == (folder / "d" / "holes").read_bytes()
    with pytest.raises(SCPTransferFailedError, match="takes SFTP"):
        host.put(tmp_path / "d", folder / "there", transfer_sparse="yes")
    assert names(folder / "there") == ["whole"]
    host.put(tmp_path / "d", folder / "filled")
    assert (folder / "filled" / "holes").read_bytes() == (tmp_path / "back").read_bytes()
