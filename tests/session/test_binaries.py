"""What a program writes to its terminal is what comes back, whatever bytes: a thousand binaries, where the terminal
passes them, on a local pty, by SSH and on a console."""

import hashlib
import os
import random
import re
import tempfile

import pytest
from support.prompt_corpus import Serial, open_local, open_remote, prepare_home
from support.sshd import Account, Sshd
from support.waiting import BUSY

pytestmark = pytest.mark.once         # the C core with many outputs
COUNT = int(os.environ.get("VIRTVM_BINARIES", "334"))       # on each transport
PIECES = [b"\x1b[", b"\x1b]0;", b"\x1b]133;", b"\x1bP", b"\x1b_", b"\x1b^", b"\x1b(", b"\x1b", b"\r", b"\n", b"\r\n",
          b"\x07", b"\x08", b"\x0e", b"\0", b"\x18", b"\x1b[2J", b"\x1b[10C", b"\x1b[5D", b"\x1b[K", b"\x1b\\",
          b"\xff\xfe", b"\xe6\xbc", b"# ", b"$ ", b"root@vm:~$ ", b"vt1:0\n", b"vt7:", b"> ",
          b"[   12.345678] usb\n", b"Password: "]


def binary(lots):
    """Bytes at random, or pieces that a terminal, or we, make something of, or both."""
    kind = lots.randrange(3)
    if kind == 0:
        return bytes(lots.randrange(256) for _ in range(lots.randrange(1, 300)))
    parts = [lots.choice(PIECES) if kind == 1 or lots.random() < 0.5 else bytes(lots.randrange(256) for _ in range(5))
             for _ in range(lots.randrange(1, 40))]
    return b"".join(parts)


def check(engine, folder, command=b"cat %s", prepare=lambda data: data):
    """Every other one has no newline at its end: the prompt follows on its line."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    lots, wrong = random.Random(seed), []
    path = os.path.join(folder, "binary")
    match = re.compile(rb"[\#\$]\s*$").search
    engine.find_prompt(lambda line: match(line) is not None, timeout=2 * BUSY)
    for n in range(COUNT):
        data = prepare(binary(lots) + b"\n" * (n % 2))
        with open(path, "wb") as f:
            f.write(data)
        status, got = engine.command((command + b"; (exit %d)") % (os.fsencode(path), n % 100),
                                     lambda line: match(line) is not None, timeout=2 * BUSY)
        if status != n % 100 or hashlib.sha256(got).digest() != hashlib.sha256(data).digest():
            wrong.append((n, status, data, got))
    engine.close()
    assert not wrong, "seed %d: %d wrong: %r" % (seed, len(wrong), wrong[:3])


def test_binaries_on_a_pty(tmp_path):
    prepare_home(str(tmp_path))
    check(open_local("bash", str(tmp_path)), str(tmp_path))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: an account of its own")
def test_binaries_by_ssh():
    account, server = Account(), None
    try:
        prepare_home(account.home)
        server = Sshd("SetEnv LANG=C.UTF-8", account=account)
        with tempfile.TemporaryDirectory(dir=account.home) as folder:
            os.chmod(folder, 0o755)
            check(open_remote("bash", server), folder)
    finally:
        if server is not None:
            server.stop()
        account.remove()


def test_binaries_on_a_console(tmp_path):
    """One that makes LF of nothing for the while.  CR LF is LF there all the same, and a line editor's own
    sequences stand before a prompt, which others on a line of their own are not told from (prompts.rst)."""
    def prepare(data):
        last = data[data.rfind(b"\n") + 1:]
        alone = b"\r" in last or not re.search(rb"[^\0\a\b\x0e\r]", last)
        return re.sub(rb"\r+\n", b"\n", data + b"\n" if alone else data)

    prepare_home(str(tmp_path))
    served = Serial(str(tmp_path))
    try:
        check(served.open("bash"), str(tmp_path), b"stty -opost; cat %s; stty opost", prepare)
    finally:
        served.close()
