"""No name, path or address makes the host's shell run anything, whichever function takes it.

All public functions of the companions and of autotest's modules are looked up and called; one
that is new, with arguments that nothing here knows, fails the first test until it is listed.
"""

import ast
import importlib
import inspect
import os
import pathlib
import pkgutil
import shlex
import subprocess
from unittest import mock

import pytest
from virtvm import _session, autotest, companions, virt_vm
from virtvm import host as host_package
from virtvm.autotest.tests import virt_env_process
from virtvm.companions import _local, aexpect, quoting, utils, virt_utils
from virtvm.companions.params import Env, Params
from virtvm.hypervisors import network

HOSTILE = ["x; touch {0}; true", "$(touch {0})", "`touch {0}`", "x' ; touch {0}; '", 'x" ; touch {0}; "',
           "x\ntouch {0}\n", "x & touch {0} &", "| touch {0}", "-x; touch {0}", "--{0}", "{0}=1 touch {0};"]

# Modules of which nothing is called, and why.
NOT_WALKED = {
    "virtvm.autotest.python2": "sources to code, and stands in for the test's own calls: they run what it says",
    "virtvm.companions.secrets": "asks people, on their terminal: runs nothing",
    "virtvm.autotest.variants.expand": "texts to dicts: runs nothing",
    "virtvm.autotest.variants.filters": "texts to dicts: runs nothing",
    "virtvm.autotest.variants.syntax": "texts to dicts: runs nothing",
    "virtvm.autotest.imports.finder": "imports test files, which is to run them",
    "virtvm.autotest.imports.loader": "imports test files, which is to run them",
}

# Functions that are not called, and why.
NOT_CALLED = {
    "run": "takes a command line", "system": "takes a command line", "system_output": "takes a command line",
    "run_parallel": "takes command lines", "system_output_parallel": "takes command lines",
    "run_bg": "takes a command line", "run_tail": "takes a command line", "run_fg": "takes a command line",
    "raw_ping": "takes a command line", "remote_scp": "takes a command line",
    "process_command": "takes a command line", "get_time": "takes a command line, for the guest",
    "stop_windows_service": "the guest's shell alone", "start_windows_service": "the guest's shell alone",
    "main": "the whole command, by itself", "ask": "waits for a person",
    "run_jobs": "takes what makes jobs", "join_bg_jobs": "takes jobs",
    "counterpart": "takes a class", "drop_caches": "takes nothing", "bind": "not a test's to call",
}

# Arguments that are no texts; what is given for them.
OTHERS = {
    "timeout": 1, "pid": 2 ** 22 + 1, "pids": [2 ** 22 + 1], "pgid": 2 ** 22 + 1, "begin": bool,
    "sig": 0, "vm": mock.MagicMock(), "module": os,
    "session": mock.MagicMock(is_responsive=lambda **kw: False), "port": 1,
    "verbose": False, "coloured": False, "check": lambda *args: None,
    "keywords": None, "rest": None, "modern": None, "env": {}, "func": len, "step": 1, "first": 0,
    "count": 1, "interval": None, "ttl": None, "adaptive": False, "broadcast": False, "flood": False,
    "output_func": None, "nic_index": 0, "width": 1, "height": 1, "data": b"abc", "data1": b"abc", "data2": b"abc",
    "x1": 0, "y1": 0, "dx": 1, "dy": 1, "length": 4, "instance": object(), "targets": [], "macs": ["52:54:00:0:0:1"],
    "start_port": 1, "end_port": 1, "subproc": mock.MagicMock(), "matrix": [["a"]], "header": None, "input": b"",
    "dictionary": {"a": 1}, "signal_queue": (0,), "size": 1, "obj": None, "fn": len, "e": Exception(), "exc": None,
    "log": None, "image_func": lambda *args: None, "vm_func": lambda *args: None, "lvms": [], "mig_timeout": 1,
    "mig_cancel": False, "offline": False, "stable_check": False, "clean": False, "mig_port": 1, "serial": None,
    "start": 0, "sleep_before_reset": 0, "test": None, "params": None, "also": None, "paths": [], "parser": None,
    "contents": False, "out": None, "internal_timeout": 0.05, "debug": False, "connect_timeout": 1, "log_func": None,
    "mapping": {}, "cache": {}, "setup": None, "words": None, "keep": "",
    "attempt": len, "refused": bool, "paused": None, "given": (None, None), "asked": set(), "shell_output_limit": None,
    "mode": 0o600, "owner": None,
}


def modules():
    for package in (companions, host_package, autotest):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            private = any(part.startswith("_") for part in found.name.split("."))
            if not private and not any(found.name.startswith(name) for name in NOT_WALKED):
                yield importlib.import_module(found.name)
    yield network
    yield virt_vm


def functions():
    """(name, function) of all that a test may call."""
    for module in modules():
        for name, value in sorted(vars(module).items()):
            if callable(value) and not inspect.isclass(value) and not name.startswith("_") \
                    and getattr(value, "__module__", None) == module.__name__ and name not in NOT_CALLED:
                yield "%s.%s" % (module.__name__.rpartition(".")[2], name), value


FUNCTIONS = dict(functions())
# In the order in which they were found to matter: who takes texts.
TEXTS = {"address", "host", "src", "dst", "dest", "ip", "dest_host", "user", "username", "s_name", "d_name", "mac",
         "mac_address", "path", "filename", "file", "dir", "folder", "root", "base_path", "user_path", "local_path",
         "remote_path", "s_path", "d_path", "src_pattern", "dst_path", "mount_point", "log_filename", "save_path",
         "control_path", "outputdir", "steps_filename", "cropped_image_filename", "root_dir", "name", "vm_name",
         "module_name", "interface", "ifname", "bridge", "type", "perm", "cmd", "client", "ext", "key", "pattern",
         "packetsize", "hint", "method", "service", "vm_instance", "prompt", "linesep", "password", "s_passwd",
         "d_passwd", "ssh_identity_file",
         "ssh_identity_passphrase", "identity", "where", "ssh_known_hosts", "ssh_auth", "ssh_keepalive",
         "text", "line", "str",
         "type_tag", "md5sum", "mig_protocol", "stage", "methods", "tries", "detail", "history", "console", "s", "s1",
         "s2", "id", "output", "question", "what", "word", "program", "value", "uri", "command",
         "said", "denied", "source", "target"}


def test_every_argument_is_known():
    unknown = {(name, parameter) for name, function in FUNCTIONS.items()
               for parameter in inspect.signature(function).parameters
               if parameter not in TEXTS and parameter not in OTHERS}
    assert not unknown
    assert {"virt_test_utils.ping", "virt_utils.mount", "utils.load_module", "network.attach",
            "virt_vm.check_image", "virt_env_process.preprocess"} <= set(FUNCTIONS)


class Host:
    """The host's shell, watched: what it is given runs, and leaves a trace if it is more than a word."""

    def __init__(self, folder, monkeypatch):
        self.canary = str(folder / "canary")
        self.commands = []
        spawn, start, system = utils.BgJob._spawn, _local.start, os.system
        monkeypatch.setattr(utils.BgJob, "_spawn", lambda job, *args: self._note(job.command) or spawn(job, *args))
        monkeypatch.setattr(_local, "start",
                            lambda command, *args, **keywords: self._note(command) or start(command, *args, **keywords))
        monkeypatch.setattr(os, "system", lambda command: self._note(command) or system(command))

    def _note(self, command):
        self.commands.append(command)

    def check(self, hostile, what, sizes=False):
        assert not os.path.exists(self.canary), "%s ran it: %s" % (what, self.commands)
        for command in [] if sizes else self.commands:      # no size is a name: qemu-img may refuse it as it likes
            words = shlex.split(command)
            for number, word in enumerate(words):
                assert word != hostile or not hostile.startswith("-") or "--" in words[:number] \
                    or words[number - 1].startswith("-"), "%s: an option: %s" % (what, command)
        self.commands.clear()


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTODIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ping").symlink_to("/bin/true")      # at once, whatever the network is like
    monkeypatch.setenv("PATH", "%s:%s" % (tmp_path / "bin", os.environ["PATH"]))
    # Nothing is to be reached, nor to be waited for.
    monkeypatch.setattr(_session, "open_ssh", mock.Mock(side_effect=OSError))
    monkeypatch.setattr(_session, "open_tcp", mock.Mock(side_effect=OSError))
    monkeypatch.setattr(virt_env_process, "vm_class", lambda params: mock.MagicMock())
    yield Host(tmp_path, monkeypatch)
    virt_utils.close_log_file()
    virt_utils._log_files.folder = None


def call(function, arguments):
    """Whatever comes of it: only what the shell was given is looked at."""
    parameters = inspect.signature(function).parameters
    positional, keywords = [], {}
    for name, parameter in parameters.items():
        if name not in arguments or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[name] = arguments[name]
        else:
            positional.append(arguments[name])
    try:
        function(*positional, **keywords)
    except Exception:
        pass


def test_the_watch_sees_what_runs(host):
    for run in (utils.run, lambda command: aexpect.run_fg(command, timeout=10)):
        run("touch " + host.canary)
        with pytest.raises(AssertionError, match="ran it"):
            host.check("x", "it")
        os.unlink(host.canary)
        host.commands.clear()
    utils.run("ping -x")
    with pytest.raises(AssertionError, match="an option"):
        host.check("-x", "it")


TAKERS = [(name, parameter) for name, function in FUNCTIONS.items()
          for parameter in inspect.signature(function).parameters if parameter in TEXTS]


@pytest.mark.parametrize("name, hostile_one", TAKERS, ids=["%s-%s" % taker for taker in TAKERS])
def test_no_argument_is_run(host, name, hostile_one):
    function = FUNCTIONS[name]
    for template in HOSTILE:
        hostile = template.format(host.canary)
        arguments = {}
        for parameter in inspect.signature(function).parameters.values():
            arguments[parameter.name] = (
                hostile if parameter.name == hostile_one else
                None if parameter.name == "session" and parameter.default is None else      # from here
                OTHERS[parameter.name] if parameter.name in OTHERS else
                parameter.default if parameter.default is not parameter.empty else "plain")
        if "wait_for_login" in name:
            arguments["timeout"] = 0.05
        if name == "virt_test_utils.run_autotest":
            pathlib.Path("plain").touch()
        if name == "utils.unload_module":
            with mock.patch.object(utils, "_loaded_modules", return_value={hostile.replace("-", "_"): []}):
                call(function, arguments)
        else:
            call(function, arguments)
        host.check(hostile, "%s(%s=%r)" % (name, hostile_one, hostile))


# Params that name or address something, and those that have it used.
PARAMS = ["image_name", "image_format", "image_size", "image_cluster_size", "qemu_img_binary", "qemu_binary", "cdrom",
          "priv_brname", "priv_subnet", "nic_ifname", "vms", "images", "bridge", "hugepage_path", "kernel", "mem"]
BASE = {"vms": "vm1", "images": "image1", "image_name": "disk", "force_create_image": "yes", "check_image": "yes",
        "remove_image": "yes", "vm_type": "kvm", "nics": "nic1", "nic_mode": "tap", "start_vm": "yes",
        "kill_vm": "yes", "run_tcpdump": "no", "mem": "64", "image_raw_device": "no"}
BY_PARAMS = [name for name, function in FUNCTIONS.items() if "params" in inspect.signature(function).parameters]


@pytest.mark.parametrize("name", BY_PARAMS)
def test_no_param_is_run(host, tmp_path, name):
    function = FUNCTIONS[name]
    suite = mock.MagicMock(bindir=str(tmp_path), debugdir=str(tmp_path))
    for key in PARAMS:
        for template in HOSTILE:
            hostile = template.format(host.canary)
            params = Params(BASE, qemu_img_binary=str(tmp_path / "no-qemu-img"))
            params[key] = hostile
            if key in ("priv_brname", "priv_subnet"):
                params["bridge"] = "private"
            pathlib.Path("disk.qcow2").touch()
            arguments = {parameter: OTHERS.get(parameter, "plain") for parameter in
                         inspect.signature(function).parameters}
            arguments.update(params=params, test=suite, env=Env(), root_dir=str(tmp_path))
            call(function, arguments)
            host.check(hostile, "%s(%s=%r)" % (name, key, hostile), sizes=key == "image_size")


def test_words_stay_what_they_are(tmp_path):
    words = ["a", "", "a b", "-x", "'", '"', "$HOME", "`id`", "a\nb", "~", "*", "\\", "a=b", "é", "!", "{1,2}", "#"]
    echo = tmp_path / "a=b"
    echo.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    echo.chmod(0o755)
    os.environ["PATH"], before = "%s:%s" % (tmp_path, os.environ["PATH"]), os.environ["PATH"]
    try:
        for program in (str(echo), "a=b"):
            done = utils.run(quoting.command_line(program, *words))
            assert done.stdout.split("\0")[:-1] == words
    finally:
        os.environ["PATH"] = before
    assert quoting.command_line("ping", "10.0.0.1", "-c", 3) == "ping 10.0.0.1 -c 3"
    for bad in ("", "-c", "--", "a\0b"):
        with pytest.raises(ValueError):
            quoting.operand(bad)


# ---- whoever runs something has its command line made in one place ----

RUNNERS = {"run", "system", "system_output", "run_parallel", "system_output_parallel", "BgJob", "run_bg", "run_tail",
           "run_fg", "Tail", "Expect", "Spawn", "ShellSession"}
OWNERS = {"utils", "aexpect", "commands", None}
# (file, what it gives): a command line that is somebody else's.
GIVEN = {("utils.py", "command"), ("utils.py", "commands"), ("aexpect.py", "command"),
         ("aexpect_2011.py", "command"), ("transfer.py", "command"),
         ("virt_test_utils.py", "command"), ("virt_env_process.py", "command"),
         ("disks.py", "command")}       # of command_line(), a line before


def started(tree):
    """(line, first argument) of the calls that start command lines."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        owner = node.func.value.id if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) \
            else None if isinstance(node.func, ast.Name) else "other"
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        if name in RUNNERS and owner in OWNERS:
            words = [word for word in node.args if getattr(word, "id", None) not in RUNNERS]    # run(class, command)
            given = words[0] if words else next((k.value for k in node.keywords if k.arg == "command"), None)
            if given is not None:
                yield node.lineno, given


def is_made_well(path, given):
    if isinstance(given, (ast.Constant, ast.List)):     # a list of arguments: no shell
        return True
    if isinstance(given, ast.BinOp) and isinstance(given.op, ast.Add):
        first = given.left
        while isinstance(first, ast.BinOp):
            first = first.left
        return isinstance(first, ast.List)
    if isinstance(given, ast.Call):
        return getattr(given.func, "id", None) == "command_line"
    name = getattr(given, "id", None)
    return (path.name, name) in GIVEN


def test_command_lines_are_made_in_one_place():
    root = pathlib.Path(companions.__file__).parents[1]
    bad, seen = [], 0
    for path in sorted(root.rglob("*.py")):
        if "python2" in path.parts:
            continue
        text = path.read_text()
        for line, given in started(ast.parse(text)):
            seen += 1
            if not is_made_well(path, given):
                bad.append("%s:%d: %s" % (path.relative_to(root), line, ast.unparse(given)))
        for word in ("shlex.quote", "shlex.join", "os.system", "os.popen", "shell=True"):
            if word in text and path.name != "quoting.py":
                bad.append("%s: %s" % (path.relative_to(root), word))
    assert not bad and seen > 20


def test_commands_of_images_are_quoted_like_all_others(tmp_path, monkeypatch):
    """virt_vm, in C, has a quoting of its own: the words are the same."""
    commands = []
    monkeypatch.setattr(virt_vm, "utils", mock.MagicMock(system=commands.append))
    for word in ["a", "a b", "it's", "$(x)", "`x`", "a\nb", "é", "a;b", "~", "=", "{a}", "\\", '"']:
        virt_vm.create_image({"image_name": word, "image_format": word, "image_size": word,
                              "qemu_img_binary": "/bin/" + word}, "/tmp")
        assert shlex.split(commands[-1])[:4] == ["/bin/" + word, "create", "-f", word]
        done = subprocess.run(["/bin/bash", "-c", "printf '%s\\0' " + commands[-1]], stdout=subprocess.PIPE, check=True)
        assert done.stdout.decode().split("\0")[:-1] == [
            "/bin/" + word, "create", "-f", word, "/tmp/%s.%s" % (word, word), word]
