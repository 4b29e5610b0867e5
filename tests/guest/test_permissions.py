"""What of a guest's may be in files, and who may read them: docs/running.rst says it."""

import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.once

OLD = """
    import os, pickle
    from autotest_lib.client.common_lib import error
    from virtvm.companions import aexpect, virt_utils

    def run_old(test, params, env):
        vm = env.get_vm("vm1")
        vm.screendump(os.path.join(test.debugdir, "own.png"))
        vm.screendump(os.path.join(test.debugdir, "own.ppm"))
        vm.serial_console.sendline("typed")
        log = ("session.log",)
        with aexpect.ShellSession("sh", output_func=virt_utils.log_line, output_params=log) as session:
            session.cmd("echo secret")
        test.write_perf_keyval({"a": 1})
        env.save(os.path.join(test.outputdir, "env"))
        vm.save_to_file(os.path.join(test.outputdir, "state"))
        raise error.TestFail("with evidence")
"""
PRIVATE = {"env", "state"}          # whatever the mask is; beside the state, its disks


@pytest.mark.parametrize("mask", [0o022, 0o077], ids=oct)
def test_files_have_what_the_mask_leaves_or_less(tmp_path, mask):
    (tmp_path / "old.py").write_text(textwrap.dedent(OLD))
    done = subprocess.run(
        [sys.executable, "-m", "virtvm", "run", "old.py", "--param", "extra_params=-S", "--param", "display=vnc",
         "--param", "password=pssst", "--param", "take_regular_screendumps=yes", "--param", "screendump_delay=1"],
        cwd=tmp_path, umask=mask, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=dict(os.environ, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"))
    said = done.stdout.decode()
    assert "with evidence" in said, said
    results = tmp_path / "virtvm-results"
    found = {path.relative_to(results): path.stat().st_mode & 0o777 for path in results.rglob("*")
             if not path.is_symlink() and not path.is_socket()}
    files = {path for path in found if (results / path).is_file()}
    names = {path.name for path in files}
    assert names >= {"keyval", "junit.xml", "own.png", "failure-vm1.png", "env", "state"}, names
    assert any(name.startswith("serial-") for name in names) and "session.log" in names, names
    wrong = {str(path): oct(mode) for path, mode in found.items()
             if mode & (0o077 if private(path) else mask) or not mode & 0o400}
    assert not wrong
    # A file that could be read by others and is not tells that this test looks at the right ones.
    assert mask == 0o077 or {found[path] for path in files if path.name in ("keyval", "own.png")} == {0o644}
    assert all("pssst" not in path.read_text(errors="replace") for path in map(results.joinpath, files)
               if path.name == "keyval")


def private(path):
    return any(path.name == name or path.name.startswith(name + ".") for name in PRIVATE) \
        or any(part.startswith("state") for part in pathlib.Path(path).parts)
