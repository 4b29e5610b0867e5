"""Passwords and passphrases: which params are such, how they are shown, where they are read from."""

import contextlib
import functools
import os

from virtvm import signals

MASK = "***"
_TRIES = 3              # with a password that is asked for, as ssh has it

_WORDS = ("passw", "passphrase", "secret", "token", "credential")
_SHORT = ("pass", "pwd")        # only as a part of its own: vnc_pwd


def is_secret(name):
    """Whether what is kept under this name (str) is not to be shown: a param's, a key's (bool)."""
    return _is_secret(str(name))


@functools.lru_cache(4096)              # variants have the same params, thousands of times
def _is_secret(name):
    name = name.lower()
    return any(word in name for word in _WORDS) or any(part in _SHORT for part in name.split("_"))


def masked(mapping):
    """A dict of the same items, with the mask in place of what is secret and not empty."""
    return {key: MASK if value and is_secret(key) else value for key, value in mapping.items()}


class Secret(str):
    """A text that is the same as any, but for what repr() shows: a traceback, a debugger, a log of %r."""

    __slots__ = ()

    def __repr__(self):
        return repr(MASK)

    def __reduce__(self):
        return str, (str(self),)


def hidden(value):
    """That value, as a Secret if it is a text."""
    return Secret(value) if type(value) is str else value


def hidden_items(mapping):
    """A dict of the same items, each secret text as a Secret."""
    return {key: hidden(value) if is_secret(key) else value for key, value in mapping.items()}


# ---- where they come from: never a command line, which every user of the machine can read ----

def first_line(path):
    """The first line (Secret) of a file, less its end.  OSError."""
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        return Secret(f.readline().rstrip("\r\n"))


def password(path=None):
    """The password that the user gave: a file's first line, else VIRTVM_PASSWORD; or None.  OSError."""
    return first_line(path) if path is not None else _variable("VIRTVM_PASSWORD")


def passphrase():
    """The passphrase of the user's key that VIRTVM_PASSPHRASE has; or None."""
    return _variable("VIRTVM_PASSPHRASE")


def _variable(name):
    value = os.environ.get(name)
    return Secret(value) if value else None


def can_ask():
    """Whether there is a terminal, and so perhaps a person (bool)."""
    import sys
    return sys.stdin is not None and sys.stdin.isatty()


def ask(question):
    """Ask on the terminal, without showing the answer (Secret); None if the question is left by Ctrl-D."""
    import getpass
    import sys
    try:
        return Secret(getpass.getpass(question))
    except EOFError:
        print(file=sys.stderr)
        return None


def ask_until_let_in(attempt, refused, where, identity=None, given=(None, None), paused=None):
    """Return attempt(password, passphrase), asking on a terminal for what is missing each time it is refused.

    refused: tells of an exception whether it means that (function).  where: USER@HOST (str).
    identity: the key's path, whose passphrase is asked for if it is locked.  given: the password
    and the passphrase that are known (None or empty: not known).  paused: a context to ask in.
    """
    password, passphrase = given
    asked = []
    while True:
        try:
            return attempt(password, passphrase)
        except Exception as e:
            signals.let_out(e)
            if not refused(e) or not can_ask():
                raise
            what = _missing(asked, identity, password, passphrase)
            if what is None:
                raise
            refusal = e
        again = "That was refused. " if what in asked else ""
        asked.append(what)
        with paused() if paused else contextlib.nullcontext():
            answer = ask("Passphrase of %s: " % identity if what == "passphrase" else
                         "%s%s's password: " % (again, where))
        if answer is None:
            raise refusal
        if what == "passphrase":
            passphrase = answer
        else:
            password = answer


def _missing(asked, identity, password, passphrase):
    if identity and not passphrase and "passphrase" not in asked and is_locked(identity):
        return "passphrase"
    tries = asked.count("password")         # one that was given otherwise is not asked for
    return "password" if tries < _TRIES and (tries or not password) else None


def is_locked(identity):
    """Whether that file (path) is a private key that a passphrase protects (bool)."""
    from virtvm import _session
    try:
        return _session.needs_passphrase(identity)
    except (OSError, _session.EngineError) as e:
        signals.let_out(e)
        return False
