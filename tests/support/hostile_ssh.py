"""An SSH server that lets everybody in and then says what a test wants.

Its key exchange and ciphers are real (curve25519-sha256, ssh-ed25519, aes128-ctr, hmac-sha2-256), so that
a client comes as far as with any server.
"""

import ctypes
import ctypes.util
import hashlib
import hmac
import os
import struct
import subprocess
import threading

DISCONNECT, IGNORE, SERVICE_REQUEST, SERVICE_ACCEPT, KEXINIT, NEWKEYS = 1, 2, 5, 6, 20, 21
ECDH_INIT, ECDH_REPLY = 30, 31
AUTH_REQUEST, AUTH_FAILURE, AUTH_SUCCESS, AUTH_BANNER, INFO_REQUEST, INFO_RESPONSE = 50, 51, 52, 53, 60, 61
GLOBAL_REQUEST, OPEN, CONFIRM, ADJUST, DATA, EXTENDED, EOF, CLOSE = 80, 90, 91, 93, 94, 95, 96, 97
REQUEST, SUCCESS = 98, 99

_VERSION = b"SSH-2.0-hostile"
_X25519, _ED25519 = 1034, 1087                  # as OpenSSL numbers them
_crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
for _name in ("EVP_PKEY_new_raw_private_key", "EVP_PKEY_new_raw_public_key", "EVP_PKEY_CTX_new", "EVP_MD_CTX_new",
              "EVP_CIPHER_CTX_new", "EVP_aes_128_ctr"):
    getattr(_crypto, _name).restype = ctypes.c_void_p


def string(data):
    return struct.pack(">I", len(data)) + data


def u32(*numbers):
    return struct.pack(">%dI" % len(numbers), *numbers)


def _mpint(data):
    data = data.lstrip(b"\0")
    return string(b"\0" + data if data and data[0] & 0x80 else data)


def _pointer(value):
    assert value
    return ctypes.c_void_p(value)


class _Key:
    """A private key of OpenSSL's, by its 32 bytes."""

    def __init__(self, kind, raw):
        self.kind = kind
        self.key = _pointer(_crypto.EVP_PKEY_new_raw_private_key(kind, None, raw, ctypes.c_size_t(32)))

    def public(self):
        out, n = ctypes.create_string_buffer(32), ctypes.c_size_t(32)
        assert _crypto.EVP_PKEY_get_raw_public_key(self.key, out, ctypes.byref(n)) == 1
        return out.raw

    def shared_with(self, public):
        peer = _pointer(_crypto.EVP_PKEY_new_raw_public_key(self.kind, None, public, ctypes.c_size_t(len(public))))
        context = _pointer(_crypto.EVP_PKEY_CTX_new(self.key, None))
        out, n = ctypes.create_string_buffer(32), ctypes.c_size_t(32)
        assert _crypto.EVP_PKEY_derive_init(context) == 1 and _crypto.EVP_PKEY_derive_set_peer(context, peer) == 1
        assert _crypto.EVP_PKEY_derive(context, out, ctypes.byref(n)) == 1
        _crypto.EVP_PKEY_CTX_free(context)
        _crypto.EVP_PKEY_free(peer)
        return out.raw

    def sign(self, data):
        context = _pointer(_crypto.EVP_MD_CTX_new())
        out, n = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
        assert _crypto.EVP_DigestSignInit(context, None, None, None, self.key) == 1
        assert _crypto.EVP_DigestSign(context, out, ctypes.byref(n), data, ctypes.c_size_t(len(data))) == 1
        _crypto.EVP_MD_CTX_free(context)
        return out.raw

    def __del__(self):
        _crypto.EVP_PKEY_free(self.key)


class _Direction:
    """One way's cipher and checksums; without a cipher before the first key exchange."""

    def __init__(self):
        self.context, self.mac, self.sequence = None, b"", 0

    def switch(self, key, iv, mac):
        self.context = self.context or _pointer(_crypto.EVP_CIPHER_CTX_new())
        self.mac = mac
        # Counter mode: either way is the same.
        assert _crypto.EVP_EncryptInit_ex(self.context, _pointer(_crypto.EVP_aes_128_ctr()), None, key, iv) == 1

    def crypt(self, data):
        if self.context is None:
            return data
        out, n = ctypes.create_string_buffer(len(data) + 16), ctypes.c_int()
        assert _crypto.EVP_EncryptUpdate(self.context, out, ctypes.byref(n), data, len(data)) == 1
        return out.raw[:n.value]

    def sum(self, packet):
        return hmac.new(self.mac, u32(self.sequence & 0xffffffff) + packet, hashlib.sha256).digest()

    def __del__(self):
        if self.context is not None:
            _crypto.EVP_CIPHER_CTX_free(self.context)


class HostileSsh:
    """A connection (socket) whose client is let in, by whatever method it tries first.

    questions: those of keyboard-interactive, which alone lets it in then.  Each of the methods below
    waits for what the client says, or says something; OSError once it has left.
    """

    def __init__(self, peer, banner=b"", questions=None):
        self.peer, self.banner, self.questions = peer, banner, questions
        self.incoming, self.outgoing, self.session, self.buffer = _Direction(), _Direction(), None, b""
        self.lock, self.late = threading.Lock(), []
        self.host, self.key, self.own_kexinit = _Key(_ED25519, b"a host key that everybody knows!"), None, None
        peer.sendall(_VERSION + b"\r\n")
        self.send_kexinit()
        while b"\n" not in self.buffer:
            self._fill()
        line, _, self.buffer = self.buffer.partition(b"\n")
        self.client = line.rstrip(b"\r")

    # Packets

    def send(self, kind, *parts):
        with self.lock:
            self.peer.sendall(self.packet(kind, *parts))

    def flood(self, make, most=1 << 40):
        """Sends make(number) = (kind, part...) over and over, some in one go."""
        for number in range(0, most, 50):
            with self.lock:
                self.peer.sendall(b"".join(self.packet(*make(number + i)) for i in range(min(50, most - number))))

    def packet(self, kind, *parts):
        """The bytes of the next packet; to be sent in the order in which they were made."""
        payload = bytes([kind]) + b"".join(parts)
        block = 16 if self.outgoing.context else 8
        padding = block - (len(payload) + 5) % block
        padding += block if padding < 4 else 0
        data = struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)
        total = self.outgoing.sum(data) if self.outgoing.context else b""
        self.outgoing.sequence += 1
        return self.outgoing.crypt(data) + total

    def _fill(self):
        data = self.peer.recv(65536)
        if not data:
            raise ConnectionError("the client has left")
        self.buffer += data

    def _take(self, n):
        while len(self.buffer) < n:
            self._fill()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def receive(self, goes_on=True):
        """A message (number, payload); key exchanges are done on the way, and no message unless goes_on."""
        block = 16 if self.incoming.context else 8
        head = self.incoming.crypt(self._take(block))
        length = struct.unpack(">I", head[:4])[0]
        packet = head + self.incoming.crypt(self._take(length + 4 - block))
        if self.incoming.context:
            assert self._take(32) == self.incoming.sum(packet)
        self.incoming.sequence += 1
        payload = packet[5:len(packet) - packet[4]]
        if payload[0] == KEXINIT:
            if self.own_kexinit is None:
                self.send_kexinit()
            self.client_kexinit = payload
        elif payload[0] == ECDH_INIT:
            self._exchange(payload[5:])
        elif payload[0] == NEWKEYS:
            self.incoming.switch(*self._keys(b"CAE"))
            self.own_kexinit = None
        else:
            return payload[0], payload[1:]
        return self.receive() if goes_on else (IGNORE, b"")

    def next(self):
        """(number, payload) of the next message."""
        return self.late.pop(0) if self.late else self.receive()

    def wait_for(self, kind):
        while True:
            number, payload = self.next()
            if number == kind:
                return payload

    # Key exchange

    def send_kexinit(self, method=b"curve25519-sha256"):
        lists = [method, b"ssh-ed25519"] + [b"aes128-ctr"] * 2 + [b"hmac-sha2-256"] * 2
        lists += [b"none"] * 2 + [b""] * 2
        body = os.urandom(16) + b"".join(map(string, lists)) + b"\0" + u32(0)
        self.own_kexinit = bytes([KEXINIT]) + body
        self.send(KEXINIT, body)

    def _exchange(self, theirs):
        own = _Key(_X25519, os.urandom(32))
        self.secret = _mpint(own.shared_with(theirs))
        blob = string(b"ssh-ed25519") + string(self.host.public())
        parts = [self.client, _VERSION, self.client_kexinit, self.own_kexinit, blob, theirs, own.public()]
        self.hash = hashlib.sha256(b"".join(map(string, parts)) + self.secret).digest()
        self.session = self.session or self.hash
        signature = string(b"ssh-ed25519") + string(self.host.sign(self.hash))
        self.send(ECDH_REPLY, string(blob), string(own.public()), string(signature))
        with self.lock:
            self.peer.sendall(self.packet(NEWKEYS))
            self.outgoing.switch(*self._keys(b"DBF"))

    def _keys(self, letters):
        key, iv, mac = (hashlib.sha256(self.secret + self.hash + bytes([letter]) + self.session).digest()
                        for letter in letters)
        return key[:16], iv[:16], mac

    def rekey(self):
        """A whole new key exchange."""
        self.send_kexinit()
        while self.own_kexinit is not None:
            self.late.append(self.receive(False))

    # What a server does

    def let_in(self):
        self.wait_for(SERVICE_REQUEST)
        self.send(SERVICE_ACCEPT, string(b"ssh-userauth"))
        if self.banner:
            self.send(AUTH_BANNER, string(self.banner), string(b""))
        while True:
            words = self.wait_for(AUTH_REQUEST)
            if self.questions is None and b"none" not in words[:60]:
                return self.send(AUTH_SUCCESS)
            if b"keyboard-interactive" in words:
                self.ask()
                return self.send(AUTH_SUCCESS)
            self.send(AUTH_FAILURE, string(b"password" if self.questions is None else b"keyboard-interactive"), b"\0")

    def ask(self):
        self.send(INFO_REQUEST, *self.questions)
        self.wait_for(INFO_RESPONSE)

    def open(self, window=1 << 21, packet=32768):
        """The client's channel: its number."""
        payload = self.wait_for(OPEN)
        at = 4 + struct.unpack(">I", payload[:4])[0]
        self.channel = struct.unpack(">I", payload[at:at + 4])[0]
        self.send(CONFIRM, u32(self.channel, self.channel, window, packet))
        return self.channel

    def grant(self):
        """The request for a shell or a command, and all before it."""
        while True:
            payload = self.wait_for(REQUEST)
            n = struct.unpack(">I", payload[4:8])[0]
            if payload[8 + n]:
                self.send(SUCCESS, u32(self.channel))
            if payload[8:8 + n] in (b"shell", b"exec", b"subsystem"):
                return payload[8:8 + n]

    def serve(self, attack=None, **opened):
        """A real shell; `attack` is called when the client types that word, in whatever it is."""
        self.let_in()
        self.open(**opened)
        self.grant()
        with subprocess.Popen(["bash", "--norc", "--noprofile", "-i"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={"PATH": "/usr/bin:/bin", "PS1": "$ "}) as shell:
            thread = threading.Thread(target=self._say_all, args=(shell.stdout,))
            thread.start()
            try:
                self._hear_all(shell.stdin, attack)
            finally:
                shell.kill()
                thread.join()

    def _say_all(self, output):
        try:
            for data in iter(lambda: output.read1(4096), b""):
                self.send(DATA, u32(self.channel), string(data))
        except OSError:
            pass

    def _hear_all(self, to, attack):
        while True:
            kind, payload = self.next()
            if kind == CLOSE:
                return
            if kind != DATA:
                continue
            if b"attack" in payload and attack is not None and attack(self):
                continue                # those were its last words
            to.write(payload[8:])
            to.flush()
