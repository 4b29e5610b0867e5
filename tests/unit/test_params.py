"""Params, and Env with its file."""

import copy
import logging
import os
import pickle
import stat
import threading

import pytest

from virtvm.companions.params import Env, EnvSaveError, Params, is_vm

pytestmark = pytest.mark.own_params("*")


class VM:
    """Stands for any hypervisor's class of that name."""

    def __init__(self, name):
        self.name = name


class BaseVM:
    """A base as every tree has it."""


class OtherVM(BaseVM):
    """A hypervisor whose class has its own name."""


class SlottedVM(BaseVM):
    """What pickle protocols 0 and 1 refuse."""

    __slots__ = ("name",)


def test_objects():
    params = Params({"nics": " nic1  nic2\n", "none": ""})
    assert params.objects("nics") == ["nic1", "nic2"]
    assert params.objects("none") == params.objects("absent") == []


def test_object_params():
    params = Params({"mem": "512", "mem_vm1": "1024", "mem_vm2": "1", "x_vm1": "only", "y": "z"})
    own = params.object_params("vm1")
    assert (own["mem"], own["x"], own["y"], own["mem_vm1"]) == ("1024", "only", "z", "1024")
    assert params["mem"] == "512" and "x" not in params
    assert type(own) is Params


def test_object_params_cuts_at_the_first_suffix():
    assert Params({"a_vm1_vm1": "v"}).object_params("vm1")["a"] == "v"
    assert Params({"a_vm1_b": "v"}).object_params("vm1") == {"a_vm1_b": "v"}


def test_object_params_of_object_params():
    params = Params({"f": "0", "f_img": "1", "f_img_vm": "2"})
    assert params.object_params("vm").object_params("img")["f"] == "2"
    assert params.object_params("img")["f"] == "1"


class OwnParams(Params):
    """A subclass with another constructor and an attribute."""

    def __init__(self, origin):
        Params.__init__(self)
        self.origin = origin


def test_copies_keep_class_and_attributes():
    params = OwnParams("file")
    params["a_x"] = "1"
    for other in (params.copy(), copy.copy(params), params.object_params("x")):
        assert type(other) is OwnParams and other.origin == "file" and other is not params
        assert other["a_x"] == "1"
    other = params.copy()
    other["a_x"] = "2"
    assert params["a_x"] == "1"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_params_pickle(protocol):
    params = Params(a="b")
    other = pickle.loads(pickle.dumps(params, protocol))
    assert type(other) is Params and other == params


def test_missing_key_is_a_key_error():
    with pytest.raises(KeyError):
        Params()["absent"]


@pytest.mark.parametrize("obj, expected", [
    (VM("a"), True), (OtherVM(), True), ("VM", False), ({}, False), (VM, False)])
def test_is_vm(obj, expected):
    assert is_vm(obj) is expected


def test_env_registry():
    env = Env(version=1)
    one, two = VM("one"), OtherVM()
    env.register_vm("one", one)
    env.register_vm("two", two)
    env["address_cache"] = {}
    assert env.get_vm("one") is env["vm__one"] is one
    assert env.get_vm("three") is None
    assert env.get_all_vms() == [one, two]
    env.unregister_vm("one")
    assert env.get_all_vms() == [two]
    with pytest.raises(KeyError):
        env.unregister_vm("one")
    assert env.previous_installer() is None
    env.register_installer("i")
    assert env.previous_installer() == "i" and env["version"] == 1


def test_env_comes_back_from_its_file(tmp_path):
    path = str(tmp_path / "env")
    env = Env(path, 1)
    cache = {"mac": "ip"}
    vm, slotted = VM("one"), SlottedVM()
    vm.cache = env["address_cache"] = cache
    slotted.name = "two"
    env.register_vm("one", vm)
    env.register_vm("two", slotted)
    env.save()
    other = Env(path, 1)
    assert type(other) is Env and other["version"] == 1
    assert other.get_vm("one").name == "one" and other.get_vm("two").name == "two"
    # One object before, one object afterwards.
    assert other.get_vm("one").cache is other["address_cache"]
    assert Env(path, 0).get_vm("one") is not None
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_env_too_old_is_not_used(tmp_path, caplog):
    path = str(tmp_path / "env")
    env = Env(path, 1)
    env["x"] = 1
    env.save()
    assert Env(path, 2) == {"version": 2}
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "version 1, below 2" in caplog.text


@pytest.mark.parametrize("content", [
    b"", b"\x80", b"garbage", pickle.dumps([1]), pickle.dumps({"a": 1})[:-3],
    b"cno_such_module\nX\n."])
def test_env_unreadable_is_not_used(tmp_path, caplog, content):
    path = tmp_path / "env"
    path.write_bytes(content)
    assert Env(str(path), 3) == {"version": 3}
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert str(path) in caplog.text


def test_env_without_file_says_nothing(tmp_path, caplog):
    assert Env(str(tmp_path / "env"), 3) == {"version": 3}
    assert Env() == {"version": 0}
    assert not caplog.records


def test_env_save_needs_a_name(tmp_path):
    with pytest.raises(EnvSaveError, match="No filename specified"):
        Env().save()
    Env().save(str(tmp_path / "given"))
    assert Env(str(tmp_path / "given")) == {"version": 0}


def test_failed_save_names_the_culprit_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "env"
    env = Env(str(path))
    env["good"] = 1
    env.save()
    before = path.read_bytes()
    env["lock"] = threading.Lock()
    with pytest.raises(EnvSaveError, match="'lock' can't be pickled") as info:
        env.save()
    assert isinstance(info.value.__cause__, TypeError)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["env"]


def test_save_into_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        Env(str(tmp_path / "no" / "env")).save()


def test_save_follows_a_link(tmp_path):
    (tmp_path / "link").symlink_to("real")
    Env(str(tmp_path / "link"), 4).save()
    assert (tmp_path / "link").is_symlink() and Env(str(tmp_path / "real")) == {"version": 4}


def test_readers_never_see_half_a_file(tmp_path, caplog):
    path = str(tmp_path / "env")
    env = Env(path, 1)
    env["much"] = "x" * 3000000
    env.save()
    done = threading.Event()

    def write():
        for _ in range(20):
            env.save()
        done.set()
    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert len(Env(path, 1)["much"]) == 3000000
    writer.join()
    assert not caplog.records and os.listdir(tmp_path) == ["env"]


def test_env_copy_saves_to_the_same_file(tmp_path):
    env = Env(str(tmp_path / "env"))
    other = env.copy()
    other["a"] = 1
    other.save()
    assert type(other) is Env and Env(str(tmp_path / "env"))["a"] == 1
