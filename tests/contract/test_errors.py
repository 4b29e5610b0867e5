"""The error classes: names, bases, arguments, attributes, texts, pickling."""

import copy
import inspect
import pickle
import weakref

import pytest

from virtvm import virt_vm

# name: (base, parameters, attributes, text of an error made with "a", 2, "c")
WITH_PARAMETERS = {
    "VMCreateError": ("VMError", "cmd status output", "cmd status output",
                      "VM creation command failed:    'a'    (status: 2,    output: 'c')"),
    "VMHashMismatchError": ("VMError", "actual expected", "actual_hash expected_hash",
                            "CD image hash (a) differs from expected one (2)"),
    "VMImageMissingError": ("VMError", "filename", "filename", "CD image file not found: 'a'"),
    "VMImageCheckError": ("VMError", "filename", "filename", "Errors found on image: 'a'"),
    "VMBadPATypeError": ("VMError", "pa_type", "pa_type", "Unsupported PCI assignable type: 'a'"),
    "VMPAError": ("VMError", "pa_type", "pa_type",
                  "No PCI assignable devices could be assigned (pci_assignable='a')"),
    "VMPostCreateError": ("VMError", "cmd output", "cmd output", "('a', 2)"),
    "VMHugePageError": ("VMPostCreateError", "cmd output", "cmd output",
                        "Cannot allocate hugepage memory    (command: 'a',    output: 2)"),
    "VMKVMInitError": ("VMPostCreateError", "cmd output", "cmd output",
                       "Cannot initialize KVM    (command: 'a',    output: 2)"),
    "VMDeadKernelCrashError": ("VMError", "kernel_crash", "kernel_crash",
                               "VM is dead due to a kernel crash:\na"),
    "VMPortNotRedirectedError": ("VMAddressError", "port", "port", "Port not redirected: a"),
    "VMAddressVerificationError": (
        "VMAddressError", "mac ip", "mac ip",
        "Cannot verify MAC-IP address mapping using arping: a ---> 2"),
    "VMMACAddressMissingError": ("VMAddressError", "nic_index", "nic_index",
                                 "No MAC address defined for NIC #a"),
    "VMIPAddressMissingError": ("VMAddressError", "mac", "mac",
                                "Cannot find IP address for MAC address a"),
    "VMMigrateStateMismatchError": (
        "VMMigrateError", "src_hash dst_hash", "src_hash dst_hash",
        "Mismatch of VM state before and after migration (a != 2)"),
}
PLAIN = {
    "VMError": "Exception", "VMAddressError": "VMError", "VMMigrateError": "VMError",
    "VMMigrateTimeoutError": "VMMigrateError", "VMMigrateCancelError": "VMMigrateError",
    "VMMigrateFailedError": "VMMigrateError", "VMMigrateProtoUnsupportedError": "VMMigrateError",
    "VMRebootError": "VMError", "VMStatusError": "VMError",
}
ONE_VALUE = [name for name, row in WITH_PARAMETERS.items() if " " not in row[1]]
ALL = [*WITH_PARAMETERS, *PLAIN, "VMDeadError"]
VALUES = ("a", 2, "c")


def make(name):
    """An error with its class's number of arguments, and these arguments."""
    if name == "VMDeadError":
        return virt_vm.VMDeadError("why", "how"), ()
    count = len(WITH_PARAMETERS[name][1].split()) if name in WITH_PARAMETERS else 2
    return getattr(virt_vm, name)(*VALUES[:count]), VALUES[:count]


def test_classes_are_all_there():
    found = {name for name, value in vars(virt_vm).items()
             if isinstance(value, type) and issubclass(value, Exception)}
    assert found == set(ALL)
    assert len(found) == 25


@pytest.mark.parametrize("name", ALL)
def test_base(name):
    cls = getattr(virt_vm, name)
    base = {**{n: r[0] for n, r in WITH_PARAMETERS.items()}, **PLAIN, "VMDeadError": "VMError"}
    assert [b.__name__ for b in cls.__bases__] == [base[name]]
    assert cls.__module__ == "virtvm.virt_vm"
    assert cls.__qualname__ == name
    assert cls.__doc__ and "--\n\n" not in cls.__doc__


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_arguments_become_args_attributes_and_text(name):
    _, parameters, attributes, text = WITH_PARAMETERS[name]
    names, attributes = parameters.split(), attributes.split()
    values = VALUES[:len(names)]
    for error in (getattr(virt_vm, name)(*values),
                  getattr(virt_vm, name)(**dict(zip(names, values)))):
        assert error.args == values
        assert error.__dict__ == dict(zip(attributes, values))
        assert str(error) == text


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_wrong_arguments_are_refused(name):
    cls = getattr(virt_vm, name)
    count = len(WITH_PARAMETERS[name][1].split())
    for args, kwargs in [((), {}), (VALUES[:count - 1], {}), ((*VALUES[:count], 1), {}),
                         (VALUES[:count], {"other": 1})]:
        with pytest.raises(TypeError):
            cls(*args, **kwargs)
    with pytest.raises(TypeError):
        raise cls
    with pytest.raises(TypeError):
        cls.__init__()


@pytest.mark.parametrize("name", PLAIN)
def test_plain_classes_are_like_exception(name):
    cls = getattr(virt_vm, name)
    assert cls(1, "two").args == (1, "two")
    assert str(cls()) == ""
    assert str(cls("text")) == "text"
    assert str(cls(1, "two")) == "(1, 'two')"
    assert repr(cls("x")) == "%s('x')" % name
    with pytest.raises(cls):
        raise cls
    with pytest.raises(TypeError):
        cls(reason="x")


@pytest.mark.parametrize("args, text", [
    ((), "VM is dead"),
    (("why",), "VM is dead    reason: why"),
    (("", "how"), "VM is dead    detail: 'how'"),
    (("why", "how"), "VM is dead    reason: why    detail: 'how'"),
    ((0, None), "VM is dead"),
    ((5, 6), "VM is dead    reason: 5    detail: 6"),
    ((("one",), ("uno",)), "VM is dead    reason: one    detail: 'uno'"),
])
def test_dead_error_text(args, text):
    error = virt_vm.VMDeadError(*args)
    assert str(error) == text
    assert error.args == ()
    assert repr(error) == "VMDeadError()"
    assert error.__dict__ == dict(zip(("reason", "detail"), (*args, "", "")[:2]))


def test_dead_error_takes_keywords():
    assert virt_vm.VMDeadError(detail="d").__dict__ == {"reason": "", "detail": "d"}
    with pytest.raises(TypeError):
        virt_vm.VMDeadError(why="x")
    with pytest.raises(TypeError):
        virt_vm.VMDeadError(1, 2, 3)


@pytest.mark.parametrize("name", ONE_VALUE)
def test_tuple_as_only_value_is_unwrapped_by_percent(name):
    cls = getattr(virt_vm, name)
    with pytest.raises(TypeError):
        str(cls(("a", "b")))
    assert str(cls(("a",))) == str(cls("a"))


@pytest.mark.parametrize("attribute", ["reason", "detail"])
def test_tuple_in_dead_error(attribute):
    with pytest.raises(TypeError):
        str(virt_vm.VMDeadError(**{attribute: (1, 2)}))


@pytest.mark.parametrize("name", ["VMCreateError", "VMImageCheckError", "VMHugePageError",
                                  "VMMigrateStateMismatchError"])
def test_text_reads_attributes_not_args(name):
    error, _ = make(name)
    before = str(error)
    error.args = ("z",) * 3
    assert str(error) == before
    attribute = WITH_PARAMETERS[name][2].split()[0]
    setattr(error, attribute, "new")
    assert "new" in str(error)
    delattr(error, attribute)
    with pytest.raises(AttributeError):
        str(error)


def test_dead_error_without_attribute():
    error = virt_vm.VMDeadError()
    del error.detail
    with pytest.raises(AttributeError):
        str(error)


def test_post_create_error_ignores_attributes():
    error = virt_vm.VMPostCreateError("c", "o")
    error.cmd = "x"
    assert str(error) == "('c', 'o')"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ALL)
def test_pickle(name, protocol):
    error, args = make(name)
    error.extra = [1]
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is type(error)
    assert again.args == args
    assert again.__dict__ == error.__dict__
    assert str(again) == str(error)


@pytest.mark.parametrize("name", ALL)
def test_copy(name):
    error, args = make(name)
    error.extra = [1]
    shallow, deep = copy.copy(error), copy.deepcopy(error)
    for again in (shallow, deep):
        assert (type(again), again.args, again.__dict__) == (type(error), args, error.__dict__)
    assert shallow.extra is error.extra
    assert deep.extra is not error.extra


class WithoutArguments(virt_vm.VMCreateError):
    def __init__(self):
        virt_vm.VMError.__init__(self)


class NotPassedUp(virt_vm.VMError):
    def __init__(self, a, b):
        virt_vm.VMError.__init__(self)
        self.a, self.b = a, b


def test_subclass_may_call_init_of_any_base():
    error = WithoutArguments()
    assert error.args == () and error.__dict__ == {}
    with pytest.raises(AttributeError):
        str(error)
    assert pickle.loads(pickle.dumps(error)).args == ()
    virt_vm.VMCreateError.__init__(error, "c", 1, output="o")
    assert error.args == ("c", 1, "o")
    assert str(error) == "VM creation command failed:    'c'    (status: 1,    output: 'o')"


def test_subclass_that_keeps_its_arguments_does_not_unpickle():
    data = pickle.dumps(NotPassedUp(1, 2))
    with pytest.raises(TypeError):
        pickle.loads(data)


def test_subclass_with_super_and_own_text():
    class Louder(virt_vm.VMMigrateStateMismatchError):
        def __init__(self, where, src, dst):
            super().__init__(src, dst)
            self.where = where

        def __str__(self):
            return super().__str__().upper() + self.where

    error = Louder(" here", "x", "y")
    assert error.args == ("x", "y")
    assert str(error) == "MISMATCH OF VM STATE BEFORE AND AFTER MIGRATION (X != Y) here"


@pytest.mark.parametrize("other", [KeyError, IOError, ValueError])
@pytest.mark.parametrize("name", ["VMCreateError", "VMDeadError", "VMPortNotRedirectedError"])
def test_second_base(name, other):
    cls = getattr(virt_vm, name)
    mixed = type("Mixed", (cls, other), {})
    error, args = make(name)
    mixed_error = mixed(*(args or ("why", "how") if name == "VMDeadError" else args))
    assert isinstance(mixed_error, other) and isinstance(mixed_error, cls)
    assert str(mixed_error) == str(error)
    with pytest.raises(other):
        raise mixed_error


def test_dict_is_no_second_base():
    with pytest.raises(TypeError):
        type("Mixed", (virt_vm.VMError, dict), {})


@pytest.mark.parametrize("name", ALL)
def test_instances_are_ordinary(name):
    error, _ = make(name)
    assert weakref.ref(error)() is error
    error.anything = 1
    error.__dict__ = {"other": 2}
    assert error.other == 2


def test_class_text_may_be_replaced(monkeypatch):
    monkeypatch.setattr(virt_vm.VMDeadError, "__str__", lambda self: "gone", raising=True)
    assert str(virt_vm.VMDeadError("x")) == "gone"


def test_base_class_is_looked_up_when_called(monkeypatch):
    seen = []

    class Other(Exception):
        def __init__(self, *args):
            seen.append(args)

    monkeypatch.setattr(virt_vm, "VMError", Other)
    class Child(virt_vm.VMCreateError, Other):
        pass
    Child("c", 1, "o")
    assert seen == [("c", 1, "o")]


def test_signatures():
    for name, row in WITH_PARAMETERS.items():
        assert str(inspect.signature(getattr(virt_vm, name))) == "(%s)" % ", ".join(row[1].split())
    for name in PLAIN:
        assert str(inspect.signature(getattr(virt_vm, name))) == "(*args)"
    assert str(inspect.signature(virt_vm.VMDeadError)) == "(reason='', detail='')"
    assert str(inspect.signature(virt_vm.VMCreateError.__init__)) == "(self, cmd, status, output)"
    assert str(inspect.signature(NotPassedUp)) == "(a, b)"


def test_formatting_error_passes_through():
    class Bad:
        def __repr__(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        str(virt_vm.VMImageCheckError(Bad()))
    with pytest.raises(ZeroDivisionError):
        str(virt_vm.VMDeadError("x", Bad()))
