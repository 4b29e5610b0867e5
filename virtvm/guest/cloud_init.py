"""What lets us into a distribution's cloud image: a NoCloud seed for its cloud-init, with a key made for the run.

The seed is a folder of two files, which QEMU shows to the guest as a small disk with the label that
cloud-init looks for.  An image with systemd and no cloud-init takes root's key from a credential instead.
"""

import base64
import binascii
import contextlib
import json
import os
import re
import stat
import subprocess
import threading

from virtvm import scratch, signals
from virtvm.guest.password import crypt

LABEL = "CIDATA"
_CREDENTIAL = "io.systemd.credential.binary:ssh.authorized_keys.root="
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_KINDS = {"ssh-ed25519": 2, "ssh-rsa": 3, "ecdsa-sha2-nistp256": 3, "ecdsa-sha2-nistp384": 3, "ecdsa-sha2-nistp521": 3,
          "sk-ssh-ed25519@openssh.com": 3, "sk-ecdsa-sha2-nistp256@openssh.com": 4}     # of how many strings each is
_KIND = re.compile(r"[ \t](?=(?:%s)[ \t])" % "|".join(map(re.escape, _KINDS)))
_LARGEST = 1 << 16          # of a file with a key
_KEYGEN_LIMIT = 60          # seconds
_COMMANDS = {"shutdown_command": "sudo shutdown -h now", "reboot_command": "sudo shutdown -r now"}


class SeedError(Exception):
    """There can be no seed: says in one line why."""


# ---- what is in it ----

def check_user(name):
    """Return the name of a user (str) that every distribution takes.  SeedError."""
    if not _USER.fullmatch(name):
        raise SeedError("%r can't be the user that cloud-init makes: a name has small letters, digits, - and _,"
                        " and begins with a letter" % name)
    return name


def check_key(line):
    """Return a public key's kind and body (str), without its comment, from a line of OpenSSH's.  SeedError."""
    line = line.rstrip("\n").replace("\t", " ")
    kind, _, rest = line.partition(" ")
    body = rest.strip(" ").partition(" ")[0]
    try:
        blob = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    strings = _strings(blob)
    if not line.isprintable() or len(strings) != _KINDS.get(kind) or strings[0] != kind.encode():
        raise SeedError("this is no public key of OpenSSH's")      # but, maybe, a secret of another kind
    return "%s %s" % (kind, body)


def _strings(blob):
    """The strings (list of bytes, none of them empty) that a blob is made of to its end; [] if it is not."""
    found = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        found.append(blob[4:4 + size])
        if not size or len(found[-1]) != size:
            return []
        blob = blob[4 + size:]
    return found


def files(user, key, instance, hostname, hashed=None):
    """{name: content (bytes)} of a seed.

    user: who may log in with the key (a line of OpenSSH's), root or one who becomes root by sudo.
    instance: text that no other machine has.  hashed: the user's password as /etc/shadow has it.  SeedError.
    """
    config = {"users": ["default"], "ssh_authorized_keys": [check_key(key)]}
    secret = {"hashed_passwd": hashed, "lock_passwd": False} if hashed else {}
    if check_user(user) == "root":
        config["disable_root"] = False
        if secret:
            config["users"].append(dict(secret, name="root"))
    else:
        # The distribution's own user by another name: its shell and groups are as they should be.
        config["user"] = dict(secret, name=user, sudo="ALL=(ALL) NOPASSWD:ALL")
    # YAML takes JSON, whose quoting leaves no doubt.
    return {"user-data": b"#cloud-config\n" + _json(config),
            "meta-data": _json({"instance-id": instance, "local-hostname": _hostname(hostname)})}


def _json(content):
    return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"


def _hostname(name):
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:63].strip("-") or "virtvm"


def credential(key):
    """The text (str) by which systemd gives root that key, as one of a machine's SMBIOS strings (type 11)."""
    return _CREDENTIAL + base64.b64encode((check_key(key) + "\n").encode()).decode()


# ---- keys ----

def make_key(path):
    """Make an ed25519 key: path, its owner's alone, and path.pub, where neither is.  SeedError."""
    for each in (path, path + ".pub"):
        if signals.lexists(each):
            raise SeedError("%s: is there already, and no key is written over it" % each)
    folder, name = os.path.split(os.path.abspath(path))
    with scratch.Folder(".%s." % name, folder=folder) as made:
        _keygen("-q", "-t", "ed25519", "-N", "", "-C", "virtvm", "-f", os.path.join(made, "key"))
        os.rename(os.path.join(made, "key"), path)      # which is enough, if nothing comes after it
        os.rename(os.path.join(made, "key.pub"), path + ".pub")


def _keygen(*words):
    try:
        done = subprocess.run(["ssh-keygen", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=_KEYGEN_LIMIT)
    except FileNotFoundError as e:
        signals.let_out(e)
        raise SeedError("ssh-keygen is missing: install the package openssh-client") from None
    except subprocess.TimeoutExpired:
        raise SeedError("ssh-keygen took longer than %d s" % _KEYGEN_LIMIT) from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise SeedError("ssh-keygen failed: %s" % (lines[-1] if lines else "status %d" % done.returncode))
    return done.stdout.decode(errors="replace")


def public_key(path):
    """The public key (str) of a private key's file, or in a public one's.  SeedError."""
    path = os.path.expanduser(path)
    lines = _lines(path)
    if lines and lines[0].startswith("-----BEGIN"):
        lines = _derived(path)
    for line in lines:
        with contextlib.suppress(SeedError):
            return check_key(line)
        if _has_options(line):
            raise SeedError("%s: a key with options in front of it can't be taken, only one without" % path)
    raise SeedError("%s: no key of OpenSSH's is in it" % path)


def _has_options(line):
    """Whether a line that is no key is one from its second word on, or a later one (bool)."""
    for found in _KIND.finditer(line):
        with contextlib.suppress(SeedError):
            return bool(check_key(line[found.end():]))
    return False


def _no_wait(path, flags):
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _lines(path):
    """The lines (list of str) of a file that say something: without a mark of Unicode's, empty ones and comments."""
    try:
        with open(path, "rb", opener=_no_wait) as f:
            if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
                raise SeedError("%s: is no regular file" % path)
            text = f.read(_LARGEST).decode("utf-8-sig", "replace")
    except OSError as e:
        signals.let_out(e)
        raise SeedError("%s: %s" % (path, e.strerror)) from e
    lines = (line.strip(" \t\r") for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _derived(path):
    """The lines of a private key's public part: of the file beside it, which may be another key's, only if need be."""
    try:
        return _keygen("-y", "-P", "", "-f", path).splitlines()
    except SeedError as e:
        if signals.exists(path + ".pub"):           # of one with a passphrase, say
            return _lines(path + ".pub")
        raise SeedError("%s.pub is missing, and can't be made: %s" % (path, e)) from None


# ---- of a run ----

class Seed:
    """One machine's.

    folder: of the two files.  credential: a file with what SMBIOS is to say, or None.
    """

    def __init__(self, place, user):
        self.place = place
        self.folder = os.path.join(place, "seed")
        self.credential = os.path.join(place, "credential") if user == "root" else None

    def write(self, content, said):
        """Write the files, and the one last by which exists() knows that all are there."""
        signals.makedirs(self.folder, exist_ok=True)
        if self.credential:
            scratch.write_whole(self.credential, said.encode())
        for name in sorted(content, reverse=True):
            scratch.write_whole(os.path.join(self.folder, name), content[name])

    def exists(self):
        return signals.exists(os.path.join(self.folder, "meta-data"))


class Run:
    """What this process has for its machines: a key, and a seed each.  All is gone when it ends, or earlier.

    folder: path of all of it, and identity: of the private key; both are there once a machine needed them.
    at_end: functions to call without arguments when it is gone.
    """

    def __init__(self):
        self.pid = os.getpid()
        self._scratch = None
        self.folder = scratch.name("virtvm-seeds-")
        self.identity = os.path.join(self.folder, "id_ed25519")
        self.at_end = []
        self._seeds = {}            # what makes one differ from another: its Seed
        self._lock = threading.Lock()

    def seed(self, name, params):
        """The Seed (which may not be there yet) of the machine of that name.  SeedError."""
        return self._seed(name, params)[0]

    def make_seed(self, name, params):
        """As seed(), and it is there."""
        seed, what = self._seed(name, params)
        with self._lock:
            if self._scratch is None:
                self._scratch = scratch.Folder(path=self.folder)
            if not seed.exists():
                self._make(seed, *what)
        return seed

    def _seed(self, name, params):
        login = completion(params)
        identity = params.get("ssh_identity_file") or self.identity
        what = name, login["username"], str(params.get("password") or ""), identity
        with self._lock:
            if what not in self._seeds:
                # Its number tells nothing: every user of the host sees it in QEMU's command line.
                self._seeds[what] = Seed(os.path.join(self.folder, str(len(self._seeds))), login["username"])
            return self._seeds[what], what

    def _make(self, seed, name, user, password, identity):
        if identity == self.identity and not signals.exists(identity):
            make_key(identity)
        key = public_key(identity)
        instance = "%s-%s" % (os.path.basename(self.folder), os.path.basename(seed.place))
        seed.write(files(user, key, instance, name, crypt(password) if password else None), credential(key))

    def end(self):
        """Remove all of it."""
        if self._scratch is not None:
            self._scratch.__exit__()
        for call in self.at_end:
            call()


_run = None
_run_lock = threading.Lock()


def this_run():
    """This process's Run."""
    global _run
    with _run_lock:
        if _run is None or _run.pid != os.getpid():
            _run = Run()
        return _run


def end_run():
    """The run's machines are gone: remove its key and its seeds."""
    global _run
    with _run_lock:
        run, _run = _run, None
    if run is not None and run.pid == os.getpid():
        run.end()


# ---- its params ----

def wanted(params):
    """Whether params (a mapping) ask for a seed (bool)."""
    return params.get("cloud_init") == "yes"


def _user(params):
    return params.get("cloud_init_user") or params.get("username") or "root"


def completion(params):
    """What params that ask for a seed have to say of who logs in, and by which key (dict).  SeedError."""
    return {"username": check_user(_user(params)),
            "ssh_identity_file": params.get("ssh_identity_file") or this_run().identity}


def defaults(params):
    """Defaults that params which ask for a seed have beside a run's (dict): of a user who is not root."""
    return {} if _user(params) == "root" else _COMMANDS
