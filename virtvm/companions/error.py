"""virtvm.outcomes by its older name: the same module."""

import sys

from virtvm import outcomes
from virtvm.outcomes import *         # noqa: F403 (for those who read types)

sys.modules[__name__] = outcomes
