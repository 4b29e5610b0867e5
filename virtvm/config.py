"""virtvm.params.config by its older name: the same module."""

import sys

from virtvm.params import config

sys.modules[__name__] = config
