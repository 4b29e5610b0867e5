"""Runs of `virtvm`, as a user starts them, and what they print."""

import os
import subprocess
import sys
import textwrap


def environment():
    """As a user has it: nothing of the pytest that runs this."""
    ours = ("PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS", "PYTEST_XDIST")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def virtvm(cwd, *words, status=0):
    done = subprocess.run([sys.executable, "-m", "virtvm", *map(str, words)], cwd=str(cwd), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=environment())
    assert done.returncode == status, done.stdout
    return done.stdout


def write(folder, **files):
    for name, text in files.items():
        (folder / (name + ".py")).write_text(textwrap.dedent(text))


def rows(output):
    """{test: word} of the summary."""
    table = output.partition(" virtual machines ")[2].partition("\nLogs, ")[0]
    return dict(reversed(line.split()[:2]) for line in table.splitlines()[1:])
