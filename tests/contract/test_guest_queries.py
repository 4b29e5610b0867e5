"""Methods that log in to ask the guest something."""

import pytest
from hypothesis import given, strategies as st

from support.fakes import Calls, FakeSession, Namespace, RecordingParams
from virtvm import virt_vm


class AskedVM(virt_vm.BaseVM):
    """login() gives the session that the test made."""

    def __init__(self, session, **params):
        virt_vm.BaseVM.__init__(self, "vm1", RecordingParams(**params))
        self.session = session

    def login(self, *args, **kwargs):
        self.session.calls.append(("login", args, kwargs))
        return self.session


def memory(output, **params):
    session = FakeSession(answers={"mem": output})
    size = AskedVM(session, mem_chk_cmd="mem", **params).get_memory_size()
    assert session.calls.names() == ["login", "cmd", "close"]
    return size


@pytest.mark.parametrize("output, size", [
    ("512 MB", 512),
    ("2 GB", 2048),
    ("2097152 kB", 2048),
    ("1023", 0), ("1024", 1), ("2047", 1),
    ("", 0), ("none GB", 0),
    ("1 GB and 2 MB", 3 * 1024),
    ("1 gb", 0), ("2048 mb", 2),
    ("0x10 MB", 10),
    ("256 MB\n256 MB\n", 512),
    ("1.5 GB", 1536), ("0.5 GB", 512), ("1.25 GB 0.5 GB", 1792), ("1.999 MB", 1),
    ("0.1 GB 0.2 GB", 307), ("1536.0 MB", 1536), ("2048.5 kB", 2), ("1.000000000000001 GB", 1024),
    ("1.2.3 GB", 6 * 1024), ("1. GB", 1024), (".5 GB", 5 * 1024), ("1..5 MB", 6),
    ("1,024 MB", 25), ("10.0.0.1 MB", 11), ("-5 MB", 5),
    ("123456789012345678901234567890 GB", 123456789012345678901234567890 * 1024),
    ("123456789012345678901234567890", 123456789012345678901234567890 // 1024),
    ("\u0661\u0662 MB 7", 7),
])
def test_memory_size(output, size):
    found = memory(output)
    assert found == size and type(found) is int


@given(st.lists(st.integers(0, 10**25), min_size=1), st.sampled_from(["GB", "MB", "kB"]))
def test_memory_size_adds_up_exactly(numbers, unit):
    total = sum(numbers)
    size = memory(" ".join("%d %s" % (n, unit) for n in numbers))
    assert size == {"GB": total * 1024, "MB": total, "kB": total // 1024}[unit]


@pytest.mark.parametrize("cmd", [None, "", 0])
def test_memory_command_falls_back(cmd):
    session = FakeSession(answers={"boot": "5 MB"})
    vm = AskedVM(session, mem_chk_cmd="boot")
    assert vm.get_memory_size(cmd) == 5
    assert session.calls[0] == ("login", (), {})
    assert vm.params.gets == [("mem_chk_cmd",)]


def test_memory_command_given():
    session = FakeSession(answers={"now": "6 MB"})
    vm = AskedVM(session)
    assert vm.get_memory_size(cmd="now") == 6
    assert vm.params.gets == []


def test_memory_command_is_looked_up_after_login():
    class Failing(AskedVM):
        def login(self):
            assert self.params.gets == []
            raise KeyError

    vm = Failing(FakeSession())
    with pytest.raises(KeyError):
        vm.get_memory_size()
    assert vm.params.gets == []


def test_current_memory_size_asks_for_its_command_before_login():
    session = FakeSession(answers={"cur": "7 MB", "boot": "8 MB"})
    vm = AskedVM(session, mem_chk_cur_cmd="cur", mem_chk_cmd="boot")
    assert vm.get_current_memory_size() == 7
    assert vm.params.gets == [("mem_chk_cur_cmd",)]
    del vm.params.values["mem_chk_cur_cmd"]
    assert vm.get_current_memory_size() == 8


def test_current_memory_size_goes_through_get_memory_size():
    class Own(AskedVM):
        def get_memory_size(self, *args):
            return args

    assert Own(FakeSession(), mem_chk_cur_cmd="cur").get_current_memory_size() == ("cur",)


def test_re_is_looked_up(monkeypatch):
    record = Calls()
    monkeypatch.setattr(virt_vm, "re", Namespace(findall=record.function("findall", ["3", "4"])))
    assert memory("x MB") == 7
    assert record[0][1][1] == "x MB"


@pytest.mark.parametrize("output", [None, 5, b"5 MB"])
def test_memory_output_must_be_text(output):
    with pytest.raises(TypeError):
        memory(output)


@pytest.mark.parametrize("output, count", [("4\n", 4), (" 2 ", 2), (8, 8)])
def test_cpu_count(output, count):
    session = FakeSession(answers={"cpus": output})
    vm = AskedVM(session, cpu_chk_cmd="cpus")
    assert vm.get_cpu_count() == count
    assert session.calls == [("login", (), {}), ("cmd", ("cpus",), {}), ("close", (), {})]
    assert vm.params.gets == [("cpu_chk_cmd",)]


QUESTIONS = [("get_cpu_count", ()), ("get_memory_size", ("ask",)), ("get_current_memory_size", ())]


def ask(method, args, **session):
    vm = AskedVM(FakeSession(**session), cpu_chk_cmd="ask", mem_chk_cur_cmd="ask")
    try:
        return getattr(vm, method)(*args), vm.session
    except Exception as e:
        return e, vm.session


@pytest.mark.parametrize("method, args", QUESTIONS)
def test_session_is_closed_after_error(method, args):
    failure = ZeroDivisionError()
    raised, session = ask(method, args, answers={"ask": failure})
    assert raised is failure
    assert session.calls.names() == ["login", "cmd", "close"]


@pytest.mark.parametrize("method, args", QUESTIONS)
def test_error_of_close_wins(method, args):
    first, last = ZeroDivisionError(), KeyError()
    raised, _ = ask(method, args, answers={"ask": first}, close_error=last)
    assert raised is last and raised.__context__ is first
    raised, _ = ask(method, args, answers={"ask": "1"}, close_error=last)
    assert raised is last


def test_bad_number_of_cpus():
    raised, session = ask("get_cpu_count", (), answers={"ask": "four"})
    assert isinstance(raised, ValueError)
    assert session.calls.names()[-1] == "close"


@pytest.mark.parametrize("method, args", QUESTIONS)
def test_failed_login_passes(method, args):
    class Unreachable(AskedVM):
        def login(self):
            raise virt_vm.VMDeadError("x")

    with pytest.raises(virt_vm.VMDeadError):
        getattr(Unreachable(FakeSession()), method)(*args)
