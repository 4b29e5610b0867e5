"""Servers for the session tests."""

import os

import pytest
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
