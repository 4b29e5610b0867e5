"""Exceptions of logins, transfers and sessions, and the diagnosis that they carry.

Built by a caller, each has the text, ``args`` and attributes that autotest and
aexpect gave it.  Raised by our engine, it also says where things went wrong:
see Diagnosed.
"""

import collections
import os

from virtvm.companions.printable import printable

_REASON_LIMIT = 300     # a peer chooses this text: keep messages readable


def _one_line(text):
    """What a peer said, as one printable line of bounded length."""
    text = printable(text)
    return text if len(text) <= _REASON_LIMIT else text[:_REASON_LIMIT - 3] + "..."


def _rebuild(cls, args):
    """Make an exception again when unpickling or copying; __init__ is not called."""
    return cls.__new__(cls, *args)


class Diagnosed(Exception):
    """Base of every exception that our engine raises.

    stage    where it stopped: "connect", "auth", "prompt", "transfer"... or None
    host     address that was asked for (str)
    port     port number (int)
    user     user name (str)
    methods  authentication methods the server offers (tuple of str)
    tries    how many attempts were made (int)
    history  what each attempt came to (list), oldest first
    console  the last output of the serial console (str)
    detail   the reason in words (str)
    said     the server's own words before authentication (str)
    denied   what was given is right, the account is not let in: PAM denies it, or its password
             has expired (True)

    All are None where unknown.  They survive pickling and copying, and are
    never part of ``args``.  No password is ever among them.
    """

    stage = host = port = user = methods = None
    tries = history = console = detail = said = denied = None

    def __reduce__(self):
        # The arguments of __init__ and `args` differ in half of these classes.
        return _rebuild, (type(self), self.args), self.__dict__

    def __str__(self):
        return self._text() + self._diagnosis()

    def _text(self):
        return Exception.__str__(self)

    def _diagnosis(self):
        parts = [("stage", self.stage), ("reason", self.detail), ("the server said", self.said), ("host", self.host),
                 ("port", self.port), ("user", self.user),
                 ("methods", ",".join(self.methods) if self.methods else None),
                 ("tries", self.tries if self.tries and self.tries > 1 else None)]
        shown = ["%s: %s" % (name, _one_line(value)) for name, value in parts
                 if value is not None and value != ""]
        return "    (%s)" % ", ".join(shown) if shown else ""


def diagnosed(exc, stage=None, host=None, port=None, user=None, methods=None,
              tries=None, detail=None, history=None, console=None, said=None, denied=None):
    """Add to exc what is known about the failure, and return it.

    Arguments left at None leave the attribute as it is.  methods is a
    comma-separated str or any iterable of str; the rest as in Diagnosed.
    """
    if isinstance(methods, str):
        methods = filter(None, methods.split(","))
    known = {"stage": stage, "host": host, "port": port, "user": user,
             "methods": None if methods is None else tuple(methods), "tries": tries,
             "detail": detail, "history": history, "console": console, "said": said or None,
             "denied": denied}
    for name, value in known.items():
        if value is not None:
            setattr(exc, name, value)
    return exc


class Left(collections.namedtuple("Left", "count names")):
    """What a transfer could not remove: how many temporary files and folders (int), and the
    first of their names (tuple of str).  False if there is nothing."""

    __slots__ = ()

    @classmethod
    def of(cls, told):
        """What the engine tells: (int, list of bytes)."""
        return cls(told[0], tuple(map(os.fsdecode, told[1])))

    @classmethod
    def adopt(cls, e):
        """Have exception e, a signal handler's perhaps, hold a Left for what the engine told; whether it did tell."""
        told = getattr(e, "left", None)
        tells = isinstance(told, tuple) and not isinstance(told, cls)
        if tells:
            e.left = cls.of(told)
        return tells

    def __bool__(self):
        return self.count > 0

    def __str__(self):
        if not self:
            return ""
        more = self.count - 1
        return "; could not remove %s%s" % (self.names[0], " and %d more" % more if more else "")


# Logging in

class LoginError(Diagnosed):
    """No session could be had.  msg says why, output is what the guest printed."""

    def __init__(self, msg, output=""):
        Exception.__init__(self, msg, output)
        self.msg = msg
        self.output = output

    def _text(self):
        return "%s    (output: %r)" % (self.msg, self.output)


class LoginAuthenticationError(LoginError):
    """The guest refused the user name, the password or the key."""


class LoginTimeoutError(LoginError):
    """The time was up before a prompt came."""

    def __init__(self, output=""):
        LoginError.__init__(self, "Login timeout expired", output)


class LoginProcessTerminatedError(LoginError):
    """The connection ended during the login.  status: exit status or None."""

    def __init__(self, status, output=""):
        LoginError.__init__(self, None, output)
        self.status = status

    def _text(self):
        return ("Client process terminated    (status: %s,    output: %r)"
                % (self.status, self.output))


class LoginBadClientError(LoginError):
    """The shell client is none of those we know."""

    def __init__(self, client):
        LoginError.__init__(self, None, None)
        self.client = client

    def _text(self):
        return "Unknown remote shell client: %r" % (self.client,)


# Transferring files

class SCPError(Diagnosed):
    """A transfer failed.  msg says why, output is what the guest printed."""

    def __init__(self, msg, output):
        Exception.__init__(self, msg, output)
        self.msg = msg
        self.output = output

    def _text(self):
        return "%s    (output: %r)" % (self.msg, self.output)


class SCPAuthenticationError(SCPError):
    """The guest refused the user name, the password or the key."""


class SCPAuthenticationTimeoutError(SCPAuthenticationError):
    """The time was up before the guest let us in."""

    def __init__(self, output):
        SCPAuthenticationError.__init__(self, "Authentication timeout expired", output)


class SCPTransferTimeoutError(SCPError):
    """The time was up before everything was transferred."""

    def __init__(self, output):
        SCPError.__init__(self, "Transfer timeout expired", output)


class SCPTransferFailedError(SCPError):
    """The transfer ended with an error.  status: exit status or None."""

    def __init__(self, status, output):
        SCPError.__init__(self, None, output)
        self.status = status

    def _text(self):
        return ("SCP transfer failed    (status: %s,    output: %r)"
                % (self.status, self.output))


class TransferBadClientError(SCPError):
    """The file transfer client is none of those we know, or there is none."""

    def __init__(self, client):
        SCPError.__init__(self, None, None)
        self.client = client

    def _text(self):
        return "Unknown file transfer client: %r" % (self.client,)


# Reading from a session

class ExpectError(Diagnosed):
    """None of the patterns was found.  output is what came instead."""

    _what = "Unknown error occurred while looking for"

    def __init__(self, patterns, output):
        Exception.__init__(self, patterns, output)
        self.patterns = patterns
        self.output = output

    def _pattern_str(self):
        if len(self.patterns) == 1:
            return "pattern %r" % (self.patterns[0],)
        return "patterns %r" % (self.patterns,)

    def _text(self):
        return "%s %s    (output: %r)" % (self._what, self._pattern_str(), self.output)


class ExpectTimeoutError(ExpectError):
    """The time was up before one of the patterns came."""

    _what = "Timeout expired while looking for"


class ExpectProcessTerminatedError(ExpectError):
    """The process ended before one of the patterns came."""

    def __init__(self, patterns, status, output):
        ExpectError.__init__(self, patterns, output)
        self.status = status

    def _text(self):
        return ("Process terminated while looking for %s    (status: %s,    output: %r)"
                % (self._pattern_str(), self.status, self.output))


# Running commands in a session

class ShellError(Diagnosed):
    """A command could not be run to its end.  output is what it printed."""

    def __init__(self, cmd, output):
        Exception.__init__(self, cmd, output)
        self.cmd = cmd
        self.output = output

    def _text(self):
        return "Could not execute shell command %r    (output: %r)" % (self.cmd, self.output)


class ShellTimeoutError(ShellError):
    """The time was up before the prompt came back."""

    def _text(self):
        return ("Timeout expired while waiting for shell command to complete: "
                "%r    (output: %r)" % (self.cmd, self.output))


class ShellProcessTerminatedError(ShellError):
    """The shell ended while the command ran.  status: its exit status or None."""

    def __init__(self, cmd, status, output):
        ShellError.__init__(self, cmd, output)
        self.status = status

    def _text(self):
        return ("Shell process terminated while waiting for command to complete: "
                "%r    (status: %s,    output: %r)" % (self.cmd, self.status, self.output))


class ShellCmdError(ShellError):
    """The command ended with a status other than 0."""

    def __init__(self, cmd, status, output):
        ShellError.__init__(self, cmd, output)
        self.status = status

    def _text(self):
        return ("Shell command failed: %r    (status: %s,    output: %r)"
                % (self.cmd, self.status, self.output))


class ShellStatusError(ShellError):
    """The command ended, but its exit status could not be learnt."""

    def _text(self):
        return ("Could not get exit status of command: %r    (output: %r)"
                % (self.cmd, self.output))
