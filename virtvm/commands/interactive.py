"""virtvm shell and virtvm console: a person at a guest's shell or serial console."""

import contextlib
import os
import sys

from virtvm import scratch, signals
from virtvm.commands import complain, file_name, tell_unknown
from virtvm.companions import secrets
from virtvm.companions.printable import printable

_LEAVE = b"\x1d"                # Ctrl-]
# When the input has ended, after so many seconds of silence a shell is told, as often as it
# takes (a command may still run), and a console is left.
_SHELL_QUIET = 0.5
_CONSOLE_QUIET = 2.0


def add(commands):
    """Declare both commands."""
    from virtvm.params import config
    shell = commands.add_parser("shell", help="log into a guest and use its shell",
                                description="A shell in a guest that is booted for it, or that runs already.")
    shell.add_argument("--host", help="address of a guest that runs already (default, with --port: localhost)")
    shell.add_argument("--port", type=int, metavar="PORT", help="its port (default: the param shell_port, 22)")
    shell.add_argument("--known-hosts", type=file_name, metavar="FILE",
                       help="verify its host key by this file (default: take any)")
    shell.set_defaults(run=_shell)
    console = commands.add_parser("console", help="use a guest's serial console",
                                  description="The serial console of a guest that is booted for it, or runs already.")
    console.add_argument("--socket", metavar="PATH", help="of the console of a guest that runs already")
    console.set_defaults(run=_console)
    for parser in (shell, console):
        config.add_arguments(parser.add_argument)


class _Left(Exception):
    """The leaving key was pressed."""


@contextlib.contextmanager
def _leaving_key():
    """In the block Ctrl-] raises _Left, where a terminal's keys are not passed on yet.

    The terminal itself is told to send SIGQUIT for it, as it sends SIGINT for Ctrl-C: it comes whatever
    the block waits for.
    """
    import signal
    import termios
    import threading
    if sys.stdin is None or not sys.stdin.isatty() or threading.current_thread() is not threading.main_thread():
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    changed = termios.tcgetattr(fd)
    changed[6][termios.VQUIT] = _LEAVE

    def leave(_number, _frame):
        raise _Left

    handler = signal.signal(signal.SIGQUIT, leave)
    try:
        termios.tcsetattr(fd, termios.TCSANOW, changed)
        yield
    finally:
        with signals.held():            # the key first: without a handler the signal would end us
            termios.tcsetattr(fd, termios.TCSANOW, before)
            signal.signal(signal.SIGQUIT, signal.SIG_DFL if handler is None else handler)


def _until_left(command):
    """That command (function), which ends well if the leaving key comes while a guest boots."""
    import functools

    @functools.wraps(command)
    def run(args):
        try:
            return command(args)
        except _Left:
            print(file=sys.stderr)
            return 0
    return run


@_until_left
def _shell(args):
    with _told_errors(), contextlib.ExitStack() as last:
        with _leaving_key():
            session = last.enter_context(_logged_in(args, _params(args)))
        start = session._engine.total
        session.sendline(_terminal_settings())
        return talk(session._engine, start, _SHELL_QUIET, b"\x04")     # it ends with its input
    return 2


@contextlib.contextmanager
def _logged_in(args, params):
    """A session in the guest that is there, or that is booted for it."""
    from virtvm import boot_progress
    from virtvm.params.config import ConfigError
    with contextlib.ExitStack() as last:
        if args.known_hosts:
            params["ssh_known_hosts"] = args.known_hosts
        timeout = float(params.get("login_timeout"))
        if args.port or args.host:
            if args.virtvm_cloud_init:
                raise ConfigError("--cloud-init is for a guest that is booted, not for one that runs already")
            last.enter_context(_logs())
            session = _ask_in(_running(args.host or "localhost", args.port, params), timeout)
        else:
            # It is tried until the guest is up: too late then to ask for what is missing.
            _ask_before(params)
            vm = last.enter_context(_booted(params))
            with boot_progress.shown(vm, sys.stderr):
                session = vm.wait_for_login(timeout=timeout)
        last.callback(session.close)
        yield session


def _ask_in(vm, timeout):
    """Log into that VM, asking for a password or passphrase if it takes one."""
    from virtvm.companions import virt_utils

    def attempt(password, passphrase):
        vm.params.update({"password": password or "", "ssh_identity_passphrase": passphrase or None})
        return vm.login(timeout=timeout)
    return secrets.ask_until_let_in(
        attempt, lambda e: isinstance(e, virt_utils.LoginAuthenticationError),
        "%s@%s" % (vm.params.get("username"), vm.get_address()), vm.params.get("ssh_identity_file"),
        (vm.params.get("password"), vm.params.get("ssh_identity_passphrase") or secrets.passphrase()))


def _ask_before(params):
    """Ask for what logging into a guest that is booted will need, if nobody said it."""
    from virtvm.params.config import names_guest
    if not names_guest(params) or not secrets.can_ask():
        return
    identity = params.get("ssh_identity_file")
    if not identity and not params.get("password"):
        params["password"] = secrets.ask("%s's password: " % params.get("username")) or ""
    elif identity and secrets.is_locked(identity) and not os.environ.get("SSH_AUTH_SOCK") \
            and not (params.get("ssh_identity_passphrase") or secrets.passphrase()):
        params["ssh_identity_passphrase"] = secrets.ask("Passphrase of %s: " % identity) or ""


def _running(host, port, params):
    """What logs in as tests do, so by the same params, on a machine that runs already."""
    from virtvm import virt_vm

    class Running(virt_vm.BaseVM):
        def get_address(self, index=0):
            return host

        def get_port(self, number, nic_index=0):
            return port or number

    name = params["main_vm"]
    return Running(name, params.object_params(name))


@contextlib.contextmanager
def _logs():
    """A folder for the logs of sessions, as long as they are needed."""
    from virtvm.companions import virt_utils
    with scratch.Folder("virtvm-") as folder:
        virt_utils.set_log_file_dir(folder)
        try:
            yield
        finally:
            virt_utils.close_log_file()


@_until_left
def _console(args):
    with _told_errors(), contextlib.ExitStack() as last:
        if args.socket:
            from virtvm.companions import aexpect
            console = aexpect.ConsoleSession(args.socket)
            last.callback(console.close)
        else:
            with _leaving_key():
                console = last.enter_context(_booted(_params(args))).serial_console
        start = console._engine.total
        console.sendline()              # whoever waits there shows what for
        return talk(console._engine, start, _CONSOLE_QUIET, b"")
    return 2


@contextlib.contextmanager
def _told_errors():
    """Failures in a line; the command's status is 2 then."""
    from virtvm import virt_vm
    from virtvm.companions import virt_utils
    from virtvm.hypervisors import failures
    from virtvm.params.config import ConfigError
    try:
        yield
    except (ConfigError, virt_utils.LoginError, virt_vm.VMError) as e:
        complain(failures.short(e) or e)


def _params(args):
    from virtvm.params import config
    loaded = config.load(args)
    tell_unknown(loaded)
    return loaded.params_for("interactive")


@contextlib.contextmanager
def _booted(params):
    """A VM that is there as long as it is needed."""
    from virtvm.autotest.tests import virt_env_process
    from virtvm.guest.cloud_init import end_run
    from virtvm.params.config import ConfigError
    from virtvm.params.config import names_guest
    if not names_guest(params):
        raise ConfigError("no guest: name one by --guest DIR, --image FILE, or --config FILE")
    name = params["main_vm"]
    with _logs():
        vm = virt_env_process.vm_class(params)(name, params.object_params(name), os.getcwd())
        try:
            print("starting '%s'; Ctrl-] leaves" % printable(name), file=sys.stderr, flush=True)
            vm.create()
            yield vm
        finally:
            vm.destroy(gracefully=False)
            end_run()


def _terminal_settings():
    """What makes a session's terminal one for a person: as this one is."""
    import re
    import shutil
    size = shutil.get_terminal_size()
    term = os.environ.get("TERM", "dumb")
    return " stty sane rows %d cols %d 2>/dev/null; export TERM=%s; PS1=${PS1:-'$ '}" % (
        size.lines, size.columns, term if re.fullmatch(r"[\w.+-]+", term) else "dumb")


# ---- between the terminal and the session ----

@contextlib.contextmanager
def _raw_terminal(fd):
    """The terminal passes on each key as it is, until the end of the block."""
    import termios
    import tty
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _pipe():
    with signals.held() as handlers:
        news, tell = os.pipe()
        try:
            handlers.deliver()
            os.set_blocking(tell, False)
            yield news, tell
        finally:
            os.close(news)
            os.close(tell)


def talk(engine, start, quiet, farewell, stdin=0, stdout=1):
    """Pass on what is typed and what is answered, until Ctrl-] or the end; return 0.

    start: offset of the output that is shown first.  quiet: seconds of silence after which,
    once the input has ended, farewell (bytes) is sent; b"" ends it then.
    """
    screen = _Screen(engine, start, stdout)
    with _pipe() as (news, tell), _raw_terminal(stdin), _size_told(engine, stdin, tell) as tell_size:
        engine.set_news(lambda: _wake(tell))
        try:
            screen.show()
            _pass_on(engine, stdin, news, screen, quiet, farewell, tell_size)
        finally:
            engine.set_news()
            engine.close()
    if os.isatty(stdin):
        print(file=sys.stderr)
    return 0


def _wake(tell):
    with signals.suppress(BlockingIOError):         # it is told already
        os.write(tell, b".")


@contextlib.contextmanager
def _size_told(engine, stdin, tell):
    """The far terminal gets this one's size, now and whenever it changes, where the session can tell it.

    It is told by the loop, not by the signal's handler, which may come in the middle of a call.
    """
    import signal
    import threading
    if not os.isatty(stdin) or threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    changed = [True]

    def note(_number, _frame):
        changed[0] = True
        _wake(tell)

    def tell_size():
        if changed[0]:
            changed[0] = False
            size = os.get_terminal_size(stdin)
            if size.lines and size.columns:
                engine.resize(size.lines, size.columns)
    before = signal.signal(signal.SIGWINCH, note)
    try:
        yield tell_size
    finally:
        signal.signal(signal.SIGWINCH, before)


class _Screen:
    """Writes what the session says from an offset on."""

    def __init__(self, engine, start, stdout):
        self._engine, self._at, self._stdout = engine, start, stdout

    def show(self):
        """All that is new; False once the session has ended."""
        ended = self._engine.ended              # asked first: what came before it is there then
        while True:
            self._at, output = self._engine.peek(self._at, 65536)
            if not output:
                return not ended
            while output:
                output = output[os.write(self._stdout, output):]


def _pass_on(engine, stdin, news, screen, quiet, farewell, tell_size):
    import select
    from virtvm import _session
    inputs, patience = [stdin, news], None
    while True:
        ready = select.select(inputs, [], [], patience)[0]
        if news in ready:
            os.read(news, 4096)
        if not screen.show() or (not ready and not farewell):
            return
        typed = leave = b""
        if stdin in ready:
            keys = os.read(stdin, 4096)
            typed, leave, _ = keys.partition(_LEAVE)
            if not keys:                # a file or a pipe has ended: its answers are waited for
                inputs, patience = [news], quiet
        elif not ready:
            typed = farewell
        try:
            tell_size()
            engine.write(typed)
        except _session.EngineError:
            return
        if leave:
            return
