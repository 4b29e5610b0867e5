import logging, time, re
from autotest_lib.client.common_lib import error
from autotest_lib.client.virt import virt_utils


def median(samples):
    samples = samples[:]
    samples.sort()
    return samples[len(samples) / 2]


def spread(samples):
    mean = sum(samples) / len(samples)
    total = 0
    for sample in samples:
        total += abs(sample - mean)
    total /= len(samples)
    return mean, total


def run_load_samples(test, params, env):
    """
    Sample how many processes the guest has, and look at the middle of it.

    @param test: kvm test object
    @param params: Dictionary with the test parameters
    @param env: Dictionary with test environment.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    timeout = int(params.get("login_timeout", 360))
    session = vm.wait_for_login(timeout=timeout)

    count = int(params.get("samples", 5))
    samples = []
    try:
        for i in range(count):
            output = session.cmd("cat /proc/loadavg")
            samples.append(int(re.findall("\d+/(\d+)", output)[0]))
    finally:
        session.close()
    logging.info("%d samples, median %d, mean and spread %s", len(samples),
                 median(samples), spread(samples))
    if median(samples) < 1 or not isinstance(median(samples), int):
        raise error.TestFail("No processes in the guest: %s" % samples)
