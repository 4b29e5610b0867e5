"""Tests in the manner of 2011: they import, nothing is wrong with them, and their functions behave.

They are run as a whole, on a guest, elsewhere.
"""

import glob
import logging
import os
import pickle

import pytest
from virtvm import autotest
from virtvm.companions import error

SHELF = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shelf")
TESTS = sorted(os.path.splitext(os.path.basename(path))[0] for path in glob.glob(os.path.join(SHELF, "*.py")))


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VIRTVM_AUTOTEST_DIR", raising=False)
    yield lambda name: autotest.load_test(os.path.join(SHELF, name + ".py"))
    autotest.uninstall()


@pytest.mark.parametrize("name", TESTS)
def test_imports_and_has_its_function(load, name):
    module = load(name)
    assert callable(getattr(module, "run_" + name))
    assert module.error is error
    assert autotest.check([module.__file__]) == []


def test_nothing_was_written_beside_them():
    assert sorted(os.listdir(SHELF)) == sorted([name + ".py" for name in TESTS] + ["README"])


def test_whole_numbers(load):
    module = load("load_samples")
    assert (module.median([9, 1, 2, 3]), module.spread([1, 2, 6])) == (3, (3, 2))


def test_exceptions(load):
    module = load("bad_commands")
    assert module.describe(3) == "status 3, status 3"
    assert module.describe(0) == "ValueError: no status"


def test_patterns(load):
    module = load("kernel_log")
    assert module.first_version(module.scrub("[   0.00] Linux version 6.1.0-13-amd64 (x)")) == "6.1.0-13-amd64"
    assert module.first_version("Linux") is None


def test_files(load, tmp_path):
    module = load("file_digest")
    digest = module.make_file(str(tmp_path / "f"), 2)
    assert (tmp_path / "f").read_bytes() == bytes(range(256)) * 8
    assert digest == module.utils.hash_file(str(tmp_path / "f"))


def test_threads_and_a_test_that_imports_another(load):
    module = load("digest_during_ping")
    assert module.count_for(0.05) == (True, False, True)
    assert module.file_digest is load("file_digest")


def test_commands(load):
    release, piped, status = load("host_commands").host_facts()
    assert (release, status) == (os.uname().release, 4) and piped == release + "\n"


def test_dictionaries_and_string(load):
    module = load("mount_table")
    types = module.by_type("proc /proc proc rw\nnone /a TMPFS\nx /b tmpfs\n\n")
    assert types == {"proc": ["/proc"], "tmpfs": ["/a", "/b"]}
    assert module.report(types) == (["PROC", "TMPFS"], "tmpfs", "proc,tmpfs")


def test_configuration_files(load):
    module = load("guest_ini")
    text = module.make_config({"mem": 128})
    assert text == "[guest]\nmem = 128\n\n"
    assert module.read_config(text.replace("128", "256 ; doubled")) == ({"mem": "256"}, 256)


def test_octal_numbers(load, tmp_path):
    module = load("permissions")
    assert module.MODES == [0o644, 0o600, 0o755, 0]
    assert [module.text_of(mode) for mode in module.MODES] == ["644", "600", "755", "0"]
    assert module.host_mode(str(tmp_path / "f"), 0o640) == "0640"


def test_lists(load):
    module = load("interfaces")
    text = "head\n face | x\n  lo: 1 2 3\neth0: 4 5 6\n"
    assert module.parse(text) == ("lo", 5, [("eth0", 5), ("lo", 2)])
    assert module.totals([1, 2], [3]) == ([(1, 3), (2, None)], 6)


def test_types_of_json(load):
    module = load("monitor_types")
    answer = {"status": "running", "running": True}
    assert module.call_all([module.check_answer, [module.check_answer, "x"]], answer) == [True, True]
    with pytest.raises(error.TestFail):
        module.check_type(1, dict)


def test_sockets_and_buffers(load):
    module = load("echo_server")
    echo = module.Echo()
    server = module.virt_utils.Thread(echo.serve)
    server.start()
    assert module.talk(echo.port, "a\xff\x00" * 5 + "\xfe") == ("a\xff\x00" * 5 + "\xfe", 0xfe)
    assert server.join(10) is True


def test_print_and_classes(load, tmp_path, capsys):
    module = load("printed_report")
    values = [("s", "Linux"), ("m", "x86")]
    assert module.write_reports(str(tmp_path / "r"), values) == "[second]\ns=Linux m=x86\n"
    report = module.Report("title")
    report.add(("a", 1))
    assert bool(report) and not module.Report("title") and report == module.Report("title")
    assert pickle.loads(pickle.dumps(report)).lines == ["a=1"]


def test_warnings_of_the_log(load, caplog):
    with caplog.at_level(logging.WARNING):
        assert load("warned").first_missing(["a", "b"], ["a", ""]) == ("b", True, 1)
    assert [record.getMessage()[:12] for record in caplog.records] == ["b is missing"]


def test_a_test_that_does_not_apply(load):
    with pytest.raises(error.TestNAError) as caught:
        load("not_for_this_host").run_not_for_this_host(None, {}, None)
    assert str(caught.value) == "Only for s390"
