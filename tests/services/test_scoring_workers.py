"""Scoring processes: whatever a message does to them, it is answered and counted once, and the next is scored."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import structlog

from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError, NotFound, StoreError
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services import scoring_service
from mailwarden_services.reading import child as child_module
from mailwarden_services.reading.child import Died, TookTooLong
from mailwarden_services.reading.lanes import Lane
from mailwarden_services.scoring_api.intake import Intake
from mailwarden_services.scoring_service import ServingVersion
from mailwarden_services.scoring_worker import workers as workers_module
from mailwarden_services.scoring_worker.work import Ask, Found, Order, ScoredDraft, ScoringWork
from mailwarden_services.scoring_worker.workers import NOT_SCORED, ScoringWorkers

Mail = list[SimulatedMessage]

ENVELOPE = Envelope(1_772_409_600_000_000, "ann@far.example", ("bob@brightmoor.example",))
RAW = (
    b"From: Ann <ann@far.example>\r\nTo: bob@brightmoor.example\r\nSubject: the plan\r\n\r\n"
    b"minutes of the works council are ready for signature and hang beside the canteen until monday please tell the "
    b"secretary which corrections you want before the printed copy goes to the archive\r\n"
)
FALLBACKS = ("whole", "headers", "envelope")


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 240))


def pids(workers: ScoringWorkers) -> list[int]:
    return [child.pid for _, queue in workers._lanes._lanes for child in queue.children if child.pid is not None]


@asynccontextmanager
async def started(warden: Any, lanes: tuple[Lane, ...] = (Lane(None, 1, 0),)) -> AsyncIterator[ScoringWorkers]:
    platform = warden.platform
    workers = ScoringWorkers(warden.settings, platform.activity, platform.content, lanes=lanes)
    workers.start(1)
    try:
        yield workers
    finally:
        workers.stop()


class Order1:
    """A tenant's order that numbers nothing, and remembers what it was told."""

    def __init__(self, meanwhile: Callable[[Found], None] = lambda _: None) -> None:
        self.found: list[Found] = []
        self._meanwhile = meanwhile

    async def __call__(self, found: Found) -> Order:
        self.found.append(found)
        self._meanwhile(found)
        first = self.found[0]
        return Order("a campaign" if first.signature else "", first.signature, 0, ("a flag",))


async def nothing(_: Found) -> None:
    """What a tenant's order says of a message that is known."""


class Stubborn:
    """Lanes whose work is done here; of some kinds it fails, before or after it tells what it found."""

    def __init__(self, work: ScoringWork, before: dict[str, Exception], after: dict[str, Exception]) -> None:
        self.work, self.before, self.after = work, before, after
        self.asked: list[tuple[str, int]] = []

    async def ask(self, what: Ask, *, tenant: str, size: int, consult: Any) -> Any:
        self.asked.append((what.how, size))
        if what.how in self.before:
            raise self.before[what.how]
        work = self.work(what)
        assert work is not None
        order = await consult(next(work))
        if what.how in self.after:
            raise self.after[what.how]
        try:
            work.send(order)
        except StopIteration as end:
            return end.value

    def stop(self) -> None:
        pass


@pytest.mark.parametrize("named_in", ["envelope", "header"])
def test_mail_to_many_waits_beside_what_is_long(warden: Any, named_in: str) -> None:
    names = [f"p{number}@brightmoor.example" for number in range(200)]
    many, to_many = RAW, replace(ENVELOPE, rcpt_to=tuple(names))
    if named_in == "header":
        many, to_many = RAW.replace(b"bob@brightmoor.example", ", ".join(names).encode()), replace(ENVELOPE, rcpt_to=())
    tenant = warden.platform.tenants.get("acme")

    async def test() -> None:
        read, done = asyncio.Event(), asyncio.Event()

        async def held(found: Found) -> None:
            read.set()
            await done.wait()

        async with started(warden, (Lane(128 * 1024, 1, 0), Lane(None, 1, 5))) as workers:
            slow = asyncio.create_task(workers.score(tenant, many, to_many, 1, held))
            await read.wait()
            # The one process for short mail is free, whatever becomes of the other message.
            assert await asyncio.wait_for(workers.score(tenant, RAW, ENVELOPE, 1, Order1()), 60) is not None
            assert not slow.done()
            done.set()
            assert await slow is None

    run(test())


def told(scored: ScoredDraft | None) -> dict[str, Any]:
    assert scored is not None
    answer: dict[str, Any] = orjson.loads(scored.draft.answer_json(None, None))
    return answer


def statuses(scored: ScoredDraft | None) -> dict[str, str]:
    assert scored is not None
    rest = orjson.loads(b"{" + scored.draft.rest)
    return {row[0]: row[3] for row in rest["content"]}


@pytest.mark.parametrize(
    ("error", "when"),
    [(TookTooLong("1 s"), "reading"), (RecursionError("too deep"), "reading"), (Died("9"), "scoring")],
)
def test_what_one_way_cannot_score_the_next_does(warden: Any, error: Exception, when: str) -> None:
    tenant = warden.platform.tenants.get("acme")
    platform = warden.platform

    async def test() -> None:
        whole: ScoredDraft | None = None
        for failing in range(4):
            workers = ScoringWorkers(warden.settings, platform.activity, platform.content)
            fails = dict.fromkeys(FALLBACKS[:failing], error)
            lanes = Stubborn(workers._work, *((fails, {}) if when == "reading" else ({}, fails)))
            workers._lanes = lanes  # type: ignore[assignment]
            order = Order1()
            with structlog.testing.capture_logs() as logged:
                scored = await workers.score(tenant, RAW, ENVELOPE, 1, order)
            # A process that ended by itself says nothing against the message: the first way is tried once more.
            more = ["whole"] if isinstance(error, Died) and failing else []
            assert [line["what"] for line in logged if "what" in line] == [*more, *FALLBACKS[:failing]]
            assert all("plan" not in str(line) for line in logged)
            assert [how for how, _ in lanes.asked] == [*more, *FALLBACKS[: failing + 1]]
            answer = told(scored)
            assert scored is not None and "a flag" in answer["flags"] and answer["degraded"] is True
            whole = whole or scored
            # However little was seen of it, it is the same message, from the same sender.
            assert scored.draft.message_id == whole.draft.message_id
            assert (scored.draft.sender, scored.draft.recipients) == (whole.draft.sender, whole.draft.recipients)
            if when == "scoring":
                # It was read whole once: the campaign that it joined then, and the words it was told by, stay its own.
                assert scored.draft.event_json(1, ()).count(order.found[0].signature.encode()) == 1
                assert scored.draft.campaign == whole.draft.campaign == "a campaign"
            read = {view: status for view, status in statuses(scored).items() if status != "deadline"}
            assert ("content_text" in read) is (failing == 0) and ("content_headers" in read) is (failing < 2)
            assert (NOT_SCORED in answer["flags"]) is (failing == 3)
            if failing == 3:
                assert (answer["verdict"], answer["score"]) == ("banner", 0.5)
                assert [signal["name"] for signal in answer["signals"]] == ["not_scored"]
                assert orjson.loads(b"{" + scored.draft.rest)["rows"] == []

    run(test())


def test_the_time_that_was_found_in_a_message_is_kept_by_who_cannot_read_it(warden: Any) -> None:
    tenant = warden.platform.tenants.get("acme")
    received = b"Received: from a.example by mx.brightmoor.example; Tue, 3 Mar 2026 10:00:00 +0000\r\n"
    envelope = replace(ENVELOPE, received_at_us=None)

    async def test() -> None:
        platform = warden.platform
        workers = ScoringWorkers(warden.settings, platform.activity, platform.content)
        fails: dict[str, Exception] = dict.fromkeys(FALLBACKS, TookTooLong("1 s"))
        workers._lanes = Stubborn(workers._work, {}, fails)  # type: ignore[assignment]
        order = Order1()
        scored = await workers.score(tenant, received + RAW, envelope, 1, order)
        assert scored is not None and len(order.found) == 4
        assert {found.borne_us for found in order.found} == {scored.draft.received_at_us}
        assert {found.message_id for found in order.found} == {scored.draft.message_id}

    run(test())


def test_what_needs_no_score_is_not_scored_and_a_bundle_that_is_not_there_is_said(warden: Any) -> None:
    tenant = warden.platform.tenants.get("acme")

    async def test() -> None:
        async with started(warden) as workers:
            assert await workers.score(tenant, RAW, ENVELOPE, 1, nothing) is None
            with pytest.raises(NotFound):
                await workers.score(tenant, RAW, ENVELOPE, 99, Order1())
            with pytest.raises(NotFound):
                await workers.load(99)
            assert told(await workers.score(tenant, RAW, ENVELOPE, 1, Order1()))["model_version"] == 1
            assert workers.ended == 0

    run(test())


def test_no_time_at_all_is_not_enough_for_any_message_and_the_next_is_scored(
    warden: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "_LOOK_SECONDS", 0.001)
    tenant = warden.platform.tenants.get("acme")

    async def test() -> None:
        async with started(warden) as workers:
            for _, queue in workers._lanes._lanes:
                queue.children[0]._cpu_seconds = 1e-9
            scored = await workers.score(tenant, RAW + b"word " * 400_000, ENVELOPE, 1, Order1())
            assert statuses(scored)["content_text"] == "deadline" and workers.ended >= 1
            for _, queue in workers._lanes._lanes:
                queue.children[0]._cpu_seconds = 30.0
            assert statuses(await workers.score(tenant, RAW, ENVELOPE, 1, Order1()))["content_text"] == "present"

    run(test())


@contextlib.contextmanager
def struck(warden: Any, monkeypatch: pytest.MonkeyPatch, how: signal.Signals, times: int) -> Any:
    """While a message is being scored its process gets a signal, so many times."""
    strokes = []
    real = Intake._check

    def check(self: Intake, *args: Any, **options: Any) -> None:
        real(self, *args, **options)
        if len(strokes) < times:
            strokes.append(1)
            for pid in pids(self._workers):
                os.kill(pid, how)

    with monkeypatch.context() as patched:
        patched.setattr(Intake, "_check", check)
        yield strokes
    assert len(strokes) == times


def test_a_process_that_is_killed_in_the_middle_of_a_message_loses_and_doubles_nothing(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warden.api() as api:
        first = api.send(simulated[0])
        with struck(warden, monkeypatch, signal.SIGKILL, 1):
            answer = api.send(simulated[1])
        assert (first["seq"], answer["seq"], answer["repeated"]) == (1, 2, False)
        # Its header fields were read all the same.
        assert NOT_SCORED not in answer["flags"] and answer["detectors"]
        again = api.send(simulated[1])
        assert again == {**answer, "repeated": True}
        assert api.send(simulated[2])["seq"] == 3 and warden.service.intake._workers.ended == 1
    warden.drain()
    events = warden.events()
    assert [event.seq for event in events] == [1, 2, 3]
    assert warden.states() == warden.folded(events)


def test_a_message_that_no_process_comes_to_an_end_with_is_answered_with_care_and_logged(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a detector that waits for something would leave it: the process is there, and does nothing."""
    monkeypatch.setattr(workers_module, "CLOCK_FOR_CPU", 0.2)
    warden.settings = warden.settings.model_copy(update={"reading_seconds": 10.0})
    with warden.api() as api:
        with struck(warden, monkeypatch, signal.SIGSTOP, 3):
            answer = api.send(simulated[0])
        assert (answer["seq"], answer["verdict"], answer["degraded"]) == (1, "banner", True)
        assert NOT_SCORED in answer["flags"] and answer["detectors"] == {} and answer["model_version"] == 1
        assert api.send(simulated[0]) == {**answer, "repeated": True}
    # Alone in its batch, it has no vector, and the logs take it.
    warden.drain()
    with warden.api() as api:
        assert NOT_SCORED not in api.send(simulated[1])["flags"]
    warden.drain()
    events = warden.events()
    assert [event.seq for event in events] == [1, 2] and warden.states() == warden.folded(events)
    platform = warden.platform
    vectors = platform.vectors.scan().read_all()
    assert set(vectors["seq"].to_pylist()) == {2}
    stored = platform.decisions.by_message("acme", answer["message_id"])
    assert stored is not None and orjson.loads(stored.response) == answer


def test_a_bundle_is_at_hand_in_every_process_before_it_serves(warden: Any) -> None:
    tenant = warden.platform.tenants.get("acme")
    registry = warden.platform.registry
    old = registry.champion("bundle")
    artefacts = warden.platform.artefacts
    same = artefacts.put(artefacts.get(old.artefact_uri, old.artefact_sha256) + b"\n")
    for number, (uri, digest) in ((2, same), (3, (old.artefact_uri, "0" * 64))):
        registry.add(
            model_id=f"m{number}", name="bundle", artefact_uri=uri, artefact_sha256=digest, created_us=9,
            record=old.record,
        )  # fmt: skip

    async def test() -> None:
        async with started(warden, (Lane(1_000, 2, 0), Lane(None, 1, 0))) as workers:
            with pytest.raises(StoreError, match="damaged"):
                await workers.load(3)
            await workers.load(2)
            shutil.rmtree(warden.settings.models_path)
            for version in (2, 1):
                found = await asyncio.gather(
                    *(workers.score(tenant, raw, ENVELOPE, version, Order1()) for raw in (RAW, RAW, RAW + b"x" * 2_000))
                )
                assert [told(one)["model_version"] for one in found] == [version] * 3
            assert workers.ended == 0

    run(test())


def test_what_serves_is_exchanged_once_all_have_it_and_stays_where_they_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring_service, "MODEL_POLL_SECONDS", 0.001)
    promoted: list[int | Exception | None] = [None]
    loaded: list[int] = []
    gate = asyncio.Event()

    def latest() -> int | None:
        if isinstance(promoted[0], Exception):
            raise promoted[0]
        return promoted[0]

    async def look(version: int) -> Any:
        if version == 3:
            raise DataError("model 3 is damaged")
        return SimpleNamespace(version=version, whole=None, away={})

    async def load(version: int) -> Any:
        loaded.append(version)
        found = await look(version)
        await gate.wait()
        return found

    async def until(true: Callable[[], bool]) -> None:
        while not true():
            await asyncio.sleep(0.002)

    async def test() -> None:
        serving = ServingVersion(latest, load)
        await serving.begin(look)
        with pytest.raises(NotFound, match="train"):
            _ = serving.current
        promoted[0] = 1
        await serving.begin(look)
        assert serving.current == 1
        following = asyncio.create_task(serving.follow())
        promoted[0] = 2
        await until(lambda: loaded == [2])
        assert serving.current == 1
        gate.set()
        await until(lambda: serving.current == 2)
        promoted[0] = 3
        await until(lambda: "model 3 is damaged" in serving.words)
        await until(lambda: loaded.count(3) > 1)
        assert serving.current == 2
        # Whatever fails, it goes on looking.
        promoted[0] = RuntimeError("the database is away")
        await until(lambda: "away" in serving.words)
        promoted[0] = 4
        await until(lambda: serving.current == 4)
        await until(lambda: serving.words == "")
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    run(test())
