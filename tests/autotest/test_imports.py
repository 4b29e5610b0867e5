"""Where autotest's module names lead: to ours, to the user's tree, to a genuine autotest."""

import pytest
from support.autotest_tree import python, write

USER_TREE = {
    "client/__init__.py": "",
    "client/bin/__init__.py": "",
    "client/bin/utils.py": """
        def memory_in_pages():
            return memtotal() * 1024 // 4096

        def memtotal():
            return 0
        """,
    "client/common_lib/__init__.py": "",
    "client/common_lib/barrier.py": """
        from autotest_lib.client.common_lib import error

        def fail():
            raise error.BarrierError("nobody came")
        """,
    "client/virt/__init__.py": "",
    "client/virt/virt_utils.py": """
        import virt_extra
        from autotest_lib.client.bin import utils

        class LoginError(Exception):
            pass

        def theirs():
            return virt_extra.VALUE

        def refuse():
            raise LoginError("no", "way")

        def generate_random_string(length):
            return "theirs"
        """,
    "client/virt/virt_extra.py": "import virt_utils\nVALUE = 'extra'\n",
    "client/virt/tests/__init__.py": "",
    "client/virt/tests/copying.py": "def run_copying(test, params, env):\n    return 'copied'\n",
    "client/tests/kvm/tests/first.py": """
        import common
        from autotest_lib.client.virt.tests import copying
        from autotest_lib.client.tests.kvm.tests import second

        def run_first(test, params, env):
            return copying.run_copying(test, params, env), second.WHO
        """,
    "client/tests/kvm/tests/second.py": "import first\nWHO = first.__name__\n",
}


def test_ours_are_the_very_same_objects(tmp_path):
    python("""
        from autotest_lib.client.virt import virt_vm, virt_utils, aexpect
        from autotest_lib.client.common_lib import error, utils as common_utils
        from autotest_lib.client.bin import utils
        import autotest_lib.client.virt.virt_vm as by_path
        import virtvm.virt_vm
        from virtvm import companions
        from virtvm.companions import error as our_error, virt_utils as our_virt_utils
        assert virt_vm is by_path is virtvm.virt_vm
        assert error is our_error and virt_utils is our_virt_utils is virt_vm.virt_utils
        assert utils is common_utils is virt_vm.utils
        assert utils.read_from_meminfo and utils.SystemLoad and utils.system_output
        assert virt_vm.__name__ == virt_vm.__spec__.name == "virtvm.virt_vm"
        """, tmp_path)


def test_only_autotest_lib_is_served_everywhere(tmp_path):
    python("""
        import autotest_lib.client.virt.virt_vm
        for name in "common", "autotest", "autotest.client.virt.virt_vm", "virt_utils":
            try:
                __import__(name)
            except ModuleNotFoundError:
                continue
            raise AssertionError(name)
        """, tmp_path)


def test_later_spellings(tmp_path):
    python("""
        import sys
        from virtvm import autotest
        autotest.install()
        import common
        import autotest.client.virt.virt_vm
        from autotest.client.shared import error, utils
        from autotest.client import utils as client_utils
        from autotest_lib.client.common_lib import error as earlier
        assert error is earlier and utils is client_utils
        import virtvm.virt_vm
        assert autotest.client.virt.virt_vm is virtvm.virt_vm
        """, tmp_path)


def test_names_that_others_have_stay_theirs(tmp_path):
    write(tmp_path, {"common.py": "WHOSE = 'theirs'\n", "autotest/__init__.py": "WHOSE = 'theirs'\n",
                     "shelf/common.py": "raise SystemExit\n",
                     "shelf/old.py": "import common\nfrom autotest.client.shared import error\n"
                                     "import autotest.client.virt.virt_vm\n"})
    python("""
        from virtvm import autotest as ours
        ours.install()
        old = ours.load_test("shelf/old.py")
        import autotest, common
        assert common.WHOSE == autotest.WHOSE == "theirs"
        from virtvm import virt_vm
        from virtvm.companions import error
        assert old.error is error and old.autotest.client.virt.virt_vm is virt_vm
        assert not hasattr(old.common, "WHOSE")
        """, tmp_path)


def test_a_folder_called_autotest_is_no_autotest(tmp_path):
    write(tmp_path, {"autotest/client/README": ""})
    python("""
        from virtvm import autotest
        autotest.install()
        import autotest.client.virt.virt_vm
        """, tmp_path)


def test_what_is_not_needed_is_not_imported(tmp_path):
    python("""
        import logging, sys
        # Less what Python itself brings: 3.14's logging has need of ast.
        heavy = {"fissix", "ast", "tempfile", "virtvm.autotest.python2.translate",
                 "virtvm.autotest.python2"} - set(sys.modules)
        import autotest_lib.client.virt.virt_vm
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        from virtvm import autotest
        open("both.py", "w").write("import logging\\n")
        autotest.load_test("both.py")
        assert "fissix" not in sys.modules
        """, tmp_path)


def test_uninstall_takes_everything_back(tmp_path):
    python("""
        import sys
        from virtvm import autotest
        from virtvm.companions import utils, virt_utils
        before = dict(vars(virt_utils)), vars(utils)["__getattr__"]
        path = list(sys.meta_path)
        autotest.install()
        import common
        from autotest_lib.client.virt import virt_utils as served
        from autotest_lib.client.bin import utils as served_utils
        assert "__getattr__" in vars(virt_utils) and utils.SystemLoad
        autotest.uninstall()
        autotest.uninstall()
        assert sys.meta_path == path
        assert (dict(vars(virt_utils)), vars(utils)["__getattr__"]) == before
        assert not [n for n in sys.modules if n.split(".")[0] in ("common", "autotest", "autotest_lib")]
        import autotest_lib.client.virt.virt_utils
        assert autotest_lib.client.virt.virt_utils is virt_utils
        """, tmp_path)


def test_names_that_nobody_has(tmp_path):
    python("""
        from autotest_lib.client.virt import virt_utils
        try:
            virt_utils.no_such_thing
        except AttributeError as e:
            assert "no_such_thing" in str(e) and "no autotest tree" in str(e), e
        else:
            raise AssertionError
        try:
            from autotest_lib.client.virt import no_such_module
        except ImportError as e:
            assert "no_such_module" in str(e)
        else:
            raise AssertionError
        """, tmp_path)


HOW = {"argument": ("autotest.install(%r)", {}), "client folder": ("autotest.install(%r + '/client')", {}),
       "environment": ("autotest.install() # %r", {"VIRTVM_AUTOTEST_DIR": "tree"})}


@pytest.mark.parametrize("how", HOW)
def test_a_users_tree_gives_what_ours_lack(tmp_path, how):
    write(tmp_path / "tree", USER_TREE)
    install, environment = HOW[how]
    python("""
        from virtvm import autotest
        %s
        from autotest_lib.client.virt import virt_utils, virt_extra
        from autotest_lib.client.bin import utils
        from autotest_lib.client.common_lib import barrier, error
        import virtvm.companions.virt_utils as ours

        assert virt_utils is ours and virt_extra.virt_utils is ours
        assert virt_utils.theirs() == "extra"
        assert virt_utils.generate_random_string(4) != "theirs"
        assert utils.memory_in_pages() == utils.memtotal() * 1024 // 4096 > 0
        try:
            virt_utils.refuse()
        except ours.LoginError as e:
            assert e.output == "way"
        try:
            barrier.fail()
        except error.BarrierError:
            pass
        """ % (install % "tree"), tmp_path, **environment)


def test_a_tree_is_found_around_the_test(tmp_path):
    write(tmp_path / "tree", USER_TREE)
    python("""
        from virtvm import autotest
        first = autotest.load_test("tree/client/tests/kvm/tests/first.py")
        copied, who = first.run_first(None, None, None)
        assert copied == "copied"
        assert who == first.__name__ and first is autotest.load_test("tree/client/tests/kvm/tests/first.py")
        """, tmp_path)


def test_a_folder_that_is_no_tree_is_refused(tmp_path):
    python("""
        from virtvm import autotest
        try:
            autotest.install("/proc")
        except FileNotFoundError as e:
            assert "/proc" in str(e)
        else:
            raise AssertionError
        """, tmp_path)


def test_tests_of_a_folder_import_each_other_and_hide_nothing(tmp_path):
    write(tmp_path / "shelf", {
        "unittest.py": """
            import unittest
            import virt_utils

            def run_unittest(test, params, env):
                return unittest
            """,
        "helper.py": "from autotest_lib.client.virt.tests import base\nVALUE = base.VALUE\n",
        "base.py": "VALUE = 7\n"})
    python("""
        import sys
        from virtvm import autotest
        module = autotest.load_test("shelf/unittest.py")
        import unittest
        assert module.run_unittest(None, None, None) is unittest is not module
        assert unittest.TestCase
        from virtvm.companions import virt_utils
        assert module.virt_utils is virt_utils and "virt_utils" not in sys.modules
        assert autotest.load_test("shelf/helper.py").VALUE == 7
        assert "helper" not in sys.modules
        """, tmp_path)


# A genuine autotest at work: a host's package of that name that runs on this Python.

GENUINE = {
    "autotest_lib/__init__.py": "",
    "autotest_lib/client/__init__.py": "",
    "autotest_lib/client/bin/__init__.py": "",
    "autotest_lib/client/bin/utils.py": """
        from autotest_lib.client.common_lib import error

        class CmdResult:
            exit_status = 2

        def system(command, *args, **kwargs):
            raise error.CmdError(command, CmdResult())

        run = system_output = system
        """,
    "autotest_lib/client/common_lib/__init__.py": "",
    "autotest_lib/client/common_lib/error.py": """
        class AutotestError(Exception):
            pass

        class CmdError(AutotestError):
            def __init__(self, command, result_obj):
                Exception.__init__(self, command, result_obj)
                self.result_obj = result_obj

        class TestWarn(AutotestError):
            pass

        contexts = []

        def context(s="", log=None):
            contexts.append(s)

        def context_aware(fn):
            return fn
        """,
    "autotest_lib/client/virt/__init__.py": "",
    "autotest_lib/client/virt/virt_utils.py": """
        import os

        class LoginError(Exception):
            pass

        def remote_login(*args):
            raise LoginError("refused by the host's own")

        def get_path(base, path):
            return os.path.join(base, path)

        def generate_random_string(length):
            return "x" * length
        """,
}

PROOF = """
    virt_utils, error, utils = (importlib.import_module("autotest_lib.client." + name)
                                for name in ("virt.virt_utils", "common_lib.error", "bin.utils"))
    assert "companions" not in virt_utils.__name__ + error.__name__ + utils.__name__
    assert virt_vm.virt_utils is virt_utils and virt_vm.error is error and virt_vm.utils is utils

    class VM(virt_vm.BaseVM):
        def get_address(self, index=0):
            return "localhost"

        def get_port(self, port, nic_index=0):
            return port

    vm = VM("vm1", {"shell_client": "ssh", "shell_port": "22"})
    try:
        vm.login()
    except virt_utils.LoginError as e:
        assert "own" in str(e)
    else:
        raise AssertionError
    try:
        virt_vm.create_image({"image_name": "i"}, "/tmp")
    except error.CmdError as e:
        assert e.result_obj.exit_status == 2
    else:
        raise AssertionError
    """

GENUINE_FIRST = {
    "our module imported later": "import virtvm.virt_vm as virt_vm",
    "asked for by autotest's name": "from virtvm import autotest\nautotest.install()\n"
                                    "from autotest_lib.client.virt import virt_vm\n"
                                    "import virtvm.virt_vm\nassert virt_vm is virtvm.virt_vm",
}


@pytest.mark.parametrize("case", GENUINE_FIRST)
def test_a_genuine_autotest_keeps_its_modules_and_classes(tmp_path, case):
    write(tmp_path, GENUINE)
    python("import importlib\nimport autotest_lib.client\n" + GENUINE_FIRST[case] + "\n"
           + PROOF.replace("\n    ", "\n"), tmp_path)


def test_our_module_that_was_there_first_is_bound_by_install(tmp_path):
    write(tmp_path, GENUINE)
    python("import importlib\nimport virtvm.virt_vm as virt_vm\nfrom virtvm import autotest\n"
           "import autotest_lib.client.common_lib.error\nautotest.install()\n"
           + PROOF.replace("\n    ", "\n"), tmp_path)
