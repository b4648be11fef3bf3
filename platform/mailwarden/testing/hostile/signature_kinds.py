"""Kinds of hostile messages: signatures and seals that cost whoever verifies them, and addresses that trick the eye."""

from __future__ import annotations

import base64
from random import Random

from mailwarden.domain.mail.reception import Answer, RecordType
from mailwarden.ingest.verification.signed import Signed
from mailwarden.testing.hostile.shapes import FIRST, Kind, fields, run

_HEAD = b"DKIM-Signature: v=1; a=rsa-sha256; c=%s; d=hostile.example; s=k; h=%s; bh=%s; b=AAAA\n"
_KEY = base64.b64encode(
    bytes.fromhex("3082010a0282010100") + b"\xff" * 256 + bytes.fromhex("0203010001")
).decode()  # fmt: skip


def hostile_answer(name: str, type: RecordType) -> Answer:
    """A resolver of an attacker's own: a key for every selector, and SPF that includes on and on."""
    if "._domainkey." in name:
        return Answer(name, type, "found", (f"v=DKIM1; p={_KEY}",))
    if name.startswith("_dmarc."):
        return Answer(name, type, "found", ("v=DMARC1; p=reject",))
    if type == "TXT":
        mechanisms = " ".join(f"include:i{number}.{name[-100:]} a:a{number}.{name[-100:]} mx" for number in range(60))
        return Answer(name, type, "found", (f"v=spf1 {mechanisms} -all",))
    if type == "MX":
        return Answer(name, type, "found", tuple(f"{number} mx{number}.{name[-100:]}" for number in range(50)))
    return Answer(name, type, "found", ("203.0.113.1",) * 50 if type == "A" else ())


def _signed(*units: bytes, form: bytes = b"relaxed/relaxed", after: bytes = b"x", copies: int = 30) -> Kind:
    """Signatures over a body of the whole size, whose hash is right: all that verifying does is done."""

    def make(size: int, chance: Random) -> bytes:
        text = run(chance.choice(units), max(1, size - len(FIRST) - copies * 200)) + after
        relaxed = form.endswith(b"relaxed")
        digest = base64.b64encode(Signed(FIRST + b"\n" + text, len(FIRST) + 1).body_hash(relaxed, None))
        heads = (_HEAD % (form, b"from:subject:x%d" % number, digest) for number in range(copies))
        return FIRST + b"".join(heads) + b"\n" + text

    return make


def _names(size: int, chance: Random) -> bytes:
    digest = base64.b64encode(Signed(FIRST + b"\nhi\n", len(FIRST) + 1).body_hash(True, None))
    names = b"from:" + b":".join(b"x%d" % number for number in range(400)) + b":to" * 60
    head = _HEAD % (b"relaxed/simple", names, digest)
    flood = b"".join(b"X%d: %s\n" % (number, b" \t" * 100) for number in range(max(1, (size - 60_000) // 210)))
    return FIRST + head * 20 + flood + b"\nhi\n"


def _sets(size: int, chance: Random) -> bytes:
    unit = (
        b"ARC-Seal: i=%d; a=rsa-sha256; cv=pass; d=hostile.example; s=k; b=AAAA\n"
        b"ARC-Message-Signature: i=%d; a=rsa-sha256; c=relaxed/relaxed; d=hostile.example; s=k; h=from; bh=AA; b=AA\n"
        b"ARC-Authentication-Results: i=%d; hostile.example; dkim=pass\n"
    )
    count = max(1, min(50, size // len(unit)))
    first = (unit % ((number,) * 3) for number in range(count, 0, -1))
    return FIRST + b"".join(first).replace(b"i=1; a=rsa-sha256; cv=pass", b"i=1; a=rsa-sha256; cv=none") + b"\nhi\n"


_FROM = b"From"
SIGNATURE_KINDS: dict[str, Kind] = {
    "signatures of blanks": _signed(b" ", b"\t ", b" \n", b"a b  c\t"),
    "signatures of lines": _signed(b"\n", b"a\n", b"\r\n", b" \r\n", after=b""),
    "signatures of simple lines": _signed(b"\n", b"a\n", b"\r", b"\r\r\n", form=b"simple/simple", after=b""),
    "signatures": fields(b"DKIM-Signature", b" d=a%d; s=b; v=1", each=300, before=b"v=1; a=rsa-sha256;"),
    "signature tags": fields(b"DKIM-Signature", b";", b";a%d=b", b"; =", b"=", before=b"v=1"),
    "signature names": _names,
    "arc sets": _sets,
    "arc seals": fields(b"ARC-Seal", b"i=%d; ", b"i=", b";d=a", each=200),
    "authentication comments": fields(
        b"Authentication-Results", b"(\\", b"(a)", b"((", before=b"mx.example (", after=b")"
    ),
    "authentication quotes": fields(
        b"Authentication-Results", b'"', b'"a" ', b'\\"', before=b"mx.example; spf=pass reason="
    ),
    "authentication fields": fields(b"Authentication-Results", b"; spf=pass", each=60, before=b"mx.example"),
    "address angles": fields(_FROM, b"<a@b.example> ", b"<a@b> (c) ", b"<", b"<a(", before=b"Ann "),
    "address angle comments": fields(_FROM, b"(a)", b"(", b"(\\)", b'"(" ', before=b"<a", after=b"@b.example>"),
    "address angle quotes": fields(_FROM, b'"', b'"a"', b'\\"', b'"a".', before=b"<", after=b"@b.example>"),
    "address lookalikes": fields(
        _FROM,
        b"a\xef\xbc\xa0b\xef\xbc\x8ec ",
        b"\xef\xbc\xa0",
        b"a [at] b ",
        b"\xef\xbc\x8e",
        before=b'"',
        after=b'" <a@b.example>',
    ),
    "address blanks at marks": fields(_FROM, b" . ", b" @ ", b". ", before=b"<a", after=b"@b.example>"),
}
"""Name to kind."""
