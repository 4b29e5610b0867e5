#!/usr/bin/env python3
"""How long files to and from a Windows guest take, and how much of our processor.

By the remote shell server's protocol, with connecting, against aexpect's client; the server is
the tests' own, in a process of its own, with its files in memory where there is a /dev/shm. As
the genuine one it sends a packet by two calls, with Nagle's algorithm on.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

import common
from virtvm.companions import rss_client

SERVER = """
import sys
from support.rss_server import RssServer
with RssServer(sys.argv[1]) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


def clients():
    """{name: module with upload() and download()}."""
    found = {"virtvm": rss_client}
    try:
        from aexpect import rss_client as theirs
    except ImportError:
        print("dropped: aexpect is not installed")
    else:
        found["aexpect"] = theirs
    return found


class Bench:
    def __init__(self, folder, port):
        self.folder, self.port = folder, port
        self.cpu = {}                   # (what, name): seconds of processor time

    def run(self, what, name, copy, src, dst):
        """Seconds of one copy, into an empty folder."""
        back = os.path.join(self.folder, "back")
        shutil.rmtree(back, ignore_errors=True)
        os.mkdir(back)
        began, before = time.perf_counter(), time.process_time()
        copy("127.0.0.1", self.port, src, dst, timeout=300)
        seconds = time.perf_counter() - began
        self.cpu.setdefault((what, name), []).append(time.process_time() - before)
        return seconds

    def measure(self, what, verb, src, dst, count):
        tasks = {name: (lambda name=name, module=module: self.run(what, name, getattr(module, verb), src, dst))
                 for name, module in clients().items()}
        found = common.summary(common.rounds(tasks, count))
        common.table(what, found)
        for name in found:
            used = sorted(self.cpu[what, name])
            found[name]["cpu"] = used[len(used) // 2]
            print("  %-16s %10.2f ms of processor time" % (name, found[name]["cpu"] * 1000))
        return found


def make_files(folder):
    """One file of 128 MiB, and 500 of 4 KiB in 10 folders."""
    with open(os.path.join(folder, "big"), "wb") as f:
        for _ in range(128):
            f.write(os.urandom(1 << 20))
    for n in range(500):
        os.makedirs(os.path.join(folder, "many", "d%d" % (n % 10)), exist_ok=True)
        with open(os.path.join(folder, "many", "d%d" % (n % 10), "f%d" % n), "wb") as f:
            f.write(os.urandom(4096))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="virtvm-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    drive, back = os.path.join(folder, "drive"), os.path.join(folder, "back")
    os.mkdir(drive)
    make_files(folder)
    server = subprocess.Popen([sys.executable, "-c", SERVER, drive], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True, env=dict(os.environ, PYTHONPATH=os.path.join(common.TOP, "tests")))
    try:
        bench = Bench(folder, int(server.stdout.readline()))
        result = {}
        for key, size, name in (("big", "128 MiB", "big"), ("many", "500 files of 4 KiB in 10 folders", "many")):
            here = os.path.join(folder, name)
            result[key + "_up"] = bench.measure("%s, up" % size, "upload", here, "C:\\", args.rounds)
            result[key + "_down"] = bench.measure("%s, down" % size, "download", "C:\\" + name, back, args.rounds)
        common.save("windows_files", result)
    finally:
        server.stdin.close()
        server.wait(20)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
