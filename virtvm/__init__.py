"""virtvm: test virtual machines from Python."""

__version__ = "0.1.0"
