"""Tap NICs: the private bridge, its addresses, and old tests on a guest that is reached there.

All of it happens in a network namespace, so that the host's own network is not touched.
"""

import os
import subprocess
import sys
import textwrap

import pytest
from support.netns import Namespace

from support.runs import environment, rows, write

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: bridges and namespaces")


@pytest.fixture
def host():
    """A namespace that stands for a host."""
    namespace = Namespace()
    yield namespace
    namespace.close()


def there(host, *words, status=0, **options):
    done = subprocess.run(host.prefix_with_sysfs + list(map(str, words)),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env=environment(), **options)
    assert done.returncode == status, done.stdout
    return done.stdout


def python(host, code, *args, **options):
    return there(host, sys.executable, "-c", textwrap.dedent(code), *args, **options)


def interfaces(host):
    return {line.split(": ")[1].split("@")[0] for line in there(host, "ip", "-o", "link").splitlines()}


def test_old_test_on_a_private_bridge(host, built_guest, tmp_path):
    write(tmp_path, bridged="""
        import logging
        from autotest_lib.client.common_lib import error
        from autotest_lib.client.bin import utils

        def run_bridged(test, params, env):
            vm = env.get_vm(params["main_vm"])
            vm.verify_alive()
            session = vm.wait_for_login(timeout=float(params.get("login_timeout")))
            address = vm.get_address()
            print "reached at", address
            if not address.startswith("192.168.77."):
                raise error.TestFail("not on the bridge: %s" % address)
            ports = utils.system_output("ls /sys/class/net/testbr/brif").split()
            if ports != [vm.get_ifname()]:
                raise error.TestFail("in the bridge: %s" % ports)
            gateway = session.cmd("ip route show default")
            if "192.168.77.1" not in gateway:
                raise error.TestFail("no way out: %s" % gateway)
            vm.copy_files_to("/etc/hostname", "/tmp/")
            session.close()
    """)
    def state():
        return (interfaces(host), there(host, "/usr/sbin/iptables", "-t", "nat", "-S"),
                there(host, "/usr/sbin/iptables", "-S"), there(host, "cat", "/proc/sys/net/ipv4/ip_forward"))

    before = state()
    output = there(host, sys.executable, "-m", "virtvm", "run", "bridged.py", "--guest", built_guest.directory,
                   "--param", "nic_mode=tap", "--param", "bridge=private", "--param", "priv_brname=testbr",
                   "--param", "priv_subnet=192.168.77", cwd=tmp_path)
    assert rows(output) == {"bridged": "PASS"}, output
    assert state() == before                # tap, bridge and rules are gone


def test_bridge_of_a_process_that_was_killed_is_made_anew(host):
    code = """
        import os, sys
        from virtvm.autotest.tests.virt_test_setup import PrivateBridgeConfig
        bridge = PrivateBridgeConfig({"priv_brname": "testbr"})
        bridge.setup()
        print(open("/sys/class/net/testbr/ifalias").read().split()[1] == str(os.getpid()))
        sys.stdout.flush()
        if sys.argv[1] == "killed":
            os.kill(os.getpid(), 9)
        PrivateBridgeConfig().cleanup()
    """
    assert python(host, code, "killed", status=-9) == "True\n"
    assert "testbr" in interfaces(host)
    assert python(host, code, "ends") == "True\n"
    assert "testbr" not in interfaces(host)
    assert "testbr" not in there(host, "/usr/sbin/iptables", "-S")


def test_bridge_that_cannot_be_had_leaves_nothing(host):
    there(host, "ip", "addr", "add", "192.168.77.1/32", "dev", "lo")
    busy = subprocess.Popen(host.prefix + ["/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
                                           "--listen-address=192.168.77.1", "--bind-interfaces", "--pid-file"])
    try:
        code = """
            import time
            from virtvm.autotest.tests.virt_test_setup import PrivateBridgeConfig, PrivateBridgeError
            while b":0035" not in open("/proc/net/tcp", "rb").read():
                time.sleep(0.02)
            try:
                PrivateBridgeConfig({"priv_brname": "testbr", "priv_subnet": "192.168.77"}).setup()
            except PrivateBridgeError as e:
                print(e, "|", e.__cause__)
        """
        said = python(host, code)
        assert "Bridge testbr not available after setup | dnsmasq ended" in said and "Address already in use" in said
    finally:
        busy.kill()
        busy.wait()
    assert "testbr" not in interfaces(host)
    assert "testbr" not in there(host, "/usr/sbin/iptables", "-S")


def test_nic_whose_bridge_is_not_there(host, built_guest, tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it(vm):\n    pass\n")
    output = there(host, sys.executable, "-m", "pytest", "-q", "test_it.py", "--virtvm-guest", built_guest.directory,
                   "--virtvm-param", "nic_mode=tap", "--virtvm-param", "bridge=nowhere", cwd=tmp_path, status=1)
    assert "VMCreateError" in output and "nowhere" in output
