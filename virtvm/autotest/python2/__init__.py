"""Python 2 on Python 3: translate.py makes a module's code, the rest is what Python 2 had.

syntax.py reads Python 2, dialect.py tells whether it must, semantics.py gives operations their older
meaning (docs/internals/translation.rst).

Nothing of the interpreter is changed: a translated module gets builtins of its own (builtins_for), and
its import statements get what module() has under a name.
"""


def builtins_for(module):
    """Names (dict) that are added to the builtins of this module, a translated one."""
    from virtvm.autotest.python2 import builtins, runtime
    return dict(builtins.NAMES, __virtvm__=runtime)


def module(name, fromlist=()):
    """What an import statement of Python 2 gets for this name, or None if what Python 3 has will do."""
    from virtvm.autotest.python2 import modules
    return modules.find(name, fromlist)
