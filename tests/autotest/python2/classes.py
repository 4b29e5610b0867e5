# Classes and their special methods; pickling by __getinitargs__.
import cPickle
import inspect
import new
import os
import types


class Counted:
    made = []

    def __init__(self, value):
        Counted.made.append(value)
        self.value = value
        self.extra = "lost?"

    def __getinitargs__(self):
        return (self.value,)

    def __nonzero__(self):
        return self.value > 1

    def __cmp__(self, other):
        return cmp(self.value, other.value)

    def __div__(self, other):
        return "%s over %s" % (self.value, other)


class Child(Counted):
    pass


class Three:
    def __init__(self):
        self.count = 0

    def __iter__(self):
        return self

    def next(self):
        self.count += 1
        if self.count > 3:
            raise StopIteration
        return self.count


class Register(type):
    def __new__(cls, name, bases, namespace):
        namespace["registered"] = name
        return type.__new__(cls, name, bases, namespace)


class Registered(object):
    __metaclass__ = Register


class Equal(object):
    def __eq__(self, other):
        return True

one, two = Counted(1), Counted(2)
print bool(one), bool(two), one < two, one == Counted(1), one != two, max(one, two).value, one / 4
print sorted([two, one])[0].value, len(set([Equal()]))
print list(Three()), Three().next(), Registered.registered
