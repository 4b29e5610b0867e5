"""Log files: in a folder that is everybody's, a name may be a trap of another user's."""

import os

import pytest
from virtvm import _session
from virtvm.companions import aexpect, virt_utils
from virtvm.hypervisors import qemu


def log_of_a_session(path):
    engine = _session.open_pty([b"/bin/sh", b"-c", b"echo secret of the guest"], [], log=str(path))
    engine.wait(60)
    engine.close()


def log_of_lines(path):
    virt_utils.log_line(str(path), "secret of the guest")
    virt_utils.close_log_file(str(path))


def log_of_callbacks(path):
    with aexpect.ShellSession("sh", output_func=virt_utils.log_line, output_params=(str(path),)) as session:
        session.cmd_output("echo secret of the guest", timeout=10)
    virt_utils.close_log_file(str(path))


LOGS = [log_of_a_session, log_of_lines, log_of_callbacks]


def attempt(log, path):
    try:
        log(path)
    except OSError:
        pass


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_are_not_followed(tmp_path, log, link):
    victim, path = tmp_path / "victim", tmp_path / "log"
    victim.write_text("before")
    link(victim, path)
    attempt(log, path)
    assert victim.read_text() == "before"


@pytest.mark.parametrize("log", LOGS)
def test_dangling_link_makes_no_file(tmp_path, log):
    (tmp_path / "log").symlink_to(tmp_path / "made")
    attempt(log, tmp_path / "log")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("log", LOGS)
def test_pipe_that_nobody_reads_stops_nobody(tmp_path, log):
    os.mkfifo(tmp_path / "log")
    attempt(log, tmp_path / "log")


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600)])
def test_plain_file_is_written_by_the_users_mask(tmp_path, log, mask, mode):
    path = tmp_path / "log"
    before = os.umask(mask)
    try:
        log(path)
    finally:
        os.umask(before)
    assert "secret of the guest" in path.read_text() and path.stat().st_mode & 0o777 == mode
    path.unlink()
    log("/dev/null")


def test_file_that_a_device_of_the_guest_writes(tmp_path):
    """QEMU follows links: what it is to write is made before, and nobody else can replace it."""
    victim = tmp_path / "victim"
    victim.write_text("before")
    (tmp_path / "log").symlink_to(victim)
    qemu._make_own(str(tmp_path / "log"))
    assert not (tmp_path / "log").is_symlink() and (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert victim.read_text() == "before"
