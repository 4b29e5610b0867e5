"""virtvm.signals' functions on paths, beside os's of the same names."""
import os
from pathlib import Path

import pytest
from virtvm import signals


@pytest.fixture
def tree(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "f").write_text("")
    links = {"to_b": "a/b", "up": "a/b/..", "loop": "loop", "pair": "riap", "riap": "pair", "lost": "none/x",
             "abs": str(tmp_path / "a"), "slash": "a//b/", "a/back": "../to_b", "a/b/out": "../../a"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PATHS = ["", ".", "..", "/", "//", "a", "a/", "a//b", "a/./b", "a/b/..", "to_b", "to_b/..", "to_b/../f", "up", "up/f",
         "lost", "lost/y", "none", "none/../a", "abs", "abs/b", "slash", "a/back", "a/back/out/back", "a/f", "a/f/x",
         "/etc/..", "\udcff"]


@pytest.mark.parametrize("path", PATHS)
def test_the_same_answers(tree, path):
    for kind in (str, os.fsencode, *([Path] if path else [])):
        given = kind(path)
        assert signals.realpath(given) == os.path.realpath(given)
        for name in "exists", "lexists", "isfile", "isdir", "islink":
            assert getattr(signals, name)(given) == getattr(os.path, name)(given), name


@pytest.mark.parametrize("path", ["loop", "pair/x", "loop/.."])
def test_links_in_a_circle_end(tree, path):
    assert signals.realpath(path).startswith(str(tree))
    assert not signals.exists(path) and signals.lexists("loop")


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_makedirs(tree, kind):
    signals.makedirs(kind("x/y/z/"))
    assert (tree / "x/y/z").is_dir()
    signals.makedirs(kind("x/y/z"), exist_ok=True)
    signals.makedirs(kind("to_b"), exist_ok=True)
    for path in "x/y/z", "a/f", "lost":
        with pytest.raises(FileExistsError):
            signals.makedirs(kind(path))
    with pytest.raises(FileExistsError):
        signals.makedirs(kind("a/f"), exist_ok=True)
    with pytest.raises(NotADirectoryError):
        signals.makedirs(kind("a/f/g"))
    before = os.umask(0)
    try:
        signals.makedirs(kind("m/n"), mode=0o700)
    finally:
        os.umask(before)
    assert oct((tree / "m/n").stat().st_mode & 0o777) == "0o700"
