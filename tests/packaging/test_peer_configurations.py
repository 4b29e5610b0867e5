"""Configurations that avocado-vt brings, as its own parser and ours read them."""

import json
import os
import subprocess
import sys
import zipfile

import pytest

PACKAGE = "avocado-framework-plugin-vt>=100"

COMPARE = r"""
import glob, itertools, json, os, random, sys
sys.path.insert(0, sys.argv[1])
from virttest import cartesian_config
from virtvm.autotest.variants import cartesian

HIDDEN = ("_name_map_file", "_short_name_map_file")
counts = {"same": 0, "refused": 0, "different": []}

def read(parser, text):
    try:
        parser.parse_string(text)
        found = itertools.islice(parser.get_dicts(), 200)
        return [{key: value for key, value in params.items() if key not in HIDDEN} for params in found]
    except Exception:
        return "refused"

def compare(name, text):
    theirs, ours = read(cartesian_config.Parser(), text), read(cartesian.Parser(dialect=2026), text)
    if theirs != ours:
        counts["different"].append(name)
    elif theirs == "refused":
        counts["refused"] += 1
    else:
        counts["same"] += 1

def deeper(text, chance):
    # Some lines stand deeper than they need to, each by its own number of blanks.
    lines = text.split("\n")
    return "\n".join(" " * chance.randrange(1, 4) + line if line.strip() and chance.random() < 0.1 else line
                     for line in lines)

for path in sorted(glob.glob(os.path.join(sys.argv[1], "**", "*.cfg"), recursive=True)):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    name = os.path.relpath(path, sys.argv[1])
    # Most files are branches of a block that is elsewhere.
    branches = "variants:\n" + "".join("    %s\n" % line for line in text.splitlines())
    compare(name, text)
    compare(name + " (branches)", branches)
    for seed in range(3):
        compare("%s (uneven %d)" % (name, seed), deeper(branches, random.Random("%s %d" % (name, seed))))
print(json.dumps(counts))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """avocado-vt's files, unpacked: its parser needs nothing else of it."""
    folder = tmp_path_factory.mktemp("avocado-vt")
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
                    "--dest", str(folder), PACKAGE], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "files")
    return str(folder / "files")


@pytest.mark.timeout(300)
def test_both_read_each_file_alike_however_it_is_indented(package):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", COMPARE, package], stdout=subprocess.PIPE,
                          env={**os.environ, "PYTHONHASHSEED": "0"}, check=True)
    counts = json.loads(done.stdout.decode().splitlines()[-1])
    assert counts["different"] == []
    assert counts["same"] > 400
