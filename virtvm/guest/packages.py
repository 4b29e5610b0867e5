"""Which packages the guest is made of, and where they are: fetched by apt-get, and kept."""

import glob
import json
import os
import re
import shutil

from virtvm import scratch, signals
from virtvm.guest.commands import GuestBuildError, run, whole

KERNEL = "linux-image-cloud-amd64"
_PROGRAMS = ["busybox-static", "dropbear-bin", "openssh-sftp-server", "openssh-client"]
UNPACKERS = ["lz4", "zstd"]            # for the kernel and its modules
WANTED = [KERNEL] + _PROGRAMS + UNPACKERS
_LINKED = ["dropbear-bin"] + UNPACKERS         # those that need more than the C library


class _Depends:
    """What packages need, by apt's lists: of alternatives the first."""

    def __init__(self, packages):
        flags = ["--no-" + kind for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
        self._of, package, other = {}, None, False
        try:
            lines = run(["apt-cache", "depends", "--recurse"] + flags + packages).splitlines()
        except GuestBuildError as e:
            if "E: No packages found" not in e.output:
                raise
            lines = []
        for line in lines:
            found = re.match(r"\s+(\|?)(?:Pre)?Depends: (\S+)$", line)
            if found and not other:
                self._of[package].append(found.group(2))
            if found:
                other = found.group(1) == "|"
            elif re.match(r"[^\s<]", line):
                package = line.strip()
                self._of.setdefault(package, [])

    def __contains__(self, name):
        return name in self._of

    def reached(self, start, wanted):
        """Names of the packages, start among them, that are reached through such as are wanted."""
        names, new = [], [start]
        while new:
            name = new.pop(0)
            if name not in names:
                names.append(name)
                new += [needed for needed in self._of.get(name, ()) if wanted(needed)]
        return names


def _is_library(name):
    return name.startswith("lib") or name == "zlib1g"


def _is_of_the_kernel(name):
    """One package, or several for the kernel, its modules and what they have in common."""
    return name.startswith("linux-")


def _kernel_names(depends):
    if KERNEL not in depends:
        raise GuestBuildError("apt knows no package %s: run `apt-get update`; where there is none, use a disk image:"
                              " --image FILE" % KERNEL)
    return depends.reached(KERNEL, _is_of_the_kernel)[1:]


def small_guest_names():
    """Names of the packages that the small guest is made of."""
    depends = _Depends(WANTED)
    names = _kernel_names(depends) + _PROGRAMS + UNPACKERS
    for name in _LINKED:
        names += depends.reached(name, _is_library)
    return list(dict.fromkeys(names))


def names_with_libraries(programs, wanted):
    """Names of a kernel's packages, of programs' and of what these need that is wanted (function of a name)."""
    depends = _Depends([KERNEL] + programs)
    names = _kernel_names(depends)
    for program in programs:
        names += depends.reached(program, wanted)
    return list(dict.fromkeys(names))


def _fetch(cache, find_names, log):
    """Download what the cache lacks of the versions that apt knows; return the names of all files."""
    names = find_names()
    listed = run(["apt-get", "download", "--print-uris", "-q"] + names).splitlines()
    files = {line.split()[1]: None for line in listed if line.startswith("'")}
    packages = {_package_of(file): file for file in files}
    missing = [name for name, file in packages.items() if not signals.exists(os.path.join(cache, file))]
    if missing:
        log("fetching %d packages" % len(missing))
        _download(missing, cache)
    return list(packages.values())


def _package_of(file):
    return file.split("_")[0]


def _download(names, cache):
    with scratch.Folder(".download.", folder=cache) as folder:
        os.chmod(folder, 0o755)         # apt-get's downloads run as another user
        run(["apt-get", "download", "-q"] + names, cwd=folder)
        for path in glob.glob(os.path.join(glob.escape(folder), "*.deb")):
            os.replace(path, os.path.join(cache, os.path.basename(path)))


def _fetch_by_new_lists(cache, find_names, log):
    """As _fetch(), and once more with new lists: packages that the lists name may be gone."""
    try:
        return _fetch(cache, find_names, log)
    except GuestBuildError as e:
        if shutil.which("apt-get") is None:
            raise
        if os.getuid() != 0:
            raise GuestBuildError("%s (`apt-get update`, as root, may help)" % e, e.output) from None
    log("updating the package lists")
    try:
        run(["apt-get", "update", "-q"])
    except GuestBuildError as e:
        log(str(e))                     # one of many sources may fail, and not be needed
    return _fetch(cache, find_names, log)


def _kept(listing, wanted):
    """The files that were fetched last, or None if not all of them are there."""
    try:
        with open(listing) as f:
            content = json.load(f)
        files = content["files"] if content["wanted"] == wanted else []
        there = [signals.exists(os.path.join(os.path.dirname(listing), file)) for file in files]
    except (OSError, ValueError, TypeError, KeyError) as e:
        signals.let_out(e)
        return None
    return files if there and all(there) else None


def packages(cache, offline, update, log, wanted, find_names):
    """Paths of all packages: those of an earlier build, except to update, or fetched.

    wanted: names (list of str) that tell one kind of guest from another; find_names: a function that
    returns those of all its packages, by apt's lists.
    """
    listing = os.path.join(cache, "packages.json")
    files = _kept(listing, wanted)
    if files is None and offline:
        raise GuestBuildError("nothing in the package cache %s: build once with network" % cache)
    if files is None or (update and not offline):
        files = _fetch_by_new_lists(cache, find_names, log)
        with whole(listing) as temporary, open(temporary, "w") as f:
            json.dump({"wanted": wanted, "files": files}, f, indent=1)
        for path in glob.glob(os.path.join(glob.escape(cache), "*.deb")):
            if os.path.basename(path) not in files:
                os.unlink(path)
    return [os.path.join(cache, file) for file in files]
