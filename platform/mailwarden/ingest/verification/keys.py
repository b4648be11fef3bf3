"""Public keys of DKIM and ARC in the DNS (RFC 6376 section 3.6, RFC 8463), and signatures checked with them (RFC 8017
section 8.2.2, RFC 8032)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mailwarden.ingest.verification.questions import Questions
from mailwarden.ingest.verification.signed import tags_of

LEAST_BITS, MOST_BITS = 1024, 4096
"""RFC 8301 section 3.2. A longer key, or exponent, is a way to have a stranger's arithmetic done here."""
_MOST_EXPONENT_BITS = 32
_ED25519_BYTES = 32

_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
"""DER of DigestInfo before a SHA-256 hash (RFC 8017 section 9.2)."""


ALGORITHMS = {b"rsa-sha256": b"rsa", b"ed25519-sha256": b"ed25519"}
"""What may sign, with the kind of its keys; RFC 8301 forbids SHA-1."""


@dataclass(frozen=True, slots=True)
class RsaKey:
    """An RSA key. strict: `i=` must name the domain itself (flag "s")."""

    modulus: int
    exponent: int
    strict: bool

    def verifies(self, digest: bytes, signature: bytes) -> bool:
        """Whether this is the key's signature of a SHA-256 hash."""
        size = (self.modulus.bit_length() + 7) // 8
        number = int.from_bytes(signature, "big")
        if len(signature) > size or number >= self.modulus:
            return False
        told = pow(number, self.exponent, self.modulus).to_bytes(size, "big")
        info = _SHA256 + digest
        return told == b"\0\1" + b"\xff" * (size - len(info) - 3) + b"\0" + info


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """An Ed25519 key, 32 bytes. strict: `i=` must name the domain itself (flag "s")."""

    point: bytes
    strict: bool

    def verifies(self, digest: bytes, signature: bytes) -> bool:
        """Whether this is the key's signature of a SHA-256 hash."""
        try:
            Ed25519PublicKey.from_public_bytes(self.point).verify(signature, digest)
        except (InvalidSignature, ValueError):
            return False
        return True


Key = RsaKey | Ed25519Key


def find_key(selector: bytes, domain: bytes, algorithm: bytes, questions: Questions) -> Key | str:
    """The key of a selector, or the verdict where there is none that counts; raises LookupFailed.

    algorithm: one of `ALGORITHMS`, which the key must be for.
    """
    try:
        name = f"{selector.decode('ascii')}._domainkey.{domain.decode('ascii')}"
    except UnicodeDecodeError:
        return "permerror"
    records = questions.ask(name, "TXT")
    if not records:
        return "permerror"
    tags = tags_of(records[0].encode("latin-1", "replace"))
    if tags is None or tags.get("v", b"DKIM1") != b"DKIM1":
        return "permerror"
    kind = tags.get("k", b"rsa").lower()
    services = {service.strip() for service in tags.get("s", b"*").split(b":")}
    hashes = {one.strip().lower() for one in tags.get("h", b"sha256").split(b":")}
    if not services & {b"*", b"email"} or b"sha256" not in hashes or not tags.get("p"):
        return "permerror"
    if kind != ALGORITHMS[algorithm]:
        return "permerror"
    strict = b"s" in {flag.strip() for flag in tags.get("t", b"").split(b":")}
    return _rsa(tags["p"], strict) if kind == b"rsa" else _ed25519(tags["p"], strict)


def _ed25519(text: bytes, strict: bool) -> Key | str:
    try:
        point = base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return "permerror"
    return Ed25519Key(point, strict) if len(point) == _ED25519_BYTES else "permerror"


def _rsa(text: bytes, strict: bool) -> Key | str:
    try:
        found = _numbers(base64.b64decode(b"".join(text.split()), validate=True))
    except (binascii.Error, ValueError, IndexError):
        return "permerror"
    modulus, exponent = found
    bits = modulus.bit_length()
    if bits < LEAST_BITS:
        return "policy"
    if bits > MOST_BITS or exponent.bit_length() > _MOST_EXPONENT_BITS or exponent < 3 or not modulus & 1:
        return "permerror"
    return RsaKey(modulus, exponent, strict)


def _numbers(der: bytes) -> tuple[int, int]:
    """Modulus and exponent of a SubjectPublicKeyInfo, or of the bare RSAPublicKey; raises ValueError or IndexError."""
    tag, body, _ = _element(der, 0)
    if tag != 0x30:
        raise ValueError("no sequence")
    tag, first, at = _element(body, 0)
    if tag == 0x30:
        tag, bits, _ = _element(body, at)
        if tag != 0x03 or bits[:1] != b"\0":
            raise ValueError("no bit string")
        return _numbers(bits[1:])
    second, exponent, _ = _element(body, at)
    if (tag, second) != (0x02, 0x02):
        raise ValueError("no integers")
    return int.from_bytes(first, "big"), int.from_bytes(exponent, "big")


def _element(der: bytes, at: int) -> tuple[int, bytes, int]:
    """Tag, content and end of the DER element at an offset."""
    tag, length = der[at], der[at + 1]
    at += 2
    if length & 0x80:
        size = length & 0x7F
        if not 0 < size <= 4:
            raise ValueError("length")
        length = int.from_bytes(der[at : at + size], "big")
        at += size
    if at + length > len(der):
        raise ValueError("cut short")
    return tag, der[at : at + length], at + length
