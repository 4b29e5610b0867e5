"""Names of 0.1.0 are where they were, and are the same objects where modules moved."""

import importlib
import pickle
import subprocess
import sys
from unittest import mock

import pytest

from virtvm.companions import aexpect, error, utils

# Names that 0.1.0 had in virtvm.companions.aexpect, the room that has each now.
MOVED = {
    "Spawn": "spawn", "Tail": "tail", "Expect": "expect", "ShellSession": "shell", "RunResult": "shell",
    "RemoteSession": "remote", "ConsoleSession": "console", "strip_console_codes": "text",
    "_reconnect": "console", "_log_in_later": "remote", "_left_running": "spawn", "_sessions": "spawn",
}


@pytest.mark.parametrize("name", MOVED)
def test_the_same_object(name):
    assert getattr(importlib.import_module("virtvm.session." + MOVED[name]), name) is getattr(aexpect, name)


@pytest.mark.parametrize("old, new", [
    ("companions._reporter", "session.callbacks"), ("companions._local", "session.local"),
    ("companions.params", "params.params"), ("config", "params.config"), ("companions.error", "outcomes"),
    ("companions._process", "host.commands"), ("companions._system_load", "host.load"),
    ("companions.mac_pool", "host.macs"), ("companions._state_dir", "host.state")])
def test_the_same_module(old, new):
    module = importlib.import_module("virtvm." + old)
    assert module is importlib.import_module("virtvm." + new)


# Modules of virtvm.autotest in 0.1.0.
AUTOTEST = [
    "cartesian", "checker", "configuration", "configuration.expand", "configuration.filters", "configuration.syntax",
    "dialect", "discover", "finder", "loader", "names", "ppm_utils", "profilers", "python2", "python2.builtins",
    "python2.files", "python2.imp", "python2.modules", "python2.runtime", "python2.text", "scan_results", "semantics",
    "syntax", "test_object", "translate", "tree", "virt_env_process", "virt_test_setup", "virt_test_utils"]


def test_modules_of_autotest_are_one_by_each_name():
    """Each alone, and with the newer name first or last."""
    from virtvm.autotest.older import MOVED
    program = ("import importlib, sys\n"
               "for names in sys.argv[1:], sys.argv[:0:-1]:\n"
               "    for name in [name for name in sys.modules if name.startswith('virtvm.autotest.')]:\n"
               "        del sys.modules[name]\n"
               "    found = [importlib.import_module('virtvm.autotest.' + name) for name in names]\n"
               "    assert found[0] is found[-1], names\n"
               "    for one in found:\n"
               "        assert one.__spec__.name == one.__name__, one\n"
               "        assert sys.modules[one.__name__] is one, one\n")
    for name in AUTOTEST:
        subprocess.run([sys.executable, "-c", program, name, MOVED.get(name, name)], check=True, timeout=60)
    assert set(MOVED) < set(AUTOTEST)


def test_reloaded_by_its_older_name():
    module = importlib.import_module("virtvm.autotest.scan_results")
    assert importlib.reload(module) is module is importlib.import_module("virtvm.autotest.tests.scan_results")


@pytest.mark.parametrize("name", ["Params", "Env"])
def test_params_of_0_1_0_load(name):
    """A pickle of old names the class in virtvm.companions.params."""
    found = pickle.loads(b"ccopy_reg\n_reconstructor\n(cvirtvm.companions.params\n%s\nc__builtin__\ndict\n"
                         b"(dVmem\nV64\nstR." % name.encode())
    assert type(found).__name__ == name and type(found).__module__ == "virtvm.params.params" and found == {"mem": "64"}


# Names that 0.1.0 had in other modules, and the room that has each now.
MOVED_TO_HOST = {
    "utils": {"matrix_to_string": "tables", "BgJob": "commands", "CmdResult": "commands", "join_bg_jobs": "commands",
              "TEE_TO_LOGS": "commands", "SystemLoad": "load"},
    "virt_utils": {"log_line": "logs", "log_file_path": "logs", "set_log_file_dir": "logs", "close_log_file": "logs",
                   "_log_files": "logs", "generate_random_string": "names", "generate_mac_address": "macs",
                   "set_mac_address": "macs", "get_mac_address": "macs", "free_mac_address": "macs",
                   "safe_kill": "processes"},
    "_process": {"end_process": "processes", "wait_end": "processes", "start_time": "processes",
                 "process_tree": "processes", "children_of": "processes", "safe_kill": "processes",
                 "signal_group": "processes"},
}


@pytest.mark.parametrize("module, name, room", [
    (module, name, room) for module, names in MOVED_TO_HOST.items() for name, room in names.items()])
def test_the_same_object_in_the_host_s_room(module, name, room):
    older = importlib.import_module("virtvm.companions." + module)
    assert getattr(older, name) is getattr(importlib.import_module("virtvm.host." + room), name)


def test_errors_of_0_1_0_load():
    """A pickle of old names the class in virtvm.companions.error, and the result's in virtvm.companions._process."""
    found = pickle.loads(b"cvirtvm.companions.error\nCmdError\n(Vfalse\ncvirtvm.companions._process\nCmdResult\n"
                         b"(Vfalse\nV\nV\nI1\nI2\ntRNtR.")
    assert type(found) is error.CmdError and type(found.result_obj) is utils.CmdResult
    assert str(found).startswith("Command <false> failed, rc=1") and found.result_obj.duration == 2
    assert pickle.loads(pickle.dumps(found)).args[0] == "false"


@pytest.mark.parametrize("name", ["Spawn", "Tail", "Expect", "ShellSession", "RemoteSession"])
def test_pickles_of_0_1_0_load(name):
    """A pickle of old names the class in virtvm.companions.aexpect."""
    session = pickle.loads(b"cvirtvm.companions.aexpect\n%s\n(NVnosuch\nI01\nI00\nV\\u000a\ntR." % name.encode())
    assert type(session) is getattr(aexpect, name)
    assert session.get_id() == "nosuch" and not session.is_alive() and session.linesep == "\n"


@pytest.mark.parametrize("target", ["Tail", "Expect", "ConsoleSession", "run_bg", "ShellSession.cmd_output",
                                    "_session.open_unix", "_local.start", "_reporter.stop_all"])
def test_patches_reach(target):
    whole = "virtvm.companions.aexpect." + target
    with mock.patch(whole) as fake:
        found = aexpect
        for name in target.split("."):
            found = getattr(found, name)
        assert found is fake


def test_a_patched_class_is_what_run_tail_makes():
    with mock.patch("virtvm.companions.aexpect.Tail") as fake:
        assert aexpect.run_tail("true") is fake.return_value


def test_a_patched_engine_is_what_a_console_opens():
    with mock.patch("virtvm.companions.aexpect._session.open_unix", side_effect=OSError("patched")), \
            pytest.raises(OSError, match="patched"):
        aexpect.ConsoleSession("/nowhere")
