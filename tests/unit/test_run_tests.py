"""tools/run-tests: what it counts, and how it ends what hangs."""

import importlib.machinery
import importlib.util
import os
import sys
import textwrap
from pathlib import Path

import pytest
from support import failures
from support.waiting import is_running, until

pytestmark = pytest.mark.once
PATH = Path(__file__).resolve().parent.parent.parent / "tools" / "run-tests"


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The program as a module, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    loader = importlib.machinery.SourceFileLoader("run_tests", str(PATH))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_tests", loader))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    monkeypatch.setattr(module, "IN_CI", False)
    os.makedirs(module.LOGS)
    return module


def pytest_step(tool, text):
    Path("test_some.py").write_text(textwrap.dedent(text))
    Path("conftest.py").write_text(Path(failures.__file__).read_text())
    return tool.Step("some", [sys.executable, "-m", "pytest", "-q", "-ra", "-o", "cache_dir=cache", "test_some.py"],
                     counts=True)


FLAKY = """
    import os

    def test_good():
        pass

    def test_once():
        os.mkdir("seen") if not os.path.exists("seen") else os.rmdir("seen")
        assert not os.path.exists("seen")
    """


def test_what_passed_only_alone_is_counted_and_named(tool, capsys):
    step = pytest_step(tool, FLAKY).run()
    assert not step.ok and tool.may_pass_alone(step) and tool.run_again([step])
    alone = tool.passed_alone([step])
    assert alone == ["test_some.py::test_once (some)"]
    capsys.readouterr()
    assert tool.close(tool.counted([step]), alone, True) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 passed only alone: test_some.py::test_once (some)", "2 passed, 0 failed, 0 skipped"]
    tool.IN_CI = True
    assert tool.close(tool.counted([step]), alone, True) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 1 failed, 0 skipped"


def test_what_fails_alone_too_has_failed(tool, capsys):
    step = pytest_step(tool, "def test_bad():\n    assert 0\n\ndef test_good():\n    pass\n").run()
    assert not tool.run_again([step]) and tool.passed_alone([step]) == []
    capsys.readouterr()
    assert tool.close(tool.counted([step]), [], False) == 1
    assert capsys.readouterr().out.splitlines() == ["1 passed, 1 failed, 0 skipped"]


HANGS = """
    import signal, subprocess, time

    def test_bad():
        assert 0, "the reason"

    def test_hangs():
        %s
        print(subprocess.Popen(["sleep", "1000"]).pid, file=open("pid", "w"), flush=True)
        time.sleep(1000)
    """


@pytest.mark.parametrize("way, told", [("pass", "KeyboardInterrupt"),
                                       ("signal.signal(signal.SIGINT, signal.SIG_IGN)", "killed; what failed so far")])
def test_step_that_hangs_is_ended_and_tells_what_failed(tool, monkeypatch, way, told):
    monkeypatch.setattr(tool, "IDLE_LIMIT", 15)
    monkeypatch.setattr(tool, "END_LIMIT", 15)
    step = pytest_step(tool, HANGS % way).run()
    text = step.text()
    assert not step.ok and told in text and "the reason" in text and "said nothing for 15 s" in text
    tool.kill_marked("%d-some" % os.getpid())
    until(lambda: not is_running(int(Path("pid").read_text())))
    assert not tool.may_pass_alone(step)


def test_areas_are_there(tool, monkeypatch):
    monkeypatch.chdir(PATH.parent.parent)
    assert len(tool.areas(tool.EVERYWHERE)) == len(tool.EVERYWHERE)


def test_files_of_tests_have_names_of_their_own():
    """pytest takes two of one name for the same module, if they are run together."""
    names = [path.name for path in (PATH.parent.parent / "tests").glob("*/test_*.py")]
    assert sorted(names) == sorted(set(names))
