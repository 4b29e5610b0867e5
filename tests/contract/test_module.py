"""The module: its namespace, signatures, stub, several instances, sub-interpreters."""

import ast
import gc
import importlib.util
import inspect
import os
import pickle
import subprocess
import sys
import weakref

import pytest

from virtvm import virt_vm

# Signatures of the reference module.
FUNCTIONS = dict.fromkeys(
    ["get_image_filename", "create_image", "remove_image", "check_image"], "(params, root_dir)")
METHODS = {
    "__init__": "(self, name, params)",
    "_generate_unique_id": "(self)",
    "verify_alive": "(self)",
    "get_mac_address": "(self, nic_index=0)",
    "verify_kernel_crash": "(self)",
    "get_params": "(self)",
    "get_serial_console_filename": "(self)",
    "get_testlog_filename": "(self)",
    "login": "(self, nic_index=0, timeout=10)",
    "remote_login": "(self, nic_index=0, timeout=10)",
    "wait_for_login": "(self, nic_index=0, timeout=240, internal_timeout=10)",
    "copy_files_to": "(self, host_path, guest_path, nic_index=0, verbose=False, timeout=600)",
    "copy_files_from": "(self, guest_path, host_path, nic_index=0, verbose=False, timeout=600)",
    "serial_login": "(self, timeout=10)",
    "wait_for_serial_login": "(self, timeout=240, internal_timeout=10)",
    "get_uuid": "(self)",
    "send_string": "(self, str)",
    "get_cpu_count": "(self)",
    "get_memory_size": "(self, cmd=None)",
    "get_current_memory_size": "(self)",
    "is_alive": "(self)",
    "is_dead": "(self)",
    "get_address": "(self, index=0)",
    "clone": "(self, name, **params)",
    "destroy": "(self, gracefully=True, free_mac_addresses=True)",
    "migrate": "(self, timeout=3600, protocol='tcp', cancel_delay=None, offline=False, "
               "stable_check=False, clean=True, save_path='/tmp', dest_host='localhost', "
               "remote_port=None)",
    "reboot": "(self, session=None, method='shell', nic_index=0, timeout=240)",
    "send_key": "(self, keystr)",
    "save_to_file": "(self, path)",
    "needs_restart": "(self, name, params, basedir)",
}


def test_namespace():
    for name in ("os", "logging", "time", "glob", "re"):
        assert getattr(virt_vm, name) is sys.modules[name]
    for name in ("error", "utils", "virt_utils"):
        assert getattr(virt_vm, name) is sys.modules["virtvm.companions." + name]
    assert not hasattr(virt_vm, "__all__")
    assert virt_vm.__doc__ is None
    assert virt_vm.__name__ == "virtvm.virt_vm"


def test_namespace_holds_nothing_else():
    public = {name for name in vars(virt_vm) if not name.startswith("__")}
    classes = {name for name in public if isinstance(getattr(virt_vm, name), type)}
    assert len(classes) == 26
    assert public - classes - set(FUNCTIONS) == {
        "os", "logging", "time", "glob", "re", "error", "utils", "virt_utils"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_signature(name):
    function = getattr(virt_vm, name)
    assert str(inspect.signature(function)) == FUNCTIONS[name]
    assert function.__doc__ and "--\n\n" not in function.__doc__
    assert pickle.loads(pickle.dumps(function)) is function


@pytest.mark.parametrize("name", METHODS)
def test_method_signature(name):
    method = getattr(virt_vm.BaseVM, name)
    assert str(inspect.signature(method)) == METHODS[name]
    assert method.__name__ == name
    assert method.__doc__ and "--\n\n" not in method.__doc__
    vm = virt_vm.BaseVM("vm1", {})
    assert inspect.signature(getattr(vm, name)) == inspect.signature(method).replace(
        parameters=list(inspect.signature(method).parameters.values())[1:])


def test_no_method_is_missing_or_new():
    found = {name for name, value in vars(virt_vm.BaseVM).items() if callable(value)}
    assert found == set(METHODS)


def test_class_signature():
    assert str(inspect.signature(virt_vm.BaseVM)) == "(name, params)"

    class Heir(virt_vm.BaseVM):
        pass

    class Other(virt_vm.BaseVM):
        def __init__(self, size):
            pass

    assert str(inspect.signature(Heir)) == "(name, params)"
    assert str(inspect.signature(Other)) == "(size)"


def stub_signature(function):
    """The signature that a def in the stub has, without annotations."""
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            node.annotation = None
    function.returns = None
    scope = {}
    exec(compile(ast.Module([function], []), "stub", "exec"), scope)
    return str(inspect.signature(scope[function.name]))


def stub_tree():
    path = os.path.join(os.path.dirname(virt_vm.__file__), "virt_vm.pyi")
    with open(path) as f:
        return ast.parse(f.read()).body


def test_stub_has_the_same_signatures():
    functions = {n.name: stub_signature(n) for n in stub_tree() if isinstance(n, ast.FunctionDef)}
    assert functions == FUNCTIONS
    base_vm = next(n for n in stub_tree() if isinstance(n, ast.ClassDef) and n.name == "BaseVM")
    methods = {n.name: stub_signature(n) for n in base_vm.body if isinstance(n, ast.FunctionDef)}
    assert methods == METHODS


def test_stub_has_the_same_errors():
    for node in stub_tree():
        if isinstance(node, ast.ClassDef) and node.name != "BaseVM":
            cls = getattr(virt_vm, node.name)
            assert [b.id for b in node.bases] == [b.__name__ for b in cls.__bases__]
            for item in node.body:
                if isinstance(item, ast.FunctionDef):
                    own = stub_signature(item).replace("(self, ", "(")
                    assert own == str(inspect.signature(cls))


# Instances of the module

def new_instance():
    spec = importlib.util.spec_from_file_location("virtvm.virt_vm", virt_vm.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_instances_share_nothing():
    other = new_instance()
    assert other is not virt_vm
    assert other.BaseVM is not virt_vm.BaseVM
    assert other.VMError is not virt_vm.VMError
    other.virt_utils = None
    with pytest.raises(AttributeError):
        other.BaseVM("a", {})
    virt_vm.BaseVM("a", {})

    class Dead(other.BaseVM):
        def __init__(self):
            pass

        def is_dead(self):
            return True

    with pytest.raises(other.VMDeadError):
        Dead().verify_alive()


def test_instance_is_collected():
    module = new_instance()
    gone = [weakref.ref(module), weakref.ref(module.BaseVM), weakref.ref(module.VMDeadError)]
    del module
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_class_outlives_its_module():
    base_vm = new_instance().BaseVM
    gc.collect()
    vm = base_vm("vm1", {"uuid": "u"})
    assert vm.get_uuid() == "u"


def run_python(code, *options):
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True,
                          timeout=120)


def test_exit_with_living_instances_is_quiet():
    done = run_python("from virtvm import virt_vm\n"
                      "class VM(virt_vm.BaseVM):\n"
                      "    def __del__(self): self.get_params()\n"
                      "vm = VM('a', {})\n"
                      "virt_vm.me = vm\n"
                      "vm.error = virt_vm.VMDeadError('x'); vm.error.vm = vm\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_import_that_fails_is_clean():
    done = run_python("import sys, gc\n"
                      "sys.modules['virtvm.companions.virt_utils'] = None\n"
                      "for i in range(3):\n"
                      "    try:\n"
                      "        import virtvm.virt_vm\n"
                      "    except ImportError as e:\n"
                      "        assert 'virt_utils' in str(e)\n"
                      "    else:\n"
                      "        raise SystemExit('imported')\n"
                      "    gc.collect()\n")
    assert (done.returncode, done.stderr) == (0, "")


SUBINTERPRETER = """
import sys
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
else:
    import _xxsubinterpreters as interpreters
code = '''
import sys, types
if %(fake)r:                    # their own imports are not the question here
    for name in ("error", "utils", "virt_utils"):
        sys.modules["virtvm.companions." + name] = types.ModuleType(name)
from virtvm import virt_vm
virt_vm.virt_utils.generate_random_string = lambda n: "abcd"
class VM(virt_vm.BaseVM):
    def is_dead(self):
        return True
try:
    VM("a", {}).verify_alive()
except virt_vm.VMDeadError as e:
    assert str(e) == "VM is dead"
else:
    raise SystemError("alive")
'''
from virtvm import virt_vm
for i in range(3):
    inner = interpreters.create()
    if sys.version_info >= (3, 13):
        failure = interpreters.exec(inner, code)
        assert failure is None, failure
    else:
        interpreters.run_string(inner, code)
    interpreters.destroy(inner)
virt_vm.BaseVM("still here", {})
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters share one GIL before 3.12")
def test_subinterpreters_with_their_own_gil():
    done = run_python(SUBINTERPRETER % {"fake": True})
    assert (done.returncode, done.stderr) == (0, "")
