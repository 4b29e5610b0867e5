"""MAC addresses of virtual NICs, unique among all processes of a user.

The pool is the file mac_pool.json in the user's state folder (state.py), guarded by a lock
beside it.  Its keys are "instance:nic"; "seen" says on which day (since 1970) each address was last asked
for.  Runs that are killed leave theirs: who was not asked for in 30 days is forgotten.
"""

import contextlib
import logging
import os
import time

from virtvm import signals
from virtvm.host.state import state_dir
from virtvm.scratch import write_whole

_LOCK_TIMEOUT = 20.0    # seconds; a holder needs some milliseconds
_DRAWS = 64             # of addresses with the pool's prefix, before others are tried
_PREFIX = "prefix"      # the key of the four bytes that this pool's addresses share
_SEEN = "seen"          # the key of the days on which addresses were asked for: a JSON object, as text
_KEPT_DAYS = 30


@contextlib.contextmanager
def _locked(path):
    with signals.held() as handlers:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            handlers.deliver()
            _lock(fd, path)
            yield
        finally:
            os.close(fd)


def _lock(fd, path):
    import fcntl
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as e:
            signals.let_out(e)
            if time.monotonic() >= deadline:
                raise TimeoutError("MAC address pool still locked after %g s: %s"
                                   % (_LOCK_TIMEOUT, path)) from None
            time.sleep(0.005)   # a blocking flock() has no deadline


@contextlib.contextmanager
def _open_pool():
    """The pool as a dict, written back if it was changed."""
    path = os.path.join(state_dir(), "mac_pool.json")
    with _locked(path + ".lock"):
        pool = _read(path)
        before = dict(pool)
        yield pool
        if pool != before:
            _write(path, pool)


def _read(path):
    import json
    try:
        with open(path, encoding="utf-8") as f:
            return dict(json.load(f))
    except FileNotFoundError as e:
        signals.let_out(e)
        return {}
    except ValueError as e:
        signals.let_out(e)
        logging.warning("MAC address pool %s can't be read, starting a new one: %s", path, e)
        return {}


def _write(path, pool):
    import json
    write_whole(path, json.dumps(pool, indent=0).encode())


def _random_bytes(count):
    return "".join("%02x:" % byte for byte in os.urandom(count))


def _key(vm_instance, nic_index):
    return "%s:%s" % (vm_instance, nic_index)


def _today():
    return int(time.time() // 86400)


def _days(pool):
    """{key: day on which its address was last asked for}"""
    import json
    try:
        days = json.loads(pool.get(_SEEN, "{}"))
        return {key: int(day) for key, day in days.items()}
    except (AttributeError, TypeError, ValueError) as e:
        signals.let_out(e)
        return {}                   # damaged: each has today's


def _keep_days(pool, days):
    import json
    pool[_SEEN] = json.dumps(days)


def _see(pool, key):
    """Note that the address of a NIC is in use today."""
    _keep_days(pool, dict(_days(pool), **{key: _today()}))


def _forget(pool, key):
    if pool.pop(key, None) is not None:
        days = _days(pool)
        days.pop(key, None)
        _keep_days(pool, days)


def _forget_old(pool):
    """Forget who was not asked for in a long time.  One without a day, of an older version, has today's."""
    days, today = _days(pool), _today()
    for key in [key for key in pool if ":" in key]:
        if today - days.setdefault(key, today) > _KEPT_DAYS:
            del pool[key], days[key]
    _keep_days(pool, days)


def generate_mac_address(vm_instance, nic_index):
    """Return the MAC address of a NIC, generated and kept at the first call (str).

    vm_instance: the VM's `instance`, nic_index: number of the NIC.  The
    address starts with 9a, is locally administered, and no other NIC in the
    pool has it.
    """
    key = _key(vm_instance, nic_index)
    with _open_pool() as pool:
        if key not in pool:
            _forget_old(pool)
            if _PREFIX not in pool:
                pool[_PREFIX] = "9a:" + _random_bytes(3)
            pool[key] = _unused(pool[_PREFIX], set(pool.values()))
        _see(pool, key)
        return pool[key]


def _unused(prefix, taken):
    for _ in range(_DRAWS):
        mac = prefix + _random_bytes(2)[:-1]
        if mac not in taken:
            return mac
    while mac in taken:         # nearly all 65536 are in use: leave the prefix
        mac = "9a:" + _random_bytes(5)[:-1]
    return mac


def set_mac_address(vm_instance, nic_index, mac):
    """Keep mac (str) as the MAC address of a NIC."""
    with _open_pool() as pool:
        key = _key(vm_instance, nic_index)
        pool[key] = mac
        _see(pool, key)


def get_mac_address(vm_instance, nic_index):
    """Return the MAC address kept for a NIC (str), or None."""
    key = _key(vm_instance, nic_index)
    with _open_pool() as pool:
        if key in pool:
            _see(pool, key)
        return pool.get(key)


def free_mac_address(vm_instance, nic_index):
    """Forget the MAC address of a NIC, so that it can be given away again."""
    with _open_pool() as pool:
        _forget(pool, _key(vm_instance, nic_index))
