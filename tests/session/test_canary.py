"""A password, a key's passphrase and a secret param go through every feature, against a real server.

They may be in memory, in environments, and in the files that the user wrote them to: nowhere else.
What only a report of tests can show is in tests/unit/test_reports.py.
"""

import os
import re
import subprocess
import sys
import textwrap
import threading

import pytest
from support.sshd import Sshd

pytestmark = pytest.mark.once

HYPERVISOR = """
from virtvm import virt_vm

class VM(virt_vm.BaseVM):
    monitor, monitors, alive = None, [], False
    def __init__(self, name, params, root_dir, address_cache=None):
        virt_vm.BaseVM.__init__(self, name, params)
    def create(self, name=None, params=None, root_dir=None, migration_mode=None):
        self.alive, self.params = True, params
    def destroy(self, gracefully=True, free_mac_addresses=True):
        self.alive = False
    def is_alive(self):
        return self.alive
    def is_dead(self):
        return not self.alive
    def needs_restart(self, name, params, basedir):
        return False
    def verify_alive(self):
        pass
    def screendump(self, path):
        raise RuntimeError("none")
    def get_address(self, index=0):
        return self.params["address"]
    def get_port(self, port, nic_index=0):
        return int(self.params["real_port"])
    def get_pid(self):
        return None
"""

TESTS = """
import copy, logging, os, pickle, pprint, time
import pytest
from virtvm.companions import aexpect, error, utils, virt_utils
from virtvm.companions.params import Env

def show(*things):
    for thing in things:
        print(thing, repr(thing), pprint.pformat(thing))
        logging.info("%s %r", thing, thing)

def test_session(vm, params, env, tmp_path):
    session = vm.login()
    show(session, vars(session), vm, vm.params, params, env, session.info if hasattr(session, "info") else "")
    show(session.cmd("echo fine"), session.run("echo fine"))
    again = pickle.loads(pickle.dumps(session))
    show(again, vars(again), again.cmd("echo again"))
    again.close()
    session.close()
    vm.wait_for_login(timeout=60).close()

def test_copies(vm, tmp_path):
    (tmp_path / "f").write_text("x")
    vm.copy_files_to(str(tmp_path / "f"), "canary-copied", verbose=True)
    vm.copy_files_from("canary-copied", str(tmp_path / "g"), verbose=True)
    for engine in ("scp", "sftp"):
        vm.params["transfer_engine"] = engine
        vm.copy_files_from("canary-copied", str(tmp_path / engine))

@pytest.mark.parametrize("key, value", [("username", "nobody-here"), ("real_port", "1"), ("shell_prompt", "^never$"),
                                        ("shell_client", "none"), ("ssh_auth", "agent")])
def test_failures(vm, key, value):
    vm.params = vm.params.copy()
    vm.params[key] = value
    for call in (lambda: vm.login(timeout=2), lambda: key == "real_port" and vm.wait_for_login(timeout=1),
                 lambda: vm.copy_files_to("/etc/hostname", "canary-copied", timeout=2)):
        try:
            call()
        except Exception as e:
            show(e, vars(e), e.args, pickle.dumps(e), copy.copy(e), error.format_error())
    vm.login(timeout=2)
    raise RuntimeError("it got in")

@pytest.mark.virtvm(pre_command="test -n \\"$KVM_TEST_password$KVM_TEST_ssh_identity_passphrase\\" && sleep 1; ps ax",
                    post_command="false")
def test_commands(vm):
    show(utils.run("ps ax").stdout)
    with aexpect.ShellSession("sh") as shell:
        show(shell.cmd("ps ax; true"), shell.get_output())

def test_environment_is_the_users_alone(vm, params, env, tmp_path):
    env.save(str(tmp_path / "env"))
    assert os.stat(str(tmp_path / "env")).st_mode & 0o777 == 0o600
    os.unlink(str(tmp_path / "env"))

def test_shows_its_arguments(vm, params, request):
    everything, items = dict(params), sorted(params.items())
    secrets = [value for key, value in items if key in ("password", "ssh_identity_passphrase", "my_token")]
    assert vm.params == {"a": 1}
"""

OLD = """
import logging
def run_old(test, params, env):
    vm = env.get_vm(params["main_vm"])
    session = vm.login()
    logging.info("%s %s", params, session.cmd("id"))
    test.write_test_keyval(dict((k, "x") for k in params if not k.startswith("_")))
    session.close()
    vm.params["shell_port"] = "none"
    vm.login()
"""


class Watch:
    """What any user of the machine can read of processes, over and over until stop()."""

    def __init__(self, canary):
        self._canary, self._stop, self.found, self.looks = canary.encode(), threading.Event(), set(), 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.05):
            self.looks += 1
            for pid in filter(str.isdigit, os.listdir("/proc")):
                for name in ("cmdline", "comm"):
                    try:
                        with open("/proc/%s/%s" % (pid, name), "rb") as f:
                            text = f.read()
                    except OSError:
                        continue
                    if self._canary in text:
                        self.found.add(text)

    def stop(self):
        self._stop.set()
        self._thread.join()
        assert self.looks and not self.found


class Lab:
    """A folder in which commands are run, with all that they leave in it."""

    def __init__(self, folder, server, canary, params, environment):
        self.folder, self.server, self.canary, self.environment = folder, server, canary, environment
        self.tmp, self.state = folder / "tmp", folder / "state"
        for name, text in (("hypervisor", HYPERVISOR), ("test_all", TESTS), ("old", OLD)):
            (folder / (name + ".py")).write_text(textwrap.dedent(text))
        self.tmp.mkdir()
        self.state.mkdir()
        own = folder / "own"            # what the user wrote, which may have it
        own.mkdir()
        params = dict(params, vm_class="hypervisor:VM", address=server.host, real_port=str(server.port),
                      username=server.user, login_timeout="60", my_token=canary)
        (own / "run.toml").write_text("[params]\n" + "".join(
            "%s = '''%s'''\n" % item for item in params.items()))
        (own / "word").write_text((server.password or "") + "\n")

    def run(self, *words, stdin=b"", status=(0, 1, 2)):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "SSH_AUTH_SOCK"))}
        env.update(PYTHONPATH=os.pathsep.join(filter(None, [".", env.get("PYTHONPATH")])), TMPDIR=str(self.tmp),
                   VIRTVM_STATE_DIR=str(self.state), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", **self.environment)
        watch = Watch(self.canary)
        try:
            done = subprocess.run([sys.executable, "-m", *map(str, words)], cwd=self.folder, env=env, input=stdin,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        finally:
            watch.stop()
        said = done.stdout.decode("utf-8", "replace")
        assert done.returncode in status, said
        assert self.canary not in said, said
        left = [path for path in self.folder.rglob("*") if path.is_file() and path.parent.name != "own"
                and self.canary.encode() in path.read_bytes()]
        assert not left
        return said


@pytest.fixture(scope="module")
def server(account):
    made = Sshd(account=account)
    yield made
    made.stop()


@pytest.fixture(params=["password", "passphrase"])
def lab(request, server, tmp_path):
    if request.param == "password":
        if not server.can_password:
            pytest.skip("passwords need an account of their own, which root alone can make")
        canary = server.password.partition("'")[2]
        return Lab(tmp_path, server, canary, {"password": server.password}, {})
    canary = "sesame-%s" % os.urandom(6).hex()
    key = str(tmp_path / "key")
    with open(server.key, "rb") as f, open(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as copy:
        copy.write(f.read())
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", canary, "-f", key], check=True,
                   stdout=subprocess.DEVNULL)
    return Lab(tmp_path, server, canary, {"ssh_identity_file": key, "ssh_identity_passphrase": canary}, {})


def where(lab):
    return ["--host", lab.server.host, "--port", lab.server.port, "--user", lab.server.user]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", [["-k", "not failures"], ["-k", "failures"], ["-n", "1", "-k", "arguments or old"]],
                         ids=["run", "failures", "workers"])
def test_run(lab, how):
    said = lab.run("virtvm", "run", "test_all.py", "old.py", "--config", "own/run.toml", *how)
    assert re.search(r"\d passed|\d failed", said) and "INTERNALERROR" not in said, said
    if "not failures" in how:
        assert "PASS  test_session" in said, said
    elif "failures" in how:
        assert "got in" not in said, said


def test_pytest_that_shows_all(lab):
    said = lab.run("pytest", "-p", "virtvm", "-p", "no:cacheprovider", "-rA", "-vv", "--tb=long", "--showlocals", "-o",
                   "log_level=DEBUG", "--virtvm-config=own/run.toml", "--junitxml=junit.xml", "test_all.py", "old.py",
                   "-k", "session or copies or commands or arguments or old or username")
    assert "passed" in said and "junit.xml" in os.listdir(lab.folder) and "INTERNALERROR" not in said


def test_lists_and_dry_runs(lab):
    assert "would run" in lab.run("virtvm", "run", "--dry-run", "test_all.py", "old.py", "--config", "own/run.toml")
    (lab.folder / "a.cfg").write_text("variants:\n    - one:\n        type = old\n")
    assert "***" in lab.run("virtvm", "list", "-v", "a.cfg", "--config", "own/run.toml")
    assert "***" in lab.run("virtvm", "list", "--json", "a.cfg", "--config", "own/run.toml")


def test_shell_and_copy(lab):
    for environment, options in (
            ({"VIRTVM_PASSWORD": lab.server.password or "", "VIRTVM_PASSPHRASE": lab.canary}, []),
            ({"VIRTVM_PASSPHRASE": lab.canary}, ["--password-file", "own/word"])):
        lab.environment = environment
        key = ["-i", "key"] if os.path.exists(lab.folder / "key") else []
        said = lab.run("virtvm", "shell", *where(lab), *options, *key, stdin=b"echo pi''ped; ps ax\n", status=(0,))
        assert "piped" in said
        place = "%s@%s:canary-copied" % (lab.server.user, lab.server.host)
        more = ["-P", lab.server.port, *options, *key]
        lab.run("virtvm", "copy", *more, "old.py", place, status=(0,))
        lab.run("virtvm", "copy", *more, "--verify", place, "back", status=(0,))
        lab.run("virtvm", "copy", *more, place + "-none", "back", status=(1,))
        lab.run("virtvm", "shell", "--host", lab.server.host, "--port", "1", *options, *key, status=(2,))
        lab.run("virtvm", "shell", *where(lab), "--param", "ssh_known_hosts=/dev/null", *options, *key, status=(2,))
