"""The sequencer: each message is numbered once, in order, on disk before it is told of, whatever comes at once."""

from __future__ import annotations

import asyncio
import base64
import os
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import orjson
import pytest

from mailwarden.domain.mail.campaigns import SIGNATURE_BYTES, name_of
from mailwarden.domain.mail.facts import label_event_of, tombstone_of
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.accepted import AcceptedLabel, AcceptedMessage, AcceptedTombstone
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.online.watermark import Watermark
from mailwarden_services.sequencer.numbering import NO_CONTACTS
from mailwarden_services.sequencer.order import Begun
from mailwarden_services.sequencer.sequencer import NO_CAMPAIGNS

ANN, BOB, EVE = "ann@far.example", "bob@acme.example", "eve@acme.example"
START = 1_772_409_600_000_000
WORDS = base64.b64encode(bytes(range(7, 7 + SIGNATURE_BYTES))).decode()


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the disk takes nothing."""

    def write(handle: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", write)


def test_a_message_is_numbered_and_on_disk_before_it_is_told_of(opened: Any) -> None:
    async def test() -> None:
        with opened() as shard:
            outcome = await shard.accept(shard.draft(1, BOB, EVE), key="k")
            (record,) = shard.records()
            assert isinstance(record, AcceptedMessage)
            assert record.event.seq == outcome.seq == 1 and record.event.new_recipients == (BOB, EVE)
            assert record.answer == orjson.loads(outcome.answer) and record.idempotency_key == "k"
            assert record.raw == b"raw acme1"
            assert outcome.recent is shard.sequencer.recent.find("acme", "acme1") and outcome.recent.on_disk
            assert shard.sequencer.newest_us("acme") == START + 1

    run(test())


@pytest.mark.parametrize("key", [None, "k"])
def test_a_message_that_is_handed_over_many_times_at_once_is_numbered_once(opened: Any, key: str | None) -> None:
    """Whichever copy was scored first: here each comes to another answer."""

    async def test() -> None:
        with opened() as shard:
            copies = [shard.draft(1, text=str(number)) for number in range(20)]
            outcomes = await asyncio.gather(*(shard.accept(copy, key=key) for copy in copies))
            records = shard.records()
            assert [record.event.seq for record in records] == [1]
            (first,) = [outcome for outcome in outcomes if not outcome.repeated]
            assert all(outcome.recent is first.recent for outcome in outcomes)
            assert first.recent is not None and first.recent.answer == first.answer
            assert sum(outcome.seq for outcome in outcomes) == 1
            # Another message under the same key is told which one has it.
            if key:
                other = await shard.accept(shard.draft(2), key=key)
                assert other.repeated and other.recent is first.recent and len(shard.records()) == 1

    run(test())


def test_what_was_numbered_long_ago_is_found_in_the_index(opened: Any) -> None:
    async def test() -> None:
        with opened() as shard:
            first = await shard.accept(shard.draft(1))
            assert first.recent is not None
            shard.sequencer.recent.forget(first.recent)
            again = await shard.accept(shard.draft(1))
            assert again.before and not again.seq and not again.answer and not again.repeated
            assert await shard.sequencer.numbered("acme", ["acme1", "acme2"]) == {"acme1": 1}
            assert await shard.sequencer.numbered("other", ["acme1"]) == {}
            assert (await shard.accept(shard.draft(2))).seq == 2

    run(test())


def test_where_the_index_cannot_be_read_nobody_says_that_a_message_is_new(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        with opened() as shard:
            await shard.accept(shard.draft(1))
            with monkeypatch.context() as patched:
                broken = _raising(StoreError("contacts failed"))
                patched.setattr(Contacts, "meet", broken)
                patched.setattr(Contacts, "held", broken)
                assert (await shard.accept(shard.draft(1))).repeated
                unsure = await shard.accept(shard.draft(2))
                assert unsure.unsure and not unsure.seq and len(shard.records()) == 1
                sure = await shard.accept(shard.draft(2), sure=True)
                told = orjson.loads(sure.answer)
                assert (sure.seq, told["flags"], told["degraded"]) == (2, [NO_CONTACTS], True)
                # Of all ids it may be that they are known: looking for their messages tells.
                assert await shard.sequencer.numbered("acme", ["a", "b"]) == {"a": 0, "b": 0}
            assert (await shard.accept(shard.draft(2))).repeated

    run(test())


def test_seqs_stand_in_the_spool_in_order_for_each_tenant_whatever_comes_at_once(opened: Any) -> None:
    async def test() -> None:
        tenants = ("acme", "other", "third")
        with opened() as shard:
            asked = [shard.draft(number, tenant=tenants[number % 3]) for number in range(200)]
            random.Random(1).shuffle(asked)
            outcomes = await asyncio.gather(*(shard.accept(one) for one in asked))
            given: dict[str, list[int]] = {tenant: [] for tenant in tenants}
            for record in shard.records():
                given[record.event.tenant].append(record.event.seq)
            assert given == {tenant: list(range(1, len(seqs) + 1)) for tenant, seqs in given.items()}
            assert sum(map(len, given.values())) == 200
            found = {(record.event.tenant, record.event.message_id): record.event.seq for record in shard.records()}
            assert [found[one.tenant, one.message_id] for one in asked] == [outcome.seq for outcome in outcomes]

    run(test())


def test_a_group_that_the_disk_refuses_is_taken_back_and_may_come_again(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        with opened(stale_after_seconds=0.0) as shard:
            await shard.accept(shard.draft(1))
            drafts = [
                shard.draft(2, EVE),
                shard.draft(3, EVE),
                shard.draft(3, EVE),
                shard.draft(4, BOB, "joe@acme.example"),
            ]
            with monkeypatch.context() as patched:
                full(patched)
                refused = await asyncio.gather(*(shard.accept(one) for one in drafts), return_exceptions=True)
            assert [type(error) for error in refused] == [StoreUnavailable] * 4
            assert all("is full" in str(error) for error in refused)
            assert [shard.sequencer.recent.find("acme", f"acme{number}") for number in (2, 3, 4)] == [None] * 3
            # Nobody waits for features of what was never numbered.
            assert shard.sequencer.begin("acme", "", observe=True).due_seq == 1
            outcomes = [await shard.accept(one) for one in drafts]
            assert [outcome.repeated for outcome in outcomes] == [False, False, True, False]
            seqs = [outcome.seq for outcome in outcomes if outcome.seq]
            assert seqs == sorted(seqs) and seqs[0] > 1
            events = [record.event for record in shard.records()]
            assert [event.seq for event in events] == [1, *seqs]
            assert [event.new_recipients for event in events] == [(BOB,), (EVE,), (), ("joe@acme.example",)]

    run(test())


def test_a_caller_that_goes_away_leaves_a_message_that_is_numbered(opened: Any) -> None:
    async def test() -> None:
        with opened() as shard:
            await shard.sequencer.meet("acme")
            asking = asyncio.create_task(shard.accept(shard.draft(1)))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert (await shard.accept(shard.draft(1))).repeated
            assert [record.event.seq for record in shard.records()] == [1]

    run(test())


def test_near_copies_that_come_at_once_are_of_one_campaign(opened: Any) -> None:
    near = _near(WORDS)

    async def test() -> None:
        with opened() as shard:
            await shard.sequencer.meet("acme")
            # Read one after another, scored for as long as it takes, and numbered in another order.
            begun = [shard.sequencer.begin("acme", words, observe=True) for words in (WORDS, near, WORDS)]
            assert {one.campaign for one in begun} == {name_of(WORDS)}
            pairs = list(zip((1, 2, 3), begun, (WORDS, near, WORDS), strict=True))
            outcomes = [
                await shard.accept(shard.draft(number, campaign=one.campaign, signature=words))
                for number, one, words in reversed(pairs)
            ]
            assert [outcome.seq for outcome in outcomes] == [1, 2, 3]
            assert {record.event.campaign for record in shard.records()} == {name_of(WORDS)}
        # So it is after a restart, from what the spool holds.
        with opened() as shard:
            await shard.sequencer.meet("acme")
            assert shard.sequencer.begin("acme", near, observe=False).campaign == name_of(WORDS)

    run(test())


def test_what_is_given_up_takes_nobody_else_out_of_its_campaign(opened: Any) -> None:
    """Both were begun before either was numbered, and so bear the same seq among the campaigns."""
    near = _near(WORDS)

    async def test() -> None:
        with opened() as shard:
            await shard.sequencer.meet("acme")
            kept = shard.sequencer.begin("acme", WORDS, observe=True)
            gone = shard.sequencer.begin("acme", _near(WORDS, 40), observe=True)
            shard.sequencer.abandon("acme", gone)
            assert shard.sequencer.begin("acme", near, observe=False).campaign == kept.campaign == name_of(WORDS)
            shard.sequencer.abandon("acme", kept)
            assert shard.sequencer.begin("acme", near, observe=False).campaign == name_of(near)

    run(test())


def test_where_campaigns_cannot_be_read_a_message_has_none_and_says_so(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        with opened() as shard:
            with monkeypatch.context() as patched:
                patched.setattr(Campaigns, "prepare", _raising(StoreError("campaigns failed")))
                await shard.sequencer.meet("acme")
                assert shard.sequencer.begin("acme", WORDS, observe=True) == Begun("", 0, flags=(NO_CAMPAIGNS,))
            await shard.sequencer.meet("acme")
            assert shard.sequencer.begin("acme", WORDS, observe=True).flags == ()

    run(test())


def test_a_label_that_is_given_twice_at_once_counts_once(opened: Any) -> None:
    async def test() -> None:
        with opened() as shard:
            target = (await shard.accept(shard.draft(1))).recent
            assert target is not None
            made: list[tuple[int, str | None]] = []

            def make(label: str) -> Callable[[int, str | None], AcceptedLabel]:
                def record(seq: int, replaced: str | None) -> AcceptedLabel:
                    made.append((seq, replaced))
                    event = label_event_of(target.event, label=label, replaced=replaced, seq=seq, known_at_us=START + 9)
                    return AcceptedLabel(event, "analyst", "tests")

                return record

            def give(label: str, held: str | None = None) -> Coroutine[Any, Any, int]:
                return shard.sequencer.label("acme", "acme1", label, held, make(label))

            seqs = await asyncio.gather(give("SP"), give("SP"), give("CP"), give("CP"), give("SP"))
            assert seqs == [2, 0, 3, 0, 4] and made == [(2, None), (3, "SP"), (4, "CP")]
            assert shard.sequencer.told.labels.get(("acme", "acme1")) == "SP"
            # What the log holds counts where nothing was given since.
            assert await shard.sequencer.label("acme", "acme9", "SP", "SP", make("SP")) == 0
        with opened() as shard:
            assert shard.sequencer.told.labels.get(("acme", "acme1")) == "SP"
            assert await shard.sequencer.label("acme", "acme1", "SP", None, make("SP")) == 0
            assert [record.event.label for record in shard.records()] == ["", "SP", "CP", "SP"]

    run(test())


def test_a_label_that_the_disk_refuses_may_be_given_again(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        with opened() as shard:
            target = (await shard.accept(shard.draft(1))).recent
            assert target is not None

            def make(seq: int, replaced: str | None) -> AcceptedLabel:
                event = label_event_of(target.event, label="CP", replaced=replaced, seq=seq, known_at_us=START + 9)
                return AcceptedLabel(event, "analyst", "tests")

            with monkeypatch.context() as patched:
                full(patched)
                with pytest.raises(StoreUnavailable):
                    await shard.sequencer.label("acme", "acme1", "CP", "SP", make)
            assert await shard.sequencer.label("acme", "acme1", "CP", "SP", make) > 1
            assert await shard.sequencer.label("acme", "acme1", "CP", "SP", make) == 0
            assert len(shard.records()) == 2

    run(test())


def test_what_is_forgotten_gets_one_tombstone_and_nothing_after_it(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        with opened() as shard:
            target = (await shard.accept(shard.draft(1))).recent
            assert target is not None

            def forget(signal: str = "") -> Coroutine[Any, Any, int]:
                def told(seq: int) -> AcceptedTombstone:
                    about = replace(target.event, signal=signal)
                    return AcceptedTombstone(tombstone_of(about, seq=seq, known_at_us=START + 9))

                return shard.sequencer.forget("acme", "acme1", signal, told)

            with monkeypatch.context() as patched:
                full(patched)
                with pytest.raises(StoreUnavailable):
                    await forget()
            assert not shard.sequencer.told.is_forgotten("acme", "acme1")
            seqs = await asyncio.gather(forget(), forget(), forget("qr"))
            assert sorted(seqs)[0] == 0 and len({*seqs}) == 3 and shard.sequencer.told.is_forgotten("acme", "acme1")
        with opened() as shard:
            assert await forget() == 0 and await forget("qr") == 0
            assert await shard.sequencer.signal("acme", "acme1", "qr", _raising(AssertionError())) == 0
            assert await shard.sequencer.label("acme", "acme1", "CP", None, _raising(AssertionError())) == 0
            assert [record.event.kind for record in shard.records()] == ["message", "tombstone", "tombstone"]

    run(test())


def test_how_far_features_lag_is_told_in_the_mails_own_time(opened: Any) -> None:
    async def test() -> None:
        with opened() as shard:
            assert shard.sequencer.age_seconds("acme", None) is None
            for number in (1, 2_000_001):
                await shard.accept(shard.draft(number))
            assert shard.sequencer.age_seconds("acme", Watermark(2, START + 2_000_001)) == 0.0
            assert shard.sequencer.age_seconds("acme", Watermark(1, START + 1)) == 2.0
            # All that was there is folded, whatever times it bore; then one message is not.
            for number, age in ((3_000_001, 0.0), (4_000_001, 3.000001)):
                told = orjson.loads((await shard.accept(shard.draft(number, as_of=2))).answer)
                assert told["features"] == {"as_of_seq": 2, "age_seconds": age}

    run(test())


def _raising(error: Exception) -> Callable[..., Any]:
    def broken(*_: object, **__: object) -> None:
        raise error

    return broken


def _near(signature: str, slot: int = 60) -> str:
    """A signature that differs in one slot."""
    data = bytearray(base64.b64decode(signature))
    data[slot] ^= 255
    return base64.b64encode(bytes(data)).decode()
