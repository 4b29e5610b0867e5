"""virtvm.host.macs by its older name: the same module."""

import sys

from virtvm.host import macs
from virtvm.host.macs import *         # noqa: F403 (for those who read types)

sys.modules[__name__] = macs
