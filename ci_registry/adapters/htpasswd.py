"""Lines of htpasswd files, in the two forms that servers agree on. The only module that imports bcrypt.

The registry reads bcrypt alone; nginx reads apr1 (Apache's MD5 form) everywhere, and bcrypt only where the C library of
its image does.
"""

from __future__ import annotations

import hashlib
import secrets

__all__ = ["apr1_line", "bcrypt_line", "matches", "unreadable_users"]

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MARK = "$apr1$"
_ROUNDS = 1000
_BCRYPT_COST = 10  # a registry computes it for each request that carries a password


def bcrypt_line(user: str, password: str) -> str:
    """`USER:$2y$...`. Bytes of the password behind the 72nd don't count (bcrypt's own limit)."""
    import bcrypt

    hashed = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(_BCRYPT_COST)).decode()
    return f"{user}:$2y${hashed.partition('$2b$')[2]}"  # the same algorithm under the name that Apache's tools use


def apr1_line(user: str, password: str, salt: str = "") -> str:
    """`USER:$apr1$...`; `salt` of at most eight characters is drawn when it is not given."""
    salt = salt[:8] or "".join(secrets.choice(_ALPHABET) for _ in range(8))
    digest = _apr1(password.encode(), salt.encode())
    return f"{user}:{_MARK}{salt}${_encoded(digest)}"


def matches(line: str, user: str, password: str) -> bool:
    """Whether a line of one of the two forms lets this user in with this password."""
    import bcrypt

    name, _, hashed = line.strip().partition(":")
    if name != user:
        return False
    if hashed.startswith(_MARK):
        return line.strip() == apr1_line(user, password, hashed.split("$")[2])
    try:
        return bcrypt.checkpw(password.encode()[:72], hashed.encode())
    except ValueError:
        return False


def unreadable_users(text: str) -> list[str]:
    """The users of an htpasswd file whose lines the registry takes without a word and then never accepts."""
    lines = [line.strip().partition(":") for line in text.splitlines() if ":" in line and not line.startswith("#")]
    return [user for user, _, hashed in lines if not hashed.startswith(("$2y$", "$2a$", "$2b$"))]


def _apr1(password: bytes, salt: bytes) -> bytes:
    """Apache's variant of MD5-crypt (apr_md5.c): the password stirred a thousand times."""
    mixed = _md5(password + salt + password)
    text = password + _MARK.encode() + salt
    text += (mixed * (len(password) // 16 + 1))[: len(password)]
    length = len(password)
    while length:
        text += b"\0" if length & 1 else password[:1]
        length >>= 1
    digest = _md5(text)
    for turn in range(_ROUNDS):
        first, last = (password, digest) if turn & 1 else (digest, password)
        digest = _md5(first + (salt if turn % 3 else b"") + (password if turn % 7 else b"") + last)
    return digest


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _encoded(digest: bytes) -> str:
    """The sixteen bytes in crypt's order and alphabet."""
    groups = [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)]
    text = "".join(_letters(digest[a] << 16 | digest[b] << 8 | digest[c], 4) for a, b, c in groups)
    return text + _letters(digest[11], 2)


def _letters(value: int, count: int) -> str:
    return "".join(_ALPHABET[value >> 6 * place & 63] for place in range(count))
