"""Seeds for cloud-init: what is in them, what is refused, and that nothing of them stays."""

import base64
import json
import os
import pathlib
import re
import signal
import stat
import subprocess
import sys

import pytest
from support.runs import environment, virtvm
from support.waiting import until
from virtvm import pytest_plugin, virt_vm
from virtvm.guest import cloud_init
from virtvm.guest.password import crypt
from virtvm.hypervisors import qemu, qemu_command
from virtvm.params.params import Params

BODY = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()
KEY = "ssh-ed25519 " + BODY


@pytest.fixture(autouse=True)
def run():
    """The process's Run, gone at the end."""
    cloud_init.end_run()
    yield cloud_init.this_run()
    cloud_init.end_run()


def config(content):
    """What user-data says (dict): JSON, which YAML takes."""
    head, _, rest = content["user-data"].partition(b"\n")
    assert head == b"#cloud-config" and b"\t" not in rest
    return json.loads(rest)


def read(folder):
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


# ---- what is in a seed ----

def test_root_has_the_key():
    content = cloud_init.files("root", KEY + " who@where\n", "one", "VM_1")
    assert config(content) == {"users": ["default"], "disable_root": False, "ssh_authorized_keys": [KEY]}
    assert json.loads(content["meta-data"]) == {"instance-id": "one", "local-hostname": "vm-1"}


def test_ordinary_user_is_the_distribution_s_with_sudo():
    assert config(cloud_init.files("tester", KEY, "one", "vm1")) == {
        "users": ["default"], "ssh_authorized_keys": [KEY],
        "user": {"name": "tester", "sudo": "ALL=(ALL) NOPASSWD:ALL"}}


@pytest.mark.parametrize("user", ["root", "tester"])
def test_password_is_there_as_its_hash(user):
    hashed = crypt("secret'\"\\")
    content = cloud_init.files(user, KEY, "one", "vm1", hashed)
    found = config(content)
    who = found["user"] if user == "tester" else found["users"][1]
    assert who["name"] == user and who["hashed_passwd"] == hashed and who["lock_passwd"] is False
    assert not any(b"secret" in data for data in content.values())


@pytest.mark.parametrize("name", ["vm1", "", "-", "VM 1", "vm1\n", "ä" * 80, "x" * 80, "a" * 62 + "--b"])
def test_name_of_a_machine_makes_a_host_s(name):
    found = json.loads(cloud_init.files("root", KEY, "one", name)["meta-data"])["local-hostname"]
    assert 1 <= len(found) <= 63 and found.replace("-", "a").isalnum() and found.isascii()
    assert found.strip("-") == found == found.lower()


def test_credential_is_what_systemd_takes():
    name, _, value = cloud_init.credential(KEY + " comment").partition("=")
    assert name == "io.systemd.credential.binary:ssh.authorized_keys.root"
    assert base64.b64decode(value) == (KEY + "\n").encode()


ODD_USERS = ["", "a b", "Root", "-r", "0day", "a:b", "a\n", "a\nb", "%wheel", "ä", "a" * 33,
             "$(id)", "a'b", "a,b", "../a"]


@pytest.mark.parametrize("user", ODD_USERS)
def test_odd_user_is_refused(user):
    with pytest.raises(cloud_init.SeedError):
        cloud_init.files(user, KEY, "one", "vm1")


@pytest.mark.parametrize("key", [
    "", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-rsa " + BODY, "ssh-ed25519 " + BODY[4:], KEY[:-1], 'command="id" ' + KEY,
    "nonsense " + BODY, KEY + " a\nssh-rsa AAAA", KEY + " \x1b[2J", KEY + "\n" + KEY,
    "-----BEGIN OPENSSH PRIVATE KEY-----"])
def test_odd_key_is_refused_and_not_shown(key):
    with pytest.raises(cloud_init.SeedError) as caught:
        cloud_init.files("root", key, "one", "vm1")
    assert BODY not in str(caught.value)


def test_part_of_a_key_is_none(tmp_path):
    for kind in ("ed25519", "rsa", "ecdsa"):
        path = tmp_path / kind
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)
        name, body = cloud_init.public_key(str(path) + ".pub").split()
        blob = base64.b64decode(body)
        for part in [blob[:size] for size in range(len(blob))] + [blob + b"\0", blob + bytes(4), blob + blob]:
            with pytest.raises(cloud_init.SeedError):
                cloud_init.check_key("%s %s" % (name, base64.b64encode(part).decode()))


# ---- keys ----

@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_public_key_of_each_kind(tmp_path, kind):
    path = str(tmp_path / "key")
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    public = cloud_init.public_key(path)
    assert (tmp_path / "key.pub").read_text().startswith(public + " ")
    assert cloud_init.public_key(path + ".pub") == public
    os.unlink(path + ".pub")
    assert cloud_init.public_key(path) == public


def test_locked_key_needs_its_public_part(tmp_path):
    path = str(tmp_path / "key")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", path], check=True)
    assert cloud_init.public_key(path).startswith("ssh-ed25519 ")
    os.unlink(path + ".pub")
    with pytest.raises(cloud_init.SeedError, match="key.pub is missing, and can't be made: "):
        cloud_init.public_key(path)


def test_public_key_beside_a_private_one_may_be_another_s(tmp_path):
    for name in ("key", "other"):
        cloud_init.make_key(str(tmp_path / name))
    own = cloud_init.public_key(str(tmp_path / "key.pub"))
    os.replace(tmp_path / "other.pub", tmp_path / "key.pub")
    assert cloud_init.public_key(str(tmp_path / "key")) == own


OTHER = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"o" * 32).decode()


@pytest.mark.parametrize("content", [
    "\n \t\n%s\n", "# mine\n#%s\n\n%%s me\n" % OTHER, "\ufeff%s\n", "\ufeff# mine\r\n\r\n%s\r\n", "  %s",
    "%s\n" + OTHER, "notes\n%s\n", "%s a comment\twith " + OTHER, KEY.replace(" ", "\t") + "\tme%.0s",
    KEY.replace(" ", " \t ") + "%.0s"])
def test_public_key_is_the_first_in_its_file(tmp_path, content):
    (tmp_path / "key.pub").write_bytes((content % KEY).encode())
    assert cloud_init.public_key(str(tmp_path / "key.pub")) == KEY


@pytest.mark.parametrize("front", ["restrict", 'from="10.0.0.1 10.0.0.2",command="echo \\"x\\""', 'command="ssh-rsa x"',
                                   "no-pty\t", "host,10.0.0.1"])
def test_key_with_options_in_front_is_refused_in_so_many_words(tmp_path, front):
    (tmp_path / "key.pub").write_text("# mine\n%s %s me\n%s\n" % (front, KEY, OTHER))
    with pytest.raises(cloud_init.SeedError, match="key.pub: a key with options in front of it can't be taken"):
        cloud_init.public_key(str(tmp_path / "key.pub"))


def test_file_that_is_no_key(tmp_path):
    (tmp_path / "notes").write_text("top secret\n")
    for name, said in [("notes", "no key of OpenSSH's"), ("none", "No such file"), ("", "Is a directory")]:
        with pytest.raises(cloud_init.SeedError, match=said) as caught:
            cloud_init.public_key(str(tmp_path / name))
        assert "secret" not in str(caught.value)


def test_program_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(cloud_init.SeedError, match="ssh-keygen is missing: install the package openssh-client"):
        cloud_init.make_key(str(tmp_path / "key"))
    assert os.listdir(tmp_path) == []


# ---- a run's ----

ASKED = {"cloud_init": "yes"}


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_run_has_one_key_that_nobody_else_can_read(run):
    old = os.umask(0)
    try:
        first, second = (run.make_seed(name, ASKED) for name in ("vm1", "vm2"))
    finally:
        os.umask(old)
    assert mode(run.folder) == 0o700 and mode(run.identity) == 0o600
    assert {mode(path) for path in pathlib.Path(run.folder).rglob("*-data")} == {0o600}
    public = cloud_init.public_key(run.identity)
    assert sorted(read(first.folder)) == ["meta-data", "user-data"]         # the guest sees no private key
    assert [config(read(seed.folder))["ssh_authorized_keys"] for seed in (first, second)] == [[public]] * 2
    with open(first.credential) as f:
        assert f.read() == cloud_init.credential(public)
    ids = {json.loads(read(seed.folder)["meta-data"])["instance-id"] for seed in (first, second)}
    assert len(ids) == 2
    cloud_init.end_run()
    assert not os.path.exists(run.folder)
    assert cloud_init.this_run().identity != run.identity


def test_machine_that_is_started_again_finds_the_same(run):
    before = read(run.make_seed("vm1", dict(ASKED, password="secret")).folder)
    assert read(run.make_seed("vm1", dict(ASKED, password="secret")).folder) == before
    assert run.seed("vm1", dict(ASKED, password="other")).folder != run.seed("vm1", ASKED).folder


def test_no_credential_for_root_where_another_user_is_wanted(run):
    assert run.make_seed("vm1", dict(ASKED, cloud_init_user="tester")).credential is None


def test_key_of_the_user_s_own_is_taken(run, tmp_path):
    path = str(tmp_path / "key")
    cloud_init.make_key(path)
    seed = run.make_seed("vm1", dict(ASKED, ssh_identity_file=path))
    assert config(read(seed.folder))["ssh_authorized_keys"] == [cloud_init.public_key(path)]
    assert not os.path.exists(run.identity) and mode(path) == 0o600


def test_child_has_a_run_of_its_own(run):
    run.make_seed("vm1", ASKED)
    child = os.fork()
    if child == 0:
        same = cloud_init.this_run().identity == run.identity
        cloud_init.end_run()
        os._exit(same)
    assert os.waitpid(child, 0)[1] == 0 and os.path.exists(run.identity)


WAITING = """
import sys
from virtvm.guest import cloud_init
run = cloud_init.this_run()
print(run.folder, flush=True)
run.make_seed("vm1", {"cloud_init": "yes"})
print("made", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("when", ["key", "seed", "end"])
def test_nothing_stays_of_a_run_that_is_interrupted(tmp_path, when):
    (tmp_path / "bin").mkdir()
    env = dict(environment(), TMPDIR=str(tmp_path))
    if when == "key":
        slow = tmp_path / "bin" / "ssh-keygen"
        slow.write_text("#!/bin/sh\nfor last; do :; done\n: > \"$last\"\nexec sleep 1000\n")
        slow.chmod(0o755)
        env["PATH"] = "%s:%s" % (tmp_path / "bin", env["PATH"])
    with subprocess.Popen([sys.executable, "-c", WAITING], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, start_new_session=True) as process:
        folder = process.stdout.readline().strip()
        if when == "key":
            until(lambda: list(pathlib.Path(folder).glob(".id_ed25519.*/*")))
        else:
            assert process.stdout.readline() == "made\n"
        if when == "end":
            process.stdin.close()
        else:
            os.killpg(process.pid, signal.SIGINT)       # as a terminal's Ctrl-C
        process.wait()
    assert os.listdir(tmp_path) == ["bin"]


KILLED = """
import os, signal
from virtvm.hypervisors import qemu
from virtvm.guest import cloud_init
vm = qemu.VM("vm1", {}, ".")
vm.set_params({"cloud_init": "yes"})
vm._seed(make=False)
folder = cloud_init.this_run().folder
assert not os.path.exists(folder)
if %r:
    vm._seed(make=True)
    assert os.listdir(folder)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("made", [False, True])
def test_nothing_stays_of_a_run_that_is_killed(tmp_path, made):
    done = subprocess.run([sys.executable, "-c", KILLED % made], env=dict(environment(), TMPDIR=str(tmp_path)))
    assert done.returncode == -signal.SIGKILL
    until(lambda: not os.listdir(tmp_path))


# ---- params ----

def params_of(tmp_path, *words):
    """What `virtvm list` would show of a test's params: read by a namespace as the commands have it."""
    import argparse

    from virtvm.params import config as configuration
    parser = argparse.ArgumentParser()
    configuration.add_arguments(parser.add_argument)
    return configuration.load(parser.parse_args(words)).params_for("test_x")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "cloud.raw"
    path.write_bytes(bytes(1024))
    return str(path)


def test_option_says_who_logs_in_by_which_key(run, image, tmp_path):
    found = params_of(tmp_path, "--image", image, "--cloud-init")
    assert found["cloud_init"] == "yes" and found["username"] == "root"
    assert found["ssh_identity_file"] == run.identity and found["image_snapshot"] == "yes"
    assert found["shutdown_command"] == "shutdown -h now"
    assert "ssh_identity_file" not in params_of(tmp_path, "--image", image)


@pytest.mark.parametrize("words", [
    ["--cloud-init", "--param", "cloud_init_user=tester"], ["--cloud-init", "--user", "tester"],
    ["--param", "cloud_init=yes", "--param", "cloud_init_user=tester", "--user", "root"]])
def test_ordinary_user_logs_in_and_is_root_by_sudo(run, image, tmp_path, words):
    found = params_of(tmp_path, "--image", image, *words)
    assert found["username"] == "tester" and found["shutdown_command"] == "sudo shutdown -h now"
    assert found["reboot_command"] == "sudo shutdown -r now"
    said = params_of(tmp_path, "--image", image, *words, "--param", "shutdown_command=poweroff")
    assert said["shutdown_command"] == "poweroff"


def test_params_of_a_file_and_of_a_test_say_it_too(run, image, tmp_path):
    (tmp_path / "run.toml").write_text('[tests.test_x]\ncloud_init = true\ncloud_init_user = "tester"\n')
    found = params_of(tmp_path, "--image", image, "--config", str(tmp_path / "run.toml"))
    assert found["username"] == "tester" and found["ssh_identity_file"] == run.identity


def test_key_that_is_named_stays(run, image, tmp_path):
    cloud_init.make_key(str(tmp_path / "key"))
    assert params_of(tmp_path, "--image", image, "--cloud-init", "-i", str(tmp_path / "key"))[
        "ssh_identity_file"] == str(tmp_path / "key")


def test_odd_user_is_the_command_line_s_mistake(image, tmp_path):
    (tmp_path / "test_new.py").write_text("def test_x(vm):\n    pass\n")
    said = virtvm(tmp_path, "run", "test_new.py", "--image", image, "--cloud-init", "--user", "a b", "--dry-run",
                  status=2)
    assert said.startswith("virtvm: 'a b' can't be the user that cloud-init makes") and said.count("\n") == 1


def test_guest_that_runs_already_gets_no_seed(tmp_path):
    said = virtvm(tmp_path, "shell", "--port", "1", "--cloud-init", status=2)
    assert said == "virtvm: --cloud-init is for a guest that is booted, not for one that runs already\n"


# ---- QEMU ----

def argv(run, **more):
    params = Params(dict({"qemu_binary": "/usr/bin/qemu", "cloud_init": "yes", "images": "image1 image2",
                          "drive_format": "virtio"}, **more))
    return qemu_command.make_argv(params, qemu_command.Setup("vm1", "/", seed=run.seed("vm1", params)))


def options(args, name):
    return [args[i + 1] for i, arg in enumerate(args) if arg == name]


def test_seed_is_a_disk_behind_the_others(run):
    args = argv(run)
    seed = run.seed("vm1", ASKED)
    assert options(args, "-drive")[2:] == [
        "driver=vvfat,dir=%s,label=CIDATA,read-only=on,if=none,id=seed" % seed.folder]
    assert options(args, "-device")[:3] == ["virtio-blk-pci,drive=drive0,bootindex=1", "virtio-blk-pci,drive=drive1",
                                            "virtio-blk-pci,drive=seed"]
    assert options(args, "-smbios") == ["type=11,path=" + seed.credential]
    assert not os.path.exists(run.identity)         # a command line that is shown makes none


@pytest.mark.parametrize("says", [{"kernel": "/vmlinuz"}, {"boot_order": "d"}, {"boot_once": "d"},
                                  {"image_boot_image2": "yes"}])
def test_what_boots_is_left_to_those_who_say_it(run, says):
    assert "virtio-blk-pci,drive=drive0" in options(argv(run, **says), "-device")


def test_dry_run_shows_it_and_leaves_nothing(image, tmp_path):
    (tmp_path / "test_new.py").write_text("def test_x(vm):\n    pass\n")
    said = virtvm(tmp_path, "run", "test_new.py", "--image", image, "--cloud-init", "--dry-run")
    assert "driver=vvfat" in said and "would run test_new.py::test_x" in said
    folder = said.partition("dir=")[2].partition("/seed,")[0]
    assert os.path.basename(os.path.dirname(folder)).startswith("virtvm-seeds-")
    assert not os.path.exists(os.path.dirname(folder))


def test_machine_learns_who_logs_in_whenever_it_gets_params(run, tmp_path):
    vm = qemu.VM("vm1", {}, str(tmp_path))
    given = Params(ASKED, cloud_init_user="tester")
    vm.set_params(given)
    assert vm.params["username"] == "tester" and vm.params["ssh_identity_file"] == run.identity
    assert given == dict(ASKED, cloud_init_user="tester")
    assert not vm.needs_restart("vm1", given, str(tmp_path))
    assert vm.needs_restart("vm1", Params(), str(tmp_path))
    plain = Params()
    vm.set_params(plain)
    assert vm.params is plain
    with pytest.raises(virt_vm.VMCreateError, match="can't be the user"):
        vm.set_params({"cloud_init": "yes", "cloud_init_user": "a b"})


def test_how_to_reach_names_the_key(run, tmp_path):
    vm = qemu.VM("vm1", {"nics": "nic1"}, str(tmp_path))
    vm.set_params(dict(ASKED, nics="nic1"))
    vm.redirs = {22: 5000}
    assert "ssh -p 5000 -i %s root@localhost\n" % run.identity in pytest_plugin.how_to_reach(vm)


# ---- virtvm guest seed ----

def test_command_writes_a_seed_and_a_key_beside_it(tmp_path):
    said = virtvm(tmp_path, "guest", "seed", "one")
    content = read(tmp_path / "one")
    assert sorted(content) == ["meta-data", "user-data"] and mode(tmp_path / "one.key") == 0o600
    public = cloud_init.public_key(str(tmp_path / "one.key"))
    assert config(content) == {"users": ["default"], "disable_root": False, "ssh_authorized_keys": [public]}
    assert said.splitlines() == ["user-data: %s/one/user-data" % tmp_path, "meta-data: %s/one/meta-data" % tmp_path,
                                 "login:     root, by the key %s/one.key" % tmp_path]
    virtvm(tmp_path, "guest", "seed", "one", "--user", "tester")
    again = read(tmp_path / "one")
    assert config(again)["ssh_authorized_keys"] == [public] and config(again)["user"]["name"] == "tester"
    assert json.loads(again["meta-data"])["instance-id"] != json.loads(content["meta-data"])["instance-id"]
    virtvm(tmp_path, "guest", "seed", "two", "--key", "one.key.pub")
    assert config(read(tmp_path / "two"))["ssh_authorized_keys"] == [public]
    assert sorted(os.listdir(tmp_path)) == ["one", "one.key", "one.key.pub", "two"]


@pytest.mark.parametrize("words, said", [
    (["one", "--user", "a b"], "can't be the user"), (["one", "--key", "none"], "none: No such file"),
    (["file"], "file: "), (["file/one"], "Not a directory")])
def test_command_tells_in_a_line_what_is_wrong(tmp_path, words, said):
    (tmp_path / "file").write_text("")
    told = virtvm(tmp_path, "guest", "seed", *words, status=1)
    assert told.startswith("virtvm: ") and said in told and told.count("\n") == 1
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".key")]


@pytest.mark.parametrize("link", [False, True])
def test_command_writes_over_nobody_s_public_key(tmp_path, link):
    other = tmp_path / "one.key.pub"
    if link:
        other.symlink_to("none")
    else:
        other.write_text(KEY + "\n")
    told = virtvm(tmp_path, "guest", "seed", "one", status=1)
    assert told == "virtvm: %s: is there already, and no key is written over it\n" % other
    assert not (tmp_path / "one.key").exists()
    assert os.readlink(other) == "none" if link else other.read_text() == KEY + "\n"


@pytest.mark.parametrize("beside", [False, True])
def test_key_that_is_a_pipe_is_not_waited_for(tmp_path, beside):
    pipe = tmp_path / "one"
    if beside:                          # the public part of a key with a passphrase
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(pipe)], check=True)
        os.unlink(tmp_path / "one.pub")
    os.mkfifo(tmp_path / "one.pub" if beside else pipe)
    told = virtvm(tmp_path, "guest", "seed", "seed", "--key", "one", status=1)
    assert re.fullmatch(r"virtvm: .*one%s: is no regular file\n" % (".pub" if beside else ""), told)


def test_key_that_is_a_device_is_refused():
    for path in ("/dev/zero", "/dev/null"):
        with pytest.raises(cloud_init.SeedError, match="%s: is no regular file" % path):
            cloud_init.public_key(path)
