#!/usr/bin/env python3
"""Many open sessions in one process: memory, descriptors, threads, idle CPU, exchanges a second.

The bare libssh2 loop opens as many, writes a line to each and reads each one's answer;
virtvm does the same with send() and the engine's reads, then with cmd(), from one thread
and from several. cmd() asks for the exit status, too: so does the bare loop in its second
pass, which is how fast the servers' side is at that.
"""

import argparse
import concurrent.futures
import os
import re
import threading
import time

import common


def usage():
    """Of this process: KiB resident, descriptors, threads, children, CPU seconds."""
    with open("/proc/self/status") as f:
        status = f.read()
    with open("/proc/self/task/%d/children" % os.getpid()) as f:
        children = len(f.read().split())
    return {"rss": int(re.search(r"VmRSS:\s*(\d+)", status).group(1)),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": int(re.search(r"Threads:\s*(\d+)", status).group(1)),
            "processes": children, "cpu": sum(os.times()[:2])}


def open_all(sshd, count, threads):
    from virtvm.companions import virt_utils

    def one(_):
        return virt_utils.remote_login("ssh", sshd.host, sshd.port, sshd.user, "", common.PROMPT,
                                       timeout=60, ssh_identity_file=sshd.key)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(count)))


def exchange(sessions, rounds):
    """Seconds for a line to each session and each one's answer, so many rounds."""
    start = time.perf_counter()
    for _ in range(rounds):
        for session in sessions:
            session.sendline("echo hi")
        for session in sessions:
            output = b""
            while not output.endswith(b"vt$ "):
                output += session._engine.read(-1.0, 30.0)[0]
    return time.perf_counter() - start


def commands(sessions, rounds, threads):
    def work(some):
        for _ in range(rounds):
            for session in some:
                session.cmd("echo hi")
    start = time.perf_counter()
    workers = [threading.Thread(target=work, args=(sessions[n::threads],)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    n, result = args.sessions, {"sessions": args.sessions}
    with common.server() as sshd, common.peers(["bare libssh2"]) as workers:
        bare = workers.get("bare libssh2")
        where = {"host": sshd.host, "port": sshd.port, "user": sshd.user, "key": sshd.key}
        start_threads = usage()["threads"]
        open_all(sshd, 1, 1)[0].close()             # whatever is made once
        before = usage()
        start = time.perf_counter()
        sessions = open_all(sshd, n, 4)
        result["open_seconds"] = time.perf_counter() - start
        after = usage()
        result["each"] = {"kib": (after["rss"] - before["rss"]) / n,
                          "descriptors": (after["descriptors"] - before["descriptors"]) / n}
        result["threads"] = after["threads"] - start_threads
        result["processes"] = after["processes"] - before["processes"]
        time.sleep(1)
        idle = usage()["cpu"]
        time.sleep(5)
        result["idle_cpu_of_5_s"] = usage()["cpu"] - idle
        tasks = {"exchanges": lambda: exchange(sessions, args.rounds) / (n * args.rounds),
                 "cmd, 1 thread": lambda: commands(sessions, 2, 1) / (n * 2),
                 "cmd, 4 threads": lambda: commands(sessions, 5, 4) / (n * 5),
                 "cmd, 8 threads": lambda: commands(sessions, 5, 8) / (n * 5)}
        if bare:
            for name, status in (("bare exchanges", 0), ("bare, with status", 1)):
                tasks[name] = lambda status=status: bare.ask(
                    "exchange", count=n, rounds=args.rounds, status=status, **where)["seconds"] / (n * args.rounds)
        found = common.summary(common.rounds(tasks, args.turns, before=common.settle))
        result["seconds_each"] = found
        for session in sessions:
            session.close()
    print("%d sessions: %.1f s to open from 4 threads, %.0f KiB and %.1f descriptors each, %d thread, %d processes, "
          "%.2f s of CPU in 5 s of idleness" % (
              n, result["open_seconds"], result["each"]["kib"], result["each"]["descriptors"], result["threads"],
              result["processes"], result["idle_cpu_of_5_s"]))
    for name, row in found.items():
        print("  %-18s %8.0f a second   %.2f of the bare loop's rate" % (
            name, 1 / row["median"], found["bare exchanges"]["median"] / row["median"]))
    common.save("sessions", result)


if __name__ == "__main__":
    main()
