"""Runs that are refused: a line that says why, in one form, and nothing left behind."""

import os

import pytest
from support.runs import write
from virtvm import cli


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, test_new="def test_new():\n    pass\n")
    (tmp_path / "disk.raw").touch()
    (tmp_path / "text.qcow2").write_text("this is a text\n" * 100)
    return tmp_path


@pytest.mark.parametrize("words", [
    ["run", "none", "--image", "disk.raw"], ["run", "test_new.py", "--image", "none"], ["check", "none"],
    ["run", "test_new.py", "--image", "disk.raw", "--config", "none"],
    ["run", "test_new.py", "--image", "disk.raw", "--password-file", "none"],
    ["run", "test_new.py", "--image", "disk.raw", "-i", "none"],
    ["copy", "none", "u@127.0.0.1:"], ["copy", "disk.raw", "u@127.0.0.1:", "-i", "none"],
    ["copy", "disk.raw", "u@127.0.0.1:", "--password-file", "none"],
    ["run", "test_new.py", "--guest", "none/guest"], ["shell", "--guest", "none/guest"]])
def test_one_form_of_line_for_what_is_not_there(folder, capsys, words):
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("virtvm: ") and said.endswith("none: No such file or directory\n") and said.count("\n") == 1
    assert sorted(os.listdir(folder)) == ["disk.raw", "test_new.py", "text.qcow2"]


def test_text_is_no_image(folder, capsys):
    assert cli.main(["run", "test_new.py", "--image", "text.qcow2", "--dry-run"]) == 2
    assert "its name says that it is qcow2, its first bytes that it is raw" in capsys.readouterr().err


def test_no_guest_is_built_to_say_what_would_be_done(folder, capsys):
    assert cli.main(["run", "test_new.py", "--guest", "tpyo", "--dry-run"]) == 0
    assert "it would be built" in capsys.readouterr().err and "tpyo" not in os.listdir(folder)


@pytest.mark.once
@pytest.mark.parametrize("before", [None, "run-of-old"])
@pytest.mark.parametrize("more, status", [(["-k", "none"], 5), (["--", "--no-such-option"], 4)])
def test_refused_run_leaves_no_folder(folder, before, more, status):
    from support.runs import virtvm
    results = folder / "virtvm-results"
    if before:
        (results / before).mkdir(parents=True)
        (results / "latest").symlink_to(before)
    virtvm(folder, "run", "test_new.py", "--image", "disk.raw", *more, status=status)
    assert results.exists() == bool(before)
    if before:
        assert sorted(os.listdir(results)) == ["latest", before] and os.readlink(results / "latest") == before


@pytest.mark.once
def test_run_of_a_test_has_its_folder(folder):
    from support.runs import virtvm
    virtvm(folder, "run", "test_new.py", "--image", "disk.raw")
    assert os.listdir(folder / "virtvm-results" / "latest") == ["junit.xml"]


@pytest.mark.parametrize("step", ["virtvm.cli._parser", "virtvm.completion.answer", "virtvm.commands.run.split",
                                  "argparse.ArgumentParser.parse_args", "virtvm.commands.params._run"])
def test_ctrl_c_is_heard_from_the_first_step(monkeypatch, capsys, step):
    def stop(*_args, **_more):
        raise KeyboardInterrupt
    monkeypatch.setattr(step, stop)
    assert cli.main(["params"]) == 130
    assert capsys.readouterr() == ("", "")
