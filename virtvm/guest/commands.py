"""Commands of the host, and files that appear whole."""

import os
import subprocess
from contextlib import contextmanager

from virtvm import scratch, signals


class GuestBuildError(Exception):
    """The guest could not be built: says in one line what is missing or which command failed.

    output: all that the command said (str).
    """

    def __init__(self, reason, output=""):
        super().__init__(reason, output)
        self.output = output

    def __str__(self):
        return self.args[0]


_COMES_FROM = {"dpkg-deb": "dpkg", "qemu-img": "qemu-utils"}
_COMMAND_LIMIT = 1800           # seconds: apt-get waits long where nothing answers


def run(command, **options):
    """Output (str) of a command; GuestBuildError if it is missing or fails."""
    done = _done(command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, **options)
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        raise _failure(command, done.returncode, output)
    return output


def filtered(command, data):
    """What a command makes of data (bytes)."""
    done = _done(command, input=data, stderr=subprocess.PIPE)
    if done.returncode:
        raise _failure(command, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout


def _done(command, **options):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, timeout=_COMMAND_LIMIT,
                              env=dict(os.environ, LC_ALL="C"), **options)
    except FileNotFoundError as e:
        signals.let_out(e)
        raise GuestBuildError(missing(command[0])) from None
    except subprocess.TimeoutExpired as e:
        raise GuestBuildError("%s took longer than %d s" % (_named(command), e.timeout)) from None


def _failure(command, status, output):
    return GuestBuildError("%s failed with status %d: %s" % (_named(command), status, reason(output)), output)


def missing(program):
    if program.startswith("apt"):
        return ("%s is missing, and the guest is made of Debian's packages: copy a folder that `virtvm guest build`"
                " made on a Debian machine, or use a disk image: --image FILE" % program)
    return "%s is missing: install the package %s" % (program, _COMES_FROM.get(program, program))


def _named(command):
    """A command's name, with the action of those that have one."""
    if command[1:2] == ["--library-path"]:
        command = command[3:]
    return " ".join([os.path.basename(command[0])] + [word for word in command[1:2] if word.isalpha()])


def reason(output):
    """What a failing command says that it died of, in one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line[3:] for line in lines if line.startswith("E: ")]
    return (errors or lines[-1:] or ["it said nothing"])[0]


@contextmanager
def whole(path):
    """A temporary name beside path that becomes path if all goes well."""
    with scratch.File(".%s." % os.path.basename(path), folder=os.path.dirname(path)) as temporary:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
