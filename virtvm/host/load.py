"""SystemLoad: what the host and its processes use of processors and memory."""

import os
import re
import threading
import time

from virtvm import signals, threads
from virtvm.host import processes
from virtvm.host.tables import matrix_to_string

_PROCESS_CPU = (11, 12, 7, 9)           # utime stime minflt majflt, behind the name in stat
_SYSTEM_CPU = ((b"cpu", 0), (b"cpu", 2), (b"intr", 0), (b"softirq", 0))
_PROCESS_MEM = (b"VmSize", b"VmRSS", b"VmPeak", b"VmSwap")
_SYSTEM_MEM = (b"MemTotal", b"MemFree", b"Buffers", b"Cached")


def _content(path):
    with open(path, "rb", buffering=0) as f:
        return f.readall()


def _process_cpu(pid):
    _, fields = processes.stat(pid)
    return [int(fields[i]) for i in _PROCESS_CPU]


def _system_cpu():
    lines = {name: rest.split() for name, _, rest in
             (line.partition(b" ") for line in _content("/proc/stat").splitlines())}
    return [int(lines[name][i]) for name, i in _SYSTEM_CPU]


def _sizes(path, names):
    """KiB values of "Name:   123 kB" lines; 0 for one that is missing (kernel threads)."""
    found = dict(re.findall(rb"(?m)^(\w+):\s+(\d+) kB$", _content(path)))
    return [int(found.get(name, 0)) for name in names]


class _Monitor:
    """Samples four numbers at start, at stop and, if asked to, in between."""

    def __init__(self, read, difference, continuous, use_log, time_step):
        self._read = read                   # returns four ints; OSError once the process is gone
        self._difference = difference       # of last and first sample; else the mean of all
        self._continuous = continuous
        self._use_log = use_log
        self._time_step = time_step
        self._samples = []                  # (time, values)
        self._thread = None
        self._end = threads.Wake()
        self.running = False

    def start(self):
        self.stop()
        self._samples = [(time.monotonic(), self._read())]
        self._end = threads.Wake()
        self.running = True
        if self._continuous:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            threads.start(self._thread)

    def _watch(self):
        while not self._end.wait(self._time_step) and self._sample():
            pass

    def _sample(self):
        try:
            self._samples.append((time.monotonic(), self._read()))
            return True
        except OSError as e:
            signals.let_out(e)
            return False                    # it has ended: what was seen so far counts

    def stop(self):
        if not self.running:
            return
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._sample()
        self.running = False

    def get_status(self):
        """(four values, seconds, log, time_step); stops if running."""
        self.stop()
        if not self._samples:
            raise RuntimeError("SystemLoad was not started")
        series = [values for _, values in self._samples]
        if self._difference:
            result = _subtract(series[-1], series[0])
            log = [_subtract(new, old) for old, new in zip(series, series[1:])]
        else:
            result = [sum(column) / len(series) for column in zip(*series)]
            log = series
        seconds = self._samples[-1][0] - self._samples[0][0]
        return result, seconds, log if self._use_log else [], self._time_step


def _subtract(new, old):
    return [a - b for a, b in zip(new, old)]


class SystemLoad:
    """Measures processor time and memory of processes and of the whole host.

    pids: what to watch: a pid (int), (pid, name to show), or 0 for the host.
    advanced: show page faults, or interrupts for the host, as well.
    time_step: seconds between samples of memory.
    cpu_cont: sample processor time as often.
    use_log: keep all samples for dump().
    Raises OSError, at once or in start(), for a process that does not exist.
    """

    def __init__(self, pids, advanced=False, time_step=0.1, cpu_cont=False, use_log=False):
        self.advanced = advanced
        self.pids = []
        self._names = {}
        self._cpu = {}
        self._mem = {}
        for item in pids:
            pid, name = (item, None) if isinstance(item, int) else item
            self.pids.append(pid)
            self._names[pid] = name or (processes.stat(pid)[0] if pid else "TOTAL")
            read_cpu, read_mem = _readers(pid)
            self._cpu[pid] = _Monitor(read_cpu, True, cpu_cont, use_log, time_step)
            self._mem[pid] = _Monitor(read_mem, False, True, use_log, time_step)

    def _monitors(self, pids):
        return [kind[pid] for pid in (pids or self.pids) for kind in (self._cpu, self._mem)]

    def start(self, pids=[]):
        """Start measuring anew, all or some of the pids."""
        for monitor in self._monitors(pids):
            monitor.start()

    def stop(self, pids=[]):
        """Stop measuring, all or some of the pids; does nothing where stopped."""
        for monitor in self._monitors(pids):
            monitor.stop()

    def dump(self, pids=[]):
        """Stop; return (cpus, mems), lists of (pid, (values, seconds, log, time_step)).

        values of cpus: user and system clock ticks, minor and major page
        faults (interrupts and soft interrupts for the host); of mems, in KiB
        on average: size, resident, peak, swapped (total, free, buffers,
        cached).  log: the same for each sample, if use_log was given.
        """
        pids = pids or self.pids
        return ([(pid, self._cpu[pid].get_status()) for pid in pids],
                [(pid, self._mem[pid].get_status()) for pid in pids])

    def get_cpu_status_string(self, pids=[]):
        """Stop; return a table of processor use in percent of one processor (str)."""
        header = ["NAME", "%7s" % "PID", "%5s" % "USER", "%5s" % "SYS", "%5s" % "SUM"]
        if self.advanced:
            header += ["MINFLT/IRQC", "MAJFLT/SOFTIRQ"]
        header.append("%11s" % "TIME")
        rows = [self._cpu_row(pid) for pid in pids or self.pids]
        return matrix_to_string(rows, header)

    def _cpu_row(self, pid):
        (user, system, minor, major), seconds, _, _ = self._cpu[pid].get_status()
        whole = (seconds or 1e-9) * os.sysconf("SC_CLK_TCK") / 100
        row = [self._names[pid], "%7s" % pid]
        row += ["%4.0f%%" % (ticks / whole) for ticks in (user, system, user + system)]
        if self.advanced:
            row += ["%11d" % minor, "%14d" % major]
        return row + ["%10.3fs" % seconds]

    def get_mem_status_string(self, pids=[]):
        """Stop; return a table of average memory use in MiB (str)."""
        header = ["NAME", "%7s" % "PID", "TOTAL/VMSIZE", "FREE/VMRSS", "BUFFERS/VMPEAK",
                  "CACHED/VMSWAP", "%11s" % "TIME"]
        rows = [self._mem_row(pid) for pid in pids or self.pids]
        return matrix_to_string(rows, header)

    def _mem_row(self, pid):
        sizes, seconds, _, _ = self._mem[pid].get_status()
        return ([self._names[pid], "%7s" % pid] + ["%5dMB" % (size // 1024) for size in sizes]
                + ["%10.3fs" % seconds])

    def __str__(self):
        cpus, mems = self.dump()
        return "\n".join(map(str, cpus + mems))


def _readers(pid):
    """The functions that read processor time and memory of pid."""
    if pid == 0:
        return _system_cpu, lambda: _sizes("/proc/meminfo", _SYSTEM_MEM)
    return lambda: _process_cpu(pid), lambda: _sizes("/proc/%d/status" % pid, _PROCESS_MEM)
