"""Test parameters, and the environment that keeps VMs from test to test."""

import logging

from virtvm import signals
from virtvm.scratch import write_whole


class _KeepsType(dict):
    """A dict whose copies have its class and its attributes."""

    def copy(self):
        """Return a shallow copy of the same class."""
        new = type(self).__new__(type(self))
        dict.update(new, self)
        new.__dict__.update(self.__dict__)
        return new

    __copy__ = copy


class Params(_KeepsType):
    """Parameters of a test: names to texts, some of them for one object only.

    repr() shows no password: it ends up in logs and reports.
    """

    def __repr__(self):
        from virtvm.companions.secrets import masked
        return repr(masked(self))

    def objects(self, key):
        """Return the names of the objects listed under key (list of str).

        params["nics"] == "nic1 nic2" gives ["nic1", "nic2"]; no such key, [].
        """
        return self.get(key, "").split()

    def object_params(self, obj_name):
        """Return a copy in which "KEY_<obj_name>" has replaced KEY.

        The rest is unchanged: params.object_params("vm1")["mem"] is
        params["mem_vm1"] if there is one, else params["mem"].
        """
        suffix = "_" + obj_name
        own = {key.split(suffix)[0]: value for key, value in self.items()
               if key.endswith(suffix)}
        new = self.copy()
        new.update(own)
        return new


class EnvSaveError(Exception):
    """The environment could not be written to its file."""


def is_vm(obj):
    """Tell whether obj is a virtual machine (bool).

    A class named VM counts, as it always has, and so does every subclass of a
    BaseVM, ours or another tree's.
    """
    cls = obj.__class__
    return cls.__name__ == "VM" or any(base.__name__ == "BaseVM" for base in cls.__mro__)


class Env(_KeepsType):
    """What outlives a test: VMs and other things by name, kept in a pickle file.

    filename: the file (None: kept in memory only, until save() names one).
    version: an environment saved with a lower one is not used.  A file that
    can't be read, or is too old, gives a new environment and a warning.
    Unpickling runs what the file says: it must be the user's own.
    """

    # Readable by every Python we run on; unlike 0 and 1 it takes slots and
    # most C types, so that what hangs on a VM survives too.
    _PROTOCOL = 4

    def __init__(self, filename=None, version=0):
        dict.__init__(self)
        self._filename = filename
        self.update(_load_env(filename, version) or {"version": version})

    def save(self, filename=None):
        """Write everything to filename, by default the one given at the start.

        The file is replaced as a whole, readable by its owner alone (params
        hold passwords).  Raises EnvSaveError without a name or if something
        can't be pickled, OSError if it can't be written; then an older file
        stays as it was.
        """
        filename = filename or self._filename
        if filename is None:
            raise EnvSaveError("No filename specified for this env file")
        write_whole(signals.realpath(filename), self._pickled())

    def _pickled(self):
        import pickle
        try:
            return pickle.dumps(dict(self), self._PROTOCOL)
        except Exception as e:
            signals.let_out(e)
            raise EnvSaveError("Could not save env: %s: %s"
                               % (self._culprit(pickle) or type(e).__name__, e)) from e

    def _culprit(self, pickle):
        """Which value it is that can't be pickled, for the message."""
        for key, value in list(self.items()):
            try:
                pickle.dumps(value, self._PROTOCOL)
            except Exception as e:
                signals.let_out(e)
                return "%r can't be pickled" % (key,)
        return None

    def get_all_vms(self):
        """Return all VMs (list)."""
        return [obj for obj in list(self.values()) if is_vm(obj)]

    def get_vm(self, name):
        """Return the VM called name, or None."""
        return self.get("vm__%s" % name)

    def register_vm(self, name, vm):
        """Keep vm under name."""
        self["vm__%s" % name] = vm

    def unregister_vm(self, name):
        """Forget the VM called name.  KeyError if there is none."""
        del self["vm__%s" % name]

    def register_installer(self, installer):
        """Keep the installer that was used last."""
        self["last_installer"] = installer

    def previous_installer(self):
        """Return the installer that was used last, or None."""
        return self.get("last_installer")


def _load_env(filename, version):
    """The dict saved in filename, None if there is none that can be used."""
    if not filename or not signals.isfile(filename):
        return None
    import pickle
    try:
        with open(filename, "rb") as f:
            saved = pickle.load(f)
        if saved.get("version", 0) >= version:
            return dict(saved)
        logging.warning("Env file %s has version %s, below %s: not used",
                        filename, saved.get("version", 0), version)
    except Exception as e:      # unpickling can raise anything
        signals.let_out(e)
        logging.warning("Env file %s can't be read, starting with a new one: %s: %s",
                        filename, type(e).__name__, e)
    return None
