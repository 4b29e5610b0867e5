# raise with commas, except with commas, and what an exception was.
import exceptions
import os
import sys


def check(condition):
    if not condition:
        raise AssertionError, "condition"

try:
    check(False)
except AssertionError, e:
    pass
print e, e.message, e[0], len(e.args)
try:
    raise KeyError, ("a", "b")
except KeyError, e:
    print e.args, e[1], repr(e.message)
try:
    raise KeyError
except (KeyError, ValueError), problem:
    print problem.args, repr(str(problem))
try:
    try:
        check(0)
    except AssertionError:
        kind, value, traceback = sys.exc_info()
        raise kind, value, traceback
except AssertionError, e:
    print "again", e, traceback is not None
failures = [(ValueError, "from a list")]
try:
    raise failures[0][0](failures[0][1])
except ValueError, e:
    print e
try:
    raise failures[0][0], failures[0][1]
except StandardError, e:
    print e.__class__.__name__, e
try:
    os.open("/nonexistent", 0)
except OSError, (number, text):
    print number, text
try:
    open("/nonexistent/file")
except IOError, e:
    number, text = e
    print number, text, e.filename, e.errno


class Holder:
    error = None

holder = Holder()
try:
    {}["no"]
except KeyError, holder.error:
    pass
print holder.error.args


def nested():
    try:
        return int("x")
    except ValueError, e:
        try:
            raise RuntimeError("%s" % e[0][:7])
        except RuntimeError, inner:
            pass
    return str(e)[:7], str(inner)

print nested()


def uses_before_global():
    first = total
    global total
    total = first + 1

total = 1
uses_before_global()
print total, issubclass(exceptions.IOError, StandardError), sys.exc_clear()
async = "a name"
print async
