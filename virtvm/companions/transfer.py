"""Copying files to and from guests: whole or absent.

A file is written under a temporary name beside its target, checked in size, and renamed:
whatever fails, an older target stays as it was and nothing partial is left.  Modes are
kept; folders are copied with all that is in them, as `scp -r` does.
"""

import contextlib
import glob
import os

from virtvm import scratch, signals
from virtvm.companions import secrets
from virtvm.companions.exceptions import (
    Left, SCPAuthenticationError, SCPAuthenticationTimeoutError, SCPError, SCPTransferFailedError,
    SCPTransferTimeoutError, TransferBadClientError, diagnosed)
from virtvm.companions.secrets import hidden, hidden_items

_LOGIN_TIMEOUT = 20     # seconds of a transfer's timeout that its login may take
_MB = 1048576.0


def copy_files_to(address, client, username, password, port, local_path, remote_path,
                  log_filename=None, verbose=False, timeout=600, **keywords):
    """Copy local_path to remote_path on the guest.

    address: name or address (str).  client: "scp", or "rss" for a Windows guest with its
    remote shell server: see rss_client.  local_path: a file or folder, or a
    pattern, or several of them separated by blanks (str).  remote_path: a folder to copy
    into, or a new name (str).  log_filename: gets a line for each step.  verbose: log
    rate and size.  timeout: seconds for all of it.  keywords: as scp_to_remote takes.

    Raises TransferBadClientError for another client, SCPError and its kin, or
    FileTransferError and its kin.
    """
    # A traceback shows arguments.
    password, keywords = hidden(password), hidden_items(keywords)
    if client == "rss":
        _rss("upload", address, port, local_path, remote_path, verbose, timeout, **keywords)
        return
    _check_client(client)
    scp_to_remote(address, port, username, password, local_path, remote_path, log_filename,
                  timeout, verbose=verbose, **keywords)


def copy_files_from(address, client, username, password, port, remote_path, local_path,
                    log_filename=None, verbose=False, timeout=600, **keywords):
    """Copy remote_path (a pattern is expanded there) from the guest to local_path.

    The other arguments are those of copy_files_to.
    """
    password, keywords = hidden(password), hidden_items(keywords)
    if client == "rss":
        _rss("download", address, port, remote_path, os.path.expanduser(os.fspath(local_path)), verbose, timeout,
             **keywords)
        return
    _check_client(client)
    scp_from_remote(address, port, username, password, remote_path, local_path, log_filename,
                    timeout, verbose=verbose, **keywords)


def _check_client(client):
    if client != "scp":
        raise TransferBadClientError(client)


def _rss(direction, address, port, src, dst, verbose, timeout, transfer_stall_timeout=None, progress=None,
         transfer_exclude=None, transfer_update=None, **unused):
    """A transfer by the remote shell server of a Windows guest: it has neither users nor
    keys, times nor links, so options of these mean nothing."""
    import logging
    from time import monotonic
    from virtvm.companions import rss_client
    exclude = _patterns(transfer_exclude)
    if _is_yes("transfer_update", transfer_update):
        raise rss_client.FileTransferError("transfer_update: this protocol tells no times")
    if exclude and direction == "download":
        raise rss_client.FileTransferError("transfer_exclude: by this protocol a server sends all of a folder")
    keywords = {"exclude": exclude} if exclude else {}
    end = monotonic() + timeout
    make = rss_client.FileUploadClient if direction == "upload" else rss_client.FileDownloadClient
    with make(address, port, logging.debug if verbose else None, min(timeout, _LOGIN_TIMEOUT)) as client:
        getattr(client, direction)(src, dst, end - monotonic(),
                                   stall_timeout=float(transfer_stall_timeout or 0),
                                   progress=progress, **keywords)


def scp_to_remote(host, port, username, password, local_path, remote_path, log_filename=None,
                  timeout=600, *, verbose=False, **keywords):
    """Copy local_path to remote_path on a host over SSH.

    Paths as in copy_files_to; timeout: seconds for all of it.  keywords:
    ssh_identity_file, ssh_identity_passphrase, ssh_known_hosts, ssh_auth as remote_login takes them;
    transfer_engine: "sftp" or "scp", by default SFTP where the host has it, else
    SCP; transfer_verify: compare SHA-256 sums of both sides before a file gets its name;
    transfer_times: keep modification times;
    transfer_keep_links: copy symbolic links instead of what they lead to;
    transfer_parents: make the folders that the target is to be in; transfer_sparse: send no
    holes, and write no zeros; transfer_sync: have each file on the disk before it gets its
    name; transfer_in_place: write into files that are there, instead of replacing them;
    transfer_exclude: patterns of what is left out of folders (list, or one str with blanks
    between them); transfer_update: copy only files that are newer than what is there, or of
    another size, and keep times; transfer_sudo: be root there by sudo;
    transfer_sudo_password: what sudo asks for, if it is not the login's password;
    transfer_stall_timeout: seconds without a byte that end it; progress: a function of a
    file's name, the bytes moved so far, and all that are known to come (str, int, int),
    called a few times a second and at the end; what it raises ends the transfer.  The
    paths to copy may be a list.

    Raises SCPAuthenticationError, SCPAuthenticationTimeoutError,
    SCPTransferTimeoutError, SCPTransferFailedError, SCPError.
    """
    password, keywords = hidden(password), hidden_items(keywords)
    sources = tuple(os.fsencode(path) for path in _local_sources(local_path))
    _Transfer("put", host, port, username, password, log_filename, timeout, verbose,
              **keywords).run(sources, remote_path, "%s -> %s" % (local_path, remote_path))


def scp_from_remote(host, port, username, password, remote_path, local_path, log_filename=None,
                    timeout=600, *, verbose=False, **keywords):
    """Copy remote_path on a host to local_path over SSH; see scp_to_remote."""
    password, keywords = hidden(password), hidden_items(keywords)
    remote = remote_path if isinstance(remote_path, (list, tuple)) else [remote_path]
    _Transfer("get", host, port, username, password, log_filename, timeout, verbose,
              **keywords).run(tuple(map(os.fsencode, remote)), os.path.expanduser(os.fspath(local_path)),
                              "%s -> %s" % (remote_path, local_path))


def scp_between_remotes(src, dst, port, s_passwd, d_passwd, s_name, d_name, s_path, d_path,
                        log_filename=None, timeout=600, **keywords):
    """Copy s_path on host src to d_path on host dst, by way of this host's temporary folder
    ($TMPDIR), which must have room for it.

    With transfer_sparse an upload by SCP fills holes instead of refusing them: of those that
    the copy here has nobody knows which the first host has, too.
    """
    from time import monotonic
    s_passwd, d_passwd, keywords = hidden(s_passwd), hidden(d_passwd), hidden_items(keywords)
    end = monotonic() + timeout
    with scratch.Folder("virtvm-between-") as folder:
        scp_from_remote(src, port, s_name, s_passwd, s_path, folder, log_filename, timeout,
                        **keywords)
        if s_path.rstrip("/").rpartition("/")[2] in (".", ".."):
            names = ["."]               # the contents of a folder, which may be none
        else:
            names = os.listdir(folder)
        # One thing keeps its name or gets a new one; several go into a folder.
        _Transfer("put", dst, port, d_name, d_passwd, log_filename, max(1.0, end - monotonic()),
                  False, options={"fills_holes": True}, **keywords).run(
                      tuple(os.fsencode(os.path.join(folder, name)) for name in names), d_path, d_path)


def write_file(address, client, username, password, port, path, data, *, mode=None, owner=None, timeout=600,
               log_filename=None, **keywords):
    """Write data to the file path on the guest: whole, or not at all.

    data: bytes, str (as UTF-8) or a file object, whose rest is read.  mode: permission bits
    (int); None: those of the file that is replaced, else 0o644.  owner: (uid, gid), or
    "USER" or "USER:GROUP", whose numbers the guest's /etc/passwd and /etc/group have; None: the
    owner of the file that is replaced, else whoever logs in.  timeout: seconds for all of it.
    client, keywords and the errors are those of copy_files_to; with client "rss" there are no
    modes and owners.
    """
    from time import monotonic
    password, keywords = hidden(password), _of_one_file(keywords)
    end = monotonic() + timeout
    with _in_memory(data) as source:
        if client == "rss":
            _rss("upload", address, port, [source], path, False, timeout, **keywords)
            return
        _check_client(client)
        options = {"is_name": True, "mode": -1 if mode is None else mode}
        if owner is not None:
            options["owner"] = _owner(owner, address, client, username, password, port, end, keywords)
        _Transfer("put", address, port, username, password, log_filename, max(0.0, end - monotonic()), False,
                  options=options, **keywords).run((os.fsencode(source),), path, "%s" % path)


def read_file(address, client, username, password, port, path, *, timeout=600, log_filename=None, **keywords):
    """The contents of the file path on the guest (bytes); as write_file."""
    password, keywords = hidden(password), _of_one_file(keywords)
    with scratch.Folder("virtvm-read-") as folder:
        target = os.path.join(folder, "file")
        copy_files_from(address, client, username, password, port, _as_name(path, client), target, log_filename,
                        False, timeout, **keywords)
        if signals.isdir(target):
            raise SCPTransferFailedError("%s is a folder" % path, "")
        with open(target, "rb") as f:
            return f.read()


def _of_one_file(keywords):
    """Those without what chooses among files: this one is meant, however old it is."""
    return hidden_items({name: value for name, value in keywords.items()
                         if name not in ("transfer_exclude", "transfer_update")})


def _as_name(path, client):
    """The path for a list, where a local one is no pattern; the guest looks for it as it is first."""
    return path if client == "rss" else [path]


@contextlib.contextmanager
def _in_memory(data):
    """A path at which the data can be read, and which takes no room on a disk."""
    with signals.held() as handlers:
        fd = os.memfd_create("virtvm-data", os.MFD_CLOEXEC)
        try:
            handlers.deliver()
            with open(fd, "wb", closefd=False) as f:
                _write_all(f, data)
            os.fchmod(fd, 0o644)
            yield "/proc/self/fd/%d" % fd
        finally:
            os.close(fd)


def _write_all(f, data):
    """Write data, which may be bytes, a text or a file of either, to a binary file."""
    import shutil
    if isinstance(data, str):
        data = data.encode()
    if not hasattr(data, "read"):
        f.write(data)
        return
    first = data.read(65536)
    f.write(first.encode() if isinstance(first, str) else first)
    if isinstance(first, str):
        f.write(data.read().encode())
    else:
        shutil.copyfileobj(data, f)


def _owner(owner, *where):
    """(uid, gid) of what write_file takes as owner."""
    if not isinstance(owner, str):
        uid, gid = owner
        return int(uid), int(gid)
    user, colon, group = owner.partition(":")
    from time import monotonic
    *access, end, keywords = where
    keywords = {name: value for name, value in keywords.items() if name != "progress"}

    def entry(path, name, key):
        text = read_file(*access, path, timeout=max(0.0, end - monotonic()), **keywords)
        for line in text.decode("utf-8", "replace").splitlines():
            fields = line.split(":")
            if len(fields) > 3 and name in (fields[0], fields[2] if key else None):
                return fields
        raise SCPTransferFailedError("%s has no %r" % (path, name), "")

    if user.isdigit() and group.isdigit():
        return int(user), int(group)
    found = entry("/etc/passwd", user, True)
    gid = found[3] if not group else group if group.isdigit() else entry("/etc/group", group, False)[2]
    return int(found[2]), int(gid)


def _local_sources(local_path):
    """The paths that the text names: itself if it exists, else what a shell makes of it.
    A list has its paths as they are."""
    if isinstance(local_path, (list, tuple)):
        return list(local_path)
    path = os.path.expanduser(os.fspath(local_path))
    if signals.lexists(path):
        return [path]
    found = sorted(glob.glob(path))
    if not found:
        import shlex                    # here: importing the module is to load little
        try:
            words = shlex.split(str(local_path))
        except ValueError as e:
            signals.let_out(e)
            words = []
        for word in words:
            word = os.path.expanduser(word)
            found += sorted(glob.glob(word)) or [word]
    return found or [path]


def _make_folders(path, sync):
    """The folder and those above it; with sync their names are on the disk then."""
    missing = []
    while not signals.isdir(path):
        missing.append(path)
        path = os.path.dirname(path.rstrip("/")) or "."
    for name in reversed(missing):
        signals.makedirs(name, exist_ok=True)
        if sync:
            _sync(os.path.dirname(name.rstrip("/")) or ".")


def _sync(folder):
    with signals.held() as handlers:
        fd = os.open(folder, os.O_RDONLY)
        try:
            handlers.deliver()
            os.fsync(fd)
        finally:
            os.close(fd)


class _Transfer:
    """One transfer: its options, its log, and its failures as the field's exceptions."""

    def __init__(self, direction, host, port, username, password, log_filename, timeout, verbose, *,
                 ssh_identity_file=None, ssh_identity_passphrase=None, ssh_known_hosts=None, ssh_auth=None,
                 transfer_sync=None, transfer_sparse=None, transfer_parents=None, transfer_in_place=None,
                 transfer_sudo=None, transfer_sudo_password=None, transfer_engine=None, transfer_verify=None,
                 transfer_keep_links=None, transfer_times=None, transfer_exclude=None, transfer_update=None,
                 transfer_stall_timeout=None, progress=None, options=None):
        if transfer_engine not in (None, "", "sftp", "scp"):
            raise SCPError("Unknown transfer engine: %r" % transfer_engine, "")
        _check_sudo_password(transfer_sudo_password)
        self._direction, self._log_filename, self._verbose = direction, log_filename, verbose
        self._where = {"host": host, "port": port, "user": username}
        self._password, self._timeout, self._watch = password, timeout, progress
        self._options = {
            "identity_file": ssh_identity_file,
            "passphrase": hidden(ssh_identity_passphrase) or secrets.passphrase(),
            "known_hosts": ssh_known_hosts, "auth": ssh_auth,
            # Whichever clock was right, the source's time says the next time what is as new.
            "times": _is_yes("transfer_times", transfer_times) or _is_yes("transfer_update", transfer_update),
            "links": _is_yes("transfer_keep_links", transfer_keep_links),
            "stall": float(transfer_stall_timeout or 0), "engine": transfer_engine or None,
            "verify": _is_yes("transfer_verify", transfer_verify),
            "sync": _is_yes("transfer_sync", transfer_sync), "sparse": _is_yes("transfer_sparse", transfer_sparse),
            "parents": _is_yes("transfer_parents", transfer_parents),
            "in_place": _is_yes("transfer_in_place", transfer_in_place),
            "sudo": _is_yes("transfer_sudo", transfer_sudo),
            "exclude": _patterns(transfer_exclude), "update": _is_yes("transfer_update", transfer_update),
            "sudo_password": hidden(transfer_sudo_password) or None}
        self._parents = self._options["parents"]
        self._options.update(options or {})

    def run(self, sources, target, what):
        """Do it.  sources: tuple of bytes; target: str; what: for the log (str)."""
        from time import monotonic
        from virtvm import _session
        if self._parents and self._direction == "get":
            target = os.fspath(target)
            folder = target if len(sources) > 1 or target.endswith("/") else os.path.dirname(target)
            _make_folders(folder or ".", self._options["sync"])
        self._began = self._last = monotonic()
        self._last_bytes = 0
        self._log("%s %s" % ("sending" if self._direction == "put" else "receiving", what))
        try:
            files, size, engine = getattr(_session, self._direction)(
                str(self._where["host"]), int(self._where["port"]), self._where["user"],
                self._password or None, sources, os.fsencode(target), timeout=self._timeout,
                login_timeout=_LOGIN_TIMEOUT, progress=self._progress if self._verbose or self._watch else None,
                **self._options)
        except _session.EngineError as e:
            exc = self._failure(e)
            self._log("failed: %s" % exc)
            raise exc from None
        except BaseException as e:          # Ctrl-C, or what the progress function raised
            if Left.adopt(e):
                self._log("stopped: %s%s" % (type(e).__name__, e.left))
            raise
        self._log("done: %d files, %.3f MB in %.2f s by %s"
                  % (files, size / _MB, monotonic() - self._began, engine))

    def _progress(self, name, size, total):
        from time import monotonic
        if self._watch is not None:
            self._watch(os.fsdecode(name), size, total)
        now = monotonic()
        if not self._verbose or now - self._last < 1.0:
            return
        import logging
        rate = (size - self._last_bytes) / _MB / (now - self._last)
        verb = "Sent" if self._direction == "put" else "Received"
        logging.debug("%s %.3f MB (%.3f MB/sec)", verb, size / _MB, rate)
        self._last, self._last_bytes = now, size

    def _log(self, line):
        if self._log_filename is not None:
            from virtvm.companions import virt_utils
            virt_utils.log_line(self._log_filename, line)

    def _failure(self, e):
        name = os.fsdecode(getattr(e, "filename", b""))
        detail = e.detail
        if name and name not in detail:
            detail = "%s: %s" % (name, detail)
        left = Left.of(e.left) if hasattr(e, "left") else Left(0, ())
        detail += str(left)
        in_transfer = e.stage == "transfer"
        if e.code in ("auth", "denied"):
            exc = SCPAuthenticationError("Authentication refused", "")
        elif e.code == "timeout":
            exc = SCPTransferTimeoutError("") if in_transfer else SCPAuthenticationTimeoutError("")
        elif in_transfer or e.code in ("unsupported", "channel"):
            exc = SCPTransferFailedError(None, "")
        else:
            from virtvm.companions.login import login_sentence
            exc = SCPError(login_sentence(e), "")
        exc.failures = getattr(e, "failures", 0)
        exc.filename, exc.bytes, exc.left = name or None, getattr(e, "bytes", 0), left
        return diagnosed(exc, stage=e.stage, methods=e.methods, detail=detail, said=e.said,
                         denied=True if e.code == "denied" else None, **self._where)


def _check_sudo_password(value):
    """ValueError for what is no line that sudo could be given.  It shows nothing of it."""
    if not isinstance(value, str):
        return
    if any(c in value for c in "\0\r\n"):
        raise ValueError("transfer_sudo_password has a NUL or a line break: sudo reads one line")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError("transfer_sudo_password has a surrogate, which UTF-8 has not")


def _patterns(value):
    """The patterns (tuple of bytes) that a param's text, or a list, has; SCPError for what is none."""
    if not isinstance(value, (list, tuple)):
        import shlex
        try:
            value = shlex.split(str(value or ""))
        except ValueError as e:
            signals.let_out(e)
            raise SCPError("transfer_exclude has a quote without an end: %r" % value, "") from None
    patterns = tuple(os.fsencode(pattern) for pattern in value)
    for pattern in patterns:
        if not pattern.strip(b"/") or b"\0" in pattern:
            raise SCPError("transfer_exclude has a pattern that is none: %r" % os.fsdecode(pattern), "")
    return patterns


_YES = {"yes", "on", "true", "1"}
_NO = {"", "none", "no", "off", "false", "0"}


def _is_yes(name, value):
    """What a param says that is yes or no (bool); SCPError for what says neither."""
    text = str(value).strip().lower()
    if text in _YES or text in _NO:
        return text in _YES
    raise SCPError("%s is neither yes nor no: %r" % (name, value), "")


def remote_scp(command, password_list, log_filename=None, transfer_timeout=600, login_timeout=10):
    """Run an scp command line in a shell and give it the passwords as it asks for them.

    command: str.  password_list: passwords in the order that they are asked for.
    Raises SCPAuthenticationError, SCPAuthenticationTimeoutError,
    SCPTransferTimeoutError, SCPTransferFailedError, SCPError.
    """
    from virtvm.companions import aexpect
    password_list = [hidden(password) for password in password_list]
    session = aexpect.ShellSession(command)
    if log_filename is not None:
        from virtvm.companions import virt_utils
        session.set_output_params((log_filename,))
        session.set_output_func(virt_utils.log_line)
    try:
        _answer_scp(session, list(password_list), transfer_timeout, login_timeout)
    finally:
        session.close()


def _answer_scp(session, passwords, transfer_timeout, login_timeout):
    from virtvm.companions import aexpect
    patterns = [r"[Aa]re you sure", r"[Pp]assword:\s*$", r"lost connection"]
    timeout, asked = login_timeout, 0
    while True:
        try:
            found, output = session.read_until_last_line_matches(
                patterns, timeout=timeout, internal_timeout=0.1)
        except aexpect.ExpectTimeoutError as e:
            raise (SCPAuthenticationTimeoutError if timeout == login_timeout and asked < len(passwords)
                   else SCPTransferTimeoutError)(e.output) from None
        except aexpect.ExpectProcessTerminatedError as e:
            if e.status == 0:
                return
            raise SCPTransferFailedError(e.status, e.output) from None
        if found == 0:
            session.sendline("yes")
        elif found == 2:
            raise SCPError("SCP client said 'lost connection'", output)
        elif asked == len(passwords):
            raise SCPAuthenticationError("Got password prompt twice", output)
        else:
            session.sendline(passwords[asked])
            asked += 1
            if asked == len(passwords):
                timeout = transfer_timeout
