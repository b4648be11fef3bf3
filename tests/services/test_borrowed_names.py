"""Borrowed names, lookalike domains, own domains without proof and false threads, and the good twins of each.

Mail is read as the API reads it, its history counted from raw events, and what `header_rules` says looked at.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.content import ContentSet
from mailwarden.domain.mail.directory import NO_DIRECTORY, Directory, Entry
from mailwarden.domain.mail.events import Event, key_of, members_of
from mailwarden.domain.mail.message import Envelope
from mailwarden.domain.mail.trust import Trust
from mailwarden.ingest.receive import Site
from mailwarden.stores.content_code import content_set
from mailwarden.stores.lists import load_lists
from mailwarden.testing.naive_recount import recount
from mailwarden_detectors.header_rules.detector import HeaderRules
from mailwarden_features import discover
from mailwarden_services.reading.read import Reader

DAY_US = 86_400_000_000
NOW_US = 1_780_000_000_000_000
ANN, BOB = "ann.lee@acme-works.example", "bob.stone@acme-works.example"
DIRECTORY = Directory.of(
    [
        Entry(ANN, "Ann Lee", ("ann.lee@home-of-hers.example",), "Chief Financial Officer"),
        Entry(BOB, "Bob Stone", (), "Accountant", "Finance", manager=ANN),
        Entry("@tailspin.example", "", (), "vendor"),
    ]
)
FACTS = ("sender", "sender_domain", "recipients", "display_name", "structure", "path", "link_domain", "person")


@cache
def content() -> ContentSet:
    return content_set(discover().content, load_lists())


class Stream:
    """A tenant's mail, one message after another. directory: what it has by then."""

    def __init__(self, directory: Directory = NO_DIRECTORY) -> None:
        trust = Trust(frozenset({"mx.acme-works.example"}))
        self.site = Site("acme", frozenset({"acme-works.example"}), trust=trust, directory=directory)
        self.events: list[Event] = []
        self._reader = Reader(content())

    def send(self, sender: str, to: str = BOB, *, days: float = 0.0, proven: bool = True, **fields: str) -> set[str]:
        """The rules that a message meets, each by its name. days: before now; fields: more of them, `_` for `-`."""
        address = sender.rpartition("<")[2].rstrip(">")
        host = address.rpartition("@")[2]
        head = {
            "Authentication-Results": f"mx.acme-works.example; dmarc={'pass' if proven else 'fail'} header.from={host}",
            "From": sender,
            "To": to,
            "Subject": "Figures",
            "Message-ID": f"<{len(self.events)}.a@{host}>",
            **{name.replace("_", "-"): value for name, value in fields.items()},
        }
        text = "".join(f"{name}: {value}\n" for name, value in head.items()) + "\nThe figures, as we said.\n"
        at_us = NOW_US - round(days * DAY_US) + len(self.events) * 1_000_000
        reading = self._reader.whole(text.encode(), Envelope(at_us, address, (to,)), self.site)
        assert reading.failed == ()
        event = replace(reading.event, seq=len(self.events) + 1)
        values: dict[str, object] = {}
        for view in content().views:
            names = [f"{view.name}:{feature.name}" for feature in view.features]
            values.update(zip(names, reading.content.values[view.name], strict=True))
        for past in discover().activity:
            key = key_of(past.keys, event, to)
            own = {fact: members_of(event, fact) for fact in {recent.of for recent in past.recents}}
            found = {} if key is None else recount(past, self.events, key, "acme", event.received_at_us, event.seq, own)
            values.update({f"{past.name}:{name}": value for name, value in found.items()})
        columns = {name: np.array([values.get(name)], dtype=object).astype(np.float64) for name in HeaderRules.features}
        self.events.append(event)
        return {signal.name for signal in HeaderRules().explain(FeatureTable(columns, 1), 0, limit=99)}

    def past(self) -> Stream:
        """The same after some weeks in which Ann wrote outside, and a vendor from two domains of its own to Bob."""
        for days in (60, 50, 40, 30):
            self.send(f"Ann Lee <{ANN}>", "carl@northwind-parts.example", days=days)
            self.send("Dora Hill <dora@northwind-parts.example>", days=days)
            self.send("Dora Hill <dora@northwindparts.test>", days=days)
        return self


NAMES = {"vip_name_elsewhere", "manager_name_elsewhere", "staff_name_elsewhere", "outbound_name_elsewhere",
         "learned_name_elsewhere", "internal_name_elsewhere", "known_name_new_address"}  # fmt: skip
LOOKALIKES = {
    "known_domain_lookalike",
    "fresh_domain_lookalike",
    "own_lookalike",
    "partner_lookalike",
    "brand_lookalike",
}


def test_a_vips_name_from_another_address_is_told_and_the_private_one_that_is_listed_is_not() -> None:
    mail = Stream(DIRECTORY).past()
    borrowed = mail.send('"L\u0435e, \u00c4nn" <office@elsewhere.example>')
    assert {"vip_name_elsewhere", "manager_name_elsewhere"} <= borrowed
    assert not mail.send("Ann Lee <ann.lee@home-of-hers.example>") & NAMES
    assert not mail.send(f"Ann Lee <{ANN}>") & NAMES
    assert "staff_name_elsewhere" in mail.send("Bob Stone <bob@elsewhere.example>", ANN)
    assert not mail.send("Rob Stone-Hart <bob@elsewhere.example>", ANN) & NAMES


def test_a_vips_name_stays_told_after_mail_that_warmed_the_address_up() -> None:
    mail = Stream(DIRECTORY).past()
    for days in (5, 4, 3, 2, 1):
        mail.send("Ann Lee <office@elsewhere.example>", days=days)
    assert "vip_name_elsewhere" in mail.send("Ann Lee <office@elsewhere.example>")


def test_staff_is_learnt_where_no_directory_is_given() -> None:
    mail = Stream().past()
    assert "learned_name_elsewhere" in mail.send("Lee, Ann <office@elsewhere.example>")
    assert not mail.send("Ann Leeson <office@elsewhere.example>") & NAMES
    assert not mail.send(f"Ann Lee <{ANN}>") & NAMES


def test_a_private_address_that_somebody_here_writes_to_is_quiet() -> None:
    mail = Stream().past()
    mail.send(f"Bob Stone <{BOB}>", "ann@unlisted-home.example", days=3)
    assert not mail.send("Ann Lee <ann@unlisted-home.example>") & NAMES


def test_a_name_that_one_other_has_always_used_is_told() -> None:
    mail = Stream()
    for days in (60, 50, 40, 30, 20):
        mail.send("Carla Moss <carla@fabrikam.example>", days=days)
    assert "known_name_new_address" in mail.send("Carla Moss <carla@unheard.example>")
    assert "known_name_new_address" not in mail.send("Carla Moss <carla@fabrikam.example>")


@pytest.mark.parametrize(
    "domain", ["northvvind-parts.example", "northwindparts-invoice.test", "nortwhindparts.example"]
)
def test_a_lookalike_of_a_vendor_is_told(domain: str) -> None:
    assert "known_domain_lookalike" in Stream().past().send(f"Dora Hill <dora@{domain}>")


def test_a_vendors_second_domain_and_another_house_are_quiet() -> None:
    mail = Stream().past()
    assert not mail.send("Dora Hill <billing@northwindparts.test>") & LOOKALIKES
    assert not mail.send("Eve Ray <eve@southwind-parts.example>") & LOOKALIKES


def test_a_lookalike_stays_told_for_some_days_and_one_that_is_answered_does_not() -> None:
    mail = Stream().past()
    mail.send("Dora Hill <dora@northvvind-parts.example>", days=2)
    assert "fresh_domain_lookalike" in mail.send("Dora Hill <dora@northvvind-parts.example>")
    mail.send(f"Bob Stone <{BOB}>", "dora@northvvind-parts.example")
    assert not mail.send("Dora Hill <dora@northvvind-parts.example>") & LOOKALIKES


def test_lookalikes_of_own_domains_partners_and_brands_are_told() -> None:
    mail = Stream(DIRECTORY)
    assert "own_lookalike" in mail.send("Ann Lee <ann@acrne-works.example>")
    assert "own_lookalike" in mail.send("Ann Lee <ann@acmeworxs.test>")
    assert "partner_lookalike" in mail.send("Dora Hill <dora@tallspin.example>")
    assert "brand_lookalike" in mail.send("Service <service@paypa1.com>")
    for known in (ANN, "dora@tailspin.example", "service@paypal.com"):
        assert not mail.send(f"Somebody Here <{known}>") & LOOKALIKES


def test_own_domain_is_told_where_nothing_proves_it() -> None:
    mail = Stream().past()
    assert "own_domain_unproven" in mail.send(f"Ann Lee <{ANN}>", proven=False)
    assert "own_domain_unproven" not in mail.send(f"Ann Lee <{ANN}>")


def test_a_thread_counts_where_mail_that_is_known_is_answered() -> None:
    mail = Stream().past()
    mail.send(f"Ann Lee <{ANN}>", "eve@fabrikam.example", days=2, Message_ID="<ours@acme-works.example>")
    reply = {"Subject": "Re: Figures", "References": "<ours@acme-works.example>"}
    false = {"Subject": "Re: Figures", "References": "<ours@nowhere.example>"}
    assert not mail.send("Eve Ray <eve@fabrikam.example>", ANN, **reply) & {"false_thread"}
    assert "false_thread" in mail.send("Eve Ray <eve@unheard.example>", ANN, **false)
    joined = mail.send("Eve Ray <eve@unheard2.example>", ANN, **reply)
    assert "thread_joined" in joined and "false_thread" not in joined
