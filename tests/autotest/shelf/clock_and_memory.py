import re
from autotest_lib.client.common_lib import error
from autotest_lib.client.virt import virt_test_utils, virt_utils


def drift(readings):
    """Percent that the guest's clock lost between the first and the last reading."""
    (host0, guest0), (host1, guest1) = readings[0], readings[-1]
    return 100.0 * (host1 - host0 - guest1 + guest0) / (host1 - host0)


def run_clock_and_memory(test, params, env):
    """
    The guest's clock goes as the host's, and the memory of both can be told.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    readings = []

    def read():
        readings.append(virt_test_utils.get_time(session, params.get("time_command"),
                                                 params.get("time_filter_re"), params.get("time_format")))
        return len(readings) >= 5
    if not virt_utils.wait_for(read, 20, 0, 1.0, "Reading clocks"):
        raise error.TestError("Clocks could not be read in time")
    if abs(drift(readings)) > 75:       # whole seconds are told; a clock that stands still has lost 100
        raise error.TestFail("Readings: %s" % `readings`)
    line = virt_test_utils.get_memory_info([vm])
    if not re.search(r"\d", line):
        raise error.TestFail("No figure in %r" % line)
    session.close()
