"""What the event log says of messages that were judged, against a plain recount over events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.evaluation import keys as keys_module
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.keys import Keys
from mailwarden.settings import Settings
from mailwarden_services.bootstrap import Platform
from mailwarden_services.evaluation import facts as module
from mailwarden_services.evaluation.facts import Learned, MessageFacts, facts_of, labels_of, learned

DAY_US = 86_400_000_000
TENANTS = ("acme", "other")


def message(seq: int, tenant: str = "acme", **given: Any) -> Event:
    whole = {
        "received_at_us": seq * DAY_US, "direction": "inbound", "sender": "a@far.example",
        "sender_domain": "far.example", "recipients": ("u@acme.example",), "recipient_domains": ("acme.example",),
        "campaign": "",
    } | given  # fmt: skip
    at_us = whole["received_at_us"]
    return Event(tenant, seq, "message", f"m{seq}", known_at_us=at_us, time_source="envelope", **whole)


def label(seq: int, of: Event, word: str, day: float, kind: Any = "label") -> Event:
    return replace(of, seq=seq, kind=kind, label=word, known_at_us=round(day * DAY_US))


def words(column: Coded) -> list[str]:
    return [column.word(row) for row in range(len(column))]


MESSAGES = [
    message(1, campaign="c", new_recipients=("u@acme.example",), authenticated=True, sender_domain="gmail.com"),
    message(2, campaign="c", authenticated=False, sender_domain=""),
    message(3, direction="outbound", sender_domain="acme.example", recipient_domains=("far.example", "x.example")),
    message(4, recipients=(), recipient_domains=()),
    message(1, "other", campaign="c", recipient_domains=("sub.example",), direction="internal"),
    message(2, "other", campaign="d", recipient_domains=("sub.example",)),
]
SAID = [
    label(11, MESSAGES[0], "ham", 20), label(12, MESSAGES[0], "CP", 21), label(13, MESSAGES[0], "BE", 40),
    label(14, MESSAGES[1], "SP", 20), label(15, MESSAGES[1], "withdrawn", 22),
    label(16, MESSAGES[2], "ham", 30), label(17, MESSAGES[3], "SP", 20), label(18, MESSAGES[3], "", 21, "tombstone"),
    label(11, MESSAGES[4], "EX", 20),
]  # fmt: skip


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    found = Platform(Settings(home=tmp_path))
    found.events.append([*MESSAGES, *SAID])
    return found


def keys_for(messages: Sequence[Event]) -> Keys:
    return Keys(pa.array([m.tenant for m in messages]), pa.array([m.message_id for m in messages]))


@pytest.fixture(params=[1, 1_000])
def rows_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come in many parts, or in one."""
    size: int = request.param
    monkeypatch.setattr(keys_module, "gathered", lambda batches, rows=size, of=keys_module.gathered: of(batches, size))


@pytest.mark.usefixtures("rows_at_once")
def test_the_newest_label_known_by_then_counts(platform: Platform) -> None:
    found = labels_of(platform, keys_for(MESSAGES), TENANTS, 25 * DAY_US)
    assert words(found.label) == ["CP", "", "", "SP", "EX", ""]
    assert found.gone.tolist() == [False, False, False, True, False, False]
    never = np.iinfo(np.int64).max
    assert found.first_us.tolist() == [20 * DAY_US, 20 * DAY_US, 30 * DAY_US, 20 * DAY_US, 20 * DAY_US, never]
    assert words(labels_of(platform, keys_for(MESSAGES), TENANTS, 50 * DAY_US).label)[0] == "BE"
    assert words(labels_of(platform, keys_for(MESSAGES[:1]), ("acme",), DAY_US).label) == [""]


@pytest.mark.usefixtures("rows_at_once")
def test_facts_slice_messages(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEVERAL", 1)
    order = [MESSAGES[at] for at in (5, 3, 1, 4, 0, 2)]
    found = facts_of(platform, keys_for([*order, message(99)]), TENANTS)
    assert found.seq.tolist() == [2, 4, 2, 1, 1, 3, 0]
    slices = {name: words(column) for name, column in found.slices.items()}
    assert slices["site"] == ["sub.example", "", "acme.example", "sub.example", "acme.example", "acme.example", ""]
    assert slices["first_contact"] == ["known"] * 4 + ["first contact", "known", ""]
    assert slices["authentication"] == ["not said", "not said", "denied", "not said", "authenticated", "not said", ""]
    assert slices["direction"] == ["inbound", "inbound", "inbound", "internal", "inbound", "outbound", ""]
    assert slices["free_mail"] == ["own domain", "own domain", "", "own domain", "free mail", "own domain", ""]
    campaign = found.campaign.tolist()
    # Of one name in two tenants, two campaigns.
    assert campaign[2] == campaign[4] != campaign[3] and len({campaign[0], campaign[2], campaign[3]}) == 3
    assert [campaign[at] for at in (1, 5, 6)] == [-1, -1, -1]


def test_sites_with_little_mail_stand_together(platform: Platform) -> None:
    assert set(words(facts_of(platform, keys_for(MESSAGES), TENANTS).slices["site"])) == {"others", ""}


def test_what_was_labelled_when_a_bundle_learned_is_told(platform: Platform) -> None:
    labels = labels_of(platform, keys_for(MESSAGES), TENANTS, 50 * DAY_US)
    facts = MessageFacts(np.array([1, 2, 3, 4, 1, 2]), np.full(6, -1), {})
    tenant = Coded.of([m.tenant for m in MESSAGES])

    def of(what: Learned) -> list[bool]:
        return [word == "learned from" for word in words(learned(tenant, facts, labels, what))]

    assert of(Learned(25 * DAY_US)) == [True, True, False, True, True, False]
    # What was ingested since, however old, it cannot have learned from.
    assert of(Learned(25 * DAY_US, through={"acme": 1})) == [True, False, False, False, False, False]
    assert of(Learned(25 * DAY_US, {"other": 10 * DAY_US}, {"acme": 9, "other": 9})) == [True, True, False, True,
                                                                                       False, False]  # fmt: skip


def test_no_messages_have_no_facts(platform: Platform) -> None:
    found = facts_of(platform, keys_for([]), ())
    assert len(found.seq) == 0 and all(len(column) == 0 for column in found.slices.values())
    assert len(labels_of(platform, keys_for([]), (), DAY_US).label) == 0
