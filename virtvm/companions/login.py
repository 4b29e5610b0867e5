"""Logging in: virt_utils.remote_login and its kin, over the session engine.

A failure says where it happened: the exceptions have `stage` ("connect", "banner", "key
exchange", "host key", "authentication", "channel", "prompt"), host, port, user, the
authentication methods that the server offers, and the last output.
"""

import errno
import logging

from virtvm.companions.exceptions import (
    LoginAuthenticationError, LoginBadClientError, LoginError, LoginProcessTerminatedError,
    LoginTimeoutError, diagnosed)

# A booting guest may refuse a right password for a moment; asking more often than this
# only makes it slower.
_AUTH_PAUSE = 2.0
_PAUSE = 0.25           # after a try that failed at once


PROMPT_LINUX = r"^\[.*\][\#\$]\s*$"
PROMPT_WINDOWS = r"^\w:\\.*>\s*$"

# What follows log_filename in aexpect 1.8, in order.  Here timeout stands there, as in 2011.
_MODERN = ("log_function", "timeout", "interface", "identity_file", "status_test_command",
           "verbose", "bind_ip", "preferred_authentication", "user_known_hosts_file",
           "extra_cmdline")


def remote_login(client, host, port, username, password, prompt, linesep="\n",
                 log_filename=None, timeout=10, *rest, ssh_identity_file=None,
                 ssh_known_hosts=None, ssh_auth=None, ssh_keepalive=None, **modern):
    """Log into a guest; return a RemoteSession whose prompt has been seen and proved.

    client: "ssh", "telnet", or "nc" (a shell on a bare TCP connection, as the remote
    shell server of Windows guests gives it).  host: name or address (str).  port: int.  prompt: pattern of the
    shell's prompt (str).  linesep: what the shell takes for Enter.  log_filename: the
    session's log, in the log folder (see virt_utils.set_log_file_dir) unless absolute.
    timeout: seconds for all of it.

    ssh_identity_file: path of a private key.  ssh_known_hosts: path of a known_hosts
    file to verify the host key against (default: any key is accepted).  ssh_auth:
    methods to try, comma-separated, in order.  ssh_keepalive: seconds of silence after
    which the peer is asked whether it is still there; one that is not ends the session
    after three more of them (default: it is never asked).

    aexpect 1.8's keywords are taken, too, and its order where a function or None stands
    in timeout's place.  log_function: the session's output_func from the login on, with
    log_filename, if given, before the line.  interface: of a link-local address.
    identity_file, user_known_hosts_file, preferred_authentication: as the three above.
    status_test_command: the session's.  verbose changes nothing.  ValueError for a
    bind_ip or an extra_cmdline: there is no command line.

    A server that is not up yet is tried again, a few times a second, until the timeout;
    a connection that is refused raises at once.  Raises LoginBadClientError, LoginError,
    LoginAuthenticationError, LoginTimeoutError, LoginProcessTerminatedError.
    """
    if client not in _CLIENTS:
        raise LoginBadClientError(client)
    modern = _modern_keywords(timeout, rest, modern)
    options = {
        "client": client, "host": _scoped(host, modern.get("interface")), "port": port,
        "username": username, "password": password, "prompt": prompt, "linesep": linesep,
        "log_filename": log_filename, "timeout": modern["timeout"],
        "ssh_identity_file": ssh_identity_file or modern.get("identity_file"),
        "ssh_known_hosts": ssh_known_hosts or modern.get("user_known_hosts_file"),
        "ssh_auth": ssh_auth or modern.get("preferred_authentication"),
        "ssh_keepalive": ssh_keepalive}
    return _log_in(options, modern.get("log_function"), modern.get("status_test_command"))


def _modern_keywords(timeout, rest, modern):
    """aexpect 1.8's arguments as a dict: positional ones and keywords alike."""
    if callable(timeout) or timeout is None:
        rest = (timeout, *rest)
        modern = dict(modern, **dict(zip(_MODERN, rest)))
        modern.setdefault("timeout", 10)
    elif rest:
        raise TypeError("remote_login() takes no positional argument after timeout")
    else:
        modern = dict(modern, timeout=timeout)
    unknown = sorted(set(modern) - set(_MODERN))
    if unknown or len(rest) > len(_MODERN):
        raise TypeError("remote_login() got unexpected arguments: %s" % ", ".join(unknown))
    for name in ("bind_ip", "extra_cmdline"):
        if modern.get(name):
            raise ValueError("%s can't be served: there is no ssh command to give it to" % name)
    if modern.get("user_known_hosts_file") == "/dev/null":
        modern["user_known_hosts_file"] = None
    return modern


def _scoped(host, interface):
    """host, with the interface that a link-local address needs."""
    if interface and str(host).lower().startswith("fe80") and "%" not in host:
        return "%s%%%s" % (host, interface)
    return host


def _log_in(options, log_function, status_test_command):
    """Connect, log in and find the prompt; options: see remote_login."""
    from virtvm.companions import aexpect
    o = options
    where = {"host": o["host"], "port": o["port"], "user": o["username"]}
    clock = aexpect._Deadline(o["timeout"])
    session = aexpect.RemoteSession(
        linesep=o["linesep"], prompt=o["prompt"], client=o["client"], host=o["host"],
        port=o["port"], username=o["username"], password=o["password"], login=options,
        output_func=log_function, output_prefix=o["host"] if log_function else "",
        output_params=(o["log_filename"],) if log_function and o["log_filename"] else (),
        engine=_connect(o, None if log_function else o["log_filename"], where))
    try:
        if o["client"] == "ssh":
            _find_prompt(session, clock.left(), where)
        else:
            _remote_login(session, o["username"], o["password"], o["prompt"], clock.left())
    except BaseException:
        session.close()
        raise
    if status_test_command is not None:
        session.set_status_test_command(status_test_command)
    return session


def _connect(o, log_filename, where):
    from virtvm import _session
    try:
        if o["client"] == "ssh":
            return _session.open_ssh(
                str(o["host"]), int(o["port"]), o["username"], o["password"] or None,
                identity_file=o["ssh_identity_file"], known_hosts=o["ssh_known_hosts"],
                auth=o["ssh_auth"], keepalive=int(o["ssh_keepalive"] or 0),
                log=_log_path(log_filename), timeout=o["timeout"])
        return _session.open_tcp(
            str(o["host"]), int(o["port"]), telnet=o["client"] == "telnet",
            log=_log_path(log_filename), timeout=o["timeout"])
    except _session.EngineError as e:
        raise _login_error(e, where) from None


_CLIENTS = ("ssh", "telnet", "nc")


def _log_path(log_filename):
    if log_filename is None:
        return None
    from virtvm.companions import virt_utils
    return virt_utils.log_file_path(log_filename)


def _login_error(e, where):
    """The exception of the field that an EngineError of opening a session stands for."""
    if e.code == "auth":
        exc = LoginAuthenticationError("Authentication refused", "")
    elif e.code == "timeout":
        exc = LoginTimeoutError("")
    else:
        exc = LoginError(login_sentence(e), "")
    return diagnosed(exc, stage=e.stage, methods=e.methods, detail=e.detail, **where)


_SENTENCES = {
    "resolve": "Host name not found",
    "connect": "Cannot connect",
    "banner": "No SSH server answered",
    "kex": "Key exchange failed",
    "hostkey": "Host key verification failed",
    "channel": "The server refused a shell",
}


def login_sentence(e):
    """What an EngineError of connecting and logging in comes to, in a few words (str)."""
    if e.code == "eof" or (e.code == "connect" and e.errno == errno.ECONNRESET):
        return "Client said 'connection closed'"
    if e.code == "connect" and e.errno == errno.ECONNREFUSED:
        return "Client said 'connection refused'"
    return _SENTENCES.get(e.code, "Login failed")


def _find_prompt(session, timeout, where):
    """session.find_prompt() with the exceptions of a login."""
    import re
    from virtvm.companions import aexpect
    asked = session.status_test_command
    if re.search(session.prompt, "C:\\>"):
        session.status_test_command = "echo %errorlevel%"   # what cmd.exe can prove itself by
    try:
        session.find_prompt(timeout)
    except aexpect.ExpectTimeoutError as e:
        exc = LoginTimeoutError(e.output[-_KEPT:])
    except aexpect.ExpectProcessTerminatedError as e:
        exc = LoginProcessTerminatedError(e.status, e.output[-_KEPT:])
    except aexpect.ExpectError as e:
        exc = LoginError("Login failed", e.output[-_KEPT:])
    else:
        return
    finally:
        session.status_test_command = asked
    raise diagnosed(exc, stage="prompt", detail="no line matched %r" % session.prompt
                    if isinstance(exc, LoginTimeoutError) else None, **where) from None


# ---- the dialogue of text consoles ----

_QUESTIONS = [r"[Aa]re you sure", r"[Pp]assword:\s*$", r"[Ll]ogin:\s*$",
              r"[Cc]onnection.*closed", r"[Cc]onnection.*refused", r"[Pp]lease wait",
              r"[Ww]arning"]
_SURE, _PASSWORD, _USERNAME, _CLOSED, _REFUSED, _WAIT, _WARNING, _PROMPT = range(8)


# A guest may print without end: of a dialogue that much is kept (characters), and that much
# of its end is searched for a question; what is read is looked at this often (seconds).
_KEPT = 65536
_SEARCHED = 4096
_SLICE = 0.2
_SETTLED = 0.05


def _next_question(session, patterns, timeout):
    """session.read_until_last_line_matches(), in bounded time and memory, for our sessions."""
    from virtvm.companions import aexpect
    clock, output = aexpect._Deadline(timeout), ""
    while True:
        piece, why = session._read(_SETTLED, min(_SLICE, clock.left()))
        output = (output + piece)[-_KEPT:]
        # A slice that ended in the middle of the talk says nothing about the last line.
        if why != "timeout" or not piece or clock.expired():
            found = session.match_patterns(session._last_line(output[-_SEARCHED:]), patterns)
            if found is not None:
                return found, output
        if why not in ("quiet", "timeout"):
            raise aexpect.ExpectProcessTerminatedError(patterns, session._engine.status, output)
        if clock.expired():
            raise aexpect.ExpectTimeoutError(patterns, output)


class _Dialogue:
    """Answers what a login asks, each question once."""

    def __init__(self, session, username, password):
        self._session, self._username, self._password = session, username, password
        self._asked = {_USERNAME: 0, _PASSWORD: 0}
        self.timeout = None             # a longer one, once the guest asked for patience

    def answer(self, question, output):
        """Reply to a question; True once it is the prompt."""
        session = self._session
        if question == _SURE:
            session.sendline("yes")
        elif question == _PASSWORD:
            self._once(_PASSWORD, "Got password prompt twice", output)
            session.sendline(self._password)
        elif question == _USERNAME:
            if self._asked[_PASSWORD]:
                raise LoginAuthenticationError("Got username prompt after password prompt",
                                               output)
            self._once(_USERNAME, "Got username prompt twice", output)
            session.sendline(self._username)
        elif question == _CLOSED:
            raise LoginError("Client said 'connection closed'", output)
        elif question == _REFUSED:
            raise LoginError("Client said 'connection refused'", output)
        elif question == _WAIT:
            self.timeout = 30
        return question == _PROMPT

    def _once(self, question, complaint, output):
        if self._asked[question]:
            raise LoginAuthenticationError(complaint, output)
        self._asked[question] += 1


def _remote_login(session, username, password, prompt, timeout=10):
    """Answer a text console's login dialogue until the prompt appears.

    session: a ShellSession, or an object with its methods.  timeout: seconds for each
    step.  Returns what was read (str).  Raises LoginAuthenticationError, LoginTimeoutError,
    LoginProcessTerminatedError, LoginError.
    """
    from virtvm.companions import aexpect
    ours = isinstance(session, aexpect.ShellSession)
    dialogue = _Dialogue(session, username, password)
    where = {"user": username, "stage": "prompt"}
    if ours:
        where.update(session._where)
    seen = []
    while True:
        try:
            patience = dialogue.timeout or timeout
            if ours:
                question, output = _next_question(session, _QUESTIONS + [prompt], patience)
            else:
                question, output = session.read_until_last_line_matches(
                    _QUESTIONS + [prompt], timeout=patience, internal_timeout=0.5)
        except aexpect.ExpectTimeoutError as e:
            # A guest that fell silent after a question: that one tells where.
            exc = LoginTimeoutError(e.output or "".join(seen[-1:]))
            raise diagnosed(exc, **where) from None
        except aexpect.ExpectProcessTerminatedError as e:
            raise diagnosed(LoginProcessTerminatedError(e.status, e.output), **where) from None
        seen.append(output)
        try:
            if dialogue.answer(question, output):
                break
        except LoginError as e:
            raise diagnosed(e, **dict(where, stage="authentication"))
    if ours:
        where.pop("stage")
        asked, session.prompt = session.prompt, prompt
        try:
            session.set_prompt(prompt)
            _find_prompt(session, timeout, where)
        finally:
            session.set_prompt(asked)
    return "".join(seen)


def handle_prompts(session, username, password, prompt=PROMPT_LINUX, timeout=10, debug=False):
    """The login dialogue by aexpect 1.8's name; returns what was read (str).

    debug: log it.
    """
    output = _remote_login(session, username, password, prompt, timeout)
    if debug:
        logging.debug("Login dialogue: %r", output)
    return output


def wait_for_login(client, host, port, username, password, prompt, linesep="\n",
                   log_filename=None, timeout=240, internal_timeout=10, *rest, **keywords):
    """Call remote_login until it succeeds or timeout seconds are over.

    internal_timeout: the timeout of each try.  The last failure is raised, with `tries`
    saying how many there were.  The other arguments are those of remote_login, aexpect
    1.8's included; its order is taken where a function or None stands in timeout's place.
    """
    from time import monotonic, sleep
    if callable(timeout) or timeout is None:
        names = ("timeout", "internal_timeout", "interface", "preferred_authentication",
                 "user_known_hosts_file")
        keywords.update(zip(names, (internal_timeout, *rest)), log_function=timeout)
        timeout = keywords.pop("timeout") if rest or internal_timeout != 10 else 240
        keywords.pop("timeout", None)
        internal_timeout = keywords.pop("internal_timeout", 10)
    elif rest:
        raise TypeError("wait_for_login() takes no positional argument after internal_timeout")
    end, tries = monotonic() + timeout, 0
    while True:
        began, tries = monotonic(), tries + 1
        try:
            return remote_login(client, host, port, username, password, prompt, linesep,
                                log_filename, internal_timeout, **keywords)
        except LoginError as e:
            if monotonic() >= end:
                raise diagnosed(e, tries=tries)
            pause = _AUTH_PAUSE if isinstance(e, LoginAuthenticationError) else _PAUSE
        sleep(max(0.0, min(began + pause, end) - monotonic()))
