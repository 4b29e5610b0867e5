"""What today's kernels print when they crash: found, whole, and nothing else is."""

import gzip
import os
import random
import socket
import time

import pytest

from support.waiting import until
from virtvm import _session, virt_vm
from virtvm.companions import aexpect
from virtvm.companions.params import Params
from virtvm.hypervisors import kernel_crash, qemu

pytestmark = pytest.mark.once

HERE = os.path.dirname(os.path.abspath(__file__))
HEALTHY = os.path.join(HERE, os.pardir, "corpus", "healthy_boots")
CUT = "------------[ cut here ]------------"
RULE = "=" * 66
END = "---[ end trace 0000000000000000 ]---"
X86 = ["CPU: 0 PID: 71 Comm: sh Not tainted 6.1.0-57-cloud-amd64 #1  Debian 6.1.192-3",
       "Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-debian-1.16.2-1 04/01/2014",
       "RIP: 0010:f+0x12/0x30", "Code: 00 01 02", "RSP: 0018:ffff888003a4fe38 EFLAGS: 00010246",
       "RAX: 0000000000000000 RBX: 0000000000000063 RCX: 0000000000000000", "Call Trace:", " <TASK>",
       " __handle_sysrq+0x84/0x140", " ? exc_page_fault+0x70/0x170", " vfs_write+0xb4/0x3e0", " </TASK>",
       "Modules linked in: virtio_net net_failover failover"]
ARM64 = ["CPU: 1 PID: 1 Comm: swapper/0 Not tainted 6.1.0 #1", "pstate: 60000005 (nZCv daif -PAN -UAO -TCO)",
         "pc : f+0x10/0x20", "lr : g+0x24/0x50", "sp : ffff80000800bd00", "x29: ffff80000800bd00 x28: 0",
         "Call trace:", " f+0x10/0x20", " do_one_initcall+0x50/0x1d0", "Code: d503201f (f9400001)"]
PANIC_END = "---[ end Kernel panic - not syncing: Fatal exception ]---"

# name: the lines of a report, all of them.
REPORTS = {
    "panic by sysrq": ["Kernel panic - not syncing: sysrq triggered crash", *X86, "Kernel Offset: 0x1a00000",
                       "---[ end Kernel panic - not syncing: sysrq triggered crash ]---"],
    "panic of an init that ended": [
        "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100", *X86,
        "---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100 ]---"],
    "panic without a root": ["Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
                             "---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---"],
    "page fault": ["BUG: unable to handle page fault for address: ffffa1b2c3d4e5f6",
                   "#PF: supervisor write access in kernel mode", "PGD 100000067 P4D 100000067",
                   "Oops: 0002 [#1] PREEMPT SMP NOPTI", *X86, END],
    "NULL pointer": ["BUG: kernel NULL pointer dereference, address: 0000000000000000",
                     "#PF: supervisor write access in kernel mode", "Oops: 0002 [#1] SMP", *X86, END],
    "NULL pointer, of old": ["BUG: unable to handle kernel NULL pointer dereference at           (null)",
                             "IP: [<ffffffff8138b1c0>] sysrq_handle_crash+0x10/0x20", "Oops: 0002 [#1] SMP",
                             *X86, "---[ end trace 2d2e0f8f1c2a3b4c ]---"],
    "general protection": ["Oops: general protection fault, probably for non-canonical address "
                           "0xdead000000000100: 0000 [#1] PREEMPT SMP", *X86, END],
    "general protection, of old": ["general protection fault: 0000 [#1] SMP", *X86, END],
    "invalid opcode": [CUT, "kernel BUG at mm/slub.c:42!", "invalid opcode: 0000 [#1] PREEMPT SMP PTI", *X86, END],
    "die alone": ["stack segment: 0000 [#1] SMP", *X86, END],
    "double fault": ["traps: PANIC: double fault, error_code: 0x0", *X86, END],
    "arm64 NULL pointer": ["Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000",
                           "Mem abort info:", "  ESR = 0x0000000096000044",
                           "Internal error: Oops: 0000000096000044 [#1] SMP", *ARM64, END],
    "arm64 BUG": [CUT, "kernel BUG at lib/list_debug.c:53!", "Internal error: Oops - BUG: 00000000f2000800 [#1] SMP",
                  *ARM64, END],
    "arm64 SError": ["SError Interrupt on CPU0, code 0x00000000be000011 -- SError", *ARM64,
                     "Kernel panic - not syncing: Asynchronous SError Interrupt",
                     "---[ end Kernel panic - not syncing: Asynchronous SError Interrupt ]---"],
    "s390": ["Unable to handle kernel pointer dereference in virtual kernel address space",
             "Failing address: 0000000000000000 TEID: 0000000000000887", "Oops: 0004 ilc:2 [#1] SMP", END],
    "s390 addressing": ["addressing exception: 0005 ilc:3 [#1] SMP", END],
    "powerpc": ["BUG: Kernel NULL pointer dereference on write at 0x00000000", "Faulting instruction address: 0xc0",
                "Oops: Kernel access of bad area, sig: 11 [#1]", END],
    "riscv": ["Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000", "Oops [#1]", END],
    "soft lockup": ["watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [kworker/0:1:7]", *X86[-1:], *X86[:-1]],
    "hard lockup": ["NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", *X86[-1:], *X86[:-1]],
    "work queue": ["BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 34s!",
                   "Showing busy workqueues and worker pools:", "workqueue events: flags=0x0"],
    "RCU stall": ["rcu: INFO: rcu_sched self-detected stall on CPU",
                  "rcu: \t0-....: (20999 ticks this GP) idle=1/0/0x0", "\t(t=21000 jiffies g=1 q=2 ncpus=2)",
                  "NMI backtrace for cpu 0", *X86[:-1]],
    "RCU stall of others": ["rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                            "rcu: \t1-...!: (0 ticks this GP)", "Sending NMI from CPU 0 to CPUs 1:",
                            "NMI backtrace for cpu 1", *X86[:-1]],
    "hung task": ["INFO: task kworker/0:1:12 blocked for more than 120 seconds.",
                  "      Not tainted 6.1.0-57-cloud-amd64 #1",
                  '"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.',
                  "task:kworker/0:1 state:D stack:0 pid:12 ppid:2 flags:0x4000", "Call Trace:", " <TASK>",
                  " __schedule+0x34d/0x9e0", " </TASK>"],
    "KASAN": [RULE, "BUG: KASAN: slab-out-of-bounds in f+0x10/0x20", "Write of size 1 at addr ffff8880 by task sh/71",
              *X86[:-1], "Allocated by task 71:", " kasan_save_stack+0x1e/0x40", "Memory state around the buggy "
              "address:", ">ffff888003a4fe80: 00 00 fc fc", RULE],
    "KFENCE": [RULE, "BUG: KFENCE: use-after-free read in f+0x10/0x20", *X86[:-1], RULE],
    "SLUB": [RULE, "BUG kmalloc-64 (Not tainted): Poison overwritten", "Object ffff8880: 6b 6b 6b", RULE],
    "bad page": ["BUG: Bad page state in process sh  pfn:12345", "page:ffffea0000 refcount:0 mapcount:-1", *X86[:-1]],
    "atomic": ["BUG: scheduling while atomic: sh/71/0x00000002", *X86[-1:], *X86[:-1]],
    "an oops and its panic": ["BUG: kernel NULL pointer dereference, address: 0000000000000000",
                              "Oops: 0002 [#1] SMP", *X86, END, "RIP: 0010:f+0x12/0x30",
                              "Kernel panic - not syncing: Fatal exception", "Kernel Offset: disabled", PANIC_END],
}


def timed(lines, start=12.0, caller=""):
    return ["[%12.6f]%s %s" % (start + i / 1000, caller, line) for i, line in enumerate(lines)]


BEFORE = timed(["Linux version 6.1.0", "Command line: console=ttyS0", "e1000 0000:00:02.0: link up",
                "WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1/0x2", "random: crng init done"], 1.0)
AFTER = timed(["e1000 0000:00:02.0: link down", "systemd[1]: Reached target Multi-User.", "usb 1-1: new device"], 60.0)


def find(log, split=None):
    """Texts of the reports in a log (str); split: bytes of each piece."""
    data, scan = log.encode(), _session.CrashScan()
    for at in range(0, len(data), split or len(data) or 1):
        scan.feed(data[at:at + (split or len(data))])
    assert scan.offset == len(data)
    return [data[begin:end].decode() for begin, end in scan.reports()]


def log_of(*parts):
    return "".join("%s\r\n" % line for part in parts for line in part)


@pytest.mark.parametrize("name", REPORTS)
def test_whole_report(name):
    report = timed(REPORTS[name])
    log = log_of(BEFORE, report, AFTER)
    assert find(log) == ["\r\n".join(report)]
    for split in (1, 7, 64):
        assert find(log, split) == ["\r\n".join(report)]


@pytest.mark.parametrize("name", REPORTS)
def test_with_the_caller(name):
    report = timed(REPORTS[name], caller="[    T1]")
    assert find(log_of(BEFORE, report, AFTER)) == ["\r\n".join(report)]


@pytest.mark.parametrize("name", REPORTS)
def test_of_a_kernel_that_shows_no_times(name):
    found = find(log_of(["Linux version 6.1.0", "Run /init"], REPORTS[name]))
    assert found == ["\r\n".join(REPORTS[name])]


@pytest.mark.parametrize("name", REPORTS)
def test_behind_a_prompt_and_output(name):
    report = timed(REPORTS[name])
    log = "root@vm:~# ./test\r\nprogress 50%" + log_of(report, AFTER)
    assert find(log) == ["\r\n".join(report)]


@pytest.mark.parametrize("name", [name for name in REPORTS if name != "an oops and its panic"])
def test_cut_off_anywhere(name):
    """What has come of a report is told once its first line is there; of a line, once its time is."""
    report = timed(REPORTS[name])
    text = log_of(report)
    intro = 2 if report[0].endswith((CUT, RULE)) else 1
    first = len("\r\n".join(report[:intro]))
    for end in range(first, len(text) + 1, 13):
        told, lines = find(text[:end]), text[:end].rstrip("\r\n")
        assert told == [lines] or told == [lines.rpartition("\r\n")[0]]


def test_two_reports():
    first, second = timed(REPORTS["soft lockup"], 20.0), timed(REPORTS["soft lockup"], 50.0)
    assert find(log_of(BEFORE, first, AFTER[:0], second)) == ["\r\n".join(first), "\r\n".join(second)]


def test_no_more_than_sixteen_are_kept():
    lines = [timed(REPORTS["panic without a root"], 100.0 * i) for i in range(40)]
    assert len(find(log_of(*lines))) == 16


def test_modules_that_fill_the_line():
    report = REPORTS["page fault"][:-2] + ["Modules linked in: " + " ".join("module_%d" % i for i in range(900)), END]
    log = log_of(timed(report), AFTER)
    assert find(log) == ["\r\n".join(timed(report))] == find(log, 100)


HEALTHY_LINES = [
    "x86/acpi: firmware BUG: wrong table, ignored", "[Firmware Bug]: TSC doesn't count with P0 frequency!",
    "ACPI BIOS Error (bug): Could not resolve symbol [\\_SB.PCI0], AE_NOT_FOUND",
    "..MP-BIOS bug: 8254 timer not connected to IO-APIC", "BUG: arch topology borken",
    "BUG: sleeping function called from invalid context at x.c:1",
    "traps: a.out[71] general protection fault ip:401126 sp:7ffc error:0 in a.out[401000+1000]",
    "a.out[71]: segfault at 0 ip 0000000000401126 sp 00007ffc error 6 in a.out[401000+1000]",
    "Out of memory: Killed process 71 (tail) total-vm:1000kB", "UBSAN: array-index-out-of-bounds in x.c:1:2",
    "rcu: \tRCU CPU stall warnings timeout set to 60 (rcu_cpu_stall_timeout).",
    "INFO: lockdep is turned off.", "WARNING: possible circular locking dependency detected",
    "systemd[1]: Starting Kernel panic - not syncing: no, it is a service's name.",
    "Command line: panic=1 oops=panic softlockup_panic=1 hung_task_panic=1",
    "audit: type=1400 msg='BUG: unable to handle this'", "watchdog: Delayed init of the lockup detector failed: -19",
    "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.", "sysrq: Show Blocked State",
    "kernel BUGs are reported at https://bugs.debian.org", "Oopsie[71]: started", "EXT4-fs error (device vda)",
    "pci 0000:00:01.0: [8086:29c0] type 00 class 0x060000", "ref 0abc: device [#1] of hub",
    "Unable to handle this: [#1]", "Internal error: no such device", "Bad mode in file",
]
SPOKEN = [      # by programs, on the console of a kernel that shows times
    "Kernel panic - not syncing: in a shell", "root@vm:~# echo BUG: unable to handle kernel",
    "Nov 30 12:00:00 vm kernel: Kernel panic - not syncing: of yesterday", "Oops: 0002 [#1] SMP",
    "kernel BUG at mm/slub.c:42!", "grep: BUG: KASAN: in a file",
]


@pytest.mark.parametrize("line", HEALTHY_LINES)
def test_healthy_message(line):
    assert find(log_of(BEFORE, timed([line]), timed([CUT, "WARNING: CPU: 0 PID: 1 at x.c:1 f", *X86, END], 13.0))) == []
    assert find(log_of(BEFORE, timed([line], caller="[    C0]"))) == []


@pytest.mark.parametrize("line", SPOKEN)
def test_what_programs_say(line):
    assert find(log_of(BEFORE, [line], AFTER)) == []


def healthy_boots():
    return sorted(name for name in os.listdir(HEALTHY) if name.endswith(".log.gz"))


def test_there_are_healthy_boots():
    assert len(healthy_boots()) >= 24


@pytest.mark.parametrize("name", healthy_boots())
def test_healthy_boot(name):
    with gzip.open(os.path.join(HEALTHY, name), "rt", encoding="utf-8", errors="backslashreplace", newline="") as f:
        log = f.read()
    assert "Linux version" in log
    assert find(log) == [] == find(log, 1000)
    # One that crashes in its midst is found all the same.
    lines, report = log.splitlines(True), timed(REPORTS["page fault"], 9000.0)
    for at in random.Random(name).sample(range(len(lines)), 5):
        text = "".join(lines[:at]) + "\r\n" + log_of(report) + "".join(lines[at:])
        assert [found.replace("\r", "") for found in find(text)][:1] == ["\n".join(report)]


def test_boot_that_panicked():
    path = os.path.join(HEALTHY, os.pardir, "crashed_boots", "ioapic.log.gz")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as f:
        log = f.read()
    begin = log.index("[    0.048000] Kernel panic - not syncing: IO-APIC")
    assert find(log) == find(log, 5) == [log[begin:].rstrip("\r\n")]
    assert find(log)[0].endswith("]---")


def test_time_is_linear():
    for piece in ("[", "[    1.", "[    1.000000] ", "BUG: ", ": 0000 [#", "Kernel panic - not syncing\n[ 1.0] x\n"):
        log, scan = (piece * (2 << 20))[:4 << 20].encode(), _session.CrashScan()
        begun = time.process_time()
        scan.feed(log)
        assert time.process_time() - begun < 8


def test_feed_takes_bytes_only():
    for data in ("text", None, 5, bytearray(b"x")):
        with pytest.raises(TypeError):
            _session.CrashScan().feed(data)
    with pytest.raises(TypeError):
        _session.CrashScan(1)


# ---- by params ----

class Console:
    """A session of somebody else's."""

    def __init__(self, output=""):
        self.output = output

    def get_output(self):
        return self.output


def make_vm(console, **params):
    vm = qemu.VM("vm1", Params(params), "/tmp")
    vm.serial_console = console
    return vm


def crash_of(vm):
    try:
        vm.verify_kernel_crash()
    except virt_vm.VMDeadKernelCrashError as e:
        return e.kernel_crash
    return None


OF_TODAY = "\n".join(timed(REPORTS["panic by sysrq"])) + "\n"
OF_OLD = "[1.0] BUG: of any kind\n[1.2] ---[ end trace 2d2e ]---\n"
BY_SEED = (OF_OLD + OF_TODAY)[6:-1]


@pytest.mark.parametrize("params, found", [
    ({}, BY_SEED), ({"kernel_crash_patterns": ""}, BY_SEED), ({"kernel_crash_patterns": "seed"}, BY_SEED),
    ({"kernel_crash_patterns": "modern"}, OF_TODAY[:-1]),
    ({"kernel_crash_patterns": "of any (kind|sort)|Kernel Offset"},
     "[1.0] BUG: of any kind\n\n" + [line for line in OF_TODAY.split("\n") if "Kernel Offset" in line][0]),
])
def test_the_param_chooses(params, found):
    assert crash_of(make_vm(Console(OF_OLD + OF_TODAY), **params)) == found


def test_base_vm_reads_no_such_param():
    vm = virt_vm.BaseVM("vm1", Params({"kernel_crash_patterns": "modern"}))
    vm.serial_console = Console(OF_TODAY)
    assert vm.verify_kernel_crash() is None


def test_no_console():
    assert make_vm(None, kernel_crash_patterns="modern").verify_kernel_crash() is None


def test_an_expression_that_is_none():
    with pytest.raises(ValueError, match="kernel_crash_patterns.*neither seed, modern nor a regular expression"):
        make_vm(Console("x"), kernel_crash_patterns="(").verify_kernel_crash()


def test_output_that_is_no_text():
    with pytest.raises(TypeError):
        make_vm(Console(b"x"), kernel_crash_patterns="modern").verify_kernel_crash()


@pytest.mark.parametrize("patterns", ["modern", "panic"])
def test_each_line_is_looked_at_once(patterns, monkeypatch):
    fed = []
    for finder in (kernel_crash._Modern, kernel_crash._Expression):
        plain = finder.feed
        monkeypatch.setattr(finder, "feed", lambda self, text, plain=plain: (fed.append(len(text)), plain(self, text)))
    console = Console()
    vm = make_vm(console, kernel_crash_patterns=patterns)
    for i in range(50):
        console.output += "[%5d.000000] all is well\n" % i
        assert crash_of(vm) is None and crash_of(vm) is None
    assert sum(fed) == len(console.output)
    console.output += OF_TODAY
    assert crash_of(vm) and crash_of(vm) and sum(fed) == len(console.output)


@pytest.mark.parametrize("patterns", ["modern", "panic"])
@pytest.mark.parametrize("others", ["", "short", "x" * 5000])
def test_a_log_that_is_rotated_or_cut(patterns, others):
    console = Console("y" * 3000 + "\n")
    vm = make_vm(console, kernel_crash_patterns=patterns)
    assert crash_of(vm) is None
    console.output = others
    assert crash_of(vm) is None
    console.output = others + "\n" + OF_TODAY
    assert "Kernel panic" in crash_of(vm)
    console.output = others
    assert crash_of(vm) is None


@pytest.fixture
def engine_console(tmp_path):
    """A console of ours on a socket, and what its other side says with; its lines end with CR LF."""
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX) as far:
        far.bind(path)
        far.listen()
        with aexpect.ConsoleSession(path) as console, far.accept()[0] as guest:
            def said(text):
                total = console._engine.total + len(text)
                guest.sendall(text)
                until(lambda: console._engine.poll() and console._engine.total >= total)
            yield console, said


def with_cr(text):
    return text.replace("\n", "\r\n").encode()


@pytest.mark.parametrize("patterns", ["modern", "Kernel panic.*crash$"])
def test_lines_that_end_with_cr_lf(engine_console, patterns):
    console, said = engine_console
    vm = make_vm(console, kernel_crash_patterns=patterns)
    found = OF_TODAY[:-1] if patterns == "modern" else OF_TODAY.split("\n")[0]
    said(with_cr("[    1.000000] all is well\n" * 100))
    assert crash_of(vm) is None
    said(with_cr(OF_TODAY))
    assert crash_of(vm).startswith(found)
    said(with_cr("[   99.000000] more\n" * 100))
    assert crash_of(vm).startswith(found) and crash_of(vm).startswith(found)


class Stop(Exception):
    pass


@pytest.mark.parametrize("patterns", ["modern", "Kernel panic"])
@pytest.mark.parametrize("ours", [True, False], ids=["engine", "text"])
def test_a_look_that_was_interrupted_begins_anew(request, monkeypatch, patterns, ours):
    console = request.getfixturevalue("engine_console") if ours else Console()
    vm = make_vm(console[0] if ours else console, kernel_crash_patterns=patterns)
    if ours:
        console[1](with_cr(OF_TODAY))
    else:
        console.output = OF_TODAY
    finder = kernel_crash._Modern if patterns == "modern" else kernel_crash._Expression
    plain = finder.feed

    def after(self, text):
        plain(self, text)
        raise Stop

    def before(self, text):
        raise Stop

    for feed in (before, after):
        monkeypatch.setattr(finder, "feed", feed)
        with pytest.raises(Stop):
            vm.verify_kernel_crash()
    monkeypatch.setattr(finder, "feed", plain)
    whole = crash_of(make_vm(Console(OF_TODAY), kernel_crash_patterns=patterns))
    assert crash_of(vm) == whole and crash_of(vm) == whole


def test_offsets_are_of_the_text():
    vm = make_vm(Console("\u4e2d\U0001f600\udc80\n" + OF_TODAY + "\u00e9"), kernel_crash_patterns="modern")
    assert crash_of(vm) == OF_TODAY[:-1]


def test_a_console_that_no_dictionary_takes():
    class Odd(Console):
        __slots__ = ()
        __hash__ = None

    assert crash_of(make_vm(Odd(OF_TODAY), kernel_crash_patterns="modern")) == OF_TODAY[:-1]


def test_nothing_is_kept_for_a_console_that_is_gone():
    before = len(kernel_crash._watches)
    vm = make_vm(Console(OF_TODAY), kernel_crash_patterns="modern")
    assert crash_of(vm) and len(kernel_crash._watches) == before + 1
    vm.serial_console = None
    assert len(kernel_crash._watches) == before
