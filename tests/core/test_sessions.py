"""What Python does with sessions, in C and in threads: `make tsan` runs this under ThreadSanitizer."""

import os
import subprocess

import pytest
from support.driver import build
from support.rss_server import RssServer

SCENARIOS = ["commands", "logins", "flood", "closing", "copies", "keeper"]


@pytest.fixture(scope="session")
def program():
    return build("session_driver")


def drive(program, scenario, server, folder, *more):
    done = subprocess.run([program, scenario, "host=" + server.host, "port=%d" % server.port, "user=" + server.user,
                           "identity=" + server.key, "folder=%s" % folder, *more], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=200, text=True)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(program, server, tmp_path, scenario):
    os.chmod(tmp_path, 0o700)                   # the keeper's folder is nobody else's
    drive(program, scenario, server, tmp_path)


def test_rss(program, server, tmp_path):
    drive_c = tmp_path / "drive"
    drive_c.mkdir()
    with RssServer(drive_c) as rss:
        drive(program, "rss", server, tmp_path, "rss=%d" % rss.port)
