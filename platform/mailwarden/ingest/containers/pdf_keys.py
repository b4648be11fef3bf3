"""PDF files that are encrypted for nobody: their password is empty, and every reader opens them without asking.

Source: ISO 32000-2, 7.6.3 and 7.6.4 (standard security handler, revisions 2 to 6).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple

from mailwarden.ingest.containers.pdf_objects import Objects, hex_bytes, literal, raw_value

_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
_ENCRYPT = re.compile(rb"/Encrypt\s{0,9}+(?:(\d{1,10}+)\s{1,9}+\d{1,5}+\s{1,9}+R|(?=<<))")
_ID = re.compile(
    rb"/ID\s{0,9}+\[\s{0,9}+(?:<([0-9A-Fa-f\s]{0,200}+)>|\(((?:[^()\\]++|\\.|\([^()]{0,200}+\)){0,200}+)\))", re.DOTALL
)
_AROUND = 4_000
"""Bytes around where a file says that it is encrypted in which its identifier stands."""


class _Handler(NamedTuple):
    """revision; length: bytes of a key; aes: of streams and strings; owner, user, user_key: as the file has them."""

    revision: int
    length: int
    aes: bool
    owner: bytes
    user: bytes
    user_key: bytes
    permissions: int
    metadata: bool


def is_encrypted(data: bytes) -> bool:
    """Whether a file says that it is encrypted."""
    return b"/Encrypt" in data and _ENCRYPT.search(data) is not None


def key_of(objects: Objects) -> Callable[[int, bytes], bytes] | None:
    """What decrypts a string or stream of the object of that number; None where a password is wanted, or more."""
    found = _ENCRYPT.search(objects.data)
    if found is None:
        return None
    body = objects.bodies.get(int(found[1]), b"") if found[1] else objects.data[found.end() : found.end() + _AROUND]
    if b"/Standard" not in body:
        return None
    handler = _handler(objects, body)
    key = (
        _newer_key(handler) if handler.revision >= 5 else _older_key(handler, _identifier(objects.data, found.start()))
    )
    if key is None:
        return None
    return lambda number, raw: _decrypted(handler, key, number, raw)


def _handler(objects: Objects, body: bytes) -> _Handler:
    def number(key: bytes, otherwise: int) -> int:
        raw = objects.value(body, key)
        return int(raw) if re.fullmatch(rb"-?\d{1,12}", raw) else otherwise

    revision = number(b"R", 2)
    return _Handler(
        revision=revision,
        # Of crypt filters, which may say bytes or bits, the usual one.
        length={2: 5, 3: max(5, min(number(b"Length", 40) // 8, 16)), 4: 16}.get(revision, 32),
        aes=b"/AESV" in body,
        owner=literal(raw_value(body, b"O")),
        user=literal(raw_value(body, b"U")),
        user_key=literal(raw_value(body, b"UE")),
        permissions=number(b"P", 0) & 0xFFFFFFFF,
        metadata=raw_value(body, b"EncryptMetadata") != b"false",
    )


def _identifier(data: bytes, at: int) -> bytes:
    found = _ID.search(data, max(0, at - _AROUND), at + _AROUND) or _ID.search(data)
    if found is None:
        return b""
    return hex_bytes(found[1]) if found[1] is not None else literal(b"(" + found[2] + b")")


def _older_key(handler: _Handler, identifier: bytes) -> bytes | None:
    made = _PADDING + handler.owner[:32] + handler.permissions.to_bytes(4, "little") + identifier
    if handler.revision >= 4 and not handler.metadata:
        made += b"\xff\xff\xff\xff"
    key = _md5(made)
    if handler.revision == 2:
        key = key[:5]
        return key if _rc4(key, _PADDING) == handler.user[:32] else None
    for _ in range(50):
        key = _md5(key[: handler.length])
    key = key[: handler.length]
    proof = _rc4(key, _md5(_PADDING + identifier))
    for turn in range(1, 20):
        proof = _rc4(bytes(byte ^ turn for byte in key), proof)
    return key if proof[:16] == handler.user[:16] else None


def _newer_key(handler: _Handler) -> bytes | None:
    user = handler.user
    if len(user) < 48 or len(handler.user_key) < 32:
        return None
    make = _hash_2b if handler.revision >= 6 else lambda salt: hashlib.sha256(salt).digest()
    if make(user[32:40]) != user[:32]:
        return None
    return _aes(make(user[40:48]), bytes(16), handler.user_key[:32])


def _hash_2b(salt: bytes) -> bytes:
    """Algorithm 2.B with an empty password; it ends by chance, in 64 rounds and a few."""
    key = hashlib.sha256(salt).digest()
    last = 0
    for turn in range(320):
        if turn >= 64 and last <= turn - 32:
            break
        mixed = _aes(key[:16], key[16:32], key * 64, encrypt=True)
        wanted = (hashlib.sha256, hashlib.sha384, hashlib.sha512)[sum(mixed[:16]) % 3]
        key, last = wanted(mixed).digest(), mixed[-1]
    return key[:32]


def _decrypted(handler: _Handler, key: bytes, number: int, raw: bytes) -> bytes:
    if handler.revision < 5:
        mark = b"sAlT" if handler.aes else b""
        key = _md5(key + number.to_bytes(4, "little")[:3] + b"\0\0" + mark)[: min(handler.length + 5, 16)]
    if not handler.aes:
        return _rc4(key, raw)
    whole = raw[16 : len(raw) & ~15]
    if not whole:
        return b""
    plain = _aes(key, raw[:16], whole)
    return plain[: -plain[-1]] if 1 <= plain[-1] <= 16 else plain


def _md5(raw: bytes) -> bytes:
    return hashlib.md5(raw, usedforsecurity=False).digest()


def _rc4(key: bytes, raw: bytes) -> bytes:
    from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
    from cryptography.hazmat.primitives.ciphers import Cipher

    return Cipher(ARC4(key), None).decryptor().update(raw)


def _aes(key: bytes, vector: bytes, raw: bytes, *, encrypt: bool = False) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    cipher = Cipher(algorithms.AES(key), modes.CBC(vector))
    return (cipher.encryptor() if encrypt else cipher.decryptor()).update(raw)
