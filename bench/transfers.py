#!/usr/bin/env python3
"""How long files take to a server and back, login included, next to what others copy with.

One large file; a tree of small ones, with modes and times; both again with 20 ms of round
trip; and how much memory a large file costs.  All files lie in memory, so that no disk is
measured.  What arrives is compared with what was sent.
"""

import argparse
import contextlib
import filecmp
import os
import shutil
import tempfile

import common

FILE_PEERS = ["virtvm", "virtvm by scp", "scp", "ssh cat/tar", "paramiko", "asyncssh", "ssh2-python", "ssh-python",
              *common.BEFORES]
TREE_PEERS = ["virtvm", "ssh cat/tar", "rsync", "scp", *common.BEFORES]
MB = 1 << 20


@contextlib.contextmanager
def copiers(names):
    """{name: Worker} of those that can be had."""
    found = {}
    with contextlib.ExitStack() as last:
        for name in names:
            worker = common.python_worker(name, "transfer_peers.py")
            last.callback(worker.close)
            try:
                worker.ask("hello")
                found[name] = worker
            except common.PeerError as e:
                print("missing: %s" % e, flush=True)
        yield found


def make_file(path, size):
    with open(path, "wb") as f:
        for _ in range(size // MB):
            f.write(os.urandom(MB))
    os.chmod(path, 0o644)


def make_tree(root, files, folders):
    os.mkdir(root)
    for n in range(folders):
        os.mkdir(os.path.join(root, "folder%02d" % n))
    for n in range(files):
        path = os.path.join(root, "folder%02d" % (n % folders), "file%04d" % n)
        with open(path, "wb") as f:
            f.write(os.urandom(4096))
        os.utime(path, (10 ** 9, 10 ** 9))


def is_same(one, other):
    if not os.path.isdir(one):
        return filecmp.cmp(one, other, shallow=False)
    compared = filecmp.dircmp(one, other)
    return not (compared.left_only or compared.right_only) and all(
        is_same(os.path.join(one, name), os.path.join(other, name)) for name in compared.left_list)


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.unlink(path)


def measure(workers, where, operation, source, folder, count):
    """Interleaved rounds; {name: summary with CPU seconds and memory}."""
    target, more, seen = os.path.join(folder, "target"), {}, set()

    def task(name, worker):
        def run():
            remove(target)
            answer = worker.ask(operation, where=where, source=source, target=target)
            if name not in seen and not is_same(source, target):
                raise common.PeerError("%s did not copy what there was" % name)
            seen.add(name)
            more.setdefault(name, []).append(answer)
            return answer["seconds"]
        return run

    found = common.summary(common.rounds({name: task(name, worker) for name, worker in workers.items()}, count))
    remove(target)
    for name, row in found.items():
        row["cpu"] = sorted(answer["cpu"] for answer in more[name])[len(more[name]) // 2]
        row["memory_growth"] = more[name][-1]["memory"] - more[name][0]["memory"]
    return found


def show(title, found):
    common.table(title, found)
    print("  client CPU: %s" % ", ".join("%s %.2f s" % (name, row["cpu"]) for name, row in found.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=256, help="of the large file, in MiB")
    parser.add_argument("--only", help="file, tree or far")
    args = parser.parse_args()
    result = {}
    with contextlib.ExitStack() as last:
        sshd = last.enter_context(common.server())
        workers = last.enter_context(copiers(dict.fromkeys(FILE_PEERS + TREE_PEERS)))
        memory = last.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
        os.chmod(memory, 0o777)
        proxy = common.DelayProxy(sshd.port, 0.010)
        last.callback(proxy.close)
        near = {"host": sshd.host, "port": sshd.port, "user": sshd.user, "key": sshd.key}
        far = dict(near, port=proxy.port)
        of_files = {name: workers[name] for name in FILE_PEERS if name in workers}
        of_trees = {name: workers[name] for name in TREE_PEERS if name in workers}
        few = max(3, args.rounds // 2)
        large, middle = os.path.join(memory, "large"), os.path.join(memory, "middle")
        tree, small = os.path.join(memory, "tree"), os.path.join(memory, "small")

        def run(name, title, *what):
            result[name] = measure(*what)
            show(title, result[name])

        if args.only in (None, "file"):
            make_file(large, args.size * MB)
            for way in "up", "down":
                run("file_" + way, "%d MiB %s" % (args.size, way), of_files, near, way, large, memory, args.rounds)
            os.unlink(large)
        if args.only in (None, "tree"):
            make_tree(tree, 2000, 20)
            for way in "up", "down":
                run("tree_" + way, "2,000 files of 4 KiB in 20 folders, %s" % way, of_trees, near, "tree_" + way,
                    tree, memory, args.rounds)
        if args.only in (None, "far"):
            make_file(middle, 64 * MB)
            make_tree(small, 500, 5)
            quick = {name: of_files[name] for name in ("virtvm", "scp", "ssh cat/tar") if name in of_files}
            for way in "up", "down":
                run("far_file_" + way, "64 MiB %s, 20 ms round trip" % way, quick, far, way, middle, memory, few)
            quick = {name: of_trees[name] for name in ("virtvm", "ssh cat/tar", "rsync") if name in of_trees}
            for way in "up", "down":
                run("far_tree_" + way, "500 files of 4 KiB %s, 20 ms round trip" % way, quick, far, "tree_" + way,
                    small, memory, few)
    grown = {name: row["virtvm"]["memory_growth"] for name, row in result.items() if "virtvm" in row}
    print("\nmemory that virtvm grew by after its first copy: %s" % ", ".join(
        "%s %.1f MiB" % (name, n / MB) for name, n in grown.items()))
    common.save("transfers", result)


if __name__ == "__main__":
    main()
