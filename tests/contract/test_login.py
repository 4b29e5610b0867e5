"""login, serial_login and copying: what they ask for, in which order, and call."""

import ast
import re
import threading

import pytest
from hypothesis import given, strategies as st

from support.fakes import Calls, FakeSession, GuestVM, Namespace, RecordingParams
from virtvm import virt_vm
from virtvm.companions import error, virt_utils

ACCOUNT = {"username": "root", "password": "secret", "shell_client": "ssh", "shell_port": "22",
           "file_transfer_client": "scp", "file_transfer_port": 22}


@pytest.fixture
def calls(monkeypatch):
    """virt_utils's ways to the guest replaced by a record."""
    record = Calls()
    record.session = FakeSession(record)
    monkeypatch.setattr(virt_utils, "generate_random_string", lambda n: "r" * n)
    monkeypatch.setattr(virt_utils, "remote_login", record.function("remote_login", record.session))
    for name in ("copy_files_to", "copy_files_from", "_remote_login"):
        monkeypatch.setattr(virt_utils, name, record.function(name, "ignored"))
    return record


def guest(calls, cls=GuestVM, **params):
    vm = cls("vm1", RecordingParams(**{**ACCOUNT, **params}))
    vm.calls = calls
    return vm


CHOICES_SSH = [("ssh_identity_file",), ("ssh_identity_passphrase",), ("ssh_known_hosts",), ("ssh_auth",)]
CHOICES_LOGIN = [("ssh_keepalive",), ("shell_output_limit",)]
CHOICES_TRANSFER = [("transfer_engine",), ("transfer_verify",), ("transfer_keep_links",),
                    ("transfer_times",), ("transfer_stall_timeout",), ("transfer_parents",),
                    ("transfer_sparse",), ("transfer_sync",), ("transfer_in_place",), ("transfer_sudo",),
                    ("transfer_sudo_password",), ("transfer_exclude",), ("transfer_update",)]


# login

def test_login_calls(calls):
    vm = guest(calls)
    assert vm.login() is calls.session
    assert calls == [
        ("get_address", (0,), {}),
        ("get_port", (22,), {}),
        ("remote_login", ("ssh", "192.0.2.7", 5022, "root", "secret", r"[\#\$]", "\n",
                          "session-vm1-rrrr.log", 10), {}),
        ("set_status_test_command", ("",), {})]
    assert vm.params.gets == [
        ("username", ""), ("password", ""), ("shell_prompt", r"[\#\$]"), ("shell_linesep", r"\n"),
        ("shell_client",), ("shell_port",), *CHOICES_SSH, *CHOICES_LOGIN, ("status_test_command", "")]


def test_login_arguments(calls):
    vm = guest(calls, shell_prompt="%", shell_linesep=r"\r\n", status_test_command="echo $?")
    vm.login(nic_index=2, timeout=7)
    assert calls[0] == ("get_address", (2,), {})
    assert calls[2][1][5:9] == ("%", "\r\n", "session-vm1-rrrr.log", 7)
    assert calls[3] == ("set_status_test_command", ("echo $?",), {})
    del calls[:]
    vm.login(3, 8)
    assert (calls[0][1], calls[2][1][8]) == ((3,), 8)


def test_login_passes_ssh_choices_on(calls):
    guest(calls, ssh_identity_file="/k", ssh_auth="publickey", ssh_keepalive="5", transfer_engine="sftp").login()
    assert calls[2][2] == {"ssh_identity_file": "/k", "ssh_auth": "publickey", "ssh_keepalive": "5"}


def test_login_without_get_port(calls):
    class NoPort(virt_vm.BaseVM):
        def get_address(self, index=0):
            asked.append(index)

    asked = []
    vm = NoPort("vm1", RecordingParams(shell_port="not a number"))
    with pytest.raises(AttributeError, match="get_port"):
        vm.login()
    assert asked == [0]
    assert ("shell_port",) not in vm.params.gets


@pytest.mark.parametrize("method, args", [("login", ()), ("copy_files_to", ("a", "b")),
                                          ("copy_files_from", ("a", "b"))])
def test_port_must_be_a_number(calls, method, args):
    vm = guest(calls, shell_port=None, file_transfer_port=None)
    with pytest.raises(TypeError):
        getattr(vm, method)(*args)
    vm = guest(calls, shell_port="ssh", file_transfer_port="ssh")
    with pytest.raises(ValueError):
        getattr(vm, method)(*args)
    assert "get_port" not in calls.names()


def test_remote_login_is_login(calls):
    class Own(GuestVM):
        def login(self, *args, **kwargs):
            return args, kwargs

    vm = guest(calls, Own)
    assert vm.remote_login() == ((0, 10), {})
    assert vm.remote_login(timeout=3, nic_index=1) == ((1, 3), {})


def test_self_calls_take_overrides_on_the_instance(calls):
    vm = guest(calls)
    vm.get_address = lambda index: "10.0.0.%d" % index
    vm.get_port = lambda port: port
    vm.login(1)
    assert calls[0][1][1:3] == ("10.0.0.1", 22)


def test_virt_utils_is_looked_up_at_each_call(calls, monkeypatch):
    vm = guest(calls)
    other = Calls()
    monkeypatch.setattr(virt_vm, "virt_utils", Namespace(
        generate_random_string=lambda n: "zz",
        remote_login=other.function("remote_login", FakeSession(other))))
    vm.login()
    assert other[0][1][7] == "session-vm1-zz.log"


# The line separator

@pytest.mark.parametrize("value, linesep", [
    (r"\n", "\n"), (r"\r\n", "\r\n"), ("", ""), ("x", "x"), (r"\x0d", "\r"), (r"\012", "\n"),
    (r"\0", "\0"), (r"\1234", "S4"), (r"\8", r"\8"), (r"\t\v\f\a\b", "\t\v\f\a\b"), (r"\\n", r"\n"),
    (r"\'\"", "'\""), ("\\\n", ""), (r"\u20ac\U0001F600", "\u20ac\U0001F600"),
    (r"\N{EURO SIGN}", "\u20ac"), (r"\N{no such}", r"\N{no such}"), (r"\N{", r"\N{"), (r"\N", r"\N"),
    (r"\x4", r"\x4"), (r"\xg0", r"\xg0"), (r"\u12", r"\u12"), (r"\U00110000", r"\U00110000"),
    (r"\q", r"\q"), ("\\", "\\"), (r"\\" + "\\", "\\\\"), ("'", "'"), ("a'b\n", "a'b\n"),
    ("' + open('/etc/passwd') + '", "' + open('/etc/passwd') + '"), (5, "5"), (None, "None"),
    ("\u00e9\\\u00e9", "\u00e9\\\u00e9"), (r"\400", "\u0100"),
])
def test_linesep(calls, value, linesep):
    guest(calls, shell_linesep=value).login()
    assert calls[2][1][6] == linesep


@given(st.lists(st.sampled_from(
    ["\\", "n", "r", "x", "0", "1", "7", "8", "a", "f", "u", "U", "N{SPACE}", "q", " ", "\u00e9",
     "\\x41", "\\u0041"]), max_size=12).map("".join))
def test_linesep_is_what_a_string_literal_is(text):
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            meant = ast.literal_eval("'%s'" % text)
        except (SyntaxError, ValueError):
            return          # no literal: its parts stay as they are
    record = Calls()
    vm = guest(record, shell_linesep=text)
    saved = virt_vm.virt_utils
    virt_vm.virt_utils = Namespace(
        generate_random_string=lambda n: "",
        remote_login=record.function("remote_login", FakeSession(record)))
    try:
        vm.login()
    finally:
        virt_vm.virt_utils = saved
    assert record[2][1][6] == meant


# Copying

def test_copy_files_to_calls(calls):
    vm = guest(calls)
    assert vm.copy_files_to("/h", "/g") is None
    assert calls == [
        ("get_address", (0,), {}), ("get_port", (22,), {}),
        ("copy_files_to", ("192.0.2.7", "scp", "root", "secret", 5022, "/h", "/g",
                           "transfer-vm1-to-192.0.2.7-rrrr.log", False, 600), {})]
    assert vm.params.gets == [
        ("username", ""), ("password", ""), ("file_transfer_client",), ("file_transfer_port",),
        *CHOICES_SSH, *CHOICES_TRANSFER]


def test_copy_files_from_calls(calls):
    vm = guest(calls)
    assert vm.copy_files_from("/g", "/h", 1, True, 5) is None
    assert calls == [
        ("get_address", (1,), {}), ("get_port", (22,), {}),
        ("copy_files_from", ("192.0.2.7", "scp", "root", "secret", 5022, "/g", "/h",
                             "transfer-vm1-from-192.0.2.7-rrrr.log", True, 5), {})]


@pytest.mark.parametrize("method", ["copy_files_to", "copy_files_from"])
def test_copy_takes_keywords(calls, method):
    getattr(guest(calls), method)(guest_path="/g", host_path="/h", timeout=1, verbose=2,
                                  nic_index=3)
    source, target = ("/h", "/g") if method == "copy_files_to" else ("/g", "/h")
    args = calls[2][1]
    assert (calls[0][1], args[5:7], args[8:]) == ((3,), (source, target), (2, 1))


@pytest.mark.parametrize("method", ["copy_files_to", "copy_files_from"])
def test_copy_passes_choices_on(calls, method):
    choices = dict(ssh_identity_file="/k", ssh_known_hosts="/kh", ssh_auth="agent",
                   transfer_engine="scp", transfer_verify="no", transfer_keep_links="yes",
                   transfer_times="no", transfer_stall_timeout="5")
    getattr(guest(calls, **choices), method)("a", "b")
    assert calls[2][2] == choices


# The serial console

def test_serial_login_calls(calls):
    vm = guest(calls, shell_linesep=r"\r", status_test_command="st")
    vm.serial_console = console = FakeSession(calls)
    assert vm.serial_login() is console
    assert calls == [
        ("set_linesep", ("\r",), {}), ("set_status_test_command", ("st",), {}),
        ("sendline", (), {}),
        ("_remote_login", (console, "root", "secret", r"[\#\$]", 10), {})]
    assert vm.params.gets == [
        ("username", ""), ("password", ""), ("shell_prompt", r"[\#\$]"), ("shell_linesep", r"\n"),
        ("status_test_command", "")]


def test_serial_login_timeout_and_missing_console(calls):
    vm = guest(calls)
    with pytest.raises(AttributeError):
        vm.serial_login()
    vm.serial_console = FakeSession(calls)
    vm.serial_login(timeout=3)
    assert calls[-1][1][4] == 3


# Error context

BROKEN = [
    ("login", (), "logging into 'vm1'"),
    ("serial_login", (), "logging into 'vm1' via serial console"),
    ("copy_files_to", ("a", "b"), "sending file(s) to 'vm1'"),
    ("copy_files_from", ("a", "b"), "receiving file(s) from 'vm1'"),
]


def failing(exception):
    class FailingParams(RecordingParams):
        def get(self, *args):
            raise exception
    return GuestVM("vm1", FailingParams())


@pytest.mark.parametrize("method, args, context", BROKEN)
def test_exception_carries_context(method, args, context):
    failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError) as caught:
        getattr(failing(failure), method)(*args)
    assert caught.value is failure
    assert failure._context == context
    assert error.get_context() == ""


@pytest.mark.parametrize("method, args, context", BROKEN)
def test_refused_arguments_carry_the_method(method, args, context):
    with pytest.raises(TypeError) as caught:
        getattr(GuestVM(), method)(*args, nonsense=1)
    assert caught.value._context == "(%s)" % method
    with pytest.raises(TypeError):
        getattr(virt_vm.BaseVM, method)()


@pytest.mark.parametrize("method, args, context", BROKEN)
def test_context_that_is_there_stays(method, args, context):
    failure = ZeroDivisionError()
    failure._context = "mine"
    with pytest.raises(ZeroDivisionError):
        getattr(failing(failure), method)(*args)
    assert failure._context == "mine"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupts_carry_no_context(kind):
    failure = kind()
    with pytest.raises(kind):
        failing(failure).login()
    assert not hasattr(failure, "_context")


def test_contexts_nest():
    @error.context_aware
    def outer():
        error.context("outside")
        failing(ZeroDivisionError()).login()

    with pytest.raises(ZeroDivisionError) as caught:
        outer()
    assert caught.value._context == "outside --> logging into 'vm1'"


def test_context_of_a_new_thread(calls):
    seen = []

    def run():
        seen.append(error.get_context())
        guest(calls).login()
        seen.append(error.get_context())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [None, ""]


def test_context_while_logging_in(calls, monkeypatch):
    seen = []
    monkeypatch.setattr(virt_utils, "remote_login", lambda *args: (
        seen.append(error.get_context()) or FakeSession()))
    guest(calls).login()
    assert seen == ["logging into 'vm1'"]


def test_context_aware_is_looked_up_at_each_call(calls, monkeypatch):
    seen = []

    def context_aware(function):
        seen.append(function.__name__)

        def wrapper(*args, **kwargs):
            seen.append((args[1:], kwargs))
            return function(*args, **kwargs)
        # What decorators of old do with the function they are given.
        wrapper.__name__ = function.__name__
        wrapper.__doc__ = function.__doc__
        wrapper.__dict__.update(function.__dict__)
        return wrapper

    monkeypatch.setattr(virt_vm, "error", Namespace(context_aware=context_aware,
                                                    context=seen.append))
    vm = guest(calls)
    vm.login(1, timeout=2)
    assert seen == ["login", ((1,), {"timeout": 2}), "logging into 'vm1'"]
    vm.serial_console = FakeSession(calls)
    vm.serial_login()
    vm.copy_files_to("a", "b")
    vm.copy_files_from("a", "b")
    assert [name for name in seen if isinstance(name, str) and re.fullmatch(r"\w+", name)] == [
        "login", "serial_login", "copy_files_to", "copy_files_from"]


def test_patched_context_takes_effect(calls, monkeypatch):
    seen = []
    monkeypatch.setattr(error, "context", lambda text, log=None: seen.append(text))
    guest(calls).login()
    assert seen == ["logging into 'vm1'"]
