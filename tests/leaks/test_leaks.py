"""Operations that are repeated leave no object behind."""

import subprocess
import sys

import pytest

# Each runs in an interpreter of its own, so that nothing else moves the counts.
OPERATIONS = {
    "errors": """
def operation():
    for cls in (virt_vm.VMError, virt_vm.VMRebootError, virt_vm.VMDeadError):
        str(cls("a")), repr(cls("a"))
    error = virt_vm.VMCreateError("a", status=1, output="b")
    str(error); pickle.loads(pickle.dumps(error)); copy.deepcopy(error)
    str(virt_vm.VMDeadError("a", "b"))
    refused(virt_vm.VMCreateError)
    refused(virt_vm.VMCreateError, 1, 2, 3, 4)
    refused(virt_vm.VMHashMismatchError.__init__)
    refused(str, virt_vm.VMImageCheckError((1, 2)))
    del error.cmd
    refused(str, error)
    virt_vm.__dict__.pop("VMError"); refused(virt_vm.VMStatusError.__mro__[1], 1, x=2)
    refused(virt_vm.VMCreateError, 1, 2, 3)
    virt_vm.VMError = virt_vm.VMStatusError.__mro__[1]
""",
    "images": """
class Result:
    exit_status = 0; stdout = "check info\\nx\\r\\ny"; stderr = "z"
class Utils:
    @staticmethod
    def run(command, ignore_status): return Result
    @staticmethod
    def system(command):
        if system_error: raise system_error
        return 0
virt_vm.utils = Utils
virt_vm.logging = types.SimpleNamespace(debug=lambda *a: 0, error=lambda *a: 0)
virt_vm.os = types.SimpleNamespace(path=types.SimpleNamespace(exists=lambda p: True),
                                   unlink=lambda p: 0)
def operation():
    global system_error
    system_error = None
    params = {"image_name": "a 'b'", "vm_type": "kvm", "image_cluster_size": 5}
    virt_vm.get_image_filename({"image_raw_device": "yes"}, "/")
    virt_vm.create_image(params, "/"); virt_vm.remove_image(params, "/"); Result.stdout = "check info"
    for Result.exit_status in range(5):
        refused(virt_vm.check_image, params, "/")
    Result.stdout = "nothing"; virt_vm.check_image(params, "/"); Result.stdout = "check info"
    for system_error in (virt_vm.error.TestError("x"), KeyError("y")):
        refused(virt_vm.create_image, params, "/"); refused(virt_vm.check_image, params, "/")
    for broken in (None, {"image_name": Broken()}, {"image_size": Broken()},
                   {"image_format": Broken()}, {"image_cluster_size": Broken()},
                   {"image_raw_device": Broken()}, {"qemu_img_binary": 5}):
        for function in (virt_vm.create_image, virt_vm.remove_image, virt_vm.check_image):
            refused(function, broken, "/")
    system_error = None
    virt_vm.create_image({"image_name": "-x:y", "qemu_img_binary": "/a=b"}, "")
""",
    "guest": """
class Session:
    def cmd(self, command): return command
    def close(self):
        if close_error: raise close_error
class Console:
    def get_output(self): return output
close_error = None
class VM(virt_vm.BaseVM):
    def login(self): return Session()
    def send_key(self, key): pass
    def is_dead(self): return True
def operation():
    global output, close_error
    vm = VM("a", virt_vm.virt_utils.Params(nics="n m", nic_mac="x", cpu_chk_cmd="5", uuid="random",
                                           mem_chk_cur_cmd="1.5 GB 3.25 7"))
    copy.deepcopy(vm); pickle.loads(pickle.dumps(vm)); vm.self = vm
    vm.get_cpu_count(), vm.get_memory_size("1.2.3 MB"), vm.get_current_memory_size()
    refused(vm.get_memory_size, 5)
    close_error = KeyError(); refused(vm.get_cpu_count); refused(vm.get_memory_size, 5)
    close_error = None
    vm.send_string("aBc"); refused(vm.send_string, [1]); refused(vm.send_string, 1)
    vm.get_mac_address(1); refused(vm.get_mac_address, 9)
    vm.get_params(), vm.get_testlog_filename(), vm.get_serial_console_filename()
    refused(vm.verify_alive); refused(vm.get_uuid); vm.uuid = 1; vm.get_uuid()
    vm.serial_console = Console()
    for output in ("x", "BUG:\\u4e2d---[ end trace  ]---", "BUG:---[ end trace  ]---", None, b""):
        refused(vm.verify_kernel_crash)
    for name in ("is_alive", "clone", "migrate", "reboot", "destroy", "needs_restart"):
        refused(getattr(vm, name)); refused(getattr(vm, name), 1)
    refused(vm.clone, 1, x=2)
""",
    "login": """
class VM(virt_vm.BaseVM):
    def get_address(self, i):
        if isinstance(i, str): raise virt_vm.VMIPAddressMissingError(i)
        return "a"
    def get_port(self, p): return p
class Session:
    def __getattr__(self, name): return lambda *a: None
def quiet(*args, **kwargs): return Session()
virt_vm.virt_utils.remote_login = virt_vm.virt_utils._remote_login = quiet
virt_vm.virt_utils.copy_files_to = virt_vm.virt_utils.copy_files_from = quiet
class Time:
    now = 0
    strftime = staticmethod(time.strftime)
    @classmethod
    def time(cls):
        cls.now += 1
        return cls.now
    sleep = staticmethod(lambda s: None)
virt_vm.time = Time
def operation():
    params = {"shell_port": 5, "file_transfer_port": 5, "ssh_auth": "x", "transfer_times": "y",
              "shell_linesep": r"\\n\\x41\\N{SPACE}\\N{none}\\u12"}
    vm = VM("a", params)
    vm.serial_console = Session()
    for method, args in ((vm.login, ()), (vm.serial_login, ()), (vm.copy_files_to, (1, 2)),
                         (vm.copy_files_from, (1, 2)), (vm.remote_login, ()),
                         (vm.wait_for_login, ()), (vm.wait_for_serial_login, ())):
        method(*args); refused(method, *args, wrong=1)
    refused(vm.login, "no address")
    refused(vm.wait_for_login, "no address", 50)
    refused(vm.wait_for_login, "no address", 0)
    refused(vm.wait_for_login, 0, "x")
    for key in ("shell_port", "file_transfer_port"):
        params[key] = "none"
    for method, args in ((vm.login, ()), (vm.copy_files_to, (1, 2)), (vm.wait_for_login, ())):
        refused(method, *args)
    vm.serial_console = None
    refused(vm.serial_login); refused(vm.wait_for_serial_login)
    def fail(*args): raise virt_vm.virt_utils.LoginError(str(Time.now % 3), "x" * 3000)
    vm.login = fail
    refused(vm.wait_for_login, 0, 100)
""",
    "module": """
import importlib.util
limit = 500         # the interpreter's cache of attributes still fills; an instance is thousands
def operation():
    spec = importlib.util.spec_from_file_location("virtvm.virt_vm", virt_vm.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.glob = virt_vm.glob
    module.BaseVM("a", {}), module.VMDeadError("x")
""",
}

HARNESS = """
import copy, gc, pickle, sys, time, types
from virtvm import virt_vm

# The real one keeps every pattern it is given.
virt_vm.glob = types.SimpleNamespace(glob=lambda pattern: [])

limit = 25          # half a block for each operation

class Broken:
    def __str__(self): raise ZeroDivisionError
    def __eq__(self, other): raise ZeroDivisionError
    __hash__ = None

def refused(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception:
        pass

%s

def settle(times):
    for _ in range(times):
        operation()
    gc.collect()
    return sys.getallocatedblocks()

settle(150)         # caches fill first
counts = [settle(50) for _ in range(8)]
growth = min(later - earlier for earlier, later in zip(counts, counts[1:]))
raise SystemExit("%%d blocks more each round: %%r" %% (growth, counts) if growth >= limit else 0)
"""


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_left(name):
    done = subprocess.run([sys.executable, "-c", HARNESS % OPERATIONS[name]], timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert (done.returncode, done.stdout) == (0, "")
