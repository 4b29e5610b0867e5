# Bytes at the edges: files, pipes, sockets, processes.
import array
import base64
import binascii
import commands
import ConfigParser
import cPickle
import hashlib
import os
import popen2
import Queue
import select
import socket
import struct
import subprocess
import tempfile
import threading
import time
import thread
import zlib

folder = tempfile.mkdtemp()
path = os.path.join(folder, "data")
f = open(path, "w")
f.write("\xff\x00\n\x80abc\r\nend")
print f.closed, f.mode
f.close()
data = file(path).read()
print len(data), repr(data), [ord(c) for c in data], hashlib.md5(data).hexdigest()
for line in open(path, "rb"):
    print repr(line)
f = open(path, "r+")
f.seek(2)
f.write("Z")
f.seek(0)
print repr(f.readline()), f.tell(), repr(f.next()), f.readlines(), isinstance(f, file)
f.close()
print open(path, "rU").read().count("\n"), len(open(path).readlines())
print repr(struct.pack("=I4s", 7, "ab")), struct.unpack("=HB", data[:3]), struct.unpack("4s", "wxyz")
print base64.b64encode(data), repr(base64.b64decode("/wA=")), binascii.hexlify("\x01\xff"), zlib.decompress(zlib.compress("zz"))
print array.array("B", [1, 2, 255]).tostring() == "\x01\x02\xff"
print cPickle.loads(cPickle.dumps({"a": ["\xff"]})) == {"a": ["\xff"]}

near, far = socket.socketpair()
near.send("hello\xfe")
print repr(far.recv(100))
far.sendall("x" * 6)
print near.recv(4), near.recv(4)
reader = near.makefile()
far.send("line 1\nline 2\n")
print reader.readline().strip(), repr(reader.readline()), select.select([near], [], [], 0)[0]
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.bind(("127.0.0.1", 0))
server.listen(1)
client = socket.socket()
client.connect(server.getsockname())
peer, address = server.accept()
client.sendall("\x00\x80")
print repr(peer.recv(10)), address[0]
peer.settimeout(0.01)
try:
    peer.recv(1)
except socket.timeout, e:
    print "timeout:", e
try:
    client.connect(("127.0.0.1", 1))
except socket.error, e:
    print "error", e[0] > 0, e.args[0] == e[0]

process = subprocess.Popen("cat; echo error >&2; exit 3", shell=True, stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
out, err = process.communicate("in\xff")
print repr(out), repr(err), process.returncode
process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
process.stdin.write("written\n")
print process.stdout.readline().strip()
process.stdin.close()
print process.wait(), subprocess.call(["false"])
print commands.getoutput("echo out; echo err >&2"), commands.getstatusoutput("echo hi; exit 3")
print repr(os.popen("echo hi").read()), os.popen("exit 3").close(), os.popen("true").close()
stdin, stdout = os.popen2("cat")
stdin.write("through\n")
stdin.close()
print stdout.read().strip()
fd, name = tempfile.mkstemp(dir=folder)
os.write(fd, "raw\xf0")
os.lseek(fd, 0, 0)
print repr(os.read(fd, 10))
f = os.fdopen(fd, "r+")
f.seek(0)
print len(f.read())
f.close()
temporary = tempfile.NamedTemporaryFile()
temporary.write("abc")
temporary.flush()
print os.path.getsize(temporary.name)

config = ConfigParser.ConfigParser()
config.read([os.path.join(folder, "none")])
open(path, "w").write("[a]\nX = 1 ; note\ny: %(x)s2\nz = yes\n")
config.readfp(open(path))
print config.get("a", "x"), config.get("a", "y"), config.getint("a", "x"), config.get("a", "y", True)
print config.getboolean("a", "z"), config.sections(), sorted(config.items("a")), config.has_option("a", "X")
config.set("a", "n", 5)
try:
    config.get("a", "none")
except ConfigParser.NoOptionError, e:
    print e
safe = ConfigParser.SafeConfigParser()
safe.add_section("s")
safe.set("s", "k", "v")
safe.write(open(path, "w"))
print repr(open(path).read())

queue = Queue.Queue()
lock = thread.allocate_lock()


def put(value):
    queue.put(value)

worker = threading.Thread(target=put, args=("from a thread",))
worker.start()
worker.join()
print worker.isAlive(), queue.get(), time.clock() >= 0, lock.acquire()
event = threading.Event()
print event.isSet(),
event.set()
print event.isSet()
for name in os.listdir(folder):
    os.remove(os.path.join(folder, name))
os.rmdir(folder)


def visit(seen, top, names):
    seen.append((os.path.basename(top), sorted(names)))

folder = tempfile.mkdtemp()
os.mkdir(os.path.join(folder, "below"))
open(os.path.join(folder, "below", "f"), "w").close()
seen = []
os.path.walk(folder, visit, seen)
print seen[1], seen[0][1], __import__("os", globals(), locals(), [], -1) is not None
os.remove(os.path.join(folder, "below", "f"))
os.removedirs(os.path.join(folder, "below"))
path = os.path.join(tempfile.gettempdir(), "lines")
f = open(path, "w", 1)
f.write("line\npart")
print repr(open(path).read())[:6], subprocess.Popen("cat", stdin=subprocess.PIPE, stdout=f, bufsize=1).communicate("x")
f.close()
f = open(path, "a", 0)
f.write("now")
print repr(open(path).read())
f.close()
os.remove(path)
