# print, strings and what string, types and encode() did.
import os
import string
import sys
import types
import StringIO
from string import digits, join, letters
from types import ListType, StringType

print "a", 1, ("x",), "b" "c",
print "same line"
print "ends in newline\n",
print "tab\t",
print "next"
print
print("call"), "and more"
print ("tuple", 1)
print ("%d") % 5
print >>sys.stdout, "to stdout", `1`, `1, "a"`
out = StringIO.StringIO()
print >>out, "a", 1
print >>out, "b",
print >>out, "c"
print repr(out.getvalue()), out.len
print "\x41 C:\Users\name", len("\u1234"), ur"raw\n", u"u\x41", r"\u"
print repr("\xff\x00"), "%r" % "plain", str(5), str("x"), unicode("y"), unicode(7)
print letters == string.lowercase + string.uppercase, digits, join(["a", "b"], "-"), string.join(["c", "d"])
print string.upper("up"), string.lower("LOW"), string.count("banana", "a"), string.split("a b"), string.replace("aa", "a", "b")
print string.atoi("12") + 1, string.atoi("ff", 16), string.zfill("7", 3), string.find("abc", "c"), string.strip("  x ")
print "abc".translate(string.maketrans("ab", "xy")), "a-b".translate(string.maketrans("", ""), "-")
print "abc".encode("hex"), "616263".decode("hex"), "YQ==\n".decode("base64"), "abc".encode("utf-8"), "abc".decode("ascii")
print type("x") is str, type(letters) == StringType, isinstance([], ListType), isinstance("s", types.StringTypes)
print isinstance("s", basestring), isinstance(u"s", basestring), isinstance(5, basestring), isinstance(u"s", unicode)
print types.FunctionType == type(lambda: 0), types.NoneType == type(None), types.DictType is dict
print unichr(65), chr(66), ord("\xfe"), len(buffer("abcdef", 2)), str(buffer("abcdef", 2, 2)), intern("x")
print os.getcwdu() == os.getcwd(), u"x" == "x", "x" in u"xyz"
if True:
	print "a tab"
        print "and eight blanks"
import re
print re.findall("a\-b\_c|x\i", "a-b_c xi"), re.sub("x(?i)", "y", "Xx"), re.sub(r"\s+(\w)", r"<\1>\d", "a b")
print re.compile("(?m)^b$").search("a\nb").group(), re.split(r"\W+", "a, b"), re.search("\.(\d+)", "1.25").group(1)
print 0.1 + 0.2, str(1 / 3.0), 1e20, 2.0, -0.0, [0.5], 1e16, str(100.0)
print None < 0, "a" > 5, (1, 2) <= (1, 2), 3 >= 2, max(1, None, 3), min([2, 1]), hasattr("x", "upper")
print len(ur"\\u"), len(ur"\u0041"), len(ur"\\\u0041"), len(ur"a\n\'"), ur'\"' + u"'", 7L .__neg__(), 7L.__neg__(), 0777L.__abs__()
print ur"a\"b", ur'c\"d\\', len(ur"\\")
