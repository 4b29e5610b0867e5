"""The check that a run of tests leaves nothing knows what hides itself."""

import signal
import subprocess
import sys

import pytest
from support.waiting import until

# With nothing in its environment.
HIDDEN = "import time; print(1, flush=True); time.sleep(600)"


def left(check, before):
    return {line for line in check.state() - before if line.startswith("process ")}


@pytest.fixture
def check(request):
    return request.config.pluginmanager.get_plugin("virtvm-leak-check")


def test_a_keeper_that_is_left_is_seen(check, tmp_path, monkeypatch):
    """Its session's program hides, too: the keeper wipes its own environment, env -i the program's."""
    before = check.state()
    for folder in (check.state_folder, str(tmp_path)):
        monkeypatch.setenv("VIRTVM_STATE_DIR", folder)
        program = ("from virtvm.companions import aexpect\n"
                   "print(aexpect.Spawn('exec env -i sleep 600').id)")
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True)
        try:
            assert any("virtvm-keeper" in line for line in left(check, before)), folder
        finally:
            subprocess.run([sys.executable, "-c", "from virtvm.companions import aexpect; import sys\n"
                            "aexpect.Spawn(id=sys.argv[1]).close()", done.stdout.strip()], check=True)
        until(lambda: not left(check, before))


@pytest.mark.parametrize("where", ["folder", "file"])
def test_a_process_without_our_mark_is_seen_by_what_it_holds_open(check, tmp_path, where):
    before = check.state()
    log = tmp_path / "log"
    with open(log, "w") as stderr, subprocess.Popen(
            [sys.executable, "-c", HIDDEN], env={}, cwd=tmp_path if where == "folder" else "/", text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr if where == "file" else None) as process:
        try:
            process.stdout.readline()
            assert [line.split()[1] for line in left(check, before)] == ["%d:" % process.pid]
        finally:
            process.send_signal(signal.SIGKILL)
