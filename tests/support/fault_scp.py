"""Real commands, one of which goes wrong once; to be run by sshd for each (ForceCommand).

    PYTHON fault_scp.py FILE

FILE has "N HOW [PLACE]", and is emptied when that has come. The N-th command (0: the first) goes
wrong: HOW is refuse (status 1, nothing is done), cut (it ends after PLACE bytes of its output),
silent (nothing more comes then), garbage (a byte is another one), or error (one byte is made the
words of an error, as scp tells it). COUNT, beside FILE, counts the commands.
"""

import os
import select
import subprocess
import sys


def number_of_this(folder):
    path = os.path.join(folder, "count")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(fd, b".")
    os.close(fd)
    return os.path.getsize(path) - 1


def fall_silent():
    end = select.poll()
    end.register(0, 0)
    end.poll(60000)
    os._exit(0)


def spoil(command, how, place):
    """Pass the command's output on, up to the place."""
    child = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE)
    at = 0
    while True:
        data = child.stdout.read1(65536)
        if not data:
            break
        if at <= place < at + len(data):
            n = place - at
            os.write(1, data[:n])
            if how in ("cut", "silent"):
                child.kill()
                child.wait()
                if how == "silent":
                    fall_silent()
                sys.exit(1)
            os.write(1, b"\1scp: gone wrong\n" if how == "error" else bytes([data[n] ^ 0x55]))
            os.write(1, data[n + 1:])
        else:
            os.write(1, data)
        at += len(data)
    sys.exit(child.wait())


def main(path):
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    number = number_of_this(os.path.dirname(path))
    with open(path) as f:
        words = f.read().split()
    if not words or int(words[0]) != number:
        os.execv("/bin/sh", ["sh", "-c", command])
    open(path, "w").close()
    if words[1] == "refuse":
        sys.exit(1)
    spoil(command, words[1], int(words[2]))


if __name__ == "__main__":
    main(sys.argv[1])
