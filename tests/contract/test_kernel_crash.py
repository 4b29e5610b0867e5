"""verify_kernel_crash finds what the reference's regular expression finds."""

import re
import time

import pytest
from hypothesis import given, settings, strategies as st

from support.fakes import FakeConsole
from virtvm import virt_vm

REFERENCE = re.compile(r"BUG:.*---\[ end trace .* \]---", re.DOTALL | re.MULTILINE)
OOPS = ("[1.0] BUG: unable to handle kernel NULL pointer dereference at (null)\n"
        "[1.1] IP: [<ffffffff81>] sysrq_handle_crash\n"
        "[1.2] ---[ end trace 2d2e0f8f1c ]---\n")


def find(output):
    """The text that verify_kernel_crash raises for, or None."""
    vm = virt_vm.BaseVM("vm1", {})
    vm.serial_console = FakeConsole(output)
    try:
        assert vm.verify_kernel_crash() is None
    except virt_vm.VMDeadKernelCrashError as e:
        assert e.args == (e.kernel_crash,)
        return e.kernel_crash
    return None


def reference(output):
    match = REFERENCE.search(output)
    return match and match.group(0)


@pytest.mark.parametrize("output, crash", [
    ("", None),
    ("all is well\n", None),
    (OOPS, OOPS[6:-1]),
    ("x" + OOPS + "login: " + OOPS + "tail", (OOPS + "login: " + OOPS)[6:-1]),
    (OOPS.replace(" ]---", "]---"), None),
    ("BUG:---[ end trace  ]---", "BUG:---[ end trace  ]---"),
    ("BUG:---[ end trace ]---", None),
    ("---[ end trace x ]--- BUG:", None),
    ("BUG: ]---", None),
    ("BUG:-----[ end trace - ]----", "BUG:-----[ end trace - ]---"),
    ("BUG:---[ end trace  ] ]--- ]--- ]--", "BUG:---[ end trace  ] ]--- ]---"),
    ("BBUG:\u00e9\u4e2d\U0001f600---[ end trace \u00e9 ]---\u4e2d",
     "BUG:\u00e9\u4e2d\U0001f600---[ end trace \u00e9 ]---"),
    ("BUG:\udc80---[ end trace \udcff ]---", "BUG:\udc80---[ end trace \udcff ]---"),
    ("BUG:\0---[ end trace \0 ]---", "BUG:\0---[ end trace \0 ]---"),
    ("\u0142BUG\u013a: ---[ end trace x ]---", None),
])
def test_crash(output, crash):
    assert reference(output) == crash
    assert find(output) == crash


PIECES = ["BUG:", "BUG", "B", ":", "---[ end trace ", "---", "--", "-", "[ end trace ", "end trace",
          " ]---", "]---", " ]", " ", "\n", "x", "\u00e9", "\u4e2d", "\U0001f600", "\udc80",
          "\u0142", "\u022d", "\u205b"]


OUTPUTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


@given(OUTPUTS)
def test_same_as_reference(output):
    assert find(output) == reference(output)


@pytest.mark.once
@settings(max_examples=1500)
@given(OUTPUTS)
def test_same_as_reference_many_times(output):
    assert find(output) == reference(output)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.integers(0, 1100))
def test_same_as_reference_in_long_logs(output, before):
    log = "\u4e2d" * before + output + "\u4e2d" * 1024 + output
    assert find(log) == reference(log)


def test_time_is_linear():
    """The regular expression needs minutes for this log."""
    log = "BUG:" + "---[ end trace  ]-- \u4e2d" * 400000
    begun = time.process_time()
    assert find(log) is None
    assert time.process_time() - begun < 5


def test_no_console():
    vm = virt_vm.BaseVM("vm1", {})
    assert vm.verify_kernel_crash() is None


@pytest.mark.parametrize("console", [0, "", False])
def test_only_none_is_no_console(console):
    vm = virt_vm.BaseVM("vm1", {})
    vm.serial_console = console
    with pytest.raises(AttributeError):
        vm.verify_kernel_crash()


@pytest.mark.parametrize("output", [None, b"BUG: ---[ end trace x ]---", 5])
def test_output_must_be_text(output):
    with pytest.raises(TypeError):
        find(output)


def test_error_of_console_passes():
    with pytest.raises(ZeroDivisionError):
        find(ZeroDivisionError())


def test_output_is_read_once():
    vm = virt_vm.BaseVM("vm1", {})
    vm.serial_console = FakeConsole("fine")
    vm.verify_kernel_crash()
    assert vm.serial_console.reads == 1


class ScanningConsole(FakeConsole):
    crash = None

    def find_kernel_crash(self):
        return self.crash


def test_console_that_keeps_its_place_is_asked():
    vm = virt_vm.BaseVM("vm1", {})
    vm.serial_console = ScanningConsole(OOPS)
    assert vm.verify_kernel_crash() is None
    vm.serial_console.crash = "BUG: here"
    with pytest.raises(virt_vm.VMDeadKernelCrashError, match="BUG: here"):
        vm.verify_kernel_crash()
    assert vm.serial_console.reads == 0


def test_console_that_has_any_attribute_is_scanned():
    class Anything(FakeConsole):
        def __getattr__(self, name):
            return lambda *args: "nonsense"

    vm = virt_vm.BaseVM("vm1", {})
    vm.serial_console = Anything("fine")
    assert vm.verify_kernel_crash() is None


def test_error_class_is_looked_up(monkeypatch):
    class Other(virt_vm.VMDeadKernelCrashError):
        pass

    vm = virt_vm.BaseVM("vm1", {})
    vm.serial_console = FakeConsole(OOPS)
    monkeypatch.setattr(virt_vm, "VMDeadKernelCrashError", Other)
    with pytest.raises(Other):
        vm.verify_kernel_crash()
