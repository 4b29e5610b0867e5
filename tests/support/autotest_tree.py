"""Folders of Python files for the import tests, and clean interpreters to import them in."""

import os
import subprocess
import sys
import textwrap


def write(folder, files):
    """Makes files (path: text, indented as the caller's) below folder; returns folder as str."""
    for name, text in files.items():
        path = os.path.join(str(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(textwrap.dedent(text).lstrip("\n"))
    return str(folder)


def environment(cache, **more):
    """The environment of a child: a translation cache of its own, and no tree but by more."""
    env = dict(os.environ, XDG_CACHE_HOME=str(cache), PYTHONWARNINGS="error", **more)
    if "VIRTVM_AUTOTEST_DIR" not in more:
        env.pop("VIRTVM_AUTOTEST_DIR", None)
    return env


def python(code, folder, **more):
    """What a new interpreter prints that runs code in folder; it must succeed."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=str(folder),
                          env=environment(os.path.join(str(folder), "cache"), **more), timeout=50,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
