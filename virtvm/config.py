"""Params of a test run: defaults, then a guest or an image, then files, then the command line.

Later ones win.  A TOML file has a table [params]; [tests.NAME] holds for the test NAME alone, and
[objects.NAME] for an image, NIC, VM or other object of that name (as KEY_NAME does).  A file in
autotest's own format (any other suffix) gives a run for each of its variants.
"""

import os

DEFAULTS = {
    "vm_type": "kvm", "main_vm": "vm1", "vms": "vm1", "start_vm": "yes", "kill_vm": "no",
    "kill_vm_gracefully": "no", "kill_unresponsive_vms": "no",
    "mem": "1024", "smp": "1", "display": "none",
    "images": "", "image_format": "qcow2", "image_size": "10G", "drive_format": "virtio",
    "image_snapshot": "yes",
    "nics": "nic1", "nic_mode": "user", "nic_model": "virtio",
    "redirs": "remote_shell", "guest_port_remote_shell": "22",
    "username": "root", "password": "",
    "shell_client": "ssh", "shell_port": "22", "shell_prompt": r"[\#\$]\s*$", "shell_linesep": r"\n",
    "status_test_command": "echo $?",
    "file_transfer_client": "scp", "file_transfer_port": "22",
    "transfer_type": "remote", "transfer_timeout": "1000",
    "shutdown_command": "shutdown -h now", "reboot_command": "shutdown -r now",
    "login_timeout": "360", "boot_timeout": "360", "mig_timeout": "3600", "migration_protocol": "tcp",
    "cpu_chk_cmd": "nproc", "mem_chk_cmd": "grep MemTotal: /proc/meminfo",
    "mem_chk_cur_cmd": "grep MemTotal: /proc/meminfo",
    "time_command": "date +'TIME: %a %m/%d/%Y %H:%M:%S.%N'",
    "time_filter_re": r"(?:TIME: \w\w\w )(.{19})", "time_format": "%m/%d/%Y %H:%M:%S",
    "keep_ppm_files": "no", "keep_screendumps": "no", "convert_ppm_files_to_png": "yes",
}


class ConfigError(Exception):
    """The configuration can't be used: says which file or option, and why."""


def add_arguments(add, prefix="--"):
    """Declare the options of a run by calling add(), as argparse's and pytest's functions do."""
    def option(name, help, **more):
        add(prefix + name, dest="virtvm_" + name.replace("-", "_"), help=help, **more)

    option("guest", "folder of a guest made by `virtvm guest build` (it is built there if need be)", metavar="DIR")
    option("image", "disk image of the guest; it is not written to unless --write-image is given", metavar="FILE")
    option("write-image", "let the guest write to the image", action="store_true")
    option("kernel", "kernel to boot", metavar="FILE")
    option("initrd", "its initial RAM disk", metavar="FILE")
    option("config", "file with params: TOML, or autotest's .cfg", metavar="FILE", action="append")
    option("only", "only the variants that a filter of autotest's means", metavar="FILTER", action="append")
    option("no", "not those that it means", metavar="FILTER", action="append")
    option("param", "a param; may be given often", metavar="KEY=VALUE", action="append")


def load(options):
    """The Config of a namespace with add_arguments()' options.  ConfigError.

    Files are read now, and a guest is built: do it once for a run.
    """
    return Config(options)


def _is_toml(path):
    return path.endswith(".toml")


class Config:
    """What a run's options and files say.

    params: of all tests; tests: {name: params of its own}; given: on the command line.

    variants: a cartesian.Parser, or None.
    """

    def __init__(self, options):
        self.params, self.tests, self.variants = dict(DEFAULTS), {}, None
        self._named_image = {}          # by an option: a file's does not replace it
        self._guest(options)
        self._image(options)
        for path in getattr(options, "virtvm_config", None) or []:
            if _is_toml(path):
                self._file(path)
            else:
                self._variants(path, options)
        self.given = dict(map(_pair, getattr(options, "virtvm_param", None) or []))
        self.params.update(self._named_image)
        self.params.update(self.given)

    def _guest(self, options):
        folder = getattr(options, "virtvm_guest", None)
        if folder:
            from virtvm import guest
            self.params.update(guest.build(folder).params())
        for name in ("kernel", "initrd"):
            path = getattr(options, "virtvm_" + name, None)
            if path:
                self.params[name] = _existing(path)

    def _image(self, options):
        path = getattr(options, "virtvm_image", None)
        if not path:
            return
        path = _existing(path)
        self._named_image = {
            "image_raw_device": "yes", "image_name": path, "image_format": image_format(path),
            "image_snapshot": "no" if getattr(options, "virtvm_write_image", False) else "yes"}
        self.params.update(self._named_image, images=self.params["images"] or "image1")

    def params_for(self, name):
        """The params (Params) of the test called name; of several variants, the first's."""
        for _shortname, params in self.runs(name):
            return params
        return self._params(name, {})

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
                yield 0, name, self._params(name, {})
            return
        for number, found in enumerate(self.variants.get_dicts()):
            if name is None or found.get("type") == name:
                yield number, found["shortname"], self._params(found.get("type"), found)

    def _params(self, name, variant):
        """The params (Params) of a test; variant: what its variant says (dict)."""
        from virtvm.companions.params import Params
        params = Params(self.params)
        params.update(variant)
        params.update(self.tests.get(name, {}))
        params.update(self._named_image)
        params.update(self.given)
        for key in ("type", "name", "shortname"):
            params.setdefault(key, name)
        return params

    def _variants(self, path, options):
        from virtvm.autotest import cartesian
        if self.variants is None:
            self.variants = cartesian.Parser()
        try:
            self.variants.parse_file(path)
            for text in getattr(options, "virtvm_only", None) or []:
                self.variants.only_filter(text)
            for text in getattr(options, "virtvm_no", None) or []:
                self.variants.no_filter(text)
        except (cartesian.ParserError, cartesian.MissingIncludeError) as e:
            raise ConfigError(str(e)) from e
        except OSError as e:
            raise ConfigError("%s: %s" % (path, e.strerror)) from e

    def _file(self, path):
        content = read_toml(path)
        unknown = sorted(set(content) - {"params", "tests", "objects"})
        if unknown:
            raise ConfigError("%s: unknown table [%s]: there are [params], [tests.NAME], [objects.NAME]"
                              % (path, unknown[0]))
        self.params.update(_texts(content.get("params", {}), path))
        for name, table in content.get("objects", {}).items():
            self.params.update({"%s_%s" % (key, name): value for key, value in _texts(table, path).items()})
        for name, table in content.get("tests", {}).items():
            self.tests.setdefault(name, {}).update(_texts(table, path))


def read_toml(path):
    """A TOML file's content (dict).  ConfigError."""
    try:
        import tomllib
    except ImportError:
        import tomli as tomllib
    try:
        with open(path, "rb") as f:
            return tomllib.load(f)
    except OSError as e:
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
    return str(value) if isinstance(value, (str, int, float)) else None


def names_guest(params):
    """Whether params say what to boot, or that something else than QEMU does it (bool)."""
    return bool(params.get("kernel") or params.get("image_name") or params.get("vm_class"))


def _texts(table, path):
    """A table with its values as params are: texts."""
    if not isinstance(table, dict):
        raise ConfigError("%s: a table is expected, not %r" % (path, table))
    return {key: _text(value, key, path) for key, value in table.items()}


def _text(value, key, path):
    found = text(value)
    if found is not None:
        return found
    raise ConfigError("%s: %s: a param is a text, a number, true, false, or a list of these" % (path, key))


def _pair(text):
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError("%r: a param is given as KEY=VALUE" % text)
    return key.strip(), value


def _existing(path):
    path = os.path.abspath(os.path.expanduser(path))
    if not os.path.exists(path):
        raise ConfigError("%s: there is no such file" % path)
    return path


def image_format(path):
    """Format (str) of a disk image, by its first bytes; "raw" for none that says what it is."""
    with open(path, "rb") as f:
        head = f.read(8)
    for magic, name in ((b"QFI\xfb", "qcow2"), (b"KDMV", "vmdk"), (b"vhdxfile", "vhdx"), (b"conectix", "vpc"),
                        (b"QED\0", "qed")):
        if head.startswith(magic):
            return name
    return "raw"
