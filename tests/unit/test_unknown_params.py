"""Params that nobody knows are told once, with what may have been meant, wherever they are said."""

import os
import subprocess
import sys

import pytest
from virtvm.params import config, unknown

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TEST = """
import pytest

def test_a(params):
    params.get("my_own")

@pytest.mark.virtvm(mem=64)
def test_b(params):
    pass
"""
MARKED = TEST.replace("mem=64", "mme=64, my_own=1, cd_format='ide', nics='a b', nic_model_b='e1000'")
CFG = "stray = 1\nusbs = u\nnics = x\nnic_model_x = e1000\nvariants:\n    - one:\n        type = other\n"

# Each way in, with the words for options, and the tests, if it takes any.
WAYS = {"run": (["run"], "--", ["test_new.py"]), "processes": (["run", "-n2"], "--", ["test_new.py"]),
        "dry run": (["run", "--dry-run"], "--", ["test_new.py"]),
        "pytest": (["pytest", "-p", "no:cacheprovider", "-p", "virtvm.pytest_plugin"], "--virtvm-", ["test_new.py"]),
        "list": (["list"], "--", [])}


class Project:
    """A folder with tests, in which each way in is tried."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "test_new.py").write_text(TEST)
        (folder / "tests.cfg").write_text(CFG)

    def run(self, way, *options):
        """(exit status, all that was said)."""
        words, prefix, tests = WAYS[way]
        given = ["%s%s=%s" % (prefix, name, value) if value else prefix + name for name, value in options]
        program = ["-m", "pytest"] if words[0] == "pytest" else ["-m", "virtvm", words[0]]
        environment = {**os.environ, "PYTHONPATH": TOP, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "VIRTVM_PASSWORD": ""}
        done = subprocess.run([sys.executable, *program, *words[1:], *tests, *given], cwd=self.folder, env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200)
        return done.returncode, done.stdout


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_unknown_param_of_an_option_or_a_toml_file_is_warned_of_once(project, way):
    (project.folder / "run.toml").write_text(
        "[params]\nmme = 64\nmy_own = 1\n[objects.x]\nnic_modle = 'e1000'\nnic_mac = 'a'\n[tests.test_a]\nzzzzzz = 1\n")
    status, said = project.run(way, ("config", "tests.cfg"), ("config", "run.toml"), ("param", "floppies=f"),
                               ("param", "mem_vm1=64"))
    assert status == 0, said
    assert said.count("unknown param mme (run.toml): did you mean mem?") == 1
    assert said.count("unknown param nic_modle_x (run.toml): did you mean ") == 1
    assert said.count("unknown param zzzzzz (run.toml)\n") == 1
    assert said.count("param floppies (--param) is autotest's: virtvm does not honour it") == 1
    others = 3 + (way == "list")            # it has no tests that could ask for my_own
    assert said.count("unknown param") == others and said.count("does not honour") == 1, said
    assert ("my_own" in said) == (way == "list")


@pytest.mark.parametrize("way", WAYS)
def test_strict_params_makes_an_unknown_one_an_error_in_files_of_variants_too(project, way):
    status, said = project.run(way, ("config", "tests.cfg"))
    assert status == 0 and "stray" not in said and "usbs" not in said
    status, said = project.run(way, ("config", "tests.cfg"), ("strict-params", None))
    assert status == (4 if way == "pytest" else 2) and said.count("unknown param stray (a file of variants)") == 1
    assert "usbs" not in said and "Traceback" not in said and len(said.splitlines()) < 9, said
    (project.folder / "tests.cfg").write_text(CFG.replace("stray", "my_own" if way != "list" else "mem"))
    assert project.run(way, ("config", "tests.cfg"), ("strict-params", None))[0] == 0
    assert project.run(way, ("config", "tests.cfg"), ("strict-params", None), ("param", "mme=1"))[0] in (2, 4)


@pytest.mark.parametrize("way", ["run", "dry run", "pytest"])
def test_unknown_param_of_a_marker_is_warned_of_once(project, way):
    (project.folder / "test_new.py").write_text(MARKED + MARKED.replace("test_b", "test_c"))
    status, said = project.run(way)
    assert status == 0, said
    if way != "dry run":                    # which shows what needs a machine, and no more
        assert said.count("unknown param mme (marker of test_b): did you mean mem?") == 1
        assert said.count("param cd_format (marker of test_b) is autotest's") == 1
        assert said.count("unknown param") == 1, said
        status, said = project.run(way, ("strict-params", None))
        assert status == 1 and "unknown param mme (marker of test_b)" in said


def test_warnings_that_are_errors_fail_the_test_alone(project):
    (project.folder / "test_new.py").write_text(MARKED)
    (project.folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    status, said = project.run("pytest")
    assert status == 1 and "1 passed, 1 error" in said and "INTERNALERROR" not in said


def test_names_that_tests_may_ask_for_are_those_in_quotes(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").write_text("params['one'] + params.get(\"two-2\") + three + 'four five'")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "b.py").write_text("'six'")
    assert unknown.asked_by([str(tmp_path), str(tmp_path / "none.py")]) == {"one", "two-2"}


def test_variants_are_expanded_for_names_of_objects_alone_if_need_be(tmp_path, monkeypatch):
    from virtvm.autotest.variants import cartesian
    (tmp_path / "tests.cfg").write_text("variants:\n    - one:\n        nics = far\n        type = t\n")
    times = []
    expand = cartesian.Parser.get_dicts
    monkeypatch.setattr(cartesian.Parser, "get_dicts", lambda self: times.append(1) or expand(self))

    def told(*params):
        import argparse
        parser = argparse.ArgumentParser()
        config.add_arguments(parser.add_argument)
        words = ["--config", str(tmp_path / "tests.cfg"), *("--param=" + param for param in params)]
        return config.load(parser.parse_args(words)).unknown_params()
    assert told("mem=1", "nic_model=e1000") == [] and times == []
    assert told("nic_model_far=e1000") == [] and times == [1]
    assert told("nic_model_near=e1000") == ["unknown param nic_model_near (--param): did you mean nic_model?"]
