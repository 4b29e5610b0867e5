"""Which processes there are that tests started."""

import os


def _command_line(pid):
    with open("/proc/%s/cmdline" % pid, "rb") as f:
        return f.read().replace(b"\0", b" ").decode("utf-8", "replace")


def _is_marked(pid, mark):
    with open("/proc/%s/environ" % pid, "rb") as environ:
        return os.fsencode(mark) in environ.read().split(b"\0")


def _links(pid):
    yield "/proc/%s/cwd" % pid
    for number in os.listdir("/proc/%s/fd" % pid):
        yield "/proc/%s/fd/%s" % (pid, number)


def _holds(pid, folders):
    for link in _links(pid):
        try:
            target = os.readlink(link)
        except FileNotFoundError:       # it was closed meanwhile
            continue
        if any(target == folder or target.startswith(folder + "/") for folder in folders):
            return True
    return False


def processes(folders, mark=None):
    """{pid: command line} of other processes that have mark ("NAME=VALUE") in their environment, or hold one
    of the folders, or anything below it, open: a keeper wipes its environment."""
    found, folders = {}, [os.path.realpath(folder) for folder in folders]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(pid) != os.getpid() and (mark and _is_marked(pid, mark) or _holds(pid, folders)):
                found[pid] = _command_line(pid)
        except OSError:         # it ended meanwhile, or is not ours to read
            continue
    return found
