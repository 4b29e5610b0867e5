"""Of several places that say a param the last one wins: by `virtvm run`, by pytest and by `virtvm list` alike."""

import json
import os
import subprocess
import sys

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# From the weakest to the strongest.  An option says kernel alone, so that what wins over it is asked by that.
PLACES = ["defaults", "guest", "first.toml", "middle.cfg", "variant", "last.toml", "tests.test_x",
          "tests.TestX::test_x", "tests.test_x[1]", "outer marker", "marker", "option", "param"]
# What `virtvm list` can't know: it shows variants, not tests.
NOT_LISTED = {"tests.TestX::test_x", "tests.test_x[1]", "outer marker", "marker"}

# The defaults and the guest say what is asked here, as all else does.
START = """
import sys
from virtvm.params import config, table
table.DEFAULTS.update(%(defaults)r)
class Guest:
    def params(self):
        return %(guest)r
config._built = lambda folder, build: Guest()
"""
WAYS = {
    "run": (START + "from virtvm import cli; sys.exit(cli.main(['run', 'test_x.py', *sys.argv[1:]]))", "--"),
    "pytest": (START + "import pytest; sys.exit(pytest.main(['-p', 'no:cacheprovider', '-p', 'virtvm.pytest_plugin',"
                       " 'test_x.py', *sys.argv[1:]]))", "--virtvm-"),
    "list": (START + "from virtvm import cli; sys.exit(cli.main(['list', '--json', *sys.argv[1:]]))", "--"),
}
TEST = """
import json
import pytest

@pytest.mark.virtvm(%(outer)s)
class TestX:
    @pytest.mark.virtvm(%(inner)s)
    @pytest.mark.parametrize("number", [1])
    def test_x(self, params, number):
        with open("found.json", "w") as f:
            json.dump(dict(params), f)
"""


def said_by(folder, place):
    """{param: value} that a place says: who_N of each place from there on, so that place N is its last."""
    if place == "option":
        return {"kernel": str(folder / place)}
    found = {"who_%d" % number: place for number in range(PLACES.index(place), len(PLACES))}
    return found if place == "param" else {**found, "kernel": str(folder / place)}


def write(folder):
    """The files, and the words (list of str) that all ways have in common, with their prefix left out."""
    said = {place: said_by(folder, place) for place in PLACES}
    for place in PLACES:
        (folder / place).write_text("")
    for name in ("first.toml", "last.toml"):
        (folder / name).write_text("[params]\n" + lines(said[name], "'"))
    (folder / "last.toml").write_text((folder / "last.toml").read_text() + "".join(
        "[tests.'%s']\n%s" % (place.partition(".")[2], lines(said[place], "'"))
        for place in PLACES if place.startswith("tests.")))
    variant = "".join("        %s\n" % line for line in ["type = test_x", *lines(said["variant"]).splitlines()])
    (folder / "middle.cfg").write_text(lines(said["middle.cfg"]) + "variants:\n    - one:\n" + variant)
    (folder / "test_x.py").write_text(TEST % {
        word: ", ".join("%s=%r" % item for item in said[place].items())
        for word, place in (("outer", "outer marker"), ("inner", "marker"))})
    words = [("guest", "guest"), ("kernel", "option")]
    words += [("config", name) for name in ("first.toml", "middle.cfg", "last.toml")]
    return words + [("param", "%s=%s" % item) for item in said["param"].items()]


def lines(params, quote=""):
    return "".join("%s = %s%s%s\n" % (key, quote, value, quote) for key, value in params.items())


def last(number, way):
    """The strongest place up to that number that says params of any name, and that this way knows."""
    return [place for place in PLACES[:number + 1]
            if place != "option" and not (way == "list" and place in NOT_LISTED)][-1]


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


@pytest.fixture
def found(tmp_path, way):
    """A function: the params (dict) of the test that way, with further words if any are given."""
    def run(*more):
        program, prefix = WAYS[way]
        program %= {place: said_by(tmp_path, place) for place in ("defaults", "guest")}
        words = ["%s%s=%s" % (prefix, name, value) for name, value in [*write(tmp_path), *more]]
        environment = {**os.environ, "PYTHONPATH": TOP, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run([sys.executable, "-c", program, *words], cwd=tmp_path, env=environment, timeout=200,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout if way == "list" else (tmp_path / "found.json").read_text())
    return run


def test_last_place_wins(tmp_path, way, found):
    params = found()
    expected = {"who_%d" % number: last(number, way) for number in range(len(PLACES))}
    assert {key: params[key] for key in expected} == expected
    assert params["kernel"] == str(tmp_path / "option")


def test_param_wins_over_an_option(found):
    assert found(("param", "kernel=last"))["kernel"] == "last"
