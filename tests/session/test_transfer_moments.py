"""What holds at each moment of a copy, not at its end alone: who may read, what is on the disk, what
is removed in time."""

import contextlib
import os
import shutil
import stat
from pathlib import Path

import pytest
from support.copies import ENGINES, Host, mode, names, stop_at, write, write_huge
from support.sshd import Sshd
from support.waiting import due
from virtvm.companions import transfer
from virtvm.companions.exceptions import SCPError, SCPTransferFailedError

pytestmark = pytest.mark.once         # the C core


# ---- who may read ----

SIZE = 30000000


def looks_at_temporaries(folder, seen):
    """A progress function that notes mode and size of what has temporary names."""
    def progress(name, moved, total):
        for path in folder.rglob(".*.vt-*"):
            with contextlib.suppress(FileNotFoundError):        # it got its name
                if not path.is_dir():
                    looked = path.stat()
                    seen.add((stat.S_IMODE(looked.st_mode), looked.st_size))
    return progress


@pytest.mark.parametrize("old", [None, 0o600, 0o640])
def test_nobody_reads_what_replaces_a_secret(host, tmp_path, old):
    """Once all is there its mode is the last one, just before its name is."""
    write(tmp_path / "f", b"secret" * (SIZE // 6), 0o644)
    if old is not None:
        write(host.folder / "f", "old secret", old)
    seen = set()
    host.put(tmp_path / "f", host.folder / "f", progress=looks_at_temporaries(host.folder, seen))
    last = 0o644 if old is None else old
    assert {mode for mode, size in seen - {(last, SIZE)}} == {0o600}
    assert mode(host.folder / "f") == last


def test_nor_between_the_last_byte_and_the_name(folder, tmp_path):
    """Each program that the server's shell runs looks at the file's mode before and after."""
    for program in ("wc", "chmod", "mv"):
        real = shutil.which(program)
        write(tmp_path / "bin" / program, "#!/bin/sh\n"
              "look() { stat -c '%%a %%n' %s/there/.*.vt-* >>%s/seen 2>/dev/null; }\n"
              "look\n%s \"$@\"\ns=$?\nlook\nexit $s\n" % (folder, folder, real), 0o755)
    server = Sshd("SetEnv PATH=%s:%s" % (tmp_path / "bin", os.environ["PATH"]))
    try:
        host = Host(server, folder / "there", "scp")
        write(host.folder / "f", "old", 0o600)
        where, keywords = host.access()
        host.put(write(tmp_path / "f", "new", 0o644), host.folder)
        transfer.write_file(*where, str(host.folder / "new"), "x", mode=0o600, **keywords)
        assert mode(host.folder / "f") == mode(host.folder / "new") == 0o600
        transfer.write_file(*where, str(host.folder / "new"), "x", **keywords)
        assert mode(host.folder / "new") == 0o600
        seen = (folder / "seen").read_text().split("\n")[:-1]
        assert len(seen) >= 6 and {line.split()[0] for line in seen} == {"600"}, seen
    finally:
        server.stop()


@pytest.mark.parametrize("wanted", [0o4755, 0o644, 0o600, 0o000])
@pytest.mark.parametrize("is_there", [False, True])
def test_modes_of_what_is_written(host, wanted, is_there):
    where, keywords = host.access()
    path = host.folder / "f"
    if is_there:
        write(path, "old", 0o640)
    transfer.write_file(*where, str(path), "new", mode=wanted, **keywords)
    assert mode(path) == wanted and path.read_text() == "new"


@pytest.mark.skipif(os.getuid() != 0, reason="owners")
def test_owner_alone_leaves_the_mode(host):
    where, keywords = host.access()
    path = write(host.folder / "f", "old", 0o640)
    transfer.write_file(*where, str(path), "new", owner=(7, 8), **keywords)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (7, 8, 0o640)


# ---- in place ----

@pytest.mark.parametrize("is_there", [False, True])
def test_what_is_written_in_place_gets_the_mode_and_owner_that_were_asked_for(host, is_there):
    where, keywords = host.access()
    path = host.folder / "f"
    if is_there:
        write(path, "older and longer", 0o640)
    transfer.write_file(*where, str(path), "new", transfer_in_place="yes", **keywords)
    assert mode(path) == (0o640 if is_there else 0o644) and path.read_text() == "new"
    transfer.write_file(*where, str(path), "new", mode=0o4711, transfer_in_place="yes", **keywords)
    assert mode(path) == 0o4711
    if os.getuid() == 0:
        transfer.write_file(*where, str(path), "x", mode=0o600, owner=(7, 8), transfer_in_place="yes", **keywords)
        assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (7, 8, 0o600)


def test_owner_that_is_refused_is_told_in_place_too(folder, new_sshd):
    server = new_sshd("")
    if server.account is None:
        pytest.skip("root may do all, so another account is needed")
    for engine in ENGINES:
        path = write(folder / "f", "old", 0o666)
        where, keywords = Host(server, folder, engine).access()
        with pytest.raises(SCPTransferFailedError):
            transfer.write_file(*where, str(path), "new", owner=(0, 0), transfer_in_place="yes", **keywords)


# ---- time ----

def test_looking_for_the_owner_is_part_of_the_time(folder):
    """Each step would take most of it."""
    server = Sshd("ForceCommand sleep 0.7; exec /usr/lib/openssh/sftp-server")
    try:
        where, keywords = Host(server, folder, "sftp").access()
        keywords["timeout"] = 1.5
        with due(1.5), pytest.raises(SCPError):
            transfer.write_file(*where, str(folder / "f"), "x", owner="daemon:daemon", **keywords)
        assert names(folder) == []
    finally:
        server.stop()


# ---- on the disk ----

def test_folders_with_new_names_are_on_the_disk_too(fake, folder, tmp_path):
    host = fake("fsync=%s/synced" % folder)
    write(tmp_path / "d" / "sub" / "f", "x")
    write(tmp_path / "f", "x")
    write(host.folder / "there" / "old", "x")
    write(tmp_path / "there" / "deep" / "f", "x")

    def synced(*copy, **keywords):
        (folder / "synced").write_text("")
        host.put(*copy, transfer_sync="yes", **keywords)
        lines = (folder / "synced").read_text().splitlines()
        return {os.path.relpath(line, host.folder) for line in lines if not os.path.basename(line).startswith(".")}

    assert synced(tmp_path / "f", host.folder) == {"."}
    assert synced(tmp_path / "f", host.folder / "a" / "b" / "f", transfer_parents="yes") == {".", "a", "a/b"}
    found = synced(tmp_path / "d", host.folder)
    assert "." in found and any(name.endswith("/sub") for name in found)
    assert synced(tmp_path / "there", host.folder) >= {"there"}


def test_scp_has_names_on_the_disk(folder, tmp_path):
    write(tmp_path / "bin" / "sync", "#!/bin/sh\nls -A %s/there >>%s/synced\necho >>%s/synced\n"
          % (folder, folder, folder), 0o755)
    server = Sshd("SetEnv PATH=%s:%s" % (tmp_path / "bin", os.environ["PATH"]))
    try:
        host = Host(server, folder / "there", "scp")
        host.folder.mkdir()
        host.put(write(tmp_path / "d" / "f").parent, host.folder, transfer_sync="yes")
        host.put(write(tmp_path / "f"), host.folder, transfer_sync="yes")
        host.put(tmp_path / "f", host.folder, transfer_sync="yes", transfer_in_place="yes")
        syncs = (folder / "synced").read_text().split("\n\n")[:-1]
        assert len(syncs) >= 5 and syncs[-1].split() == ["d", "f"]
    finally:
        server.stop()


# ---- what is removed in time ----

@pytest.mark.parametrize("far", [0, 20])
def test_large_trees_are_removed_from_a_machine_far_away(fake, tmp_path, far):
    """Folder by folder it would take twenty seconds, and the time for it is three at most."""
    host = fake("far=%d" % far if far else "")
    for n in range(150):
        write(tmp_path / "d" / ("s%d" % n) / "deeper" / "f")
    for n in range(0, 150, 10):             # whatever is walked last
        write_huge(tmp_path / "d" / ("s%d" % n) / "huge")
    with pytest.raises(KeyboardInterrupt) as info:
        host.put(tmp_path / "d", host.folder, progress=stop_at(2 << 20))
    assert names(host.folder) == [] and not info.value.left


# ---- many names ----

def test_many_sources_take_no_time_of_each_pair(scp_many, tmp_path):
    """Their names were compared, each with each of a command, and copied for that."""
    host, count = scp_many
    sources = [host.folder / "l" / ("%05d" % n) for n in range(count)]
    before = os.times()
    host.get(sources, tmp_path)
    used = os.times().user - before.user
    assert len(os.listdir(tmp_path)) == count
    assert used < 30, used                  # seconds of this process's own; it was minutes


@pytest.fixture
def scp_many(new_own_sshd, folder):
    count = 3000
    for n in range(count):
        write(folder / "l" / ("%05d" % n))
    return Host(new_own_sshd(""), folder, "scp"), count


# ---- Windows by OpenSSH ----

@pytest.mark.parametrize("target, place", [
    ("C:\\test\\tool.exe", "test/tool.exe"), ("C:\\test\\", "test/f"), ("C:\\test", "test/f"),
    ("C:/test/tool.exe", "test/tool.exe"), ("sub\\new.exe", "Users/user/sub/new.exe"), ("~\\x", "Users/user/x")])
def test_paths_of_windows(fake, folder, tmp_path, target, place):
    disk = folder / "disk"
    for name in ("test", "Users/user/sub"):
        (disk / name).mkdir(parents=True)
    host = fake("windows=%s" % disk)
    write(tmp_path / "f", "new")
    host.put(tmp_path / "f", target)
    assert (disk / place).read_text() == "new"
    host.put(tmp_path / "f", target)        # over itself
    source = target if target.endswith(("e", "x")) else target.rstrip("\\") + "\\f"
    host.get([source], tmp_path / "back")
    assert (tmp_path / "back").read_text() == "new"


def test_backslash_elsewhere_is_a_letter(host, tmp_path):
    host.put(write(tmp_path / "f", "new"), host.folder / "C:\\f")
    assert names(host.folder) == ["C:\\f"]
    host.get([host.folder / "C:\\f"], tmp_path / "back")
    assert (tmp_path / "back").read_text() == "new" and stat.S_ISREG(Path(tmp_path / "back").stat().st_mode)
