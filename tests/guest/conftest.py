"""The guest, built once and kept between runs, and virtual machines that boot it."""

import os

import pytest
from virtvm import guest
from virtvm.companions import virt_utils
from virtvm.hypervisors.qemu import VM

CACHE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                     ".cache", "guest")


@pytest.fixture(scope="session")
def built_guest():
    """The built Guest."""
    return guest.build(CACHE)


@pytest.fixture(scope="session", autouse=True)
def log_folder(tmp_path_factory):
    """Where sessions and consoles are logged."""
    folder = str(tmp_path_factory.mktemp("logs"))
    virt_utils.set_log_file_dir(folder)
    yield folder
    virt_utils.close_log_file()


@pytest.fixture
def new_vm(built_guest, tmp_path):
    """Makes VMs, not started, with params changed; destroys them at the end."""
    made = []

    def make(name="vm1", **changes):
        made.append(VM(name, built_guest.params(**changes), str(tmp_path)))
        return made[-1]

    yield make
    for vm in made:
        vm.destroy(gracefully=False)


@pytest.fixture
def machine(new_vm):
    """A running machine without a guest: enough for what QEMU itself does."""
    vm = new_vm(kernel="", initrd="", kernel_params="", images="", uuid="random")
    vm.create()
    return vm


@pytest.fixture(scope="module")
def vm(built_guest, tmp_path_factory):
    """A running VM, shared by the tests of a file: leave it running and logged out."""
    vm = VM("vm1", built_guest.params(), str(tmp_path_factory.mktemp("root")))
    try:
        vm.create()
        vm.wait_for_login(timeout=240).close()
        yield vm
    finally:
        vm.destroy(gracefully=False)


@pytest.fixture
def session(vm):
    """A shell in the shared VM."""
    with vm.wait_for_login(timeout=120) as session:
        yield session
