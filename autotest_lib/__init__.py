"""autotest's package of that name, for tests that import it: served by virtvm.autotest.

A genuine one that stands earlier on sys.path, or is imported already, is what tests get.
PYTEST_DONT_REWRITE: it may be imported before pytest starts.
"""

from virtvm.autotest import serve as _serve

__virtvm__ = True       # tells it from a genuine one

_serve()
