"""virtvm: test virtual machines from Python.

PYTEST_DONT_REWRITE: our own command has imported it when pytest starts.
"""

__version__ = "0.1.0"
