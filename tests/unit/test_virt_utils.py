"""virt_utils, against real files, processes, sockets and threads."""

import contextlib
import errno
import inspect
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from support.waiting import BUSY, LONG, due
from virtvm.companions import error, virt_utils
from virtvm.host import processes


@pytest.fixture
def debug_log(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


def descriptors():
    return len(os.listdir("/proc/self/fd"))


# Names and paths

@pytest.mark.parametrize("user, expected", [
    ("/abs", "/abs"), ("rel/x", "/base/rel/x"), ("", "/base/"), ("../x", "/base/../x")])
def test_get_path(user, expected):
    assert virt_utils.get_path("/base", user) == expected


def test_random_strings():
    seen = {virt_utils.generate_random_string(8) for _ in range(2000)}
    assert len(seen) == 2000
    assert all(re.fullmatch("[a-zA-Z0-9]{8}", s) for s in seen)
    assert virt_utils.generate_random_string(0) == virt_utils.generate_random_string(-1) == ""
    assert re.fullmatch("id[a-zA-Z0-9]{6}", virt_utils.generate_random_id())


def test_random_characters_are_even():
    text = virt_utils.generate_random_string(62000)
    counts = [text.count(c) for c in set(text)]
    assert len(counts) == 62 and 800 < min(counts) and max(counts) < 1200   # six sigma


def test_tmp_file_names(tmp_path):
    path = virt_utils.generate_tmp_file_name("f", "iso", str(tmp_path))
    assert re.fullmatch(re.escape(str(tmp_path)) + r"/f-\d{8}-\d{6}-\w{4}\.iso", path)
    assert not os.path.exists(path)
    assert re.fullmatch(r"/tmp/f-\d{8}-\d{6}-\w{4}", virt_utils.generate_tmp_file_name("f"))


def test_tmp_file_name_that_exists_is_not_given(tmp_path, monkeypatch):
    names = iter(["aaaa", "bbbb"])
    monkeypatch.setattr(virt_utils, "generate_random_string", lambda n: next(names))
    monkeypatch.setattr(time, "strftime", lambda f: "T-")
    (tmp_path / "f-T-aaaa").symlink_to("nowhere")
    assert virt_utils.generate_tmp_file_name("f", dir=str(tmp_path)).endswith("f-T-bbbb")


def test_find_command():
    assert os.access(virt_utils.find_command("sh"), os.X_OK)
    with pytest.raises(ValueError, match="Missing command: no-such-command"):
        virt_utils.find_command("no-such-command")


@pytest.mark.parametrize("text, expected", [
    ("", ""), ("a", " a"), ("a\n", " a"), ("a\nb\n", "\na\nb"), ("\n\n", "\n\n")])
def test_format_str_for_message(text, expected):
    assert virt_utils.format_str_for_message(text) == expected


def test_display_attributes(debug_log):
    class Thing:
        """Has attributes of each kind."""

        shown = 5

        def __init__(self):
            self.also = "x"
            self.empty = ""
            self._own = [1]

        def method(self):
            pass
    assert virt_utils.display_attributes(Thing()) is None
    assert debug_log.messages == ["Attributes set:", "    _own: [1]", "    also: x",
                                  "    shown: 5"]


# Waiting

def test_wait_for_returns_the_value():
    values = iter([0, None, "", "found"])
    assert virt_utils.wait_for(lambda: next(values), LONG, step=0.01) == "found"


def test_wait_for_gives_up_in_time():
    calls = []
    with due(0.35):
        assert virt_utils.wait_for(lambda: calls.append(1), 0.35, step=0.1) is None
    assert 1 <= len(calls) <= 4
    with due(0.2):
        assert virt_utils.wait_for(lambda: False, 0.2, step=LONG) is None


def test_wait_for_first_and_no_try_after_the_end():
    calls = []
    with due(0.2):
        virt_utils.wait_for(lambda: calls.append(1) or True, LONG, first=0.2)
    assert calls == [1]
    assert virt_utils.wait_for(lambda: True, 0) is None
    with due(0.1):
        assert virt_utils.wait_for(lambda: True, 0.1, first=LONG) is None


def test_wait_for_logs_its_text(debug_log):
    virt_utils.wait_for(lambda: True, LONG, text="waiting for it")
    assert re.fullmatch(r"waiting for it \(\d+\.\d+ secs\)", debug_log.messages[0])


def test_wait_for_lets_exceptions_through():
    with pytest.raises(ZeroDivisionError):
        virt_utils.wait_for(lambda: 1 / 0, 10)


# Log files

@pytest.fixture
def log_dir(tmp_path):
    virt_utils.set_log_file_dir(str(tmp_path))
    yield tmp_path
    virt_utils.close_log_file()
    virt_utils._log_files.folder = None


LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: %s\n"


def test_log_line(log_dir):
    virt_utils.log_line("a.log", "one é \udcff")
    virt_utils.log_line("a.log", "")
    text = (log_dir / "a.log").read_text()
    assert re.fullmatch(LINE % r"one é \\udcff" + LINE % "", text)


def test_log_line_begins_a_file_once(log_dir):
    (log_dir / "a.log").write_text("old\n")
    virt_utils.log_line("a.log", "one")
    virt_utils.close_log_file("a.log")
    virt_utils.close_log_file("a.log")
    virt_utils.log_line("a.log", "two")
    assert re.fullmatch(LINE % "one" + LINE % "two", (log_dir / "a.log").read_text())


def test_log_line_makes_folders_and_takes_absolute_names(log_dir, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "x" / "b.log"
    virt_utils.log_line("sub/dir/a.log", "one")
    virt_utils.log_line(str(other), "two")
    assert (log_dir / "sub/dir/a.log").exists() and other.exists()


def test_log_files_follow_the_folder(log_dir):
    virt_utils.log_line("a.log", "one")
    virt_utils.set_log_file_dir(str(log_dir / "next"))
    virt_utils.log_line("a.log", "two")
    assert "one" in (log_dir / "a.log").read_text()
    assert re.fullmatch(LINE % "two", (log_dir / "next" / "a.log").read_text())


@pytest.mark.parametrize("fails", ["fstat", "set_blocking"])
def test_a_log_that_can_not_be_looked_at_is_closed(log_dir, monkeypatch, fails):
    def refuse(*args):
        raise OSError(errno.EIO, "Input/output error")

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as broken:
        broken.setattr(os, fails, refuse)
        with pytest.raises(OSError, match="Input/output"):
            virt_utils.log_line("broken", "a line")
    assert os.listdir("/proc/self/fd") == before


def test_log_files_stay_few(log_dir):
    before = descriptors()
    for i in range(300):
        virt_utils.log_line("%d.log" % i, "x")
    assert descriptors() - before <= 64
    virt_utils.log_line("0.log", "y")
    assert re.fullmatch(LINE % "x" + LINE % "y", (log_dir / "0.log").read_text())
    virt_utils.close_log_file()
    assert descriptors() == before


def test_log_lines_of_threads_stay_whole(log_dir):
    def work(i):
        for _ in range(100):
            virt_utils.log_line("%d.log" % (i % 2), "%d" % i * 500)
    virt_utils.parallel([(work, (i,)) for i in range(8)])
    lines = (log_dir / "0.log").read_text().splitlines()
    lines += (log_dir / "1.log").read_text().splitlines()
    assert len(lines) == 800
    assert all(re.fullmatch(r"[-\d]+ [\d:]+: (\d)\1{499}", line) for line in lines)


@pytest.mark.parametrize("folder", ["/tmp", "of the test"])
def test_default_log_folder_follows_no_link(folder, tmp_path, monkeypatch):
    assert virt_utils._log_files.folder is None
    if folder == "/tmp":
        monkeypatch.delenv("TMPDIR")
    else:
        monkeypatch.setenv("TMPDIR", folder := str(tmp_path))
    name = "virtvm-test-%s.log" % virt_utils.generate_random_string(8)
    os.symlink(str(tmp_path / "victim"), os.path.join(folder, name))
    try:
        with pytest.raises(OSError):
            virt_utils.log_line(name, "x")
        assert not (tmp_path / "victim").exists()
    finally:
        os.unlink(os.path.join(folder, name))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_log_line_in_a_forked_child(log_dir):
    # Another thread holds the lock at the moment of the fork.
    held, release = threading.Event(), threading.Event()

    def hold():
        with virt_utils._log_files._lock:
            held.set()
            release.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        virt_utils.log_line("child.log", "x")
        os._exit(0)
    release.set()
    thread.join()
    assert os.waitpid(pid, 0)[1] == 0 and (log_dir / "child.log").exists()


# Ports

def test_free_ports():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        assert not virt_utils.is_port_free(port)
        assert not virt_utils.is_port_free(port, "127.0.0.1")
        assert virt_utils.find_free_port(port, port + 1) is None
        found = virt_utils.find_free_port(port, port + 200)
        assert port < found < port + 200
        ports = virt_utils.find_free_ports(port, port + 200, 3)
        assert ports == sorted(set(ports)) and len(ports) == 3 and port not in ports
    assert virt_utils.is_port_free(port, "127.0.0.1")
    assert virt_utils.find_free_port(port, port) is None


def test_port_used_on_any_address_is_not_free():
    with socket.socket() as s:
        s.bind(("127.0.0.2", 0))
        s.listen()
        assert not virt_utils.is_port_free(s.getsockname()[1])


# Processes

def test_kill_process_tree():
    with subprocess.Popen(["/bin/bash", "-c", "setsid bash -c 'sleep 300 & echo $!; wait' & "
                           "echo $!; wait"], stdout=subprocess.PIPE, text=True) as top:
        pids = [int(top.stdout.readline()), int(top.stdout.readline())]
        assert all(map(virt_utils.pid_exists, pids))
        virt_utils.kill_process_tree(top.pid)
        assert top.wait(BUSY) == -9
        assert all(processes.end_process(pid, 0, BUSY) for pid in pids)


def living_in_session(sid):
    found = []
    for pid in processes.all_pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == sid and processes.state(pid) not in (None, "Z"):
                found.append(pid)
    return found


def test_kill_process_tree_that_keeps_forking():
    bomb = "while :; do sleep 0.5 & done"
    with subprocess.Popen(["/bin/bash", "-c", "ulimit -u 4000; " + bomb],
                          start_new_session=True) as top:
        assert virt_utils.wait_for(lambda: len(living_in_session(top.pid)) > 5, BUSY, step=0.01)
        virt_utils.kill_process_tree(top.pid)
        assert top.wait(BUSY) == -9
    assert virt_utils.wait_for(lambda: not living_in_session(top.pid), BUSY, step=0.05)


def test_kill_process_tree_with_another_signal():
    with subprocess.Popen(["/bin/bash", "-c", "trap 'exit 5' TERM; echo; "
                           "while :; do sleep 0.05; done"],
                          stdout=subprocess.PIPE) as top:
        top.stdout.readline()
        virt_utils.kill_process_tree(top.pid, signal.SIGTERM)
        assert top.wait(BUSY) == 5


def test_kill_process_tree_of_nobody():
    sp = subprocess.Popen(["true"])
    sp.wait()
    virt_utils.kill_process_tree(sp.pid)
    assert not virt_utils.pid_exists(sp.pid)
    for pid in (0, -1):
        with pytest.raises(ValueError):
            virt_utils.kill_process_tree(pid)


# Threads

def test_thread_returns_the_value():
    thread = virt_utils.Thread(lambda a, b: (a, b), (1,), {"b": 2})
    thread.start()
    assert thread.join() == (1, 2)
    assert thread.join() is None
    assert not thread.is_alive() and not thread.isAlive()


@error.context_aware
def fail_with_context():
    error.context("in the thread")
    raise error.TestFail("bad")


def test_thread_raises_once_with_both_contexts():
    @error.context_aware
    def main():
        error.context("joining")
        thread.join()
    thread = virt_utils.Thread(fail_with_context)
    thread.start()
    with pytest.raises(error.TestFail) as info:
        main()
    assert str(info.value) == "bad    [context: joining --> in the thread]"
    frames = [entry.name for entry in info.traceback]
    assert "fail_with_context" in frames
    assert thread.join() is None


def test_thread_prints_nothing_of_its_own(capfd):
    thread = virt_utils.Thread(fail_with_context)
    thread.start()
    assert thread.join(suppress_exception=True) is None
    assert thread.join() is None
    assert capfd.readouterr() == ("", "")


def test_thread_join_that_times_out():
    event = threading.Event()
    thread = virt_utils.Thread(lambda: event.wait() and "late")
    thread.start()
    assert thread.join(0.05) is None
    assert thread.isAlive()
    event.set()
    assert thread.join(BUSY) == "late"


def test_thread_raises_what_is_no_exception():
    thread = virt_utils.Thread(sys.exit, (3,))
    thread.start()
    with pytest.raises(SystemExit):
        thread.join()


def test_parallel():
    barrier = threading.Barrier(3)

    def meet(*args, **kwargs):
        barrier.wait(BUSY)
        return args, kwargs
    assert virt_utils.parallel(iter([meet, (meet, (1,)), [meet, [2], {"a": 3}]])) == [
        ((), {}), ((1,), {}), ((2,), {"a": 3})]
    assert virt_utils.parallel([]) == []


def test_parallel_raises_the_first_in_order():
    failed = threading.Event()

    def late():
        failed.wait(BUSY)
        raise KeyError("first")

    def early():
        try:
            fail_with_context()
        finally:
            failed.set()
    with pytest.raises(KeyError, match="first"):
        virt_utils.parallel([late, early])


# Mounts

@pytest.fixture
def may_mount(tmp_path):
    """Whether this process may mount at all; a namespace of its own is not assumed."""
    folder = tmp_path / "probe"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "probe", str(folder)],
                          capture_output=True).returncode == 0
    if done:
        subprocess.run(["umount", str(folder)], check=True)
    return done


def test_mount_and_umount(tmp_path, may_mount):
    folder = tmp_path / "a b"
    folder.mkdir()
    assert virt_utils.umount("virtvm test", str(folder), "tmpfs") is True
    assert virt_utils.mount("virtvm test", str(folder), "tmpfs", "ro") is may_mount
    try:
        assert os.path.ismount(folder) is may_mount
        if may_mount:
            assert os.statvfs(folder).f_flag & os.ST_RDONLY
            # Again, the other way: unmounted first.
            assert virt_utils.mount("virtvm test", str(folder), "tmpfs", "rw,size=1m")
            (folder / "f").write_text("x")
    finally:
        assert virt_utils.umount("virtvm test", str(folder), "tmpfs") is True
    assert not os.path.ismount(folder)


def test_mount_that_fails(tmp_path):
    assert virt_utils.mount("x", str(tmp_path / "absent"), "tmpfs") is False
    assert virt_utils.mount("x", str(tmp_path), "no-such-type") is False


# Addresses

def test_ownership_of_an_address_nobody_routes(monkeypatch):
    if not os.path.exists("/proc/net/arp"):
        pytest.fail("no /proc/net/arp")
    try:
        virt_utils.find_command("ip")
    except ValueError as e:
        with pytest.raises(ValueError, match=str(e)):
            virt_utils.verify_ip_address_ownership("not an address", ["9a:00:00:00:00:01"])
    else:
        assert not virt_utils.verify_ip_address_ownership("not an address", [])


def test_ownership_from_the_arp_cache(tmp_path, monkeypatch):
    table = ("IP address       HW type     Flags       HW address            Mask     Device\n"
             "10.0.0.7         0x1         0x2         9a:00:00:00:00:01     *        br0\n")
    monkeypatch.setattr(virt_utils.utils, "read_file", {"/proc/net/arp": table}.__getitem__)
    assert virt_utils.verify_ip_address_ownership("10.0.0.7", ["9A:00:00:00:00:01"]) is True
    assert not virt_utils._in_arp_cache("10.0.0.7", ["9a:00:00:00:00:02"])
    assert not virt_utils._in_arp_cache("10.0.0.70", ["9a:00:00:00:00:01"])


# MAC addresses

@pytest.fixture
def pool_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTVM_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def test_mac_addresses(pool_dir):
    before = descriptors()
    mac = virt_utils.generate_mac_address("vm", 0)
    assert re.fullmatch("9a(:[0-9a-f]{2}){5}", mac)
    assert virt_utils.generate_mac_address("vm", 0) == mac
    assert virt_utils.generate_mac_address("vm", 1) != mac
    assert virt_utils.get_mac_address("vm", 0) == mac
    assert virt_utils.get_mac_address("vm", 2) is None
    virt_utils.set_mac_address("copy", 0, mac)
    assert virt_utils.get_mac_address("copy", 0) == mac
    virt_utils.free_mac_address("vm", 0)
    virt_utils.free_mac_address("vm", 0)
    assert virt_utils.get_mac_address("vm", 0) is None
    assert descriptors() == before
    assert oct(pool_dir.stat().st_mode & 0o777) == "0o700"
    assert sorted(os.listdir(pool_dir)) == ["mac_pool.json", "mac_pool.json.lock"]


WORKER = """
import sys
from virtvm.companions import virt_utils
for i in range(25):
    print(virt_utils.generate_mac_address("vm" + sys.argv[1], i))
"""


def test_mac_addresses_of_many_processes(pool_dir):
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(i)], text=True,
                                stdout=subprocess.PIPE) for i in range(6)]
    printed = [worker.communicate(timeout=60)[0].split() for worker in workers]
    macs = [mac for own in printed for mac in own]
    assert len(macs) == len(set(macs)) == 150
    assert [virt_utils.get_mac_address("vm3", i) for i in range(25)] == printed[3]
    assert len({mac[:11] for mac in macs}) == 1


def test_mac_addresses_of_many_threads(pool_dir):
    macs = virt_utils.parallel((virt_utils.generate_mac_address, ("vm", i)) for i in range(20))
    assert len(set(macs)) == 20


def test_address_that_is_taken_is_not_given(pool_dir, monkeypatch):
    from virtvm.companions import mac_pool
    virt_utils.generate_mac_address("vm", 0)
    with mac_pool._open_pool() as pool:
        prefix = pool["prefix"]
        pool["other:0"] = prefix + "00:00"
    given = iter(["00:00:", "00:01:"])
    monkeypatch.setattr(mac_pool, "_random_bytes", lambda count: next(given))
    assert virt_utils.generate_mac_address("vm", 1) == prefix + "00:01"


def test_full_prefix_is_left(pool_dir, monkeypatch):
    from virtvm.companions import mac_pool
    with mac_pool._open_pool() as pool:
        pool["prefix"] = "9a:11:22:33:"
        pool["other:0"] = "9a:11:22:33:00:00"
    drawn = {2: "00:00:", 5: "01:02:03:04:05:"}
    monkeypatch.setattr(mac_pool, "_random_bytes", drawn.__getitem__)
    assert virt_utils.generate_mac_address("vm", 1) == "9a:01:02:03:04:05"


def test_damaged_pool_is_begun_anew(pool_dir, caplog):
    virt_utils.set_mac_address("vm", 0, "9a:00:00:00:00:01")
    (pool_dir / "mac_pool.json").write_text("{damaged")
    assert virt_utils.get_mac_address("vm", 0) is None
    assert "can't be read" in caplog.text
    virt_utils.set_mac_address("vm", 0, "9a:00:00:00:00:02")
    assert virt_utils.get_mac_address("vm", 0) == "9a:00:00:00:00:02"


def test_addresses_of_killed_runs_are_forgotten(pool_dir, monkeypatch):
    """Each stayed for ever.  A guest that is asked for keeps its address, however old it is."""
    from virtvm.companions import mac_pool
    today = 20000
    monkeypatch.setattr(mac_pool, "_today", lambda: today)
    old = [virt_utils.generate_mac_address("killed", nic) for nic in range(3)]
    kept = virt_utils.generate_mac_address("lives on", 0)
    with mac_pool._open_pool() as pool:         # as version 0.1.0 wrote it
        pool["of old:0"] = "9a:00:00:00:00:01"
    today += 30
    assert virt_utils.get_mac_address("lives on", 0) == kept
    assert virt_utils.generate_mac_address("vm", 0) not in old
    assert virt_utils.get_mac_address("of old", 0) == "9a:00:00:00:00:01"
    today += 1
    virt_utils.generate_mac_address("vm", 1)
    with mac_pool._open_pool() as pool:
        assert {key for key in pool if ":" in key} == {"lives on:0", "of old:0", "vm:0", "vm:1"}
        assert set(mac_pool._days(pool)) == {"lives on:0", "of old:0", "vm:0", "vm:1"}
    virt_utils.free_mac_address("vm", 1)
    today += 31
    virt_utils.set_mac_address("vm", 2, old[0])
    virt_utils.generate_mac_address("vm", 3)
    with mac_pool._open_pool() as pool:
        assert {key for key in pool if ":" in key} == {"vm:2", "vm:3"}


@pytest.mark.parametrize("seen", ["", "[]", "3", '{"vm:0": "x"}', '{"vm:0": null}', "{", '{"other:0": 1}'])
def test_damaged_days_cost_no_address(pool_dir, seen):
    from virtvm.companions import mac_pool
    mac = virt_utils.generate_mac_address("vm", 0)
    with mac_pool._open_pool() as pool:
        pool["seen"] = seen
    assert virt_utils.generate_mac_address("vm", 1) != mac
    assert virt_utils.get_mac_address("vm", 0) == mac
    virt_utils.free_mac_address("vm", 1)


def test_pool_is_not_put_where_others_can_write(pool_dir):
    pool_dir.mkdir()
    pool_dir.chmod(0o777)
    with pytest.raises(PermissionError, match="set VIRTVM_STATE_DIR"):
        virt_utils.get_mac_address("vm", 0)
    pool_dir.rmdir()
    elsewhere = pool_dir.parent / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    pool_dir.symlink_to(elsewhere)
    with pytest.raises(PermissionError):
        virt_utils.get_mac_address("vm", 0)


def test_folder_that_another_made_first_keeps_nobody_out(tmp_path, monkeypatch):
    """Anybody can make /tmp/virtvm-UID: each VM of that user's failed then."""
    from virtvm.companions import _state_dir
    monkeypatch.delenv("VIRTVM_STATE_DIR")
    first, session = tmp_path / "first", tmp_path / "run"
    monkeypatch.setattr(_state_dir, "_FOLDER", str(first) + "-%d")
    monkeypatch.setattr(_state_dir, "_SESSION", str(session) + "-%d")
    usual, other = "%s-%d" % (first, os.geteuid()), "%s-%d" % (session, os.geteuid())
    os.mkdir(other, 0o700)
    assert _state_dir.state_dir() == usual and os.listdir(other) == []
    os.chmod(usual, 0o777)              # as if it were another's
    assert _state_dir.state_dir() == os.path.join(other, "virtvm")
    os.chmod(other, 0o777)
    with pytest.raises(PermissionError, match=usual):
        _state_dir.state_dir()


def test_lock_that_is_never_released(pool_dir, monkeypatch):
    import fcntl

    from virtvm.companions import mac_pool
    virt_utils.get_mac_address("vm", 0)
    monkeypatch.setattr(mac_pool, "_LOCK_TIMEOUT", 0.2)
    with open(pool_dir / "mac_pool.json.lock") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="still locked after 0.2 s"):
            virt_utils.get_mac_address("vm", 0)


# The module

@pytest.mark.parametrize("name, positional", [
    ("remote_login", "client host port username password prompt linesep log_filename timeout"),
    ("wait_for_login", "client host port username password prompt linesep log_filename timeout"
                       " internal_timeout"),
    ("_remote_login", "session username password prompt timeout"),
    ("copy_files_to", "address client username password port local_path remote_path"
                      " log_filename verbose timeout"),
    ("copy_files_from", "address client username password port remote_path local_path"
                        " log_filename verbose timeout"),
    ("scp_to_remote", "host port username password local_path remote_path log_filename timeout"),
    ("scp_from_remote", "host port username password remote_path local_path log_filename"
                        " timeout"),
    ("scp_between_remotes", "src dst port s_passwd d_passwd s_name d_name s_path d_path"
                            " log_filename timeout"),
    ("remote_scp", "command password_list log_filename transfer_timeout login_timeout"),
    ("wait_for", "func timeout first step text"),
    ("mount", "src mount_point type perm"), ("umount", "src mount_point type"),
    ("generate_tmp_file_name", "file ext dir"), ("kill_process_tree", "pid sig"),
    ("verify_ip_address_ownership", "ip macs timeout"), ("parallel", "targets"),
    ("find_free_ports", "start_port end_port count address")])
def test_signatures(name, positional):
    parameters = inspect.signature(getattr(virt_utils, name)).parameters.values()
    by_place = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert by_place == positional.split()


def test_names_from_other_modules():
    for name in ("Params", "Env", "LoginError", "LoginAuthenticationError", "LoginTimeoutError",
                 "LoginProcessTerminatedError", "LoginBadClientError", "SCPError",
                 "SCPAuthenticationError", "SCPAuthenticationTimeoutError",
                 "SCPTransferTimeoutError", "SCPTransferFailedError", "TransferBadClientError"):
        assert inspect.isclass(getattr(virt_utils, name))


LIGHT = """
import sys
import os, logging, time, glob, re
before = set(sys.modules)
import virtvm.companions.error, virtvm.companions.utils, virtvm.companions.virt_utils
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(" ".join(sorted(new)))
"""


def test_importing_loads_nothing_heavy():
    # -S: what site packages load at start would hide what we do.
    folder = os.path.dirname(os.path.dirname(os.path.dirname(virt_utils.__file__)))
    done = subprocess.run([sys.executable, "-S", "-c", LIGHT], text=True, check=True,
                          stdout=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=folder))
    heavy = {"subprocess", "asyncio", "tempfile", "pickle", "shelve", "dbm", "random", "hashlib",
             "socket", "shutil", "selectors", "select", "signal", "json", "concurrent",
             "multiprocessing", "textwrap", "shlex", "inspect", "typing", "dataclasses",
             "pathlib", "urllib", "ssl", "ctypes", "_session"}
    loaded = set(done.stdout.split())
    assert not loaded & heavy
    assert loaded <= {"virtvm", "errno"}


def test_environment_by_functions():
    env, vm = virt_utils.Env(), object()
    virt_utils.env_register_vm(env, "vm1", vm)
    assert virt_utils.env_get_vm(env, "vm1") is vm is env.get_vm("vm1")
    assert virt_utils.env_get_vm(env, "vm2") is None
