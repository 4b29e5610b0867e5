"""The model of a terminal's line (console/text.c, shell/echo.c) beside a whole terminal's, pyte's, fed by what
shells really draw at 40, 80 and 200 columns (tests/corpus/drawings/shells.json)."""

import random
import re
import struct
import subprocess

import pyte
import pytest
from support.drawings import COMMANDS, DRAWERS, WIDTHS, drawings
from support.driver import build

pytestmark = pytest.mark.once         # the C core before a library
WIDE = 1200             # columns: no row of a drawing goes on with the next one there
SPLITS = 6              # places where a line is cut off, of each; drawn by lot
SCROLLS = {"mksh", "busybox"}       # they show a part of a long line, or none of letters beyond ASCII
DRAWINGS = drawings()
NAMES = ["%(shell)s-%(columns)d-%(command).12s" % drawing for drawing in DRAWINGS]


class Model:
    """Our own one."""

    def __init__(self):
        self.driver = subprocess.Popen([build("shown_driver")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, what, *texts):
        self.driver.stdin.write(what + b"".join(struct.pack("<I", len(text)) + text for text in texts))
        self.driver.stdin.flush()

    def shown(self, line):
        self.send(b"s", line)
        size, = struct.unpack("<I", self.driver.stdout.read(4))
        return self.driver.stdout.read(size).decode("utf-8", "replace")

    def echoes(self, prompt, command, text):
        self.send(b"e", prompt, command, text)
        return self.driver.stdout.read(1) == b"1"

    def close(self):
        self.driver.stdin.close()
        self.driver.stdout.close()
        self.driver.wait()


@pytest.fixture(scope="module")
def model():
    model = Model()
    yield model
    model.close()


def screen(text, columns, rows):
    """pyte's, once the text has come."""
    screen = pyte.Screen(columns, rows)
    # Modes of terminals that are newer than pyte, which would show a part of them.
    pyte.ByteStream(screen).feed(re.sub(rb"\x1b\[[<=>][0-9;]*[a-z]", b"", text))
    return screen


def bare(text):
    return "".join(text.split())


def row(screen, stop=WIDE):
    """The text of the first row, before the column `stop`."""
    return "".join(screen.buffer[0][column].data for column in range(stop))


def check(model, line):
    """What one row shows; what stands at the right edge, with the cursor left of it, may be left out."""
    wide = screen(line, WIDE, 1)
    assert bare(model.shown(line)) in (bare(row(wide)), bare(row(wide, wide.cursor.x))), line


def characters(line):
    """Where a line may be cut off: not within a character."""
    return [n for n in range(len(line) + 1) if n == len(line) or line[n] & 0xc0 != 0x80]


@pytest.mark.parametrize("drawing", DRAWINGS, ids=NAMES)
def test_rows_show_what_a_terminal_shows(model, drawing):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    lots = random.Random(seed)
    lines = (drawing["prompt"] + drawing["drawn"]).split(b"\n")
    for line in lines:
        places = characters(line)
        for n in [len(line), *lots.sample(places, min(SPLITS, len(places)))]:
            check(model, line[:n])


@pytest.mark.parametrize("drawing", DRAWINGS, ids=NAMES)
def test_echo_is_seen_where_a_terminal_shows_it(model, drawing):
    """Over several rows, too: what the terminal shows, all its rows in one, is the prompt and the command."""
    prompt, drawn = drawing["prompt"], drawing["drawn"]
    echo = drawn[:drawn.index(b"\n") + 1]
    shown = screen(prompt + echo, drawing["columns"], 20)
    everything = "".join(shown.buffer[y][x].data for y in range(20) for x in range(drawing["columns"]))
    if drawing["shell"] not in SCROLLS:
        everything = re.sub(r"\[\d\d:\d\d\]", "", everything)        # the right prompt
        assert bare(everything).endswith(bare(drawing["command"])), "not a drawing of an echo"
    assert model.echoes(prompt, drawing["command"].encode(), drawn)
    assert not model.echoes(prompt, drawing["command"].encode() + b"z", drawn)
    for n in range(len(echo)):
        assert not model.echoes(prompt, drawing["command"].encode(), drawn[:n]), "not before its newline"


def test_drawings_are_of_all():
    assert {(d["shell"], d["columns"]) for d in DRAWINGS} == {(name, width) for name in DRAWERS for width in WIDTHS}
    assert {d["command"] for d in DRAWINGS} == set(COMMANDS)
