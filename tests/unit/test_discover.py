"""Which files are tests of old."""

import pytest
from virtvm.autotest.imports import discover


@pytest.mark.parametrize("source, is_test", [
    (b"def run_boot(test, params, env):\n", True),
    (b"# -*- coding: koi8-r -*-\n# \xf2\r\ndef run_boot ( test,params,\r\n    env ):\r\n", True),
    (b"import os\rdef run_boot(test, params, env, more=None):\r    print 1\r", True),
    (b"def run_boot(argument):\n", False), (b"def run_boots(test, params, env):\n", False),
    (b"class A:\n    def run_boot(test, params, env): pass\n", False),
    (b"", False)])
def test_defines_test(tmp_path, source, is_test):
    (tmp_path / "boot.py").write_bytes(source)
    assert discover.defines_test(tmp_path / "boot.py") is is_test
    assert discover.defines_test(str(tmp_path / "boot.py")) is is_test


def test_what_cannot_be_read_is_none(tmp_path):
    assert not discover.defines_test(tmp_path / "none.py") and not discover.defines_test(tmp_path)


def test_tests_of_a_folder(tmp_path):
    for name in ("boot.py", "helpers.py", "test_new.py", "boot.txt"):
        (tmp_path / name).write_text("def run_boot(test, params, env):\n    pass\n")
    assert discover.tests_in(tmp_path) == [str(tmp_path / "boot.py")]
    both = discover.tests_in(str(tmp_path), lambda name: name.startswith("test_"))
    assert both == [str(tmp_path / "boot.py"), str(tmp_path / "test_new.py")]
