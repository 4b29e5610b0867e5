"""Existing autotest tests, unchanged: their imports, and Python 2 on Python 3.

    from virtvm import autotest
    autotest.install(autotest_dir="/srv/autotest")      # if there is one; it need not be
    module = autotest.load_test("tests/boot.py")
    module.run_boot(test, params, env)

`import autotest_lib...` works everywhere, without install().
"""

from virtvm.autotest import older as _older
from virtvm.autotest.imports.problem import Problem

__all__ = ["Problem", "check", "install", "load_test", "serve", "uninstall"]

_older.serve()


def install(autotest_dir=None, tests_dirs=(), everywhere=True):
    """Serve autotest's modules to whoever imports them.

    autotest_dir: the user's own autotest tree (str: its top or its `client`
        folder), which gives what ours lack; by default what the environment
        variable VIRTVM_AUTOTEST_DIR names, else the tree that a test loaded
        later is found in.  FileNotFoundError if there is none.
    tests_dirs: folders (str) of tests that import each other.
    everywhere: serve `common` and `autotest` as well, not only `autotest_lib`,
        unless there is something of that name on sys.path.  (Files that are
        loaded here get ours in any case.)

    A genuine autotest that is imported already stays; then virtvm.virt_vm uses
    its error, utils and virt_utils.  May be called again, to add to it.
    """
    from virtvm.autotest.imports import finder
    finder.install(autotest_dir, tests_dirs, everywhere)


def serve():
    """What `import autotest_lib` asks for: install() for this name alone."""
    install(everywhere=False)


def uninstall():
    """Undo install(), and forget the modules that were served."""
    from virtvm.autotest.imports import finder
    finder.uninstall()


def load_test(path):
    """Return the module (once made, always the same) that a test file holds.

    path: the file, in Python 3 or in Python 2.  The module has a name of its
    own, so that a test called unittest hides nothing.  Raises OSError,
    SyntaxError (with the file's own lines) or what the file itself raises.
    """
    from virtvm.autotest.imports import finder
    return finder.load_test(path)


def check(paths):
    """Return what will not work in test files (list of Problem), running none of them.

    paths: files (str).  Files of the same folder that they import are looked at, too.
    """
    from virtvm.autotest.imports import checker
    return checker.check(paths)
