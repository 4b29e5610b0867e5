"""virtvm.host.load by its older name: the same module."""

import sys

from virtvm.host import load

sys.modules[__name__] = load
