"""Local faults for a program in a process of its own: the n-th call of a function fails.

Here: run(program, *arguments).  In the program: arm(function, folder, n, errno), seen().
"""

import ctypes
import os
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(os.path.abspath(__file__))


def build(folder, name="inject"):
    """Compile a library of this folder's, to be preloaded, into another one; its path."""
    path = os.path.join(folder, name + ".so")
    subprocess.run(["cc", "-std=gnu11", "-O1", "-Wall", "-Wno-nonnull-compare", "-shared", "-fPIC", "-o", path,
                    os.path.join(FOLDER, name + ".c"), "-ldl"], check=True)
    return path


def run(program, *arguments, timeout=120):
    """Run a Python program (a str) with the library; what it prints (str)."""
    with tempfile.TemporaryDirectory(prefix="virtvm-inject-") as folder:
        library = build(folder)
        env = dict(os.environ, LD_PRELOAD=library, VIRTVM_INJECT=library,
                   PYTHONPATH=os.pathsep.join([os.path.dirname(FOLDER), os.environ.get("PYTHONPATH", "")]))
        done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], env=env, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError("status %d: %s" % (done.returncode, done.stdout))
    return done.stdout


def _library():
    return ctypes.CDLL(os.environ["VIRTVM_INJECT"])


def arm(function, folder, n, error):
    """From now on the n-th call (int; 0: the next) on something below the folder fails."""
    _library().inject_arm(function.encode(), os.fsencode(folder), ctypes.c_long(n), ctypes.c_int(error))


def slow(ms):
    """From now on each call that is counted takes so many milliseconds (int) as well."""
    _library().inject_slow(ctypes.c_int(ms))


def seen():
    """How many such calls there were since then (int)."""
    inject_seen = _library().inject_seen
    inject_seen.restype = ctypes.c_long
    return inject_seen()
