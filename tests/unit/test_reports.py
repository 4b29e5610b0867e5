"""What a run leaves and shows: none of a guest's escape sequences, and no password."""

import ast
import os
import pathlib
import re
import subprocess
import sys
import textwrap
import unicodedata

import hypothesis
import pytest
from hypothesis import strategies
from virtvm import commands
from virtvm.companions.printable import printable, printable_lines

ESCAPES = "a\x1b]52;c;Zm9v\x07b\x1b]0;title\x1b\\c\x1b[31md\x9b5me\x1bPq\x1b\\\x08g\rh\x1b[2J\u202ei\x85j\x7f"
CANARY = "hunter2-CANARY"


# ---- printable() ----

def test_sequences_go_and_the_rest_is_spelled():
    assert printable(ESCAPES) == "abcde\\x08g\\rh\\u202ei\\x85j\\x7f"
    assert printable("plain é 漢") == "plain é 漢"
    assert printable("a\nb\tc") == "a\\nb\\tc" and printable_lines("a\r\nb\tc\rd") == "a\nb\tc\\rd"
    assert printable(ValueError("a\x1b[1mb")) == "ab"
    assert printable("\x1b]0;without end\nnext\x1b") == "\\x1b]0;without end\\nnext\\x1b"


@hypothesis.given(strategies.text(alphabet=strategies.one_of(
    strategies.sampled_from("\x1b[]\\;0m\x07\x9b\x9c\x9d\x90P^_X?h\n\r\t\x08a"), strategies.characters())))
def test_nothing_a_terminal_obeys_is_left(text):
    shown = printable(text)
    assert shown.isprintable() and printable(shown) == shown
    assert all(c in "\n\t" or c.isprintable() for c in printable_lines(text))


@pytest.mark.parametrize("unit", ["\x9d", "\x90a", "\x9b", "\x9b0", "\x1b]", "\x1b[", "\x1b ", "\x1b"])
def test_what_begins_and_never_ends_is_looked_at_once(unit):
    """It took hours."""
    assert printable(unit * 1000000).isprintable()
    assert printable("\x1b]" + unit * 1000000 + "x\x07").isprintable()


# What is printed as it is: nothing of it comes from a guest, a file or a param.
HARMLESS = [r"print\(file=sys.stderr\)", r"sys.exit\(main\(\)\)", r"print\(number\)",
            r"print\(json.dumps\(params, sort_keys=True\)\)",      # which escapes
            r"print\('virtvm: a progress bar needs.*", r"print\('%.1f%s MB, .*", r"print\(_summary\(.*",
            r"print\('%d %s: %d ready, .*", r"print\('\\n'.join\(lines\)\)"]


def test_commands_complain_by_one_function():
    """No other line could be a guest's, or have what a param's name has: they are constants, or numbers."""
    root = pathlib.Path(commands.__file__).parent
    bad = []
    for path in [*root.glob("*.py"), root.parent / "cli.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
                    "print", "exit", "write"):
                text = ast.unparse(node)
                constant = all(isinstance(argument, ast.Constant) for argument in node.args)
                told = "print(" in text or "stderr" in text or "sys.exit(" in text
                if told and "printable" not in text and not constant and path.name != "__init__.py" \
                        and not any(re.fullmatch(known, text) for known in HARMLESS):
                    bad.append("%s:%d: %s" % (path.name, node.lineno, text))
    assert not bad


# ---- a run with a hostile guest ----

HYPERVISOR = """
import os
ESCAPES = %r

class Console:
    def get_output(self):
        return ESCAPES

class VM:
    serial_console = Console()
    def __init__(self, name, params, root_dir, address_cache=None):
        self.name, self.params, self.instance, self.alive, self.monitor = name, params, name, False, None
    def create(self, name, params, root_dir, migration_mode=None):
        if params.get("create_fails"):
            raise RuntimeError(ESCAPES)
        self.alive, self.params = True, params
    def destroy(self, gracefully=True, free_mac_addresses=True):
        if self.alive and self.params.get("destroy_fails"):
            raise RuntimeError(ESCAPES)
        self.alive = False
    def is_alive(self):
        return self.alive
    def is_dead(self):
        return not self.alive
    def needs_restart(self, name, params, basedir):
        return False
    def screendump(self, path):
        raise RuntimeError(ESCAPES)
    def wait_for_login(self, timeout):
        return self
    def close(self):
        pass
    def login(self):
        from virtvm.companions.login import remote_login
        return remote_login("ssh", "127.0.0.1", 1, "root", self.params["password"], "#")
""" % ESCAPES

TESTS = """
import logging
import pytest
from hypervisor import ESCAPES
from virtvm.companions import error, exceptions, rss_client
from virtvm import virt_vm

def test_fails(vm, params):
    print(ESCAPES)
    logging.warning(ESCAPES)
    raise error.TestFail("it said " + ESCAPES)

@pytest.mark.parametrize("exception", [
    virt_vm.VMDeadKernelCrashError(ESCAPES), exceptions.LoginError(ESCAPES, ESCAPES), virt_vm.VMDeadError(ESCAPES),
    exceptions.diagnosed(exceptions.SCPError(ESCAPES, ESCAPES), detail=ESCAPES, host=ESCAPES),
    rss_client.FileTransferServerError(ESCAPES), ValueError(ESCAPES)], ids=lambda e: type(e).__name__)
def test_raises(vm, exception):
    try:
        raise KeyError(ESCAPES)
    except KeyError:
        raise exception

def test_asserts(vm, params):
    said = ESCAPES
    assert said == "something else", said

def test_errors(vm):
    raise error.TestError(ESCAPES)

def test_skips(vm):
    raise error.TestNAError(ESCAPES)

def test_expected(vm):
    pytest.xfail(ESCAPES)

def test_warns(vm):
    raise error.TestWarn(ESCAPES)

def test_warns_by_itself(vm):
    import warnings
    warnings.warn(ESCAPES)

def test_thread_fails(vm):
    import threading
    def fail():
        raise ValueError(ESCAPES)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()

def test_takes_env_alone(env):
    print(ESCAPES)
    raise ValueError(ESCAPES)

@pytest.mark.virtvm(abort_on_error="no", create_fails="yes", vms="vm2", main_vm="vm2")
def test_does_not_start(vm):
    pass

def test_shows_params(vm, params, env, record_property):
    password, everything = params["password"], dict(params)
    record_property("the password", password)
    assert params == {} and env

def test_logs_in(vm, params):
    vm.login()

@pytest.mark.virtvm(pre_command="test $KVM_TEST_password = hunter2-'CANARY' && cat /proc/*/cmdline > seen; false")
def test_pre_command(vm, params):
    pass
"""

OLD = """
from autotest_lib.client.common_lib import error
import logging
def run_old(test, params, env):
    vm = env.get_vm(params.get("main_vm"))
    logging.info("%s", params)
    raise error.TestFail("of old: " + vm.serial_console.get_output())
"""


class Project:
    def __init__(self, folder):
        self.folder = folder
        for name, text in (("hypervisor", HYPERVISOR), ("test_hostile", TESTS), ("old", OLD)):
            (folder / (name + ".py")).write_text(textwrap.dedent(text))
        (folder / "run.toml").write_text('[params]\nvm_class = "hypervisor:VM"\npassword = "%s"\n'
                                         'ssh_identity_passphrase = "%s"\nadmin_password_vm1 = "%s"\n'
                                         % (CANARY, CANARY, CANARY))

    def run(self, *words):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_CURRENT", "PYTEST_ADDOPTS"))}
        done = subprocess.run([sys.executable, "-m", *words], cwd=self.folder, env=dict(
            env, PYTHONPATH=os.pathsep.join(filter(None, [".", env.get("PYTHONPATH")])),
            PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.stdout.decode("utf-8", "surrogateescape")

    def files(self):
        return {path: path.read_bytes() for path in self.folder.rglob("*")
                if path.is_file() and path.suffix not in (".pyc", ".toml", ".cfg")}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


RUNS = {
    "run": ["virtvm", "run", "test_hostile.py", "old.py", "--config", "run.toml"],
    "pytest, all it can show": ["pytest", "-p", "virtvm", "-p", "no:cacheprovider", "-rA", "--tb=long", "-vv",
                                "--showlocals", "--virtvm-config=run.toml", "--junitxml=long.xml", "test_hostile.py",
                                "old.py"],
    "live logs": ["pytest", "-p", "virtvm", "-p", "no:cacheprovider", "--virtvm-config=run.toml", "-o", "log_cli=true",
                  "-o", "log_cli_level=DEBUG", "test_hostile.py", "old.py"],
    "pytest, as it is": ["pytest", "-p", "virtvm", "-p", "no:cacheprovider", "--virtvm-config=run.toml",
                         "-p", "metadata", "-p", "html", "--html=report.html", "--self-contained-html",
                         "test_hostile.py", "old.py"],
    "on workers": ["virtvm", "run", "-n", "1", "test_hostile.py", "old.py", "--config", "run.toml"],
    "dry run": ["virtvm", "run", "--dry-run", "test_hostile.py", "old.py", "--config", "run.toml"],
    "list": ["virtvm", "list", "--verbose", "--config", "run.toml", "tests.cfg"],
    "list for machines": ["virtvm", "list", "--json", "--config", "run.toml", "tests.cfg"],
}


# Ways to the terminal that are no report of a test; each begins with what the test does.
ENDS = """
import pytest
from hypervisor import ESCAPES

def test_exits(vm, request):
    pytest.exit(ESCAPES)

def test_is_interrupted(vm):
    raise KeyboardInterrupt(ESCAPES)

def test_stops(vm, request):
    request.session.shouldstop = ESCAPES

def test_counts_as_failed(vm, request):
    request.session.shouldfail = ESCAPES

def test_fails_plainly(vm):
    pytest.fail(ESCAPES, pytrace=False)

def test_errs_at_the_end(vm, request):
    def end():
        raise ValueError(ESCAPES)
    request.addfinalizer(end)

def test_hook_fails(vm, request):
    class Broken:
        def pytest_runtest_logfinish(self):
            raise ValueError(ESCAPES) from RuntimeError(ESCAPES)
    request.config.pluginmanager.register(Broken())

def test_has_parts(vm, request):
    try:
        parts = request.getfixturevalue("subtests")
    except pytest.FixtureLookupError:
        pytest.fail(ESCAPES)
    with parts.test(ESCAPES, name=ESCAPES):
        raise ValueError(ESCAPES)

def test_writes_by_the_reporter(vm, request):
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(ESCAPES)
        reporter.section(ESCAPES)
        reporter.rewrite(ESCAPES)
        request.config.get_terminal_writer().line(ESCAPES)
    pytest.fail(ESCAPES)
"""
NAMES = re.findall(r"def (test_\w+)", ENDS)


def obeyed(said):
    """What of it a terminal would obey."""
    return sorted({c for c in said if c not in "\n\t" and not c.isprintable() and unicodedata.category(c) != "Cs"})


@pytest.mark.once
@pytest.mark.parametrize("name", NAMES)
def test_no_way_to_the_terminal_is_raw(project, name):
    (project.folder / "test_ends.py").write_text(ENDS)
    said = project.run("pytest", "-p", "virtvm", "-p", "no:cacheprovider", "--virtvm-config=run.toml", "-rA",
                       "--full-trace", "test_ends.py::" + name)
    assert "abcde" in said and not obeyed(said.replace("\r" + "abcde", "abcde")), said


@pytest.mark.once
@pytest.mark.parametrize("how", [["-n", "1"], ["--color=yes"]], ids=["workers", "colours"])
def test_no_way_to_the_terminal_is_raw_elsewhere(project, how):
    (project.folder / "test_ends.py").write_text(ENDS)
    said = project.run("pytest", "-p", "virtvm", "-p", "xdist", "-p", "no:cacheprovider", "--virtvm-config=run.toml",
                       "-rA", *how, "test_ends.py", "-k", "plainly or errs or has_parts or writes or stops")
    assert "abcde" in said and "\x1b[31md" not in said, said
    assert not obeyed(re.sub(r"\x1b\[[0-9;]*m|(?m:^\r)", "", said)), said


# Tests that take none of the plugin's fixtures, and log in by themselves.
ALONE = """
import logging, socket, threading, warnings
import pytest
from hypervisor import ESCAPES
from virtvm.companions import virt_utils

def output():
    listener = socket.create_server(("127.0.0.1", 0))
    def run():
        with listener.accept()[0] as peer:
            peer.sendall(ESCAPES.encode())
    thread = threading.Thread(target=run)
    thread.start()
    try:
        virt_utils.remote_login("nc", *listener.getsockname(), "u", "p", r"^[$] $")
    except virt_utils.LoginError as e:
        return e.output
    finally:
        thread.join()
        listener.close()

def test_shows():
    said = output()
    print(said)
    logging.warning("%s", said)
    warnings.warn(said)
    assert said == "nothing"

def test_raises():
    raise RuntimeError(output())

def test_skips():
    pytest.skip(output())

@pytest.fixture
def said():
    raise RuntimeError(output())

def test_errs(said):
    pass
"""


@pytest.mark.once
@pytest.mark.parametrize("how", [[], ["-n", "1"], ["-p", "html", "-p", "metadata", "--html=alone.html",
                                                   "--self-contained-html"]], ids=["here", "workers", "files"])
@pytest.mark.parametrize("more", ["", "raise RuntimeError(output())\n"], ids=["run", "collected"])
def test_test_that_logs_in_by_itself_shows_nothing_raw(project, how, more):
    (project.folder / "test_alone.py").write_text(ALONE + more)
    said = project.run("pytest", "-p", "virtvm", "-p", "xdist", "-p", "no:cacheprovider", "-rA", "--tb=long",
                       "--junitxml=alone.xml", *how, "test_alone.py")
    assert "abcde" in said and ("skipped" in said or more), said
    assert not obeyed(said), said
    for path in ("alone.xml", "alone.html") if how[2:] else ["alone.xml"]:
        assert "\x1b" not in (project.folder / path).read_text()


@pytest.mark.once
@pytest.mark.parametrize("words", RUNS.values(), ids=list(RUNS))
def test_run_shows_and_leaves_nothing(project, words):
    (project.folder / "tests.cfg").write_text("variants:\n    - old:\n        type = old\n        extra_password = %s\n"
                                              % CANARY)
    said = project.run(*words)
    if "dry" not in " ".join(words) and "list" not in words:
        assert "FAIL" in said and "abcde" in said and "of old: abcde" in said, said
    else:
        assert "old" in said, said
    assert not obeyed(said), said
    assert CANARY not in said, said
    leaks = [str(path) for path, content in project.files().items() if CANARY.encode() in content]
    assert not leaks
