"""The exceptions of logins, transfers and sessions, and their diagnosis."""

import copy
import pickle

import pytest

from virtvm.companions import exceptions
from virtvm.companions.exceptions import diagnosed

# class, arguments, args, attributes, text
ROWS = [
    ("LoginError", ("why", "out\n"), ("why", "out\n"), {"msg": "why", "output": "out\n"},
     r"why    (output: 'out\n')"),
    ("LoginAuthenticationError", ("Got password prompt twice", "Password:"),
     ("Got password prompt twice", "Password:"), {"output": "Password:"},
     "Got password prompt twice    (output: 'Password:')"),
    ("LoginTimeoutError", ("abc",), ("Login timeout expired", "abc"),
     {"msg": "Login timeout expired", "output": "abc"},
     "Login timeout expired    (output: 'abc')"),
    ("LoginProcessTerminatedError", (255, "abc"), (None, "abc"),
     {"msg": None, "status": 255, "output": "abc"},
     "Client process terminated    (status: 255,    output: 'abc')"),
    ("LoginBadClientError", ("rsh",), (None, None), {"client": "rsh"},
     "Unknown remote shell client: 'rsh'"),
    ("SCPError", ("why", "out"), ("why", "out"), {"msg": "why", "output": "out"},
     "why    (output: 'out')"),
    ("SCPAuthenticationError", ("why", "out"), ("why", "out"), {"msg": "why"},
     "why    (output: 'out')"),
    ("SCPAuthenticationTimeoutError", ("out",), ("Authentication timeout expired", "out"),
     {"output": "out"}, "Authentication timeout expired    (output: 'out')"),
    ("SCPTransferTimeoutError", ("out",), ("Transfer timeout expired", "out"),
     {"output": "out"}, "Transfer timeout expired    (output: 'out')"),
    ("SCPTransferFailedError", (1, "out"), (None, "out"), {"status": 1, "output": "out"},
     "SCP transfer failed    (status: 1,    output: 'out')"),
    ("TransferBadClientError", (None,), (None, None), {"client": None},
     "Unknown file transfer client: None"),
    ("ExpectError", (["a", "b"], "out"), (["a", "b"], "out"), {"patterns": ["a", "b"]},
     "Unknown error occurred while looking for patterns ['a', 'b']    (output: 'out')"),
    ("ExpectTimeoutError", (["a"], "out"), (["a"], "out"), {"output": "out"},
     "Timeout expired while looking for pattern 'a'    (output: 'out')"),
    ("ExpectTimeoutError", ([], "out"), ([], "out"), {},
     "Timeout expired while looking for patterns []    (output: 'out')"),
    ("ExpectTimeoutError", (("a", "b"), "out"), (("a", "b"), "out"), {},
     "Timeout expired while looking for patterns ('a', 'b')    (output: 'out')"),
    ("ExpectProcessTerminatedError", (["a"], 3, "out"), (["a"], "out"), {"status": 3},
     "Process terminated while looking for pattern 'a'    (status: 3,    output: 'out')"),
    ("ShellError", ("ls", "out"), ("ls", "out"), {"cmd": "ls", "output": "out"},
     "Could not execute shell command 'ls'    (output: 'out')"),
    ("ShellTimeoutError", ("ls", "out"), ("ls", "out"), {},
     "Timeout expired while waiting for shell command to complete: 'ls'    (output: 'out')"),
    ("ShellProcessTerminatedError", ("ls", None, "out"), ("ls", "out"), {"status": None},
     "Shell process terminated while waiting for command to complete: 'ls'"
     "    (status: None,    output: 'out')"),
    ("ShellCmdError", ("ls", 2, "out"), ("ls", "out"), {"status": 2, "cmd": "ls"},
     "Shell command failed: 'ls'    (status: 2,    output: 'out')"),
    ("ShellStatusError", ("ls", "out"), ("ls", "out"), {},
     "Could not get exit status of command: 'ls'    (output: 'out')"),
]
DIAGNOSIS = ("stage", "host", "port", "user", "methods", "tries", "history", "console", "detail")


def make(name, arguments):
    return getattr(exceptions, name)(*arguments)


@pytest.mark.parametrize("name, arguments, args, attributes, text", ROWS)
def test_built_by_a_caller_it_is_the_original(name, arguments, args, attributes, text):
    e = make(name, arguments)
    assert (e.args, str(e)) == (args, text)
    assert {key: getattr(e, key) for key in attributes} == attributes
    assert all(getattr(e, key) is None for key in DIAGNOSIS)


@pytest.mark.parametrize("name, arguments", [row[:2] for row in ROWS])
def test_copies_are_the_same(name, arguments):
    e = diagnosed(make(name, arguments), stage="auth", host="h", port=22, user="u",
                  methods="publickey,password", tries=3, detail="no", history=["a"], console="c")
    e._context = "logging in"
    copies = [copy.copy(e), copy.deepcopy(e)]
    copies += [pickle.loads(pickle.dumps(e, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    for other in copies:
        assert type(other) is type(e)
        assert (other.args, str(other), vars(other)) == (e.args, str(e), vars(e))


def test_families():
    e = exceptions
    assert issubclass(e.LoginTimeoutError, e.LoginError)
    assert issubclass(e.SCPAuthenticationTimeoutError, e.SCPAuthenticationError)
    assert issubclass(e.TransferBadClientError, e.SCPError)
    assert issubclass(e.ExpectProcessTerminatedError, e.ExpectError)
    assert issubclass(e.ShellStatusError, e.ShellError)
    for one, other in ((e.ShellError, e.ExpectError), (e.LoginError, e.SCPError)):
        assert not issubclass(one, other) and not issubclass(other, one)


def test_engine_appends_where_it_stopped():
    e = diagnosed(exceptions.LoginError("no way", ""), stage="connect", host="::1", port=22,
                  user="root", detail="Connection refused")
    assert str(e) == ("no way    (output: '')    (stage: connect, reason: Connection refused, "
                      "host: ::1, port: 22, user: root)")
    assert e.args == ("no way", "")


def test_methods_and_tries_are_shown_when_they_say_something():
    e = exceptions.LoginAuthenticationError("no", "")
    diagnosed(e, stage="auth", host="h", port=22, user="u", methods=["publickey", "password"],
              tries=1)
    assert str(e).endswith("    (stage: auth, host: h, port: 22, user: u, "
                           "methods: publickey,password)")
    assert diagnosed(e, tries=4) is e
    assert str(e).endswith("methods: publickey,password, tries: 4)")
    assert (e.stage, e.methods, e.tries) == ("auth", ("publickey", "password"), 4)


def test_history_and_console_stay_out_of_the_text():
    e = diagnosed(exceptions.LoginTimeoutError(""), history=["connect: refused"], console="boot")
    assert str(e) == "Login timeout expired    (output: '')"
    assert (e.history, e.console) == (["connect: refused"], "boot")


def test_what_a_peer_says_is_one_bounded_line():
    e = diagnosed(exceptions.LoginTimeoutError(""), detail="a\n\x1b[2Jb" + "x" * 1000)
    assert "reason: a\\nbxxx" in str(e)
    assert "\n" not in str(e) and len(str(e)) < 400


def test_text_follows_the_attributes():
    e = exceptions.LoginError("a", "b")
    e.output = "c"
    e.args = ("x",)
    assert str(e) == "a    (output: 'c')"


def test_a_foreign_exception_is_given_the_attributes():
    e = diagnosed(ValueError("x"), stage="auth", tries=2)
    assert (e.stage, e.tries, str(e)) == ("auth", 2, "x")


class OwnError(exceptions.LoginError):
    """A subclass whose __init__ takes something else."""

    def __init__(self, guest):
        exceptions.LoginError.__init__(self, "guest %s" % guest, "")


def test_a_subclass_with_its_own_arguments_pickles():
    e = pickle.loads(pickle.dumps(OwnError("g")))
    assert type(e) is OwnError and str(e) == "guest g    (output: '')"
