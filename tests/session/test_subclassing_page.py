"""The classes of docs/subclassing.rst, by `virtvm run` on a real server."""
import os
import re
import subprocess
import sys
import textwrap

import pytest

PAGE = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "subclassing.rst")
BOOT = """
def run_boot(test, params, env):
    vm = env.get_vm(params["main_vm"])
    session = vm.wait_for_login(timeout=60)
    assert session.cmd("echo $((6 * 7))") == "42\\n"
    session.close()
"""

pytestmark = pytest.mark.once


def classes():
    """The page's Python, in order."""
    with open(PAGE, encoding="utf-8") as f:
        blocks = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", f.read())
    return [textwrap.dedent(block) for block in blocks]


def test_both_classes_of_the_page(sshd, tmp_path):
    least, runnable = classes()
    (tmp_path / "machine.py").write_text(least)
    (tmp_path / "runnable.py").write_text(runnable)
    (tmp_path / "boot.py").write_text(BOOT)
    params = {"vm_class": "runnable:VM", "address": sshd.host, "shell_port": str(sshd.port), "username": sshd.user,
              "ssh_identity_file": sshd.key, "shell_client": "ssh", "shell_prompt": r"[#$]\s*$"}
    done = subprocess.run([sys.executable, "-m", "virtvm", "run", "boot.py"]
                          + ["--param=%s=%s" % item for item in params.items()], cwd=tmp_path,
                          env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200)
    assert done.returncode == 0 and b"PASS  boot" in done.stdout, done.stdout.decode()
