"""History in the sequencer: behind live drafts, in the order of its batch, each once, whatever the disk does."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.mail.campaigns import SIGNATURE_BYTES, name_of
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import SignalFacts
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.accepted import Accepted, AcceptedHistory, AcceptedLabel, decode_accepted
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.history import HistoryLabel, HistoryMessage, HistorySignal, Numbered
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.streams import encode_event
from mailwarden.stores.spool import Spool, SpoolReader
from mailwarden_services.sequencer import history as history_module
from mailwarden_services.sequencer.history import History
from mailwarden_services.sequencer.sequencer import Sequencer

ANN, BOB, EVE = "ann@far.example", "bob@acme.example", "eve@acme.example"
START = 1_772_409_600_000_000
WORDS = base64.b64encode(bytes(range(7, 7 + SIGNATURE_BYTES))).decode()


def event(number: int, *to: str, signature: str = "") -> Event:
    return Event(
        "acme", 0, "message", f"m{number}", START + number, START + number, "envelope", "inbound", ANN,
        "far.example", to or (BOB,), ("acme.example",), signature=signature,
    )  # fmt: skip


def message(number: int, *to: str, signature: str = "") -> HistoryMessage:
    return HistoryMessage(encode_event(event(number, *to, signature=signature)), b"raw %d" % number, ANN, to, "seen")


class Shard:
    """A sequencer that takes history, over files of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lag, self.folded_up_to = 0, 10_000

    def __enter__(self) -> Shard:
        self.spool = Spool(self.folder / "spool", fsync=False)
        self.contacts = Contacts(self.folder / "contacts.sqlite")
        self.campaigns = Campaigns(self.folder / "campaigns")
        self.sequencer = Sequencer(
            spool=self.spool, events=EventLog(self.folder / "events"), contacts=self.contacts,
            campaigns=self.campaigns, stale_after_seconds=60.0,
        )  # fmt: skip
        for record in self.records():
            self.sequencer.restore(record)
        self.history = History(
            self.sequencer, lag_bytes=lambda: self.lag, folded=lambda tenant: self.folded_up_to
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.spool.close()
        self.contacts.close()
        self.campaigns.close()

    def records(self) -> list[Accepted]:
        reader = SpoolReader(self.folder / "spool", "tests")
        found = [decode_accepted(payload) for batch in iter(reader.poll, []) for _, payload in batch]
        reader.close()
        return found

    async def take(self, *items: Any) -> list[Numbered]:
        took = await self.history.take("acme", items)
        assert not took.later
        return list(took.numbered)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_a_batch_is_numbered_in_its_order_each_message_once_with_what_is_said_of_it(tmp_path: Path) -> None:
    async def test() -> None:
        with Shard(tmp_path) as shard:
            qr = SignalFacts("qr", 2, 1, "far.example")
            took = await shard.take(
                message(1, BOB, EVE, signature=WORDS),
                HistorySignal(0, qr, START + 1),
                HistoryLabel(0, "spam", None, START + 5),
                message(2, BOB, signature=WORDS),
                message(1, BOB, EVE, signature=WORDS),
                HistoryLabel(4, "ham", None, START + 6),
            )
            assert [one.seq for one in took] == [1, 2, 3, 4, 0, 0]
            assert took[0] == Numbered(1, name_of(WORDS), (BOB, EVE)) and took[3] == Numbered(4, name_of(WORDS), ())
            assert took[4] == Numbered(0, counts_with="m1") and took[5] == Numbered(0, waits=True)
            first, signal, label, second = shard.records()
            assert first == AcceptedHistory(
                replace(event(1, BOB, EVE, signature=WORDS), seq=1, new_recipients=(BOB, EVE), campaign=name_of(WORDS)),
                b"raw 1", ANN, (BOB, EVE), "seen",
            )  # fmt: skip
            assert (signal.event.signal, signal.event.qr_code_count, signal.event.known_at_us) == ("qr", 2, START + 1)
            assert isinstance(label, AcceptedLabel) and (label.source, label.event.labelled_bad) == ("index", 1)
            assert label.event.campaign == name_of(WORDS) and label.event.new_recipients == (BOB, EVE)
            assert second.event.seq == 4 and shard.sequencer.stands_at("acme") == (5, START + 2)
            # Again, as after an ingest that was ended: nothing twice, and a label of what was taken before.
            again = await shard.take(
                message(2, BOB, signature=WORDS),
                HistoryLabel(encode_event(second.event), "CP", None, START + 7),
                HistoryLabel(encode_event(first.event), "spam", None, START + 5),
                HistorySignal(encode_event(first.event), qr, START + 1),
            )
            assert [one.seq for one in again] == [0, 5, 0, 0]
        # What no log holds yet is known after a restart.
        with Shard(tmp_path) as shard:
            assert [one.seq for one in await shard.take(message(1, BOB, EVE), message(3, EVE))] == [0, 6]
            assert shard.records()[-1].event.new_recipients == ()
            assert shard.sequencer.recent.of("acme") == []

    run(test())


def test_nothing_is_taken_while_the_logs_are_far_behind_or_the_tenant_is_not_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        with Shard(tmp_path) as shard:
            shard.lag = history_module.MOST_LAG_BYTES + 1
            took = await shard.history.take("acme", [message(1)])
            assert took.numbered == () and "wait for the feature writer" in took.later and shard.records() == []
            shard.lag, shard.folded_up_to = 0, 0
            assert [one.seq for one in await shard.take(message(1), message(2))] == [1, 2]
            # Live mail came just now, so that the next batch waits for these two.
            await shard.sequencer.numbered("acme", ["m1"])
            waits = asyncio.create_task(shard.take(message(3)))
            done, _ = await asyncio.wait([waits], timeout=0.2)
            assert not done
            shard.folded_up_to = 2
            assert [one.seq for one in await waits] == [3]
            # And goes on without, where nothing is ever folded.
            monkeypatch.setattr(history_module, "MOST_WAIT_SECONDS", 0.05)
            assert [one.seq for one in await shard.take(message(4))] == [4]

    run(test())


def test_what_the_disk_refuses_is_taken_back_and_can_be_handed_over_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        with Shard(tmp_path) as shard:
            await shard.take(message(1))
            with monkeypatch.context() as patch:
                full(patch)
                with pytest.raises(StoreUnavailable):
                    await shard.take(message(2, EVE, signature=WORDS), HistoryLabel(0, "spam", None, START + 5))
            assert shard.campaigns.find("acme", WORDS) == name_of(WORDS)
            assert len(shard.records()) == 1
            took = await shard.take(message(2, EVE, signature=WORDS), HistoryLabel(0, "spam", None, START + 5))
            seqs = [one.seq for one in took]
            assert seqs[0] < seqs[1] and took[0].new_recipients == (EVE,)
            assert [record.event.seq for record in shard.records()] == [1, *seqs]

    run(test())


def test_history_is_refused_where_nobody_can_say_whether_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        with Shard(tmp_path) as shard:

            def away(*_: object, **__: object) -> None:
                raise StoreError("the index is away")

            await shard.take(message(1))
            for method in ("held", "meet"):
                with monkeypatch.context() as patch:
                    patch.setattr(shard.contacts, method, away)
                    with pytest.raises(StoreError, match="the index is away"):
                        await shard.take(message(2))
            assert [one.seq for one in await shard.take(message(2))] == [2]

    run(test())


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the disk takes nothing."""

    def write(handle: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", write)
