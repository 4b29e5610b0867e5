#!/usr/bin/env python3
"""What a command costs in an open shell: its output and its exit status.

virtvm and aexpect ask for the status; the others only wait for the prompt (`vt$ `), which
their programs would have to know. Then 20 MB of output of one command.
"""

import argparse

import common

NAMES = ["virtvm", "bare libssh2", "ssh2-python", "ssh-python", "asyncssh", "paramiko", "OpenSSH", "aexpect"]
SLOW = {"aexpect"}
MB = 1000 * 1000


def commands(workers, count, turns):
    def task(name):
        return lambda: workers[name].ask("command", count=2 if name in SLOW else count)["seconds"]

    tasks = {name: task(name) for name in workers}
    return common.summary(common.rounds(tasks, turns))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slow", action="store_true", help="let aexpect read 20 MB, too (40 s)")
    args = parser.parse_args()
    result = {}
    with common.server() as sshd, common.peers(NAMES + common.BEFORES) as workers:
        where = {"host": sshd.host, "user": sshd.user, "key": sshd.key}
        for worker in workers.values():
            worker.ask("open", port=sshd.port, **where)
        result["command"] = commands(workers, 100, args.rounds)
        common.table("a command and its status", result["command"])
        small = {name: worker for name, worker in workers.items() if args.slow or name not in SLOW}
        before = workers["virtvm"].ask("memory")["peak"]
        tasks = {name: (lambda worker=worker: worker.ask("output", size=20 * MB)["seconds"])
                 for name, worker in small.items()}
        times = common.rounds({name: task for name, task in tasks.items() if name not in SLOW}, args.rounds)
        if args.slow:
            times.update(common.rounds({name: tasks[name] for name in SLOW if name in tasks}, 1, warm_up=0))
        result["output_20MB"] = common.summary(times)
        common.table("20 MB of output of one command", result["output_20MB"])
        grown = workers["virtvm"].ask("memory")["peak"] - before
        print("  virtvm's memory grew by %.1f MB at most: %.2f x the output" % (grown / 1024, grown * 1024 / (20 * MB)))
        result["output_20MB_memory_kb"] = grown
        for worker in workers.values():
            worker.ask("close")
        proxy = common.DelayProxy(sshd.port, 0.010)
        for worker in workers.values():
            worker.ask("open", port=proxy.port, **where)
        result["command_20ms"] = commands(workers, 10, 3)
        common.table("a command and its status, 20 ms round trip", result["command_20ms"])
        for worker in workers.values():
            worker.ask("close")
        proxy.close()
    common.save("commands", result)


if __name__ == "__main__":
    main()
