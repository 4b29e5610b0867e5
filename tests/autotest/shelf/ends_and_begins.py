import logging
from autotest_lib.client.common_lib import error
from autotest_lib.client.virt import virt_utils, virt_vm, virt_env_process


def run_ends_and_begins(test, params, env):
    """
    Shut the guest down from within, check its image, and start it with other params.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    session.sendline(params.get("shutdown_command"))
    if not virt_utils.wait_for(vm.is_dead, 120, 0, 0.5, "Waiting for the guest to end"):
        raise error.TestFail("The guest still runs")
    session.close()
    for image in params.objects("images"):
        try:
            virt_vm.check_image(params.object_params(image), test.bindir)
        except virt_vm.VMImageCheckError, e:
            raise error.TestFail("Image of an ended guest: %s" % e)
    try:
        vm.verify_alive()
    except virt_vm.VMDeadError, e:
        logging.info("As it should be: %s", e)
    else:
        raise error.TestFail("An ended guest is alive")
    more = params.copy()
    more["mem"] = str(int(params["mem"]) + 32)
    more["start_vm"] = "yes"
    virt_env_process.preprocess_vm(test, more, env, vm.name)
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    if vm.params.get("mem") <> more["mem"]:
        raise error.TestFail("Started with %s MB" % vm.params.get("mem"))
