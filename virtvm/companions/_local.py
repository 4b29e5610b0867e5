"""virtvm.session.local by its older name: the same module."""

import sys

from virtvm.session import local

sys.modules[__name__] = local
