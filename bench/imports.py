#!/usr/bin/env python3
"""What `import virtvm.virt_vm` costs over an interpreter that has os, logging, time, glob and re."""

import argparse
import os
import subprocess
import sys
import time

import common

BARE = "import os, logging, time, glob, re"
HEAVY = ["subprocess", "asyncio", "pytest", "qemu.qmp", "rich", "virtvm._session"]


# Compiled code is kept, as it is for an installed package; the warm-up makes it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT["PYTHONPYCACHEPREFIX"] = os.path.join(common.TOP, "build", "bench", "pycache")


def run(code):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    args = parser.parse_args()
    found = common.summary(common.rounds({"bare": lambda: run(BARE),
                                          "virt_vm": lambda: run(BARE + "; import virtvm.virt_vm")}, args.rounds))
    code = "import virtvm.virt_vm, sys; print(' '.join(name for name in %r if name in sys.modules))" % HEAVY
    heavy = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    extra = found["virt_vm"]["median"] - found["bare"]["median"]
    print("import virtvm.virt_vm: %.1f ms over %.1f ms; loaded besides: %s" % (
        extra * 1000, found["bare"]["median"] * 1000, " ".join(heavy) or "nothing heavy"))
    common.save("imports", {"times": found, "extra": extra, "heavy": heavy})


if __name__ == "__main__":
    main()
