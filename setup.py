"""Builds the two extension modules; everything else is in pyproject.toml.

Environment: VIRTVM_WERROR=1 turns warnings into errors; VIRTVM_SANITIZE names
sanitizers ("address,undefined"); VIRTVM_NO_EXTENSIONS=1 leaves the modules out (an
editable install that build_ext --inplace completes); VIRTVM_CORE_LIBRARY names an archive
of the core that is compiled already, for builds on several versions of CPython in a row;
CC chooses the compiler, as always.
"""

import os
import subprocess
import tempfile
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import SetupError

CORE = sorted(glob("ext/core/*.c") + glob("ext/core/*/*.c"))
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

# OpenSSL 3 makes transfers faster; without it everything works.
OPENSSL = ("#include <openssl/provider.h>\n#include <openssl/evp.h>\n"
           "int main(void) { return OSSL_LIB_CTX_set0_default(NULL) == NULL; }")


class BuildExt(build_ext):
    """build_ext that says in one line what is missing before it compiles."""

    def build_extensions(self):
        for program, libraries, missing in NEEDS:
            if not self.compiles(program, libraries):
                raise SetupError("virtvm cannot be built: " + missing)
        if self.compiles(OPENSSL, ["-lcrypto"]):
            for ext in self.extensions:
                if "ssh2" in ext.libraries:
                    ext.define_macros.append(("VT_HAVE_LIBCRYPTO", "1"))
                    ext.libraries.append("crypto")
        super().build_extensions()

    def compiles(self, program, libraries):
        """Whether the program compiles; with libraries (a list of flags), also links."""
        paths = ["-I" + path for path in self.compiler.include_dirs + self.include_dirs]
        paths += ["-L" + path for path in self.compiler.library_dirs + self.library_dirs]
        with tempfile.TemporaryDirectory() as scratch:
            output = ["-o", os.path.join(scratch, "probe")]
            how = ["-fsyntax-only"] if libraries is None else output + libraries
            command = self.compiler.compiler_so + paths + ["-x", "c", "-"] + how
            try:
                done = subprocess.run(command, input=program.encode(), check=False,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            except OSError:             # the compiler itself is not there
                return False
            return done.returncode == 0


def extension(name, sources, depends=(), **more):
    return Extension(name, sources=sources, include_dirs=["ext/core"], depends=[*HEADERS, *depends],
                     extra_compile_args=CFLAGS, extra_link_args=LDFLAGS, **more)


EXTENSIONS = [
    extension("virtvm.virt_vm", sorted(glob("ext/virt_vm/*.c")) + ["ext/core/console/crash.c"]),
    extension("virtvm._session", sorted(glob("ext/session/*.c")) + ([] if COMPILED else CORE),
              extra_objects=COMPILED, depends=COMPILED, libraries=["ssh2"]),
]
if os.environ.get("VIRTVM_NO_EXTENSIONS") == "1":
    EXTENSIONS = []

setup(cmdclass={"build_ext": BuildExt}, ext_modules=EXTENSIONS)
