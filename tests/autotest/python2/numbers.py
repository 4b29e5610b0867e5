# Whole numbers, their texts, and rounding.
import math
import operator
import sys

print 7 / 2, -7 / 2, 7 / 2.0, 7 // 2, 10 % 3, (1 << 40) / 3, 7 / float(2)
x = 7
x /= 2
print x
table = {"a": 9, "b": [5]}
table["a"] /= 2
table["b"][0] /= 2
print table["a"], table["b"]


class Counter:
    total = 100

counter = Counter()
counter.total /= 3
print counter.total, operator.div(7, 2)
samples = [3.5, 1.25, 2.0, 9.0]
samples.sort()
print samples[len(samples) / 2], sum(samples) / len(samples)
print 0777, 0xFFL, 10L, 1e3, 0, 00, 0L
print oct(0), oct(8), oct(64), oct(-8), hex(255), "%o" % 8
print round(2.5), round(-0.5), round(2.675, 2), round(1.15, 1), round(5), round(1234.5, -2)
print math.floor(2.5), math.ceil(2.5), int("12"), long("5"), sys.maxint
print 1 <> 2, 1 <> 1, cmp(1, 2), cmp("b", "a"), cmp(3, 3)
print sorted([3, None, "a", 2]), sorted([3, 1, 2], lambda a, b: cmp(b, a)), sorted("bca", reverse=True)
numbers = [3, 1, 2]
numbers.sort(lambda a, b: b - a)
print numbers
numbers.sort(cmp=lambda a, b: a - b)
print numbers, isinstance(5, (int, long)), eval("7 / 2"), eval("010 + 1")
exec "half = 9 / 2"
print half
space = {}
exec "third = 9 / 3; print third, 5 / 2" in space
print space["third"]
exec("quarter = 9 / 4")
print quarter
