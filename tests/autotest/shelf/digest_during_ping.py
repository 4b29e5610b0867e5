import logging, threading, time
from autotest_lib.client.common_lib import error
from autotest_lib.client.virt import virt_utils
from autotest_lib.client.virt.tests import file_digest


class Watch(object):
    """Counts until it is told to stop."""
    def __init__(self, step):
        self.stop = threading.Event()
        self.step = step
        self.count = 0

    def run(self):
        while not self.stop.isSet():
            self.count += 1
            time.sleep(self.step)


def count_for(seconds):
    watch = Watch(0.01)
    thread = threading.Thread(target=watch.run)
    thread.start()
    time.sleep(seconds)
    alive = thread.isAlive()
    watch.stop.set()
    thread.join(10)
    return alive, thread.isAlive(), watch.count > 1


def run_digest_during_ping(test, params, env):
    """
    Run another test while the guest is kept busy by a thread.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    busy = virt_utils.Thread(session.cmd, ("i=0; while [ $i -lt 200 ]; do i=$((i+1)); done; echo $i",))
    busy.start()
    try:
        file_digest.run_file_digest(test, params, env)
    finally:
        while busy.isAlive():
            time.sleep(0.05)
        output = busy.join(timeout=60)
    session.close()
    if int(output) <> 200:
        raise error.TestFail("The other thread says %r" % output)
