"""A guest's console."""

import os

from virtvm import _session
from virtvm.companions.exceptions import LoginError, diagnosed
from virtvm.session.generation import OF_2011
from virtvm.session.prompt import PROMPT
from virtvm.session.shell import ShellSession
from virtvm.weak import WeakValues


class ConsoleSession(ShellSession):
    """A guest's console on a unix socket, such as the one QEMU serves.

    socket_path: the socket (str).  timeout: seconds to connect.  log_filename: path of a
    file that gets each line with its time.  reporting: Tail's arguments for callbacks.
    From the moment it is connected the console is read all the time, whoever waits;
    get_output() has all of it.

    Unpickled it is this process's open session on that socket, or connects again (what
    was said meanwhile is lost then), or is None where nobody serves the socket any more.
    Raises LoginError if nobody serves the socket.
    """

    _open = WeakValues()          # (pid, socket) -> session: QEMU serves one client
    generation = OF_2011                    # ours: nothing of a guest's console is left out
    _watchers = []                          # called with each new session

    def __init__(self, socket_path, timeout=10.0, linesep="\n", prompt=PROMPT,
                 status_test_command="echo $?", log_filename=None, name=None,
                 encoding="utf-8", **reporting):
        try:
            engine = _session.open_unix(socket_path, log=log_filename, timeout=timeout)
        except _session.EngineError as e:
            raise diagnosed(LoginError("Cannot connect to console", ""), stage=e.stage,
                            detail=e.detail) from None
        ShellSession.__init__(self, linesep=linesep, prompt=prompt, encoding=encoding,
                              status_test_command=status_test_command, engine=engine,
                              **reporting)
        self.socket_path, self.log_filename, self.name = socket_path, log_filename, name
        if name:
            self._where = {"host": name}
        self._open[os.getpid(), socket_path] = self
        for watch in list(self._watchers):
            watch(self)

    def get_output(self):
        """All that the console has shown (str), also after close()."""
        return self._all_output()

    def output_length(self):
        """How many bytes the console has shown (int): where get_output_since() may go on."""
        return self._engine.total

    def get_output_since(self, length):
        """What the console has shown (str) since output_length() was that, also after close().

        What is older is not looked at, however much there is.
        """
        gone = self._engine.forgotten
        return self._shown(gone if gone > length else 0,
                           self._engine.peek(length, max(0, self._engine.total - length))[1])

    def find_kernel_crash(self):
        """The text of a kernel crash that the console has shown (str), or None.

        What virt_vm's verify_kernel_crash looks for; nothing is scanned twice.
        """
        crash = self._engine.find_crash()
        return None if crash is None else self._command_text(crash)

    def __reduce__(self):
        return _reconnect, (type(self), self.socket_path, {
            "linesep": self.linesep, "prompt": self.prompt,
            "status_test_command": self.status_test_command,
            "log_filename": self.log_filename, "name": self.name, "encoding": self.encoding,
            **{name: getattr(self, name) for name in self._callbacks}})

    _callbacks = ("termination_func", "termination_params", "output_func", "output_params",
                  "output_prefix", "thread_name")


def _reconnect(cls, socket_path, options):
    session = cls._open.get((os.getpid(), socket_path))
    if session is not None and session.is_alive():
        return session
    try:
        return cls(socket_path, **options)
    except LoginError:
        return None
