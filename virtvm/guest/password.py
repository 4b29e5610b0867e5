"""SHA-crypt, as specified by its author's public specification."""

import hashlib
import secrets

_CRYPT_DIGITS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ROUNDS = 1000          # the least that is allowed: the guest's processor is emulated


def crypt(password, salt=None):
    """The password's SHA-512 crypt(3) hash, for /etc/shadow."""
    key = password.encode()
    salt = (salt or secrets.token_hex(8)).encode()
    alternate = hashlib.sha512(key + salt + key).digest()
    first = hashlib.sha512(key + salt + _repeat(alternate, len(key)))
    bits = len(key)
    while bits:
        first.update(alternate if bits & 1 else key)
        bits >>= 1
    result = first.digest()
    p = _repeat(hashlib.sha512(key * len(key)).digest(), len(key))
    s = _repeat(hashlib.sha512(salt * (16 + result[0])).digest(), len(salt))
    for n in range(_ROUNDS):
        result = hashlib.sha512((p if n & 1 else result) + (s if n % 3 else b"")
                                + (p if n % 7 else b"") + (result if n & 1 else p)).digest()
    return "$6$rounds=%d$%s$%s" % (_ROUNDS, salt.decode(), _encode(result))


def _repeat(data, length):
    return (data * (length // len(data) + 1))[:length]


def _encode(digest):
    """crypt's base 64 of the digest's bytes in crypt's order."""
    order = [(0, 21, 42)]
    while len(order) < 21:
        a, b, c = order[-1]
        order.append(((b + 1) % 63, (c + 1) % 63, (a + 1) % 63))
    text = ""
    for a, b, c in order:
        text += _digits(digest[a] << 16 | digest[b] << 8 | digest[c], 4)
    return text + _digits(digest[63], 2)


def _digits(value, count):
    return "".join(_CRYPT_DIGITS[value >> 6 * n & 63] for n in range(count))
