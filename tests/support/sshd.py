"""A real OpenSSH server on loopback, for the length of a test run.

As root it has an account of its own, with a password, that is removed at the end.  An
ordinary user can log in as themselves, by key: then `can_password` is False.
"""

import contextlib
import functools
import getpass
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time

from .waiting import BUSY

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def _descendants(pid):
    """Ids of the processes that a process started, however indirectly."""
    done = subprocess.run(["pgrep", "-P", str(pid)], stdout=subprocess.PIPE, text=True)
    found = []
    for child in map(int, done.stdout.split()):
        found += [child] + _descendants(child)
    return found


@functools.lru_cache(maxsize=None)
def knows_penalties():
    """Whether this sshd holds refused logins against an address (OpenSSH 9.8 and later)."""
    done = subprocess.run([SSHD, "-t", "-f", "/dev/null", "-o", "PerSourcePenalties=no"],
                          stderr=subprocess.PIPE, text=True)
    return "Bad configuration option" not in done.stderr


def free_port():
    """A TCP port on loopback that nobody uses just now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def path_without(names, folder):
    """A line of configuration: a server's PATH without programs whose names begin so (str or tuple)."""
    tools = folder / "programs"
    tools.mkdir()
    for name in os.listdir("/usr/bin"):
        if not name.startswith(names):
            (tools / name).symlink_to(os.path.join("/usr/bin", name))
    return "SetEnv PATH=%s" % tools


class Account:
    """A throw-away user with a password (needs root)."""

    def __init__(self):
        self.name = "vtest%s" % secrets.token_hex(4)
        self.password = "pass word'%s" % secrets.token_hex(4)
        self.home = tempfile.mkdtemp(prefix="virtvm-home-")
        subprocess.run(["useradd", "-d", self.home, "-s", "/bin/bash", "-M", self.name], check=True)
        subprocess.run(["chpasswd"], input="%s:%s\n" % (self.name, self.password), text=True, check=True)
        entry = pwd.getpwnam(self.name)
        os.chown(self.home, entry.pw_uid, entry.pw_gid)

    def remove(self):
        subprocess.run(["pkill", "-KILL", "-u", self.name], check=False)
        subprocess.run(["userdel", self.name], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.home, ignore_errors=True)


class Sshd:
    """A server: host, port, user, password, key (path of a private key), known_hosts.

    options: more lines of sshd_config; they come first, so they win.  Refused logins have
    no penalties unless they name PerSourcePenalties.  namespace: a support.netns.Namespace to
    run in, reached at its address.
    """

    def __init__(self, options="", account=None, listen=("127.0.0.1",), namespace=None, pam=None):
        self.namespace, self.pam = namespace, pam
        self.host = namespace.address if namespace else "127.0.0.1"
        listen = (self.host,) if namespace else listen
        self.folder = tempfile.mkdtemp(prefix="virtvm-sshd-")
        self.account = account
        self.user = account.name if account else getpass.getuser()
        self.password = account.password if account else None
        self.can_password = account is not None
        self.key = os.path.join(self.folder, "key")
        self.log = os.path.join(self.folder, "log")
        self.port = free_port()
        self.process = None
        try:
            self._configure(options, listen)
            self.start()
        except BaseException:
            self.stop()
            raise

    def _keygen(self, path):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)

    def _configure(self, options, listen):
        host_key = os.path.join(self.folder, "host_key")
        self._keygen(host_key)
        self._keygen(self.key)
        allowed = os.path.join(self.folder, "authorized_keys")
        shutil.copy(self.key + ".pub", allowed)
        os.chmod(self.folder, 0o755)
        os.chmod(allowed, 0o644)
        with open(host_key + ".pub") as f:
            kind, blob = f.read().split()[:2]
        self.known_hosts = os.path.join(self.folder, "known_hosts")
        with open(self.known_hosts, "w") as f:
            f.write("[%s]:%d %s %s\n" % (self.host, self.port, kind, blob))
        lines = [options, "HostKey " + host_key, "AuthorizedKeysFile " + allowed,
                 "PidFile none", "StrictModes no", "MaxStartups 500", "MaxSessions 500",
                 "UsePAM " + ("yes" if self.can_password else "no"), "PrintMotd no",
                 "PrintLastLog no",
                 "KbdInteractiveAuthentication " + ("yes" if self.can_password else "no")]
        # All tests come from one address.
        if knows_penalties() and "PerSourcePenalties" not in options:
            lines.append("PerSourcePenalties no")
        lines += ([] if "Subsystem" in options else ["Subsystem sftp internal-sftp"])
        if self.account is None:        # nobody's own start-up files, which may do anything
            home = os.path.join(self.folder, "home")
            os.mkdir(home)
            lines.append("SetEnv HOME=%s" % home)
        lines += ["ListenAddress %s" % address for address in listen]
        with open(os.path.join(self.folder, "config"), "w") as f:
            f.write("\n".join(lines) + "\n")

    def start(self):
        """Start the server and wait until it listens."""
        if os.getuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        prefix = self.namespace.prefix if self.namespace else []
        if self.pam is not None:
            path = os.path.join(self.folder, "pam")
            with open(path, "w") as f:
                f.write(self.pam)
            prefix = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/pam.d/sshd && exec "$@"', path]
        self.process = subprocess.Popen(
            prefix + [SSHD, "-D", "-f", os.path.join(self.folder, "config"), "-p", str(self.port),
             "-E", self.log], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 2 * BUSY
        while time.monotonic() < deadline:
            with socket.socket() as s:
                if s.connect_ex((self.host, self.port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError("sshd does not listen: %s" % self.read_log())

    def read_log(self):
        """What the server has logged (str)."""
        try:
            with open(self.log) as f:
                return f.read()
        except OSError:
            return ""

    def kill_sessions(self):
        """Kill -9 the processes that serve the connections, but not the listener."""
        for pid in _descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def kill(self, pattern):
        """Kill -9 those of its processes whose command line matches the pattern."""
        done = subprocess.run(["pgrep", "-f", pattern], stdout=subprocess.PIPE, text=True)
        found = set(map(int, done.stdout.split())) & set(_descendants(self.process.pid))
        assert found, "no process of %s" % pattern
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def stop(self):
        """End the server and its connections, and remove its folder."""
        if self.process is not None:
            self.kill_sessions()
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
