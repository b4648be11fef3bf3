"""Materialising while mail flows, cut off anywhere, in parts: the states are those of one fold after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.mail.content import ContentSet
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.lists import NO_LISTS
from mailwarden.errors import DataError
from mailwarden.materialize import MaterializeReport, materialize
from mailwarden.materialize import states as states_module
from mailwarden.settings import Settings
from mailwarden.stores.lake.event_log import EventLog, events_to_table
from mailwarden.stores.lake.fact_sets import FACT_SCHEMA, FactSets, TenantFacts
from mailwarden.stores.online.catalog import Entry
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.generations import Generations
from mailwarden.stores.online.keys import KeyTemplate, sketch_field, state_field
from mailwarden.stores.online.takeover import Takeover
from mailwarden.stores.online.writer import LoadReport, OnlineWriter
from mailwarden.stores.spark import online_load
from mailwarden.stores.spark.offline_table import OfflineTable


class Home:
    """A home with an event log and a Redis, and what both must come to."""

    def __init__(self, spark: SparkSession, settings: Settings, client: Client, histories: Any) -> None:
        self.spark, self.settings, self.client, self.histories = spark, settings, client, histories
        self.log = EventLog(settings.events_path)
        self.view: ActivityView = histories.view()
        self.writer = OnlineWriter(client, settings.project, [self.view], settings.streams)

    def materialize(self, *, patience: float = 120.0, **options: Any) -> MaterializeReport:
        content = ContentSet((), NO_LISTS, {})
        return materialize(
            self.spark, self.settings, [self.view], content, dict, patience_seconds=patience, **options  # type: ignore[arg-type]
        )  # fmt: skip

    def entry(self) -> Entry:
        return Generations(self.client, self.settings.project, [self.view]).catalog().of(self.view)

    def fields(self) -> set[bytes]:
        found: set[bytes] = set()
        for key in self.client.scan_iter():
            if not key.startswith(b"mailwarden:"):
                found.update(self.client.hkeys(key))  # type: ignore[arg-type]
        return found

    def must_hold(self, events: list[Event], *generations: int) -> None:
        """The generations hold exactly these events, and so do the offline files where they were written last."""
        template = KeyTemplate(self.settings.project, self.view.keys)
        expected = self.histories.states(self.view, events)
        for generation in generations:
            field = state_field(self.view, generation)
            held = {
                key for key in self.client.scan_iter() if template.owns(key) and self.client.hexists(key, field)  # type: ignore[arg-type]
            }  # fmt: skip
            assert held == {template.key(key[0], key[1:]) for key in expected}
            for key, state in expected.items():
                name = template.key(key[0], key[1:])
                assert self.client.hget(name, field) == state.to_bytes()  # type: ignore[arg-type]
                sketches = self.client.hget(name, sketch_field(self.view, generation))  # type: ignore[arg-type]
                assert members(self.view, state.to_bytes(), sketches) == members(
                    self.view, state.to_bytes(), state.sketch_bytes()
                )

    def must_hold_offline(self, events: list[Event]) -> None:
        table = OfflineTable(self.settings.offline_path, self.view.name, self.view.version)
        manifest = table.manifest()
        assert manifest is not None
        rows = states_module.states_of_table(self.spark, self.view, table, manifest).collect()
        expected = self.histories.states(self.view, events)
        assert len(rows) == manifest.rows == len(expected)
        for row in rows:
            state = expected[tuple(row[name] for name in ("tenant", *self.view.keys))]
            assert (bytes(row["state"]), row["last_seq"]) == (state.to_bytes(), state.last_seq)
            own = members(self.view, row["state"], bytes(row["sketches"]))
            assert own == members(self.view, row["state"], state.sketch_bytes())


def members(view: ActivityView, state: bytes, sketches: Any) -> list[int]:
    """What each sketch counts: their bytes tell in which order names came."""
    read = EntityState.from_bytes(layout_of(view), state, sketches)
    return [sketch.estimate() for sketch in [*read.sketches, *chain(*chain(*read.suffix_sketches))]]


@pytest.fixture
def home(spark: SparkSession, histories: Any, tmp_path: Path, redis_url: str, redis_client: Client) -> Home:
    settings = Settings(home=tmp_path / "home", redis_url=redis_url)  # type: ignore[arg-type]
    return Home(spark, settings, redis_client, histories)


def test_one_view_is_backfilled_beside_what_serves(home: Home) -> None:
    events = home.histories.events(120, seed=5)
    home.log.append(events[:100])
    home.materialize()
    assert home.entry() == Entry(1, last=1)
    home.log.append(events[100:])
    home.writer.fold(events[100:])
    report = home.materialize(only=["who"]).views
    assert [(view.view, view.how) for view in report] == [("who", "full")]
    assert report[0].online is not None
    assert (report[0].online.how, report[0].online.generation) == ("new generation", 2)
    assert home.entry() == Entry(2, None, (1,), last=2)
    home.must_hold(events, 1, 2)
    again = home.materialize().views[-1]
    assert again.online is not None and again.online.how == "unchanged"
    assert home.entry() == Entry(2, last=2)
    assert home.fields() == {b"who@1.2", b"who@1.2:s"}
    home.must_hold(events, 2)


class Cut(Exception):
    """Where a run is cut off."""


def test_a_run_cut_off_anywhere_is_made_good_by_the_next(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    events = home.histories.events(150, seed=6)
    parts = [events[:60], events[60:90], events[90:110], events[110:130], events[130:]]
    told: list[Event] = []

    def cut_by(target: Any, name: str, make: Callable[[Any], Any]) -> None:
        """A run with one thing replaced, after more events were logged; it must end there."""
        more = parts[len(cuts)]
        cuts.append(name)
        home.log.append(more)
        told.extend(more)
        with monkeypatch.context() as patch:
            patch.setattr(target, name, make(getattr(target, name)))
            with pytest.raises(Cut):
                home.materialize(afresh=True)

    def instead(_: Any) -> Any:
        def raises(*args: Any, **kwargs: Any) -> None:
            raise Cut

        return raises

    def after(original: Any) -> Any:
        def runs(*args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)
            raise Cut

        return runs

    def half(original: Any) -> Any:
        def loads(states: Any, *args: Any, **kwargs: Any) -> LoadReport:
            original(states.limit(5), *args, **kwargs)
            raise Cut

        return loads

    cuts: list[str] = []
    cut_by(Generations, "begin", after)
    assert home.entry().filling is not None and home.fields() == set()
    cut_by(online_load, "load_states", half)
    assert home.fields() == {b"who@1.2", b"who@1.2:s"}
    cut_by(Generations, "loaded", after)
    entry = home.entry()
    assert entry.serving is None and entry.filling is not None and entry.filling.loaded is not None
    cut_by(Takeover, "complete", instead)
    cut_by(OfflineTable, "publish", instead)
    report = home.materialize()
    serving = home.entry().serving
    assert serving is not None and report.waits == ()
    home.must_hold(events, serving)
    home.must_hold_offline(events)
    assert told == events
    home.materialize()
    assert home.fields() == {f"who@1.{serving}".encode(), f"who@1.{serving}:s".encode()}


def test_a_partition_at_a_time_may_be_cut_off_before_the_flip(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    events = home.histories.events(80, seed=7)
    home.log.append(events[:50])
    joined = Generations.caught_up
    calls = iter(range(100))

    def cut(self: Generations, *args: Any, **kwargs: Any) -> bool:
        if next(calls) == 2:
            raise Cut
        return joined(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Generations, "caught_up", cut)
        with pytest.raises(Cut):
            home.materialize()
    entry = home.entry()
    assert entry.serving is None and entry.filling is not None and len(entry.filling.caught_up) == 2
    home.log.append(events[50:])
    report = home.materialize()
    assert [view.how for view in report.views] == ["incremental"]
    assert report.views[-1].online is not None and report.views[-1].online.how == "added to"
    assert home.entry() == Entry(1, last=1)
    home.must_hold(events, 1)
    home.must_hold_offline(events)


def test_new_events_cost_what_they_touch_however_late_they_are(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states_module, "PARTS", 2)
    events = home.histories.events(400, seed=8, names=40)
    late = [replace(event, received_at_us=event.received_at_us - 40 * 86_400_000_000) for event in events[300:320]]
    parts = [events[:300], late, *[events[i : i + 4] for i in range(320, 328, 4)]]
    told: list[Event] = []
    for part in parts:
        home.log.append(part)
        told += part
        report = home.materialize().views[-1]
        touched = len(home.histories.states(home.view, part))
        assert (report.how, report.computed) == ("full" if part is parts[0] else "incremental", touched)
        assert (report.loaded, report.unchanged) == (touched, report.rows - touched)
        home.must_hold(told, 1)
    manifest = OfflineTable(home.settings.offline_path, "who", 1).manifest()
    assert manifest is not None and len(manifest.folders) == 2
    home.must_hold_offline(told)
    home.log.compact()
    rewritten = home.materialize().views[-1]
    assert (rewritten.how, rewritten.loaded) == ("full", 0)
    home.must_hold_offline(told)


def test_what_does_not_serve_yet_is_told(home: Home) -> None:
    events = home.histories.events(40, seed=9)
    home.writer.fold(events)
    home.log.append(events[:30])
    report = home.materialize(only=["who"], patience=0.5)
    assert "not in the event log yet" in report.waits[0]
    assert home.entry().serving == 1


def test_lost_states_stop_a_run_before_anything_is_published(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.log.append(home.histories.events(60, seed=11))
    with monkeypatch.context() as patch:
        compute = states_module.states
        patch.setattr(states_module, "states", lambda events, view: compute(events, view).limit(9))
        with pytest.raises(DataError, match=r"view who: \d+ keys went into a job and 9 states came out"):
            home.materialize()
    assert OfflineTable(home.settings.offline_path, "who", 1).manifest() is None
    load = online_load.load_states
    monkeypatch.setattr(online_load, "load_states", lambda states, *a, **k: load(states.limit(3), *a, **k))
    with pytest.raises(DataError, match=r"view who: \d+ states were to be loaded into Redis and 3 were"):
        home.materialize()
    assert home.entry().serving is None


def derived(home: Home, events: list[Event], through: int) -> list[Event]:
    """A published fact set in which everybody of the first tenant writes from one address up to a seq."""
    tenant = events[0].tenant
    anew = [replace(e, sender="one@far.test") if e.tenant == tenant and e.seq <= through else e for e in events]
    sets = FactSets(home.settings.facts_path, home.log)
    with sets.writing():
        begun = sets.begin({tenant: TenantFacts(0, through, 9, "code")})
        table = events_to_table([event for event in anew if event.tenant == tenant and event.seq <= through])
        table = table.append_column(FACT_SCHEMA.field("kept"), pa.array([False] * table.num_rows))
        sets.add(begun, tenant, lambda: table.to_batches())
        sets.publish(begun, 1)
    return anew


def test_another_fact_set_takes_over_as_a_generation_of_its_own(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    events = home.histories.events(160, seed=12)
    home.log.append(events[:100])
    home.materialize()
    last = max(event.seq for event in events[:100] if event.tenant == events[0].tenant)
    with monkeypatch.context() as patch:
        # A generation of the former facts is loaded, and cut off before it serves.
        patch.setattr(Takeover, "complete", lambda *args, **kwargs: (_ for _ in ()).throw(Cut))
        with pytest.raises(Cut):
            home.materialize(afresh=True)
    facts = derived(home, events, last - 10)
    # Mail that came since the set is beyond it, whether states know it yet or not.
    home.log.append(events[100:120])
    home.writer.fold(events[100:110])
    report = home.materialize()
    assert report.views[-1].how == "full" and report.facts == 1
    serving = home.entry().serving
    assert serving is not None and home.entry().facts == {serving: 1}
    home.writer.fold(events[:120])
    home.must_hold(facts[:120], serving)
    home.must_hold_offline(facts[:120])
    home.log.append(events[120:])
    again = home.materialize().views[-1]
    assert again.how == "incremental" and again.online is not None and again.online.how == "added to"
    home.must_hold(facts, serving)
    home.must_hold_offline(facts)
    manifest = OfflineTable(home.settings.offline_path, "who", 1).manifest()
    assert manifest is not None and manifest.facts == 1
