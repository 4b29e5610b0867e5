"""imp of Python 2, for tests that load files by their paths."""

import sys

import pytest
from support.autotest_tree import write
from virtvm import autotest

TEST = """
    import imp, os, sys
    folder = %r

    def find(name):
        return imp.find_module(name, [folder])

    def source():
        module = imp.load_source("impsource", os.path.join(folder, "impsource.py"))
        assert sys.modules["impsource"] is module and module.__name__ == "impsource"
        return module

    def found(name):
        file, path, description = find(name)
        try:
            return imp.load_module(name, file, path, description)
        finally:
            if file:
                file.close()
    """


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A Python 2 test that uses imp, beside the files that it loads."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = set(sys.modules)
    write(tmp_path, {"impsource.py": "half = 7 / 2\nLOW = 010\n", "old.py": TEST % str(tmp_path),
                     "imppackage/__init__.py": "print >>None, ''\nHALF = 7 / 2\n",
                     "imppackage/part.py": "HALF = 5 / 2\n"})
    yield autotest.load_test(str(tmp_path / "old.py"))
    autotest.uninstall()
    for name in set(sys.modules) - before:
        if name.startswith("imp"):
            del sys.modules[name]


def test_a_source_file_is_loaded_by_its_path(old):
    module = old.source()
    assert (module.half, module.LOW, module.__file__) == (3, 8, old.folder + "/impsource.py")
    module.half = 9
    assert old.source() is module and module.half == 3      # run anew in the same module


def test_a_module_that_was_found_is_loaded(old):
    file, path, description = old.find("impsource")
    assert file.read().startswith(b"half") and path == old.folder + "/impsource.py"
    assert description == (".py", "U", old.imp.PY_SOURCE)
    file.close()
    assert old.found("impsource").half == 3


def test_a_package_that_was_found_has_its_modules(old):
    assert old.find("imppackage") == (None, old.folder + "/imppackage", ("", "", old.imp.PKG_DIRECTORY))
    package = old.found("imppackage")
    assert package.HALF == 3 and package.__path__ == [old.folder + "/imppackage"]
    assert __import__("imppackage.part").part.HALF in (2, 2.5)      # by Python's own import


def test_what_is_not_there_is_an_import_error(old):
    with pytest.raises(ImportError, match="No module named nowhere"):
        old.find("nowhere")
    with pytest.raises(ImportError):
        old.imp.find_module("nowhere")
    assert old.imp.find_module("json")[2][2] == old.imp.PKG_DIRECTORY


def test_a_module_is_run_anew(old, tmp_path):
    module = old.source()
    (tmp_path / "impsource.py").write_text("half = 9 / 2\nmore = 0777\n")
    assert old.imp.reload(module) is module and (module.half, module.more, module.LOW) == (4, 511, 8)
    import textwrap
    assert old.imp.reload(textwrap) is textwrap             # Python's own way for Python's own


def test_a_new_module_is_nobodys(old):
    module = old.imp.new_module("impnew")
    assert module.__name__ == "impnew" and "impnew" not in sys.modules
    old.imp.acquire_lock()
    old.imp.release_lock()
