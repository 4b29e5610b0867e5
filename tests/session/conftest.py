"""Servers for the session tests."""

import os
import shutil
import sys

import pytest
from support import fake_sftp
from support.copies import ENGINES, Host, open_folder
from support.sshd import Account, Sshd


@pytest.fixture(scope="session")
def account():
    """A throw-away account with a password, where root may make one; else None."""
    if os.getuid() != 0:
        yield None
        return
    account = Account()
    yield account
    account.remove()


@pytest.fixture(scope="session")
def sshd(account):
    """A real OpenSSH server on loopback."""
    server = Sshd(account=account)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def new_own_sshd():
    """Makes servers for the user who runs the tests, one for each configuration."""
    servers = {}

    def make(options):
        if options not in servers:
            servers[options] = Sshd(options)
        return servers[options]

    yield make
    for server in servers.values():
        server.stop()


@pytest.fixture
def new_sshd(account):
    """Makes servers with a configuration of their own."""
    servers = []

    def make(options="", **keywords):
        servers.append(Sshd(options, account=account, **keywords))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def folder():
    """A folder that every account may write in."""
    with open_folder() as folder:
        yield folder


@pytest.fixture(params=ENGINES)
def host(new_own_sshd, folder, request):
    """That folder on a server for the user who runs the tests, by each engine."""
    return Host(new_own_sshd(""), folder, request.param)


@pytest.fixture
def fake(folder):
    """Makes hosts whose SFTP server has faults, or something of its own."""
    made = []

    def make(fault):
        (folder / "fault").write_text(fault)
        shutil.copy(fake_sftp.__file__, folder / "fake_sftp.py")
        (folder / "there").mkdir(exist_ok=True)
        made.append(Sshd("Subsystem sftp %s %s/fake_sftp.py @%s/fault" % (sys.executable, folder, folder)))
        return Host(made[-1], folder / "there", "sftp")

    yield make
    for server in made:
        server.stop()
