"""Which of our modules stands for which of autotest's.  The one place that knows.

Autotest's names are written as they stand below `autotest_lib` (and `autotest`, its
later spelling).
"""

import importlib.util

# A module whose file is not there is served from the user's own tree, if at all.
MODULES = {
    "client.virt.virt_vm": "virtvm.virt_vm",
    "client.virt.virt_utils": "virtvm.companions.virt_utils",
    "client.virt.aexpect": "virtvm.companions.aexpect_2011",
    "client.virt.rss_client": "virtvm.companions.rss_client",
    "client.virt.kvm_vm": "virtvm.hypervisors.qemu",
    "client.virt.kvm_monitor": "virtvm.hypervisors.monitor",
    "client.virt.kvm_installer": "virtvm.autotest.kvm_installer",
    "client.virt.ppm_utils": "virtvm.autotest.tests.ppm_utils",
    "client.virt.virt_env_process": "virtvm.autotest.tests.virt_env_process",
    "client.virt.virt_test_setup": "virtvm.autotest.tests.virt_test_setup",
    "client.virt.virt_test_utils": "virtvm.autotest.tests.virt_test_utils",
    "client.common_lib.error": "virtvm.companions.error",
    "client.common_lib.utils": "virtvm.companions.utils",
    "client.common_lib.base_utils": "virtvm.companions.utils",
    "client.bin.utils": "virtvm.companions.utils",
    "client.bin.base_utils": "virtvm.companions.utils",
    "client.tools.scan_results": "virtvm.autotest.tests.scan_results",
    # Where later trees have them.
    "client.utils": "virtvm.companions.utils",
    "client.shared.error": "virtvm.companions.error",
    "client.shared.utils": "virtvm.companions.utils",
    "client.shared.base_utils": "virtvm.companions.utils",
}

# Folders of tests, by the packages that tests of one name those of another by.
TEST_PACKAGES = ("client.virt.tests", "client.tests.kvm.tests", "client.tests.virt.tests")

PACKAGES = {"client.tests"} | set(TEST_PACKAGES)
for _name in list(MODULES) + list(PACKAGES):
    while "." in _name:
        _name = _name.rpartition(".")[0]
        PACKAGES.add(_name)
PACKAGES = frozenset(PACKAGES)

# Modules that files beside them import by their bare names.
BARE = {name.rpartition(".")[2]: name for name in MODULES if name.startswith("client.virt.")}


def ours(name):
    """The name (str) of our module for autotest's, or None if we have none."""
    module = MODULES.get(name)
    if module is None or importlib.util.find_spec(module) is None:
        return None
    return module


def theirs(module):
    """autotest's names (list) for a module of ours."""
    return [name for name in MODULES if ours(name) == module]
