"""What measures the host while a test runs: profilers of the user's own autotest tree, by name."""

import contextlib
import importlib
import os
import re


class Profilers:
    """A job's profilers, as a test finds them at test.job.profilers."""

    def __init__(self, job):
        self.job, self._list = job, []

    def add(self, name, *args, **kwargs):
        """Load the profiler called name (str) and initialize it with args.

        It is the class `name` of client/profilers/<name>/<name>.py.  ImportError if there is none.
        A profiler that must be built is built beforehand.
        """
        if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
            raise ImportError("no profiler can be called %r" % name)
        module = importlib.import_module("autotest_lib.client.profilers.%s.%s" % (name, name))
        profiler = getattr(module, name)(self.job)
        profiler.name = name
        profiler.bindir = os.path.dirname(os.path.abspath(module.__file__))
        profiler.srcdir = os.path.join(profiler.bindir, "src")
        profiler.tmpdir = os.path.join(self.job.tmpdir, name)
        profiler.initialize(*args, **kwargs)
        self._list.append(profiler)

    def delete(self, name):
        """Forget the profilers called name."""
        self._list = [profiler for profiler in self._list if profiler.name != name]

    def present(self):
        """Whether there are any (bool)."""
        return bool(self._list)

    @contextlib.contextmanager
    def running(self, test):
        """They run during the block; whatever becomes of it they are stopped, and then report."""
        with contextlib.ExitStack() as last:
            for profiler in self._list:
                last.callback(profiler.report, test)
            for profiler in self._list:
                profiler.start(test)
                last.callback(profiler.stop, test)
            yield
