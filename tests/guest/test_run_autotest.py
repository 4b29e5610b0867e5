"""run_autotest: control files in the real guest, by an autotest client that is a shell script."""

import os

import pytest
from support.waiting import LONG
from virtvm.autotest.tests import virt_test_utils
from virtvm.companions import error

GOOD = r"""
[ ! -e tests/kvm ] && [ ! -e results/old ] && [ -e "tests/control's own/x" ] || exit 1
mkdir -p results/default
printf 'START\t%s\t%s\ttimestamp=1\tlocaltime=x\n\tEND %s\t%s\t%s\ttimestamp=3\tlocaltime=x\n' \
    one one GOOD one one two two "$TWO" two two > results/default/status
echo kept > results/default/log
"""


@pytest.fixture
def client(tmp_path, monkeypatch):
    """An autotest tree whose folder's name needs quoting, below one that is not to be sent by its name."""
    top = tmp_path / "results" / "auto dir's [x] $HOME"
    for name, text in {"bin/autotest": "#!/bin/sh\n. ./control\n", "tests/kvm/big": "", "results/old": "",
                       "tests/control's own/x": ""}.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    (top / "bin" / "autotest").chmod(0o755)
    monkeypatch.setenv("AUTODIR", str(top) + "/")
    return top


@pytest.fixture
def run(vm, client, tmp_path):
    def run(control, timeout=60, params=None, machine=vm):
        (tmp_path / "control").write_text(control)
        virt_test_utils.run_autotest(machine, vm.wait_for_login(timeout=120), str(tmp_path / "control"), timeout,
                                     str(tmp_path / "out"), params or {})
    return run


def test_results_are_judged_and_fetched(run, tmp_path):
    run("TWO=GOOD\n" + GOOD)
    assert (tmp_path / "out" / "guest_autotest_results" / "log").read_text() == "kept\n"
    with pytest.raises(error.TestFail, match="Test two failed during control file execution"):
        run("TWO=FAIL\n" + GOOD)
    with pytest.raises(error.TestFail, match="did not produce any recognizable results"):
        run("mkdir -p results/default; echo nothing > results/default/status")


@pytest.mark.parametrize("deaf", ["", "trap '' INT HUP\n"])
def test_job_that_takes_too_long_is_interrupted(run, tmp_path, monkeypatch, deaf):
    monkeypatch.setattr(virt_test_utils, "_INTERRUPTED_WAIT", 2)
    with pytest.raises(error.TestError, match="Timeout elapsed while waiting for job to complete"):
        run("TWO=FAIL\n" + GOOD + deaf + "sleep 50\n", timeout=2)
    assert (tmp_path / "out" / "guest_autotest_results" / "status").exists()


def test_interrupted_migration_ends_the_job(run, vm):
    class Machine:
        def __getattr__(self, name):
            return getattr(vm, name)

        def migrate(self, timeout, protocol):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("sleep 1000\n", timeout=LONG, params={"migrate_background": "yes"}, machine=Machine())


def test_what_is_missing_is_told(run, vm, session):
    with pytest.raises(error.TestError, match="Invalid path to autotest control file: /none"):
        virt_test_utils.run_autotest(vm, session, "/none", 10, os.sep, {})
