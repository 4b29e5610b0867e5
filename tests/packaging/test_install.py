"""What people install: the source archive, a wheel built from it, and builds that can't be."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import zipfile

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOT_IN_SDIST = {".gitignore"}
INSTALLED_ON = ["3.9", "3.11", "3.13"]

# Most of the time here is the compiler's; its optimizations are other tests' matter.
QUICK = {"CFLAGS": "-O0"}

BUILD = "import sys; from setuptools import build_meta as b; print(b.%s(sys.argv[1]))"

LOOK = """
import importlib.metadata, os, sys, types
import virtvm, virtvm._session, virtvm.virt_vm
from virtvm.companions import aexpect, error, utils, virt_utils
from autotest_lib.client.virt import virt_utils as served
import fissix
assert served is virt_utils
assert "site-packages" in virtvm.__file__, virtvm.__file__
assert issubclass(virtvm.virt_vm.VMError, Exception)
assert isinstance(virtvm.virt_vm.BaseVM("vm1", {}).instance, str)
assert os.path.exists(os.path.join(os.path.dirname(virtvm.__file__), "py.typed"))
package = importlib.metadata.distribution("virtvm")
assert package.version == virtvm.__version__
assert any(os.path.basename(str(path)) == "LICENSE" for path in package.files)
print(virtvm.__version__)
"""


def sources():
    """The project's files: those of the repository, or all in an unpacked archive."""
    if os.path.exists(os.path.join(TOP, ".git")):
        done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=TOP,
                              stdout=subprocess.PIPE, check=True)
        names = done.stdout.decode().split("\0")
        return sorted(n for n in names if n and os.path.exists(os.path.join(TOP, n)))
    pytest.skip("not a git checkout: there is no list to compare with")


@pytest.fixture(scope="module")
def interpreters():
    done = subprocess.run([os.path.join(TOP, "tools", "interpreters")], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.decode().splitlines())


def copy_sources(folder):
    for name in sources():
        target = os.path.join(folder, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(os.path.join(TOP, name), target)
    return str(folder)


@pytest.fixture
def tree(tmp_path):
    return copy_sources(tmp_path / "tree")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    tree = copy_sources(folder / "tree")
    name = run([sys.executable, "-c", BUILD % "build_sdist", folder], cwd=tree).split()[-1]
    return os.path.join(folder, name)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    tree = copy_sources(folder / "tree")
    name = run([sys.executable, "-c", BUILD % "build_wheel", folder], cwd=tree, **QUICK).split()[-1]
    return os.path.join(folder, name)


def run(command, cwd=None, **env):
    """Output of a command that must succeed."""
    code, output = attempt(command, cwd, **env)
    assert code == 0, output
    return output


def attempt(command, cwd=None, **env):
    with tempfile.TemporaryDirectory() as scratch:      # some pips leave files there
        return attempt_in(scratch, command, cwd, **env)


def attempt_in(scratch, command, cwd, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTVM_"))}
    done = subprocess.run(list(map(str, command)), cwd=cwd, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=dict(clean, TMPDIR=scratch, **env), check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def test_sdist_has_every_source(sdist):
    with tarfile.open(sdist) as archive:
        names = {m.name.split("/", 1)[1] for m in archive.getmembers() if m.isfile()}
    assert sorted(set(sources()) - names - NOT_IN_SDIST) == []
    assert [n for n in names if n.endswith((".so", ".o", ".a", ".pyc"))] == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", INSTALLED_ON)
def test_pip_installs_it_into_a_fresh_environment(version, sdist, interpreters, tmp_path):
    if version not in interpreters:
        pytest.skip("no CPython %s on this machine" % version)
    venv = tmp_path / "venv"
    run([interpreters[version], "-m", "venv", venv])
    python = venv / "bin" / "python"
    run([python, "-m", "pip", "install", sdist], **QUICK)
    assert run([python, "-I", "-c", LOOK], cwd=tmp_path).strip()
    run([python, "-m", "pip", "check"])
    if "virtvm/cli.py" in sources():
        assert "usage" in run([venv / "bin" / "virtvm", "--help"]).lower()


@pytest.mark.timeout(300)
def test_wheel_has_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert archive.getinfo("virtvm/virtvm-keeper").external_attr >> 16 & 0o111 == 0o111
    package = {n for n in sources() if n.startswith(("virtvm/", "autotest_lib/"))}
    assert sorted(package - set(names)) == []
    rest = [n for n in names if n not in package and ".dist-info/" not in n]
    assert sorted(n.split(".")[0] for n in rest) == ["virtvm/_session", "virtvm/virt_vm", "virtvm/virtvm-keeper"]


SILENT = """
import pytest

def test_nothing():
    pass
"""


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment's folder, with the wheel and what `virtvm run` needs."""
    venv = tmp_path_factory.mktemp("installed") / "env"
    run([sys.executable, "-m", "venv", venv])
    run([venv / "bin" / "python", "-m", "pip", "install", "%s[run]" % wheel])
    return venv


@pytest.mark.timeout(300)
def test_run_of_an_installed_one_warns_of_nothing(installed, tmp_path):
    """Not even where warnings are errors: the command has imported what pytest would rewrite."""
    (tmp_path / "test_silent.py").write_text(SILENT)
    (tmp_path / "disk.raw").touch()
    command = [installed / "bin" / "virtvm", "run", "test_silent.py", "--image", "disk.raw"]
    said = run(command, cwd=tmp_path)
    assert "1 passed" in said and "warning" not in said.lower()
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    assert "1 passed" in run(command, cwd=tmp_path)
    assert "1 passed" in run(command, cwd=tmp_path, PYTHONWARNINGS="error")


def blocks(path):
    """(language, text) of each block of code in a document."""
    with open(os.path.join(TOP, path)) as f:
        found = re.findall(r"^\.\. code-block:: (\w+)\n((?:\n|[ ]+.*\n)+)", f.read(), re.M)
    return [(language, textwrap.dedent(text).strip("\n") + "\n") for language, text in found]


@pytest.mark.timeout(300)
def test_quick_start_does_what_it_says(installed, tmp_path):
    """Block by block and word for word, but for the folders: the guest is kept between runs."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("QEMU is not installed")
    folder = tmp_path / "var"
    folder.mkdir()
    places = {"/var/tmp/guest": os.path.join(TOP, ".cache", "guest"), "/var/tmp": str(folder),
              "env/bin/": "%s/bin/" % installed}

    def placed(text):
        return re.sub("|".join(map(re.escape, sorted(places, reverse=True))), lambda m: places[m.group()], text)
    found = blocks("docs/quickstart.rst")
    shells = [text for language, text in found if language == "sh"]
    assert shells[0].split()[0] == "apt-get" and "pip install" in shells[0]        # done, with the wheel
    for text in shells[1:]:
        assert text.startswith("env/bin/virtvm ")
        said = run(["sh", "-e", "-c", placed(text)], cwd=folder)
        assert "guest build" not in text or re.search(r"^login:   root, password virtvm, ", said, re.M)
    script = "".join(placed(text) for language, text in found if language == "python")
    # What a reader would look at.
    script += "print(session, status, output.split()[0], vm.is_dead(), sep='\\n')\n"
    assert {language for language, _text in found} == {"sh", "python"} and len(found) > 8
    said = run([installed / "bin" / "python", "-c", script], cwd=folder).split("\n")
    assert said[-4:] == ["0", "processor", "True", ""]
    assert "disk.qcow2" not in os.listdir(folder)


LACKING = """
import pkgutil, sys
import virtvm
for found in pkgutil.walk_packages(virtvm.__path__, "virtvm."):
    if found.name not in ("virtvm.pytest_plugin", "virtvm.__main__") and ".plugin" not in found.name:
        __import__(found.name)
assert not {"qemu", "rich", "pytest", "tomli"} & set(sys.modules)
from virtvm.autotest.python2 import translate
if translate.translated("old.py").is_python2:
    print("old tests are read")
from virtvm.hypervisors import monitor
try:
    monitor.QMPMonitor("m", "/nowhere")
except monitor.MonitorConnectError as e:
    print(e)
from virtvm import config
try:
    print(config.read_toml("run.toml"))
except config.ConfigError as e:
    print(e)
"""


@pytest.mark.timeout(300)
def test_without_extras_what_is_missing_is_named(wheel, tmp_path):
    venv = tmp_path / "venv"
    run([sys.executable, "-m", "venv", venv])
    run([venv / "bin" / "python", "-m", "pip", "install", wheel])
    (tmp_path / "run.toml").write_text("[params]\n")
    (tmp_path / "old.py").write_text("print 'hello'\n")
    (tmp_path / "disk.raw").touch()
    (tmp_path / "test_silent.py").write_text(SILENT)
    cache = tmp_path / "cache"
    said = run([venv / "bin" / "python", "-I", "-W", "ignore", "-c", LACKING], cwd=tmp_path, XDG_CACHE_HOME=str(cache),
               HOME=str(tmp_path))
    needs = "pip install 'virtvm[run]'"
    assert "old tests are read" in said and "QEMU's monitors need qemu.qmp: " + needs in said
    assert ("run.toml: TOML needs tomli before CPython 3.11: " + needs in said) == (sys.version_info < (3, 11))
    assert [n for n in os.listdir(cache / "virtvm") if n.startswith("grammar-")] and os.listdir(cache) == ["virtvm"]
    code, said = attempt([venv / "bin" / "virtvm", "run", "test_silent.py", "--image", "disk.raw"], cwd=tmp_path)
    assert code == 2 and said == "virtvm: `virtvm run` needs pytest: %s\n" % needs


@pytest.mark.parametrize("statement", [
    "import virtvm.virt_vm", "from virtvm import virt_vm", "from virtvm.virt_vm import VMError",
    "from virtvm.hypervisors import qemu", "from virtvm.companions import aexpect", "import virtvm._session"])
def test_sources_that_are_not_built_say_so(statement, tree):
    """In the folder where README's `pip install .` was done, the sources come first."""
    code, output = attempt([sys.executable, "-c", statement], cwd=tree)
    said = output.splitlines()[-1]
    assert code == 1 and said.startswith("ImportError: virtvm.")
    assert os.path.join(tree, "virtvm") in said and "start Python in another folder" in said
    assert len([line for line in output.splitlines() if "Error: " in line]) == 1


def test_package_without_a_module_for_this_python_says_so(tree):
    os.unlink(os.path.join(tree, "setup.py"))
    code, output = attempt([sys.executable, "-c", "import virtvm.virt_vm"], cwd=tree)
    assert code == 1 and output.splitlines()[-1].endswith("install virtvm with that Python")


@pytest.mark.timeout(300)
def test_builds_in_two_places_give_the_same_bytes(tmp_path):
    built = []
    for name in "one", "another-place":
        tree = copy_sources(tmp_path / name)
        run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tree, **QUICK)
        package = os.path.join(tree, "virtvm")
        modules = sorted(n for n in os.listdir(package) if n.endswith(".so"))
        built.append([open(os.path.join(package, n), "rb").read() for n in modules])
    assert len(built[0]) == 2
    assert built[0] == built[1]


# What is missing, by name: how to make it so, and the package that the message must name.
# A header that is an #error, found before the system's, fails as one that is not there.
MISSING = {"compiler": ("gcc", None), "Python.h": ("python3-dev", "Python.h"),
           "libssh2.h": ("libssh2-1-dev", "libssh2.h")}


def without(what, folder):
    """Environment in which the build does not find it."""
    package, header = MISSING[what]
    if header is None:
        return {"CC": os.path.join(folder, "no-such-compiler")}
    os.makedirs(os.path.join(folder, "include"))
    with open(os.path.join(folder, "include", header), "w") as f:
        f.write("#error not installed\n")
    # Before the -I folders, where Python.h comes from.
    return {"CC": "gcc -I" + os.path.join(folder, "include")}


@pytest.mark.parametrize("what", MISSING)
def test_what_is_missing_is_said_in_one_line(what, tree, tmp_path):
    code, output = attempt([sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
                           cwd=tree, **without(what, tmp_path))
    assert code != 0
    complaints = [line for line in output.splitlines() if "cannot be built" in line]
    assert len(complaints) == 1 and output.splitlines()[-1] == complaints[0]
    assert "apt-get install " + MISSING[what][0] in complaints[0]
    assert "Traceback" not in output
    assert not [n for n in os.listdir(os.path.join(tree, "virtvm")) if n.endswith(".so")]


@pytest.mark.parametrize("version, said", [
    ("1.9.0", "virtvm cannot be built: libssh2 1.9.0 is too old: 1.10 or later is needed"),
    ("1.10.0", "libssh2 1.10.0 is there: it has no RSA keys with SHA-2, no AES-GCM"),
    ("1.11.1_DEV", "libssh2 1.11.1_DEV is there"),
    ("2.0.0", "libssh2 2.0.0 is there")])
def test_version_of_libssh2_is_told(version, said, tree, tmp_path):
    """By a header that says what a header of that version says; our own sources are not compiled."""
    (tmp_path / "libssh2.h").write_text(
        '#include_next <libssh2.h>\n#undef LIBSSH2_VERSION\n#define LIBSSH2_VERSION "%s"\n' % version)
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\ncase "$*" in *ext/*) echo none; exit 1; esac\nexec gcc -I%s "$@"\n' % tmp_path)
    compiler.chmod(0o755)
    _, output = attempt([sys.executable, "setup.py", "build_ext", "--inplace"], cwd=tree, CC=str(compiler))
    lines = [line for line in output.splitlines() if "libssh2 " in line]
    assert len(lines) == 1 and said in lines[0], output
    assert ("cannot be built" in output) == version.startswith("1.9")
    assert ("has no" in output) == version.startswith("1.10")


@pytest.mark.timeout(300)
def test_pip_says_it_too(tree, tmp_path):
    """With an environment of its own that pip makes for the build."""
    venv = tmp_path / "venv"
    run([sys.executable, "-m", "venv", venv])
    code, output = attempt([venv / "bin" / "python", "-m", "pip", "install", tree],
                           **without("libssh2.h", tmp_path))
    assert code != 0
    complaints = [line for line in output.splitlines() if "cannot be built" in line]
    assert len(complaints) == 1 and "libssh2-1-dev" in complaints[0]
    assert "Traceback" not in output
