"""virtvm.host.state by its older name: the same module."""

import sys

from virtvm.host import state

sys.modules[__name__] = state
