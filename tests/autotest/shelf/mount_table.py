import logging, string
from string import lower, upper
from autotest_lib.client.common_lib import error


def by_type(table):
    """Make {type: [mount points]} of a mount table."""
    types = {}
    for line in string.split(table, "\n"):
        fields = line.split()
        if len(fields) < 3:
            continue
        if not types.has_key(lower(fields[2])):
            types[lower(fields[2])] = []
        types[lower(fields[2])].append(fields[1])
    return types


def report(types):
    names = types.keys()
    names.sort()
    items = types.items()
    items.sort(lambda a, b: cmp(len(b[1]), len(a[1])) or cmp(a[0], b[0]))
    return [upper(name) for name in names], items[0][0], string.join(names, ",")


def run_mount_table(test, params, env):
    """
    See whether the guest has what every Linux has mounted.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    table = session.cmd("cat /proc/mounts")
    session.close()
    types = by_type(table)
    logging.info("Types: %s, most often %s (%s)" % report(types))
    if string.count(table, "proc") < 1 or "proc" not in types.keys():
        raise error.TestFail("No proc in %s" % types)
