"""virtvm.session.callbacks by its older name: the same module."""

import sys

from virtvm.session import callbacks

sys.modules[__name__] = callbacks
