"""Sessions: processes, shells and consoles, with aexpect's interface, over the session engine.

spawn, tail, expect, shell, remote, console: a class each, each on the one before it.  callbacks:
what calls users' functions; local: how a command line is started; text, deadline: for all of
them.  generation: where 2011's aexpect and today's differ.  Users import the classes from
virtvm.companions.aexpect.
"""
