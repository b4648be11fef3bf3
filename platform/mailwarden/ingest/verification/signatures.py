"""DKIM signatures and ARC chains of a message, verified (RFC 6376 section 6, RFC 8617 section 5.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mailwarden.ingest.budget import HASHED, SIGNATURES
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.verification.keys import ALGORITHMS, Key, find_key
from mailwarden.ingest.verification.questions import LookupFailed, Questions
from mailwarden.ingest.verification.signed import Field, Signed, canonical_field, tags_of, without_signature

MAX_SIGNATURE = 16 * 1024
"""Characters of one signature's field."""
MAX_NAMES = 500
_SPREAD = 36_000 * 1_000_000
"""How far clocks of senders may be wrong, microseconds."""

_DIGITS = re.compile(rb"\d{1,18}")
_ARC = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one signature came to. verdict: a word of RFC 8601 section 2.7.1; domain: who signed, as written."""

    verdict: str
    domain: str


def verify_dkim(signed: Signed, questions: Questions, at_us: int | None, reading: Reading) -> list[Verdict]:
    """A verdict for each DKIM signature, the topmost first; one beyond the budget has none.

    at_us: when the message was received, by which signatures expire; None lets none expire.
    """
    found = []
    for field in signed.fields:
        if field.name != b"dkim-signature":
            continue
        if not reading.take(SIGNATURES):
            break
        tags = tags_of(field.value) if len(field.value) <= MAX_SIGNATURE else None
        if tags is None or tags.get("v") != b"1":
            found.append(Verdict("permerror", ""))
            continue
        domain = tags.get("d", b"").decode("ascii", "replace")
        verdict = _verdict(field, tags, signed, questions, at_us, reading)
        if verdict is not None:
            found.append(Verdict(verdict, domain))
    return found


def _verdict(
    field: Field, tags: dict[str, bytes], signed: Signed, questions: Questions, at_us: int | None, reading: Reading
) -> str | None:
    """The verdict of a message signature (DKIM's, or ARC's); None where it costs more than the budget has."""
    names = [name.strip().lower() for name in tags.get("h", b"").split(b":")]
    if not all(tags.get(name) for name in ("a", "b", "bh", "d", "h", "s")) or len(names) > MAX_NAMES:
        return "permerror"
    if b"from" not in names or tags.get("q", b"dns/txt") != b"dns/txt":
        return "permerror"
    domain = tags["d"].lower()
    agent = tags.get("i", b"@" + domain).lower().rpartition(b"@")[2]
    if field.name == b"dkim-signature" and agent != domain and not agent.endswith(b"." + domain):
        return "permerror"
    forms = tags.get("c", b"simple/simple").lower().partition(b"/")
    header_form, body_form = forms[0].strip(), forms[2].strip() or b"simple"
    if not {header_form, body_form} <= {b"simple", b"relaxed"}:
        return "permerror"
    if tags["a"].lower() not in ALGORITHMS:
        return "permerror"
    ends = tags.get("x")
    if ends is not None and at_us is not None:
        if not _DIGITS.fullmatch(ends):
            return "permerror"
        if int(ends) * 1_000_000 + _SPREAD < at_us:
            return "fail"
    length = tags.get("l")
    if length is not None and not _DIGITS.fullmatch(length):
        return "permerror"
    key = _key(tags, questions)
    if isinstance(key, str):
        return key
    if field.name == b"dkim-signature" and key.strict and agent != domain:
        return "permerror"
    relaxed = body_form == b"relaxed"
    if not signed.is_hashed(relaxed, None) and not _affords(signed.body_bytes, reading):
        return None
    most = len(signed.body(relaxed))
    part = None if length is None or int(length) == most else int(length)
    if part is not None and not signed.is_hashed(relaxed, part) and not _affords(min(part, most), reading):
        return None
    if signed.body_hash(relaxed, part) != _decoded(tags["bh"]):
        return "fail"
    head = signed.header_bytes([*names, b"from"], header_form == b"relaxed")
    if not _affords(len(head), reading):
        return None
    head += without_signature(field, header_form == b"relaxed")
    if not key.verifies(hashlib.sha256(head).digest(), _decoded(tags["b"])):
        return "fail"
    # What stands behind the part that was signed, anybody may have added.
    return "pass" if part is None else "policy"


def _affords(wanted: int, reading: Reading) -> bool:
    return reading.take(HASHED, wanted) == wanted


def _key(tags: dict[str, bytes], questions: Questions) -> Key | str:
    try:
        return find_key(tags["s"], tags["d"], tags["a"].lower(), questions)
    except LookupFailed:
        return "temperror"


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def verify_arc(signed: Signed, questions: Questions, at_us: int | None, reading: Reading) -> str | None:
    """The verdict of the ARC chain: "none" without one; None where it costs more than the budget has."""
    sets = _arc_sets(signed.fields)
    if sets is None:
        return "fail"
    if not sets:
        return "none"
    # Section 5.2: the newest message signature, and every seal.
    if reading.take(SIGNATURES, len(sets) + 1) <= len(sets):
        return None
    tags = [tags_of(one[2].value) for one in sets]
    for number, one in enumerate(tags, start=1):
        if one is None or one.get("cv", b"").lower() != (b"none" if number == 1 else b"pass") or "h" in one:
            return "fail"
    newest = tags_of(sets[-1][1].value)
    if newest is None or b"arc-seal" in newest.get("h", b"").lower():
        return "fail"
    verdict = _verdict(sets[-1][1], {"c": b"relaxed/relaxed", **newest}, signed, questions, at_us, reading)
    if verdict is None or verdict == "temperror":
        return verdict
    if verdict != "pass":
        return "fail"
    return _seals(sets, [one for one in tags if one is not None], questions, reading)


def _seals(
    sets: Sequence[tuple[Field, Field, Field]],
    tags: Sequence[dict[str, bytes]],
    questions: Questions,
    reading: Reading,
) -> str | None:
    before = b""
    for (results, message, seal), one in zip(sets, tags, strict=True):
        before += canonical_field(results.name, results.value) + b"\r\n"
        before += canonical_field(message.name, message.value) + b"\r\n"
        if not all(one.get(name) for name in ("a", "b", "d", "s")) or one["a"].lower() not in ALGORITHMS:
            return "fail"
        if not _affords(len(before), reading):
            return None
        key = _key(one, questions)
        if key == "temperror":
            return "temperror"
        digest = hashlib.sha256(before + without_signature(seal, True)).digest()
        if isinstance(key, str) or not key.verifies(digest, _decoded(one["b"])):
            return "fail"
        before += canonical_field(seal.name, seal.value) + b"\r\n"
    return "pass"


def _arc_sets(fields: Sequence[Field]) -> list[tuple[Field, Field, Field]] | None:
    """The sets in order of instance, each results, message signature and seal; None where they are not whole."""
    found: dict[tuple[int, bytes], Field] = {}
    for field in fields:
        if field.name not in _ARC:
            continue
        name, _, number = field.value.partition(b";")[0].partition(b"=")
        if field.name != b"arc-authentication-results":
            number = (tags_of(field.value) or {}).get("i", b"") if len(field.value) <= MAX_SIGNATURE else b""
        elif name.strip().lower() != b"i":
            return None
        number = number.strip()
        if not _DIGITS.fullmatch(number) or (int(number), field.name) in found:
            return None
        found[int(number), field.name] = field
    count = len(found) // len(_ARC)
    if len(found) != count * len(_ARC) or count > 50:
        return None
    try:
        return [(found[n, _ARC[0]], found[n, _ARC[1]], found[n, _ARC[2]]) for n in range(1, count + 1)]
    except KeyError:
        return None
