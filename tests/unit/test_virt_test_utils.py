"""virt_test_utils and its kin, against local shells and files."""

import os
import time

import pytest
from virtvm.autotest.tests import ppm_utils, scan_results, virt_env_process, virt_test_utils
from virtvm.autotest.tests.test_object import Test as Object
from virtvm.companions import aexpect, error, virt_utils
from virtvm.companions.params import Env, Params
from virtvm.host import pictures
from virtvm.hypervisors import network


def test_a_test_that_can_not_be_made_leaves_no_folder(tmp_path, monkeypatch):
    def fail(*args):
        raise LookupError("no job")

    monkeypatch.setattr("virtvm.autotest.tests.test_object.Job", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(LookupError, match="no job"):
        Object("boot/1", str(tmp_path), str(tmp_path / "results"))
    assert os.listdir(tmp_path) == ["results"]


class StillVM:
    """A VM as far as these functions look at it."""

    name = "vm1"

    def __init__(self, alive=True, shared=12.7):
        self.alive, self.shared, self.tries = alive, shared, 0

    def is_alive(self):
        return self.alive

    def get_shared_meminfo(self):
        return self.shared


@pytest.fixture
def shell():
    with aexpect.ShellSession("bash --norc --noprofile") as session:
        yield session


def test_get_living_vm():
    env, vm = Env(), StillVM()
    with pytest.raises(error.TestError, match="VM 'vm1' not found in environment"):
        virt_test_utils.get_living_vm(env, "vm1")
    env.register_vm("vm1", vm)
    assert virt_test_utils.get_living_vm(env, "vm1") is vm
    vm.alive = False
    with pytest.raises(error.TestError, match="VM 'vm1' seems to be dead; test requires a living VM"):
        virt_test_utils.get_living_vm(env, "vm1")


def test_wait_for_login_tries_until_it_works_or_time_is_up():
    from virtvm.companions.virt_utils import LoginError
    vm = StillVM()

    def login(nic_index=0):
        vm.tries += 1
        if vm.tries < 3:
            raise LoginError("not yet", "")
        return "session %d" % nic_index
    vm.login = login
    assert virt_test_utils.wait_for_login(vm, 1, timeout=10, step=0.01) == "session 1" and vm.tries == 3
    vm.tries = -1000000
    with pytest.raises(error.TestFail, match="Could not log into guest vm1 using remote connection"):
        virt_test_utils.wait_for_login(vm, timeout=0.1, step=0.01)
    with pytest.raises(error.TestFail):
        virt_test_utils.wait_for_login(vm, timeout=0)


def test_get_time(shell):
    began = time.time()
    host, guest = virt_test_utils.get_time(shell, "date +'TIME: %a %m/%d/%Y %H:%M:%S.%N'",
                                           r"(?:TIME: \w\w\w )(.{19})(?:\.\d\d)", "%m/%d/%Y %H:%M:%S")
    assert began <= host <= time.time() and began - 1 <= guest <= time.time()
    with pytest.raises(error.TestError, match="The time string from guest is unexpected."):
        virt_test_utils.get_time(shell, "echo nonsense", r"(TIME.*)", "%H")


def test_get_time_by_offset(shell):
    shell.cmd("ntpdate() { echo '27 Nov 12:00:01 ntpdate[1]: step time 11/27/2026 12:00:01.25, offset 1.5 sec'; }")
    host, guest = virt_test_utils.get_time(shell, "ntpdate -d x", r"(\d\d/\d\d/\d{4} [\d:]{8})\.(\d+)",
                                           "%m/%d/%Y %H:%M:%S")
    assert host - guest == 1.5 and host % 1 == 0.25


def test_get_time_of_windows():
    class Session:
        def cmd(self, command):
            return "Current time is 11/27/2026 12:00:01 PM.\n12:00:01 d:+00.0s o:+02.5s [ * ]"
    host, guest = virt_test_utils.get_time(Session(), "w32tm /stripchart", r"is (.* [AP]M)", "%m/%d/%Y %H:%M:%S")
    assert host - guest == 2.5 and time.localtime(guest)[3:6] == (12, 0, 1)


def test_get_memory_info():
    line = virt_test_utils.get_memory_info([StillVM(), StillVM(shared=3.0)])
    assert line.startswith("Host: memfree = ") and line.endswith("Guests memsh = {12M; 3M}")
    assert virt_test_utils.get_memory_info([]).endswith("Guests memsh = {}")
    with pytest.raises(error.TestError, match="Invalid list passed"):
        virt_test_utils.get_memory_info("vm1")
    with pytest.raises(error.TestError, match="Could not get shared meminfo"):
        virt_test_utils.get_memory_info([StillVM(shared=None)])


@pytest.mark.parametrize("output, ratio", [
    ("3 packets transmitted, 3 received, 0% packet loss, time 2ms", 0), ("33.3333% packet loss", 33),
    ("100% packet loss", 100), ("nothing", -1)])
def test_get_loss_ratio(output, ratio):
    assert virt_test_utils.get_loss_ratio(output) == ratio


FAKE_PING = r"""#!/bin/sh
echo "PING $*"
trap 'echo "1 packets transmitted, 1 received, 0% packet loss"; exit 0' INT
case " $* " in *" -c "*) echo "2 packets transmitted, 2 received, 0% packet loss"; exit 0 ;; esac
while :; do sleep 0.05; done
"""


@pytest.fixture
def fake_ping(tmp_path, monkeypatch):
    path = tmp_path / "ping"
    path.write_text(FAKE_PING)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", "%s:%s" % (tmp_path, os.environ["PATH"]))


def test_ping_from_here(fake_ping):
    lines = []
    status, output = virt_test_utils.ping("10.0.0.1", count=2, interval=1, packetsize=64, output_func=lines.append)
    assert status == 0 and "PING 10.0.0.1 -c 2 -i 1 -s 64" in output
    assert virt_test_utils.get_loss_ratio(output) == 0 and lines[0].startswith("PING")
    status, output = virt_test_utils.ping("10.0.0.1", timeout=0.3)      # interrupted: it tells what it knows
    assert status == 0 and "1 packets transmitted" in output


def test_ping_in_a_session(fake_ping):
    with aexpect.ShellSession("bash --norc --noprofile") as session:
        status, output = virt_test_utils.ping("10.0.0.1", count=2, session=session)
        assert status == 0 and "2 packets transmitted" in output
        status, output = virt_test_utils.ping("10.0.0.1", session=session, timeout=0.4)
        assert output.startswith("PING 10.0.0.1") and "1 packets transmitted" in output
        assert status == 0
        assert session.cmd("echo on") == "on\n"


@pytest.fixture
def short_patience(monkeypatch):
    monkeypatch.setattr(virt_test_utils, "_INTERRUPTED_WAIT", 0.5)


DEAF_PING = "echo PING; trap 'echo ignored' INT; while :; do sleep 0.05; done"


TWICE = """#!/bin/bash
n=0
trap 'n=$((n + 1)); echo told $n' INT
echo PING
while [ $n -lt 2 ]; do sleep 0.05; done
exit 4
"""


def test_ping_that_is_deaf_to_one_interrupt(short_patience, tmp_path):
    (tmp_path / "ping").write_text(TWICE)
    with aexpect.ShellSession("bash --norc --noprofile") as session:
        status, output = virt_test_utils.raw_ping("bash %s/ping" % tmp_path, 0.4, session, None)
        assert status == 4 and output.startswith("PING\n") and "told 1" in output and "told 2" in output


def test_ping_that_does_not_end(short_patience):
    with aexpect.ShellSession("bash --norc --noprofile") as session:
        status, output = virt_test_utils.raw_ping('bash -c "%s"' % DEAF_PING, 0.4, session, None)
        assert status == -1 and output.startswith("PING\n") and output.count("ignored") == 2
    status, output = virt_test_utils.raw_ping(DEAF_PING, 0.4, None, None)
    assert status not in (0, None) and output.startswith("PING") and "ignored" in output


IFCONFIG_OLD = "eth7      Link encap:Ethernet  HWaddr 9A:00:00:00:00:01\n          inet addr:10.0.0.2\n"
IFCONFIG_NEW = ("lo: flags=73<UP>  mtu 65536\n        loop  txqueuelen 1000\n\n"
                "ens3: flags=4163<UP>  mtu 1500\n        inet 10.0.2.15\n"
                "        ether 9a:00:00:00:00:02  txqueuelen 1000\n")
IP_LINK = ("1: lo: <LOOPBACK> mtu 65536 link/loopback 00:00:00:00:00:00\n"
           "2: enp0s2@if3: <UP> mtu 1500 link/ether 9a:00:00:00:00:03 brd ff:ff:ff:ff:ff:ff\n")


@pytest.mark.parametrize("output, mac, name", [
    (IFCONFIG_NEW.replace("ens3", "br-lan"), "9a:00:00:00:00:02", "br-lan"),
    (IFCONFIG_OLD, "9a:00:00:00:00:01", "eth7"), (IFCONFIG_NEW, "9a:00:00:00:00:02", "ens3"),
    (IP_LINK, "9A:00:00:00:00:03", "enp0s2"), (IP_LINK, "9a:00:00:00:00:04", None)])
def test_get_linux_ifname(output, mac, name):
    class Session:
        def cmd_output(self, command):
            return output
    assert virt_test_utils.get_linux_ifname(Session(), mac) == name


def test_windows_services():
    class Session:
        def __init__(self, *outputs):
            self.outputs, self.asked = list(outputs), []

        def cmd_output(self, command, timeout):
            self.asked.append(command)
            return self.outputs.pop(0)
    session = Session("STATE: 1", "[SC] ControlService FAILED 1062:")
    virt_test_utils.stop_windows_service(session, "spooler")
    assert session.asked == ["sc stop spooler"] * 2
    with pytest.raises(error.TestError, match="Could not stop service 'spooler'"):
        virt_test_utils.stop_windows_service(Session("STATE: 1"), "spooler", timeout=0)
    with pytest.raises(error.TestError, match="service not installed"):
        virt_test_utils.start_windows_service(Session("FAILED 1060"), "spooler")
    virt_test_utils.start_windows_service(Session("FAILED 1056"), "spooler")


# virt_env_process

class FakeVM(StillVM):
    made = []

    def __init__(self, name, params, root_dir, address_cache=None):
        StillVM.__init__(self, alive=False)
        self.name, self.params, self.calls = name, params, []
        self.monitor = None
        FakeVM.made.append(self)

    def create(self, name, params, root_dir, migration_mode=None):
        self.calls.append("create")
        self.alive, self.params = True, params

    def needs_restart(self, name, params, basedir):
        return params["mem"] != self.params["mem"]

    def destroy(self, gracefully=True, free_mac_addresses=True):
        self.calls.append("destroy %s" % gracefully)
        self.alive = False

    def is_dead(self):
        return not self.alive


FakeVM.__name__ = "VM"


@pytest.fixture
def suite(tmp_path):
    test = Object("one", str(tmp_path), str(tmp_path / "out"))
    yield test
    test.close()


def fake_params(**more):
    given = {"vms": "vm1", "vm_class": __name__ + ":FakeVM", "start_vm": "yes", "mem": "1", "images": ""}
    return Params(dict(given, **more))


@pytest.mark.own_params("x")
def test_vm_lives_on_until_params_need_another(suite):
    env = Env()
    virt_env_process.preprocess(suite, fake_params(), env)
    vm = env.get_vm("vm1")
    assert vm.calls == ["create"]
    virt_env_process.preprocess(suite, fake_params(x="y"), env)
    assert env.get_vm("vm1") is vm and vm.calls == ["create"] and vm.params["x"] == "y"
    virt_env_process.preprocess(suite, fake_params(mem="2"), env)
    virt_env_process.preprocess(suite, fake_params(mem="2", restart_vm="yes"), env)
    assert vm.calls == ["create"] * 3
    virt_env_process.postprocess(suite, fake_params(kill_vm="yes"), env)
    assert vm.calls[3:] == ["destroy False"] and env.get_vm("vm1") is vm
    virt_env_process.preprocess(suite, fake_params(vms="other"), env)
    assert env.get_vm("vm1") is None and vm.calls[4:] == ["destroy True"]


def test_images_are_created_checked_and_removed(suite, tmp_path):
    import shutil
    params = fake_params(vms="vm1", images="image1 image2", image_name="disk", image_name_image2="disk2",
                         image_format="qcow2", image_size="1M", create_image="yes", vm_type="kvm",
                         qemu_img_binary=shutil.which("qemu-img"))
    env = Env()
    virt_env_process.preprocess(suite, params, env)
    assert (tmp_path / "disk.qcow2").exists() and (tmp_path / "disk2.qcow2").exists()
    params.update(check_image="yes", remove_image_image2="yes")
    virt_env_process.postprocess(suite, params, env)
    assert (tmp_path / "disk.qcow2").exists() and not (tmp_path / "disk2.qcow2").exists()


def test_commands_see_params_and_failures_count_unless_noncritical(suite, tmp_path):
    command = "echo \"$KVM_TEST_word in $PWD\" > seen; exit 3"
    params = fake_params(word="a 'quoted' $word", pre_command=command)
    with pytest.raises(error.CmdError):
        virt_env_process.preprocess(suite, params, Env())
    assert (tmp_path / "seen").read_text() == "a 'quoted' $word in %s\n" % tmp_path
    params["pre_command_noncritical"] = "yes"
    virt_env_process.preprocess(suite, params, Env())


def test_failing_step_does_not_keep_later_ones_from_being_done(suite, tmp_path):
    env = Env()
    params = fake_params(images="image1", image_name="none", check_image="yes", vm_type="kvm", kill_vm="yes",
                         qemu_img_binary="/bin/false", image_format="qcow2",
                         post_command="touch %s/post" % tmp_path)
    (tmp_path / "none.qcow2").write_text("no image")
    virt_env_process.preprocess(suite, params, env)
    vm = env.get_vm("vm1")
    real = virt_env_process.virt_vm.check_image
    virt_env_process.virt_vm.check_image = lambda *args: 1 / 0
    try:
        with pytest.raises(ZeroDivisionError):
            virt_env_process.postprocess(suite, params, env)
    finally:
        virt_env_process.virt_vm.check_image = real
    assert not vm.alive and (tmp_path / "post").exists()


def test_on_error_params(suite):
    params = fake_params(kill_vm="no", kill_vm_on_error="yes")
    virt_env_process.postprocess_on_error(suite, params, Env())
    assert params["kill_vm"] == "yes"


@pytest.mark.parametrize("nic_mode, wish, expected", [
    ("user", None, False), ("user", "yes", True), ("tap", None, True), ("tap", "no", False)])
def test_tcpdump_runs_where_it_is_of_use(suite, monkeypatch, tmp_path, nic_mode, wish, expected):
    script = tmp_path / "tcpdump"
    script.write_text("#!/bin/sh\nprintf '\\t Your-IP 10.0.0.7\\n\\t Client-Ethernet-Address 52:54:00:00:00:01\\n'\n"
                      "exec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(network, "tcpdump_command", lambda: str(script))
    env, params = Env(), fake_params(nics="nic1", nic_mode=nic_mode, start_vm="no")
    if wish:
        params["run_tcpdump"] = wish
    virt_env_process.preprocess(suite, params, env)
    try:
        assert ("tcpdump" in env) is expected
        if expected:
            assert virt_utils.wait_for(lambda: "52:54:00:00:00:01" in env["address_cache"], 10, 0, 0.02)
            assert env["address_cache"]["52:54:00:00:00:01"] == "10.0.0.7"
    finally:
        virt_env_process.end_networks(env)
    assert "tcpdump" not in env


def test_unknown_hypervisor(suite):
    with pytest.raises(error.TestError, match="vm_class"):
        virt_env_process.preprocess(suite, Params(vms="vm1", vm_type="xen"), Env())


# Pictures, results, the test object

def test_pictures(tmp_path):
    width, height = 4, 3
    data = bytes(range(36))
    path = str(tmp_path / "a.ppm")
    ppm_utils.image_write_to_ppm_file(path, width, height, data)
    assert ppm_utils.image_verify_ppm_file(path)
    assert ppm_utils.image_read_from_ppm_file(path) == (width, height, data)
    from virtvm.companions.utils import hash_file
    assert ppm_utils.image_md5sum(width, height, data) == hash_file(path)
    assert ppm_utils.image_crop(width, height, data, 1, 1, 2, 1) == (2, 1, data[15:21])
    assert ppm_utils.image_crop(width, height, data, 9, 9, 9, 9) == (1, 1, data[33:])
    assert ppm_utils.get_region_md5sum(width, height, data, 0, 0, 4, 3) == hash_file(path)
    assert ppm_utils.image_comparison(1, 1, b"\0\0\0", b"\0\0\0") == (1, 1, b"\0\x80\0")
    assert ppm_utils.image_comparison(1, 1, b"\xff" * 3, b"\0\0\0")[2] == bytes([128 + 255 // 2 // 2, 0, 0])
    assert ppm_utils.image_fuzzy_compare(2, 1, b"abcdef", b"abcxyz") == 0.5
    pictures.to_png(path, str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "a.ppm").write_bytes(b"P6\n4 3\n255\nshort")
    assert not ppm_utils.image_verify_ppm_file(path)
    assert ppm_utils.get_data_dir("/s/steps/win.steps") == "/s/steps_data/win.steps_data"


def test_parse_results():
    text = ("START\t----\t----\ttimestamp=100\tlocaltime=x\n"
            "\tSTART\tkvm.boot\tkvm.boot\ttimestamp=101\tlocaltime=x\n"
            "\t\tGOOD\tkvm.boot\tkvm.boot\ttimestamp=105\tlocaltime=x\tcompleted\n"
            "\tEND GOOD\tkvm.boot\tkvm.boot\ttimestamp=106\tlocaltime=x\n"
            "\tSTART\tsleep\tsleep\ttimestamp=107\tlocaltime=x\n"
            "\tEND FAIL\tsleep\tsleep\ttimestamp=109\tlocaltime=x\tbroken\n"
            "END GOOD\t----\t----\ttimestamp=110\tlocaltime=x\n")
    assert scan_results.parse_results(text) == [("boot", "GOOD", 5, ""), ("sleep", "FAIL", 2, "broken")]


def test_test_object(tmp_path):
    test = Object("boot.smp2", str(tmp_path), str(tmp_path / "out"))
    test.write_test_keyval({"b": 1, "a": "x"})
    test.write_perf_keyval({"speed": 2.5})
    test.write_attr_keyval({"mode": "fast"})
    assert (tmp_path / "out" / "keyval").read_text() == "a=x\nb=1\n"
    assert (tmp_path / "out" / "results" / "keyval").read_text() == "speed{perf}=2.5\n\nmode{attr}=fast\n\n"
    with pytest.raises(ValueError, match="Invalid key: a b"):
        test.write_test_keyval({"a b": 1})
    with pytest.raises(error.TestError):
        test.assert_(False, "no")
    with pytest.raises(error.TestNAError):
        test.job.barrier("host", "tag", 60)
    assert os.path.isdir(test.debugdir) and os.path.isdir(test.tmpdir) and test.iteration == 0
    test.close()
    assert not os.path.exists(test.tmpdir)


# ---- guests that answer anything ----

@pytest.mark.parametrize("unit", ["a", "1", "1.", "1:", " ", "a Link ", "a: ", "a: b\n", " x\n", "\n",
                                  "o:", "offset 1", "% "])
def test_endless_answers_are_looked_through_once(unit):
    """Each took hours, and no deadline ended it."""
    output = unit * (1000000 // len(unit))

    class Session:
        def cmd(self, command, **options):
            return "1" + output

        cmd_output = cmd

    assert virt_test_utils.get_linux_ifname(Session(), "52:54:00:12:34:56") is None
    assert virt_test_utils.get_loss_ratio(output) == -1
    for command in ("ntpdate", "w32tm"):
        with pytest.raises(error.TestError, match="unexpected"):
            virt_test_utils.get_time(Session(), command, "(1)", "%S")
