"""A message's authentication, verified here: where no trusted host did, and the DNS can be asked or was.

1. DKIM signatures and the ARC chain are verified over the message's bytes.
2. SPF is evaluated where the host that handed the message over is known: from the mail system beside the message, or
   from the Received field of a hop that the tenant names. What a message says of it otherwise, its sender wrote.
3. DMARC says whether any of that speaks for the one author.

What cannot be asked in time is "temperror", and the aspect `authentication` is unavailable; nothing is guessed.
"""

from __future__ import annotations

from mailwarden.domain.mail.addresses import address_domain, normalise_host, registrable_domain
from mailwarden.domain.mail.message import Authentication, Envelope, Mailbox
from mailwarden.domain.mail.trust import Trust
from mailwarden.domain.status import Status
from mailwarden.ingest.authentication import with_seal
from mailwarden.ingest.believed import Fields, client_of
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.received import read_hop
from mailwarden.ingest.verification.policy import Proof, check_dmarc
from mailwarden.ingest.verification.questions import Questions
from mailwarden.ingest.verification.sender_policy import check_spf
from mailwarden.ingest.verification.signatures import Verdict, verify_arc, verify_dkim
from mailwarden.ingest.verification.signed import Signed


def verify(
    signed: Signed,
    fields: Fields,
    authors: tuple[Mailbox, ...],
    sender: Mailbox,
    envelope: Envelope,
    at_us: int | None,
    trust: Trust,
    questions: Questions,
    reading: Reading,
) -> Authentication:
    """What this message's signatures and its sender's records come to. at_us: its event time."""
    signatures = reading.attempt(
        "authentication", lambda: verify_dkim(signed, questions, at_us, reading), list[Verdict]()
    )
    arc = reading.attempt("authentication", lambda: verify_arc(signed, questions, at_us, reading), None)
    unknown: tuple[str | None, str] = (None, "")
    spf, spf_host = reading.attempt(
        "authentication", lambda: _spf(fields, envelope, trust, questions, reading), unknown
    )
    proofs = [Proof(normalise_host(one.domain), one.verdict, "dkim") for one in signatures]
    if spf is not None:
        proofs.append(Proof(spf_host, spf, "spf"))
    nothing: tuple[str | None, str | None] = (None, None)
    dmarc, policy = reading.attempt("authentication", lambda: _dmarc(authors, proofs, questions), nothing)
    passing = [registrable_domain(proof.host) for proof in proofs if (proof.method, proof.verdict) == ("dkim", "pass")]
    aligned = bool(sender.domain) and sender.domain in passing
    dkim = signatures[0].verdict if signatures else "none"
    dkim_domain = registrable_domain(normalise_host(signatures[0].domain)) if signatures else ""
    if passing:
        dkim, dkim_domain = "pass", sender.domain if aligned else passing[0]
    spf_domain = registrable_domain(spf_host)
    if questions.failed:
        reading.defect("lookup_failed")
        reading.unread("authentication", Status.UNAVAILABLE)
    found = Authentication(
        spf=spf,
        dkim=dkim,
        dmarc=dmarc,
        arc=arc,
        spf_domain=spf_domain,
        dkim_domain=dkim_domain,
        dkim_aligned=aligned,
        spf_aligned=None if spf is None or not sender.domain else spf == "pass" and spf_domain == sender.domain,
        dmarc_domain=sender.domain if dmarc is not None else "",
        signatures=len(signatures),
        source="own",
        policy=policy,
    )
    if trust.sealers and arc == "pass":
        found = with_seal(found, fields, trust, sender.domain, reading)
    return found


def _spf(
    fields: Fields, envelope: Envelope, trust: Trust, questions: Questions, reading: Reading
) -> tuple[str | None, str]:
    reception = envelope.reception
    client_ip, helo = (reception.client_ip, reception.helo) if reception is not None else ("", "")
    if not client_ip and (received := client_of(fields, trust)):
        hop = read_hop(received, Reading(reading.budget))
        client_ip, helo = hop.from_ip, hop.from_host
    if not client_ip or envelope.mail_from is None:
        return None, ""
    mail_from = envelope.mail_from.strip().strip("<>")
    verdict = check_spf(client_ip, mail_from, helo, questions)
    return verdict, normalise_host(mail_from.rpartition("@")[2] if mail_from else helo)


def _dmarc(authors: tuple[Mailbox, ...], proofs: list[Proof], questions: Questions) -> tuple[str | None, str | None]:
    """DMARC of the one author; of authors at several domains none is proven, whichever a reader is shown."""
    hosts = {address_domain(box.address) for box in authors if box.address}
    if not hosts:
        return None, None
    if len(hosts) > 1 or any(not box.address for box in authors):
        return "permerror", None
    verdict, policy = check_dmarc(hosts.pop(), proofs, questions)
    if verdict == "fail" and not any(proof.method == "spf" for proof in proofs):
        # It may have come from a host that the domain allows: nobody said from which it came.
        return None, policy
    return verdict, policy
