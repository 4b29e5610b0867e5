"""virtvm.params.params by its older name: the same module."""

import sys

from virtvm.params import params

sys.modules[__name__] = params
