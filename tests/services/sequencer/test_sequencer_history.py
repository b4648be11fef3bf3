"""History in the sequencer: behind live drafts, in the order of its batch, each once, whatever the disk does."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from mailwarden.domain.mail.campaigns import SIGNATURE_BYTES, name_of
from mailwarden.domain.mail.facts import SignalFacts
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.accepted import AcceptedHistory, AcceptedLabel
from mailwarden.stores.history import HistoryLabel, HistorySignal, Numbered
from mailwarden.stores.online.streams import encode_event
from mailwarden_services.sequencer import history as history_module

ANN, BOB, EVE = "ann@far.example", "bob@acme.example", "eve@acme.example"
START = 1_772_409_600_000_000
WORDS = base64.b64encode(bytes(range(7, 7 + SIGNATURE_BYTES))).decode()


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_a_batch_is_numbered_in_its_order_each_message_once_with_what_is_said_of_it(opened: Any) -> None:
    async def test() -> None:
        with opened() as shard:
            qr = SignalFacts("qr", 2, 1, "far.example")
            took = await shard.take(
                shard.message(1, BOB, EVE, signature=WORDS),
                HistorySignal(0, qr, START + 1),
                HistoryLabel(0, "spam", None, START + 5),
                shard.message(2, BOB, signature=WORDS),
                shard.message(1, BOB, EVE, signature=WORDS),
                HistoryLabel(4, "ham", None, START + 6),
            )
            assert [one.seq for one in took] == [1, 2, 3, 4, 0, 0]
            assert took[0] == Numbered(1, name_of(WORDS), (BOB, EVE)) and took[3] == Numbered(4, name_of(WORDS), ())
            assert took[4] == Numbered(0, counts_with="m1") and took[5] == Numbered(0, waits=True)
            first, signal, label, second = shard.records()
            read = shard.event(1, BOB, EVE, signature=WORDS)
            assert first == AcceptedHistory(
                replace(read, seq=1, new_recipients=(BOB, EVE), campaign=name_of(WORDS)),
                b"raw 1", ANN, (BOB, EVE), "seen",
            )  # fmt: skip
            assert (signal.event.signal, signal.event.qr_code_count, signal.event.known_at_us) == ("qr", 2, START + 1)
            assert isinstance(label, AcceptedLabel) and (label.source, label.event.labelled_bad) == ("index", 1)
            assert label.event.campaign == name_of(WORDS) and label.event.new_recipients == (BOB, EVE)
            assert second.event.seq == 4 and shard.sequencer.stands_at("acme") == (5, START + 2)
            # Again, as after an ingest that was ended: nothing twice, and a label of what was taken before.
            again = await shard.take(
                shard.message(2, BOB, signature=WORDS),
                HistoryLabel(encode_event(second.event), "CP", None, START + 7),
                HistoryLabel(encode_event(first.event), "spam", None, START + 5),
                HistorySignal(encode_event(first.event), qr, START + 1),
            )
            assert [one.seq for one in again] == [0, 5, 0, 0]
        # What no log holds yet is known after a restart.
        with opened() as shard:
            assert [one.seq for one in await shard.take(shard.message(1, BOB, EVE), shard.message(3, EVE))] == [0, 6]
            assert shard.records()[-1].event.new_recipients == ()
            assert shard.sequencer.recent.of("acme") == []

    run(test())


def test_nothing_is_taken_while_the_logs_are_far_behind_or_the_tenant_is_not_folded(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        with opened() as shard:
            shard.lag = history_module.MOST_LAG_BYTES + 1
            took = await shard.history.take("acme", [shard.message(1)])
            assert took.numbered == () and "wait for the feature writer" in took.later and shard.records() == []
            shard.lag, shard.folded_up_to = 0, 0
            assert [one.seq for one in await shard.take(shard.message(1), shard.message(2))] == [1, 2]
            # Live mail came just now, so that the next batch waits for these two.
            await shard.sequencer.numbered("acme", ["m1"])
            waits = asyncio.create_task(shard.take(shard.message(3)))
            done, _ = await asyncio.wait([waits], timeout=0.2)
            assert not done
            shard.folded_up_to = 2
            assert [one.seq for one in await waits] == [3]
            # And goes on without, where nothing is ever folded.
            monkeypatch.setattr(history_module, "MOST_WAIT_SECONDS", 0.05)
            assert [one.seq for one in await shard.take(shard.message(4))] == [4]

    run(test())


def test_what_the_disk_refuses_is_taken_back_and_can_be_handed_over_again(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        with opened() as shard:
            await shard.take(shard.message(1))
            with monkeypatch.context() as patch:
                full(patch)
                with pytest.raises(StoreUnavailable):
                    await shard.take(shard.message(2, EVE, signature=WORDS), HistoryLabel(0, "spam", None, START + 5))
            assert shard.campaigns.find("acme", WORDS) == name_of(WORDS)
            assert len(shard.records()) == 1
            took = await shard.take(shard.message(2, EVE, signature=WORDS), HistoryLabel(0, "spam", None, START + 5))
            seqs = [one.seq for one in took]
            assert seqs[0] < seqs[1] and took[0].new_recipients == (EVE,)
            assert [record.event.seq for record in shard.records()] == [1, *seqs]

    run(test())


def test_history_is_refused_where_nobody_can_say_whether_it_is_known(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        with opened() as shard:

            def away(*_: object, **__: object) -> None:
                raise StoreError("the index is away")

            await shard.take(shard.message(1))
            for method in ("held", "meet"):
                with monkeypatch.context() as patch:
                    patch.setattr(shard.contacts, method, away)
                    with pytest.raises(StoreError, match="the index is away"):
                        await shard.take(shard.message(2))
            assert [one.seq for one in await shard.take(shard.message(2))] == [2]

    run(test())


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the disk takes nothing."""

    def write(handle: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", write)
