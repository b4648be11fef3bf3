from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.mail import facts as domain_facts
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import FACTS_VERSION
from mailwarden.domain.mail.message import Message
from mailwarden.domain.mail.trust import Trust
from mailwarden.errors import DataError, NotFound, StoreError
from mailwarden.ingest import pipeline, receive
from mailwarden.ingest import reparse as stage
from mailwarden.ingest.index import LabelIndex
from mailwarden.ingest.receive import Site
from mailwarden.ingest.reparse import reparse
from mailwarden.ingest.sources import open_source
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import AS_ACCEPTED, FactSet, FactSets
from mailwarden.stores.lake.raw_mail import RawMail


class Lake:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = EventLog(folder / "events")
        self.raw = RawMail(folder / "raw")
        self.sets = FactSets(folder / "facts", self.log)
        self.minute = 0

    def ingest(self, *senders: str, tenant: str = "acme", label: str = "") -> None:
        """One message to bob from each sender, a minute after the one before."""
        folder = self.folder / f"mail{self.minute}"
        folder.mkdir()
        for sender in senders:
            head = f"From x@y.example Sun Apr  8 13:{self.minute:02} 2007\nFrom: {sender}\nTo: bob@acme.example\n"
            (folder / str(self.minute)).write_text(f"{head}Subject: {self.minute}\n\n{self.minute}\n")
            (self.folder / "index").write_text(f"{label or 'ham'} {folder.name}/{self.minute}\n")
            self.minute += 1
        pipeline.ingest(
            open_source(folder),
            tenant=tenant,
            own_domains=frozenset({"acme.example"}),
            event_log=self.log,
            raw_mail=self.raw,
            labels=LabelIndex.read(self.folder / "index") if label else None,
            workers=1,
        )

    def label_again(self, folder: str) -> None:
        """Ingest a folder once more, with labels as `index` has them."""
        pipeline.ingest(
            open_source(self.folder / folder),
            tenant="acme",
            own_domains=frozenset({"acme.example"}),
            event_log=self.log,
            raw_mail=self.raw,
            fact_sets=self.sets,
            labels=LabelIndex.read(self.folder / "index"),
            workers=1,
        )

    def reparse(self, *tenants: str, **options: Any) -> FactSet:
        sites = {name: Site(name, frozenset({"acme.example"})) for name in tenants or ("acme",)}
        return reparse(self.sets, self.log, self.raw, sites, made_at_us=1, workers=1, scratch=self.folder, **options)

    def events(self, tenant: str = "acme", number: int | None = None) -> list[Event]:
        return [event for part in self.sets.view(tenant, number).in_order(tenant, limit=2) for event in part]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.fixture
def new_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Code that takes ann's two addresses for one, and says so."""
    taken = domain_facts.event_of

    def event_of(message: Message, **given: Any) -> Event:
        event = taken(message, **given)
        return replace(event, sender=event.sender.replace("ann2@", "ann@"), facts_version=7)

    monkeypatch.setattr(receive, "event_of", event_of)
    monkeypatch.setattr(stage, "FACTS_VERSION", 7)
    yield


def senders(events: list[Event]) -> list[tuple[int, str, str, int, int]]:
    return [(e.seq, e.kind, e.sender.partition("@")[0], len(e.new_recipients), e.facts_version) for e in events]


AS_LOGGED = [
    (1, "message", "ann", 1, FACTS_VERSION),
    (2, "message", "ann2", 1, FACTS_VERSION),
    (3, "message", "eve", 1, FACTS_VERSION),
    (4, "label", "eve", 1, FACTS_VERSION),
]
ANEW = [
    (1, "message", "ann", 1, 7),
    (2, "message", "ann", 0, 7),
    (3, "message", "eve", 1, 7),
    (4, "label", "eve", 1, 7),
]


def test_facts_are_derived_under_the_same_seqs_and_decided_again_in_their_order(lake: Lake, new_code: None) -> None:
    with pytest.MonkeyPatch.context() as old_code:
        old_code.setattr(receive, "event_of", domain_facts.event_of)
        lake.ingest("ann@x.example", "ann2@x.example")
        lake.ingest("eve@x.example", label="spam")
    before = lake.events()
    assert senders(before) == AS_LOGGED
    assert lake.sets.newest() == AS_ACCEPTED
    made = lake.reparse()
    assert (made.number, made.tenants["acme"].through, made.tenants["acme"].events, made.tenants["acme"].kept) == (
        1,
        4,
        4,
        0,
    )
    assert senders(lake.events()) == ANEW
    # The log is what it was, and is still set 0.
    assert lake.events(number=0) == before == [e for part in lake.log.after("acme", 0) for e in part]
    same = ("seq", "kind", "message_id", "received_at_us", "known_at_us", "time_source", "label", "labelled_bad")
    for old, new in zip(before, lake.events(), strict=True):
        assert [getattr(old, name) for name in same] == [getattr(new, name) for name in same]
    # Mail goes on being logged, and counts in both.
    lake.ingest("ann2@x.example")
    assert senders(lake.events())[:4] == ANEW
    assert senders(lake.events())[4:] == senders(lake.events(number=0))[4:] == [(5, "message", "ann", 0, 7)]
    found = lake.sets.view("acme").find("acme", before[1].message_id, before[1].received_at_us)
    assert found is not None
    assert found.sender == "ann@x.example"


def test_a_label_that_comes_later_in_bulk_bears_its_messages_facts_in_force(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.ingest("ann@x.example", "ann2@x.example")
    with monkeypatch.context() as new_code:
        taken = domain_facts.event_of

        def event_of(message: Message, **given: Any) -> Event:
            event = taken(message, **given)
            return replace(event, sender=event.sender.replace("ann2@", "ann@"), signature="A" * 128, facts_version=7)

        new_code.setattr(receive, "event_of", event_of)
        new_code.setattr(stage, "FACTS_VERSION", 7)
        lake.reparse()
    # Code that takes other facts again does not change which ones the message counts with.
    (lake.folder / "index").write_text("spam mail0/1\n")
    lake.label_again("mail0")
    message, label = lake.events()[1:]
    assert (message.sender, message.new_recipients, message.facts_version) == ("ann@x.example", (), 7)
    assert label == replace(message, **{name: getattr(label, name) for name in domain_facts._OWN["label"]})
    assert label.campaign and (label.kind, label.seq, label.label) == ("label", 3, "spam")


def test_stored_mail_gives_the_events_that_it_gave_when_it_came(lake: Lake) -> None:
    lake.ingest("ann@x.example", "GROẞ@großbank.example")
    lake.ingest("eve@x.example", label="CP")
    lake.ingest("From: eve@x.example")
    lake.reparse(again=True)
    assert lake.events() == lake.events(number=0)
    assert lake.events()[1].sender == "groß@xn--grobank-2va.example"
    assert [event.facts_version for event in lake.events()] == [domain_facts.FACTS_VERSION] * 5


def test_nothing_is_derived_where_the_same_code_took_all_there_is(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="acme"):
        lake.reparse()
    lake.ingest("ann@x.example")
    with pytest.raises(DataError, match="again"):
        lake.reparse()
    # Code of another fingerprint logged under the same version.
    lake.sets.note(domain_facts.FACTS_VERSION, "other")
    assert lake.reparse().number == 1
    with pytest.raises(DataError, match="again"):
        lake.reparse()
    monkeypatch.setattr(stage, "facts_fingerprint", lambda: "third")
    assert lake.reparse().number == 2
    assert lake.reparse(again=True).number == 3


def test_events_whose_raw_mail_is_gone_keep_their_facts_and_are_counted(lake: Lake, new_code: None) -> None:
    with pytest.MonkeyPatch.context() as old_code:
        old_code.setattr(receive, "event_of", domain_facts.event_of)
        lake.ingest("ann2@x.example", label="spam")
    lake.raw.drop_before(datetime.date(2007, 4, 9))
    lake.ingest("ann@x.example", "ann2@x.example")
    made = lake.reparse().tenants["acme"]
    assert (made.events, made.kept) == (4, 2)
    assert senders(lake.events()) == [
        (1, "message", "ann2", 1, FACTS_VERSION),
        (2, "label", "ann2", 1, FACTS_VERSION),
        (3, "message", "ann", 1, 7),
        (4, "message", "ann", 0, 7),
    ]


def test_damaged_raw_mail_counts_as_gone(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.ingest("ann@x.example")
    scan = RawMail.scan
    monkeypatch.setattr(
        RawMail, "scan", lambda self, tenant: (replace(r, raw=r.raw + b"x") for r in scan(self, tenant))
    )
    assert lake.reparse(again=True).tenants["acme"].kept == 1
    assert lake.events() == lake.events(number=0)


def test_a_crash_leaves_the_old_set_in_force_and_is_gone_on_with(
    lake: Lake, new_code: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tenant in ("acme", "beta"):
        lake.ingest("ann@x.example", "ann2@x.example", tenant=tenant)
    lake.reparse("acme", "beta", again=True)
    before = lake.sets.newest()
    add, publish, parsed = FactSets.add, FactSets.publish, list[str]()

    def dies(self: FactSets, begun: Any, tenant: str, rows: Any) -> bool:
        if tenant == "beta":
            raise StoreError("cut off")
        return add(self, begun, tenant, rows)

    monkeypatch.setattr(FactSets, "add", dies)
    with pytest.raises(StoreError, match="cut off"):
        lake.reparse("acme", "beta", again=True)
    assert lake.sets.newest() == before
    assert senders(lake.events()) == senders(lake.events(number=1))
    lake.ingest("eve@x.example")
    monkeypatch.setattr(FactSets, "add", add)

    def dies_too(self: FactSets, begun: Any, made_at_us: int) -> FactSet:
        raise StoreError("cut off")

    monkeypatch.setattr(FactSets, "publish", dies_too)
    with pytest.raises(StoreError, match="cut off"):
        lake.reparse("acme", "beta", again=True, progress=lambda tenant, done: parsed.append(tenant))
    assert parsed == ["beta"]
    assert lake.sets.newest() == before
    monkeypatch.setattr(FactSets, "publish", publish)
    made = lake.reparse("acme", "beta", again=True, progress=lambda tenant, done: parsed.append(tenant))
    assert parsed == ["beta"]
    assert made.number == 2
    # What came meanwhile is beyond it.
    assert made.tenants["acme"].through == 2
    assert [e.seq for e in lake.events()] == [1, 2, 3]


def test_a_crash_right_behind_publishing_changes_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.ingest("ann@x.example")
    note = lake.sets.path / "begun.json"
    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        lake.reparse(again=True)
    assert note.exists()
    assert lake.sets.begun() is None
    assert lake.reparse(again=True).number == 2
    assert lake.events() == lake.events(number=1)


def test_other_code_gives_up_a_set_on_its_way(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.ingest("ann@x.example")
    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(FactSets, "publish", lambda *given: (_ for _ in ()).throw(StoreError("cut off")))
        with pytest.raises(StoreError):
            lake.reparse(again=True)
    monkeypatch.setattr(stage, "facts_fingerprint", lambda: "other")
    assert lake.reparse(again=True).number == 2
    assert not (lake.sets.path / "1").exists()


def test_a_set_of_one_tenant_leaves_the_others_as_they_were(lake: Lake, new_code: None) -> None:
    with pytest.MonkeyPatch.context() as old_code:
        old_code.setattr(receive, "event_of", domain_facts.event_of)
        for tenant in ("acme", "beta", "gamma"):
            lake.ingest("ann2@x.example", tenant=tenant)
    lake.reparse("acme", "beta")
    made = lake.reparse("beta", again=True)
    assert {name: facts.table for name, facts in made.tenants.items()} == {"acme": 1, "beta": 2}
    for tenant, sender in (("acme", "ann"), ("beta", "ann"), ("gamma", "ann2")):
        assert [e[2] for e in senders(lake.events(tenant))] == [sender]
    snapshot = lake.sets.snapshot()
    assert [(table.tenants, len(table.files)) for table in snapshot.tables] == [(("acme",), 2), (("beta",), 1)]
    assert snapshot.through == {"acme": 1, "beta": 1}


def test_two_cannot_derive_at_once(lake: Lake) -> None:
    lake.ingest("ann@x.example")
    with lake.sets.writing(), pytest.raises(StoreError, match="another"):
        lake.reparse()


def test_a_set_that_lacks_an_event_is_not_published(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.ingest("ann@x.example", "eve@x.example")
    add = FactSets.add

    def loses(self: FactSets, begun: Any, tenant: str, rows: Any) -> bool:
        return add(self, begun, tenant, lambda: (batch.slice(1) for batch in rows()))

    monkeypatch.setattr(FactSets, "add", loses)
    with pytest.raises(DataError, match="holds 1 events"):
        lake.reparse(again=True)
    assert lake.sets.newest() == AS_ACCEPTED


def test_another_trust_has_facts_derived_anew(lake: Lake) -> None:
    lake.ingest("ann@x.example")
    with pytest.raises(DataError, match="nothing to"):
        lake.reparse()
    trusting = {"acme": Site("acme", frozenset({"acme.example"}), trust=Trust(topmost=1))}

    def derive() -> FactSet:
        return reparse(lake.sets, lake.log, lake.raw, trusting, made_at_us=1, workers=1, scratch=lake.folder)

    assert derive().tenants["acme"].trust == trusting["acme"].trust.fingerprint
    assert [event.trust for event in lake.events()] == [trusting["acme"].trust.fingerprint]
    assert [event.trust for event in lake.events(number=0)] == [""]
    with pytest.raises(DataError, match="nothing to"):
        derive()
    # And back again.
    assert lake.reparse().tenants["acme"].trust == ""
