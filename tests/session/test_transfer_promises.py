"""What docs/transfers.rst promises: each promise attacked where it was once broken."""

import io
import os
import pwd
import subprocess
from pathlib import Path

import pytest
from support.copies import ENGINES, Host, mode, names, stop_at, write, write_huge
from support.rss_server import RssServer
from support.sshd import Sshd, path_without
from support.waiting import LONG
from virtvm.companions import rss_client, transfer
from virtvm.companions.exceptions import SCPError, SCPTransferFailedError, SCPTransferTimeoutError

pytestmark = pytest.mark.once         # the C core


@pytest.fixture
def scp(new_own_sshd, folder):
    return Host(new_own_sshd(""), folder, "scp")


# ---- a target where no folder is ----

@pytest.mark.parametrize("target", ["hosts/new", "hosts/", "link/new", "no/new", "no/a/b", "dangling/new"])
@pytest.mark.parametrize("source", ["f", "d"])
def test_target_below_what_is_no_folder_touches_nothing(host, tmp_path, source, target):
    write(tmp_path / "f", "NEW")
    write(tmp_path / "d" / "x", "NEW")
    write(host.folder / "hosts", "precious")
    (host.folder / "link").symlink_to("hosts")
    (host.folder / "dangling").symlink_to("nowhere")
    before = names(host.folder)
    with pytest.raises(SCPTransferFailedError):
        host.put(tmp_path / source, "%s/%s" % (host.folder, target))
    assert names(host.folder) == before and (host.folder / "hosts").read_text() == "precious"


@pytest.mark.parametrize("target", ["hosts/new", "no/new"])
def test_the_same_without_sftp(new_own_sshd, folder, tmp_path, target):
    host = Host(new_own_sshd("Subsystem sftp /bin/false"), folder, None)
    write(tmp_path / "f", "NEW")
    write(folder / "hosts", "precious")
    with pytest.raises(SCPTransferFailedError, match="no such folder"):
        host.put(tmp_path / "f", folder / target)
    assert names(folder) == ["hosts"] and (folder / "hosts").read_text() == "precious"


@pytest.mark.parametrize("target", ["-x", "./-y", "-rf", "~x", "--", "it's"])
def test_targets_with_odd_first_letters(host, tmp_path, target):
    home = Path(os.path.expanduser("~"))
    for text in ("old", "new"):
        host.put(write(tmp_path / "f", text), target)
        assert (home / target).read_text() == text
    (home / target).unlink()


# ---- scripts ----

def test_each_script_is_guarded_against_being_cut(new_own_sshd, folder, tmp_path):
    recorder = folder / "record"
    # Every command that is sh gets its script by standard input: keep a copy of it.
    write(recorder, "#!/bin/sh\ncase $SSH_ORIGINAL_COMMAND in\n"
          "'exec sh') n=$(mktemp %s/script-XXXXXX); cat >$n; exec sh <$n;;\n"
          "*) exec sh -c \"$SSH_ORIGINAL_COMMAND\";; esac\n" % folder, 0o755)
    host = Host(new_own_sshd("ForceCommand %s" % recorder), folder, "scp")
    write(tmp_path / "d" / "sub" / "f", "text")
    write(tmp_path / "d" / "l", "text", 0o4755)
    (folder / "there" / "d").mkdir(parents=True)
    host.put(tmp_path / "d", folder / "there", transfer_verify="yes")
    host.put(tmp_path / "d", folder / "there" / "new")
    host.get(folder / "there" / "*", tmp_path, transfer_verify="yes")
    with pytest.raises(KeyboardInterrupt):
        host.put(write_huge(tmp_path / "big"), folder / "there", progress=stop_at(100000))
    scripts = list(folder.glob("script-*"))
    assert len(scripts) > 8
    for script in scripts:
        text = script.read_text()
        assert text.startswith("{\necho virtvm-") and text.endswith("\n}\n")
    assert not list(folder.rglob(".*.vt-*"))


def test_what_a_start_up_file_prints_is_no_answer(new_own_sshd, folder, tmp_path):
    talker = write(folder / "talker", "#!/bin/sh\n[ \"$SSH_ORIGINAL_COMMAND\" = 'exec sh' ] && echo Welcome && echo d\n"
                   "exec sh -c \"$SSH_ORIGINAL_COMMAND\"\n", 0o755)
    host = Host(new_own_sshd("ForceCommand %s" % talker), folder, "scp")
    write(tmp_path / "f", "text")
    host.put(tmp_path / "f", folder / "f", transfer_verify="yes")
    host.get(folder / "f", tmp_path / "back", transfer_verify="yes")
    assert (tmp_path / "back").read_text() == "text"


# ---- many files without SFTP ----

def test_interrupted_upload_of_many_files_leaves_nothing(scp, tmp_path):
    for n in range(2000):
        write(tmp_path / "d" / ("f%04d" % n), b"n" * 1000)
    for n in range(0, 2000, 10):
        write(scp.folder / "d" / ("f%04d" % n), "old")
    with pytest.raises(KeyboardInterrupt):
        scp.put(tmp_path / "d", scp.folder, progress=stop_at(1200000))
    left = [name for name in names(scp.folder) if ".vt-" in name]
    assert left == []
    for path in (scp.folder / "d").iterdir():
        assert path.read_bytes() in (b"old", b"n" * 1000)


def test_names_of_any_sum_of_lengths(scp, tmp_path):
    """The script that gives names had a bound, and all of it was made at the end."""
    deep = tmp_path / "d" / "/".join(["L" * 240] * 8)
    deep.mkdir(parents=True)
    for n in range(1200):
        (deep / ("%04d%s" % (n, "n" * 200))).touch()
    (scp.folder / "d" / "/".join(["L" * 240] * 8)).mkdir(parents=True)
    scp.put(tmp_path / "d", scp.folder)
    assert names(scp.folder / "d") == names(tmp_path / "d")


# ---- replacing, where a rename does not ----

@pytest.mark.parametrize("fault", ["plain no-rename", "plain no-new-name", "no-rename", "no-new-name"])
def test_old_file_stays_when_the_new_one_cannot_get_its_name(fake, tmp_path, fault):
    host = fake(fault)
    write(host.folder / "f", "old")
    with pytest.raises(SCPTransferFailedError):
        host.put(write(tmp_path / "f", "new"), host.folder)
    assert names(host.folder) == ["f"] and (host.folder / "f").read_text() == "old"


@pytest.mark.parametrize("fault", ["plain", "plain exists=11", "plain exists=4"])
def test_files_are_replaced_without_an_atomic_rename(fake, tmp_path, fault):
    host = fake(fault)
    for n in range(20):
        write(host.folder / "d" / ("f%d" % n), "old")
        write(tmp_path / "d" / ("f%d" % n), "new")
    host.put(tmp_path / "d", host.folder)
    assert {path.read_text() for path in (host.folder / "d").iterdir()} == {"new"}
    assert names(host.folder / "d") == names(tmp_path / "d")


@pytest.mark.parametrize("at", [1, 100000, 150000])
@pytest.mark.parametrize("fault", [None, "plain slow=5"])
def test_interrupt_amid_replacing_loses_no_file(new_own_sshd, fake, folder, tmp_path, fault, at):
    host = fake(fault) if fault else Host(new_own_sshd("Subsystem sftp internal-sftp -P posix-rename"), folder, "sftp")
    for n in range(100 if fault else 1000):
        write(host.folder / "d" / ("f%04d" % n), "old")
        write(tmp_path / "d" / ("f%04d" % n), b"new" * 700)
    with pytest.raises(KeyboardInterrupt) as info:
        host.put(tmp_path / "d", host.folder, progress=stop_at(at))
    there = os.listdir(host.folder / "d")
    left = sorted(name for name in there if ".vt-" in name)
    # All that is left is told; a slow server may still remove some of it.
    assert len(left) <= info.value.left.count
    assert len(info.value.left.names) == min(8, info.value.left.count)
    for path in (tmp_path / "d").iterdir():
        now = host.folder / "d" / path.name
        asides = [name for name in left if name.endswith(".old") and name.startswith(".%s.vt-" % path.name)]
        assert now.exists() or asides
        assert (now if now.exists() else host.folder / "d" / asides[0]).read_bytes() in (b"old", b"new" * 700)
    if fault is None:
        assert left == []           # a server that is in reach is left as it was


def test_file_that_replaces_a_folder(host, tmp_path):
    (host.folder / "f" / "inside").mkdir(parents=True)
    with pytest.raises(SCPTransferFailedError, match=r"folder is in the way|is there|directory"):
        host.put(write(tmp_path / "f", "new"), host.folder)
    assert names(host.folder) == ["f", "f/inside"]


# ---- folders below one that is there ----

def test_interrupted_upload_leaves_no_part_of_a_new_folder(host, tmp_path):
    (host.folder / "d" / "e").mkdir(parents=True)
    big = [write_huge(tmp_path / "d" / "e" / "new" / "sub" / "big"), write_huge(tmp_path / "d" / "new" / "sub" / "big")]
    (tmp_path / "d" / "new").chmod(0o755)
    (tmp_path / "d" / "e" / "new").chmod(0o511)
    with pytest.raises(KeyboardInterrupt):
        host.put(tmp_path / "d", host.folder, progress=stop_at(1000000))
    assert names(host.folder) == ["d", "d/e"]
    for path in big:
        os.truncate(path, 3000000)
    host.put(tmp_path / "d", host.folder)
    assert names(host.folder / "d") == names(tmp_path / "d")
    assert mode(host.folder / "d" / "new") == 0o755 and mode(host.folder / "d" / "e" / "new") == 0o511


def test_interrupted_download_leaves_no_part_of_a_new_folder(host, tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    big = [write_huge(top / "new" / "sub" / "big") for top in (host.folder / "d", host.folder / "d" / "e")]
    (host.folder / "d" / "new").chmod(0o755)
    (host.folder / "d" / "e" / "new").chmod(0o511)
    with pytest.raises(KeyboardInterrupt):
        host.get(host.folder / "d", tmp_path, progress=stop_at(1000000))
    assert names(tmp_path) == ["d", "d/e"]
    for path in big:
        os.truncate(path, 3000000)
    host.get(host.folder / "d", tmp_path)
    assert names(tmp_path / "d") == names(host.folder / "d")
    assert mode(tmp_path / "d" / "new") == 0o755 and mode(tmp_path / "d" / "e" / "new") == 0o511


# ---- names that are repeated ----

@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("direction", ["put", "get"])
def test_folders_of_one_name_are_merged(host, tmp_path, direction, is_there):
    here, there = (tmp_path, host.folder) if direction == "put" else (host.folder, tmp_path)
    for top in "ab":
        write(here / top / "x" / "log", top * (3000000 if top == "a" else 3))
        write(here / top / "x" / top / "own", top)
        write(here / top / "x" / "both" / top, top)
    target = there / "T"
    target.mkdir(mode=0o777)
    target.chmod(0o777)
    if is_there:
        write(target / "x" / "old", "old")
    getattr(host, direction)([here / "a" / "x", here / "b" / "x"], target)
    assert names(target) == sorted(["x", "x/a", "x/a/own", "x/b", "x/b/own", "x/both", "x/both/a", "x/both/b",
                                    "x/log"] + ["x/old"] * is_there)
    assert (target / "x" / "log").read_text() == "bbb"


@pytest.mark.parametrize("direction", ["put", "get"])
def test_of_files_of_one_name_the_last_wins(host, tmp_path, direction):
    here, there = (tmp_path, host.folder) if direction == "put" else (host.folder, tmp_path)
    for sizes in ((5000000, 5), (5, 5000000)):
        for top, size in zip("ab", sizes):
            write(here / top / "log", top * size)
        target = there / "T"
        target.mkdir(exist_ok=True)
        target.chmod(0o777)
        getattr(host, direction)([here / "a" / "log", here / "b" / "log"], target)
        assert set((target / "log").read_text()) == {"b"}


@pytest.mark.parametrize("sources", [
    ("a/.", "b/log"), ("a/log", "b/."), ("a/.", "b/."), ("a/.", "b/sub", "b/log"), ("a/sub", "b/."),
    ("a/.", "b/sub"), ("a/sub", "a/log", "b/."), ("a/.", "a/log", "b/sub", "b/.")])
@pytest.mark.parametrize("direction, is_there", [("put", True), ("get", False), ("get", True)])
def test_what_contents_of_folders_bring_is_in_order_too(host, tmp_path, direction, sources, is_there):
    here, there = (tmp_path, host.folder) if direction == "put" else (host.folder, tmp_path)
    for top, size in (("a", 3000000), ("b", 5)):
        write(here / top / "log", top * size)
        write(here / top / "sub" / "log", top * size)
        write(here / top / "sub" / ("own-" + top))
    target = there / "T"
    target.mkdir()
    if is_there:
        write(target / "sub" / "log", "old").parent.chmod(0o777)
    target.chmod(0o777)
    getattr(host, direction)(["%s/%s" % (here, source) for source in sources], target)
    expected = {}                   # what each source brings, one after another
    for source in sources:
        top, _, what = source.partition("/")
        for name in ("log", "sub/log", "sub/own-" + top):
            if what == "." or name.split("/")[0] == what:
                expected[name] = "x" if "own" in name else top
    if is_there:
        expected.setdefault("sub/log", "o")
    assert {name: (target / name).read_text()[0] for name in names(target) if name != "sub"} == expected


# ---- what is replaced ----

@pytest.mark.parametrize("old", [0o640, 0o600, 0o444, 0o755])
@pytest.mark.parametrize("direction", ["put", "get"])
def test_file_that_is_replaced_keeps_its_mode_and_owner(host, tmp_path, direction, old):
    here, there = (tmp_path, host.folder) if direction == "put" else (host.folder, tmp_path)
    write(here / "f", "new", 0o644)
    write(there / "f", "old", old)
    if os.getuid() == 0:
        os.chown(there / "f", 1, 4)
    getattr(host, direction)(here / "f", there / "f")
    assert (there / "f").read_text() == "new" and mode(there / "f") == old
    if os.getuid() == 0:
        assert ((there / "f").stat().st_uid, (there / "f").stat().st_gid) == (1, 4)


def test_link_as_target_is_written_through_even_if_it_dangles(host, tmp_path):
    for here, there, copy in ((tmp_path, host.folder, host.put), (host.folder, tmp_path / "down", host.get)):
        there.mkdir(exist_ok=True)
        write(here / "f", "new")
        (there / "sub").mkdir()
        (there / "dangling").symlink_to("sub/end")
        (there / "link").symlink_to("sub/old")
        write(there / "sub" / "old", "old")
        copy(here / "f", there / "dangling")
        copy(here / "f", there / "link")
        assert (there / "dangling").is_symlink() and (there / "link").is_symlink()
        assert (there / "sub" / "end").read_text() == (there / "sub" / "old").read_text() == "new"
        assert names(there / "sub") == ["end", "old"]


# ---- what is told first ----

def test_the_cause_is_told_not_its_consequence(new_own_sshd, folder, tmp_path):
    if os.getuid() != 0:
        pytest.skip("mounts")
    host = Host(new_own_sshd(""), folder, "sftp")
    there = folder / "disk"
    there.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=2,mode=0777", "tmpfs", there], check=True)
    try:
        for n in range(20):
            write(tmp_path / "d" / "sub" / ("f%d" % n), "x")
        with pytest.raises(SCPTransferFailedError) as info:
            host.put(tmp_path / "d", there)
        assert info.value.filename == str(tmp_path / "d" / "sub") and info.value.failures == 21
        assert names(there) == ["d"] and "no such file" not in str(info.value)
    finally:
        subprocess.run(["umount", there], check=True)


# ---- progress ----

@pytest.mark.parametrize("direction", ["put", "get"])
def test_progress_that_raises_at_its_last_call_is_raised(host, tmp_path, direction):
    def progress(name, moved, total):
        if name == "":
            raise ZeroDivisionError
    here, there = (tmp_path, host.folder) if direction == "put" else (host.folder, tmp_path)
    write(here / "f", "new")
    with pytest.raises(ZeroDivisionError):
        getattr(host, direction)(here / "f", there / "g", progress=progress)
    assert names(there)[-1] == "g" and (there / "g").read_text() == "new"


# ---- sizes ----

def test_file_that_grew_after_it_was_listed_is_fetched_to_its_end(fake, tmp_path):
    host = fake("size-less=1000")
    for size in (1000, 1100, 5000, 300000, 2000000):
        data = os.urandom(size)
        write(host.folder / "d" / "log", data)
        host.get(host.folder / "d" / "log", tmp_path / "one")
        host.get(host.folder / "d", tmp_path / str(size))
        assert (tmp_path / "one").read_bytes() == (tmp_path / str(size) / "log").read_bytes() == data


@pytest.mark.parametrize("more", ["", " short", " plain"])
@pytest.mark.parametrize("at", [0, 1000, 5119, 300000])
def test_file_that_ends_before_its_size_is_no_success(fake, tmp_path, at, more):
    host = fake("early-eof=%d%s" % (at, more))
    write(host.folder / "f", b"A" * (at + 1000))
    write(tmp_path / "f", "old")
    with pytest.raises(SCPTransferFailedError, match="ended after %d of %d bytes" % (at, at + 1000)):
        host.get(host.folder / "f", tmp_path / "f")
    assert (tmp_path / "f").read_text() == "old" and names(tmp_path) == ["f"]


def test_file_that_is_replaced_while_others_are_fetched(host, tmp_path):
    """It is the new one, whole, or the old one, whole."""
    found = set()
    for count in (400, 1600, 6400):     # a busy machine hears of the progress late
        found |= set(fetch_while_replaced(host, tmp_path / str(count), count))
        if b"N" * 70000 in found:
            break
    assert found <= {b"x" * 20000, b"N" * 70000} and b"N" * 70000 in found


def fetch_while_replaced(host, target, count):
    """What the files are that have arrived, while others of their names come to stand there."""
    target.mkdir()
    victims = ["f%05d" % n for n in range(count)]
    for name in victims:
        write(host.folder / "d" / name, b"x" * 20000)
    replaced = []

    def progress(name, moved, total):
        if not replaced and moved > 1000000:
            for victim in victims:
                write(host.folder / "new", b"N" * 70000)
                (host.folder / "new").rename(host.folder / "d" / victim)
            replaced.append(moved)

    try:
        host.get(host.folder / "d", target, progress=progress)
    except SCPTransferFailedError:
        assert host.engine == "scp"     # whose server sends what its protocol has announced
    assert replaced
    return [(target / "d" / name).read_bytes() for name in victims if (target / "d" / name).exists()]


def test_size_costs_no_round_trip(fake, tmp_path):
    """The server answers a READ only when it has the next request, which is so on its way."""
    host = fake("slow-reads")
    for n in range(5):
        write(host.folder / "d" / ("f%d" % n), b"x" * 100 * n)
    for n in range(5):
        host.get(host.folder / "d" / ("f%d" % n), tmp_path / ("f%d" % n), timeout=20)
        assert (tmp_path / ("f%d" % n)).read_bytes() == b"x" * 100 * n


@pytest.mark.parametrize("path", ["/proc/version", "/proc/cpuinfo", "/sys/kernel/mm/transparent_hugepage/enabled",
                                  "/proc/sys/kernel/ostype", "/sys/devices/system/cpu/online"])
def test_files_of_the_kernel_are_not_what_they_say(host, tmp_path, path):
    if not os.path.exists(path):
        pytest.skip("not on this machine")
    host.get(path, tmp_path / "got")
    assert (tmp_path / "got").read_bytes()[:20] == Path(path).read_bytes()[:20] != b""
    host.put(path, host.folder / "sent")
    assert (host.folder / "sent").read_bytes()[:20] == Path(path).read_bytes()[:20]


def test_empty_files_stay_empty(host, tmp_path):
    for n in range(200):
        write(host.folder / "d" / ("s%d" % (n % 3)) / ("e%d" % n), "")
    host.get(host.folder / "d", tmp_path)
    assert names(tmp_path / "d") == names(host.folder / "d")
    assert not any(path.stat().st_size for path in (tmp_path / "d").rglob("e*"))


@pytest.mark.parametrize("keywords", [{}, {"transfer_verify": "yes"}, {"transfer_sparse": "yes"},
                                      {"transfer_sparse": "yes", "transfer_verify": "yes"}], ids=str)
def test_local_file_that_shrinks_is_told(host, tmp_path, keywords):
    """What is missing then is no hole."""
    write(tmp_path / "f", b"x" * 30000000)

    def progress(name, moved, total):
        os.truncate(tmp_path / "f", 1000)

    write(host.folder / "f", "old")
    with pytest.raises(SCPTransferFailedError, match="became shorter"):
        host.put(tmp_path / "f", host.folder, progress=progress, **keywords)
    assert (host.folder / "f").read_text() == "old"


@pytest.mark.parametrize("ends", ["interrupt", "timeout"])
def test_holes_are_hashed_no_longer_than_it_may_take(sshd, folder, tmp_path, ends):
    """A terabyte of them would take hours."""
    with open(write(tmp_path / "f", b"x" * (8 << 20)), "r+b") as f:
        f.truncate(1 << 40)
    host, keywords = Host(sshd, folder, "sftp"), {"transfer_sparse": "yes", "transfer_verify": "yes"}
    if ends == "timeout":
        with pytest.raises(SCPTransferTimeoutError):
            host.put(tmp_path / "f", folder, timeout=5, **keywords)
    else:
        with pytest.raises(KeyboardInterrupt):
            host.put(tmp_path / "f", folder, timeout=LONG, progress=stop_at(1 << 20), **keywords)
    assert names(folder) == []


# ---- what a guest may decide here ----

@pytest.mark.parametrize("mask", [0o022, 0o077, 0o027])
def test_modes_of_a_guest_are_cut_by_the_mask(host, tmp_path, mask):
    write(host.folder / "d" / "f", "x", 0o4777)
    (host.folder / "d").chmod(0o1777)
    before = os.umask(mask)
    try:
        host.get(host.folder / "d", tmp_path / "new")
        host.get(host.folder / "d" / "f", tmp_path / "f")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == mode(tmp_path / "new" / "f") == mode(tmp_path / "f") == 0o777 & ~mask


def test_home_is_a_home_here_too(host, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    write(host.folder / "f", "x")
    host.get(host.folder / "f", "~/got")
    host.get(host.folder / "f", "~")
    assert names(tmp_path) == ["home", "home/f", "home/got"]


def test_source_that_cannot_be_read_does_not_spoil_one_of_its_name(new_sshd, folder, tmp_path):
    server = new_sshd("")
    if server.account is None:
        pytest.skip("root reads everything, so another account is needed")
    for engine in ENGINES:
        host = Host(server, folder, engine)
        write(folder / "a" / "x", "secret", 0o600)
        write(folder / "b" / "x", "good", 0o644)
        with pytest.raises(SCPTransferFailedError, match="ermission denied") as info:
            host.get([folder / "a" / "x", folder / "b" / "x"], tmp_path, transfer_verify="yes")
        assert info.value.filename == str(folder / "a" / "x")
        assert (tmp_path / "x").read_text() == "good"
        (tmp_path / "x").unlink()


# ---- memory ----

def test_listing_without_names_ends(fake, tmp_path):
    host = fake("empty-names")
    write(host.folder / "d" / "f", "x")
    for source in (host.folder / "d", host.folder / "d" / "*"):
        with pytest.raises(SCPTransferFailedError, match="lists nothing"):
            host.get(source, tmp_path)
    assert names(tmp_path) == []


# ---- Python's side ----

@pytest.mark.parametrize("value, is_yes", [("yes", True), ("on", True), ("TRUE", True), (1, True), (True, True),
                                           ("no", False), ("off", False), (None, False), ("", False), (0, False)])
def test_params_that_are_yes_or_no(scp, tmp_path, value, is_yes):
    os.utime(write(tmp_path / "f"), (1000000000, 1000000000))
    scp.put(tmp_path / "f", scp.folder / "g", transfer_times=value)
    assert ((scp.folder / "g").stat().st_mtime == 1000000000) is is_yes


@pytest.mark.parametrize("name", ["transfer_verify", "transfer_times", "transfer_keep_links"])
def test_params_that_say_neither(scp, tmp_path, name):
    with pytest.raises(SCPError, match="neither yes nor no: 'perhaps'"):
        scp.put(write(tmp_path / "f"), scp.folder, **{name: "perhaps"})
    assert names(scp.folder) == []


@pytest.mark.parametrize("inside", [["x"], [], ["x", "y"]])
def test_contents_of_a_folder_from_one_host_to_another(scp, inside):
    (scp.folder / "from").mkdir()
    for name in inside:
        write(scp.folder / "from" / name, name)
    server = scp.server
    transfer.scp_between_remotes(server.host, server.host, server.port, "", "", server.user, server.user,
                                 str(scp.folder / "from") + "/.", str(scp.folder / "new"), timeout=60,
                                 ssh_identity_file=server.key)
    assert names(scp.folder / "new") == inside


# ---- Windows guests ----

@pytest.mark.parametrize("source", ["missing", "dangling", "pipe"])
@pytest.mark.parametrize("as_list", [False, True])
def test_what_is_named_is_not_left_out_of_an_upload(tmp_path, source, as_list):
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "guest").mkdir()
    with RssServer(tmp_path / "guest") as server:
        path = str(tmp_path / source)
        with pytest.raises(rss_client.FileTransferError):
            rss_client.upload("127.0.0.1", server.port, [path] if as_list else path, "C:\\x", timeout=10)
        with pytest.raises(rss_client.FileTransferNotFoundError):
            rss_client.upload("127.0.0.1", server.port, str(tmp_path / "[dp]*"), "C:\\x", timeout=10)
        write(tmp_path / "plain", "x")
        rss_client.upload("127.0.0.1", server.port, str(tmp_path / "[dp]*"), "C:\\x", timeout=10)
    assert names(tmp_path / "guest") == ["x"]


# ---- what tests need ----

@pytest.mark.parametrize("data", [b"", b"\0bytes\n", "t\xe4xt", io.BytesIO(b"x" * 200000),
                                  io.StringIO("t\xe4xt" * 50000)],
                         ids=["empty", "bytes", "str", "binary", "text"])
def test_contents_are_written_and_read(host, data):
    where, keywords = host.access()
    wanted = data.getvalue() if hasattr(data, "getvalue") else data
    wanted = wanted.encode() if isinstance(wanted, str) else wanted
    if hasattr(data, "seek"):
        data.seek(0)
    transfer.write_file(*where, str(host.folder / "it's"), data, **keywords)
    assert (host.folder / "it's").read_bytes() == wanted and mode(host.folder / "it's") == 0o644
    assert transfer.read_file(*where, str(host.folder / "it's"), **keywords) == wanted
    assert names(host.folder) == ["it's"]


def test_modes_and_owners_of_what_is_written(host):
    where, keywords = host.access()
    path = write(host.folder / "f", "old", 0o640)
    transfer.write_file(*where, str(path), "new", **keywords)
    assert mode(path) == 0o640
    transfer.write_file(*where, str(path), "newer", mode=0o4711, **keywords)
    assert mode(path) == 0o4711 and path.read_text() == "newer"
    if os.getuid() == 0:
        transfer.write_file(*where, str(path), "x", mode=0o600, owner=(7, 8), **keywords)
        assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (7, 8, 0o600)
        transfer.write_file(*where, str(path), "x", owner="daemon:root", **keywords)
        assert path.stat().st_gid == 0 and pwd.getpwuid(path.stat().st_uid).pw_name == "daemon"
        with pytest.raises(SCPTransferFailedError, match="nobody-is-called-so"):
            transfer.write_file(*where, str(path), "y", owner="nobody-is-called-so", **keywords)
    assert path.read_text() in ("x", "newer")


def test_owner_that_is_refused_leaves_the_old_file(new_own_sshd, folder, tmp_path):
    write(tmp_path / "chown", "#!/bin/sh\necho 'chown: not for you' >&2\nexit 1\n", 0o755)
    scp = Host(new_own_sshd("SetEnv PATH=%s:%s" % (tmp_path, os.environ["PATH"])), folder, "scp")
    where, keywords = scp.access()
    path = write(folder / "f", "old", 0o640)
    with pytest.raises(SCPTransferFailedError, match="not for you") as caught:
        transfer.write_file(*where, str(path), "new", owner=(os.getuid(), os.getgid()), **keywords)
    assert path.read_text() == "old" and mode(path) == 0o640
    assert names(folder) == ["f"] and not caught.value.left


def test_contents_do_not_go_into_a_folder(host):
    where, keywords = host.access()
    (host.folder / "d").mkdir()
    with pytest.raises(SCPTransferFailedError, match="is a folder"):
        transfer.write_file(*where, str(host.folder / "d"), "x", **keywords)
    with pytest.raises(SCPTransferFailedError, match="is a folder"):
        transfer.read_file(*where, str(host.folder / "d"), **keywords)
    assert names(host.folder) == ["d"]


@pytest.mark.parametrize("target, sources, result", [
    ("a/b/f", ["f"], ["a", "a/b", "a/b/f"]), ("a/b/", ["f"], ["a", "a/b", "a/b/f"]),
    ("a/b", ["d"], ["a", "a/b", "a/b/x"]), ("a/b", ["f", "d"], ["a", "a/b", "a/b/d", "a/b/d/x", "a/b/f"])])
@pytest.mark.parametrize("direction", ["put", "get"])
def test_parents_are_made_on_request(host, tmp_path, direction, target, sources, result):
    here, there = (tmp_path / "l", host.folder / "r") if direction == "put" else (host.folder / "l", tmp_path / "r")
    write(here / "f", "f")
    write(here / "d" / "x", "x")
    there.mkdir()
    copy = getattr(host, direction)
    with pytest.raises(SCPTransferFailedError):
        copy([here / name for name in sources], "%s/%s" % (there, target))
    assert names(there) == []
    copy([here / name for name in sources], "%s/%s" % (there, target), transfer_parents="yes")
    assert names(there) == result


def test_what_cannot_be_replaced_is_written_in_place(host, tmp_path):
    if os.getuid() != 0:
        pytest.skip("mounts")
    path, other = write(host.folder / "mounted", "old"), write(host.folder / "other", "longer than new")
    subprocess.run(["mount", "--bind", other, path], check=True)
    try:
        write(tmp_path / "f", "new")
        with pytest.raises(SCPTransferFailedError):
            host.put(tmp_path / "f", path)
        host.put(tmp_path / "f", path, transfer_in_place="yes")
        assert other.read_text() == path.read_text() == "new"
        value = write(tmp_path / "v", Path("/proc/sys/kernel/panic").read_text())
        host.put(value, "/proc/sys/kernel/panic", transfer_in_place="yes")
    finally:
        subprocess.run(["umount", path], check=True)
    assert names(host.folder) == ["mounted", "other"]


def test_files_are_on_the_disk_on_request(host, tmp_path):
    write(tmp_path / "d" / "f", "new")
    host.put(tmp_path / "d", host.folder, transfer_sync="yes")
    host.get(host.folder / "d", tmp_path / "back", transfer_sync="yes")
    assert (tmp_path / "back" / "f").read_text() == "new"


def test_holes_are_not_sent(new_own_sshd, folder, tmp_path):
    host = Host(new_own_sshd(""), folder, "sftp")
    with open(tmp_path / "sparse", "wb") as f:
        f.truncate(10 << 30)
        for at in (0, 5 << 30, (10 << 30) - (8 << 20)):
            f.seek(at)
            f.write(os.urandom(1 << 20))
    moved = []
    host.put(tmp_path / "sparse", folder, transfer_sparse="yes", progress=lambda name, n, total: moved.append(n))
    st = (folder / "sparse").stat()
    assert st.st_size == 10 << 30 and st.st_blocks * 512 < 10 << 20 and moved[-1] < 10 << 20
    with open(folder / "sparse", "rb") as there, open(tmp_path / "sparse", "rb") as here:
        for at in (0, 5 << 30, (10 << 30) - (8 << 20)):
            there.seek(at)
            here.seek(at)
            assert there.read(2 << 20) == here.read(2 << 20)


def test_zeros_are_not_written(host, tmp_path):
    data = bytes(3 << 20) + b"x" * 5000 + bytes(1 << 20)
    write(host.folder / "f", data)
    host.get(host.folder / "f", tmp_path / "f", transfer_sparse="yes", transfer_verify="yes")
    assert (tmp_path / "f").read_bytes() == data and (tmp_path / "f").stat().st_blocks * 512 < 1 << 20


def old_sparse(path, size, pieces):
    """A file with data at the pieces alone, which was not written just now."""
    with open(path, "wb") as f:
        f.truncate(size)
        for at, data in pieces:
            f.seek(at)
            f.write(data)
    os.utime(path, (1000000000, 1000000000))
    return path


@pytest.mark.parametrize("missing", [None, ("python",), ("python", "perl")])
def test_holes_are_not_fetched(folder, tmp_path, missing):
    server = Sshd(path_without(missing, tmp_path) if missing else "")
    try:
        host = Host(server, folder, "sftp")
        size = 10 << 30 if missing is None or len(missing) == 1 else 64 << 20
        pieces = [(at, os.urandom(1 << 20)) for at in (0, size // 2, size - (8 << 20))]
        (folder / "d").mkdir()
        old_sparse(folder / "d" / "it's sparse", size, pieces)
        old_sparse(folder / "d" / "hole", size // 2, [])
        old_sparse(folder / "d" / "ends in data", size // 2, [(size // 2 - 5000, b"x" * 5000)])
        moved = []
        host.get(folder / "d", tmp_path, transfer_sparse="yes",
                 progress=lambda name, n, total: moved.append((n, total)))
        for path in (folder / "d").iterdir():
            got = tmp_path / "d" / path.name
            assert got.stat().st_size == path.stat().st_size and got.stat().st_blocks * 512 < 10 << 20
        with open(tmp_path / "d" / "it's sparse", "rb") as f:
            for at, data in pieces:
                f.seek(at)
                assert f.read(2 << 20) == data + bytes(1 << 20)
        assert (tmp_path / "d" / "ends in data").read_bytes()[-5000:] == b"x" * 5000
        if size > 1 << 30:
            assert moved[-1][0] == moved[-1][1] < 10 << 20
    finally:
        server.stop()


def test_many_holes(new_own_sshd, folder, tmp_path):
    """More than are told: what is behind them is one piece."""
    host = Host(new_own_sshd(""), folder, "sftp")
    pieces = [(n * 8192, b"%04d" % (n % 10000) * 1024) for n in range(20500)]
    old_sparse(folder / "f", 20500 * 8192, pieces)
    host.get(folder / "f", tmp_path / "f", transfer_sparse="yes", transfer_verify="yes")
    assert (tmp_path / "f").stat().st_blocks * 512 < 120 << 20


@pytest.mark.parametrize("said", ["", "garbage", "10 10", "5 5 100\n0 9", "%d 1000000000 2000000000\n5 5\n4 3",
                                  "%d 1000000000 2000000000\n0 99999999999", "%d 1000000001 2000000000\n0 5",
                                  "%d 2000000000 2000000000\n0 5", "99 1000000000 2000000000\n0 5",
                                  "%d 1000000000 2000000000\n-1 5", "%d 1000000000 2000000000\n1", "9" * 5000000])
def test_what_a_server_says_of_holes_is_not_trusted(folder, tmp_path, said):
    size = 5 << 20
    data = os.urandom(size)
    write(tmp_path / "bin" / "python3",
          "#!/bin/sh\nif [ \"$2\" = pass ]; then exit 0; fi\ncat %s/said\n" % folder, 0o755)
    write(folder / "said", (said % size if "%d" in said else said) + "\n")
    write(folder / "f", data)
    os.utime(folder / "f", (1000000000, 1000000000))
    server = Sshd("SetEnv PATH=%s:%s" % (tmp_path / "bin", os.environ["PATH"]))
    try:
        Host(server, folder, "sftp").get(folder / "f", tmp_path / "f", transfer_sparse="yes")
        assert (tmp_path / "f").read_bytes() == data
    finally:
        server.stop()
