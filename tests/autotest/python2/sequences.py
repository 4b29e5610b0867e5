# Lists where Python 3 has iterators, dictionaries, tuples as parameters.
import itertools

print map(None, [1, 2], [3]), map(lambda x: x * 2, (1, 2)), map(str, range(3)), map(lambda a, b: (a, b), [1], [2, 3])
print filter(None, (0, 1)), filter(lambda c: c != "a", "banana"), filter(lambda n: n > 1, [1, 2, 3])
print zip([1, 2], "ab"), range(3) + [9], range(10, 0, -3), xrange(3)[1], reduce(lambda a, b: a + b, [1, 2, 3])
print zip(*[(1, 2), (3, 4)])[1], list(itertools.izip("ab", [1, 2])), list(itertools.imap(abs, [-1]))
print [x for x in 1, 2, 3], [n for n in range(6) if n % 2], apply(max, (1, 2)), apply(dict, (), {"k": "v"})
sizes = {"b": 1, "a": 2}
keys = sizes.keys()
keys.sort()
print keys, sizes.has_key("a"), sizes.has_key("z"), sizes.iteritems().next() in sizes.items(), len(sizes.values())
for key in sizes.keys():
    del sizes[key]
print sizes, {1: 2}.items()[0], sorted({1: 2}.iterkeys())


def area((x1, y1), (x2, (y2, name))=(3, (4, "corner"))):
    """Has a docstring."""
    return (x2 - x1) * (y2 - y1), name

print area((1, 1)), area((0, 0), (2, (2, "two"))), area.__doc__
print sorted({"a": (1, 2), "b": (0, 3)}.items(), lambda (k, v), (k2, v2): cmp(v[0], v2[0]))
pick = lambda (a, (b, c)), d: [a, b, c, d]
print pick((1, (2, 3)), 4)
for number in map(lambda x: x + 1, [1, 2]):
    print number,
print
for i, pair in enumerate(zip("ab", "cd")):
    print i, pair
