"""Campaigns, found before the API reads history and given with a message's seq."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import StoreError
from mailwarden.ingest.pipeline import ingest
from mailwarden.ingest.sources import open_source
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.raw_mail import RawMail
from mailwarden.testing.naive_campaigns import naive_campaigns

START = 1_772_409_600_000_000
OFFER = (
    "the warehouse closes its spring sale on friday evening so that every order placed before noon travels without "
    "any charge and returns are taken back within sixty days by the courier who brought them to your door"
)
NOTICE = (
    "minutes of the works council are ready for signature and hang beside the canteen until monday please tell the "
    "secretary which corrections you want before the printed copy goes to the archive"
)


def varied(text: str, seed: int) -> str:
    """The text with ten random words in it and another name before it."""
    rng, words = random.Random(seed), text.split()
    for _ in range(10):
        words.insert(rng.randrange(len(words)), "".join(rng.choice("abcdefghijklmnopqrstuvw") for _ in range(7)))
    return f"Dear {''.join(rng.choice('klmnop') for _ in range(5)).title()}, {' '.join(words)} {rng.random()}"


def mail(minute: int, text: str) -> tuple[bytes, Envelope]:
    raw = (
        f"From: s{minute}@parts.example\nTo: bob@brightmoor.example\nSubject: {minute}\n"
        f"Date: Tue, 3 Mar 2026 10:00:00 +0000\n\n{text}\n"
    )
    return raw.encode(), Envelope(START + minute * 60_000_000, f"s{minute}@parts.example", ("bob@brightmoor.example",))


def send(api: Any, minute: int, text: str, **options: Any) -> dict[str, Any]:
    response = api.score(*mail(minute, text), **options)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_variants_are_of_one_campaign_through_restarts_and_labels_bear_it(warden: Any) -> None:
    with warden.api() as api:
        first = send(api, 1, varied(OFFER, 1))
        send(api, 2, varied(NOTICE, 2))
        assert send(api, 1, varied(OFFER, 1))["repeated"] is True
    # What the feature writer has not logged yet is in the spool; what it has, in the log.
    with warden.api() as api:
        send(api, 3, varied(OFFER, 3))
    warden.drain()
    for file in warden.settings.campaigns_path.glob("*"):
        file.unlink()
    with warden.api() as api:
        send(api, 4, varied(OFFER, 4))
        send(api, 5, "ok, thanks")
        api.label(message_id=first["message_id"], label="CP", known_at="2026-03-09T00:00:00Z")
    warden.drain()
    events = list(warden.events())
    names = [event.campaign for event in events]
    assert names == [names[0], names[1], names[0], names[0], "", names[0]] and names[0] != names[1] != ""
    assert names[:5] == naive_campaigns((event.seq, event.signature) for event in events[:5])


def test_what_is_scored_without_a_trace_founds_nothing(warden: Any) -> None:
    with warden.api() as api:
        send(api, 1, varied(OFFER, 1), path="/v1/score?observe=false")
        send(api, 2, varied(OFFER, 2))
    warden.drain()
    (event,) = warden.events()
    assert event.campaign == naive_campaigns([(1, event.signature)])[0]


def test_mail_goes_on_and_says_so_where_campaigns_cannot_be_read(warden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StoreError("campaigns failed")

    with warden.api() as api:
        monkeypatch.setattr(Campaigns, "find", broken)
        answer = send(api, 1, varied(OFFER, 1))
        assert "campaigns unavailable" in answer["flags"] and answer["degraded"] is True
        monkeypatch.undo()
        assert send(api, 2, varied(OFFER, 2))["flags"] == []
        send(api, 3, varied(OFFER, 3))
    warden.drain()
    first, second, third = warden.events()
    assert (first.campaign, first.signature != "") == ("", True) and second.campaign == third.campaign != ""


def test_the_api_and_bulk_ingest_give_the_same_mail_the_same_campaigns(warden: Any, tmp_path: Path) -> None:
    texts = [varied((OFFER, NOTICE)[minute % 2], minute) for minute in range(1, 9)]
    with warden.api() as api:
        for minute, text in enumerate(texts, 1):
            send(api, minute, text)
    warden.drain()
    box = tmp_path / "box"
    box.mkdir()
    for minute, text in enumerate(texts, 1):
        raw, _ = mail(minute, text)
        (box / f"{minute}.eml").write_bytes(raw.replace(b"10:00:00", f"10:{minute:02d}:00".encode()))
    log = EventLog(tmp_path / "events")
    ingest(
        open_source(box), tenant="acme", own_domains=frozenset({"brightmoor.example"}), event_log=log,
        raw_mail=RawMail(tmp_path / "raw"), workers=1,
    )  # fmt: skip
    (bulk,) = log.after("acme", 0)
    assert [event.campaign for event in bulk] == [event.campaign for event in warden.events()]
    assert len({event.campaign for event in bulk}) == 2
