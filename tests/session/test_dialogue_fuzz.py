"""The login dialogue of text consoles with a guest that says anything, cut and closed anywhere.

The guest is a stand-in with a clock of its own: time is what its pauses add up to.
"""

import codecs
import re
import traceback

import pytest
from hypothesis import example, given, settings, strategies as st
from virtvm import _session
from virtvm.companions import _local, aexpect, login
from virtvm.companions.exceptions import LoginError

pytestmark = pytest.mark.once

USER, PASSWORD = "canary-user", "canary-5ecret"
PROMPT = r"[\#\$]\s*$"
TIMEOUT = 10.0
SAID = [
    "login: ", "Login:", "guest login: ", "Password: ", "password:", "root's Password:\x1b[0m ",
    "Current password: ", "(current) UNIX password: ", "New password: ", "Retype new password: ",
    "Are you sure you want to continue connecting (yes/no)? ", "Please wait...", "please wait",
    "Warning: Permanently added", "warning", "Connection closed by foreign host.", "Connection refused",
    "Last login: ", "Mon Nov 30 from 10.0.0.2", "Last failed login: ", "Login incorrect", "# ", "$ ", "root@guest:~# ",
    "\x1b[1;32mroot#\x1b[0m ", "[    1.234567] eth0: link up", "[ 12.000001] audit: password: ", "\x1b[?2004h",
    "\x1b]0;title\a", "\x1b", "\n", "\r\n", "\r", " ", "\0", "\xff", "\u2028", "x" * 5000]
PAUSES = st.sampled_from([0.0, 0.0, 0.01, 0.06, 0.3, 3.0])
STEPS = 1000            # what the dialogue may ask of the guest: its timeout is 50 slices


class Clock:
    """In place of aexpect._Deadline: the guest's time."""

    now = 0.0

    def __init__(self, timeout):
        self.end = Clock.now + timeout

    def left(self):
        return max(0.0, self.end - Clock.now)

    def expired(self):
        return Clock.now >= self.end


class Guest(_local.NoEngine):
    """Says its pieces, each after a pause; then it closes the connection, or is silent."""

    transport, ended, closed = "telnet", False, False

    def __init__(self, pieces, closes):
        self.pieces, self.closes = list(pieces), closes
        self.unanswered, self.sent, self.steps = b"", [], 0

    def _next(self, longest):
        """The next piece if it comes in time, b"" if it does not, None at the end of all."""
        self.steps += 1
        assert self.steps < STEPS, "the dialogue goes on and on"
        if not self.pieces and self.closes:
            return None
        pause = self.pieces[0][0] if self.pieces else longest + 1
        if pause > longest:
            Clock.now += longest
            if self.pieces:
                self.pieces[0] = (pause - longest, self.pieces[0][1])
            return b""
        Clock.now += pause
        piece = self.pieces.pop(0)[1]
        self.unanswered += piece
        return piece

    def read(self, silence, timeout, limit=0):
        end, output = Clock.now + timeout, b""
        while True:
            left = end - Clock.now
            piece = self._next(min(silence, left))
            if piece is None:
                self.ended = True
                return output, "eof"
            output += piece
            if Clock.now >= end or not piece:
                return output, "timeout" if Clock.now >= end else "quiet"

    def find_prompt(self, match, *, timeout, **keywords):
        end, line = Clock.now + timeout, self.unanswered.split(b"\n")[-1]
        while Clock.now < end:
            piece = self._next(min(0.1, end - Clock.now))
            if piece is None:
                self._give_up("eof")
            line = (line + piece).split(b"\n")[-1]
            if not piece and line and match(line):
                return line
        self._give_up("timeout")

    def _give_up(self, code):
        error = _session.EngineError(code)
        error.code, error.stage, error.detail, error.output = code, "prompt", code, self.unanswered
        raise error

    def write(self, data, timeout=0.0):
        self.sent.append((data, self.unanswered))
        self.unanswered = b""

    def close(self):
        self.closed = True

    def kill(self, sig):
        return False


def last_line(output, longest=3000):
    """longest: characters of a message; the dialogue may have seen the end of a longer one alone."""
    text = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode(output)     # without half a character
    # A sequence that is cut off shows nothing.
    text = aexpect.strip_console_codes(re.sub("\x1b(\\[[0-?]*)?$", "", text.replace("\r", "")))
    # What the kernel says is no question, and hides none.
    text = re.sub(r"\[ *\d+\.\d{6}\] .{0,%d}(\n|$)" % longest, "", text)
    return ([""] + [line for line in text.splitlines() if line.strip()])[-1]


def cut(text, places):
    """text (bytes) in pieces, each with its pause."""
    ends = sorted(place % (len(text) + 1) for place, _pause in places)
    pieces = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)])]
    pauses = [0.0, *(pause for _place, pause in places)]
    return [(pause, piece) for pause, piece in zip(pauses, pieces) if piece]


CUTS = st.lists(st.tuples(st.integers(0, 1 << 16), PAUSES), max_size=8)
TALK = st.lists(st.tuples(st.sampled_from(SAID), PAUSES), max_size=12)


def log_in(guest):
    """What remote_login() comes to: a session, or a LoginError."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(login, "_connect", lambda *args: guest)
        patch.setattr(aexpect, "_Deadline", Clock)
        patch.setattr(Clock, "now", 0.0)
        try:
            return login.remote_login("telnet", "192.0.2.1", 23, USER, PASSWORD, PROMPT, timeout=TIMEOUT), Clock.now
        except LoginError as e:
            return e, Clock.now


def check(guest):
    outcome, took = log_in(guest)
    assert took <= TIMEOUT + 1
    if isinstance(outcome, LoginError):
        shown = "".join(traceback.TracebackException.from_exception(outcome, capture_locals=True).format())
        assert guest.closed
    else:
        shown = repr(outcome)
        assert not guest.closed
        outcome.close()
    assert PASSWORD not in shown + repr(vars(outcome)) + str(outcome)
    answers = [(data, last_line(asked)) for data, asked in guest.sent]
    passwords = [asked for data, asked in answers if PASSWORD.encode() in data]
    names = [(asked, last_line(said, 10 ** 9)) for (data, asked), (_data, said) in zip(answers, guest.sent)
             if USER.encode() in data]
    assert len(passwords) <= 1 and len(names) <= 4
    for asked in passwords:
        assert re.search(r"[Pp]assword:\s*$", asked)
        assert not re.search(r"(?i)(current|new)\)?( \S+)? password:\s*$", asked)
    # One that nobody took is given again, wherever the guest is silent: a name is no secret.
    for both in names[:1]:
        assert any(re.search(r"[Ll]ogin:\s*$", asked) and not re.search(r"(ast|failed) login:\s*$", asked)
                   for asked in both)
    return outcome


@settings(max_examples=200, derandomize=True)
@given(TALK, CUTS, st.booleans())
@example([("New password: ", 0.0)], [], False)
@example([("root's Password:\x1b[0m ", 0.0)], [(17, 0.06)], False)
@example([("root's Password:\x1b[0m ", 0.0)], [(19, 0.06)], False)
@example([("Please wait...", 0.0), ("Current password: ", 0.0)], [(1, 0.06)], False)
@example([("login: ", 0.06), ("Please wait...", 0.0)], [], False)
@example([("login: ", 0.06), ("[    1.234567] eth0: link up", 0.0)], [], False)
@example([("[    1.234567] eth0: link up", 0.0), ("Current password: ", 0.0), ("[ 12.000001] audit: password: ", 0.0)],
         [(0, 3.0)], False)
@example([("Please wait...", 0.0), ("Last failed login: ", 0.0)], [(6, 0.06)], False)
@example([("login: ", 0.06), ("[    1.234567] eth0: link up", 3.0), ("Please wait...", 0.0)], [], False)
@example([("Last login: ", 0.3), ("Mon Nov 30", 0.3), ("\r\n# ", 0.0)], [], False)
def test_a_guest_that_says_anything(talk, cuts, closes):
    pieces, pause = [], 0.0
    for text, after in talk:
        said = cut(text.encode("utf-8", "replace"), cuts)
        pieces += [(pause + said[0][0], said[0][1]), *said[1:]] if said else []
        pause = after
    check(Guest(pieces, closes))


@settings(max_examples=100, derandomize=True)
@given(st.lists(st.tuples(PAUSES, st.binary(max_size=200)), max_size=10), st.booleans())
def test_a_guest_that_says_any_bytes(pieces, closes):
    check(Guest([(pause, piece) for pause, piece in pieces if piece], closes))


@pytest.mark.parametrize("text", [b"Are you sure? ", b"warning\n", b"Please wait\n", b"x", b"\x1b[", b"\r\n"])
def test_a_guest_that_never_ends(text):
    for pause in (0.0, 0.01, 0.06):
        guest = Guest([], False)
        guest._next = lambda longest, pause=pause, guest=guest: endless(guest, longest, pause, text)
        assert isinstance(check(guest), LoginError)


def endless(guest, longest, pause, text):
    guest.steps += 1
    Clock.now += min(max(pause, 0.001), longest)
    assert Clock.now <= TIMEOUT + 1
    piece = text if pause <= longest else b""
    guest.unanswered += piece
    return piece


@pytest.mark.parametrize("cuts", range(1, 60))
def test_a_login_that_is_cut_anywhere(cuts):
    """Each piece is followed by a silence in which the dialogue looks at what it has."""
    said = b"Warning: be good\r\nguest login: Password: \r\nLast login: Mon Nov 30 from 10.0.0.2\r\nroot@guest:~# "
    ends = [said.index(b"login: ") + 7, said.index(b"Password: ") + 10]
    pieces, at = [], 0
    for end in sorted({*ends, *range(cuts, len(said), cuts), len(said)}):
        pieces.append((0.06, said[at:end]))
        at = end
    outcome = check(Guest(pieces, False))
    assert not isinstance(outcome, LoginError), str(outcome)


K = b"[   12.345678] eth0: link becomes ready\r\n"
SYSTEMD = b"[\x1b[0;32m  OK  \x1b[0m] Started a service.\r\n"
END = b"\r\nLast login: Mon Nov 30 from 10.0.0.2\r\nroot@guest:~# "
# What consoles say, in turns; between these the dialogue's answer is due.
DIALOGUES = {
    "messages-behind-questions": [b"guest login: " + K, b"Password: " + K + SYSTEMD, END],
    "messages-in-questions": [b"gue" + K + b"st log" + K + b"in: ", b"Pass" + K + b"word: ",
                              b"\r\nroot@gu" + K + b"est:~# "],
    "units": [SYSTEMD + b"guest login: " + SYSTEMD, b"Password: " + SYSTEMD, END],
    "virsh": [b"Connected to domain 'vm'\r\nEscape character is ^] (Ctrl + ])\r\n", b"\r\nguest login: ",
              b"Password: ", END],
    "busybox": [b"\r\nPlease press Enter to activate this console. ", b"\r\nroot@guest:~# "],
    "emergency": [b"You are in emergency mode.\r\nGive root password for maintenance\r\n"
                  b"(or press Control-D to continue): ", b"\r\nroot@guest:~# "],
    "rescue": [b"Press Enter for maintenance\r\n(or press Control-D to continue): ", b"\r\nroot@guest:~# "],
    "sulogin": [b"Give root password for maintenance (or type Control-D to continue): ", b"\r\nroot@guest:~# "],
    "asked-again": [b"guest login: ", b"guest login: ", b"Password: ", END],
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogues_at_every_split_point(name):
    turns = DIALOGUES[name]
    for split in range(1, sum(map(len, turns))):
        pieces, at = [], 0
        for turn in turns:
            place = split - at
            cuts = [turn[:place], turn[place:]] if 0 < place < len(turn) else [turn]
            pieces += [(0.06, piece) for piece in cuts]
            at += len(turn)
        outcome = check_turns(Guest(pieces, False))
        assert not isinstance(outcome, LoginError), (split, str(outcome))


def check_turns(guest):
    """check(), but for the question of two lines, which ends otherwise."""
    outcome, took = log_in(guest)
    assert took <= TIMEOUT + 1
    assert sum(PASSWORD.encode() in data for data, _asked in guest.sent) <= 1
    if not isinstance(outcome, LoginError):
        outcome.close()
    return outcome


def test_a_name_that_nobody_took_is_given_again():
    """A getty that flushes its input says nothing more."""
    guest = Guest([(0.0, b"guest login: "), (5.0, b"Password: "), (0.06, END)], False)
    assert not isinstance(check(guest), LoginError)
    assert sum(USER.encode() in data for data, _asked in guest.sent) > 1


def test_a_service_that_is_refused_ends_no_console(monkeypatch):
    monkeypatch.setattr(Guest, "transport", "unix")
    guest = Guest([(0.0, b"mount of 192.0.2.9: connection refused\r\n"), (0.3, b"guest login: "),
                   (0.06, b"Password: "), (0.06, END)], False)
    assert not isinstance(check_turns(guest), LoginError)
