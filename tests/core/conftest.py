"""Servers and the driver for tests of the engine without Python."""

import os

import pytest
from support.driver import Driver, build
from support.sshd import Account, Sshd


@pytest.fixture(scope="session")
def any_driver():
    """A driver without a host."""
    return Driver(build())


@pytest.fixture(scope="module")
def server():
    """An OpenSSH server for the user who runs the tests, by key."""
    server = Sshd()
    yield server
    server.stop()


@pytest.fixture
def drive(any_driver, server):
    """Drives the engine against that server."""
    return any_driver.at(server)


@pytest.fixture
def drive_at(any_driver):
    """Drives the engine against a server with lines of configuration of its own."""
    servers = []

    def make(config, account=None, **options):
        servers.append(Sshd(config, account=account))
        return any_driver.at(servers[-1], **options)

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def account():
    """A throw-away account with a password."""
    if os.getuid() != 0:
        pytest.skip("passwords need an account of their own, which root alone can make")
    account = Account()
    yield account
    account.remove()
