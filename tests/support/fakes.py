"""Collaborators that keep a record of how they were called."""

from virtvm import virt_vm


class Calls(list):
    """A list of (name, args, kwargs), and functions that append to it."""

    def function(self, name, result=None):
        """A function that records its calls; raises result if that is an exception."""
        def recorder(*args, **kwargs):
            self.append((name, args, kwargs))
            if isinstance(result, BaseException):
                raise result
            return result
        recorder.__name__ = name
        return recorder

    def names(self):
        return [name for name, _, _ in self]


class Namespace:
    """An object with the attributes it is given."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class RecordingParams:
    """Has get() and nothing else; keeps the arguments of each call."""

    def __init__(self, **values):
        self.values = values
        self.gets = []

    def get(self, *args):
        self.gets.append(args)
        return self.values.get(*args)


class GuestVM(virt_vm.BaseVM):
    """A VM with an address and a port, whose record is self.calls."""

    def __init__(self, name="vm1", params=None):
        self.calls = Calls()
        virt_vm.BaseVM.__init__(self, name, RecordingParams() if params is None else params)

    def get_address(self, index=0):
        self.calls.append(("get_address", (index,), {}))
        return "192.0.2.7"

    def get_port(self, port, nic_index=0):
        self.calls.append(("get_port", (port,), {}))
        return port + 5000


class FakeSession:
    """A shell session that answers each command from a dict."""

    def __init__(self, calls=None, answers=(), close_error=None):
        self.calls = Calls() if calls is None else calls
        self.answers = dict(answers)
        self.close_error = close_error

    def set_status_test_command(self, command):
        self.calls.append(("set_status_test_command", (command,), {}))

    def set_linesep(self, linesep):
        self.calls.append(("set_linesep", (linesep,), {}))

    def sendline(self, *args):
        self.calls.append(("sendline", args, {}))

    def cmd(self, command):
        self.calls.append(("cmd", (command,), {}))
        answer = self.answers[command]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self):
        self.calls.append(("close", (), {}))
        if self.close_error is not None:
            raise self.close_error


class FakeConsole:
    """A serial console that has printed a text."""

    def __init__(self, output):
        self.output = output
        self.reads = 0

    def get_output(self):
        self.reads += 1
        if isinstance(self.output, BaseException):
            raise self.output
        return self.output
