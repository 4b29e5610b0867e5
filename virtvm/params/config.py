"""Params of a test run, from many places of which one wins over the other.

In this order, the last one wins: defaults, a guest (--guest), files in their order, [tests.NAME],
a test's marker, options (--image, --kernel, ...), --param.  A TOML file has a table [params];
[tests.NAME] holds for the test NAME alone, and [objects.NAME] for an image, NIC, VM or other object
of that name (as KEY_NAME does).  A file in autotest's own format (any other suffix) gives a run for
each of its variants.
"""

import argparse
import errno
import os
import sys

from virtvm import signals
from virtvm.companions.secrets import Secret, hidden, hidden_items, is_secret
from virtvm.params.table import DEFAULTS, objects_of
from virtvm.params.unknown import judge, line_of_ignored, line_of_unknown


class ConfigError(Exception):
    """The configuration can't be used: says which file or option, and why."""


def add_arguments(add, prefix="--"):
    """Declare the options of a run by calling add(), as argparse's and pytest's functions do."""
    def option(name, help, short=None, **more):
        names = [short] * (short is not None and prefix == "--") + [prefix + name]
        add(*names, dest="virtvm_" + name.replace("-", "_"), help=help, **more)

    option("guest", "folder of a guest made by `virtvm guest build` (it is built there if need be)", metavar="DIR")
    option("image", "disk image of the guest; it is not written to unless --write-image is given", metavar="FILE")
    option("write-image", "let the guest write to the image", action="store_true")
    option("image-format", "format of the image, such as qcow2 or raw (default: by its suffix)", metavar="FORMAT")
    option("image-backing", "a backing file that the image may have; may be given often", metavar="FILE",
           action="append")
    option("cloud-init", "let us into a distribution's cloud image: by a key made for the run", action="store_true")
    option("kernel", "kernel to boot", metavar="FILE")
    option("initrd", "its initial RAM disk", metavar="FILE")
    option("config", "file with params: TOML, or autotest's .cfg", metavar="FILE", action="append")
    option("only", "only the variants that a filter of autotest's means", metavar="FILTER", action="append")
    option("no", "not those that it means", metavar="FILTER", action="append")
    option("param", "a param; may be given often", metavar="KEY=VALUE", action="append")
    option("strict-params", "a param that nobody knows is an error, in files of variants, too", action="store_true")
    option("user", "who to log in as", metavar="NAME")
    option("identity", "key to log in with", short="-i", metavar="FILE")
    option("password-file", "file whose first line is the password (default: params, else $VIRTVM_PASSWORD)",
           metavar="FILE")


def load(options, build=True):
    """The Config of a namespace with add_arguments()' options.  ConfigError.

    Files are read now, and a guest is built unless told not to: do it once for a run.
    """
    options = _quiet(options)
    return Config(options, build)


def _quiet(options):
    """The same options, of which repr(), and so a traceback with variables, shows no password."""
    given = vars(options)
    if given.get("virtvm_param"):
        given = dict(given, virtvm_param=[
            Secret(text) if is_secret(text.partition("=")[0]) else text for text in given["virtvm_param"]])
    return argparse.Namespace(**given)


def _is_toml(path):
    return path.endswith(".toml")


class Config:
    """What a run's options and files say.

    params: of all tests; tests: {name: params of its own}; named: by an option of its own;
    given: by --param.

    variants: a cartesian.Parser, or None.
    """

    def __init__(self, options, build=True):
        self.tests, self.variants, self.named = {}, None, {}
        self._base = {}
        self._runs = None               # {type: its numbered runs}, once they are expanded
        self._is_strict = getattr(options, "virtvm_strict_params", False)
        self._said, self._told = {}, set()      # {param of a TOML file or --param: which}; those complained of
        self._guest(options, build)
        self._read_files(options)
        self._boot(options)
        self._image(options)
        if getattr(options, "virtvm_cloud_init", False):
            self.named["cloud_init"] = "yes"
        self._account(options)
        self.given = dict(map(_pair, getattr(options, "virtvm_param", None) or []))
        self._said.update(dict.fromkeys(self.given, "--param"))
        # What a file of variants says outside of them holds for tests that it has no variant of, too.
        self._common = {} if self.variants is None else hidden_items(self.variants.common())
        self.params = self._composed((), self._common, {})

    def _guest(self, options, build):
        folder = getattr(options, "virtvm_guest", None)
        if folder:
            self._base.update(hidden_items(_built(os.path.expanduser(folder), build).params()))

    def _boot(self, options):
        for name in ("kernel", "initrd"):
            path = getattr(options, "virtvm_" + name, None)
            if path:
                self.named[name] = _existing(path)

    def _image(self, options):
        path = getattr(options, "virtvm_image", None)
        if not path:
            return
        path = _existing(path)
        self.named.update({
            "image_raw_device": "yes", "image_name": path, "image_format": _image_format(options, path),
            "image_snapshot": "no" if getattr(options, "virtvm_write_image", False) else "yes"})
        self._base["images"] = self._base.get("images") or DEFAULTS["images"] or "image1"

    def _account(self, options):
        """Who logs in: beside --image, what is named by an option."""
        from virtvm.companions import secrets
        if getattr(options, "virtvm_user", None):
            self.named["username"] = options.virtvm_user
        if getattr(options, "virtvm_identity", None):
            self.named["ssh_identity_file"] = _existing(options.virtvm_identity)
        path = getattr(options, "virtvm_password_file", None)
        if path:
            try:
                self.named["password"] = secrets.password(path)
            except OSError as e:
                signals.let_out(e)
                raise ConfigError("%s: %s" % (path, e.strerror)) from e

    def params_for(self, *names, marked=()):
        """The params (Params) of the test that names mean, the most exact one last; of several variants, the first's.

        marked: params of its markers (dict).
        """
        for name in reversed(names):
            for _number, _shortname, variant in self._expanded(name):
                return self._params(names, variant, marked)
        return self._params(names, self._common, marked)

    def runs(self, name=None):
        """Yield (shortname, Params) of each run of the test called name; of all tests without one.

        Without a file of variants there is one, and its shortname is the test's name.
        """
        for _number, shortname, params in self.numbered_runs(name):
            yield shortname, params

    def numbered_runs(self, name=None):
        """As runs(), each with its place (int, from 0) among all that the variants come to."""
        if self.variants is None:
            if name is not None:
                yield 0, name, self._params((name,), {})
            return
        for number, shortname, variant in self._expanded(name):
            yield number, shortname, self._params((variant.get("type"),), variant)

    def has_runs(self, name):
        """Whether there is a run of the test called name (bool)."""
        return self.variants is None or bool(self._expanded(name))

    def _expanded(self, name):
        """[(place, shortname, what the variant says)] of the test called name, or all.

        Expanded once: there may be many thousands, and many files that ask for theirs.
        """
        if self.variants is None:
            return []
        if name is None:
            return ((number, found["shortname"], hidden_items(found))
                    for number, found in enumerate(self.variants.get_dicts()))
        if self._runs is None:
            self._runs = {}
            for run in self._expanded(None):
                self._runs.setdefault(run[2].get("type"), []).append(run)
        return self._runs.get(name, [])

    def unknown_params(self, own=set, marked=None, test=""):
        """What is to be told (list of str) of params that nobody knows, or that do nothing; each once.

        They are those of TOML files and --param, or marked: the params of a test's markers.  own: a function
        that returns the names (set of str) that tests ask for.  ConfigError for an unknown one with
        --strict-params, for which those of files of variants count, too.
        """
        said = self._said if marked is None else dict.fromkeys(marked, "marker of %s" % test)
        of_variants = self._said_by_variants() if self._is_strict and marked is None else {}
        new = {name: where for name, where in {**of_variants, **said}.items() if name not in self._told}
        unknown, ignored = self._judged(new, own, marked or {})
        self._told.update(unknown, ignored)
        lines = [line_of_unknown(*item) for item in unknown.items()]
        if lines and self._is_strict:
            raise ConfigError("; ".join(lines))
        return lines + [line_of_ignored(*item) for item in ignored.items() if item[0] in said]

    def _judged(self, said, own, marked):
        """unknown.judge()'s answer, less the tests' own names.  What takes long is done if it has to be."""
        objects = objects_of(self.params).union(objects_of(marked), *map(objects_of, self.tests.values()))
        found = judge(said, objects)
        if any(found):
            asked = own()
            said = {name: where for name, where in said.items() if name not in asked}
            found = judge(said, objects)
        if found[0] and self.variants is not None:
            found = judge(said, objects.union(*(objects_of(run[2]) for run in self._expanded(None))))
        return found

    def _said_by_variants(self):
        where = "a file of variants"
        return {name: where for _number, _shortname, variant in self._expanded(None) for name in variant}

    def _composed(self, names, variant, marked):
        """A test's params (dict), in the order in which one wins over the other.

        Defaults, the guest, files in their order (variant: what they come to), [tests.NAME], markers,
        options, --param.
        """
        params = {**self._base, **variant}
        for name in names:
            params.update(self.tests.get(name, {}))
        params.update(marked)
        params.update(self.named)
        params.update(self.given)
        return {**DEFAULTS, **_of_cloud_init(params)}

    def _params(self, names, variant, marked=()):
        from virtvm.params.params import Params
        params = Params(self._composed(names, variant, marked))
        for key in ("type", "name", "shortname"):
            params.setdefault(key, names[-1])
        if not params.get("password"):
            from virtvm.companions import secrets
            params["password"] = secrets.password() or ""
        return params

    def _read_files(self, options):
        """Files, in their order: a later one wins, whatever its format.  Filters hold for all variants."""
        from virtvm.autotest.variants import cartesian
        paths = getattr(options, "virtvm_config", None) or []
        filters = [("only", text) for text in getattr(options, "virtvm_only", None) or []]
        filters += [("no", text) for text in getattr(options, "virtvm_no", None) or []]
        if not all(map(_is_toml, paths)):
            self.variants = cartesian.Parser()
        elif filters:
            raise ConfigError("--%s %s: no file of variants is given, so that there is nothing to choose from"
                              % filters[0])
        try:
            for path in paths:
                if _is_toml(path):
                    self._file(path)
                else:
                    self.variants.parse_file(path)
            for word, text in filters:
                (self.variants.only_filter if word == "only" else self.variants.no_filter)(text)
        except (cartesian.ParserError, cartesian.MissingIncludeError) as e:
            raise ConfigError(str(e)) from e
        except OSError as e:
            signals.let_out(e)
            raise ConfigError("%s: %s" % (path, e.strerror)) from e

    def _file(self, path):
        content = read_toml(path)
        unknown = sorted(set(content) - {"params", "tests", "objects"})
        if unknown:
            raise ConfigError("%s: unknown table [%s]: there are [params], [tests.NAME], [objects.NAME]"
                              % (path, unknown[0]))
        found = _texts(content.get("params", {}), path)
        for name, table in _tables(content, "objects", path):
            found.update({"%s_%s" % (key, name): value for key, value in table.items()})
        self._said.update(dict.fromkeys(found, path))
        if self.variants is None:
            self._base.update(found)
        else:
            for key, value in found.items():
                self.variants.put(key, value)
        for name, table in _tables(content, "tests", path):
            self.tests.setdefault(name, {}).update(table)
            self._said.update(dict.fromkeys(table, path))


def _of_cloud_init(params):
    """params (dict), with who logs in by which key, and with other defaults, where cloud-init says that."""
    if params.get("cloud_init") != "yes":
        return params
    from virtvm.guest import cloud_init
    try:
        return {**cloud_init.defaults(params), **params, **cloud_init.completion(params)}
    except cloud_init.SeedError as e:
        raise ConfigError(str(e)) from e


def _tables(content, name, path):
    """The tables [name.NAME] of a file: (NAME, params)."""
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise ConfigError("%s: a table is expected, not %r" % (path, found))
    return [(key, _texts(table, path)) for key, table in found.items()]


def read_toml(path):
    """A TOML file's content (dict).  ConfigError."""
    try:
        import tomllib
    except ImportError:
        try:
            import tomli as tomllib
        except ImportError:
            raise ConfigError("%s: TOML needs tomli before CPython 3.11: pip install 'virtvm[run]'" % path) from None
    try:
        with open(path, "rb") as f:
            return tomllib.load(f)
    except OSError as e:
        signals.let_out(e)
        raise ConfigError("%s: %s" % (path, e.strerror)) from e
    except tomllib.TOMLDecodeError as e:
        raise ConfigError("%s: %s" % (path, e)) from e


def text(value):
    """A Python value as the text that a param is, or None if it can't be one."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        items = [text(item) for item in value]
        return None if None in items else " ".join(items)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return str(value) if isinstance(value, (str, int, float)) else None


_BOOTABLE = ("kernel", "image_name", "cdrom", "vm_class", "extra_params")
NO_GUEST = "no guest: name one by --guest DIR, --image FILE, or --config FILE"


def names_guest(params):
    """Whether params say what to boot, or that something else than QEMU does it (bool)."""
    return any(value for key, value in params.items()
               if key in _BOOTABLE or (key.startswith(("image_name_", "cdrom_", "kernel_", "vm_class_"))
                                       and not key.startswith("kernel_crash_patterns")))


def _texts(table, path):
    """A table with its values as params are: texts."""
    if not isinstance(table, dict):
        raise ConfigError("%s: a table is expected, not %r" % (path, table))
    return hidden_items({key: _text(value, key, path) for key, value in table.items()})


def _text(value, key, path):
    found = text(value)
    if found is not None:
        return found
    raise ConfigError("%s: %s: a param is a text, a number, true, false, or a list of these" % (path, key))


def _pair(text):
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError("%r: a param is given as KEY=VALUE" % text)
    return key.strip(), hidden(value) if is_secret(key) else value


def _built(folder, build):
    from virtvm import guest
    from virtvm.guest.full import kind_in
    kind = kind_in(folder)
    if not build:
        return kind(folder, guest.PASSWORD)
    above = os.path.dirname(os.path.abspath(folder))
    if not signals.isdir(above):        # a typing error, perhaps: no tree of folders is made of that
        raise ConfigError("no guest in %s, and it can't be built there: %s: %s" % (
            folder, above, os.strerror(errno.ENOENT)))

    def log(line):
        if line != "up to date":
            print("virtvm: guest in %s: %s" % (folder, line), file=sys.stderr, flush=True)
    try:
        return guest.build(folder, log=log, kind=kind)
    except guest.GuestBuildError as e:
        raise ConfigError("no guest in %s: %s" % (folder, e)) from e


def _existing(path):
    path = os.path.abspath(os.path.expanduser(path))
    if not signals.exists(path):
        raise ConfigError("%s: %s" % (path, os.strerror(errno.ENOENT)))
    return path


def _image_format(options, path):
    from virtvm import disk_header
    given = dict(map(_pair, getattr(options, "virtvm_param", None) or []))
    try:
        return disk_header.checked_format(
            path, getattr(options, "virtvm_image_format", None) or given.get("image_format"),
            getattr(options, "virtvm_image_backing", None) or [])
    except OSError as e:
        signals.let_out(e)
        raise ConfigError("%s: %s" % (path, e.strerror)) from e
    except disk_header.ImageError as e:
        raise ConfigError(str(e)) from e


def image_format(path):
    """Format (str) of a disk image, by its first bytes, which a guest may have written."""
    from virtvm import disk_header
    return disk_header.by_header(path)
