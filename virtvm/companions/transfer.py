"""Copying files to and from guests: whole or absent.

A file is written under a temporary name beside its target, checked in size, and renamed:
whatever fails, an older target stays as it was and nothing partial is left.  Modes are
kept; folders are copied with all that is in them, as `scp -r` does.
"""

import glob
import os

from virtvm.companions.exceptions import (
    SCPAuthenticationError, SCPAuthenticationTimeoutError, SCPError, SCPTransferFailedError,
    SCPTransferTimeoutError, TransferBadClientError, diagnosed)

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
    if client == "rss":
        _rss("download", address, port, remote_path, local_path, verbose, timeout, **keywords)
        return
    _check_client(client)
    scp_from_remote(address, port, username, password, remote_path, local_path, log_filename,
                    timeout, verbose=verbose, **keywords)


def _check_client(client):
    if client != "scp":
        raise TransferBadClientError(client)


def _rss(direction, address, port, src, dst, verbose, timeout, transfer_stall_timeout=None, progress=None,
         **unused):
    """A transfer by the remote shell server of a Windows guest: it has neither users nor
    keys, times nor links, so options of these mean nothing."""
    import logging
    from time import monotonic
    from virtvm.companions import rss_client
    end = monotonic() + timeout
    make = rss_client.FileUploadClient if direction == "upload" else rss_client.FileDownloadClient
    with make(address, port, logging.debug if verbose else None, min(timeout, _LOGIN_TIMEOUT)) as client:
        getattr(client, direction)(src, dst, end - monotonic(),
                                   stall_timeout=float(transfer_stall_timeout or 0),
                                   progress=progress)


def scp_to_remote(host, port, username, password, local_path, remote_path, log_filename=None,
                  timeout=600, *, verbose=False, **keywords):
    """Copy local_path to remote_path on a host over SSH.

    Paths as in copy_files_to; timeout: seconds for all of it.  keywords:
    ssh_identity_file, ssh_known_hosts, ssh_auth as remote_login takes them;
    transfer_engine: "sftp" or "scp", by default SFTP where the host has it, else
    SCP; transfer_verify: compare SHA-256 sums of both sides before a file gets its name;
    transfer_times: keep modification times;
    transfer_keep_links: copy symbolic links instead of what they lead to;
    transfer_stall_timeout: seconds without a byte that end it; progress: a function of a
    file's name, the bytes moved so far, and all that are known to come (str, int, int),
    called a few times a second and at the end; what it raises ends the transfer.  The
    paths to copy may be a list.

    Raises SCPAuthenticationError, SCPAuthenticationTimeoutError,
    SCPTransferTimeoutError, SCPTransferFailedError, SCPError.
    """
    sources = tuple(os.fsencode(path) for path in _local_sources(local_path))
    _Transfer("put", host, port, username, password, log_filename, timeout, verbose,
              **keywords).run(sources, remote_path, "%s -> %s" % (local_path, remote_path))


def scp_from_remote(host, port, username, password, remote_path, local_path, log_filename=None,
                    timeout=600, *, verbose=False, **keywords):
    """Copy remote_path on a host to local_path over SSH; see scp_to_remote."""
    remote = remote_path if isinstance(remote_path, (list, tuple)) else [remote_path]
    _Transfer("get", host, port, username, password, log_filename, timeout, verbose,
              **keywords).run(tuple(map(os.fsencode, remote)), local_path,
                              "%s -> %s" % (remote_path, local_path))


def scp_between_remotes(src, dst, port, s_passwd, d_passwd, s_name, d_name, s_path, d_path,
                        log_filename=None, timeout=600, **keywords):
    """Copy s_path on host src to d_path on host dst, by way of this host."""
    import tempfile
    from time import monotonic
    end = monotonic() + timeout
    with tempfile.TemporaryDirectory(prefix="virtvm-between-") as folder:
        scp_from_remote(src, port, s_name, s_passwd, s_path, folder, log_filename, timeout,
                        **keywords)
        names = os.listdir(folder)
        # One thing keeps its name or gets a new one; several go into a folder.
        _Transfer("put", dst, port, d_name, d_passwd, log_filename, max(1.0, end - monotonic()),
                  False, **keywords).run(tuple(os.fsencode(os.path.join(folder, name))
                                               for name in names), d_path, d_path)


def _local_sources(local_path):
    """The paths that the text names: itself if it exists, else what a shell makes of it.
    A list has its paths as they are."""
    if isinstance(local_path, (list, tuple)):
        return list(local_path)
    path = os.path.expanduser(os.fspath(local_path))
    if os.path.lexists(path):
        return [path]
    found = sorted(glob.glob(path))
    if not found:
        import shlex                    # here: importing the module is to load little
        try:
            words = shlex.split(str(local_path))
        except ValueError:
            words = []
        for word in words:
            word = os.path.expanduser(word)
            found += sorted(glob.glob(word)) or [word]
    return found or [path]


class _Transfer:
    """One transfer: its options, its log, and its failures as the field's exceptions."""

    def __init__(self, direction, host, port, username, password, log_filename, timeout, verbose, *,
                 ssh_identity_file=None, ssh_known_hosts=None, ssh_auth=None, transfer_engine=None,
                 transfer_verify=None, transfer_keep_links=None, transfer_times=None,
                 transfer_stall_timeout=None, progress=None):
        if transfer_engine not in (None, "", "sftp", "scp"):
            raise SCPError("Unknown transfer engine: %r" % transfer_engine, "")
        self._direction, self._log_filename, self._verbose = direction, log_filename, verbose
        self._where = {"host": host, "port": port, "user": username}
        self._password, self._timeout, self._watch = password, timeout, progress
        self._options = {
            "identity_file": ssh_identity_file, "known_hosts": ssh_known_hosts, "auth": ssh_auth,
            "times": _is_yes(transfer_times), "links": _is_yes(transfer_keep_links),
            "stall": float(transfer_stall_timeout or 0), "engine": transfer_engine or None,
            "verify": _is_yes(transfer_verify)}

    def run(self, sources, target, what):
        """Do it.  sources: tuple of bytes; target: str; what: for the log (str)."""
        from time import monotonic
        from virtvm import _session
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
        left = os.fsdecode(getattr(e, "left", b""))
        if left:
            detail += "; could not remove %s" % left
        in_transfer = e.stage == "transfer"
        if e.code == "auth":
            exc = SCPAuthenticationError("Authentication refused", "")
        elif e.code == "timeout":
            exc = SCPTransferTimeoutError("") if in_transfer else SCPAuthenticationTimeoutError("")
        elif in_transfer or e.code in ("unsupported", "channel"):
            exc = SCPTransferFailedError(None, "")
        else:
            from virtvm.companions.login import login_sentence
            exc = SCPError(login_sentence(e), "")
        exc.filename, exc.bytes = name or None, getattr(e, "bytes", 0)
        return diagnosed(exc, stage=e.stage, methods=e.methods, detail=detail, **self._where)


def _is_yes(value):
    return value in (True, "yes", "1", 1)


def remote_scp(command, password_list, log_filename=None, transfer_timeout=600, login_timeout=10):
    """Run an scp command line in a shell and give it the passwords as it asks for them.

    command: str.  password_list: passwords in the order that they are asked for.
    Raises SCPAuthenticationError, SCPAuthenticationTimeoutError,
    SCPTransferTimeoutError, SCPTransferFailedError, SCPError.
    """
    from virtvm.companions import aexpect
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
