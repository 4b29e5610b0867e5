"""virtvm copy: files to and from machines, with scp's way of naming them."""

import os
import re
import sys

from virtvm import signals
from virtvm.commands import complain, file_name
from virtvm.companions import secrets
from virtvm.companions.printable import printable

_PLACE = re.compile(r"(?:(?P<user>[^/:]+)@)?(?:\[(?P<v6>[^]/]+)\]|(?P<host>[^][/:@]+)):(?P<path>.*)", re.S)
_RSS = re.compile(r"rss://(?:\[(?P<v6>[^]/]+)\]|(?P<host>[^][/:@]+))(?::(?P<port>\d+))?/(?P<path>.*)", re.S)
_RSS_PORT = 10023
_SCP = re.compile(r"scp://(?:(?P<user>[^/:@]+)@)?(?:\[(?P<v6>[^]/]+)\]|(?P<host>[^][/:@]+))(?::(?P<port>\d+))?"
                  r"(?:/(?P<path>.*))?", re.S)

_EPILOG = """\
A place is a local path, [USER@]HOST:PATH, scp://[USER@]HOST[:PORT]/PATH (where, as for scp,
//PATH is an absolute one, and /PATH begins in the user's home), or rss://HOST[:PORT]/PATH for a Windows guest with
the remote shell server.  An IPv6 address stands in brackets: [::1]:PATH.  A local path
with a colon gets ./ before it.  Folders are copied with all that is in them; on a host, PATH
may be a pattern and begin with ~.  What arrives is whole, or not there at all (an upload to a
Windows guest: as far as it came).

The password is taken from --password-file, or $VIRTVM_PASSWORD; else, if keys do not open
the door, it is asked for on a terminal; so is the passphrase of a key that is locked, unless
$VIRTVM_PASSPHRASE has it.
"""


def add(commands):
    """Add the command to argparse's sub-parsers."""
    import argparse
    copy = commands.add_parser(
        "copy", help="copy files and folders to or from a machine", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    copy.add_argument("sources", metavar="SRC", nargs="+", help="what to copy")
    copy.add_argument("target", metavar="DST", help="where to: into a folder, or to a new name")
    copy.add_argument("-P", "--port", type=_port, default=22, help="the SSH server's port (default: %(default)s)")
    copy.add_argument("-i", "--identity", metavar="FILE", help="private key to log in with")
    copy.add_argument("--password-file", metavar="FILE", help="file whose first line is the password")
    copy.add_argument("--known-hosts", type=file_name, metavar="FILE",
                      help="verify host keys by this file (default: take any)")
    copy.add_argument("--engine", choices=["sftp", "scp"],
                      help="force one of the SSH engines (default: what the server has)")
    copy.add_argument("--verify", action="store_true", help="compare checksums at the end")
    copy.add_argument("--keep-links", action="store_true", help="copy links themselves, not what they lead to")
    copy.add_argument("-p", "--times", action="store_true", help="keep modification times")
    copy.add_argument("--exclude", metavar="PATTERN", action="append",
                      help="leave out of folders what has such a name; again for more of them")
    copy.add_argument("-u", "--update", action="store_true",
                      help="copy only files that are newer than what is there, or of another size")
    copy.add_argument("-r", "--recursive", action="store_true", help="accepted for scp's sake: folders always are")
    copy.add_argument("--timeout", type=_seconds, default=86400.0, metavar="SECONDS",
                      help="for all of it (default: a day)")
    copy.add_argument("--stall-timeout", type=_seconds, default=60.0, metavar="SECONDS",
                      help="give up when no byte moved for so long; 0: never (default: %(default)s)")
    copy.add_argument("-q", "--quiet", action="store_true", help="say nothing unless it fails")
    copy.set_defaults(run=run)


def _port(text):
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(text)
    return int(text)


def _seconds(text):
    seconds = float(text)
    if not 0 <= seconds < 1e9:
        raise ValueError(text)
    return seconds


_port.__name__, _seconds.__name__ = "port", "number of seconds"      # for argparse's messages


class Place:
    """Where files are: client is None for this machine, "scp" or "rss"; path is a str."""

    def __init__(self, text, port=22):
        self.client, self.path = None, text
        self.user = self.host = self.port = None
        rss, url, ssh = _RSS.fullmatch(text), _SCP.fullmatch(text), _PLACE.fullmatch(text)
        if text.startswith("rss:"):
            if rss is None or (rss["port"] and not 0 < int(rss["port"]) < 65536):
                raise ValueError("%r is not of the form rss://HOST[:PORT]/PATH" % text)
            self.client, self.host = "rss", rss["v6"] or rss["host"]
            self.port = int(rss["port"] or _RSS_PORT)
            self.path = rss["path"].replace("/", "\\")       # no name has one there
        elif text.startswith("scp://"):
            if url is None or (url["port"] and not 0 < int(url["port"]) < 65536):
                raise ValueError("%r is not of the form scp://[USER@]HOST[:PORT]/PATH" % text)
            self.client, self.host, self.port = "scp", url["v6"] or url["host"], int(url["port"] or port)
            self.user, self.path = url["user"] or _me(), url["path"] or "."
        elif ssh is not None:
            self.client, self.host, self.port = "scp", ssh["v6"] or ssh["host"], port
            self.user, self.path = ssh["user"] or _me(), ssh["path"] or "."

    @property
    def where(self):
        """What two places on one machine have in common."""
        return self.client, self.host, self.port, self.user


def _me():
    import getpass
    return getpass.getuser()


def run(args):
    """Copy; the status is 1 if that failed, 2 if it can't be done as asked."""
    from virtvm.companions.exceptions import SCPError
    from virtvm.companions.rss_client import FileTransferError
    try:
        job = _Job(args)
    except (OSError, ValueError) as e:
        signals.let_out(e)
        return complain(e, 2)
    try:
        with job.display:
            job.run()
    except (SCPError, FileTransferError) as e:
        return complain("%s failed: %s" % (job.what, _reason(e)), 1)
    return 0


# OpenSSH's SFTP server has no status for the one that people meet most.
_SAYS_NOTHING = re.compile(r"the server said: failure$", re.I)
_HINT = ", which is all that it says when its disk is full or a quota is used up"


def _reason(e):
    """Why it failed, and where, in one line: the text of the field's exceptions says less."""
    from virtvm.companions.rss_client import FileTransferServerError
    if isinstance(e, FileTransferServerError):
        parts = ["the server said", e.e]
    else:
        parts = [e.msg, e.detail if e.detail != e.msg else None]
    why = ": ".join(part for part in parts if part) or type(e).__name__
    if _SAYS_NOTHING.search(why):
        why += _HINT
    name = getattr(e, "filename", None)
    if name and name not in why:
        why = "%s: %s" % (name, why)
    where = ["%s %s" % item for item in (("host", e.host), ("port", e.port), ("user", e.user)) if item[1]]
    return "%s%s" % (why, " (%s)" % ", ".join(where) if where else "")


class _Job:
    """What a command line asks for."""

    def __init__(self, args):
        self._args = args
        self._sources = [Place(text, args.port) for text in args.sources]
        self._target = Place(args.target, args.port)
        self._check()
        self._password = secrets.password(args.password_file)
        self._options = {"ssh_identity_file": args.identity, "ssh_known_hosts": args.known_hosts,
                         "transfer_engine": args.engine, "transfer_verify": args.verify or None,
                         "transfer_keep_links": args.keep_links, "transfer_times": args.times,
                         "transfer_exclude": args.exclude, "transfer_update": args.update,
                         "transfer_stall_timeout": args.stall_timeout}
        self.display = _display(args.quiet)
        upload = self._target.client is not None
        self.what = "copying %s %s" % (("to", args.target) if upload else ("from", args.sources[0]))

    def _check(self):
        first, target = self._sources[0], self._target
        if any(source.where != first.where for source in self._sources):
            raise ValueError("all sources must be on one machine, by one user")
        if first.client is None and target.client is None:
            raise ValueError("nothing to do for virtvm: source and target are both on this machine")
        if first.client is not None and target.client is not None:
            if "rss" in (first.client, target.client) or len(self._sources) > 1:
                raise ValueError("from one machine to another goes a single source, over SSH")
        if first.client is None:
            missing = [source.path for source in self._sources if not signals.lexists(source.path)]
            if missing:
                raise FileNotFoundError("%s: No such file or directory" % missing[0])
        if self._args.identity is not None:
            with open(self._args.identity, "rb"):
                pass

    def run(self):
        """Copy, asking for a password, or the key's passphrase, if nothing else opens the door."""
        from virtvm.companions.exceptions import SCPAuthenticationError, SCPAuthenticationTimeoutError
        there = self._sources[0] if self._sources[0].client else self._target
        secrets.ask_until_let_in(
            self._copy, lambda e: isinstance(e, SCPAuthenticationError)
            and not isinstance(e, SCPAuthenticationTimeoutError),
            "%s@%s" % (there.user, there.host), self._args.identity,
            (self._password, secrets.passphrase()), self.display.paused)

    def _copy(self, password, passphrase):
        from virtvm.companions import transfer
        self._password, self._options["ssh_identity_passphrase"] = password, passphrase
        sources, target = self._sources, self._target
        options = dict(self._options, progress=self.display.progress)
        paths = [source.path for source in sources]
        timeout = self._args.timeout
        if sources[0].client is None:
            if not self._args.exclude and not self._args.update:
                self.display.expect(_size(paths, self._args.keep_links))
            transfer.copy_files_to(target.host, target.client, target.user, self._password, target.port,
                                   [_local(path) for path in paths], target.path, timeout=timeout, **options)
        elif target.client is not None:
            there = sources[0]
            transfer.scp_between_remotes(there.host, target.host, there.port, self._password, self._password,
                                         there.user, target.user, there.path, target.path, timeout=timeout,
                                         **options)
        else:
            self._from(sources[0], paths, timeout, options)

    def _from(self, there, paths, timeout, options):
        from time import monotonic
        from virtvm.companions import transfer
        end = monotonic() + timeout
        # A Windows guest's server takes one pattern at a time.
        for some in ([path] for path in paths) if there.client == "rss" else [paths]:
            transfer.copy_files_from(there.host, there.client, there.user, self._password, there.port,
                                     some[0] if there.client == "rss" else some, _local(self._target.path),
                                     timeout=end - monotonic(), **options)
            self.display.next()


def _local(path):
    return path if os.path.isabs(path) else os.path.join(".", path)


def _size(paths, keep_links):
    """Bytes of the files in local paths (int), as far as they can be seen."""
    total = 0
    for path in paths:
        found = [path]
        if signals.isdir(path):
            found = (os.path.join(top, name) for top, _folders, files in os.walk(path, followlinks=False)
                     for name in files)
        for name in found:
            try:
                st = os.lstat(name) if keep_links else os.stat(name)
            except OSError as e:
                signals.let_out(e)
                continue
            total += st.st_size
    return total


# What is shown meanwhile

_MB = 1e6


def _display(quiet):
    if quiet:
        return Silence()
    if sys.stderr.isatty():
        try:
            return Bar()
        except ImportError:
            print("virtvm: a progress bar needs rich: pip install 'virtvm[run]'", file=sys.stderr)
    return Lines()


class Silence:
    """Shows nothing; the others are made from it."""

    def __init__(self):
        self._done = self._before = 0           # bytes: in all, and of copies before this one
        self._expected = None

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def expect(self, size):
        """Take the size (bytes) as known in advance."""
        self._expected = size

    def next(self):
        """What follows is another copy, counted from 0 again."""
        self._before, self._expected = self._done, None

    def progress(self, name, size, total):
        """Take what a transfer tells."""
        self._done = self._before + size
        if total is None or (self._expected or 0) > total:
            total = self._expected
        self.show(name, self._done, None if total is None else self._before + total)

    def show(self, name, done, total):
        """Show it: done, total are bytes."""

    def paused(self):
        """A context in which nothing is shown."""
        import contextlib
        return contextlib.nullcontext()


class Lines(Silence):
    """A line now and then, and one at the end, on standard output."""

    every = 5.0         # seconds

    def __init__(self):
        from time import monotonic
        Silence.__init__(self)
        self._clock = monotonic
        self._began = self._last = monotonic()
        self._last_done = 0

    def show(self, name, done, total):
        now = self._clock()
        if now - self._last < self.every:
            return
        rate = (done - self._last_done) / (now - self._last)
        print("%.1f%s MB, %.1f MB/s%s" % (
            done / _MB, "" if total is None else " of %.1f" % (total / _MB), rate / _MB,
            ", %d s left" % ((total - done) / rate) if total is not None and rate > 0 else ""), flush=True)
        self._last, self._last_done = now, done

    def __exit__(self, kind, *exc_info):
        if kind is None:
            print(_summary(self._done, self._clock() - self._began), flush=True)


def _summary(size, seconds):
    return "copied %.1f MB in %.1f s (%.1f MB/s)" % (size / _MB, seconds, size / _MB / max(seconds, 1e-3))


class Bar(Silence):
    """A bar with rate and remaining time, on the terminal."""

    def __init__(self):
        from rich.console import Console
        from rich.progress import (
            BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn,
            TransferSpeedColumn)
        Silence.__init__(self)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), DownloadColumn(),
            TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True), auto_refresh=False)
        self._task = self._bar.add_task("", total=None)
        self._is_shown = False          # not before something moves: a password may be asked for

    def _begin(self):
        if not self._is_shown:
            self._is_shown = True
            self._bar.start()

    def __exit__(self, kind, *exc_info):
        if kind is None:
            self._begin()
            self._bar.update(self._task, total=self._done, completed=self._done)
        if self._is_shown:
            self._bar.refresh()
            self._bar.stop()

    def show(self, name, done, total):
        self._begin()
        name = printable(os.path.basename(name))
        if name:
            self._bar.update(self._task, description=name if len(name) <= 24 else name[:21] + "...")
        self._bar.update(self._task, completed=done, total=total, refresh=True)

    def paused(self):
        import contextlib

        @contextlib.contextmanager
        def pause():
            if self._is_shown:
                self._bar.stop()
            yield
            if self._is_shown:
                self._bar.start()

        return pause()
