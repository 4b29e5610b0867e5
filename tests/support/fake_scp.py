"""An scp with faults, to be run by sshd for every command (ForceCommand PYTHON fake_scp.py FILE).

FILE names one fault.  Commands other than scp are run as they are.  As a source it sends
what the fault says to whoever asks for "asked"; as a sink it misbehaves likewise.
"""

import os
import sys
import time

out, inp = sys.stdout.buffer, sys.stdin.buffer


def say(data):
    out.write(data)
    out.flush()


def wait():
    """The other side's answer: b"\\0", or its complaint."""
    answer = inp.read(1)
    if answer not in (b"\0", b""):
        inp.readline()
    return answer


def line(text):
    say(text + b"\n")
    return wait()


def file(name, data=b"data", size=None, end=b"\0"):
    answer = line(b"C0644 %d %s" % (len(data) if size is None else size, name))
    if answer == b"\0":
        say(data + end)
        wait()


def in_folder(*names):
    if line(b"D0755 0 asked") != b"\0":
        return
    for name in names:
        file(name, b"evil")
    line(b"E")


def wide():
    """Many files, and never an end."""
    if line(b"D0755 0 asked") == b"\0":
        for n in range(400):
            file(b"f%d" % n)
        inp.read()


def deep():
    line(b"D0755 0 asked")
    for _ in range(2000):
        if line(b"D0755 0 d") != b"\0":
            break
    sys.exit(0)


def endless(start):
    say(start)
    try:
        while True:
            say(b"x" * 65536)
    except BrokenPipeError:
        sys.exit(1)


def folders():
    line(b"D0755 0 asked")
    for n in range(50):
        line(b"D0755 0 sub%d" % n)
        line(b"E")
    line(b"E")


SOURCES = {
    "none": lambda: file(b"asked"),
    "other-name": lambda: file(b"other"),
    "one-more": lambda: (file(b"asked"), file(b"more")),
    "twice": lambda: (file(b"asked"), file(b"asked", b"again")),
    "folder-instead": lambda: in_folder(b"f"),
    "up": lambda: file(b"../asked"),
    "absolute": lambda: file(b"/tmp/virtvm-evil"),
    "empty-name": lambda: line(b"C0644 4 "),
    "dots": lambda: file(b".."),
    "long-name": lambda: file(b"asked" + b"x" * 600),
    "short": lambda: (line(b"C0644 1000 asked"), say(b"few")),
    "long": lambda: file(b"asked", b"more than was told", size=4),
    "failed": lambda: file(b"asked", end=b"\1scp: asked: Input/output error\n"),
    "fatal": lambda: say(b"\2scp: asked: everything is broken\n"),
    "negative-size": lambda: line(b"C0644 -1 asked"),
    "enormous-size": lambda: line(b"C0644 99999999999999999999999 asked"),
    "bad-mode": lambda: line(b"C9999 4 asked"),
    "bad-times": lambda: line(b"Tyesterday 0 now 0"),
    "leave": lambda: line(b"E"),
    "nonsense": lambda: say(b"Welcome to this machine!\n"),
    "nul": lambda: file(b"asked\0"),
    "nothing": lambda: None,
    "endless-line": lambda: endless(b""),
    "endless-complaint": lambda: endless(b"\1"),
    "folder-good": lambda: in_folder(b"f"),
    "folder-up": lambda: in_folder(b"..", b"../evil", b"/tmp/virtvm-evil", b".", b"a/b", b"good"),
    "folder-twice": lambda: in_folder(b"f", b"f"),
    "folder-open": lambda: line(b"D0755 0 asked"),
    "folder-left-twice": lambda: (in_folder(b"f"), line(b"E")),
    "folder-deaf": lambda: (line(b"D0755 0 asked"), line(b"C0644 4 out"), say(b"evil\n\0"), wait()),
    "folder-deaf-below": lambda: (line(b"D0755 0 asked"), line(b"D0755 0 out"), file(b"f"), line(b"E"), line(b"E")),
    "folder-deep": deep,
    "folder-wide": wide,
    "folder-many": folders,
    "folder-with-set-ids": lambda: (line(b"D6755 0 asked"), line(b"C6755 0 f"), say(b"\0"), wait(), line(b"E")),
}


def sink(fault):
    if fault == "never-ready":
        time.sleep(60)
    elif fault == "refuse-ready":
        return say(b"\1scp: this folder: Permission denied\n")
    elif fault == "chatter":
        say(b"Welcome!\n")
    elif fault == "early-answers":
        say(b"\0" * 100000)
    say(b"\0")
    inp.readline()
    if fault == "end-after-line":
        return
    if fault == "endless-answer":
        endless(b"\1")
    say(b"\0")
    if fault == "end-in-data":
        inp.read(100000)
        return
    inp.read(1000001)               # what the tests send
    if fault == "fatal-after-data":
        return say(b"\2scp: everything is broken\n")
    say(b"\0")                      # without having kept a byte
    inp.read()


def spoil(command):
    """Takes what comes as it should, and then changes a byte of it."""
    import shlex
    import subprocess
    subprocess.run(["sh", "-c", command], check=True)
    folder = shlex.split(command)[-1]
    for name in os.listdir(folder):
        if ".vt-" in name:
            with open(os.path.join(folder, name), "r+b") as f:
                f.write(b"?")


if __name__ == "__main__":
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    with open(sys.argv[1]) as f:
        fault = f.read().strip()
    if " scp " not in " " + command or (" -t " in command and fault == "real"):
        os.execv("/bin/sh", ["sh", "-c", command])
    if " -t " in command and fault == "spoil":
        spoil(command)
    elif " -t " in command:
        sink(fault)
    else:
        wait()
        SOURCES[fault]()
