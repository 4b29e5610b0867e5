"""Logging in: virt_utils.remote_login and its kin, over the session engine.

A failure says where it happened: the exceptions have `stage` ("connect", "banner", "key
exchange", "host key", "authentication", "channel", "prompt"), host, port, user, the
authentication methods that the server offers, and the last output.
"""

import errno
import logging
import time

from virtvm.companions import secrets
from virtvm.companions.exceptions import (
    LoginAuthenticationError, LoginBadClientError, LoginError, LoginProcessTerminatedError,
    LoginTimeoutError, diagnosed)
from virtvm.companions.secrets import hidden, hidden_items
from virtvm.host import logs

# A booting guest may refuse a right password for a moment.  Each refusal counts: OpenSSH 9.8 and
# later shuts out who comes more often than this, faillock locks the account.
_AUTH_PAUSES = (2.0, 4.0, 6.0)
_PAUSE = 0.25           # after a try that failed at once
_DENIED_MOST = 8        # tries with an account that is denied


PROMPT_LINUX = r"^\[.*\][\#\$]\s*$"
PROMPT_WINDOWS = r"^\w:\\.*>\s*$"

# What follows log_filename in aexpect 1.8, in order.  Here timeout stands there, as in 2011.
_MODERN = ("log_function", "timeout", "interface", "identity_file", "status_test_command",
           "verbose", "bind_ip", "preferred_authentication", "user_known_hosts_file",
           "extra_cmdline")


def remote_login(client, host, port, username, password, prompt, linesep="\n",
                 log_filename=None, timeout=10, *rest, ssh_identity_file=None,
                 ssh_identity_passphrase=None, ssh_known_hosts=None, ssh_auth=None,
                 ssh_keepalive=None, shell_output_limit=None, **modern):
    """Log into a guest; return a RemoteSession whose prompt has been seen and proved.

    client: "ssh", "telnet", or "nc" (a shell on a bare TCP connection, as the remote
    shell server of Windows guests gives it).  host: name or address (str).  port: int.  prompt: pattern of the
    shell's prompt (str).  linesep: what the shell takes for Enter.  log_filename: the
    session's log, in the log folder (see virt_utils.set_log_file_dir) unless absolute.
    timeout: seconds for all of it.

    ssh_identity_file: path of a private key, or of a public one, which chooses that key of
    the SSH agent.  ssh_identity_passphrase: opens a locked private key (default: what
    VIRTVM_PASSPHRASE has in the environment).  ssh_known_hosts: path of a known_hosts
    file to verify the host key against (default: any key is accepted).  ssh_auth:
    methods to try, comma-separated, in order.  ssh_keepalive: seconds of silence after
    which the peer is asked whether it is still there; one that is not ends the session
    after three more of them (default: it is never asked).  shell_output_limit: bytes that
    one command may print (default: 256 MiB); more is a ShellError.

    aexpect 1.8's keywords are taken, too, and its order where a function or None stands
    in timeout's place.  log_function: the session's output_func from the login on, with
    log_filename, if given, before the line.  interface: of a link-local address.
    identity_file, user_known_hosts_file, preferred_authentication: as the three above.
    status_test_command: the session's.  verbose changes nothing.  ValueError for a
    bind_ip or an extra_cmdline: there is no command line.

    A server that is not up yet is waited for, until the timeout (docs/sessions.rst tells how);
    a connection that is refused raises at once.  Raises LoginBadClientError, LoginError,
    LoginAuthenticationError, LoginTimeoutError, LoginProcessTerminatedError.
    """
    # A traceback shows arguments.
    password, ssh_identity_passphrase = hidden(password), hidden(ssh_identity_passphrase)
    if client not in _CLIENTS:
        raise LoginBadClientError(client)
    modern = _modern_keywords(timeout, rest, modern)
    options = {
        "client": client, "host": _scoped(host, modern.get("interface")), "port": port,
        "username": username, "password": password, "prompt": prompt, "linesep": linesep,
        "log_filename": log_filename, "timeout": modern["timeout"],
        "ssh_identity_file": ssh_identity_file or modern.get("identity_file"),
        "ssh_identity_passphrase": ssh_identity_passphrase,
        "ssh_known_hosts": ssh_known_hosts or modern.get("user_known_hosts_file"),
        "ssh_auth": ssh_auth or modern.get("preferred_authentication"),
        "ssh_keepalive": ssh_keepalive, "shell_output_limit": shell_output_limit}
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
    from virtvm.companions import _unended, aexpect
    where = {"host": options["host"], "port": options["port"], "user": options["username"]}
    clock = aexpect._Deadline(options["timeout"])
    is_ours = options["client"] == "ssh" and log_function is None
    unended = _unended.take(options) if is_ours else None
    session = None
    if unended is not None:
        try:
            session = _finish(unended.session, options, clock, where, unended)
        except LoginProcessTerminatedError:
            if clock.expired():
                raise
    if session is None:
        options = dict(options, timeout=clock.left()) if unended else options
        session = _open_session(options, log_function, where)
        unended = _unended.Unended(session, options, time.monotonic()) if is_ours else None
        session = _finish(session, options, clock, where, unended)
    if status_test_command is not None:
        session.set_status_test_command(status_test_command)
    return session


def _open_session(o, log_function, where):
    """A RemoteSession whose prompt was not looked for yet."""
    from virtvm.companions import aexpect, aexpect_2011
    session = aexpect_2011.counterpart(aexpect.RemoteSession)(
        linesep=o["linesep"], prompt=o["prompt"], client=o["client"], host=o["host"],
        port=o["port"], username=o["username"], password=o["password"], login=o,
        output_func=log_function, output_prefix=o["host"] if log_function else "",
        output_params=(o["log_filename"],) if log_function and o["log_filename"] else (),
        engine=_connect(o, None if log_function else o["log_filename"], where))
    if o.get("shell_output_limit"):
        session.output_limit = int(o["shell_output_limit"])
    return session


def _finish(session, o, clock, where, unended):
    """Find the prompt; return the session.  unended: how it is kept for the next login if there is no time, or None."""
    from virtvm.companions import _unended
    try:
        if o["client"] == "ssh":
            _find_prompt(session, clock.left(), where)
        else:
            _remote_login(session, o["username"], o["password"], o["prompt"], clock.left())
    except LoginTimeoutError:
        if unended is None:
            session.close()
        else:
            _unended.keep(unended)
        raise
    except BaseException:
        session.close()
        raise
    return session


def _connect(o, log_filename, where):
    from virtvm import _session
    try:
        if o["client"] == "ssh":
            return _session.open_ssh(
                str(o["host"]), int(o["port"]), o["username"], o["password"] or None,
                identity_file=o["ssh_identity_file"],
                passphrase=o.get("ssh_identity_passphrase") or secrets.passphrase(), known_hosts=o["ssh_known_hosts"],
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
    return logs.log_file_path(log_filename)


def _login_error(e, where):
    """The exception of the field that an EngineError of opening a session stands for."""
    if e.code in ("auth", "denied"):
        exc = LoginAuthenticationError("Authentication refused", "")
    elif e.code == "timeout":
        exc = LoginTimeoutError("")
    else:
        exc = LoginError(login_sentence(e), "")
    return diagnosed(exc, stage=e.stage, methods=e.methods, detail=e.detail, said=e.said,
                     denied=True if e.code == "denied" else None, **where)


_SENTENCES = {
    "resolve": "Host name not found",
    "connect": "Cannot connect",
    "banner": "No SSH server answered",
    "kex": "Key exchange failed",
    "hostkey": "Host key verification failed",
    "channel": "The server refused a shell",
    "later": "The server refuses us for now",
    "denied": "Authentication refused",
}


def login_sentence(e):
    """What an EngineError of connecting and logging in comes to, in a few words (str)."""
    if e.code == "eof" or (e.code == "connect" and e.errno == errno.ECONNRESET):
        return "Client said 'connection closed'"
    if e.code == "connect" and e.errno == errno.ECONNREFUSED:
        return "Client said 'connection refused'"
    return _SENTENCES.get(e.code, "Login failed")


# What asks for a new password in the shell's place.  It ends the login at once: nobody answers.
_CHANGE = r"(?i)(?:current|old|new)\)?(?: \S+)? password: ?$"


class _Expired(Exception):
    """The account's password has to be changed; the argument is what asked for that."""


def _unless_expired(match):
    """A session's match function that raises _Expired where a new password is asked for."""
    import re
    change = re.compile(_CHANGE.encode())

    def matches(line):
        if change.search(line):
            raise _Expired(line.decode("ascii", "replace"))
        return match(line)
    return matches


def _find_prompt(session, timeout, where):
    """session.find_prompt() with the exceptions of a login."""
    import re
    from virtvm.companions import aexpect
    asked, match = session.status_test_command, session._match
    if re.search(session.prompt, "C:\\>") and asked in ("echo $?", "", None):
        session.status_test_command = "echo %errorlevel%"   # what cmd.exe can prove itself by
    session._match = _unless_expired(match)
    try:
        session.find_prompt(timeout)
    except _Expired as e:
        exc = LoginAuthenticationError("The password has expired", session.get_output()[-_KEPT:])
        raise diagnosed(exc, stage="prompt", detail="the guest asks for a new one: %s" % e, denied=True,
                        **where) from None
    except aexpect.ExpectTimeoutError as e:
        exc = LoginTimeoutError(e.output[-_KEPT:])
    except aexpect.ExpectProcessTerminatedError as e:
        exc = LoginProcessTerminatedError(e.status, e.output[-_KEPT:])
    except aexpect.ExpectError as e:
        exc = LoginError("Login failed", e.output[-_KEPT:])
    else:
        return
    finally:
        session.status_test_command, session._match = asked, match
    raise diagnosed(exc, stage="prompt", detail="no line matched %r" % session.prompt
                    if isinstance(exc, LoginTimeoutError) else None, **where) from None


# ---- the dialogue of text consoles ----

# What may stand last on a console, without the messages that were written into it, and what it is.
# "Last login:" is the start of a line whose rest a slow console has not brought yet.
_QUESTIONS = [r"[Aa]re you sure", r"[Pp]assword:\s*$", r"(?<!ast )(?<!failed )[Ll]ogin:\s*$",
              r"[Cc]onnection.*closed", r"[Cc]onnection.*refused", r"[Pp]lease wait",
              r"[Ww]arning"]
_SURE, _PASSWORD, _USERNAME, _CLOSED, _REFUSED, _WAIT, _WARNING, _PROMPT = range(8)
# Of our own consoles alone.  sulogin's question has two lines.
_MAINTENANCE = (r"(?i)root password for (?:maintenance|system maintenance)[^\n]*"
                r"(?:\n?\(or (?:press|type) Control-D[^\n]*)?:\s*$")
_ENTER = (r"(?i)escape character is|press (?:the )?(?:any key|\[?(?:enter|return)\b)|Enter `\^Ec\?'"
          r"|\(or (?:press|type) Control-D to continue\):?\s*$")
_SILENCE = "silence"

# The kernel's messages, and what systemd says of its units, wherever on a line they begin.
_MESSAGES = (r"\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? [^\n]*(?:\n|$)"
             r"|\[(?:  OK  |FAILED|DEPEND| INFO | WARN | TIME | SKIP )\] [^\n]*(?:\n|$)")


# A guest may print without end: of a dialogue that much is kept (characters), and that much
# of its end is searched for a question; what is read is looked at this often (seconds).
_KEPT = 65536
_SEARCHED = 4096
_SLICE = 0.2
_TALK_MAX = 100         # warnings and the like that are listened to
_SETTLED = 0.05
_LOST = 2.0             # seconds of silence after which an answer is taken for lost
_NAMES_MAX = 4          # times that a name is given
_NUDGES_MAX = 8
_SEEN_MAX = 20          # steps whose output is kept


def _plain(text):
    """text (str) as a terminal shows it, and as it was before the console wrote its messages into it."""
    import re
    from virtvm.session.text import shown
    return re.sub(_MESSAGES, "", shown(text))


def _find_question(session, patterns, plain):
    """Which of the patterns (an index), or which other question, stands last; None for none."""
    import re
    line = session._last_line(plain)
    found = session.match_patterns(line, patterns)
    if found in (_CLOSED, _REFUSED) and session._engine.transport == "unix":
        found = None                    # a service of the guest's says so: no client of ours
    if found is None or found == _PASSWORD:
        tail = plain.rstrip()[-300:]
        if re.search(_MAINTENANCE, tail):
            return _PASSWORD
        if found is None and (re.search(_ENTER, line) or re.search(_ENTER, tail.split("\n")[-1])):
            return _ENTER
    return found


def _next_question(session, patterns, clock):
    """session.read_until_last_line_matches(), in bounded time and memory, for our sessions.

    Messages of the kernel's are looked through, however they go on.  _SILENCE once nothing else
    has come for a while.
    """
    from virtvm.companions import aexpect
    output, stood, since = "", None, clock.left()
    while True:
        piece, why = session._read(_SETTLED, min(_SLICE, clock.left()))
        output = (output + piece)[-_KEPT:]
        plain = _plain(output[-_SEARCHED:])
        # A slice that ended in the middle of the talk says nothing about the last line.
        if why != "timeout" or not piece or plain == stood or clock.expired():
            found = _find_question(session, patterns, plain)
            if found is not None:
                return found, output
        if why not in ("quiet", "timeout", "limit"):
            raise aexpect.ExpectProcessTerminatedError(patterns, session._engine.status, output)
        if clock.expired():
            raise aexpect.ExpectTimeoutError(patterns, output)
        if plain != stood:
            stood, since = plain, clock.left()
        elif since - clock.left() >= _LOST:
            return _SILENCE, output


def _last_lines(output):
    """The last line of a dialogue's output as it is, and without the messages that were written into it."""
    from virtvm.companions import aexpect
    end = output[-_SEARCHED:]
    return [aexpect.Expect._last_line(text) for text in (end, _plain(end))]


def _tells_of_logins(output):
    """Whether "login:" is the end of what tells of an earlier one, whose begin came as talk."""
    import re
    return any(re.search(r"(ast|failed) [Ll]ogin:\s*$", line) for line in _last_lines(output))


def _refuse_change(output):
    """LoginAuthenticationError if a new password is asked for: ours would become that one."""
    import re
    if any(re.search(_CHANGE, line.rstrip()) for line in _last_lines(output)):
        raise diagnosed(LoginAuthenticationError("The password has expired", output), denied=True)


class _Dialogue:
    """Answers what a login asks, each question once."""

    def __init__(self, session, username, password):
        self._session, self._username, self._password = session, username, password
        self._asked = {_USERNAME: 0, _PASSWORD: 0}
        self._talked = 0                # what may be said again and again
        self._nudged = 0
        self._last = None               # the question that was answered last
        self._heard = ""                # talk that was not answered: a question's line may begin in it
        self.timeout = None             # a longer one, once the guest asked for patience

    def answer(self, question, output):
        """Reply to a question; True once it is the prompt."""
        session = self._session
        if question == _USERNAME and _tells_of_logins(self._heard + output):
            question = _WARNING
        if question in (_SURE, _WAIT, _WARNING):
            self._talked += 1
            if self._talked > _TALK_MAX:
                raise LoginError("The guest talks without end", output)
        if question == _SURE:
            session.sendline("yes")
        elif question == _PASSWORD:
            _refuse_change(output)
            _refuse_change(self._heard + output)        # its line may have begun there
            self._once(_PASSWORD, "Got password prompt twice", output)
            session.sendline(self._password)
        elif question == _USERNAME:
            if self._asked[_PASSWORD]:
                raise LoginAuthenticationError("Got username prompt after password prompt",
                                               output)
            self._name(output)
        elif question in (_SILENCE, _ENTER):
            self._nudge(question, output)
        elif question == _CLOSED:
            raise LoginError("Client said 'connection closed'", output)
        elif question == _REFUSED:
            raise LoginError("Client said 'connection refused'", output)
        elif question == _WAIT:
            self.timeout = 30
        if question not in (_SILENCE, _WAIT, _WARNING):
            self._last = question
        elif question != _SILENCE and self._last == _USERNAME:
            self._last = None           # somebody took the name
        is_talk = question in (_WAIT, _WARNING, _SILENCE)
        self._heard = (self._heard + output)[-_SEARCHED:] if is_talk else ""
        return question == _PROMPT

    def _name(self, output):
        """Give the user's name: again where a getty has flushed it, which then asks once more."""
        if self._asked[_USERNAME] >= _NAMES_MAX:
            raise LoginAuthenticationError("Got username prompt twice", output)
        self._asked[_USERNAME] += 1
        self._session.sendline(self._username)

    def _nudge(self, question, output):
        """What waits for Enter gets it; after a name that nobody took the name is given again."""
        is_lost = question == _SILENCE and self._last == _USERNAME \
            and _plain(self._heard + output).strip() in ("", self._username)
        if is_lost and self._asked[_USERNAME] < _NAMES_MAX:
            self._name(output)
        elif self._nudged < _NUDGES_MAX:
            self._nudged += 1
            self._session.sendline()

    def _once(self, question, complaint, output):
        if self._asked[question]:
            raise LoginAuthenticationError(complaint, output)
        self._asked[question] += 1


def _remote_login(session, username, password, prompt, timeout=10):
    """Answer a text console's login dialogue until the prompt appears.

    session: a ShellSession, or an object with its methods.  timeout: seconds for all of it;
    for each step where the session is none of ours.  Returns what was read (str).
    Raises LoginAuthenticationError, LoginTimeoutError, LoginProcessTerminatedError, LoginError.
    """
    password = hidden(password)
    try:
        return _hold_dialogue(session, username, password, prompt, timeout)
    except LoginError as e:
        if password and password in (e.output or ""):       # a console that echoes
            e.output = e.output.replace(password, secrets.MASK)
            e.args = tuple(arg.replace(password, secrets.MASK) if isinstance(arg, str) else arg for arg in e.args)
        raise


def _hold_dialogue(session, username, password, prompt, timeout):
    from virtvm.companions import aexpect
    ours = isinstance(session, aexpect.ShellSession)
    dialogue = _Dialogue(session, username, password)
    clock = aexpect._Deadline(timeout)
    where = {"user": username, "stage": "prompt"}
    if ours:
        where.update(session._where)
    seen = []
    while True:
        try:
            if ours:
                question, output = _next_question(session, _QUESTIONS + [prompt], clock)
            else:
                question, output = session.read_until_last_line_matches(
                    _QUESTIONS + [prompt], timeout=dialogue.timeout or timeout, internal_timeout=0.5)
        except aexpect.ExpectTimeoutError as e:
            # A guest that fell silent after a question: that one tells where.
            exc = LoginTimeoutError(e.output or "".join(seen[-1:]))
            raise diagnosed(exc, **where) from None
        except aexpect.ExpectProcessTerminatedError as e:
            raise diagnosed(LoginProcessTerminatedError(e.status, e.output), **where) from None
        seen = [*seen[-_SEEN_MAX:], output]
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
            _find_prompt(session, clock.left(), where)
        finally:
            session.set_prompt(asked)
    return "".join(seen)


def handle_prompts(session, username, password, prompt=PROMPT_LINUX, timeout=10, debug=False):
    """The login dialogue by aexpect 1.8's name; returns what was read (str).

    debug: log it.
    """
    password = hidden(password)
    output = _remote_login(session, username, password, prompt, timeout)
    if debug:
        logging.debug("Login dialogue: %r", output)
    return output


def wait_for_login(client, host, port, username, password, prompt, linesep="\n",
                   log_filename=None, timeout=240, internal_timeout=10, *rest, **keywords):
    """Call remote_login until it succeeds or timeout seconds are over.

    internal_timeout: the timeout of each try.  The last failure is raised, with `tries`
    saying how many there were.  After a refused password it rests for 2, 4 and then 6 seconds; an
    account that is denied is tried eight times at most.  The other arguments are those of remote_login, aexpect
    1.8's included; its order is taken where a function or None stands in timeout's place.
    """
    from time import monotonic, sleep
    password, keywords = hidden(password), hidden_items(keywords)
    if callable(timeout) or timeout is None:
        names = ("timeout", "internal_timeout", "interface", "preferred_authentication",
                 "user_known_hosts_file")
        keywords.update(zip(names, (internal_timeout, *rest)), log_function=timeout)
        timeout = keywords.pop("timeout") if rest or internal_timeout != 10 else 240
        keywords.pop("timeout", None)
        internal_timeout = keywords.pop("internal_timeout", 10)
    elif rest:
        raise TypeError("wait_for_login() takes no positional argument after internal_timeout")
    end, tries, refused = monotonic() + timeout, 0, 0
    while True:
        began, tries = monotonic(), tries + 1
        try:
            return remote_login(client, host, port, username, password, prompt, linesep,
                                log_filename, internal_timeout, **keywords)
        except LoginError as e:
            pause = _PAUSE
            if isinstance(e, LoginAuthenticationError):
                pause = _AUTH_PAUSES[min(refused, len(_AUTH_PAUSES) - 1)]
                refused += 1
            if monotonic() >= end or (e.denied and refused >= _DENIED_MOST):
                raise diagnosed(e, tries=tries)
        sleep(max(0.0, min(began + pause, end) - monotonic()))
