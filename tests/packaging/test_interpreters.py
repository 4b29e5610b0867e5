"""tools/interpreters and tools/venv: which CPython versions are taken, and what is said of others."""

import json
import os
import shutil
import subprocess
import sys

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.path.join(TOP, "tools", "interpreters")


@pytest.fixture
def machine(tmp_path):
    """A folder for interpreters that say of themselves what a test wants; they alone are there."""
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def add(folder, version, name="CPython", lacks=(), free=False):
    path = folder / ("python" + version)
    major, minor = version.rstrip("t").split(".")
    said = {"name": name, "major": int(major), "minor": int(minor), "lacks": list(lacks), "free": free,
            "path": str(path)}
    path.write_text("#!/bin/sh\necho '%s'\n" % json.dumps(said))
    path.chmod(0o755)
    return str(path)


def ask(folder, *args, tool=TOOL, **env):
    """(status, output, errors) of the tool where only that folder's interpreters are."""
    with open(tool) as f:
        text = f.read().replace('+ ["/usr/bin"]', "")
    code = "import sys; sys.argv[1:] = %r\nexec(compile(sys.stdin.read(), 'interpreters', 'exec'))" % (list(args),)
    clean = {k: v for k, v in os.environ.items() if k != "CI"}
    done = subprocess.run([sys.executable, "-I", "-c", code], input=text, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE, check=False,
                          env=dict(clean, PATH=str(folder), PYENV_ROOT=str(folder), **env))
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def test_versions_are_listed_by_number(machine):
    paths = [add(machine, version) for version in ("3.15", "3.9", "3.10")]
    code, lines, told = ask(machine)
    assert code == 0
    assert lines == ["3.9 " + paths[1], "3.10 " + paths[2], "3.15 " + paths[0]]
    assert told == ["not tested, no usable interpreter here: CPython 3.11, 3.12, 3.13, 3.14"]


def test_newer_versions_are_taken_with_a_warning(machine):
    path = add(machine, "3.16")
    assert ask(machine, "--one")[1] == ["3.16"]
    code, lines, told = ask(machine)
    assert code == 0 and lines == ["3.16 " + path]
    assert "newer than what virtvm has been tested on: CPython 3.16" in told


@pytest.mark.parametrize("lacks, advice", [
    (["Python.h"], "lacks Python.h: install python3-dev"),
    (["venv", "ensurepip"], "lacks venv, ensurepip: install python3-venv"),
    (["ensurepip", "Python.h"], "lacks ensurepip, Python.h: install python3-dev and python3-venv")])
def test_what_it_lacks_is_named(machine, lacks, advice):
    path = add(machine, "3.14", lacks=lacks)
    code, lines, told = ask(machine)
    assert code == 1 and lines == []
    assert told == ["not usable: CPython 3.14 (%s) %s" % (path, advice), "no usable CPython of 3.9 or later"]
    assert ask(machine, "--one")[1] == ["none"]


def test_others_are_not_taken(machine):
    add(machine, "3.8")
    add(machine, "3.12", name="PyPy")
    add(machine, "3.14", free=True)
    add(machine, "3.13t", free=True)            # the name alone says it
    code, lines, told = ask(machine)
    assert code == 1 and lines == []
    assert sorted(line.rpartition(") ")[2] for line in told[:-1]) == [
        "is PyPy", "is built without the GIL, which virtvm needs", "is older than 3.9"]


def test_no_interpreter_at_all(machine):
    assert ask(machine) == (1, [], ["no CPython is there: install python3, python3-dev and python3-venv"])


def test_ci_needs_some(machine):
    for version in ("3.9", "3.11"):
        add(machine, version)
    assert ask(machine, CI="true")[0] == 1
    add(machine, "3.13")
    assert ask(machine, CI="true")[0] == 0


def test_venv_names_those_there_are(tmp_path):
    """tools/venv, of a version that is nowhere."""
    shutil.copytree(os.path.join(TOP, "tools"), tmp_path / "tools")
    done = subprocess.run(["tools/venv", "3.99"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    assert done.returncode == 1 and done.stdout.startswith("venv: no usable CPython 3.99; there is 3.")
    assert len(done.stdout.splitlines()) == 1


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose one interpreter only notes what is asked of it."""
    tree = tmp_path / "a tree"
    (tree / "tools").mkdir(parents=True)
    shutil.copy(os.path.join(TOP, "tools", "venv"), tree / "tools")
    for name in ("pyproject.toml", "setup.py"):
        (tree / name).touch()
    (tmp_path / "version").write_text("30d05f0\n")
    script = """#!/bin/sh
        case "$*" in
        "-m venv --clear "*) rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
        "-c "*) exec cat "%s/version" ;;
        esac
        echo "$*" >>"%s/asked"
        """ % (tmp_path, tmp_path)
    for name, text in (("python3.99", script), ("tools/interpreters", "#!/bin/sh\necho 3.99 $PWD/python3.99\n")):
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    return tree


def made(tree, *extras):
    """What tools/venv asked of the interpreter: "venv", and the extras that were installed."""
    asked = tree.parent / "asked"
    asked.write_text("")
    subprocess.run(["tools/venv", "3.99", *extras], cwd=tree, check=True, timeout=300)
    words = [line.split() for line in asked.read_text().splitlines()]
    return [line[1] if line[1] == "venv" else line[-1] for line in words if "--clear" in line or "--editable" in line]


def test_venv_is_made_once(checkout):
    assert made(checkout) == ["venv", ".[test]"]
    assert made(checkout) == []
    assert made(checkout, "lint") == [".[lint]"] and made(checkout) == []
    os.utime(checkout / "setup.py", (1 << 32, 1 << 32))
    assert made(checkout) == [".[test]"]


def test_venv_of_another_interpreter_is_made_anew(checkout):
    made(checkout)
    left = [checkout / "build" / "temp.linux-x86_64-cpython-399" / "a.o",
            checkout / "virtvm" / "virt_vm.cpython-399-x86_64-linux-gnu.so"]
    kept = checkout / "build" / "temp.linux-x86_64-cpython-39" / "a.o"
    for path in left + [kept]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (checkout.parent / "version").write_text("30d06f0\n")
    assert made(checkout) == ["venv", ".[test]"]
    assert kept.exists() and not any(path.exists() for path in left)
    assert made(checkout) == []


def test_venv_whose_interpreter_is_gone_is_made_anew(checkout):
    made(checkout)
    python = checkout / ".venv" / "3.99" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nonexistent/python3.99")
    assert made(checkout) == ["venv", ".[test]"]


def test_venv_of_a_checkout_that_was_moved_is_made_anew(checkout):
    made(checkout)
    moved = checkout.rename(checkout.parent / "moved")
    assert made(moved) == ["venv", ".[test]"]
