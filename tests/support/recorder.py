"""Which params are asked for during the tests: each of them must be in virtvm/params/table.py.

A test that makes params of its own up says so: `@pytest.mark.own_params("step_*")`, or `pytestmark` of its
module.  What asks is noted for the process that runs the tests; it is our C code, too, which calls get().
"""

import fnmatch

import pytest
from virtvm.params import table
from virtvm.params.params import Params

MARK = "own_params(PATTERN, ...): params that this test makes up"


class Recorder:
    """A plugin that fails the run if something was asked for that is not in the table.

    asked: {key: test (its node id)} of those that are not.
    """

    def __init__(self):
        self.asked = {}
        self._test, self._own = "outside of tests", ()
        self._seen = set(table.TABLE)           # not looked at any more

    def note(self, params, key):
        """Somebody asks params for key."""
        if key in self._seen or not isinstance(key, str):
            return
        objects = table.objects_of(params)
        if key.startswith("_") or table.find(key, objects) is not None:
            return
        if not any(fnmatch.fnmatchcase(key, pattern) for pattern in self._own):
            self.asked.setdefault(key, self._test)

    def install(self):
        """Note what Params are asked for from now on."""
        note = self.note

        def noted(method):
            def ask(self, key, *rest):
                note(self, key)
                return method(self, key, *rest)
            return ask
        for name in ("get", "__getitem__", "setdefault", "pop", "__contains__"):
            setattr(Params, name, noted(getattr(Params, name)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self._test = item.nodeid
        self._own = [pattern for mark in item.iter_markers("own_params") for pattern in mark.args]
        try:
            return (yield)
        finally:
            self._test, self._own = "outside of tests", ()

    def pytest_sessionfinish(self, session):
        if self.asked and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        if self.asked:
            terminalreporter.section("params that are not in virtvm/params/table.py", red=True)
            for key, test in sorted(self.asked.items()):
                terminalreporter.line("%s: asked for in %s" % (key, test))
