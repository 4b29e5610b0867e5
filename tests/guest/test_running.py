"""`virtvm run` and the pytest plugin: tests of 2011 and new ones on the real guest."""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest
from support.runs import environment, rows, virtvm, write

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHELF = os.path.join(TOP, "tests", "autotest", "shelf")


@pytest.mark.timeout(500)
def test_shelf_of_old_tests_runs_unchanged(built_guest, tmp_path):
    shutil.copytree(SHELF, tmp_path / "shelf")
    before = {path: open(path, "rb").read() for path in glob.glob(str(tmp_path / "shelf" / "*.py"))}
    output = virtvm(tmp_path, "run", "shelf", "--guest", built_guest.directory)
    found = rows(output)
    names = {os.path.basename(path)[:-3] for path in before}
    assert set(found) == names
    assert {name for name, word in found.items() if word != "PASS"} == {"not_for_this_host"}
    assert found["not_for_this_host"] == "SKIP" and "definitely-not-there is not in the guest" in output
    assert {path: open(path, "rb").read() for path in before} == before
    latest = tmp_path / "virtvm-results" / "latest"
    assert {path.name for path in latest.iterdir()} == names | {"junit.xml"}
    assert len(xml.parse(latest / "junit.xml").getroot().findall(".//testcase")) == len(names)
    logs = os.listdir(latest / "file_digest" / "debug")
    assert any(name.startswith("session-vm1-") for name in logs) and "serial-vm1.log" in logs


BAD = {
    "fails": """
        from autotest_lib.client.common_lib import error
        def run_fails(test, params, env):
            vm = env.get_vm(params["main_vm"])
            session = vm.wait_for_login()
            session.cmd("echo crash-course > /dev/ttyS0")
            raise error.TestFail("as it should")
        """,
    "cannot": """
        from autotest_lib.client.common_lib import error
        def run_cannot(test, params, env):
            raise error.TestError, "no way"
        """,
    "crashes": """
        def run_crashes(test, params, env):
            print {}["missing"]
        """,
    "test_new": """
        import pytest

        def test_uptime(vm):
            assert "load average" in vm.login().cmd("uptime")

        def test_same_machine(vm, params, env, test_object):
            assert env.get_vm(params["main_vm"]) is vm and params.get("mem") == "192"
            test_object.write_test_keyval({"seen": "yes"})

        @pytest.mark.virtvm(mem=256)
        def test_with_more_memory(vm):
            with vm.login() as session:
                assert int(session.cmd("awk '/MemTotal/ {print $2}' /proc/meminfo")) > 200000
        """,
}


@pytest.mark.timeout(300)
def test_failures_are_told_apart_and_leave_evidence(built_guest, tmp_path):
    write(tmp_path, **BAD)
    output = virtvm(tmp_path, "run", *[name + ".py" for name in BAD], "--guest", built_guest.directory, status=1)
    assert rows(output) == {
        "fails": "FAIL", "cannot": "ERROR", "crashes": "FAIL", "test_uptime": "PASS", "test_same_machine": "PASS",
        "test_with_more_memory": "PASS"}
    assert "as it should" in output and "no way" in output
    assert "2 failed, 3 passed, 1 error" in output
    latest = tmp_path / "virtvm-results" / "latest"
    assert (latest / "fails" / "debug" / "failure-vm1.png").read_bytes().startswith(b"\x89PNG")
    assert "crash-course" in (latest / "fails" / "debug" / "serial-vm1.log").read_text()
    assert (latest / "test_same_machine" / "keyval").read_text().endswith("seen=yes\n")
    cases = {case.get("name"): [child.tag for child in case]
             for case in xml.parse(latest / "junit.xml").getroot().iter("testcase")}
    assert "failure" in cases["fails"] and "error" in cases["cannot"]
    # The line of the Python 2 source is in the traceback.
    assert 'print {}["missing"]' in output


VARIANTS = {
    "sized": """
        from autotest_lib.client.common_lib import error
        def run_sized(test, params, env):
            vm = env.get_vm(params["main_vm"])
            session = vm.wait_for_login()
            size = params.get("size")
            print "size %s" % size
            session.cmd("head -c %s /dev/zero > /tmp/f" % size)
            if params.get("must_fail") == "yes":
                raise error.TestFail("as configured")
        """,
}
CFG = """
type = sized
variants:
    - small:
        size = 10
        iterations = 2
    - broken:
        size = 1
        must_fail = yes
    - after: broken
        size = 2
    - never:
        skip = yes
"""


@pytest.mark.timeout(300)
def test_variants_of_a_configuration(built_guest, tmp_path):
    write(tmp_path, **VARIANTS)
    (tmp_path / "tests.cfg").write_text(CFG)
    output = virtvm(tmp_path, "run", "sized.py", "--config", "tests.cfg", "--guest", built_guest.directory, status=1)
    assert rows(output) == {"sized[small]": "PASS", "sized[broken]": "FAIL", "sized[after]": "SKIP"}
    assert "1 failed, 1 passed, 1 skipped" in output and "Test dependency failed: broken" in output
    assert (tmp_path / "virtvm-results" / "latest" / "sized[small]").is_dir()
    output = virtvm(tmp_path, "run", "--dry-run", "sized.py", "--config", "tests.cfg", "--only", "small",
                    "--guest", built_guest.directory)
    assert output.count("would run") == 1 and "as small" in output


@pytest.mark.timeout(300)
def test_serial_log_has_all_of_a_test_that_restarts_its_vm(built_guest, tmp_path):
    say = """
            def say(vm, word):
                session = vm.wait_for_login(timeout=240)
                session.cmd("echo %s > /dev/ttyS0" % word)
                session.close()
        """
    write(tmp_path, restarts=say + """
            def run_restarts(test, params, env):
                vm = env.get_vm(params["main_vm"])
                say(vm, "fi" + "rst")
                vm.create()
                say(vm, "sec" + "ond")
                say(vm, "la" + "st")
                vm.destroy(gracefully=False)
        """, after=say + """
            def run_after(test, params, env):
                vm = env.get_vm(params["main_vm"])
                say(vm, "another")
        """)
    virtvm(tmp_path, "run", "restarts.py", "after.py", "--guest", built_guest.directory, "--param",
           "kernel_params=console=ttyS0,115200 panic=-1")
    latest = tmp_path / "virtvm-results" / "latest"
    text = (latest / "restarts" / "debug" / "serial-vm1.log").read_text()
    assert re.fullmatch(r"(?s).*Linux version.*first\n.*Linux version.*second\n.*last\n.*", text)
    text = (latest / "after" / "debug" / "serial-vm1.log").read_text()
    assert re.fullmatch(r"(?s).*Linux version.*another\n.*", text) and "\nlast\n" not in text


def run_pytest(cwd, *words, status=0):
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, words)], cwd=str(cwd),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=environment())
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.mark.timeout(300)
def test_workers_of_xdist_have_guests_of_their_own(built_guest, tmp_path):
    write(tmp_path, test_pair="""
        import os, pytest, time

        @pytest.mark.parametrize("n", [1, 2])
        def test_pid(vm, n):
            with open("pid-%d" % n, "w") as f:
                f.write(str(vm.get_pid()))
            end = time.monotonic() + 60         # until the other worker is here, too
            while not os.path.exists("pid-%d" % (3 - n)) and time.monotonic() < end:
                time.sleep(0.1)
        """)
    run_pytest(tmp_path, "-n", "2", "--virtvm-guest", built_guest.directory, "test_pair.py")
    pids = {(tmp_path / name).read_text() for name in ("pid-1", "pid-2")}
    assert len(pids) == 2 and not any(os.path.exists("/proc/" + pid) for pid in pids)
    assert {path.name for path in (tmp_path / "virtvm-results").iterdir()} == {"gw0", "gw1"}


@pytest.mark.timeout(300)
def test_html_report_has_console_and_screen(built_guest, tmp_path):
    write(tmp_path, fails=BAD["fails"])
    run_pytest(tmp_path, "--virtvm-guest", built_guest.directory, "--html=report.html", "--self-contained-html",
               "fails.py", status=1)
    report = (tmp_path / "report.html").read_text()
    assert "Serial console" in report and "data:image/png;base64" in report


def test_dry_run_starts_nothing(built_guest, tmp_path):
    write(tmp_path, **BAD)
    output = virtvm(tmp_path, "run", "--dry-run", "fails.py", "--guest", built_guest.directory, "--param", "mem=333")
    assert "-m 333" in output and "-kernel %s" % built_guest.kernel in output and "would run fails.py" in output
    assert not (tmp_path / "virtvm-results").exists()


def test_what_is_missing_is_said_in_a_line(tmp_path):
    write(tmp_path, **BAD)
    assert virtvm(tmp_path, "run", "fails.py", status=2).startswith("virtvm: no guest")
    assert "No such file" in virtvm(tmp_path, "run", "fails.py", "--image", "none.qcow2", status=2)
    assert "KEY=VALUE" in virtvm(tmp_path, "run", "fails.py", "--param", "mem", status=2)


def test_shell_and_console_boot_a_guest(built_guest, tmp_path):
    """By a pipe; tests/session/test_interactive.py has a person at a terminal."""
    done = subprocess.run([sys.executable, "-m", "virtvm", "shell", "--guest", built_guest.directory],
                          input="hostname; echo $((6 * 7))\n", stdout=subprocess.PIPE, text=True, cwd=str(tmp_path))
    assert done.returncode == 0 and "virtvm-guest" in done.stdout and "42" in done.stdout


@pytest.mark.timeout(500)
@pytest.mark.parametrize("kill", ["yes", "no"])
def test_image_in_use_is_checked(built_guest, tmp_path, kill):
    """QEMU has it locked: qemu-img refused it, and each test that passed ended in an error as well."""
    shutil.copy(built_guest.disk, tmp_path / "disk.qcow2")
    write(tmp_path, old="def run_old(test, params, env):\n    pass\n")
    words = ["--guest", built_guest.directory, "--image", "disk.qcow2", "--write-image", "--param", "check_image=yes",
             "--param", "kill_vm=" + kill, "--param", "kill_vm_gracefully=no", "--param", "kill_unresponsive_vms=no"]
    output = virtvm(tmp_path, "run", "old.py", *words)
    assert rows(output) == {"old": "PASS"} and "1 passed" in output and "warning" not in output
    # What is wrong with it is found all the same, and a warning is one.
    script = tmp_path / "qemu-img"
    script.write_text("""#!/bin/sh
        case "$*" in check*-help*) exec qemu-img check --help; esac
        case "$*" in check*) echo "$*" >> asked; exit %s; esac
        exec qemu-img "$@"
        """)
    script.chmod(0o755)
    text = script.read_text()
    for status, word, code in ((1, "PASS", 0), (2, "ERROR", 1), (3, "PASS", 0)):
        script.write_text(text % status)
        output = virtvm(tmp_path, "run", "old.py", *words, "--param", "qemu_img_binary=%s" % script, status=code)
        assert word in output and "1 passed" in output
        assert ("qemu-img check error" in output) == (status == 1)
        assert ("Leaked clusters" in output) == (status == 3 and kill == "yes")


@pytest.mark.timeout(120)
def test_kept_guest_runs_until_it_is_interrupted(built_guest, tmp_path):
    write(tmp_path, fails=BAD["fails"])
    process = subprocess.Popen([sys.executable, "-m", "virtvm", "run", "fails.py", "--keep", "--guest",
                                built_guest.directory], cwd=str(tmp_path), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True, env=environment())
    try:
        output = ""
        for line in process.stdout:
            output += line
            if "Press Ctrl-C" in line:
                break
        port = re.search(r"ssh -p (\d+) root@localhost", output).group(1)
        from virtvm.companions import virt_utils
        with virt_utils.remote_login("ssh", "localhost", int(port), "root", built_guest.password,
                                     r"[\#\$]\s*$") as session:
            assert session.cmd("hostname") == "virtvm-guest\n"
        monitor = re.search(r"monitor: (\S+)", output).group(1)
        assert os.path.exists(monitor)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert not os.path.exists(monitor)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
