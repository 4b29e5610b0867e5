"""tools/machines: what of it needs no machine."""

import importlib.machinery
import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import is_running, until

pytestmark = pytest.mark.once
PATH = Path(__file__).resolve().parent.parent.parent / "tools" / "machines"


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The program as a module, with a cache whose name a shell would take apart."""
    monkeypatch.setenv("MACHINES_CACHE", str(tmp_path / "with blanks and 'quotes"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("machines", str(PATH))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("machines", loader))
    loader.exec_module(module)
    return module


def test_cache_may_have_any_name(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "mount", lambda *words: None)
    machine = tool.Machine("trixie")
    monkeypatch.setattr(machine, "environment", dict)
    line = machine.command("true")
    enter = line[line.index("-c") + 1]
    assert shlex.split(enter)[:2] == ["cd", str(tmp_path / "with blanks and 'quotes" / "root")]


def test_what_is_inside_ends_with_a_killed_parent(tool, tmp_path):
    """In place of namespaces, which need root: the same start of a command line."""
    program = ("import subprocess, sys\n"
               "process = subprocess.Popen(%r + ['sleep', '600'])\n"
               "print(process.pid, flush=True)\nprocess.wait()" % tool.WITH_US)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        until(lambda: Path("/proc/%d/comm" % pid).read_text() == "sleep\n")
        parent.kill()
    until(lambda: not is_running(pid))


def test_a_line_of_ones_own_takes_no_steps_log(tool, tmp_path, monkeypatch, capsys):
    """Another cache has another lock: both may run at once."""
    monkeypatch.setattr(tool, "LOGS", str(tmp_path / "logs"))
    monkeypatch.setattr(tool, "mount", lambda *words: None)
    monkeypatch.setattr(tool.Machine, "fill", lambda self: None)
    monkeypatch.setattr(tool.Machine, "furnish", lambda self: None)
    monkeypatch.setattr(tool.Machine, "command", lambda self, line: ["sh", "-c", line])
    Path(tool.CACHE).mkdir()
    machine = tool.Machine("trixie")
    machine.step("a step", ["echo", "all is well"])
    assert tool.try_machine("trixie", ["-c", "exit 3"]) == 3
    assert (tmp_path / "logs" / "trixie" / "a-step.log").read_text() == "all is well\n"
    with pytest.raises(tool.Failure):
        machine.step("another", ["sh", "-c", "rm -r %s; echo not so; exit 1" % tool.LOGS])
    assert capsys.readouterr().out.count("not so") == 2
