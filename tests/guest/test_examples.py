"""What people run first: the README's example and the demo, on a real guest."""

import os
import re
import subprocess
import sys
import textwrap

import pytest
from virtvm import guest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(scope="module")
def guest_folder():
    folder = os.path.join(TOP, ".cache", "guest")
    guest.build(folder)
    return folder


def readme_example():
    with open(os.path.join(TOP, "README.rst")) as f:
        return textwrap.dedent(re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", f.read()).group(1))


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, **options)
    output = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, output
    return output


def test_readme_example_runs(guest_folder, tmp_path):
    """Word for word, but for the folder of the guest, which need not be built again."""
    example = readme_example()
    assert len([line for line in example.split("\n") if line]) == 12
    assert example.count("/var/tmp/virtvm-guest") == 1
    script = tmp_path / "example.py"
    script.write_text(example.replace("/var/tmp/virtvm-guest", guest_folder))
    output = run(sys.executable, script, cwd=tmp_path, env=dict(os.environ, TMPDIR=str(tmp_path)))
    assert re.match(r"Linux \S+ \d+\.\d+", output)
    assert [name for name in os.listdir(tmp_path) if re.match(r"session-vm1-.*\.log", name)]


def test_demo_shows_the_main_job(guest_folder, tmp_path):
    results = tmp_path / "results"
    output = run(sys.executable, os.path.join(TOP, "examples", "demo.py"),
                 "--guest", guest_folder, "--results", results, cwd=tmp_path)
    steps = re.findall(r"^ *(\d+)\. (.+)\n(?:      .*\n)+?      done in [\d.]+ s$", output, re.M)
    assert [int(number) for number, _ in steps] == list(range(1, 13))
    assert "VMDeadKernelCrashError" in output and "---[ end trace" in output
    assert (results / "screen.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert (results / "sent.bin").read_bytes() == (results / "back.bin").read_bytes()
    assert [name for name in os.listdir(results) if name.startswith("console-")]
    log = (results / "demo.log").read_text()
    assert "Attempting to log into 'vm1'" in log


def test_demo_keeps_a_folder_that_is_not_its_own(tmp_path):
    """Only the results of an earlier demo are removed, recognised by their log."""
    (tmp_path / "demo-results").mkdir()
    (tmp_path / "demo-results" / "precious").write_text("mine")
    code = ("import sys; sys.path.insert(0, %r); import demo; demo.start_logs('demo-results')"
            % os.path.join(TOP, "examples"))
    run(sys.executable, "-c", code, cwd=tmp_path)
    assert (tmp_path / "demo-results" / "precious").read_text() == "mine"
    run(sys.executable, "-c", code, cwd=tmp_path)
    assert os.listdir(tmp_path / "demo-results") == ["demo.log"]
