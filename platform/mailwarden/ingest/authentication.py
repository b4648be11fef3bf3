"""Authentication-Results, read only where the tenant trusts who wrote it (RFC 8601)."""

from __future__ import annotations

import re

from mailwarden.domain.mail.addresses import registrable_domain
from mailwarden.domain.mail.message import Authentication
from mailwarden.ingest.hosts import read_host
from mailwarden.ingest.reading import Reading

MAX_TEXT = 16 * 1024

_PIECE = re.compile(r'"((?:[^"\\]++|\\.)*+)"?|([();])|([^"();]++)', re.DOTALL)
_METHOD = re.compile(r"\s*(spf|dkim|dmarc|arc)(?:\s*/\s*\d+)?\s*=\s*([a-z]+)", re.IGNORECASE)
# The look-behind keeps a search from beginning anew at every letter of a long word.
_PROPERTY = re.compile(r"(?<![a-z])([a-z]++)\s*+\.\s*+([a-z_-]++)\s*+=\s*+([^\s;]++)", re.IGNORECASE)
_VERDICTS = frozenset(("none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"))
# Words that large receivers write and the RFC does not have.
_SPELLINGS = {"hardfail": "fail", "error": "temperror", "bestguesspass": "none"}


def read_authentication(
    values: list[str], trusted_authserv_ids: frozenset[str], from_domain: str, reading: Reading
) -> Authentication:
    """Verdicts of the topmost Authentication-Results value whose authserv-id is trusted; others are forgeable.

    from_domain: registrable domain of the From address, "" where there is none.
    """
    if not trusted_authserv_ids:
        return Authentication()
    trusted = {name.strip().lower().rstrip(".") for name in trusted_authserv_ids}
    for value in values:
        sections = _sections(value[:MAX_TEXT])
        # The id may be followed by a version: "mx.example 1".
        words = sections[0].split()
        if words and words[0].strip('"').lower().rstrip(".") in trusted:
            return _verdicts(sections[1:], from_domain, reading)
    return Authentication()


def _sections(value: str) -> list[str]:
    """The value cut at semicolons, without comments; quoted strings cannot cut it."""
    sections: list[list[str]] = [[]]
    depth = 0
    for piece in _PIECE.finditer(value):
        mark = piece[2]
        if mark == "(":
            depth += 1
        elif mark == ")":
            depth = max(0, depth - 1)
        elif depth:
            continue
        elif mark == ";":
            sections.append([])
        elif piece[1] is not None:
            sections[-1].append("".join(piece[1].split()).replace("=", ""))
        else:
            sections[-1].append(piece[3])
    return ["".join(pieces) for pieces in sections]


def _verdicts(sections: list[str], from_domain: str, reading: Reading) -> Authentication:
    found: dict[str, str] = {}
    spf_domain = ""
    signatures: list[tuple[str, str]] = []
    for section in sections:
        method = _METHOD.match(section)
        if method is None:
            continue
        name, verdict = method[1].lower(), method[2].lower()
        verdict = _SPELLINGS.get(verdict, verdict)
        if verdict not in _VERDICTS:
            verdict = "permerror"
        properties = {f"{p[1]}.{p[2]}".lower(): p[3] for p in _PROPERTY.finditer(section, method.end())}
        if name == "dkim":
            domain = properties.get("header.d") or properties.get("header.i", "")
            signatures.append((verdict, _domain(domain, reading)))
        elif name not in found:
            found[name] = verdict
            if name == "spf":
                spf_domain = _domain(properties.get("smtp.mailfrom") or properties.get("smtp.helo", ""), reading)
    passing = [domain for verdict, domain in signatures if verdict == "pass"]
    aligned = bool(from_domain) and from_domain in passing
    dkim, dkim_domain = signatures[0] if signatures else (None, "")
    if passing:
        # One good signature authenticates, whatever becomes of the others; the author's own comes first.
        dkim, dkim_domain = "pass", from_domain if aligned else passing[0]
    return Authentication(
        spf=found.get("spf"),
        dkim=dkim,
        dmarc=found.get("dmarc"),
        arc=found.get("arc"),
        spf_domain=spf_domain,
        dkim_domain=dkim_domain,
        dkim_aligned=aligned if signatures else None,
    )


def _domain(value: str, reading: Reading) -> str:
    return registrable_domain(read_host(value.strip("<>\"'").rpartition("@")[2], reading, "headers"))
