import logging
from autotest_lib.client.common_lib import error


def parse(text):
    """The names and packet counts in /proc/net/dev."""
    rows = map(lambda line: line.split(":"), filter(lambda line: ":" in line, text.split("\n")))
    names = map(lambda row: row[0].strip(), rows)
    packets = [int(fields[1]) for fields in [row[1].split() for row in rows]]
    pairs = zip(names, packets)
    pairs.sort()
    return names[0], packets[-1], pairs


def totals(received, sent):
    return map(None, received, sent), reduce(lambda a, b: a + b, received + sent)


def run_interfaces(test, params, env):
    """
    Packets must have come in by the time that somebody is logged in.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    first, last, pairs = parse(session.cmd("cat /proc/net/dev"))
    session.close()
    logging.info("%d interfaces, %s the first", len(pairs), first)
    busy = filter(lambda (name, packets): name != "lo" and packets > 0, pairs)
    if not busy:
        raise error.TestFail("No packets: %s" % pairs)
