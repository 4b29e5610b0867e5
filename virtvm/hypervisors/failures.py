"""What a person is told of a virtual machine that did not start: first why, and not how it was started."""

import sys

_LINES = 3              # of what QEMU said last: its error is behind its warnings


def short(exception):
    """Why a VM did not start (str), if that exception has its whole command line in its text; else None."""
    virt_vm = sys.modules.get("virtvm.virt_vm")
    if virt_vm is None or not isinstance(exception, virt_vm.VMCreateError):
        return None
    command, output = str(exception.cmd or ""), str(getattr(exception, "output", None) or "")
    if not command or repr(command)[1:-1] not in str(exception):
        return None
    status = getattr(exception, "status", None)
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"]
    how = "" if status is None else " (status %s)" % status
    return "the VM did not start%s: %s" % (how, "; ".join(lines[-_LINES:]))
