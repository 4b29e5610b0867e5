"""Builds the two extension modules; everything else is in pyproject.toml.

Environment: VIRTVM_WERROR=1 turns warnings into errors; VIRTVM_SANITIZE names
sanitizers ("address,undefined"); VIRTVM_COVERAGE=1 counts what runs; VIRTVM_NO_EXTENSIONS=1 leaves the modules out (an
editable install that build_ext --inplace completes); VIRTVM_CORE_LIBRARY names an archive
of the core that is compiled already, for builds on several versions of CPython in a row;
CC chooses the compiler, as always.
"""

import logging
import os
import re
import shlex
import subprocess
import tempfile
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import SetupError

CORE = sorted(glob("ext/core/*/*.c"))
HEADERS = sorted(glob("ext/**/*.h", recursive=True) + glob("ext/**/*.def", recursive=True))
COMPILED = [path for path in [os.environ.get("VIRTVM_CORE_LIBRARY")] if path]
CFLAGS = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-fvisibility=hidden",
          "-fstack-protector-strong",
          "-ffile-prefix-map=%s=." % os.getcwd()]      # same bytes wherever it is built
LDFLAGS = []

if os.environ.get("VIRTVM_WERROR") == "1":
    CFLAGS.append("-Werror")
if os.environ.get("VIRTVM_SANITIZE"):
    SANITIZE = "-fsanitize=" + os.environ["VIRTVM_SANITIZE"]
    CFLAGS += [SANITIZE, "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g", "-O1"]
    LDFLAGS.append(SANITIZE)
if os.environ.get("VIRTVM_COVERAGE") == "1":
    CFLAGS += ["--coverage", "-O1"]
    LDFLAGS.append("--coverage")

# What the build needs: a program that tries it, how to link it, and what is
# missing, in words, when that fails.
NEEDS = [
    ("int main(void) { return 0; }", [],
     "a working C compiler is missing: install the package gcc"
     " (Debian: apt-get install gcc libc6-dev)"),
    ("#include <Python.h>\nint main(void) { return 0; }", None,
     "Python.h is missing: install the package python3-dev (Debian: apt-get install python3-dev)"),
    ("#include <libssh2.h>\nint main(void) { return libssh2_init(0); }", ["-lssh2"],
     "libssh2.h or libssh2 is missing: install the package libssh2-1-dev"
     " (Debian: apt-get install libssh2-1-dev)"),
]

OLDEST_LIBSSH2 = (1, 10)
LIBSSH2_TOO_OLD = "libssh2 %s is too old: 1.10 or later is needed (Debian 12 and later have it)"
# What 1.11 brought:
LACKS = "libssh2 %s is there: it has no RSA keys with SHA-2, no AES-GCM, no chacha20-poly1305 and no encrypt-then-MAC"

# OpenSSL 3 makes transfers faster; without it everything works.
OPENSSL = ("#include <openssl/provider.h>\n#include <openssl/evp.h>\n"
           "int main(void) { return OSSL_LIB_CTX_set0_default(NULL) == NULL; }")


# The program that holds sessions which outlive Python: plain C, with what it needs of the core.
KEEPER = "virtvm-keeper"
KEEPER_CORE = ["ext/core/%s.c" % name for name in ("keeper/server", "transport/pty", "base/store", "base/ptree",
                                                   "base/buf", "base/err", "base/io", "base/clock")]
KEEPER_SOURCES = ["ext/keeper/main.c"] + ([] if COMPILED else KEEPER_CORE)


class BuildExt(build_ext):
    """build_ext that says in one line what is missing before it compiles, and builds the keeper, too."""

    def build_extensions(self):
        for program, libraries, missing in NEEDS:
            if not self.compiles(program, libraries):
                raise SetupError("virtvm cannot be built: " + missing)
        self.check_libssh2()
        if self.compiles(OPENSSL, ["-lcrypto"]):
            for ext in self.extensions:
                if "ssh2" in ext.libraries:
                    ext.define_macros.append(("VT_HAVE_LIBCRYPTO", "1"))
                    ext.libraries.append("crypto")
        super().build_extensions()
        if self.extensions:
            self.build_keeper()

    def build_keeper(self):
        """The program lies beside the extension modules."""
        objects = self.compiler.compile(KEEPER_SOURCES, output_dir=self.build_temp, include_dirs=["ext/core"],
                                        debug=self.debug, extra_postargs=CFLAGS)
        folder = os.path.dirname(self.get_ext_fullpath("virtvm._session"))
        self.compiler.link_executable(objects + COMPILED, KEEPER, output_dir=folder, libraries=["util"],
                                      extra_postargs=LDFLAGS)

    def copy_extensions_to_source(self):
        """With --inplace: all is built elsewhere first."""
        super().copy_extensions_to_source()
        built = os.path.join(self.build_lib, "virtvm", KEEPER)
        if os.path.exists(built):
            package = self.get_finalized_command("build_py").get_package_dir("virtvm")
            self.copy_file(built, os.path.join(package, KEEPER))

    def check_libssh2(self):
        """Refuse one that is too old; say what is found, and what it lacks."""
        done = self.compile("#include <libssh2.h>\nfound LIBSSH2_VERSION", ["-E", "-P"])
        version = re.search(r'found "([^"]*)"', done.stdout.decode()).group(1)
        number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        if number < OLDEST_LIBSSH2:
            raise SetupError("virtvm cannot be built: " + LIBSSH2_TOO_OLD % version)
        if number < (1, 11):
            self.warn(LACKS % version)
        else:
            self.announce("libssh2 %s is there" % version, level=logging.INFO)      # not with -q

    def compiles(self, program, libraries):
        """Whether the program compiles; with libraries (a list of flags), also links."""
        link = ["-o", "probe"] + shlex.split(os.environ.get("LDFLAGS", "")) + (libraries or [])
        done = self.compile(program, ["-E"] if libraries is None else link)
        return done is not None and done.returncode == 0

    def compile(self, program, how):
        """Runs the compiler on a program; None if it is not there itself."""
        paths = ["-I" + os.path.abspath(path) for path in self.compiler.include_dirs + self.include_dirs]
        paths += ["-L" + os.path.abspath(path) for path in self.compiler.library_dirs + self.library_dirs]
        with tempfile.TemporaryDirectory() as scratch:
            with open(os.path.join(scratch, "probe.c"), "w") as f:
                f.write(program + "\n")
            try:
                return subprocess.run(self.compiler.compiler_so + paths + ["probe.c"] + how, cwd=scratch, check=False,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            except OSError:
                return None


def extension(name, sources, depends=(), **more):
    return Extension(name, sources=sources, include_dirs=["ext/core", "ext"], depends=[*HEADERS, *depends],
                     extra_compile_args=CFLAGS, extra_link_args=LDFLAGS, **more)


EXTENSIONS = [
    extension("virtvm.virt_vm", sorted(glob("ext/virt_vm/*.c")) + ["ext/core/console/crash.c"]),
    extension("virtvm._session", sorted(glob("ext/session/*.c")) + ([] if COMPILED else CORE),
              extra_objects=COMPILED, depends=COMPILED, libraries=["ssh2"]),
]
if os.environ.get("VIRTVM_NO_EXTENSIONS") == "1":
    EXTENSIONS = []

setup(cmdclass={"build_ext": BuildExt}, ext_modules=EXTENSIONS)
