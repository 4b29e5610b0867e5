import os, sys
from autotest_lib.client.common_lib import error


class Report:
    """Lines of a report; empty ones count as false."""
    def __init__(self, title):
        self.title = title
        self.lines = []

    def __getinitargs__(self):
        return (self.title,)

    def __nonzero__(self):
        return len(self.lines) > 0

    def __cmp__(self, other):
        return cmp(self.title, other.title)

    def add(self, (name, value)):
        self.lines.append("%s=%s" % (name, value))

    def write(self, path):
        f = open(path, "a")
        print >>f, "[%s]" % self.title
        for line in self.lines:
            print >>f, line,
        print >>f
        f.close()


def write_reports(path, values):
    reports = [Report(title) for title in "second", "first"]
    for pair in values:
        reports[0].add(pair)
    reports.sort()
    for report in reports:
        if report:
            report.write(path)
    return open(path).read()


def run_printed_report(test, params, env):
    """
    Write down what the guest is.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    values = [(key, session.cmd("uname -%s" % key).strip()) for key in "s", "m"]
    session.close()
    text = write_reports(os.path.join(test.resultsdir, "report"), values)
    print text
    if text.strip() != "[second]\ns=Linux m=%s" % values[1][1]:
        raise error.TestFail("Read %r" % text)
