"""Where pytest's configuration keeps what the plugin's parts share."""

import pytest

RUNNER = pytest.StashKey()          # of the Runner, once there is one
