"""What hosts that the tenant trusts found of a message's authentication (RFC 8601), taken together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mailwarden.domain.mail.addresses import registrable_domain
from mailwarden.domain.mail.message import Authentication
from mailwarden.domain.mail.trust import Trust
from mailwarden.ingest.arc_fields import trusted_seal
from mailwarden.ingest.believed import Fields, believed
from mailwarden.ingest.hosts import read_host
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.results import Result

MAX_DOMAINS = 50
"""Signatures of which a domain is looked up."""


def read_authentication(fields: Fields, trust: Trust, from_domain: str, reading: Reading) -> Authentication:
    """The verdicts of all Authentication-Results fields that are believed, read together; others say nothing.

    The topmost field that speaks of a method decides it. In one field the SPF result of the reverse path stands before
    one of the greeting, and the DMARC result of the author's domain before one of another; of DKIM results, one a
    signature, all fields count, a signature's topmost one. from_domain: registrable domain of the From address, ""
    where there is none.
    """
    if not trust.believes:
        return Authentication()
    fields_read, forged = believed(fields, trust)
    results = tuple(result for one in fields_read for result in one.results)
    found = combined((one.results for one in fields_read), from_domain, reading)
    if results:
        found = replace(found, source="header")
    if trust.sealers and found.arc == "pass":
        found = with_seal(found, fields, trust, from_domain, reading)
    return replace(found, forged=forged if trust.authserv_ids else None)


def with_seal(
    found: Authentication, fields: Fields, trust: Trust, from_domain: str, reading: Reading
) -> Authentication:
    """The same with what a trusted sealer found when the message came to it, the ARC chain having passed."""
    seal = trusted_seal(fields, trust.sealers)
    if seal is None:
        return found
    domain, results = seal
    then = combined([results], from_domain, reading)
    return replace(found, sealer=domain, sealer_vouches=then.vouches_for(from_domain))


def combined(fields: Iterable[Sequence[Result]], from_domain: str, reading: Reading) -> Authentication:
    """What several fields' results come to, the topmost first; see `read_authentication`."""
    spf: Result | None = None
    dmarc: Result | None = None
    arc: str | None = None
    signatures: dict[tuple[str, str], tuple[str, str]] = {}
    domains: dict[str, str] = {}

    def domain(value: str) -> str:
        name = value.strip("<>'\"").rpartition("@")[2]
        if name not in domains:
            domains[name] = (
                "" if len(domains) >= MAX_DOMAINS else registrable_domain(read_host(name, reading, "headers"))
            )
        return domains[name]

    for results in fields:
        here = [one for one in results if one.method == "spf"]
        spf = spf or next((one for one in here if one.property(*_REVERSE_PATH)), here[0] if here else None)
        here = [one for one in results if one.method == "dmarc"]
        of_author = (one for one in here if from_domain and domain(one.property("header.from")) == from_domain)
        dmarc = dmarc or next(of_author, here[0] if here else None)
        arc = arc or next((one.verdict for one in results if one.method == "arc"), None)
        for place, one in enumerate(one for one in results if one.method == "dkim"):
            signer = one.property("header.d") or one.property("header.i").rpartition("@")[2]
            # One without a domain is told from others by its place alone; a field has each once.
            key = (signer.lower(), one.property("header.b", "header.s") or f"#{place}")
            if len(signatures) < MAX_DOMAINS:  # "none" too: that the message bears no signature
                signatures.setdefault(key, (one.verdict, domain(signer)))
    passing = [name for verdict, name in signatures.values() if verdict == "pass"]
    aligned = bool(from_domain) and from_domain in passing
    dkim, dkim_domain = next(iter(signatures.values()), (None, ""))
    if passing:
        # One good signature authenticates, whatever becomes of the others; the author's own comes first.
        dkim, dkim_domain = "pass", from_domain if aligned else passing[0]
    spf_domain = "" if spf is None else domain(spf.property(*_REVERSE_PATH) or spf.property("smtp.helo", "smtp.ehlo"))
    return Authentication(
        spf=None if spf is None else spf.verdict,
        dkim=dkim,
        dmarc=None if dmarc is None else dmarc.verdict,
        arc=arc,
        spf_domain=spf_domain,
        dkim_domain=dkim_domain,
        dkim_aligned=aligned if signatures else None,
        spf_aligned=None if spf is None or not from_domain else spf.verdict == "pass" and spf_domain == from_domain,
        dmarc_domain="" if dmarc is None else domain(dmarc.property("header.from")),
        signatures=sum(verdict != "none" for verdict, _ in signatures.values()),
    )


_REVERSE_PATH = ("smtp.mailfrom", "smtp.mail", "smtp.mfrom", "smtp.envelope-from")
