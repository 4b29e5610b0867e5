"""The classes' methods under what people do to methods: patch, save and restore, wrap, inspect."""

import copy
import functools
import gc
import inspect
import pickle
import pydoc
import types
import typing
import weakref
from unittest import mock

import pytest

from test_module import METHODS, new_instance

from virtvm import virt_vm

ERRORS = [cls for cls in vars(virt_vm).values() if isinstance(cls, type) and issubclass(cls, Exception)]
PLACES = ([(virt_vm.BaseVM, name) for name in METHODS]
          + [(cls, name) for cls in ERRORS for name in ("__init__", "__str__") if name in vars(cls)])
IDS = ["%s.%s" % (cls.__name__, name) for cls, name in PLACES]
every_method = pytest.mark.parametrize("cls, name", PLACES, ids=IDS)


class VM(virt_vm.BaseVM):
    def is_dead(self):
        return False


def make():
    return VM("vm1", {"uuid": "u-1"})


@pytest.fixture(autouse=True)
def as_before():
    """Each test leaves each class as it was."""
    before = {cls: dict(vars(cls)) for cls in (virt_vm.BaseVM, *ERRORS)}
    yield
    for cls, names in before.items():
        assert {name: vars(cls)[name] for name in names} == names


# ---- put back ----

@every_method
def test_put_back_is_the_same(cls, name):
    method = getattr(cls, name)
    assert method is vars(cls)[name]
    setattr(cls, name, getattr(cls, name))
    assert vars(cls)[name] is method


def test_put_back_still_binds():
    virt_vm.BaseVM.get_uuid = virt_vm.BaseVM.get_uuid
    assert make().get_uuid() == "u-1"
    virt_vm.VMDeadError.__str__ = virt_vm.VMDeadError.__str__
    virt_vm.VMDeadError.__init__ = virt_vm.VMDeadError.__init__
    assert str(virt_vm.VMDeadError("gone")) == "VM is dead    reason: gone"


def test_saved_and_restored():
    saved = virt_vm.BaseVM.get_params
    virt_vm.BaseVM.get_params = lambda self: "patched"
    assert make().get_params() == "patched"
    virt_vm.BaseVM.get_params = saved
    assert make().get_params() == {"uuid": "u-1"}


def test_a_wrapper_calls_the_saved_method(monkeypatch):
    saved, seen = virt_vm.BaseVM.verify_alive, []

    def verify_alive(self):
        seen.append(self.name)
        return saved(self)

    monkeypatch.setattr(virt_vm.BaseVM, "verify_alive", verify_alive)
    make().verify_alive()
    monkeypatch.undo()
    make().verify_alive()
    assert seen == ["vm1"]


def test_under_another_name_and_in_another_class():
    class Other:
        params = "mine"
        fetch = virt_vm.BaseVM.get_params

    assert Other().fetch() == "mine"

    class Error(virt_vm.VMError):
        reason, detail = "so", ""
        __str__ = virt_vm.VMDeadError.__str__

    assert str(Error()) == "VM is dead    reason: so"


# ---- binding ----

def test_bound_method():
    vm = make()
    assert isinstance(vm.get_uuid, types.MethodType)
    assert vm.get_uuid.__self__ is vm and vm.get_uuid.__func__ is virt_vm.BaseVM.get_uuid
    assert vm.get_uuid == vm.get_uuid and hash(vm.get_uuid) == hash(vm.get_uuid)
    assert vm.get_uuid != make().get_uuid
    assert virt_vm.BaseVM.get_uuid.__get__(vm)() == "u-1"
    assert virt_vm.BaseVM.get_uuid.__get__(None, VM) is virt_vm.BaseVM.get_uuid


def test_calls():
    vm = make()
    assert virt_vm.BaseVM.get_uuid(vm) == virt_vm.BaseVM.get_uuid(self=vm) == vm.get_uuid() == "u-1"
    assert virt_vm.BaseVM.get_uuid(*[vm], **{}) == "u-1"
    with pytest.raises(TypeError):
        virt_vm.BaseVM.get_uuid()
    with pytest.raises(TypeError):
        vm.get_uuid(1)
    with pytest.raises(TypeError):
        vm.get_mac_address(nic=1)
    assert functools.partial(virt_vm.BaseVM.get_uuid, vm)() == "u-1"
    assert list(map(virt_vm.BaseVM.get_uuid, [vm, vm])) == ["u-1", "u-1"]


class Middle(VM):
    def get_params(self):
        return ["middle", super().get_params()]


class Leaf(Middle):
    def get_params(self):
        return ["leaf", super().get_params()]

    def get_uuid(self):
        return super(Middle, self).get_uuid() + "!"


def test_super_and_subclasses_of_subclasses():
    vm = Leaf("vm2", {"uuid": "u-2"})
    assert vm.get_params() == ["leaf", ["middle", {"uuid": "u-2"}]]
    assert vm.get_uuid() == "u-2!"
    assert super(Leaf, Leaf).get_params is Middle.get_params
    assert super(VM, Leaf).get_uuid is virt_vm.BaseVM.get_uuid


def test_partialmethod_property_classmethod_and_static():
    class Mixed(VM):
        fetch = functools.partialmethod(virt_vm.BaseVM.get_mac_address, nic_index=0)
        uuid_now = property(virt_vm.BaseVM.get_uuid)
        loose = staticmethod(virt_vm.BaseVM.get_uuid)

    vm = Mixed("vm3", mock.Mock(**{"get.return_value": "u-3", "objects.return_value": ["nic1"],
                                   "object_params.return_value": {"nic_mac": "9a:00"}}))
    assert vm.fetch() == "9a:00"
    assert (vm.uuid_now, vm.loose(vm)) == ("u-3", "u-3")


# ---- mock ----

def test_patch_and_restore():
    with mock.patch("virtvm.virt_vm.BaseVM.get_uuid", return_value="fake") as fake:
        assert make().get_uuid() == "fake"
    fake.assert_called_once_with()
    assert make().get_uuid() == "u-1"
    with mock.patch.object(virt_vm.VMDeadError, "__str__", lambda self: "fake"):
        assert str(virt_vm.VMDeadError("gone")) == "fake"
    assert str(virt_vm.VMDeadError("gone")) == "VM is dead    reason: gone"


def test_patch_on_a_subclass_and_on_an_instance():
    vm = make()
    with mock.patch.object(VM, "get_uuid", autospec=True, return_value="class"):
        assert vm.get_uuid() == "class"
    with mock.patch.object(vm, "get_uuid", return_value="instance"):
        assert vm.get_uuid() == "instance"
    assert vm.get_uuid() == "u-1" and "get_uuid" not in vars(VM) and "get_uuid" not in vars(vm)


def test_spy():
    with mock.patch.object(virt_vm.BaseVM, "get_params", wraps=virt_vm.BaseVM.get_params) as spy:
        vm = make()
        assert virt_vm.BaseVM.get_params(vm) == {"uuid": "u-1"}
    spy.assert_called_once_with(vm)


def test_autospec_of_the_class():
    fake = mock.create_autospec(virt_vm.BaseVM)
    vm = fake("vm1", {})
    vm.login(timeout=3)
    vm.login.assert_called_once_with(timeout=3)
    with pytest.raises(TypeError):
        fake("vm1")
    with pytest.raises(AttributeError):
        vm.no_such_method()
    assert isinstance(mock.create_autospec(virt_vm.BaseVM, instance=True), virt_vm.BaseVM)
    assert isinstance(mock.Mock(spec=virt_vm.VMDeadError), virt_vm.VMDeadError)


@pytest.mark.parametrize("form", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_patched_class_still_pickles_its_instances(form):
    with mock.patch.object(virt_vm.BaseVM, "login"):
        form(make())
        form(virt_vm.VMDeadError("gone"))


# ---- wraps ----

@every_method
def test_wraps(cls, name):
    method = getattr(cls, name)

    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        return method(*args, **kwargs)

    assert (wrapper.__name__, wrapper.__qualname__) == (name, "%s.%s" % (cls.__name__, name))
    assert (wrapper.__module__, wrapper.__doc__) == ("virtvm.virt_vm", method.__doc__)
    assert wrapper.__wrapped__ is method and vars(wrapper) == {"__wrapped__": method}
    assert inspect.signature(wrapper) == inspect.signature(method)


def test_a_wrapped_method_in_the_class(monkeypatch):
    saved = virt_vm.BaseVM.get_uuid
    monkeypatch.setattr(virt_vm.BaseVM, "get_uuid",
                        functools.wraps(saved)(lambda self: "<%s>" % saved(self)))
    assert make().get_uuid() == "<u-1>"


def test_attributes_of_its_own():
    method = new_instance().BaseVM.login
    method.marker = 1
    assert vars(method) == {"marker": 1} and method.marker == 1
    method.__name__, method.__qualname__, method.__doc__ = "a", "b.a", "doc"
    method.__module__ = "elsewhere"
    assert (method.__name__, method.__qualname__, method.__doc__) == ("a", "b.a", "doc")
    assert method.__module__ == "elsewhere" and "b.a" in repr(method)
    functools.update_wrapper(method, make)
    assert method.__name__ == "make" and method.__wrapped__ is make
    for name in ("__name__", "__qualname__"):
        with pytest.raises(TypeError):
            setattr(method, name, 3)
        with pytest.raises(TypeError):
            delattr(method, name)
    assert "marker" not in vars(virt_vm.BaseVM.login)


# ---- what is told of it ----

@every_method
def test_names_and_documentation(cls, name):
    method = getattr(cls, name)
    assert (method.__name__, method.__qualname__) == (name, "%s.%s" % (cls.__name__, name))
    assert method.__module__ == "virtvm.virt_vm"
    assert method.__annotations__ == {} == typing.get_type_hints(method.__get__(make()))
    assert repr(method) == "<method %s.%s of virtvm.virt_vm>" % (cls.__name__, name)
    assert inspect.getdoc(method) == inspect.cleandoc(method.__doc__ or "") or not method.__doc__


@every_method
def test_inspect(cls, name):
    method = getattr(cls, name)
    assert callable(method) and inspect.isroutine(method)
    assert not any(test(method) for test in (inspect.isfunction, inspect.ismethod, inspect.isclass,
                                             inspect.isdatadescriptor, inspect.iscoroutinefunction))
    assert list(inspect.signature(method).parameters)[0] == "self"
    assert inspect.getattr_static(cls, name) is method
    for source in (inspect.getsource, inspect.getfile):
        with pytest.raises((TypeError, OSError)):
            source(method)
    assert inspect.ismethod(method.__get__(make())) and inspect.isroutine(method.__get__(make()))
    assert {a.kind for a in inspect.classify_class_attrs(cls) if a.name == name} == {"method"}
    assert inspect.unwrap(method) is method


def test_pydoc():
    text = pydoc.plain(pydoc.render_doc(virt_vm.BaseVM))
    assert "login(self, nic_index=0, timeout=10)" in text
    assert "Log into the guest over the network" in text
    assert "__str__(self)" in pydoc.plain(pydoc.render_doc(virt_vm.VMDeadError))


# ---- pickle, copy, weak references, garbage ----

@every_method
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(cls, name, protocol):
    method = getattr(cls, name)
    assert pickle.loads(pickle.dumps(method, protocol)) is method
    assert copy.copy(method) is method and copy.deepcopy([method])[0] is method


def test_pickle_of_a_bound_method():
    bound = pickle.loads(pickle.dumps(make().get_uuid))
    assert bound() == "u-1" and type(bound.__self__) is VM


def test_weak_references():
    method = virt_vm.BaseVM.login
    assert weakref.ref(method)() is method
    vm = make()
    bound = weakref.WeakMethod(vm.get_uuid)
    assert bound()() == "u-1"
    del vm
    gc.collect()
    assert bound() is None


def test_no_instances_but_by_the_module():
    kind = type(virt_vm.BaseVM.login)
    for make_one in (kind, lambda: object.__new__(kind), lambda: kind.__new__(kind)):
        with pytest.raises((TypeError, AttributeError)):
            make_one()
    with pytest.raises(TypeError):
        type("Heir", (kind,), {})


def test_garbage_in_cycles_is_collected():
    module = new_instance()
    method = module.BaseVM.login
    method.me = [method, module.BaseVM, module.VMDeadError.__str__]
    method.__annotations__["me"] = method
    gone = [weakref.ref(method), weakref.ref(module.VMDeadError.__str__), weakref.ref(module)]
    del method, module
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_nothing_leaks():
    vm = make()                         # glob keeps a pattern for each

    def work():
        vm.get_uuid, virt_vm.BaseVM.get_uuid(vm), str(virt_vm.VMDeadError("a"))
        saved = virt_vm.BaseVM.get_uuid
        virt_vm.BaseVM.get_uuid = functools.wraps(saved)(lambda self: saved(self))
        vm.get_uuid()
        virt_vm.BaseVM.get_uuid = saved
        pickle.loads(pickle.dumps(virt_vm.BaseVM.login))
        repr(virt_vm.BaseVM.login), inspect.signature(virt_vm.BaseVM.login)

    def count():
        work()
        gc.collect()
        return len(gc.get_objects())

    for _ in range(3):
        count()
    first = count()
    for _ in range(50):
        work()
    assert count() - first < 20


# ---- error.context_aware ----

class Error:
    """An `error` module of somebody else's."""

    def __init__(self):
        self.contexts = []

    def context(self, text, log=None):
        self.contexts.append(text)


class Console:
    def set_linesep(self, linesep):
        pass

    set_status_test_command = set_linesep

    def sendline(self):
        pass


AWARE = {
    "login": (), "serial_login": (), "copy_files_to": ("a", "b"), "copy_files_from": ("a", "b"),
}


@pytest.mark.parametrize("name", AWARE)
def test_an_error_module_without_context_aware(monkeypatch, name):
    utils = mock.MagicMock()
    monkeypatch.setattr(virt_vm, "virt_utils", utils)
    monkeypatch.setattr(virt_vm, "error", Error())
    vm = make()
    vm.serial_console = Console()
    vm.get_address, vm.get_port = lambda index=0: "host", lambda *args: 22
    vm.params = {"shell_port": "22", "file_transfer_port": "22", "shell_client": "ssh"}
    getattr(vm, name)(*AWARE[name])
    assert len(virt_vm.error.contexts) >= (name in ("login", "serial_login"))


def test_an_error_module_with_context_aware_is_asked(monkeypatch):
    error = Error()
    error.context_aware = lambda function: lambda *args, **kwargs: ("aware", function.__name__)
    monkeypatch.setattr(virt_vm, "error", error)
    assert make().login() == ("aware", "login")


def test_an_error_module_that_raises_is_heard(monkeypatch):
    class Broken(Error):
        @property
        def context_aware(self):
            raise OSError("disk")

    monkeypatch.setattr(virt_vm, "error", Broken())
    with pytest.raises(OSError, match="disk"):
        make().login()
    monkeypatch.delattr(virt_vm, "error")
    with pytest.raises(NameError):
        make().login()
