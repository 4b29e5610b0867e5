"""Ctrl-C at random instants of copies over an old tree: each file is the old one or the new one, whole; what
is new is there whole or not at all; what has a temporary name was told; descriptors and threads do not become more.

VIRTVM_STORM_RUNS: how often each copy is interrupted (`make soak`: 200); one that was done before does not count."""

import os
import subprocess
import sys

import pytest
from support.rss_server import RssServer
from support.sshd import Sshd
from support.waiting import LONG

pytestmark = [pytest.mark.once, pytest.mark.timeout(LONG)]

RUNS = int(os.environ.get("VIRTVM_STORM_RUNS") or 12)
OLD_FILES, NEW_FILES = 24, 24

DRIVER = r"""
import os, random, signal, sys, time
from pathlib import Path
from virtvm.companions import rss_client, transfer
from virtvm.companions.exceptions import SCPError

kind, direction, runs, seed, here, there, host, port, user, key = sys.argv[1:]
runs, port, here, there = int(runs), int(port), Path(here), Path(there)
near, far = (here, there) if direction == "put" else (there, here)
chance = random.Random(seed)
OLD, NEW = b"old", b"new" * 5000
OLD_FILES, NEW_FILES = %d, %d

source = near / "source"
for n in range(OLD_FILES):
    (source / "d").mkdir(parents=True, exist_ok=True)
    (source / "d" / ("f%%d" %% n)).write_bytes(NEW)
for n in range(NEW_FILES):
    (source / "d" / "new" / ("s%%d" %% (n %% 5))).mkdir(parents=True, exist_ok=True)
    (source / "d" / "new" / ("s%%d" %% (n %% 5)) / ("f%%d" %% n)).write_bytes(NEW)


def old_tree(number):
    target = far / ("t%%d" %% number)
    (target / "d").mkdir(parents=True)
    for n in range(OLD_FILES):
        (target / "d" / ("f%%d" %% n)).write_bytes(OLD)
    return target


def copy(target):
    if kind == "rss":
        name = "C:\\" + (target if direction == "put" else source).name
        if direction == "put":
            rss_client.upload(host, port, str(source / "d"), name, timeout=60)
        else:
            rss_client.download(host, port, name + "\\d", str(target), timeout=60)
        return
    function = transfer.scp_to_remote if direction == "put" else transfer.scp_from_remote
    function(host, port, user, "", str(source / "d"), str(target), timeout=60, ssh_identity_file=key,
             transfer_engine=kind)


def interrupted(target, delay):
    # What came out of it (None: it was done before), and what was told as left.
    global least
    begin = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        copy(target)
        signal.setitimer(signal.ITIMER_REAL, 0)
        least = min(least, time.monotonic() - begin)
        return None, 0, ()
    except KeyboardInterrupt as e:
        left = getattr(e, "left", None)
        return "interrupt", left.count if left else 0, left.names if left else ()


def judge(number, target, came, count, told):
    wrong = []
    paths = [path for path in target.rglob("*")]
    roots = [path for path in paths if ".vt-" in path.name]
    if len(roots) > count or (count <= 8 and not {path.name for path in roots} <= {os.path.basename(n) for n in told}):
        wrong.append("not told: %%s" %% [str(path) for path in roots])
    for n in range(OLD_FILES):
        path = target / "d" / ("f%%d" %% n)
        asides = [p for p in roots if p.name.startswith(".f%%d.vt-" %% n) and p.name.endswith(".old")]
        data = path.read_bytes() if path.exists() else asides[0].read_bytes() if asides else b"neither"
        may_be = kind == "rss" and direction == "put" and NEW.startswith(data)     # its protocol can't do more
        if data not in (OLD, NEW) and not may_be:
            wrong.append("%%s has %%d bytes" %% (path, len(data)))
    new = target / "d" / "new"
    whole = [p for p in new.rglob("f*") if p.read_bytes() == NEW] if new.exists() else []
    if new.exists() and len(whole) != NEW_FILES and not (kind == "rss" and direction == "put"):
        wrong.append("%%d of %%d files are in the new folder" %% (len(whole), NEW_FILES))
    if came is None and (len(whole) != NEW_FILES or any(
            (target / "d" / ("f%%d" %% n)).read_bytes() != NEW for n in range(OLD_FILES))):
        wrong.append("it was said to be done")
    if wrong:
        print("WRONG", number, came, count, told, wrong)


def resources():
    return sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


signal.signal(signal.SIGALRM, signal.default_int_handler)
least = float("inf")                 # a mean is longer than most copies where the machine was busy once
for number in range(5):
    target = old_tree(-1 - number)
    begin = time.monotonic()
    copy(target)
    least = min(least, time.monotonic() - begin)
    judge(number, target, None, 0, ())
before = resources()
results, struck, number = [], 0, 0
while struck < runs and number < 4 * runs:
    target = old_tree(number)
    late = number %% 3 == 0          # when names are given
    delay = chance.uniform(0.7 if late else 0.0, 1.0) * least
    results.append((number, target) + interrupted(target, max(delay, 0.0001)))
    judge(*results[-1])
    struck += results[-1][2] is not None
    # A login that was stopped leaves its connection to the thread that reads idle ones, for the next.
    after = resources()
    if len(after[0]) > len(before[0]) + 4 or after[1] > before[1] + 1:
        print("WRONG", number, "descriptors and threads", before, after)
        break
    number += 1
copy(old_tree(4 * runs))
after = resources()
if len(after[0]) > len(before[0]) + 3 or after[1] > before[1] + 1:
    print("WRONG at the end: descriptors and threads", before, after)
for result in results:               # nothing came later
    judge(*result)
print("interrupted %%d of %%d" %% (struck, len(results)))
""" % (OLD_FILES, NEW_FILES)


def storm(kind, direction, folder, host, port, user="", key=""):
    seed = os.urandom(4).hex()
    for name in ("here", "there"):
        (folder / name).mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, kind, direction, str(RUNS), seed, str(folder / "here"), str(folder / "there"),
         host, str(port), user, key], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0 and "WRONG" not in done.stdout, "seed %s: %s" % (seed, done.stdout)
    hit = int(done.stdout.split("interrupted ")[1].split()[0])
    assert hit == RUNS, done.stdout


@pytest.mark.parametrize("direction", ["put", "get"])
@pytest.mark.parametrize("engine, options", [
    ("sftp", ""), ("sftp", "Subsystem sftp internal-sftp -P posix-rename"), ("scp", "")],
    ids=["sftp", "sftp-without-posix-rename", "scp"])
def test_interrupts(folder, engine, options, direction):
    if options and direction == "get":
        pytest.skip("renames are uploads'")
    server = Sshd(options)
    try:
        storm(engine, direction, folder, server.host, server.port, server.user, server.key)
    finally:
        server.stop()


@pytest.mark.parametrize("direction", ["put", "get"])
def test_interrupts_with_a_windows_guest(folder, direction):
    (folder / "there").mkdir()
    with RssServer(folder / "there") as server:
        (folder / "there").rmdir()
        storm("rss", direction, folder, "127.0.0.1", server.port)
