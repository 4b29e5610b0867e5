"""A shell on another machine."""

import threading

from virtvm.companions.exceptions import LoginError
from virtvm.companions.secrets import hidden, hidden_items
from virtvm.session import local
from virtvm.session.shell import ShellSession
from virtvm.session.spawn import by_position


class RemoteSession(ShellSession):
    """A shell on another machine; remote_login() makes it.

    client, host, port, username, password: what it logged in with; also attributes.  The
    other arguments are those of ShellSession.

    Unpickled it is a new session: it logs in again when it is first used, and LoginError
    says why if it can't.  The pickle holds the password, as the VM's parameters do.
    """

    _modern = ["thread_name", "prompt", "status_test_command", "client", "host", "port", "username",
               "password", "pass_fds", "encoding"]

    def __init__(self, command=None, id=None, auto_close=True, echo=False, linesep="\n",
                 termination_func=None, termination_params=(), output_func=None,
                 output_params=(), output_prefix="", *rest, client="ssh", host="localhost",
                 port=22, username="root", password="test1234", login=None, **keywords):
        more = by_position(self._modern, rest, dict(
            keywords, client=client, host=host, port=port, username=username, password=password))
        for name in ("client", "host", "port", "username", "password"):
            setattr(self, name, more.pop(name))
        self.password = hidden(self.password)           # not shown by whoever looks at the session
        # Keywords of remote_login(); None of a local command.
        self._login = login and hidden_items(login)
        self._connecting = threading.RLock()
        super().__init__(command, id, auto_close, echo, linesep, termination_func,
                         termination_params, output_func, output_params, output_prefix, **more)
        self._where = {"host": self.host, "port": self.port, "user": self.username}

    @property
    def _engine(self):
        engine = self._source.engine
        if isinstance(engine, local.NotYet) and not engine.closed:
            engine = self._connect()
        return engine

    def _connect(self):
        """Log in again: the session was unpickled.  Raises LoginError."""
        from virtvm.companions import login
        with self._connecting:
            if isinstance(self._source.engine, local.NotYet):
                session = login.remote_login(**self._login)
                self._source.engine, session._closed = session._source.engine, True
                self._report.start()
            return self._source.engine

    def _file_access(self):
        """(where, keywords) for the functions of transfer that take files."""
        from virtvm.companions.exceptions import TransferBadClientError
        if self.client != "ssh":
            raise TransferBadClientError(self.client)
        login = self._login or {}
        choices = ("ssh_identity_file", "ssh_identity_passphrase", "ssh_known_hosts", "ssh_auth")
        return ((self.host, "scp", self.username, self.password, self.port),
                {name: login[name] for name in choices if login.get(name) is not None})

    def write_file(self, path, data, mode=None, owner=None, timeout=600, **keywords):
        """Write data (bytes, str or a file object) to a file over there, whole or not at all, over
        a connection of its own; see transfer.write_file for the arguments and the errors."""
        from virtvm.companions import transfer
        where, choices = self._file_access()
        transfer.write_file(*where, path, data, mode=mode, owner=owner, timeout=timeout, **{**choices, **keywords})

    def read_file(self, path, timeout=600, **keywords):
        """The contents of a file over there (bytes); see transfer.read_file."""
        from virtvm.companions import transfer
        where, choices = self._file_access()
        return transfer.read_file(*where, path, timeout=timeout, **{**choices, **keywords})

    def is_alive(self):
        """Whether the far end is there (bool); an unpickled session tries to log in."""
        try:
            return super().is_alive()
        except LoginError:
            return False

    def __getinitargs__(self):
        return (None, self.id, self.auto_close, self.echo, self.linesep, *self._reporting(),
                self.prompt, self.status_test_command, self.client, self.host, self.port,
                self.username, self.password, (), self.encoding)

    def __reduce__(self):
        if self._login is None:
            return super().__reduce__()
        return _log_in_later, (type(self), self.__getinitargs__(), self._login, self.closed)


def _log_in_later(cls, args, login, closed):
    return cls(*args, login=login, engine=local.NotYet(login["client"], closed))
