"""What checker.py finds, as virtvm.autotest has it."""

import collections

Problem = collections.namedtuple("Problem", "path line column message")
Problem.__doc__ = "Something in a test that will not work: where (str, int, int from 1) and why (str)."
