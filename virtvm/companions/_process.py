"""virtvm.host.commands by its older name: the same module."""

import sys

from virtvm.host import commands

sys.modules[__name__] = commands
