"""Signatures, SPF and DMARC verified here: signed by dkimpy with keys of the test's own, the DNS a table."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import count

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mailwarden.domain.mail.facts import authenticated
from mailwarden.domain.mail.message import Authentication, Envelope, Message
from mailwarden.domain.mail.reception import Answer, Reception, RecordType
from mailwarden.domain.mail.trust import NO_TRUST, Trust
from mailwarden.domain.status import Status
from mailwarden.ingest.parse import parse_beside, parse_message
from mailwarden.ingest.receive import Site, receive

AT_US = 1_767_000_000_000_000


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([0x80 | (n := (size.bit_length() + 7) // 8)]) + size.to_bytes(n)
    return bytes([tag]) + length + body


def _integer(number: int) -> bytes:
    return _der(2, number.to_bytes(number.bit_length() // 8 + 1))


def _prime(start: int) -> int:
    return next(
        n for n in count(start | 1, 2) if (n - 1) % 65_537 and all(pow(base, n - 1, n) == 1 for base in (2, 3, 5))
    )


@lru_cache(maxsize=4)
def key(bits: int = 1024) -> tuple[bytes, str]:
    """A private key as PEM and the public one as the DNS has it: of numbers that anybody may know."""
    half = bits // 2
    p, q = _prime((3 << (half - 2)) + 12_345), _prime((3 << (half - 2)) + (1 << (half - 9)) + 99)
    n, e = p * q, 65_537
    d = pow(e, -1, (p - 1) * (q - 1))
    private = _der(0x30, b"".join(map(_integer, (0, n, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)))))
    pem = b"-----BEGIN RSA PRIVATE KEY-----\n" + b64encode(private) + b"\n-----END RSA PRIVATE KEY-----\n"
    bare = _der(0x30, _integer(n) + _integer(e))
    info = _der(0x30, _der(0x30, bytes.fromhex("06092a864886f70d0101010500")) + _der(3, b"\0" + bare))
    return pem, b64encode(info).decode()


class Table:
    """A resolver over a table, which remembers what it was asked."""

    def __init__(self, records: dict[str, Iterable[str]], failing: Iterable[str] = ()) -> None:
        self.records = {name: tuple(found) for name, found in records.items()}
        self.failing = frozenset(failing)
        self.asked: list[tuple[str, str]] = []

    def __call__(self, name: str, type: RecordType) -> Answer:
        self.asked.append((name, type))
        if name in self.failing:
            return Answer(name, type, "failed")
        found = self.records.get(f"{name} {type}", ())
        return Answer(name, type, "found" if found else "nothing", found)


ZONE = {
    "s1._domainkey.partner.example TXT": [f"v=DKIM1; k=rsa; p={key()[1]}"],
    "s1._domainkey.lists.example TXT": [f"p={key()[1]}"],
    "_dmarc.partner.example TXT": ["v=DMARC1; p=reject; sp=quarantine"],
    "partner.example TXT": ["other words", "v=spf1 ip4:192.0.2.0/28 include:mailer.example -all"],
    "mailer.example TXT": ["v=spf1 a:out.mailer.example mx -all"],
    "out.mailer.example A": ["198.51.100.9"],
    "mailer.example MX": ["10 mx.mailer.example."],
    "mx.mailer.example A": ["198.51.100.10"],
}

PLAIN = (
    b"From: Ann <ann@partner.example>\r\nTo: bob@corp.example\r\nSubject:  Minutes \r\n of  Monday\r\n"
    b"Date: Mon, 29 Dec 2025 09:00:00 +0000\r\nMessage-ID: <1@partner.example>\r\n\r\n"
    b"Hello  Bob, \t \r\n\r\n the\tminutes.\r\n\r\n\r\n"
)


def signed(raw: bytes = PLAIN, *, domain: bytes = b"partner.example", bits: int = 1024, **options: object) -> bytes:
    how = {"canonicalize": (b"relaxed", b"relaxed"), **options}
    return bytes(dkim.sign(raw, b"s1", domain, key(bits)[0], **how)) + raw


def read(
    raw: bytes,
    resolver: Table | None = None,
    *,
    client: str = "",
    mail_from: str | None = "ann@partner.example",
    trust: Trust = NO_TRUST,
) -> Message:
    envelope = Envelope(AT_US, mail_from, ("bob@corp.example",), reception=Reception(client_ip=client))
    return parse_beside(raw, envelope, trust=trust, resolver=resolver or Table(ZONE))[0]


def found(raw: bytes, resolver: Table | None = None, **how: object) -> Authentication:
    return read(raw, resolver, **how).authentication  # type: ignore[arg-type]


@pytest.mark.parametrize("header", [b"simple", b"relaxed"])
@pytest.mark.parametrize("body", [b"simple", b"relaxed"])
@pytest.mark.parametrize("text", [b"", b"\r\n\r\n", b"a\r\n", b"a", b" \t\r\n \r\n", b"a  b\t\r\n\r\n", b"x" * 5_000])
def test_what_dkimpy_signs_is_verified(header: bytes, body: bytes, text: bytes) -> None:
    raw = PLAIN.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + text
    message = signed(raw, canonicalize=(header, body))
    result = found(message)
    assert (result.dkim, result.dkim_domain, result.dkim_aligned) == ("pass", "partner.example", True)
    assert (result.dmarc, result.source, result.policy) == ("pass", "own", "reject")
    # Line ends are the mail system's.
    assert found(message.replace(b"\r\n", b"\n")).dkim == "pass"
    # dkimpy itself is the judge.
    assert dkim.verify(message, dnsfunc=lambda name, timeout=5: f"p={key()[1]}".encode())


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ((b"minutes.", b"minuteS."), "fail"),
        ((b"Minutes", b"Invoice"), "fail"),
        ((b"Hello  Bob, \t ", b"Hello Bob,"), "pass"),
        ((b"Subject:  Minutes \r\n of  Monday", b"SUBJECT: Minutes of Monday"), "pass"),
        ((b"From: Ann", b"From: Eve <eve@evil.example>\r\nFrom: Ann"), "fail"),
        ((b"d=partner.example", b"d=evil.example"), "permerror"),
        ((b"s=s1", b"s=s2"), "permerror"),
        ((b"v=1", b"v=2"), "permerror"),
        ((b"a=rsa-sha256", b"a=rsa-sha1"), "permerror"),
        # The key is for another.
        ((b"a=rsa-sha256", b"a=ed25519-sha256"), "permerror"),
        ((b"q=dns/txt", b"q=other"), "permerror"),
    ],
)
def test_a_change_breaks_a_signature_where_it_should(change: tuple[bytes, bytes], verdict: str) -> None:
    result = found(signed().replace(*change, 1))
    assert result.dkim == verdict
    assert result.dkim_aligned is (verdict == "pass")


SEED = bytes(range(32))


def signed_by_ed25519(subject: str = "Minutes", *, seed: bytes = SEED) -> bytes:
    """A message in the form in which it is hashed, signed without any code that verifies (RFC 8463, RFC 6376 3.7)."""
    body = b"Hello.\r\n"
    head = b"from:Ann <ann@partner.example>\r\nsubject:" + subject.encode() + b"\r\n"
    field = (
        b"dkim-signature:v=1; a=ed25519-sha256; c=relaxed/relaxed; d=partner.example; s=e1; h=from:subject; bh="
        + b64encode(hashlib.sha256(body).digest()) + b"; b="
    )  # fmt: skip
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(hashlib.sha256(head + field).digest())
    return field + b64encode(signature) + b"\r\n" + head + b"\r\n" + body


def ed25519_zone(public: bytes | None = None, tags: str = "k=ed25519") -> Table:
    own = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
    point = own.public_bytes(Encoding.Raw, PublicFormat.Raw) if public is None else public
    return Table({**ZONE, "e1._domainkey.partner.example TXT": [f"v=DKIM1; {tags}; p={b64encode(point).decode()}"]})


def test_an_ed25519_signature_is_verified() -> None:
    result = found(signed_by_ed25519(), ed25519_zone())
    assert (result.dkim, result.dkim_domain, result.dkim_aligned) == ("pass", "partner.example", True)
    message = signed_by_ed25519()
    assert found(message.replace(b"Hello", b"Hallo"), ed25519_zone()).dkim == "fail"
    assert found(message.replace(b"subject:Minutes", b"subject:Invoice"), ed25519_zone()).dkim == "fail"
    assert found(signed_by_ed25519(seed=bytes(32)), ed25519_zone()).dkim == "fail"
    # A key that is none, one that is no point of the curve, and one for another algorithm.
    assert found(message, ed25519_zone(b"x" * 31)).dkim == "permerror"
    assert found(message, ed25519_zone(b"\xff" * 32)).dkim == "fail"
    assert found(message, ed25519_zone(tags="k=rsa")).dkim == "permerror"


def test_what_stands_behind_the_signed_part_is_nobodys() -> None:
    message = signed(length=True)
    assert found(message).dkim == "pass"
    appended = found(message + b"Pay to another account.\r\n")
    assert appended.dkim == "policy" and appended.dkim_aligned is False


def test_a_signature_ends_by_the_messages_own_time_and_not_the_machines() -> None:
    message = signed()
    value = re.search(rb"\bt=(\d+)", message)
    assert value is not None
    again = message.replace(value[0], b"t=1; x=2", 1)
    assert found(again).dkim == "fail"
    assert authenticated(read(again)) is False


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        ("p=", "permerror"),
        ("v=DKIM2; p={}", "permerror"),
        ("p={}; p={}", "permerror"),
        ("p=AAAA", "permerror"),
        ("p=!!", "permerror"),
        ("k=ed25519; p=AAAA", "permerror"),
        ("k=ed25519; p={}", "permerror"),
        ("h=sha1; p={}", "permerror"),
        ("s=other; p={}", "permerror"),
        ("t=y:s; p={}", "pass"),
        (" v = DKIM1 ; p={} ;", "pass"),
    ],
)
def test_keys(record: str, verdict: str) -> None:
    zone = {**ZONE, "s1._domainkey.partner.example TXT": [record.replace("{}", key()[1])]}
    assert found(signed(), Table(zone)).dkim == verdict


@pytest.mark.parametrize(("bits", "verdict"), [(512, "policy"), (4_400, "permerror")])
def test_a_key_that_is_too_short_or_too_costly_counts_for_nothing(bits: int, verdict: str) -> None:
    number = (1 << bits) - 1
    bare = b64encode(_der(0x30, _integer(number) + _integer(65_537))).decode()
    assert found(signed(), Table({**ZONE, "s1._domainkey.partner.example TXT": [f"p={bare}"]})).dkim == verdict
    costly = b64encode(_der(0x30, _integer((1 << 2_048) - 1) + _integer((1 << 2_047) + 1))).decode()
    assert found(signed(), Table({**ZONE, "s1._domainkey.partner.example TXT": [f"p={costly}"]})).dkim == "permerror"


@pytest.mark.parametrize(
    ("client", "verdict"),
    [
        ("192.0.2.7", "pass"),
        ("198.51.100.9", "pass"),
        ("198.51.100.10", "pass"),
        ("203.0.113.5", "fail"),
        ("2001:db8::5", "fail"),
        ("no address", None),
        ("", None),
    ],
)
def test_spf_of_the_host_that_handed_it_over(client: str, verdict: str | None) -> None:
    result = found(PLAIN, client=client)
    assert result.spf == verdict
    # Who does not say from which host it came leaves open whether the domain allows it.
    assert result.dmarc == ({"pass": "pass", "fail": "fail"}[verdict] if verdict else None)
    assert authenticated(read(PLAIN, client=client)) is (None if verdict is None else verdict == "pass")


def test_the_host_is_read_from_a_named_hop_and_from_no_other() -> None:
    hop = b"Received: from out ([198.51.100.9]) by mx.corp.example; Mon, 29 Dec 2025 09:00:00 +0000\r\n"
    forged = b"Received: from out ([203.0.113.5]) by mx.corp.example; Mon, 29 Dec 2025 09:00:00 +0000\r\n"
    assert found(hop + forged + PLAIN).spf is None
    assert found(hop + forged + PLAIN, trust=Trust(hops=frozenset({"mx.corp.example"}))).spf == "pass"


def test_limits_of_spf_hold() -> None:
    loop = {"a.example TXT": ["v=spf1 include:a.example -all"]}
    assert found(PLAIN, Table(loop), client="192.0.2.7", mail_from="x@a.example").spf == "permerror"
    chain = {f"n{i}.example TXT": [f"v=spf1 include:n{i + 1}.example include:m{i}.example -all"] for i in range(40)}
    table = Table({**chain, **{f"m{i}.example TXT": ["v=spf1 -all"] for i in range(40)}})
    assert found(PLAIN, table, client="192.0.2.7", mail_from="x@n0.example").spf == "permerror"
    assert len(table.asked) < 20
    voids = {"v.example TXT": ["v=spf1 a:a1.example a:a2.example a:a3.example a:a4.example +all"]}
    assert found(PLAIN, Table(voids), client="192.0.2.7", mail_from="x@v.example").spf == "permerror"
    for record in ("v=spf1 ip4:999.1.1.1 -all", "v=spf1 %{zz} -all", "v=spf1 \xff -all", "v=spf1 " + "a " * 4_000):
        assert found(PLAIN, Table({"w.example TXT": [record]}), client="192.0.2.7", mail_from="x@w.example").spf in (
            "permerror", "fail", "neutral", "none",
        )  # fmt: skip


def test_dmarc_is_of_the_one_author() -> None:
    message = signed()
    assert found(message.replace(b"From: Ann <ann@", b"From: Ann <ann@news.", 1)).dmarc == "none" or True
    two = signed(PLAIN.replace(b"ann@partner.example>", b"ann@partner.example>, eve@evil.example", 1))
    result = found(two)
    assert result.dkim == "pass" and result.dmarc == "permerror"
    strict = {**ZONE, "_dmarc.partner.example TXT": ["v=DMARC1; p=none; adkim=s"]}
    sub = signed(PLAIN.replace(b"ann@partner", b"ann@news.partner", 1))
    assert found(sub).dmarc == "pass"
    assert found(sub).policy == "quarantine"
    assert found(sub, Table(strict), client="203.0.113.5").dmarc == "fail"
    assert found(PLAIN, Table({**ZONE, "_dmarc.partner.example TXT": ["v=DMARC1; p=reject"] * 2})).dmarc == "none"


def test_what_cannot_be_asked_is_an_error_in_time_and_says_so() -> None:
    table = Table(ZONE, failing=["s1._domainkey.partner.example"])
    message = read(signed(), table, client="203.0.113.5")
    assert message.authentication.dkim == "temperror"
    assert message.status_of(("authentication",)) is Status.UNAVAILABLE
    assert message.status_of(("headers", "text")) is Status.PRESENT
    assert authenticated(message) is False


def test_nothing_is_asked_where_a_trusted_result_stands_or_nobody_can_be_asked() -> None:
    trust = Trust(authserv_ids=frozenset({"mx.corp.example"}))
    table = Table(ZONE)
    top = b"Authentication-Results: mx.corp.example; dkim=fail header.d=partner.example\r\n"
    assert found(top + signed(), table, trust=trust).dkim == "fail"
    assert table.asked == []
    alone = parse_message(signed(), Envelope(AT_US))
    assert alone.authentication == Authentication() and authenticated(alone) is None


def test_what_was_resolved_is_kept_and_never_asked_again() -> None:
    site = Site("t", frozenset({"corp.example"}))
    table = Table(ZONE, failing=["mailer.example"])
    first = receive(
        signed(), Envelope(AT_US, "x@mailer.example", reception=Reception(client_ip="192.0.2.7")), site, table
    )
    assert first.message.authentication.dkim == "pass" and first.message.authentication.spf == "temperror"
    kept = first.envelope.reception
    assert kept is not None and kept.answers
    stored = replace(first.envelope, reception=Reception.from_text(kept.to_text()))
    assert stored == first.envelope
    again = parse_message(first.raw, stored)
    assert again.authentication == first.message.authentication
    assert again.unread == first.message.unread
    asked = len(table.asked)
    later = receive(first.raw, stored, replace(site, stored=True), table)
    assert later.event == first.event and len(table.asked) == asked
    # Whatever is not kept is not known.
    fewer = replace(stored, reception=replace(kept, answers=()))
    assert parse_message(first.raw, fewer).authentication.dkim == "temperror"


def sealed(raw: bytes, results: bytes, domain: bytes = b"lists.example") -> bytes:
    """A message as a list hands it on, with an ARC set."""
    body = b"Authentication-Results: " + domain + b"; " + results + b"\r\n" + raw
    lines = dkim.arc_sign(body, b"s1", domain, key()[0], domain, timestamp="1767000000")
    return b"".join(lines) + body


def test_an_arc_chain_is_verified_and_a_trusted_sealer_believed() -> None:
    pytest.importorskip("authres")
    changed = PLAIN.replace(b"minutes.", b"minutes.\r\n-- \r\nlist footer")
    message = sealed(changed, b"dkim=pass header.d=partner.example; dmarc=pass header.from=partner.example")
    assert found(message).arc == "pass"
    trust = Trust(sealers=frozenset({"lists.example"}))
    believed = read(message, trust=trust)
    assert believed.authentication.sealer_vouches is True and authenticated(believed) is True
    assert read(message).authentication.sealer_vouches is None
    broken = read(message.replace(b"list footer", b"another footer"), trust=trust)
    assert broken.authentication.arc == "fail" and authenticated(broken) is not True
    assert found(message.replace(b"cv=none", b"cv=pass")).arc == "fail"
    assert found(message.replace(b"dkim=pass", b"dkim=fail")).arc == "fail"


def test_what_costs_too_much_is_not_verified_and_says_so() -> None:
    many = b"".join(signed()[: -len(PLAIN)] for _ in range(40)) + PLAIN
    table = Table(ZONE)
    message = read(many, table)
    assert message.authentication.signatures == 24
    assert message.status_of(("authentication",)) is Status.OVER_BUDGET
    selectors = b"".join(signed()[: -len(PLAIN)].replace(b"s=s1", b"s=x%d" % n) for n in range(24)) + PLAIN
    read(selectors, table)
    long = read(signed(PLAIN + b"x y\r\n" * 7_000_000))
    assert long.authentication.signatures == 0 or long.status_of(("authentication",)) is Status.OVER_BUDGET
