"""utils, against real commands, processes and files."""

import gc
import hashlib
import io
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from support.waiting import BUSY, LONG, due, until
from virtvm.companions import error, utils
from virtvm.host import processes


def open_descriptors():
    return set(os.listdir("/proc/self/fd"))


def wait_until_gone(pid, seconds=BUSY):
    """True once process pid has ended, by its pidfd."""
    return processes.end_process(pid, 0, seconds)


@pytest.fixture
def debug_log(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.fixture(autouse=True)
def nothing_left_behind():
    gc.collect()
    before = open_descriptors()
    yield
    assert open_descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# run()

def test_run_returns_a_result():
    result = utils.run("echo out; echo err >&2")
    assert (result.command, result.stdout, result.stderr, result.exit_status) == (
        "echo out; echo err >&2", "out\n", "err\n", 0)
    assert 0 < result.duration < BUSY


def test_run_uses_bash():
    assert utils.run("echo $BASH; [[ ab == a* ]] && echo {1..3}").stdout == "/bin/bash\n1 2 3\n"


def test_run_takes_a_command_that_looks_like_an_option():
    assert utils.run("-x", ignore_status=True).exit_status == 127


def test_failure_is_a_cmd_error():
    with pytest.raises(error.CmdError) as info:
        utils.run("echo why; exit 3")
    e = info.value
    assert (e.command, e.result_obj.exit_status, e.result_obj.stdout, e.additional_text) == (
        "echo why; exit 3", 3, "why\n", "Command returned non-zero exit status")
    assert utils.run("exit 3", ignore_status=True).exit_status == 3


def test_missing_program_is_a_cmd_error():
    with pytest.raises(error.CmdError) as info:
        utils.run("/no/such/program")
    assert info.value.result_obj.exit_status == 127


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_child_killed_by_a_signal_has_failed(sig):
    with pytest.raises(error.CmdError) as info:
        utils.run("kill -%d $$" % sig)
    assert info.value.result_obj.exit_status == -sig


def test_timeout_ends_the_whole_group(tmp_path):
    pids = tmp_path / "pids"
    with due(2), pytest.raises(error.CmdError) as info:
        utils.run("echo started; sleep 300 & echo $! > %s; sleep 301" % pids, timeout=2)
    result = info.value.result_obj
    assert (result.exit_status, result.stdout) == (-15, "started\n")
    assert "Command(s) did not complete within 2 seconds" in str(info.value)
    assert wait_until_gone(int(pids.read_text()))


def test_timeout_text_of_whole_seconds():
    with pytest.raises(error.CmdError) as info:
        utils.run("sleep 300", timeout=1.0)
    assert info.value.additional_text == "Command(s) did not complete within 1 seconds"


def test_timeout_ends_those_who_ignore_or_leave(tmp_path):
    pids = tmp_path / "pids"
    with pytest.raises(error.CmdError) as info:
        utils.run("trap '' TERM; setsid sleep 300 & echo $! > %s; sleep 301; sleep 302" % pids,
                  timeout=2)
    assert info.value.result_obj.exit_status == -9
    assert wait_until_gone(int(pids.read_text()))


def test_timeout_passes_while_output_never_stops():
    with due(0.3), pytest.raises(error.CmdError):
        utils.run("yes", timeout=0.3, stdout_tee=utils.DEVNULL)
    with due(2), pytest.raises(error.CmdError) as info:
        utils.run("while :; do echo line; sleep 0.01; done", timeout=2)
    assert info.value.result_obj.stdout.startswith("line\nline\n")


def test_background_child_does_not_delay_the_end():
    result = utils.run("sleep 1000 & echo $!", timeout=LONG)
    pid = int(result.stdout)
    try:
        assert utils.pid_is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_last_output_before_the_exit_is_not_lost():
    command = "sleep 300 & head -c 60000 /dev/zero; echo $! >&2"
    result = utils.run(command)
    os.kill(int(result.stderr), signal.SIGKILL)
    assert len(result.stdout) == 60000


def test_big_output_on_both_pipes_and_big_input():
    data = os.urandom(1 << 20).hex()
    result = utils.run("tee /dev/stderr", stdin=data, timeout=LONG)
    assert result.stdout == data and result.stderr == data


def test_input_that_nobody_reads():
    assert utils.run("exec 0<&-; sleep 0.1", stdin="x" * 1000000, timeout=LONG).exit_status == 0


@pytest.mark.parametrize("stdin, expected", [
    ("text é", "text é"), (b"bytes", "bytes"), ("", ""), (None, "")])
def test_stdin(stdin, expected):
    assert utils.run("cat", stdin=stdin, timeout=LONG).stdout == expected


def test_stdin_from_a_file(tmp_path):
    (tmp_path / "f").write_text("content")
    with open(tmp_path / "f") as f:
        assert utils.run("cat", stdin=f).stdout == "content"


def test_command_has_no_terminal():
    assert utils.run("tty", ignore_status=True).stdout == "not a tty\n"
    assert utils.run("exec 3</dev/tty", ignore_status=True).exit_status != 0


def test_args_are_quoted():
    nasty = ["a b", "$(id)", "`id`", "'", '"', "", "*", ";", "-n", "é\n", 5]
    out = utils.run(r"printf '%s\0'", args=nasty).stdout
    assert out.split("\0")[:-1] == [str(arg) for arg in nasty]


@pytest.mark.parametrize("args", ["text", b"bytes"])
def test_args_must_be_a_sequence(args):
    with pytest.raises(TypeError):
        utils.run("echo", args=args)


def test_undecodable_output_is_shown_and_can_be_written(tmp_path):
    out = utils.run(r"printf 'a\xff\xc3\xa9'").stdout
    assert out == "a\\xffé"
    out.encode("utf-8")


def test_tee_gets_text_as_it_comes(tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)

    class Tee(io.StringIO):
        """Lets the command go on once it is written to."""

        def write(self, text):
            if text == "a\n":
                go.write_text("\n")
            return io.StringIO.write(self, text)

    out, err = Tee(), io.StringIO()
    result = utils.run("echo a; read x <%s; echo b; echo c >&2" % go, stdout_tee=out, stderr_tee=err, timeout=LONG)
    assert out.getvalue() == result.stdout == "a\nb\n" and err.getvalue() == "c\n"


def test_tee_gets_whole_characters():
    out = io.StringIO()
    utils.run(r"printf '\xc3'; sleep 0.2; printf '\xa9'; printf '\xc3'", stdout_tee=out)
    assert out.getvalue() == "é\\xc3"


def test_tee_to_a_binary_file():
    out = io.BytesIO()
    utils.run(r"printf 'a\xff'", stdout_tee=out)
    assert out.getvalue() == b"a\xff"


def test_failing_tee_ends_the_command(tmp_path):
    class Full(io.StringIO):
        """A disk without space."""

        def write(self, text):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        utils.run("echo $$ > %s; echo a; exec sleep 1000" % (tmp_path / "pid"), stdout_tee=Full())
    assert not utils.pid_is_alive((tmp_path / "pid").read_text())


def test_devnull_keeps_nothing():
    result = utils.run("echo a; echo b >&2", stdout_tee=utils.DEVNULL, stderr_tee=utils.DEVNULL)
    assert (result.stdout, result.stderr) == ("", "")


def test_tee_to_logs(debug_log):
    utils.run("echo a; echo; printf b; echo c >&2", stdout_tee=utils.TEE_TO_LOGS,
              stderr_tee=utils.TEE_TO_LOGS)
    lines = {(r.levelname, r.getMessage()) for r in debug_log.records}
    assert lines >= {("DEBUG", "[stdout] a"), ("DEBUG", "[stdout] "), ("DEBUG", "[stdout] b"),
                     ("ERROR", "[stderr] c")}


def test_stderr_is_expected(debug_log):
    utils.run("echo c >&2", stderr_tee=utils.TEE_TO_LOGS, stderr_is_expected=True)
    utils.run("echo d >&2", stderr_tee=utils.TEE_TO_LOGS, ignore_status=True)
    assert {r.levelname for r in debug_log.records} == {"DEBUG"}


def test_verbose_logs_the_command(debug_log):
    utils.run("true '%s' %d")
    assert debug_log.messages == ["Running 'true '%s' %d'"]
    utils.run("true", verbose=False)
    assert len(debug_log.messages) == 1


def test_without_pidfd(monkeypatch):
    def refuse(pid, flags=0):
        raise OSError(38, "Function not implemented")
    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert utils.run("sleep 0.1; echo a").stdout == "a\n"
    with pytest.raises(error.CmdError):
        utils.run("sleep 300", timeout=0.2)
    with subprocess.Popen(["sleep", "300"]) as sp:
        assert not processes.end_process(sp.pid, 0, 0.1)
        assert processes.end_process(sp.pid, signal.SIGKILL, BUSY)   # a zombie has ended
    assert processes.end_process(sp.pid, 0, 0)


def test_status_that_cannot_be_known_is_no_success():
    old = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(error.CmdError) as info:
            utils.run("exit 3")
        assert info.value.result_obj.exit_status is None
    finally:
        signal.signal(signal.SIGCHLD, old)


INTERRUPTED = r"""
import os, sys
from virtvm.companions import utils
try:
    utils.run("trap '' INT; echo $$ > %s; sleep 1000; sleep 1000" % sys.argv[1])
except KeyboardInterrupt:
    print(len(os.listdir("/proc/self/fd")), flush=True)
"""


def test_ctrl_c(tmp_path):
    pids = tmp_path / "pid"
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(pids)],
                             stdout=subprocess.PIPE, text=True)
    until(lambda: pids.exists() and pids.read_text())
    child.send_signal(signal.SIGINT)
    descriptors = child.communicate()[0]
    assert child.returncode == 0
    assert int(descriptors) == 4        # the three, and the folder being listed
    assert wait_until_gone(int(pids.read_text()))


INTERRUPTED_EARLY = r"""
import os, signal
from virtvm.companions import utils
spawn = utils.BgJob._spawn
def spawn_then_interrupt(self, *args):
    sp = spawn(self, *args)
    print(sp.pid, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    return sp
utils.BgJob._spawn = spawn_then_interrupt
for call in (utils.run, lambda command: utils.run_parallel([command])):
    try:
        call("sleep 300")
    except KeyboardInterrupt:
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        print("interrupted", len(os.listdir("/proc/self/fd")), flush=True)
"""


def test_ctrl_c_while_the_command_is_started():
    """Nobody else knows of the process yet."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_EARLY], stdout=subprocess.PIPE, text=True,
                          check=True)
    pids, rest = done.stdout.split("\n")[0::2], done.stdout.split("\n")[1::2]
    assert rest == ["interrupted 4"] * 2
    assert all(wait_until_gone(int(pid)) for pid in pids if pid)


def test_many_threads_run_commands():
    results = []

    def work(i):
        results.append(utils.run("echo %d; exit %d" % (i, i), ignore_status=True))
    threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((r.exit_status, r.stdout) for r in results) == [
        (i, "%d\n" % i) for i in range(20)]


def test_system(debug_log):
    assert utils.system("echo a") == 0
    assert utils.system("exit 4", ignore_status=True) == 4
    assert "[stdout] a" in debug_log.messages
    with pytest.raises(error.CmdError):
        utils.system("false")
    with pytest.raises(error.CmdError):
        utils.system("sleep 300", timeout=0.2)


@pytest.mark.parametrize("printed, expected", [("a\\n", "a"), ("a\\n\\n", "a\n"), ("a", "a"),
                                               ("", ""), (" a ", " a ")])
def test_system_output(printed, expected):
    assert utils.system_output("printf '%s'" % printed) == expected


def test_system_output_retained(debug_log):
    assert utils.system_output("printf '%s\n'", retain_output=True, args=("a b",)) == "a b"
    assert "[stdout] a b" in debug_log.messages


def test_run_parallel(tmp_path):
    for n in range(4):
        os.mkfifo(tmp_path / str(n))        # each waits for the one before, the first for the last
    ring = ["echo >%s & read x <%s; echo %d" % (tmp_path / str((n + 1) % 4), tmp_path / str(n), n) for n in range(4)]
    results = utils.run_parallel(ring, timeout=LONG)
    assert [r.stdout for r in results] == ["0\n", "1\n", "2\n", "3\n"]
    assert utils.system_output_parallel(["echo a", "echo b"]) == ["a", "b"]
    with pytest.raises(error.CmdError) as info:
        utils.run_parallel(["true", "exit 7"])
    assert info.value.result_obj.exit_status == 7
    with pytest.raises(error.CmdError):
        utils.run_parallel(["true", "sleep 300"], timeout=0.3)


def test_bg_job():
    job = utils.BgJob("read line; echo got $line", stdin="x\n")
    assert utils.join_bg_jobs([job], timeout=LONG) == [job]
    assert job.result.stdout == "got x\n" and job.sp.returncode == 0


def test_cmd_result_repr():
    command = "command " + "with many words " * 8
    text = repr(utils.CmdResult(command, "out\n\n", "err\n", 1, 0.25))
    lines = text.split("\n")
    assert lines[0] == "* Command: "
    assert lines[1].startswith("    command with many") and lines[2].startswith("    ")
    assert all(len(line) <= 78 for line in lines)
    assert text.endswith("\nExit status: 1\nDuration: 0.25\n\nstdout:\nout\nstderr:\nerr")
    assert repr(utils.CmdResult("c", "\n", "", 0, 1)).endswith("Exit status: 0\nDuration: 1\n")


def test_sh_escape():
    text = 'a"b$HOME`id`\\'
    assert utils.run('printf %%s "%s"' % utils.sh_escape(text)).stdout == text


# Files

def test_hash_file(tmp_path):
    path = tmp_path / "f"
    data = os.urandom(3000000)
    path.write_bytes(data)
    assert utils.hash_file(path) == hashlib.md5(data).hexdigest()
    assert utils.hash_file(str(path), method="sha1") == hashlib.sha1(data).hexdigest()
    assert utils.hash_file(path, 2000000) == hashlib.md5(data[:2000000]).hexdigest()
    assert utils.hash_file(path, size=0) == utils.hash_file(path, size=9999999)
    assert utils.hash_file(path, size=9999999) == utils.hash_file(path)


def test_hash_file_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        utils.hash_file(tmp_path / "absent")
    with pytest.raises(ValueError, match="Unsupported hash type: crc"):
        utils.hash_file(tmp_path / "absent", method="crc")


def test_hash():
    assert utils.hash("md5", "é").hexdigest() == hashlib.md5("é".encode()).hexdigest()
    digest = utils.hash("sha1")
    digest.update(b"a")
    assert digest.hexdigest() == utils.hash("sha1", b"a").hexdigest()
    for bad in ("no", "", None, 5):
        with pytest.raises(ValueError, match="Unsupported hash type"):
            utils.hash(bad)


def test_text_files(tmp_path):
    path = str(tmp_path / "f")
    assert utils.open_write_close(path, "one\r\ntwo é\n") is None
    assert utils.read_file(path) == "one\r\ntwo é\n"
    utils.open_write_close(path, "shorter")
    assert utils.read_file(path) == utils.read_one_line(path) == "shorter"
    utils.write_one_line(path, "line")
    utils.write_one_line(path, "line\n")
    assert (utils.read_file(path), utils.read_one_line(path)) == ("line\n", "line")


def test_text_files_keep_every_byte(tmp_path):
    (tmp_path / "f").write_bytes(b"\xff\r\n\x00")
    utils.open_write_close(tmp_path / "g", utils.read_file(tmp_path / "f"))
    utils.open_write_close(tmp_path / "h", b"\xff\r\n\x00")
    assert (tmp_path / "g").read_bytes() == (tmp_path / "h").read_bytes() == b"\xff\r\n\x00"


def test_keyval(tmp_path):
    utils.write_keyval(str(tmp_path), {"b": 1, "a": "x y"})
    utils.write_keyval(str(tmp_path / "keyval"), {"c-d.e": 1.5}, type_tag="perf")
    assert (tmp_path / "keyval").read_text() == "a=x y\nb=1\nc-d.e{perf}=1.5\n"
    assert utils.read_keyval(str(tmp_path)) == {"a": "x y", "b": 1, "c-d.e{perf}": 1.5}
    with pytest.raises(ValueError, match="Invalid key: a b"):
        utils.write_keyval(str(tmp_path), {"a": 2, "a b": 1})
    assert utils.read_keyval(str(tmp_path))["a"] == "x y"


def test_read_keyval_oddities(tmp_path):
    path = tmp_path / "k"
    assert utils.read_keyval(str(path)) == {}
    path.write_text("# all comment\n\na=b=c # more\n")
    assert utils.read_keyval(str(path)) == {"a": "b=c"}
    path.write_text("no equals\n")
    with pytest.raises(ValueError):
        utils.read_keyval(str(path))


def test_file_contains_pattern(tmp_path):
    (tmp_path / "f").write_text("abc\ndef\n")
    assert utils.file_contains_pattern(tmp_path / "f", "e.$")
    assert not utils.file_contains_pattern(tmp_path / "f", "c.d")


# The host

def meminfo(name):
    return int(re.search(r"^%s:\s+(\d+)" % re.escape(name), open_and_read("/proc/meminfo"),
                         re.M).group(1))


def open_and_read(path):
    with open(path) as f:
        return f.read()


def test_read_from_meminfo():
    assert utils.memtotal() == utils.read_from_meminfo("MemTotal") == meminfo("MemTotal")
    assert abs(utils.freememtotal() - meminfo("MemFree")) < meminfo("MemTotal") // 2
    # A part of a name: the first line that has it.
    assert utils.read_from_meminfo("emTot") == meminfo("MemTotal")
    assert utils.read_from_meminfo("^MemTo.al") == meminfo("MemTotal")


def test_read_from_meminfo_names_with_digits_and_brackets():
    text = open_and_read("/proc/meminfo")
    for name in re.findall(r"^([^:\n]*[\d(][^:\n]*):", text, re.M):
        value = utils.read_from_meminfo(name)
        assert name.startswith(("Active", "Inactive")) or value == meminfo(name)


def test_read_from_meminfo_absent():
    with pytest.raises(error.CmdError) as info:
        utils.read_from_meminfo("NoSuchThing")
    assert info.value.result_obj.exit_status == 1


def test_processors():
    assert utils.count_cpus() == os.sysconf("SC_NPROCESSORS_ONLN")
    assert utils.get_cpu_vendor()


def test_modules():
    loaded = utils.get_loaded_modules()
    for name in loaded:
        assert utils.module_is_loaded(name) and utils.module_is_loaded(name.replace("_", "-"))
        assert utils.load_module(name) is False
    assert not utils.module_is_loaded("virtvm_no_such")
    assert utils.unload_module("virtvm_no_such") is None
    with pytest.raises(error.CmdError):
        utils.load_module("virtvm_no_such")


def test_modules_and_their_users(monkeypatch):
    listed = ("kvm_intel 376832 0 - Live 0x0\nkvm 1056768 2 kvm_intel,vhost_net, Live 0x0\n"
              "vhost_net 36864 0 - Live 0x0\n")
    ran = []
    monkeypatch.setattr(utils.signals, "exists", lambda path: True)
    monkeypatch.setattr(utils, "read_file", {"/proc/modules": listed}.__getitem__)
    monkeypatch.setattr(utils, "run", lambda command, args: ran.append((command, args[-1])))
    assert utils.get_loaded_modules() == ["kvm_intel", "kvm", "vhost_net"]
    assert utils.module_is_loaded("kvm-intel") and utils.load_module("kvm") is False
    utils.unload_module("kvm")
    assert ran == [("/sbin/modprobe -r", name) for name in ("kvm_intel", "vhost_net", "kvm")]
    assert utils.load_module("tun") is True
    assert ran[-1] == ("/sbin/modprobe", "tun")


def test_process_names(tmp_path):
    name = f"a (b) {os.getpid() % 10**7}"        # suites of other versions run beside this one
    program = tmp_path / name
    program.symlink_to("/bin/sleep")
    sp = subprocess.Popen([str(program), "300"])
    try:
        assert utils.get_process_name(sp.pid) == name
        assert utils.pid_is_alive(sp.pid) and utils.process_is_alive(name)
        sp.kill()
        os.waitid(os.P_PID, sp.pid, os.WEXITED | os.WNOWAIT)
        assert not utils.pid_is_alive(sp.pid)       # a zombie
        assert not utils.process_is_alive(name)
    finally:
        sp.kill()
        sp.wait()
    assert not utils.pid_is_alive(sp.pid)
    with pytest.raises(OSError):
        utils.get_process_name(sp.pid)


def test_nuke_subprocess():
    stubborn = subprocess.Popen(["/bin/bash", "-c", "trap '' TERM; echo; read"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with stubborn:
        stubborn.stdout.readline()
        assert not processes.end_process(stubborn.pid, signal.SIGTERM, 0.2)
        assert utils.signal_pid(stubborn.pid, signal.SIGKILL)
    assert utils.nuke_subprocess(stubborn) == -9
    assert utils.nuke_subprocess(subprocess.Popen(["sleep", "300"])) == -15


def test_matrix_to_string():
    assert utils.matrix_to_string([["a", "bbb"], ["cc", "d"]], ["x", "y"]) == (
        "x  y   \na  bbb \ncc d   \n")
    assert utils.matrix_to_string([]) == ""


# SystemLoad

def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_system_load_measures_a_process():
    load = utils.SystemLoad([(os.getpid(), "me"), 0], use_log=True, time_step=0.05)
    load.start()
    spin(0.4)
    load.stop()
    load.stop()
    cpus, mems = load.dump()
    pid, (values, seconds, log, step) = cpus[0]
    ticks = os.sysconf("SC_CLK_TCK")
    assert pid == os.getpid() and step == 0.05 and seconds >= 0.3
    assert 0.2 * ticks < values[0] + values[1] < seconds * ticks + 5
    assert [sum(column) for column in zip(*log)] == values
    size, resident, peak, _ = mems[0][1][0]
    assert 0 < resident < size <= peak
    assert len(mems[0][1][2]) >= 4
    assert mems[1][1][0][0] == utils.memtotal()


def test_system_load_tables():
    load = utils.SystemLoad([(os.getpid(), "me"), 0, os.getppid()])
    load.start()
    spin(0.2)
    cpu = load.get_cpu_status_string()      # stops
    assert re.fullmatch(
        r"NAME +PID +USER +SYS +SUM +TIME \n"
        r"me +%d +\d+%% +\d+%% +\d+%% +\d+\.\d{3}s \n"
        r"TOTAL +0 +\d+%% +\d+%% +\d+%% +\d+\.\d{3}s \n"
        r"%s +%d .*s \n" % (os.getpid(), re.escape(utils.get_process_name(os.getppid())),
                            os.getppid()), cpu)
    assert int(re.search(r"^me\s+\d+.* (\d+)%", cpu, re.M).group(1)) > 0      # on a busy machine not much more
    mem = load.get_mem_status_string([0])
    assert re.fullmatch(r"NAME +PID +TOTAL/VMSIZE +FREE/VMRSS +BUFFERS/VMPEAK +CACHED/VMSWAP"
                        r" +TIME \nTOTAL +0 +\d+MB .*s \n", mem)
    assert load.get_cpu_status_string() == cpu
    assert len(str(load).split("\n")) == 6


def test_system_load_advanced_columns():
    load = utils.SystemLoad([0], advanced=True, cpu_cont=True)
    load.start()
    spin(0.1)                   # long enough that a clock tick is not 1000 %
    assert re.match(r"NAME .* MINFLT/IRQC MAJFLT/SOFTIRQ +TIME \nTOTAL +0 ( +\d+%){3}"
                    r"( +\d+){2} ", load.get_cpu_status_string())
    load.stop()                 # memory is still being sampled


def test_system_load_start_begins_anew():
    load = utils.SystemLoad([os.getpid()])
    with pytest.raises(RuntimeError):
        load.dump()
    load.start()
    spin(0.3)
    load.start()
    assert load.dump()[0][0][1][0][0] < 20


def test_system_load_of_a_process_that_ends():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as sp:
        load = utils.SystemLoad([sp.pid], time_step=0.02)
        load.start()
        sp.stdin.close()
        sp.wait()
    assert load.get_cpu_status_string().startswith("NAME")
    with pytest.raises(OSError):
        utils.SystemLoad([sp.pid])


def test_star_import_has_what_tests_use():
    names = {}
    exec("from virtvm.companions.utils import *", names)
    assert {"run", "system", "system_output", "hash_file", "read_from_meminfo", "memtotal",
            "open_write_close", "SystemLoad", "CmdResult"} <= set(names)
