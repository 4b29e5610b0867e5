"""A server and a folder on it, copied to and from by one engine; and what tests make and look at there."""

import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path

from virtvm.companions import transfer

ENGINES = ["sftp", "scp"]
HUGE = 2 << 30


class Host:
    """A server and a folder on it; copies by one engine."""

    def __init__(self, server, folder, engine):
        self.server, self.folder, self.engine = server, folder, engine

    def _copy(self, function, source, target, keywords):
        keywords.setdefault("timeout", 60)
        keywords.setdefault("transfer_engine", self.engine)
        server = self.server
        function(server.host, server.port, server.user, server.password or "", source, str(target),
                 ssh_identity_file=server.key, **keywords)

    def put(self, source, target, **keywords):
        self._copy(transfer.scp_to_remote, list(map(str, source)) if isinstance(source, list) else str(source),
                   target, keywords)

    def get(self, source, target, **keywords):
        self._copy(transfer.scp_from_remote, list(map(str, source)) if isinstance(source, list) else str(source),
                   target, keywords)

    def access(self):
        """(where, keywords) for the functions of transfer that take files."""
        server = self.server
        return (server.host, "scp", server.user, server.password or "", server.port), {
            "ssh_identity_file": server.key, "transfer_engine": self.engine, "timeout": 60}


@contextmanager
def open_folder():
    """A folder that every account may write in."""
    folder = Path(tempfile.mkdtemp(prefix="virtvm-promise-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        for top, folders, _files in os.walk(folder):
            for name in folders:
                if not os.path.islink(os.path.join(top, name)):
                    os.chmod(os.path.join(top, name), 0o700)
        shutil.rmtree(folder)


def write(path, text="x", mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    if mode is not None:
        path.chmod(mode)
    return path


def write_huge(path):
    """More than any machine moves between two calls of progress; it has no blocks of its own."""
    with open(write(path, ""), "r+b") as f:
        f.truncate(HUGE)
    return path


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def stop_at(size):
    """A progress function that presses Ctrl-C once so many bytes have moved."""
    def progress(name, moved, total):
        if moved > size:
            raise KeyboardInterrupt
    return progress
