"""apt in a folder of a test's own: with packages that are made there, or those of another Debian."""

import glob
import hashlib
import os
import subprocess


class Apt:
    """apt-get with nothing of this host's: for processes with environment()."""

    def __init__(self, folder, source):
        """source: a line of sources.list."""
        self.folder = str(folder)
        for name in ("lists/partial", "archives/partial", "parts/apt.conf.d", "parts/preferences.d"):
            os.makedirs(os.path.join(self.folder, "apt", name), exist_ok=True)
        self._write("apt/status", "")
        self._write("apt/sources.list", source + "\n")
        settings = {"Dir::Etc": "parts", "Dir::Etc::sourcelist": "sources.list", "Dir::State::lists": "lists",
                    "Dir::State::status": "status", "Dir::Cache": "", "Dir::Cache::archives": "archives"}
        self._write("apt.conf", "".join('%s "%s";\n' % (key, os.path.join(self.folder, "apt", value))
                                        for key, value in settings.items())
                    + 'APT::Architecture "amd64";\nAPT::Architectures {"amd64";};\nAPT::Sandbox::User "root";\n'
                      'Acquire::Languages "none";\nAcquire::Check-Valid-Until "false";\n')

    def _write(self, name, content, mode=0o644):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(path, mode)

    def environment(self):
        return {"APT_CONFIG": os.path.join(self.folder, "apt.conf")}

    def update(self):
        subprocess.run(["apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL,
                       env=dict(os.environ, **self.environment()))


class Release(Apt):
    """Another Debian's packages, from where this host has its own."""

    def __init__(self, folder, name):
        mirrors = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
                                  "Origin: Debian", "Label: Debian"], stdout=subprocess.PIPE).stdout.decode().split()
        keys = glob.glob("/usr/share/keyrings/debian-archive-keyring.*")
        super().__init__(folder, "deb [signed-by=%s] %s %s main" % (keys[0], mirrors[0], name))


class Archive(Apt):
    """Packages that are made here."""

    def __init__(self, folder):
        super().__init__(folder, "deb [trusted=yes] file:%s/pool ./" % folder)
        self._index = ""
        os.mkdir(os.path.join(self.folder, "pool"))

    def add(self, name, files=(), depends="", version="1.0-1"):
        """A package.  files: {path: content (bytes), or a path of this host's to copy}."""
        tree = os.path.join("tree", name, version)
        control = "Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: tests <t@example.org>\n" % (name, version)
        control += "Depends: %s\n" % depends if depends else ""
        self._write(os.path.join(tree, "DEBIAN/control"), control + "Description: for tests\n")
        for path, content in dict(files).items():
            if isinstance(content, str):
                with open(content, "rb") as f:
                    content = f.read()
            self._write(os.path.join(tree, path), content, 0o755)
        file = "%s_%s_amd64.deb" % (name, version.replace(":", "%3a"))
        path = os.path.join(self.folder, "pool", file)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", os.path.join(self.folder, tree), path],
                       check=True, stdout=subprocess.DEVNULL)
        with open(path, "rb") as f:
            content = f.read()
        self._index += control + "Filename: ./%s\nSize: %d\nSHA256: %s\nDescription: for tests\n\n" % (
            file, len(content), hashlib.sha256(content).hexdigest())

    def rename(self, name, other):
        """What apt's lists are to call a package."""
        self._index = self._index.replace("Package: %s\n" % name, "Package: %s\n" % other)

    def publish(self):
        """Let apt know of the packages that were added."""
        self._write("pool/Packages", self._index)
        self.update()

    def remove(self, name):
        """The files of a package go, though apt's lists name them."""
        for path in glob.glob(os.path.join(self.folder, "pool", name + "_*")):
            os.unlink(path)
