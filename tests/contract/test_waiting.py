"""wait_for_login and wait_for_serial_login: the contract, the pace, what they tell."""

import logging

import pytest

from support.fakes import Calls, FakeConsole, Namespace
from support.waiting import due
from virtvm import virt_vm
from virtvm.companions import virt_utils
from virtvm.companions.virt_utils import LoginAuthenticationError, LoginError, LoginTimeoutError


class Clock:
    """Stands for the module `time`: its time passes by sleeping, and by tries that take some."""

    def __init__(self, now=1000.0):
        self.now = now
        self.reads = 0
        self.sleeps = []

    def time(self):
        self.reads += 1
        return self.now

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    fake = Clock()
    monkeypatch.setattr(virt_vm, "time", fake)
    return fake


class TriedVM(virt_vm.BaseVM):
    """login() and serial_login() go through a list: exceptions are raised, the rest
    is returned; the last item stays."""

    def __init__(self, *outcomes, took=0):
        self.name = "vm1"
        self.serial_console = None
        self.outcomes = list(outcomes)
        self.took = took
        self.tries = Calls()

    def _next(self, name, args, kwargs):
        self.tries.append((name, args, kwargs))
        if self.took:
            virt_vm.time.now += self.took
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def login(self, *args, **kwargs):
        return self._next("login", args, kwargs)

    def serial_login(self, *args, **kwargs):
        return self._next("serial_login", args, kwargs)


WAITS = ["wait_for_login", "wait_for_serial_login"]
refused = LoginError("Client said 'connection refused'", "")
closed = LoginError("Client said 'connection closed'", "")


def debug_records(caplog):
    return [r for r in caplog.records if r.levelno == logging.DEBUG]


# The contract

@pytest.mark.parametrize("wait, tried, args", [
    ("wait_for_login", "login", (0, 10)), ("wait_for_serial_login", "serial_login", (10,))])
def test_first_try_succeeds(clock, wait, tried, args):
    vm = TriedVM("session")
    assert getattr(vm, wait)() == "session"
    assert vm.tries == [(tried, args, {})]
    assert (clock.reads, clock.sleeps) == (2, [])


def test_arguments_are_passed_by_position(clock):
    vm = TriedVM("session")
    vm.wait_for_login(3, 50, 7)
    vm.wait_for_login(internal_timeout=8, nic_index=4, timeout=50)
    vm.wait_for_serial_login(50, 9)
    assert vm.tries == [("login", (3, 7), {}), ("login", (4, 8), {}), ("serial_login", (9,), {})]


@pytest.mark.parametrize("error", [refused, LoginTimeoutError(""), virt_vm.VMError("x"),
                                   virt_vm.VMDeadError("y"), virt_vm.VMIPAddressMissingError("m")])
def test_login_errors_and_vm_errors_are_caught(clock, error):
    vm = TriedVM(error, error, "session")
    assert vm.wait_for_login() == "session"
    assert len(vm.tries) == 3


def test_serial_login_catches_login_errors_alone(clock):
    assert TriedVM(refused, "session").wait_for_serial_login() == "session"
    vm = TriedVM(virt_vm.VMDeadError("x"), "session")
    with pytest.raises(virt_vm.VMDeadError):
        vm.wait_for_serial_login()
    assert len(vm.tries) == 1


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1),
                                   virt_utils.SCPError("a", "b")])
def test_others_pass_at_once(clock, wait, error):
    vm = TriedVM(error)
    with pytest.raises(type(error)) as caught:
        getattr(vm, wait)()
    assert caught.value is error
    assert (len(vm.tries), clock.sleeps) == (1, [])
    assert not getattr(error, "history", None)


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("timeout", [0, -5])
def test_no_time_makes_one_try(clock, wait, timeout):
    vm = TriedVM(refused)
    with pytest.raises(LoginError) as caught:
        getattr(vm, wait)(timeout=timeout)
    assert caught.value is refused
    assert (len(vm.tries), clock.reads, clock.sleeps) == (1, 2, [])


@pytest.mark.parametrize("wait", WAITS)
def test_time_is_read_once_for_the_end_and_once_a_round(clock, wait):
    vm = TriedVM(refused)
    with pytest.raises(LoginError):
        getattr(vm, wait)(timeout=1)
    assert len(vm.tries) == 5           # 0, 0.25, 0.5, 0.75 and the last one
    assert clock.reads == 1 + 5


@pytest.mark.parametrize("wait", WAITS)
def test_last_try_may_succeed(clock, wait):
    assert getattr(TriedVM("session"), wait)(timeout=0) == "session"
    assert getattr(TriedVM(*[refused] * 4, "session"), wait)(timeout=1) == "session"


def test_names_are_looked_up(clock, monkeypatch):
    class Other(Exception):
        pass

    monkeypatch.setattr(virt_vm, "VMError", Other)
    assert TriedVM(Other(), refused, "session").wait_for_login() == "session"
    monkeypatch.setattr(virt_vm, "virt_utils", Namespace(LoginError=ZeroDivisionError))
    assert TriedVM(Other(), ZeroDivisionError(), "session").wait_for_login() == "session"
    with pytest.raises(LoginError):
        TriedVM(refused).wait_for_login()


def test_classes_are_looked_up_only_after_an_error(clock, monkeypatch):
    monkeypatch.setattr(virt_vm, "virt_utils", None)
    assert TriedVM("session").wait_for_login() == "session"
    with pytest.raises(AttributeError):
        TriedVM(refused).wait_for_login()


@pytest.mark.parametrize("timeout", ["10", None])
def test_timeout_must_be_a_number(clock, timeout):
    vm = TriedVM("session")
    with pytest.raises(TypeError):
        vm.wait_for_login(timeout=timeout)
    assert vm.tries == []


def test_login_that_does_not_exist(clock):
    vm = TriedVM("session")
    vm.login = None
    with pytest.raises(TypeError):
        vm.wait_for_login()


# The pace

@pytest.mark.parametrize("wait", WAITS)
def test_rest_after_immediate_failure(clock, wait):
    vm = TriedVM(refused, refused, "session")
    getattr(vm, wait)()
    assert clock.sleeps == [0.25, 0.25]


@pytest.mark.parametrize("wait", WAITS)
def test_no_rest_after_a_try_that_waited(clock, wait):
    vm = TriedVM(refused, "session", took=0.3)
    getattr(vm, wait)()
    assert clock.sleeps == []


def test_rest_ends_with_the_time(clock):
    vm = TriedVM(refused)
    with pytest.raises(LoginError):
        vm.wait_for_login(timeout=0.6)
    assert clock.sleeps == pytest.approx([0.25, 0.25, 0.1], abs=1e-9)


def test_refused_password_is_tried_after_two_four_and_six_seconds(clock):
    error = LoginAuthenticationError("Got password prompt twice", "")
    with pytest.raises(LoginAuthenticationError):
        TriedVM(error).wait_for_login(timeout=21)
    assert clock.sleeps == pytest.approx([2, 4, 6, 6, 3], abs=1e-9)


def test_other_failures_between_refused_passwords_do_not_hasten_them(clock):
    error = LoginAuthenticationError("Got password prompt twice", "")
    TriedVM(error, refused, error, error, "session").wait_for_login()
    assert clock.sleeps == pytest.approx([2, 0.25, 4, 6], abs=1e-9)


def test_denied_account_is_tried_eight_times(clock):
    error = LoginAuthenticationError("Authentication refused", "")
    error.denied = True
    vm, reason = TriedVM(error), str(error)
    with pytest.raises(LoginAuthenticationError) as caught:
        vm.wait_for_login(timeout=600)
    assert len(vm.tries) == caught.value.tries == 8
    assert caught.value.history == [(8, reason)]
    assert clock.sleeps == pytest.approx([2, 4, 6, 6, 6, 6, 6], abs=1e-9)


def test_account_that_is_denied_for_a_while(clock):
    error = LoginAuthenticationError("Authentication refused", "")
    error.denied = True
    assert TriedVM(error, error, "session").wait_for_login() == "session"


def test_refused_password_counts_what_the_try_took(clock):
    error = LoginAuthenticationError("Got password prompt twice", "")
    TriedVM(error, "session", took=0.5).wait_for_login(timeout=50)
    assert clock.sleeps == pytest.approx([1.5], abs=1e-9)


def test_real_time():
    vm = TriedVM(refused)
    with due(0.55), pytest.raises(LoginError):      # of a clock that may be set
        vm.wait_for_login(timeout=0.6)
    assert 2 <= len(vm.tries) <= 4                  # fewer where the machine had no time for it


@pytest.mark.parametrize("monotonic", [None, lambda: "no number", lambda: 1 / 0])
def test_clock_that_has_no_monotonic_time(clock, monotonic):
    clock.monotonic = monotonic
    assert TriedVM(refused, "session").wait_for_login(timeout=50) == "session"
    assert clock.sleeps in ([0.25], [])     # by the system's clock: none after a try that took long


def test_interrupt_while_the_clock_is_read_passes(clock):
    def interrupted():
        raise KeyboardInterrupt

    clock.monotonic = interrupted
    vm = TriedVM("session")
    with pytest.raises(KeyboardInterrupt):
        vm.wait_for_login()
    assert vm.tries == []


# What is told

def test_history(clock):
    vm = TriedVM(refused, refused, closed, refused, virt_vm.VMDeadError("gone"))
    with pytest.raises(virt_vm.VMDeadError) as caught:
        vm.wait_for_login(timeout=1)
    assert caught.value.tries == 5
    assert caught.value.history == [(2, str(refused)), (1, str(closed)), (1, str(refused)),
                                    (1, "VM is dead    reason: gone")]
    assert caught.value.console is None


def test_history_of_serial_login(clock):
    with pytest.raises(LoginError) as caught:
        TriedVM(LoginError("x", "y")).wait_for_serial_login(timeout=0.5)
    assert caught.value.tries == 3
    assert caught.value.history == [(3, "x    (output: 'y')")]


def test_history_of_texts_that_are_empty_or_broken(clock):
    class Broken(virt_vm.VMError):
        def __str__(self):
            raise ValueError

    with pytest.raises(virt_vm.VMError) as caught:
        TriedVM(virt_vm.VMError(), Broken(), virt_vm.VMError("x")).wait_for_login(timeout=0.5)
    assert caught.value.history == [(1, "VMError"), (1, "Broken"), (1, "x")]


def test_history_is_bounded(clock):
    errors = [virt_vm.VMError("%d " % i + "x" * 10000 + " %d" % i) for i in range(200)]
    with pytest.raises(virt_vm.VMError) as caught:
        TriedVM(*errors).wait_for_login(timeout=49)
    history = caught.value.history
    assert caught.value.tries == 197
    assert len(history) == 32
    assert [text.split()[0] for _, text in history] == [
        *map(str, range(16)), *map(str, range(181, 197))]
    assert all(len(text) <= 1024 and text.split()[0] == text.split()[-1] for _, text in history)


def test_console_tail(clock):
    vm = TriedVM(refused)
    vm.serial_console = FakeConsole("a" * 5000 + "b" * 2047)
    with pytest.raises(LoginError) as caught:
        vm.wait_for_login(timeout=0)
    assert caught.value.console == "a" + "b" * 2047
    vm.serial_console = FakeConsole("short")
    with pytest.raises(LoginError) as caught:
        vm.wait_for_login(timeout=0)
    assert caught.value.console == "short"


@pytest.mark.parametrize("console", [FakeConsole(ZeroDivisionError()), FakeConsole(None), object()])
def test_console_that_fails_hides_nothing(clock, console):
    vm = TriedVM(refused)
    vm.serial_console = console
    with pytest.raises(LoginError) as caught:
        vm.wait_for_login(timeout=0)
    assert caught.value is refused and caught.value.console is None
    assert caught.value.tries == 1


def test_interrupt_while_reading_the_console_passes(clock):
    vm = TriedVM(refused)
    vm.serial_console = FakeConsole(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        vm.wait_for_login(timeout=0)


def test_exception_that_refuses_attributes(clock):
    class Sealed(virt_vm.VMError):
        def __setattr__(self, name, value):
            raise TypeError("sealed")

    error = Sealed("x")
    with pytest.raises(Sealed) as caught:
        TriedVM(error).wait_for_login(timeout=0.5)
    assert caught.value is error
    assert error.__dict__ == {}


def test_traceback_and_context_stay(clock):
    with pytest.raises(LoginError) as caught:
        TriedVM(LoginError("a", ""), LoginError("b", "")).wait_for_login(timeout=0.2)
    assert caught.value.msg == "b"
    assert caught.value.__context__ is None
    assert caught.traceback[-1].name == "_next"


def test_last_error_of_another_kind_is_left_alone(clock):
    error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        TriedVM(refused, error).wait_for_login(timeout=0.2)
    assert error.__dict__ == {}


# The log

def test_announcement(clock, caplog):
    caplog.set_level(logging.DEBUG)
    TriedVM("session").wait_for_login(timeout=60.5)
    TriedVM("session").wait_for_serial_login()
    assert [r.getMessage() for r in debug_records(caplog)] == [
        "Attempting to log into 'vm1' (timeout 60s)",
        "Attempting to log into 'vm1' via serial console (timeout 240s)"]


def test_log_has_the_exceptions_when_the_reason_changes(clock, caplog):
    caplog.set_level(logging.DEBUG)
    TriedVM(refused, refused, refused, closed, refused, "session").wait_for_login()
    records = debug_records(caplog)
    assert [r.msg for r in records[1:4]] == [refused, closed, refused]
    assert all(not r.args for r in records[1:4])
    assert len(records) == 5
    assert records[4].getMessage() == (
        "Logging into 'vm1': 6 tries, 2 failures like the one before")


def test_log_has_no_summary_without_repeats(clock, caplog):
    caplog.set_level(logging.DEBUG)
    TriedVM(refused, closed, "session").wait_for_serial_login()
    assert [r.msg for r in debug_records(caplog)][1:] == [refused, closed]


def test_log_of_giving_up(clock, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(LoginError):
        TriedVM(refused).wait_for_login(timeout=1)
    records = debug_records(caplog)
    assert [r.msg for r in records[1:2]] == [refused]
    assert [r.getMessage() for r in records[2:]] == [
        "Logging into 'vm1': 5 tries, 4 failures like the one before"]


def test_logging_is_looked_up(clock, monkeypatch):
    record = Calls()
    monkeypatch.setattr(virt_vm, "logging", Namespace(debug=record.function("debug")))
    TriedVM(refused, "session").wait_for_login()
    assert record == [("debug", ("Attempting to log into '%s' (timeout %ds)", "vm1", 240), {}),
                      ("debug", (refused,), {})]
