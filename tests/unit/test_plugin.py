"""The pytest plugin without a guest: a hypervisor of the test's own stands for one."""

import os
import re
import subprocess
import sys
import textwrap

import pytest

once = pytest.mark.once         # each test starts a pytest or two

HYPERVISOR = """
import os

class VM:
    def __init__(self, name, params, root_dir, address_cache=None):
        self.name, self.params, self.instance, self.alive, self.monitor = name, params, name, False, None
    def _say(self, word):
        with open("calls", "a") as f:
            f.write(word + "\\n")
    def create(self, name, params, root_dir, migration_mode=None):
        if params.get("create_fails"):
            raise RuntimeError("  ")
        self._say("create " + params["mem"])
        self.alive, self.params = True, params
    def destroy(self, gracefully=True, free_mac_addresses=True):
        if self.alive:
            self._say("destroy")
        self.alive = False
        if self.params.get("destroy_fails"):
            raise RuntimeError("can't")
    def is_alive(self):
        return self.alive
    def is_dead(self):
        return not self.alive
    def needs_restart(self, name, params, basedir):
        return params["mem"] != self.params["mem"]
    def verify_alive(self):
        assert self.alive
    def wait_for_login(self, timeout):
        self._say("login")
        return self
    def close(self):
        pass
"""


class Project:
    """A folder of tests, run by pytest in a process of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.write(hypervisor=HYPERVISOR)

    def write(self, **files):
        for name, text in files.items():
            (self.folder / (name + ".py")).write_text(textwrap.dedent(text))

    def run(self, *words, status=0):
        return self._python(status, "pytest", "-p", "virtvm", "-p", "no:cacheprovider", "-q", "-rA", "--virtvm-param",
                            "vm_class=hypervisor:VM", *words)

    def virtvm_run(self, *words, status=0):
        return self._python(status, "virtvm", "run", "--param", "vm_class=hypervisor:VM", *words)

    def _python(self, status, *words):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_CURRENT", "PYTEST_ADDOPTS"))}
        path = os.pathsep.join(filter(None, [".", env.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=self.folder,
            # Others' plugins take most of the time.
            env=dict(env, PYTHONPATH=path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == status, done.stdout
        return done.stdout

    def calls(self):
        path = self.folder / "calls"
        return path.read_text().split("\n")[:-1] if path.exists() else []


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_vm_lives_on_and_is_gone_at_the_end(project):
    project.write(test_new="""
        import pytest

        def test_one(vm):
            vm.verify_alive()

        def test_two(vm, params, test_object):
            assert params["main_vm"] == "vm1" and test_object.tagged_testname == "test_two"

        @pytest.mark.virtvm(mem=2048)
        class TestLarge:
            @pytest.mark.virtvm(flag=True, names=["a", "b"])
            def test_three(self, vm, params):
                assert (params["mem"], params["flag"], params["names"]) == ("2048", "yes", "a b")
        """)
    output = project.run("test_new.py")
    assert "3 passed" in output and "PASS  test_two" in output
    assert project.calls() == ["create 1024", "login", "create 2048", "destroy"]


def test_failing_test_of_old_shows_its_own_lines(project):
    """pytest's are cut from functions alone: two lines of the test's stood behind 26 of pytest's and pluggy's."""
    project.write(fails="""
        from autotest_lib.client.common_lib import error

        def run_fails(test, params, env):
            helps()

        def helps():
            try:
                {}["cause"]
            except KeyError as e:
                raise error.TestFail("false is not true") from e
        """)
    html = ["-p", "pytest_metadata.plugin", "-p", "pytest_html.plugin",
            "--html=report.html", "--self-contained-html"]
    output = project.run("fails.py", *html, status=1)
    shown = output[output.index(" run_fails ___"):output.index("Evidence")]
    assert re.findall(r"^(\S+:\d+): in", shown, re.M) == ["fails.py:9", "fails.py:5", "fails.py:11"]
    assert "E   KeyError: 'cause'" in shown and "E   virtvm.companions.error.TestFail: false is not true" in shown
    report = (project.folder / "report.html").read_text()
    assert "fails.py:5: in run_fails" in report and "pluggy/" not in report and "_pytest/" not in report


@pytest.mark.parametrize("kind", ["old", "new"])
def test_cause_comes_first_where_a_vm_does_not_start(project, kind):
    project.write(broken="""
        import hypervisor
        from virtvm import virt_vm

        class VM(hypervisor.VM):
            def create(self, *args, **more):
                said = "qemu: warning: old\\nqemu: no 'space'\\n"
                raise virt_vm.VMCreateError("qemu-system " + 300 * "-option ", 1, said)
        """, old="""
        def run_old(test, params, env):
            pass
        """, test_new="""
        def test_new(vm):
            pass
        """)
    output = project.run("old.py" if kind == "old" else "test_new.py", "--virtvm-param", "vm_class=broken:VM", status=1)
    assert "-option -option" not in output
    cause = "the VM did not start (status 1): qemu: warning: old; qemu: no 'space'"
    assert re.search(r"^E +virtvm.virt_vm.VMCreateError: " + re.escape(cause), output, re.M)
    assert re.search(r"^ERROR \S+ .*" + re.escape(cause), output, re.M)
    name = "old" if kind == "old" else "test_new"
    assert "-option -option" in (project.folder / "virtvm-results" / name / "debug" / "command.log").read_text()


@once
def test_nothing_happens_to_those_who_do_not_use_it(project):
    project.write(test_plain="""
        def run_test_plain(argument):
            pass

        def test_plain():
            pass
        """)
    assert "1 passed" in project.run("test_plain.py") and not (project.folder / "virtvm-results").exists()


OUTCOMES = """
    from autotest_lib.client.common_lib import error
    def %s(test, params, env):
        raise error.%s("the reason")
    """


def test_outcomes_of_old_tests(project):
    for name in ("TestFail", "TestError", "TestNAError", "TestWarn"):
        project.write(**{name.lower(): OUTCOMES % ("run_" + name.lower(), name)})
    output = project.run("testfail.py", "testerror.py", "testnaerror.py", "testwarn.py", status=1)
    assert re.search(r"1 failed, 1 passed, 1 skipped, \d+ warnings?, 1 error", output)
    assert "FAIL  testfail" in output and "ERROR testerror" in output and "SKIP  testnaerror" in output
    assert "TestWarned: the reason" in output


def test_same_outcomes_of_new_tests(project):
    project.write(test_new="""
        from virtvm.companions import error

        def test_fail(vm):
            raise error.TestFail("the reason")

        def test_na(vm):
            raise error.TestNAError("the reason")

        def test_warn(vm):
            raise error.TestWarn("the reason")

        def test_error(vm):
            raise error.TestError("the reason")
        """)
    output = project.run("test_new.py", status=1)
    assert re.search(r"1 failed, 1 passed, 1 skipped, \d+ warnings?, 1 error", output)


@once
def test_failure_to_start_is_an_error_whatever_it_says(project):
    project.write(test_new="def test_one(vm):\n    pass\n")
    output = project.run("test_new.py", "--virtvm-param", "create_fails=yes", status=1)
    assert "1 error" in output and "INTERNALERROR" not in output and "ERROR test_one" in output


@once
def test_params_of_failures_and_vms_that_do_not_end(project):
    project.write(test_new="def test_one(vm):\n    assert False\n", hypervisor2=HYPERVISOR)
    project.run("test_new.py", "--virtvm-param", "kill_vm_on_error=yes", status=1)
    assert project.calls() == ["create 1024", "login", "destroy"]
    project.write(test_new="def test_one(vm):\n    pass\n")
    output = project.run("test_new.py", "--virtvm-param", "destroy_fails=yes", "--virtvm-param", "vms=vm1 vm2")
    assert "1 passed" in output and project.calls()[3:].count("destroy") == 2


CHAIN = """
    variants:
        - first:
            type = step
            fail = yes
        - second: first
            type = step
        - third: second
            type = step
        - apart:
            type = step
    """


@once
def test_dependencies_are_followed_to_their_end(project):
    project.write(step="""
        def run_step(test, params, env):
            assert params.get("fail") != "yes"
        """)
    (project.folder / "tests.cfg").write_text(textwrap.dedent(CHAIN))
    output = project.run("step.py", "--virtvm-config", "tests.cfg", status=1)
    assert "1 failed, 1 passed, 2 skipped" in output and "Test dependency failed: second" in output


# Of two workers pytest-xdist gives one every other test, or one file, if it is left alone.
@once
@pytest.mark.parametrize("dist", ["load", "worksteal", "loadfile"])
def test_dependents_stay_on_one_worker(project, dist):
    project.write(**{name: """
        def run_%s(test, params, env):
            assert params.get("fail") != "yes"
        """ % name for name in ("step", "stride")})
    (project.folder / "tests.cfg").write_text(textwrap.dedent(CHAIN).replace("second\n        type = step",
                                                                            "second\n        type = stride"))
    output = project.run("-p", "xdist", "-n", "2", "--dist", dist, "step.py", "stride.py",
                         "--virtvm-config", "tests.cfg", status=1)
    assert "1 failed, 1 passed, 2 skipped" in output and "Test dependency failed: second" in output
    table = output.partition(" virtual machines ")[2].partition("\n====")[0]
    assert len(set(re.findall(r"(?:first|second|third)\].* in (gw\d)/", table))) == 1, table


@once
def test_configuration_that_cannot_be_used_is_told_in_a_line(project):
    project.write(step="def run_step(test, params, env):\n    pass\n")
    output = project.run("step.py", "--virtvm-config", "none.toml", status=4)
    assert "none.toml" in output and "Traceback" not in output


def test_folder_and_keyvals_of_old_tests(project):
    project.write(old="""
        import os

        def run_old(test, params, env):
            assert os.getcwd() == test.outputdir
            with open("left", "w") as f:
                f.write("here")
            os.chdir("/")
        """, test_new="""
        import os

        def test_new():
            assert os.path.exists("hypervisor.py")
        """)
    assert "2 passed" in project.run("old.py", "test_new.py", "--virtvm-param", "some.key=a = 'b' # c",
                                     "--virtvm-param", "password_vm1=pssst")
    folder = project.folder / "virtvm-results" / "old"
    lines = (folder / "keyval").read_text().splitlines()
    assert (folder / "left").read_text() == "here"
    assert "password_vm1=***" in lines and "pssst" not in "".join(lines)
    assert "some.key=a = 'b' # c" in lines and "mem=1024" in lines and "type=old" in lines
    names = [line.partition("=")[0] for line in lines]
    assert names[:-1] == sorted(names[:-1]) and names[-1] == "kvm_version"
    assert "Invalid key: a b" in project.run("old.py", "--virtvm-param", "a b=1", status=1)


@once
def test_named_test_without_a_variant_is_told(project):
    project.write(step="def run_step(test, params, env):\n    pass\n",
                  stride="def run_stride(test, params, env):\n    pass\n")
    (project.folder / "tests.cfg").write_text("variants:\n    - a:\n        type = step\n")
    output = project.run("step.py", "stride.py", "--virtvm-config", "tests.cfg", status=2)
    assert "no variant that is left has type = stride" in output
    output = project.run(".", "--virtvm", "--virtvm-config", "tests.cfg")
    assert "1 passed" in output
    output = project.virtvm_run("step.py", "stride.py", "--config", "tests.cfg", status=2)
    assert "stride.py: no variant that is left has type = stride" in output
    assert "PASS  step" in project.virtvm_run(".", "--config", "tests.cfg")


@once
def test_file_of_both_kinds_loses_none(project):
    project.write(test_both="""
        def run_test_both(test, params, env):
            pass

        def test_new():
            pass

        class TestMore:
            def test_one(self):
                pass
        """, old="""
        def test_of_the_guest(x, y):
            return x + y

        def run_old(test, params, env):
            assert test_of_the_guest(1, 2) == 3
        """)
    assert "3 passed" in project.run("test_both.py")
    assert "2 passed" in project.run(".")           # nobody asked for tests of old in folders
    assert "4 passed" in project.run(".", "--virtvm")
    assert "1 passed" in project.run("old.py")


@once
def test_patterns_of_kernel_crashes_are_todays_for_new_tests_alone(project):
    project.write(old="""
        def run_old(test, params, env):
            assert params.get("kernel_crash_patterns") is None
        """, test_new="""
        import pytest

        def test_new(params):
            assert params.object_params("vm1")["kernel_crash_patterns"] == "modern"

        @pytest.mark.virtvm(kernel_crash_patterns="seed")
        def test_own(params):
            assert params["kernel_crash_patterns"] == "seed"
        """)
    assert "3 passed" in project.run("old.py", "test_new.py")


@once
def test_new_tests_name_their_guest_by_a_marker_or_need_none(project):
    project.write(test_own="""
        import pytest

        @pytest.mark.virtvm(vm_class="hypervisor:VM")
        def test_with(vm):
            vm.verify_alive()

        def test_without():
            pass
        """, test_bare="""
        def test_bare(vm):
            pass
        """)
    output = project._python(0, "virtvm", "run", "test_own.py")
    assert "PASS  test_with" in output and "2 passed" in output
    assert "no guest: name one by" in project._python(1, "virtvm", "run", "test_bare.py")


@once
def test_marker_that_is_no_param_is_refused(project):
    project.write(test_x="""
        import pathlib, pytest

        @pytest.mark.virtvm(kernel=pathlib.Path("/boot/vmlinuz"), mem=512)
        def test_path(vm, params):
            assert params["kernel"] == "/boot/vmlinuz" and params["mem"] == "4096"

        @pytest.mark.virtvm(mem={"a": 1})
        def test_dict(vm):
            pass
        """)
    output = project.run("test_x.py", "--virtvm-param", "mem=4096", status=1)
    assert "1 passed, 1 error" in output and "marker virtvm: mem: a param is a text" in output


def test_expected_failures_have_words_of_their_own(project):
    project.write(test_x="""
        import pytest

        @pytest.mark.xfail(strict=True, reason="not yet")
        def test_strict(vm):
            pass

        @pytest.mark.xfail(reason="known")
        def test_fails(vm):
            assert 0

        @pytest.mark.xfail(reason="perhaps")
        def test_passes(vm):
            pass

        def test_after(vm):
            pass
        """)
    output = project.run("test_x.py", status=1)
    assert "1 failed, 1 passed, 1 xfailed, 1 xpassed" in output
    table = output.partition(" virtual machines ")[2]
    assert re.findall(r"(?m)^([A-Z]+) +(test_(?!x)\w+)", table.partition("Logs, consoles")[0]) == [
        ("FAIL", "test_strict"), ("XFAIL", "test_fails"), ("XPASS", "test_passes"), ("PASS", "test_after")]
    assert "[XPASS(strict)] not yet" in table and "INTERNALERROR" not in output


@pytest.mark.parametrize("abort", ["yes", "no"])
def test_evidence_that_fails_fails_nothing_else(project, abort):
    """Consoles, pictures and command lines may fail in any way: tests end as they do, what follows is done."""
    project.write(broken="""
        import hypervisor

        class Console:
            name = "c"
            def get_output(self):
                raise RuntimeError("the console is broken")

        class VM(hypervisor.VM):
            serial_console = Console()
            def screendump(self, path):
                raise KeyError("no screen")
            def make_qemu_command(self):
                raise ValueError("no command line")
            def is_dead(self):
                return not self.alive
        """, test_x="""
        def test_passes(vm):
            pass

        def test_fails(vm):
            assert 0, "the test's own reason"
        """)
    (project.folder / "post").write_text("")
    output = project.run("test_x.py", "--virtvm-param", "vm_class=broken:VM", "--virtvm-param", "kill_vm=yes",
                         "--virtvm-param", "post_command=echo done >>%s/post" % project.folder,
                         "--virtvm-param", "abort_on_error=" + abort, status=2 if abort == "yes" else 1)
    assert "1 failed, 1 passed" in output and "INTERNALERROR" not in output
    assert "the test's own reason" in output and "the console is broken" in output
    assert (project.folder / "post").read_text() == "done\n" * 2
    assert [call for call in project.calls() if call != "login"] == ["create 1024", "destroy"] * 2


PROFILER = {
    "client/common_lib/__init__.py": "", "client/bin/__init__.py": "", "client/profilers/__init__.py": "",
    "client/profilers/%s/__init__.py": "",
    "client/bin/profiler.py": """
        class profiler:
            def __init__(self, job):
                self.job = job
            def initialize(self, *args):
                pass
        """,
    "client/profilers/%s/%s.py": """
        import os
        from autotest_lib.client.bin import profiler

        class %s(profiler.profiler):
            def start(self, test):
                self.said = ["start %%d" %% test.iteration]
            def stop(self, test):
                self.said.append("stop %%d" %% test.iteration)
            def report(self, test):
                f = open(os.path.join(test.profdir, self.name), "w")
                print >> f, " ".join(self.said)
                f.close()
        """,
}


@once
def test_profilers_of_the_user_s_tree_look_at_one_run(project):
    for path, text in PROFILER.items():
        for name in ("ticker", "tocker"):
            place = project.folder / "tree" / path.replace("%s", name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(textwrap.dedent(text).replace("%s", name).replace("%%", "%"))
    project.write(old="""
        def run_old(test, params, env):
            print("a run")
            assert params.get("fails") != "yes"
        """)
    words = ["-s", "old.py", "--virtvm-param", "iterations=3", "--virtvm-autotest-dir", "tree"]
    assert project.run(*words).count("a run") == 3
    output = project.run(*words, "--virtvm-param", "profilers=ticker tocker", "--virtvm-param", "fails=yes", status=1)
    assert output.count("a run") == 1
    for name in ("ticker", "tocker"):
        said = (project.folder / "virtvm-results" / "old.2" / "profiling" / name).read_text()
        assert said == "start 1 stop 1\n"
    output = project.run(*words, "--virtvm-param", "profilers=none ../x")
    assert output.count("a run") == 3 and "no profiler none: " in output and "no profiler ../x: " in output


@once
def test_configuration_is_read_once(project):
    project.write(one="def run_one(test, params, env):\n    pass\n", two="def run_two(test, params, env):\n    pass\n",
                  test_new="def test_new(params):\n    pass\n", conftest="""
        from virtvm import config

        original = config.read_toml
        config.read_toml = lambda path: print("reading", path, flush=True) or original(path)
        """)
    (project.folder / "run.toml").write_text("[params]\nmem = 512\n")
    output = project.run("-s", "one.py", "two.py", "test_new.py", "--virtvm-config", "run.toml")
    assert "3 passed" in output and output.count("reading run.toml") == 1


@once
def test_folders_have_tests_of_old_only_if_asked(project):
    (project.folder / "suite" / "deep").mkdir(parents=True)
    for name in ("suite/one", "suite/deep/two", "suite/helper", "suite/test_three"):
        project.write(**{name: """
            def run_%s(test, params, env):
                pass

            def run_helped(test, params, env):
                pass
            """ % name.rpartition("/")[2].replace("helper", "other")})
    project.write(**{"suite/test_new": "def test_new():\n    pass\n"})
    assert "2 passed" in project.run("suite")
    output = project.run("suite", "--virtvm")
    assert "4 passed" in output and all("PASS  " + name in output for name in ("one", "two", "test_three"))
    (project.folder / "pytest.ini").write_text("[pytest]\nvirtvm_tests = true\n")
    assert "4 passed" in project.run("suite")
    assert "1 passed" in project.run("suite/one.py", "--virtvm")


ORDER = """
    variants:
        - late:
            type = zeta
        - early:
            type = alpha
        - latest: early
            type = zeta
        - early_again: early nobody
            type = alpha
    """


@once
def test_variants_run_in_the_configuration_s_order(project):
    for name in ("alpha", "zeta"):
        project.write(**{name: """
            def run_%s(test, params, env):
                print("ran", params["name"], flush=True)
            """ % name, "test_" + name: "def test_%s():\n    pass\n" % name})
    (project.folder / "tests.cfg").write_text(textwrap.dedent(ORDER))
    output = project.run("-s", "alpha.py", "test_alpha.py", "zeta.py", "--virtvm-config", "tests.cfg")
    # A dependency that never ran keeps nobody from running; nor does a name that holds the dependency's.
    assert "5 passed" in output
    assert re.findall(r"ran (\w+)", output) == ["late", "early", "latest", "early_again"]
    output = project.run("-s", "zeta.py", "--virtvm-config", "tests.cfg")
    assert re.findall(r"ran (\w+)", output) == ["late", "latest"]


@once
def test_summary_is_that_of_all_workers(project):
    project.write(test_new="""
        import pytest

        @pytest.mark.parametrize("n", range(4))
        def test_one(vm, n):
            assert n != 2, "two is bad"
        """, old="def run_old(test, params, env):\n    pass\n")
    output = project.run("-p", "xdist", "-n", "2", "test_new.py", "old.py", status=1)
    table = output.partition(" virtual machines ")[2].partition("\n====")[0]
    assert len(re.findall(r"^PASS  (?:test_one\[\d\]|old) .*in gw[01]/", table, re.M)) == 4, table
    found = re.search(r"^FAIL  test_one\[2\] .*two is bad.* in (gw[01]/\S+)$", table, re.M)
    assert found and (project.folder / "virtvm-results" / found.group(1) / "debug").is_dir()
    assert "Logs, consoles and pictures: %s" % (project.folder / "virtvm-results") in table


@once
def test_run_in_several_processes(project):
    project.write(old="def run_old(test, params, env):\n    pass\n")
    output = project.virtvm_run("old.py", "-n", "2")
    assert re.search(r"^PASS  old .*in gw[01]/old", output, re.M)


@once
def test_settings_of_the_project_that_a_guest_lies_in_are_not_ours(project, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (other / "vmlinuz").write_text("kernel")
    (other / "run.toml").write_text("[params]\nmem = 77\n")
    project.write(old="def run_old(test, params, env):\n    print(params['mem'], params['kernel'])\n")
    output = project.virtvm_run("old.py", "--kernel", str(other / "vmlinuz"), "--config", str(other / "run.toml"))
    assert "PASS  old " in output


@once
def test_dry_run_tells_what_pytest_would_run(project):
    project.write(old="def run_old(test, params, env):\n    1 / 0\n", test_new="""
        import pytest

        @pytest.mark.virtvm(vms="vm1 other")
        def test_pair(vm):
            1 / 0

        def test_plain():
            1 / 0
        """)
    (project.folder / "tests.cfg").write_text(textwrap.dedent(ORDER).replace("alpha", "old"))
    words = ["old.py", "test_new.py", "--dry-run", "--config", "tests.cfg"]
    assert project.virtvm_run(*words).splitlines() == [
        "vm1: (VM)", "would run old.py as early", "would run old.py as early_again", "other: (VM)",
        "would run test_new.py::test_pair", "would run test_new.py::test_plain"]
    assert project.virtvm_run(*words, "-k", "plain or again").splitlines() == [
        "vm1: (VM)", "would run old.py as early_again", "would run test_new.py::test_plain"]
    assert not project.calls() and not (project.folder / "virtvm-results").exists()
    project.write(test_new="import nonsense\n")
    assert "No module named 'nonsense'" in project.virtvm_run("test_new.py", "--dry-run", status=2)


@once
@pytest.mark.parametrize("wish", ["yes", "no"])
def test_abort_on_error_ends_the_run(project, wish):
    project.write(a_fails="def run_a_fails(test, params, env):\n    raise ValueError('so bad')\n",
                  b_next="def run_b_next(test, params, env):\n    pass\n")
    output = project.run("a_fails.py", "b_next.py", "--virtvm-param", "abort_on_error=" + wish,
                         status=2 if wish == "yes" else 1)
    assert ("Abort requested (so bad)" in output) == (wish == "yes")
    assert ("VM 'vm1'" in output) == (wish == "yes")
    assert ("1 failed, 1 passed" in output) == (wish == "no")


def test_what_a_console_said_before_the_test_is_not_read_again(project):
    """It took longer with each test of a guest that talks."""
    project.write(talks="""
        import hypervisor

        class Console:
            name = "c"
            said = ""
            def output_length(self):
                return len(self.said)
            def get_output_since(self, length):
                assert length == 0 or self.said[length - 1] == "\\n"
                return self.said[length:]
            def get_output(self):
                raise RuntimeError("all of it is read")

        class VM(hypervisor.VM):
            serial_console = Console()
            def screendump(self, path):
                pass
        """, test_x="""
        def test_first(vm):
            vm.serial_console.said += "of the first\\n"

        def test_second(vm):
            vm.serial_console.said += "of the second\\n"
            assert 0
        """)
    output = project.run("test_x.py", "--virtvm-param", "vm_class=talks:VM", "--virtvm-results", "results", status=1)
    assert "of the second" in output and "all of it is read" not in output
    assert (project.folder / "results/test_first/debug/serial-vm1.log").read_text() == "of the first\n"
    assert (project.folder / "results/test_second/debug/serial-vm1.log").read_text() == "of the second\n"


@once
def test_long_ids_have_folders_of_their_own(project):
    project.write(test_long="""
        import pathlib
        import pytest

        LONG = ["a" * 300, "a" * 300 + "b", "\u6f22" * 100, "x" * 230]

        @pytest.mark.parametrize("times", [1, 2])
        @pytest.mark.parametrize("name", LONG, ids=LONG)
        def test_it(test_object, name, times):
            pathlib.Path(test_object.debugdir, "name").write_text(name + str(times), encoding="utf-8")

        class TestLong:
            @pytest.mark.parametrize("name", LONG[:1], ids=LONG[:1])
            def test_it(self, test_object, name):
                pass

            test_again = test_it
        """)
    (project.folder / "other").mkdir()
    (project.folder / "other" / "test_long_too.py").write_text((project.folder / "test_long.py").read_text())
    assert "20 passed" in project.run("-o", "disable_test_id_escaping_and_forfeit_all_rights_to_community_support=1")
    found = {}
    for path in (project.folder / "virtvm-results").glob("*/debug/name"):
        found.setdefault(path.read_text(encoding="utf-8"), []).append(path.parent.parent.name)
    assert len(found) == 8 and all(len(names) == 2 for names in found.values())
    assert all(name.startswith("test_it[") for names in found.values() for name in names)
