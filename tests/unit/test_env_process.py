"""What is done before and after a test, on machines that only pretend to run."""

import os

import pytest
from support import waiting

from virtvm import virt_vm
from virtvm.autotest.tests import virt_env_process
from virtvm.companions import aexpect
from virtvm.companions.params import Env, Params
from virtvm.hypervisors import network


class Job:
    """A test object: where its files go."""

    def __init__(self, folder):
        self.bindir = self.debugdir = str(folder)

    def write_test_keyval(self, pairs):
        pass


class Machine(virt_vm.BaseVM):
    monitor = None

    def __init__(self, name, params, root_dir, address_cache=None):
        super().__init__(name, params)
        self.alive = False

    def create(self, name, params, root_dir, migration_mode=None):
        self.alive = True

    def destroy(self, gracefully=True, free_mac_addresses=True):
        self.alive = False

    def is_alive(self):
        return self.alive

    def is_dead(self):
        return not self.alive

    def verify_alive(self):
        assert self.alive

    def needs_restart(self, name, params, basedir):
        return False


class OtherMachine(Machine):
    pass


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


def params(**more):
    return Params({"vms": "vm1", "main_vm": "vm1", "images": "", "start_vm": "yes", "kill_vm": "no",
                   "vm_class": __name__ + ":Machine", **more})


# ---- which machine a test gets ----

@pytest.mark.parametrize("first, second", [("Machine", "OtherMachine"), ("OtherMachine", "Machine")])
def test_machine_is_of_the_class_that_params_name(job, first, second):
    env = Env()
    virt_env_process.preprocess(job, params(vm_class="%s:%s" % (__name__, first)), env)
    before = env.get_vm("vm1")
    virt_env_process.preprocess(job, params(vm_class="%s:%s" % (__name__, second)), env)
    assert type(env.get_vm("vm1")).__name__ == second and env.get_vm("vm1").alive
    assert not before.alive


def test_machine_of_the_same_class_lives_on(job):
    env = Env()
    virt_env_process.preprocess(job, params(), env)
    before = env.get_vm("vm1")
    virt_env_process.preprocess(job, params(mem="2048"), env)
    assert env.get_vm("vm1") is before


# ---- guests that do not answer ----

class Deaf(Machine):
    def login(self, *args, **more):
        from virtvm.companions import virt_utils
        raise virt_utils.LoginError("no answer", "")


@pytest.mark.parametrize("asked, lives", [("yes", False), ("no", True)])
def test_guest_that_does_not_answer_is_ended(job, asked, lives):
    env = Env()
    wanted = params(vm_class=__name__ + ":Deaf", kill_unresponsive_vms=asked)
    virt_env_process.preprocess(job, wanted, env)
    virt_env_process.postprocess(job, wanted, env)
    assert env.get_vm("vm1").alive is lives


def test_default_is_autotest_s():
    from virtvm import config
    assert config.DEFAULTS["kill_unresponsive_vms"] == "yes"


# ---- tcpdump ----

@pytest.fixture
def fake_tcpdump(monkeypatch, tmp_path):
    """tcpdump's stand-in prints what is written into a pipe."""
    pipe = str(tmp_path / "frames")
    os.mkfifo(pipe)
    monkeypatch.setattr(network, "tcpdump_command", lambda: "exec cat '%s'" % pipe)
    monkeypatch.setattr(virt_env_process.virt_utils, "wait_for", lambda *args, **more: None)
    learned = []
    monkeypatch.setattr(network, "learn_address", lambda cache, line: learned.append(line))
    env = Env()
    descriptor = os.open(pipe, os.O_RDWR)
    with open(descriptor, "w") as writer:
        yield env, writer, learned
        virt_env_process._stop_tcpdump(env)


def test_tcpdump_tells_addresses_after_the_first_test_too(job, fake_tcpdump):
    env, writer, learned = fake_tcpdump
    wanted = params(run_tcpdump="yes")
    for number in range(3):
        virt_env_process.preprocess(job, wanted, env)
        print("frame %d" % number, file=writer, flush=True)
        waiting.until(lambda: "frame %d" % number in learned)
        virt_env_process.postprocess(job, wanted, env)
        print("between %d" % number, file=writer, flush=True)
        waiting.until(lambda: "between %d" % number in learned)
        assert "tcpdump" in env


def test_tcpdump_is_our_own_process(job, fake_tcpdump):
    """Not the keeper's, with which it would outlive a run that is killed."""
    env, _writer, _learned = fake_tcpdump
    virt_env_process.preprocess(job, params(run_tcpdump="yes"), env)
    with open("/proc/%d/stat" % env["tcpdump"].get_pid()) as f:
        assert int(f.read().rpartition(")")[2].split()[1]) == os.getpid()


def test_functions_of_a_test_s_are_called_no_more(job):
    lines = []
    tail = aexpect.Tail("cat", auto_close=True, output_func=lines.append)
    try:
        virt_env_process.postprocess(job, params(), Env())
        tail.sendline("nobody hears this")
        waiting.until(lambda: "nobody" in tail.get_output())
        assert lines == []
    finally:
        tail.close()


# ---- pictures while a test runs ----

class Screen:
    """A monitor whose screen shows what it is told."""

    def __init__(self):
        self.shows = [b"one", b"two", b"two", b"three"]
        self.taken = 0

    def screendump(self, path, debug):
        with open(path, "wb") as f:
            f.write(self.shows[min(self.taken, len(self.shows) - 1)])
        self.taken += 1


def test_pictures_of_one_second_are_all_kept(job, monkeypatch):
    monkeypatch.setattr(virt_env_process.time, "strftime", lambda form: "2026-01-01_00-00-00")
    machine = Machine("vm1", params(), "/")
    machine.alive, machine.monitor = True, Screen()
    env = Env()
    env.register_vm("vm1", machine)
    pictures = virt_env_process._Screendumps(job, params(screendump_delay="0.01"), env)
    waiting.until(lambda: machine.monitor.taken >= 4)
    pictures.stop()
    folder = os.path.join(job.debugdir, "screendumps_vm1")
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as f:
            found.setdefault(f.read(), []).append(name)
    assert len(os.listdir(folder)) == machine.monitor.taken
    assert set(found) == {b"one", b"two", b"three"} and len(found[b"two"]) == 2
    assert os.path.samefile(*(os.path.join(folder, name) for name in found[b"two"]))
