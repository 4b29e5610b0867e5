"""What will not work in a test is told before it runs."""

import os
import sys

import pytest
from support.autotest_tree import write
from virtvm import autotest, cli
from virtvm.autotest.imports import checker

BAD = """
    import gtk, os, time
    from autotest_lib.client.virt import virt_utils, virt_step_editor
    from autotest_lib.client.common_lib import error
    from autotest_lib.client.bin import utils
    import helper


    def run_bad(test, params, env):
        virt_utils.wait_for(test, 1)
        virt_utils.get_full_pci_id()
        utils.run("x"), utils.SystemLoad, utils.drop_caches
        os.tempnam(), os.getcwdu(), time.clock()
        print helper.there, helper.not_there
        exec "x = 1"
        raise "string"
    """

REASONS = [
    (1, "no module named gtk here"),
    (2, "autotest_lib.client.virt.virt_step_editor is not one of ours; give an autotest tree that has it"
        " (--autotest-dir)"),
    (10, "virt_utils.get_full_pci_id is not one of ours; give an autotest tree that has it (--autotest-dir)"),
    (12, "Python %d.%d's os has no tempnam" % sys.version_info[:2]),
    (13, "helper.py has no not_there"),
    (14, "exec in a function: names that it sets are not seen by the function"),
    (15, "a string can't be raised"),
]


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VIRTVM_AUTOTEST_DIR", raising=False)
    yield
    autotest.uninstall()


def check(folder, files, *names):
    write(folder, files)
    return autotest.check([os.path.join(str(folder), name) for name in names or sorted(files)])


def test_each_thing_that_will_not_work_is_told_with_its_place(tmp_path):
    problems = check(tmp_path, {"bad.py": BAD, "helper.py": "there = 1\n"}, "bad.py")
    assert [(p.line, p.message) for p in problems] == REASONS
    assert {p.path for p in problems} == {str(tmp_path / "bad.py")}
    assert {(p.line, p.column) for p in problems} >= {(1, 1), (10, 5)}


def test_nothing_is_run(tmp_path):
    check(tmp_path, {"a.py": "import b\nopen('ran', 'w')\nraise SystemExit\n",
                     "b.py": "raise SystemExit\n"}, "a.py")
    assert sorted(os.listdir(str(tmp_path))) == ["a.py", "b.py", "cache"]


def test_what_is_tried_for_is_not_missed(tmp_path):
    assert check(tmp_path, {"a.py": """
        try:
            import gtk
            from autotest_lib.client.virt import no_such
        except ImportError:
            gtk = None
        from autotest_lib.client.virt import virt_utils
        try:
            virt_utils.no_such()
        except (AttributeError, KeyError), e:
            pass
        """}) == []


def test_files_that_a_test_imports_are_looked_at(tmp_path):
    problems = check(tmp_path, {"a.py": "from autotest_lib.client.virt.tests import b\nb.run_b, b.run_c\n",
                                "b.py": "import c\ndef run_b(test, params, env): pass\n",
                                "c.py": "x = = 1\n"}, "a.py")
    assert [(os.path.basename(p.path), p.line, p.message) for p in problems] == [
        ("a.py", 2, "b.py has no run_c"), ("c.py", 1, "invalid syntax")]


def test_a_tree_that_has_it_satisfies(tmp_path):
    tree = {"client/common_lib/error.py": "", "client/bin/test.py": "class test: pass\n",
            "client/virt/virt_utils.py": "def get_full_pci_id():\n    pass\n",
            "client/virt/virt_step_editor.py": ""}
    write(tmp_path / "tree", tree)
    test = """
        from autotest_lib.client.virt import virt_utils, virt_step_editor, nothing
        from autotest_lib.client.bin import test
        virt_utils.get_full_pci_id, virt_utils.other
        """
    assert len(check(tmp_path, {"a.py": test}, "a.py")) == 5
    autotest.install(autotest_dir=str(tmp_path / "tree"))
    client = os.path.realpath(str(tmp_path / "tree" / "client"))
    assert [(p.line, p.message) for p in check(tmp_path, {"a.py": test}, "a.py")] == [
        (1, "autotest_lib.client.virt.nothing is neither ours nor in " + client),
        (3, "virt_utils.other is neither ours nor in " + client)]


def test_how_files_are_read_is_told(tmp_path):
    write(tmp_path, {"three.py": "f'{1}'\n", "two.py": "print 1\n", "both.py": "x = 1\n", "none.py": "x = = 1\n"})
    reports = checker.examine([str(tmp_path / name) for name in ("three.py", "two.py", "both.py", "none.py", "no")])
    assert [report.kind for report in reports] == ["Python 3", "Python 2", "either", "unreadable", "unreadable"]
    assert [len(report.problems) for report in reports] == [0, 0, 0, 1, 1]
    assert reports[4].problems[0].message == "No such file or directory"


def test_the_command(tmp_path, capsys, monkeypatch):
    write(tmp_path / "shelf", {"good.py": "def run_good(test, params, env):\n    print 1\n",
                               "bad.py": "import gtk\ndef run_bad(test, params, env):\n    pass\n",
                               "no_test.py": "import gtk\n"})
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "shelf"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "shelf/bad.py   either      1 problem",
        "    shelf/bad.py:1:1: no module named gtk here",
        "shelf/good.py  Python 2    ok",
        "2 files: 1 ready, 1 with problems"]
    assert cli.main(["check", "--quiet", "shelf/good.py"]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["check", "--autotest-dir", "shelf", "shelf/good.py"]) == 2
    assert "no autotest tree" in capsys.readouterr().err
    assert cli.main(["check", "nowhere.py"]) == 2
