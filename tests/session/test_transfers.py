"""Copying files over a real SSH server: what arrives is whole, or not there at all."""

import os
import random
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from support.waiting import until
from virtvm.companions import transfer
from virtvm.companions.exceptions import (
    SCPAuthenticationError, SCPError, SCPTransferFailedError, SCPTransferTimeoutError,
    TransferBadClientError)

SPARSE_MIB = int(os.environ.get("VIRTVM_SPARSE_MIB", "64"))     # `make soak` takes 5120


class Host:
    """The server's account as a place to copy to and from, by one engine."""

    def __init__(self, server, folder, engine=None):
        self.server, self.folder, self.engine = server, folder, engine
        self.where = (server.host, server.port, server.user, server.password or "")
        self.keywords = {"ssh_identity_file": server.key, "transfer_engine": engine}

    def put(self, local, remote, **keywords):
        transfer.scp_to_remote(*self.where, str(local), str(remote), **self.keywords, **keywords)

    def get(self, remote, local, **keywords):
        transfer.scp_from_remote(*self.where, str(remote), str(local), **self.keywords, **keywords)


@pytest.fixture(params=["sftp", "scp"])
def host(sshd, request):
    """The server, with a folder that its account may write to (pytest's own are private)."""
    folder = Path(tempfile.mkdtemp(prefix="virtvm-remote-"))
    folder.chmod(0o777)
    yield Host(sshd, folder, request.param)
    shutil.rmtree(folder)


def make_tree(root, seed):
    """A tree of files, empty ones and folders, with names that are hard."""
    rand = random.Random(seed)
    names = ["plain", "with blank", "quote'\"", "new\nline", "dash-", "-dash", "\xe4\u20ac", "*star?", "a" * 200]
    root.mkdir()
    folders = [root]
    for n in range(12):
        # An scp can't send a folder that has a line break in its name: see below.
        folder = rand.choice(folders) / ("%s.%d" % (rand.choice(names).replace("\n", "\r"), n))
        folder.mkdir()
        folders.append(folder)
    for n in range(60):
        path = rand.choice(folders) / ("%s %d" % (rand.choice(names), n))
        path.write_bytes(rand.randbytes(rand.choice([0, 1, 100, 4096, 32768, 261120, 261121, 700000])))
        path.chmod(rand.choice([0o644, 0o600, 0o755, 0o640]))
    with open(os.path.join(os.fsencode(root), b"bad\xff\xfename"), "wb") as f:
        f.write(b"bytes")
    return root


def contents(root):
    """{relative name: (kind, mode, data)} of a tree, root itself left out."""
    found = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            data = None
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    data = f.read()
            elif stat.S_ISLNK(st.st_mode):
                data = os.readlink(path)
            found[os.path.relpath(path, os.fsencode(root))] = (stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), data)
    return found


def stray(*folders):
    """Temporary files that a transfer left."""
    return [name for folder in folders for name in contents(folder) if b".vt-" in name]


def stray_names(folder):
    return [name for name in os.listdir(folder) if ".vt-" in name]


@pytest.mark.once
@pytest.mark.parametrize("seed", range(3))
def test_trees_arrive_byte_for_byte_with_modes(host, tmp_path, seed):
    tree = make_tree(tmp_path / "tree", seed)
    host.put(tree, host.folder / "new")
    assert contents(host.folder / "new") == contents(tree)
    host.get(host.folder / "new", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tree)


@pytest.mark.once
def test_trees_with_checksums(host, tmp_path):
    tree = make_tree(tmp_path / "tree", 7)
    (tree / "large").write_bytes(os.urandom(3 << 20))
    host.put(tree, host.folder / "new", transfer_verify="yes")
    host.put(str(tree) + "/.", host.folder / "new", transfer_verify="yes")
    assert contents(host.folder / "new") == contents(tree)
    host.get(host.folder / "new", tmp_path / "back", transfer_verify="yes")
    assert contents(tmp_path / "back") == contents(tree)


@pytest.mark.once
def test_checksums_where_nobody_can_make_them(new_sshd, host, tmp_path):
    bare = host.folder / "bin"
    bare.mkdir()
    for name in ("sh", "scp", "wc", "mv", "rm", "readlink", "printf"):
        (bare / name).symlink_to(shutil.which(name))
    other = Host(new_sshd("SetEnv PATH=%s" % bare), host.folder, host.engine)
    (tmp_path / "f").write_text("f")
    with pytest.raises(SCPTransferFailedError, match="no program for SHA-256"):
        other.put(tmp_path / "f", host.folder / "f", transfer_verify="yes")
    assert os.listdir(host.folder) == ["bin"]
    other.put(tmp_path / "f", host.folder / "f")
    assert (host.folder / "f").read_text() == "f"


@pytest.mark.once
def test_line_breaks_in_the_names_of_folders(host, tmp_path):
    inner = tmp_path / "top" / "a\nb" / "c\nd"
    inner.mkdir(parents=True)
    (inner / "e\nf").write_text("text")
    inner.chmod(0o550)
    host.put(tmp_path / "top", host.folder / "new")
    host.put(str(tmp_path / "top") + "/.", host.folder)         # into what is there
    assert contents(host.folder / "new") == contents(tmp_path / "top")
    assert (host.folder / "a\nb" / "c\nd" / "e\nf").read_text() == "text"
    assert stray(host.folder) == []
    if host.engine == "scp":        # OpenSSH's does not find such a folder itself
        with pytest.raises(SCPTransferFailedError, match="No such file"):
            host.get(host.folder / "new", tmp_path / "back")
    else:
        host.get(host.folder / "new", tmp_path / "back")
        assert contents(tmp_path / "back") == contents(tmp_path / "top")


def test_into_a_folder_or_under_a_new_name_as_scp_decides(host, tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "x").write_text("x")
    host.put(tmp_path / "file", host.folder)
    host.put(tmp_path / "file", host.folder / "renamed")
    host.put(tmp_path / "dir", host.folder)
    host.put(tmp_path / "dir", host.folder / "dir2")
    host.put(str(tmp_path / "dir") + "/.", host.folder / "contents")
    assert set(contents(host.folder)) == {b"file", b"renamed", b"dir", b"dir/x", b"dir2", b"dir2/x",
                                          b"contents", b"contents/x"}
    local = tmp_path / "local"
    local.mkdir()
    host.get(host.folder / "file", local)
    host.get(host.folder / "file", local / "renamed")
    host.get(host.folder / "dir", local)
    host.get(host.folder / "dir", local / "dir2")
    assert set(contents(local)) == {b"file", b"renamed", b"dir", b"dir/x", b"dir2", b"dir2/x"}


@pytest.mark.once
def test_several_and_patterns_on_both_sides(host, tmp_path):
    for name in ("a1", "a2", "b1"):
        (tmp_path / name).write_text(name)
    host.put(str(tmp_path / "a*"), host.folder)
    assert set(contents(host.folder)) == {b"a1", b"a2"}
    host.put("%s %s" % (tmp_path / "a1", tmp_path / "b1"), host.folder)
    out = tmp_path / "out"
    out.mkdir()
    host.get(host.folder / "[ab]1", out)
    assert set(contents(out)) == {b"a1", b"b1"}
    (host.folder / "lit*eral").write_text("itself")
    host.get(host.folder / "lit*eral", out)
    assert (out / "lit*eral").read_text() == "itself"
    with pytest.raises(SCPTransferFailedError, match="no such file"):
        host.get(host.folder / "none*", out)
    with pytest.raises(SCPTransferFailedError):
        host.get(host.folder / "?1", tmp_path / "one name for several")


def test_home(host, sshd, tmp_path):
    (tmp_path / "f").write_text("home")
    home = sshd.account.home if sshd.account else os.path.expanduser("~")
    host.put(tmp_path / "f", "~/virtvm-test-f")
    try:
        host.get("~/virtvm-test-f", tmp_path / "g")
        assert (tmp_path / "g").read_text() == "home"
    finally:
        os.unlink(os.path.join(home, "virtvm-test-f"))


def test_links_are_followed_or_kept(host, tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("text")
    (tree / "link").symlink_to("file")
    host.put(tree, host.folder / "followed")
    assert contents(host.folder / "followed")[b"link"][2] == b"text"
    host.put(tree, host.folder / "kept", transfer_keep_links="yes")
    assert contents(host.folder / "kept")[b"link"][2] == b"file"
    if host.engine == "scp":
        with pytest.raises(SCPTransferFailedError, match="cannot receive links"):
            host.get(host.folder / "kept", tmp_path / "kept", transfer_keep_links="yes")
    else:
        host.get(host.folder / "kept", tmp_path / "kept", transfer_keep_links="yes")
        assert contents(tmp_path / "kept")[b"link"][2] == b"file"
    host.get(host.folder / "kept", tmp_path / "followed")
    assert contents(tmp_path / "followed")[b"link"][2] == b"text"


def test_times_are_kept_on_request(host, tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    os.utime(path, (1000000000, 1000000000))
    host.put(path, host.folder / "kept", transfer_times="yes")
    host.put(path, host.folder / "new")
    assert (host.folder / "kept").stat().st_mtime == 1000000000
    assert (host.folder / "new").stat().st_mtime > 1500000000
    host.get(host.folder / "kept", tmp_path / "back", transfer_times="yes")
    assert (tmp_path / "back").stat().st_mtime == 1000000000


@pytest.mark.once
def test_large_sparse_file(host, tmp_path):
    path = tmp_path / "big"
    with open(path, "wb") as f:
        f.truncate(SPARSE_MIB << 20)
        f.seek((SPARSE_MIB - 24) << 20)
        f.write(os.urandom(1 << 20))
    host.put(path, host.folder / "big")
    host.get(host.folder / "big", tmp_path / "back")
    assert subprocess.run(["cmp", str(path), str(tmp_path / "back")]).returncode == 0


def test_existing_target_is_replaced_whole(host, tmp_path):
    (host.folder / "target").write_text("old and longer")
    (host.folder / "target").chmod(0o666)
    (tmp_path / "f").write_text("new")
    host.put(tmp_path / "f", host.folder / "target")
    assert (host.folder / "target").read_text() == "new"
    (tmp_path / "local").write_text("old and longer")
    host.get(host.folder / "target", tmp_path / "local")
    assert (tmp_path / "local").read_text() == "new"


@pytest.mark.once
@pytest.mark.parametrize("what", ["missing source", "no folder there", "folder in the way", "permission"])
def test_failed_upload_names_the_file_and_leaves_all_as_it_was(host, tmp_path, what):
    source, target = tmp_path / "f", host.folder / "target"
    source.write_bytes(os.urandom(500000))
    target.write_text("old")
    if what == "missing source":
        source.unlink()
    elif what == "no folder there":
        target = host.folder / "none" / "target"
    elif what == "folder in the way":
        (tmp_path / "dir").mkdir()
        (tmp_path / "dir" / "x").write_text("x")
        source = tmp_path / "dir"
    else:
        if host.server.account is None:
            pytest.skip("needs another account")
        target = tmp_path / "target of root"
        target.write_text("old")
    with pytest.raises(SCPTransferFailedError) as info:
        host.put(source, target)
    assert info.value.stage == "transfer" and info.value.host == host.server.host
    assert str(source) in str(info.value) or str(target) in str(info.value)
    assert not target.exists() or target.read_text() == "old"
    assert stray(host.folder, tmp_path) == []


def test_failed_download_leaves_all_as_it_was(host, tmp_path):
    (host.folder / "dir").mkdir()
    (host.folder / "dir" / "ok").write_bytes(os.urandom(300000))
    os.mkfifo(host.folder / "dir" / "pipe")
    with pytest.raises(SCPTransferFailedError, match="regular file"):
        host.get(host.folder / "dir", tmp_path / "dir")
    assert stray(tmp_path) == []
    (tmp_path / "old").write_text("old")
    with pytest.raises(SCPTransferFailedError):
        host.get(host.folder / "none", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "old"


@pytest.mark.once
def test_planted_link_is_not_followed(host, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (host.folder / "dir" / "sub").mkdir(parents=True)
    (host.folder / "dir" / "sub" / "f").write_text("f")
    target = tmp_path / "target"
    (target / "dir").mkdir(parents=True)
    (target / "dir" / "sub").symlink_to(outside)
    with pytest.raises(SCPTransferFailedError):
        host.get(host.folder / "dir", target)
    assert os.listdir(outside) == []


def slow_relay(server, bytes_before_silence):
    """A port that leads to the server and falls silent after so many bytes either way."""
    listener = socket.create_server(("127.0.0.1", 0))
    ends = [listener]

    def run():
        peer, _ = listener.accept()
        out = socket.create_connection((server.host, server.port))
        ends.extend([peer, out])
        left = [bytes_before_silence]

        def pump(source, sink):
            try:
                while left[0] > 0:
                    data = source.recv(16384)
                    if not data:
                        return
                    left[0] -= len(data)
                    sink.sendall(data)
            except OSError:
                pass

        threading.Thread(target=pump, args=(peer, out), daemon=True).start()
        pump(out, peer)

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1], ends


@pytest.mark.once
@pytest.mark.parametrize("host", ["sftp"], indirect=True)      # tests/faults has the other
@pytest.mark.parametrize("keywords, error", [
    ({"transfer_stall_timeout": "0.5"}, "stalled"), ({"timeout": 1.2}, "time for the transfer is over")])
def test_stalled_transfer_ends(host, tmp_path, keywords, error):
    (tmp_path / "f").write_bytes(os.urandom(4 << 20))
    port, ends = slow_relay(host.server, 1 << 20)
    host.where = (host.server.host, port) + host.where[2:]
    try:
        with pytest.raises(SCPTransferTimeoutError, match=error):
            host.put(tmp_path / "f", host.folder / "f", **keywords)
        assert not (host.folder / "f").exists()
    finally:
        for end in ends:
            end.close()


@pytest.mark.once
def test_server_killed_in_the_middle(new_sshd, tmp_path):
    server = new_sshd()
    host = Host(server, tmp_path)
    big = os.path.join(server.folder, "big")
    with open(big, "wb") as f:
        f.truncate(4 << 30)
    (tmp_path / "old").write_text("old")

    def kill():
        until(lambda: stray_names(tmp_path))
        server.kill_sessions()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(SCPTransferFailedError, match="connection"):
        host.get(big, tmp_path / "old")
    thread.join()
    assert (tmp_path / "old").read_text() == "old" and stray_names(tmp_path) == []


def test_exception_in_progress_ends_it_and_leaves_nothing(host, tmp_path):
    from virtvm import _session
    (tmp_path / "f").write_bytes(os.urandom(8 << 20))

    def progress(name, size, files):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _session.put(*host.where, (os.fsencode(tmp_path / "f"),), os.fsencode(host.folder / "f"),
                     identity_file=host.server.key, progress=progress)
    assert contents(host.folder) == {}


def test_wrong_password_and_closed_port(sshd, tmp_path):
    (tmp_path / "f").write_text("f")
    with pytest.raises(SCPAuthenticationError) as info:
        transfer.scp_to_remote(sshd.host, sshd.port, sshd.user, "wrong", str(tmp_path / "f"), "/tmp/x")
    assert "wrong" not in str(info.value) and info.value.methods
    with pytest.raises(SCPError, match="refused"):
        transfer.scp_to_remote(sshd.host, 1, sshd.user, "x", str(tmp_path / "f"), "/tmp/x")


def test_server_without_sftp_gets_its_files_by_scp(new_sshd, tmp_path):
    from virtvm.companions import virt_utils
    host = Host(new_sshd("Subsystem sftp /bin/false"), tmp_path)
    (tmp_path / "f").write_text("f")
    folder = Path(host.server.account.home if host.server.account else tmp_path)
    host.put(tmp_path / "f", folder / "g", log_filename=str(tmp_path / "log"))
    host.get(folder / "g", tmp_path / "h", log_filename=str(tmp_path / "log"))
    assert (tmp_path / "h").read_text() == "f"
    virt_utils.close_log_file()
    assert (tmp_path / "log").read_text().count("by scp") == 2
    with pytest.raises(SCPTransferFailedError) as info:
        Host(host.server, tmp_path, "sftp").put(tmp_path / "f", folder / "i")
    assert info.value.stage in ("channel", "transfer") and "SFTP" in str(info.value)
    with pytest.raises(SCPError, match="Unknown transfer engine"):
        Host(host.server, tmp_path, "ftp").put(tmp_path / "f", folder / "i")


def test_server_with_neither_sftp_nor_scp(new_sshd, tmp_path):
    server = new_sshd("ForceCommand echo no shell here\nSubsystem sftp /bin/false")
    for engine in ("sftp", "scp"):
        with pytest.raises(SCPTransferFailedError, match="neither SFTP nor a shell|no shell here"):
            Host(server, tmp_path, engine).put(__file__, "/tmp/x")
        with pytest.raises(SCPTransferFailedError, match="shell"):
            Host(server, tmp_path, engine).get("/etc/passwd", tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_unknown_clients_copy_nothing_and_say_so(sshd):
    for client in (None, "none", "rsync"):
        with pytest.raises(TransferBadClientError):
            transfer.copy_files_to(sshd.host, client, sshd.user, "x", sshd.port, "/etc/passwd", "/tmp")


def test_log_and_verbose(host, tmp_path, caplog):
    from virtvm.companions import virt_utils
    (tmp_path / "f").write_text("f")
    log = tmp_path / "transfer.log"
    host.put(tmp_path / "f", host.folder / "f", log_filename=str(log), verbose=True)
    virt_utils.close_log_file()
    lines = log.read_text().splitlines()
    assert "sending" in lines[0] and "done: 1 files" in lines[1]


def test_between_remotes(host, sshd, tmp_path):
    if sshd.password is None:
        pytest.skip("needs a password")
    (host.folder / "f").write_text("across")
    transfer.scp_between_remotes(sshd.host, sshd.host, sshd.port, sshd.password, sshd.password, sshd.user,
                                 sshd.user, str(host.folder / "f"), str(host.folder / "g"))
    assert (host.folder / "g").read_text() == "across"


@pytest.mark.once
def test_memory_does_not_grow_with_the_size(host, tmp_path):
    import resource
    path = tmp_path / "big"
    with open(path, "wb") as f:
        f.truncate(100 << 20)
    host.put(path, host.folder / "warm-up")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    host.put(path, host.folder / "big")
    host.get(host.folder / "big", tmp_path / "back")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


def test_progress_is_told(host, tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100000)
    (tmp_path / "b c").write_bytes(b"y")
    seen = []
    host.put(tmp_path / "a", host.folder / "a", progress=lambda *args: seen.append(args))
    name, size, total = seen[-1]
    assert size == total == 100000 and isinstance(name, str)
    transfer.scp_to_remote(*host.where, [tmp_path / "a", tmp_path / "b c"], str(host.folder),
                           ssh_identity_file=host.server.key)
    transfer.scp_from_remote(*host.where, [str(host.folder / "a"), str(host.folder / "b c")], str(tmp_path),
                             ssh_identity_file=host.server.key)
    with pytest.raises(ZeroDivisionError):
        host.get(host.folder / "a", tmp_path / "new", progress=lambda *args: 1 // 0)
