"""Copies while the disk of this machine fails: nothing is left out without a word."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from support import inject
from support.sshd import Sshd

pytestmark = [pytest.mark.once, pytest.mark.skipif("VIRTVM_PYTHON" in os.environ, reason="preloads a library itself")]

# Each readdir of a tree's upload fails once; then what failed and what arrived is printed.
READDIR = """
import errno, os, shutil, sys
from support import inject
from virtvm.companions import transfer
from virtvm.companions.exceptions import SCPTransferFailedError
host, port, user, key, engine, source, target = sys.argv[1:]
n = 0
while True:
    shutil.rmtree(target, ignore_errors=True)
    os.mkdir(target)
    inject.arm("readdir", source, n, errno.EIO)
    try:
        transfer.scp_to_remote(host, int(port), user, "", source, target, ssh_identity_file=key,
                               transfer_engine=engine, timeout=30)
        told = "done"
    except SCPTransferFailedError as e:
        told = e.detail
    calls = inject.seen()
    inject.arm("", "", -1, 0)
    arrived = sum(len(files) for _, _, files in os.walk(target))
    print(n, arrived, calls > n, told)
    if calls <= n:
        break
    n += 1
"""


@pytest.fixture(scope="module")
def server():
    server = Sshd()
    yield server
    server.stop()


@pytest.fixture
def work():
    folder = Path(tempfile.mkdtemp(prefix="virtvm-local-"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("engine", ["sftp", "scp"])
def test_folder_that_cannot_be_read_on_is_told(server, work, engine):
    source = work / "source"
    (source / "a" / "b").mkdir(parents=True)
    for n, folder in enumerate([source, source, source / "a", source / "a" / "b", source / "a" / "b"]):
        (folder / ("f%d" % n)).write_text("x")
    lines = inject.run(READDIR, server.host, server.port, server.user, server.key, engine, source,
                       work / "target").splitlines()
    for line in lines[:-1]:
        n, arrived, hit, told = line.split(" ", 3)
        assert hit == "True" and "Input/output error" in told and str(source) in told, line
    assert len(lines) > 10 and lines[-1].split(" ", 3)[1:] == ["5", "False", "done"]
