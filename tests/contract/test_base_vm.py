"""BaseVM: its state, what subclasses may do with it, its small methods, the virtuals."""

import copy
import gc
import inspect
import pickle
import re
import weakref

import pytest

from support.fakes import Calls, GuestVM, Namespace, RecordingParams
from virtvm import virt_vm
from virtvm.companions import virt_utils


class VM(virt_vm.BaseVM):
    """At module level, so that it pickles."""

    def is_dead(self):
        return self.dead


# Making one

def test_init_sets_attributes():
    params = {}
    vm = virt_vm.BaseVM("vm1", params)
    assert set(vm.__dict__) == {"name", "params", "serial_console", "instance"}
    assert vm.name == "vm1" and vm.params is params and vm.serial_console is None
    assert re.fullmatch(r"\d{8}-\d{6}-[A-Za-z0-9]{4}", vm.instance)


def test_init_takes_keywords():
    assert virt_vm.BaseVM(params=1, name=2).name == 2


@pytest.mark.parametrize("args, kwargs", [((), {}), (("a",), {}), (("a", {}, 1), {}),
                                          (("a",), {"param": {}}), (("a", {}), {"name": "b"})])
def test_init_refuses_other_arguments(args, kwargs):
    with pytest.raises(TypeError):
        virt_vm.BaseVM(*args, **kwargs)


def test_init_sets_in_order_then_generates_id():
    order = []

    class Watching(virt_vm.BaseVM):
        def __setattr__(self, name, value):
            order.append(name)
            object.__setattr__(self, name, value)

        def _generate_unique_id(self):
            order.append("_generate_unique_id()")

    Watching("a", {})
    assert order == ["name", "params", "serial_console", "_generate_unique_id()"]


def test_generate_unique_id(monkeypatch):
    record, tries, instances = Calls(), iter(["aaaa", "bbbb", "cccc"]), []
    monkeypatch.setattr(virt_vm, "time", Namespace(strftime=record.function("strftime", "DATE-")))

    def random_string(length):
        record.append(("random", (length,), {}))
        return next(tries)

    def find(pattern):
        record.append(("glob", (pattern,), {}))
        return [] if pattern.endswith("cccc") else ["/tmp/x"]

    class Watching(virt_vm.BaseVM):
        def __setattr__(self, name, value):
            if name == "instance":
                instances.append(value)
            object.__setattr__(self, name, value)

    monkeypatch.setattr(virt_vm, "virt_utils", Namespace(generate_random_string=random_string))
    monkeypatch.setattr(virt_vm, "glob", Namespace(glob=find))
    vm = Watching("vm1", {})
    assert vm.instance == "DATE-cccc"
    assert instances == ["DATE-aaaa", "DATE-bbbb", "DATE-cccc"]
    assert record == [call for suffix in ("aaaa", "bbbb", "cccc") for call in (
        ("strftime", ("%Y%m%d-%H%M%S-",), {}), ("random", (4,), {}),
        ("glob", ("/tmp/*DATE-" + suffix,), {}))]


def test_generate_unique_id_again():
    vm = virt_vm.BaseVM("vm1", {})
    before = vm.instance
    assert vm._generate_unique_id() is None
    assert vm.instance != before


def test_migration_protos():
    assert virt_vm.BaseVM.MIGRATION_PROTOS == ["tcp"]
    assert "get_port" not in dir(virt_vm.BaseVM)
    assert "uuid" not in dir(virt_vm.BaseVM)
    assert "create" not in dir(virt_vm.BaseVM)


# Subclassing and mixing

@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    vm = VM("vm1", virt_utils.Params({"a": "b"}))
    vm.extra = [1]
    again = pickle.loads(pickle.dumps(vm, protocol))
    assert type(again) is VM
    assert again.__dict__ == vm.__dict__


def test_copy():
    vm = VM("vm1", {})
    vm.extra = [1]
    assert copy.copy(vm).__dict__ == vm.__dict__
    assert copy.copy(vm).extra is vm.extra
    assert copy.deepcopy(vm).extra is not vm.extra


def test_pickle_of_bound_method():
    vm = VM("vm1", {"a": 1})
    assert pickle.loads(pickle.dumps(vm.get_params))() == {"a": 1}


def test_dict_is_swapped():
    source, target = VM("source", {}), VM("target", {})
    source.dead = True
    state = source.__dict__
    source.__dict__ = target.__dict__
    target.__dict__ = state
    assert (source.name, target.name) == ("target", "source")
    with pytest.raises(virt_vm.VMDeadError):
        target.verify_alive()
    source.name = "shared"
    assert "name" in source.__dict__


def test_class_is_assigned():
    vm = VM("vm1", {})
    vm.dead = True

    class Other(virt_vm.BaseVM):
        def is_dead(self):
            return False

    vm.__class__ = Other
    assert vm.verify_alive() is None
    vm.__class__ = virt_vm.BaseVM
    with pytest.raises(NotImplementedError):
        vm.verify_alive()


def test_weak_reference_and_collection():
    vm = VM("vm1", {})
    vm.me = vm
    vm.method = vm.login
    ref = weakref.ref(vm)
    del vm
    gc.collect()
    assert ref() is None


@pytest.mark.parametrize("other", [dict, list, Exception, KeyError, RuntimeError])
@pytest.mark.parametrize("first", [True, False])
def test_mixes(other, first):
    bases = (virt_vm.BaseVM, other) if first else (other, virt_vm.BaseVM)
    mixed = type("Mixed", bases, {})
    vm = mixed.__new__(mixed)
    virt_vm.BaseVM.__init__(vm, "vm1", {"uuid": "u"})
    assert isinstance(vm, other)
    assert vm.get_uuid() == "u"
    with pytest.raises(NotImplementedError):
        vm.is_dead()


def test_slots_and_metaclass():
    class Meta(type):
        pass

    class Slotted(virt_vm.BaseVM, metaclass=Meta):
        __slots__ = ("fast",)

    vm = Slotted("vm1", {})
    vm.fast = 1
    assert vm.name == "vm1" and "fast" not in vm.__dict__


def test_methods_are_called_unbound_and_by_super():
    class Heir(virt_vm.BaseVM):
        def get_params(self):
            return super().get_params(), virt_vm.BaseVM.get_params(self)

    params = {}
    assert Heir("vm1", params).get_params() == (params, params)


def test_methods_work_on_any_object():
    thing = Namespace(params={"uuid": 5})
    assert virt_vm.BaseVM.get_uuid(thing) == 5


def test_methods_are_replaced_on_class_and_instance(monkeypatch):
    vm = VM("vm1", {})
    vm.is_dead = lambda: True
    with pytest.raises(virt_vm.VMDeadError):
        vm.verify_alive()
    monkeypatch.setattr(virt_vm.BaseVM, "verify_alive", lambda self: "replaced")
    assert vm.verify_alive() == "replaced"


def test_self_may_be_missing():
    for name, method in inspect.getmembers(virt_vm.BaseVM, callable):
        if not name.startswith("__") or name == "__init__":
            if name not in ("login", "serial_login", "copy_files_to", "copy_files_from"):
                with pytest.raises(TypeError):
                    method()


# Small methods

def test_verify_alive():
    vm = VM("vm1", {})
    vm.dead = []
    assert vm.verify_alive() is None
    vm.dead = [1]
    with pytest.raises(virt_vm.VMDeadError) as caught:
        vm.verify_alive()
    assert caught.value.__dict__ == {"reason": "", "detail": ""}


def test_verify_alive_looks_its_error_up(monkeypatch):
    monkeypatch.setattr(virt_vm, "VMDeadError", KeyError)
    vm = VM("vm1", {})
    vm.dead = True
    with pytest.raises(KeyError):
        vm.verify_alive()
    monkeypatch.delattr(virt_vm, "VMDeadError")
    with pytest.raises(NameError, match="VMDeadError"):
        vm.verify_alive()


def test_file_names():
    vm = virt_vm.BaseVM("vm1", {})
    vm.instance = "20110101-abcd"
    assert vm.get_serial_console_filename() == "/tmp/serial-20110101-abcd"
    assert vm.get_testlog_filename() == "/tmp/testlog-20110101-abcd"
    del vm.instance
    with pytest.raises(AttributeError):
        vm.get_testlog_filename()


def test_get_uuid():
    params = RecordingParams()
    vm = virt_vm.BaseVM("vm1", params)
    assert vm.get_uuid() is None
    assert params.gets == [("uuid",), ("uuid", None)]
    params.values["uuid"] = "1-2"
    assert vm.get_uuid() == "1-2"
    params.values["uuid"] = "random"
    with pytest.raises(AttributeError):
        vm.get_uuid()
    vm.uuid = "3-4"
    assert vm.get_uuid() == "3-4"


def nics(**values):
    return virt_utils.Params({"nics": "nic1 nic2", **values})


def test_get_mac_address_from_params():
    vm = virt_vm.BaseVM("vm1", nics(nic_mac="9a:0", nic_mac_nic2="9a:2"))
    assert vm.get_mac_address() == "9a:0"
    assert vm.get_mac_address(1) == vm.get_mac_address(nic_index=-1) == "9a:2"
    with pytest.raises(IndexError):
        vm.get_mac_address(2)


@pytest.mark.parametrize("given", [None, ""])
def test_get_mac_address_from_pool(monkeypatch, given):
    record = Calls()
    monkeypatch.setattr(virt_utils, "get_mac_address", record.function("get", "9a:5"),
                        raising=False)
    vm = virt_vm.BaseVM("vm1", nics() if given is None else nics(nic_mac=given))
    assert vm.get_mac_address(1) == "9a:5"
    assert record == [("get", (vm.instance, 1), {})]


@pytest.mark.parametrize("pool", [None, ""])
def test_get_mac_address_missing(monkeypatch, pool):
    monkeypatch.setattr(virt_utils, "get_mac_address", lambda instance, i: pool, raising=False)
    vm = virt_vm.BaseVM("vm1", nics())
    with pytest.raises(virt_vm.VMMACAddressMissingError) as caught:
        vm.get_mac_address(-2)
    assert caught.value.nic_index == -2


@pytest.mark.parametrize("text, keys", [
    ("", []), ("aB1", ["a", "shift-b", "1"]), (["BC", "dE", "spc"], ["shift-bc", "dE", "spc"]),
    (("X",), ["shift-x"]), ("\u00c9\u00df", ["shift-\u00e9", "\u00df"]), (iter("Aa"), ["shift-a", "a"]),
])
def test_send_string(text, keys):
    class Typing(virt_vm.BaseVM):
        def send_key(self, keystr):
            pressed.append(keystr)

    pressed = []
    assert Typing("vm1", {}).send_string(str=text) is None
    assert pressed == keys


def test_send_string_errors():
    class Stuck(virt_vm.BaseVM):
        def send_key(self, keystr):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Stuck("vm1", {}).send_string("a")
    with pytest.raises(TypeError):
        Stuck("vm1", {}).send_string(5)
    with pytest.raises(AttributeError):
        Stuck("vm1", {}).send_string([5])

    def broken():
        yield "a"
        raise KeyError

    Stuck.send_key = lambda self, keystr: None
    with pytest.raises(KeyError):
        Stuck("vm1", {}).send_string(broken())


# Virtuals

VIRTUALS = {
    "is_alive": [()], "is_dead": [()], "get_address": [(), (1,)],
    "destroy": [(), (True,), (True, False)],
    "migrate": [(), (1,), (1, "tcp", None, True, True, False, "/tmp", "host", 5)],
    "reboot": [(), (None, "shell", 0, 240)], "send_key": [("a",)], "save_to_file": [("/x",)],
    "needs_restart": [("n", {}, "/")], "clone": [("n",)],
}
KEYWORDS = {
    "get_address": {"index": 1}, "destroy": {"gracefully": 1, "free_mac_addresses": 0},
    "migrate": dict.fromkeys(["timeout", "protocol", "cancel_delay", "offline", "stable_check",
                              "clean", "save_path", "dest_host", "remote_port"], 1),
    "reboot": dict.fromkeys(["session", "method", "nic_index", "timeout"]),
    "send_key": {"keystr": "a"}, "save_to_file": {"path": "x"},
    "needs_restart": {"name": 1, "params": 2, "basedir": 3},
    "clone": {"name": 1, "anything": 2, "params": 3},
}


@pytest.mark.parametrize("name, args, kwargs",
                         [(n, a, {}) for n in VIRTUALS for a in VIRTUALS[n]]
                         + [(n, (), KEYWORDS[n]) for n in KEYWORDS])
def test_virtual_names_class_and_method(name, args, kwargs):
    with pytest.raises(NotImplementedError) as caught:
        getattr(VM2("vm1", {}), name)(*args, **kwargs)
    assert "VM2.%s" % name in str(caught.value)


class VM2(virt_vm.BaseVM):
    pass


@pytest.mark.parametrize("name", VIRTUALS)
def test_virtual_checks_arguments_first(name):
    longest = max(VIRTUALS[name], key=len)
    with pytest.raises(TypeError):
        getattr(VM2("vm1", {}), name)(*longest, "one too many")
    if name != "clone":
        with pytest.raises(TypeError):
            getattr(VM2("vm1", {}), name)(*longest, wrong=1)


@pytest.mark.parametrize("name", ["send_key", "save_to_file", "needs_restart", "clone"])
def test_virtual_wants_its_arguments(name):
    with pytest.raises(TypeError):
        getattr(VM2("vm1", {}), name)()


def test_clone_wants_name_once():
    with pytest.raises(TypeError):
        VM2("vm1", {}).clone("a", name="b")
    with pytest.raises(TypeError):
        VM2("vm1", {}).clone(other="b")


def test_guest_vm_of_these_tests_is_a_base_vm():
    assert isinstance(GuestVM(), virt_vm.BaseVM)
