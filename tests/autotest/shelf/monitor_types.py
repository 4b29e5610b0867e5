import logging, types
from autotest_lib.client.common_lib import error


def check_type(value, wanted):
    """Check a value of an answer that came as JSON."""
    if not isinstance(value, wanted):
        raise error.TestFail("%r is %s, not %s" % (value, type(value), wanted))
    return True


def check_answer(answer):
    check_type(answer, dict)
    for key in answer.keys():
        check_type(key, unicode)
    return check_type(answer["status"], unicode) and check_type(answer["running"], bool)


def call_all(checks, *args):
    """Call functions, also those that stand in lists."""
    results = []
    for check in checks:
        if type(check) == types.FunctionType:
            results.append(check(*args))
        elif type(check) in (types.ListType, types.TupleType):
            results += call_all(check, *args)
    return results


def run_monitor_types(test, params, env):
    """
    The monitor's answers must have the types that they are to have.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    answer = vm.monitor.cmd("query-status")
    call_all([check_answer, (check_answer,)], answer)
    if "u'running': True" not in str(answer):
        raise error.TestFail("The guest is not running: %s" % answer)
