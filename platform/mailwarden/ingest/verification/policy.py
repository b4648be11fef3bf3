"""DMARC: whether what passed speaks for the author's domain, and what that domain asks for (RFC 7489)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailwarden.domain.mail.addresses import registrable_domain
from mailwarden.ingest.verification.questions import LookupFailed, Questions
from mailwarden.ingest.verification.signed import tags_of

_POLICIES = ("none", "quarantine", "reject")


@dataclass(frozen=True, slots=True)
class Proof:
    """What an identifier came to: the host that SPF or a DKIM signature speaks for, and the verdict."""

    host: str
    verdict: str
    method: str


def check_dmarc(author_host: str, proofs: Sequence[Proof], questions: Questions) -> tuple[str, str | None]:
    """A verdict, and the policy that the domain asks for, None without a record (sections 3.1, 6.6.3).

    author_host: of the one From address, normalised. proofs: whatever was verified.
    """
    domain = registrable_domain(author_host)
    if not domain:
        return "none", None
    try:
        tags = _record(author_host, questions)
        of_subdomain = False
        if tags is None and domain != author_host:
            tags, of_subdomain = _record(domain, questions), True
    except LookupFailed:
        return "temperror", None
    if tags is None:
        return "none", None
    asked = (tags.get("sp") if of_subdomain else None) or tags.get("p") or b"none"
    policy = asked.decode("ascii", "replace").lower()
    aligned = [proof for proof in proofs if _is_aligned(proof, author_host, domain, tags)]
    if any(proof.verdict == "pass" for proof in aligned):
        verdict = "pass"
    else:
        verdict = "temperror" if any(proof.verdict == "temperror" for proof in aligned) else "fail"
    return verdict, policy if policy in _POLICIES else "none"


def _is_aligned(proof: Proof, author_host: str, domain: str, tags: dict[str, bytes]) -> bool:
    strict = tags.get("adkim" if proof.method == "dkim" else "aspf", b"r").lower() == b"s"
    return proof.host == author_host if strict else registrable_domain(proof.host) == domain


def _record(host: str, questions: Questions) -> dict[str, bytes] | None:
    found = []
    for record in questions.ask(f"_dmarc.{host}", "TXT"):
        tags = tags_of(record.encode("latin-1", "replace"))
        if tags is not None and next(iter(tags), "") == "v" and tags["v"] == b"DMARC1":
            found.append(tags)
    # Of several records none counts (section 6.6.3).
    return found[0] if len(found) == 1 else None
