"""Bytes of a guest's as text, and lines as a terminal shows them."""
import random

import pytest
from virtvm import _session
from virtvm.session.text import decoded, decoder, shown, shown_lines

# What begins, goes on with and ends characters, and what is in none.
BYTES = [0, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xac, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe2, 0xed, 0xef, 0xf0,
         0xf4, 0xf5, 0xff]


@pytest.mark.parametrize("errors", ["backslashreplace", "ignore"])
def test_as_python_itself_decodes(errors):
    drawn = random.Random(7)
    for _ in range(20000):
        data = bytes(drawn.choices(BYTES, k=drawn.randrange(12)))
        expected = data.decode("utf-8", errors)
        assert decoded(data, "utf-8", errors) == expected, data
        decode, text, at = decoder("UTF8", errors), "", 0
        while at < len(data):
            end = at + drawn.randrange(1, 4)
            text, at = text + decode(data[at:end], end >= len(data)), end
        assert text == expected, data


def test_other_encodings():
    assert decoded(b"a\xff", "latin-1") == "a\xff" and decoded(b"a\xff", "ascii") == "a\\xff"
    decode = decoder("utf-16-le")
    assert decode(b"a") == "" and decode(b"\0b\0") == "ab"


def test_a_character_is_waited_for_and_nothing_else():
    decode = decoder("utf-8")
    assert decode("\U0001f600".encode()[:3]) == "" and decode("\U0001f600".encode()[3:]) == "\U0001f600"
    assert decode(b"\xe0\x80") == "\\xe0\\x80" and decode(b"\xe2") == "" and decode(b"a") == "\\xe2a"
    assert decode(b"\xf0\x9f") == "" and decode(b"", True) == "\\xf0\\x9f"


def test_limit_is_for_the_text():
    assert decoded(b"ab\xff", "utf-8", limit=6) == "ab\\xff"
    assert decoded(b"ab\xff", "utf-8", limit=5) is None
    assert decoded(b"abcdef", "utf-8", limit=5) == "abcdef"         # whoever read it has looked at its length
    whole = "\xe9".encode() * 10
    assert _session.escaped(whole) is whole
    for wrong in (-1, "x", 1 << 80):
        with pytest.raises((TypeError, OverflowError)):
            _session.escaped(b"", wrong)
    with pytest.raises(TypeError):
        _session.escaped("text")


@pytest.mark.parametrize("line, expected", [
    ("plain", "plain"), ("", ""), ("\x1b[1mvm\x1b[0m # \x1b[K\x1b[50C[12:50]\x1b[57D\x1b[?1h\x1b=", "vm # "),
    ("abc\b\bX", "aXc"), ("\x1b]0;title\x07login: ", "login: "), ("\x1b[Hx\x1b[2J", ""), ("a\x1b7bc\x1b8B", "aBc"),
    ("caf\xe9\x1b[D\x1b[D!", "ca!\xe9"), ("cut \x1b[12", "cut "), ("\ud800\x1b[m", "?"),
    ("root@vm # \x1b[3Cright\x1b[8D", "root@vm # ")])
def test_shown(line, expected):
    assert shown(line) == expected
    assert shown("above\n" + line + "\n") == "above\n" + expected + "\n"
    assert next(shown_lines("above\r\n" + line + "x\b \b"), "").startswith(expected.rstrip()[:1])


def test_shown_takes_bytes():
    with pytest.raises(TypeError):
        _session.shown("text")
    assert _session.shown(b"") == b"" and _session.shown(b"\xff\x1b[D") == b"\xff"
