"""Autotest's configuration format, in which variants multiply: parsed, then expanded.

syntax.py reads text into statements, filters.py tells which names a filter means, and
expand.py makes the dicts.  cartesian.py is the interface.
"""
