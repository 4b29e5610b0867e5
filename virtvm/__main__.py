"""python -m virtvm: the virtvm command."""

import sys

from virtvm.cli import main

sys.exit(main())
