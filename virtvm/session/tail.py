"""A process whose output is reported line by line."""

from virtvm.session import callbacks
from virtvm.session.spawn import Spawn, by_position


class Tail(Spawn):
    """A process whose output is reported, line by line, while it runs.

    output_func(*output_params, output_prefix + line) is called for each line of output, less
    white space at its end, and for an unfinished one after 50 ms of silence; at the end for
    "(Process terminated with status N)".  Then termination_func(*termination_params, status)
    is called.  Nobody needs to read the session for that.  thread_name: of the thread that
    calls them; there is one while there are functions.  A function that raises is logged.

    The other arguments are those of Spawn.
    """

    _report = None                      # until there is one

    def __init__(self, command=None, id=None, auto_close=False, echo=False, linesep="\n",
                 termination_func=None, termination_params=(), output_func=None,
                 output_params=(), output_prefix="", *rest, a_id=None, thread_name=None,
                 pass_fds=(), encoding=None, engine=None):
        more = by_position(("thread_name", "pass_fds", "encoding"), rest,
                            {"thread_name": thread_name, "pass_fds": pass_fds, "encoding": encoding})
        thread_name = more.pop("thread_name")
        self._setup(command, id or a_id, auto_close, echo, linesep, engine=engine, **more)
        if thread_name is None:
            thread_name = "tail_thread_%s_%s" % (self.id, str(command)[:10])
        report = self._report = callbacks.Reporter(self._source, self.encoding, thread_name,
                                                  self.generation.errors)
        report.termination_func, report.termination_params = termination_func, termination_params
        report.output_func, report.output_params = output_func, output_params
        report.output_prefix = output_prefix
        if command is not None or not self._source.engine.ended:
            report.start()

    def __getinitargs__(self):
        return (None, self.id, self.auto_close, self.echo, self.linesep, *self._reporting(),
                (), self.encoding)

    def _reporting(self):
        report = self._report
        return (report.termination_func, report.termination_params, report.output_func,
                report.output_params, report.output_prefix, report.thread_name)

    termination_func = property(lambda self: self._report.termination_func)
    termination_params = property(lambda self: self._report.termination_params)
    output_func = property(lambda self: self._report.output_func)
    output_params = property(lambda self: self._report.output_params)
    output_prefix = property(lambda self: self._report.output_prefix)
    thread_name = property(lambda self: self._report.thread_name)
    tail_thread = property(lambda self: self._report.thread)

    def set_termination_func(self, termination_func):
        """Set the function that gets the exit status at the end, or None."""
        self._report.termination_func = termination_func
        self._report.start()

    def set_termination_params(self, termination_params):
        """Set the arguments (tuple) that termination_func gets before the status."""
        self._report.termination_params = termination_params

    def set_output_func(self, output_func):
        """Set the function that gets each line, or None.

        Output that came before is delivered, too, if there was no function at all until now.
        """
        self._report.output_func = output_func
        self._report.start()

    def set_output_params(self, output_params):
        """Set the arguments (tuple) that output_func gets before the line."""
        self._report.output_params = output_params

    def set_output_prefix(self, output_prefix):
        """Set what stands before each line (str)."""
        self._report.output_prefix = output_prefix

    def _end(self, sig):
        super()._end(sig)
        self._source.tell()             # at exit the engine's own thread may be gone already
        if self._report is not None:
            self._report.join(callbacks._PATIENCE)


def run(cls, command, termination_func, output_func, output_prefix, timeout, auto_close,
        pass_fds, encoding):
    """A process of that class once it has ended, or timeout seconds passed."""
    process = cls(command, auto_close=auto_close, termination_func=termination_func,
                  output_func=output_func, output_prefix=output_prefix, pass_fds=pass_fds,
                  encoding=encoding)
    process._engine.wait(timeout)
    return process
