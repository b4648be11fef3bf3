"""The honest experiment: mail before the split trains, the rest goes through HTTP as it arrived."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from mailwarden.domain.aggregates.windows import DAY_US
from mailwarden.domain.mail.events import message_identity
from mailwarden.errors import ConfigError, DataError, StoreUnavailable
from mailwarden.ingest.index import LABEL_DELAY_DAYS, GivenLabel, LabelEntry, LabelIndex
from mailwarden.ingest.pipeline import IngestReport, ingest
from mailwarden.ingest.reparse import reparse
from mailwarden.ingest.sources import open_source
from mailwarden.labelling.feedback import index_sink
from mailwarden.settings import Settings
from mailwarden.stores.sql.keys import DEFAULT_ROLES
from mailwarden.training.split import split_by_time
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import with_redis
from mailwarden_services.loop import Loop
from mailwarden_services.processes import parts_cpu
from mailwarden_services.replay.live import LiveService, live_service
from mailwarden_services.replay.spill import Spill, Spilled, files_in
from mailwarden_services.replay.stream import PendingLabel, RefusedMessage, ScoredMessage, Stream
from mailwarden_services.scoring_api.answers import site_of
from mailwarden_services.scoring_api.times import microseconds

log = structlog.get_logger(__name__)

LOGGED_SECONDS = 120.0

OTHER_SITE = "pretraining-site"
"""Tenant name of the site that `--pretrain` names."""

ALL_KNOWN_US = 2**62
"""A time after all labels."""


@dataclass(frozen=True)
class ReplayPlan:
    """What to replay.

    train_until: a share of the messages (0..1) in order of arrival, or a time. retrain_days, label_delay_days: in
    days of event time; None never retrains. only: messages outside of that index's subset are left out altogether.
    subsets: further indexes, figures of whose subsets are reported beside the whole. without: views whose features
    are withheld from the models. pretrain: another site's source and index, from which the models come.
    """

    source: Path
    labels: str
    out: Path
    train_until: float | datetime = 0.6
    retrain_days: float | None = None
    reparse: bool = False
    label_delay_days: float = LABEL_DELAY_DAYS
    pretrain: tuple[Path, str] | None = None
    limit: int | None = None
    only: str | None = None
    subsets: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    tenant: str = "replay"
    domains: tuple[str, ...] = ()
    trusted_authserv_ids: tuple[str, ...] = ()
    seed: int = 7


@dataclass
class ReplayOutcome:
    """What came of it: answers in order of arrival, and what was done on the way. Seconds are of wall clock."""

    spill: Spill
    split: int
    scored: list[ScoredMessage] = field(default_factory=list)
    refused: list[RefusedMessage] = field(default_factory=list)
    ingested: IngestReport | None = None
    trainings: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    labels_given: int = 0
    skew: dict[str, Any] = field(default_factory=dict)
    subsets: dict[str, LabelIndex] = field(default_factory=dict)


def read_index(source: Path, index: str) -> LabelIndex:
    """A label index by its path, or as a member of the source's archive where no such file is there."""
    path = Path(index).expanduser()
    if path.exists():
        return LabelIndex.read(path)
    if not source.expanduser().is_file():
        raise DataError(f"Label index {index} does not exist. Give its path, or a member of the archive.")
    return LabelIndex.read(source, index)


Say = Callable[[str], None]
Ticker = Callable[[str, int | None], contextlib.AbstractContextManager[Callable[[int], None]]]


class Experiment:
    """One replay in a home of its own under `plan.out`, on a Redis and an API of its own.

    say: told what begins. ticker: makes a progress bar from words and a total, as a context manager.
    """

    def __init__(self, plan: ReplayPlan, settings: Settings, *, say: Say, ticker: Ticker) -> None:
        home = plan.out / "state"
        if home.exists() and any(home.iterdir()):
            raise ConfigError(f"{home} holds an earlier replay; give another --out, or remove it")
        self.plan = plan
        # Each message waits for the fold of the one before it.
        options = {"home": home, "fold_seconds": 0.0, "live_clock": False}
        self._models = settings.models_path
        self._settings = settings.model_copy(update=options)
        self._say, self._ticker = say, ticker

    def run(self) -> ReplayOutcome:
        """Do all of it; what was started is stopped, whatever happens."""
        plan = self.plan
        source = open_source(plan.source)
        labels = read_index(plan.source, plan.labels)
        self._settings.run_path.mkdir(parents=True, exist_ok=True)
        try:
            outcome = self._spill(source, labels)
            self._check_trainable(outcome)
            outcome.subsets = {name: read_index(plan.source, name) for name in plan.subsets}
        except BaseException:
            # Nothing was learned yet: the same --out does once what was wrong is mended.
            shutil.rmtree(self._settings.root, ignore_errors=True)
            raise
        with with_redis(self._settings, keep=False) as settings:
            platform = Platform(settings)
            platform.bring_assets(self._models)
            loop = Loop(platform)
            key = self._tenant(platform, outcome)
            pending = self._learn(platform, loop, outcome)
            with live_service(settings, key, settings.run_path) as service:
                self._stream(platform, loop, service, outcome, pending)
            if outcome.scored:
                ticker = self._ticker("recomputing every logged vector", len(platform.activity))
                with self._timed(outcome, "skew"), ticker as tick:
                    outcome.skew = loop.skew(_counted(tick)).as_json()
        return outcome

    def _spill(self, source: Any, labels: LabelIndex) -> ReplayOutcome:
        plan = self.plan
        only = None if plan.only is None else read_index(plan.source, plan.only)
        started = time.perf_counter()
        with self._ticker("reading the source", plan.limit or files_in(plan.source)) as tick:
            spill = Spill.build(
                source,
                labels,
                self._settings.run_path / "spill",
                only=only,
                limit=plan.limit,
                progress=tick,
            )
        split = _split_at(spill.in_order(), plan.train_until)
        outcome = ReplayOutcome(spill, split)
        outcome.seconds["read"] = time.perf_counter() - started
        return outcome

    def _check_trainable(self, outcome: ReplayOutcome) -> None:
        """See, before anything that takes minutes, that there is enough to train on; raises DataError."""
        plan, messages, split = self.plan, outcome.spill.in_order(), outcome.split
        if plan.pretrain is not None:
            labels = [entry.label for entry in read_index(*plan.pretrain)]
            good = labels.count("ham")
            if min(good, len(labels) - good) < 2:
                raise DataError(
                    f"--pretrain-labels names {good:,} good and {len(labels) - good:,} bad messages; training needs "
                    "two of each at least. Give a site that has both."
                )
            return
        delay_us = round(plan.label_delay_days * DAY_US)
        now_us = messages[split].time_us if split < len(messages) else messages[-1].time_us
        known = [m for m in messages[:split] if m.label and m.known_at_us(delay_us) <= now_us]
        try:
            split_by_time(np.array([m.label != "ham" for m in known], dtype=np.bool_))
        except DataError as exc:
            later = [m.label == "ham" for m in messages[split:] if m.label]
            raise DataError(
                f"nothing can be trained at the split, before which {split:,} of {len(messages):,} messages came, by "
                f"the labels known then: {exc} Behind it are {sum(later):,} good and {len(later) - sum(later):,} bad; "
                "a later split (--train-until), a shorter --label-delay, or another site's mail (--pretrain) may do."
            ) from exc

    def _tenant(self, platform: Platform, outcome: ReplayOutcome) -> str:
        now = outcome.spill.in_order()[0].time_us
        platform.tenants.create(
            self.plan.tenant,
            domains=self.plan.domains,
            trusted_authserv_ids=self.plan.trusted_authserv_ids,
            created_us=now,
        )
        return platform.tenants.issue_key(self.plan.tenant, "replay", now, (*DEFAULT_ROLES, "admin"))

    def _learn(self, platform: Platform, loop: Loop, outcome: ReplayOutcome) -> list[PendingLabel]:
        """Ingest what lies before the split with the labels known by then, materialise and train."""
        plan, spill, split = self.plan, outcome.spill, outcome.split
        messages = spill.in_order()
        past = messages[:split]
        delay_us = round(plan.label_delay_days * DAY_US)
        now_us = messages[split].time_us if split < len(messages) else messages[-1].time_us
        known = [m for m in past if m.label and m.known_at_us(delay_us) <= now_us]
        if plan.pretrain is not None:
            self._ingest_other_site(platform, outcome, *plan.pretrain, now_us)
        if split:
            with self._timed(outcome, "ingest"), self._ticker("ingesting", split) as tick:
                outcome.ingested = ingest(
                    spill.part(0, split),
                    tenant=plan.tenant,
                    own_domains=frozenset(plan.domains),
                    trusted_authserv_ids=frozenset(plan.trusted_authserv_ids),
                    event_log=platform.events,
                    raw_mail=platform.raw,
                    labels=LabelIndex("known by the split", [_entry(m) for m in known]),
                    label_delay_us=delay_us,
                    label_sink=index_sink(platform.labels),
                    progress=lambda done, _: tick(done),
                )
        self._retrain(platform, loop, outcome, now_us)
        waiting = [m for m in past if m.label and m.known_at_us(delay_us) > now_us]
        ids = _message_ids(spill, plan.tenant, waiting)
        return sorted(PendingLabel.of(m, ids[m.number], delay_us) for m in waiting)

    def _ingest_other_site(
        self, platform: Platform, outcome: ReplayOutcome, path: Path, index: str, now_us: int
    ) -> None:
        """The site that the models come from, as a tenant of its own; every label of it is known by when it ends."""
        platform.tenants.create(OTHER_SITE, domains=(), created_us=now_us)
        with self._timed(outcome, "ingest"), self._ticker("ingesting the other site", files_in(path)) as tick:
            ingest(
                open_source(path),
                tenant=OTHER_SITE,
                own_domains=frozenset(),
                trusted_authserv_ids=frozenset(),
                event_log=platform.events,
                raw_mail=platform.raw,
                labels=read_index(path, index),
                label_delay_us=round(self.plan.label_delay_days * DAY_US),
                label_sink=index_sink(platform.labels),
                progress=lambda done, _: tick(done),
            )

    def _retrain(self, platform: Platform, loop: Loop, outcome: ReplayOutcome, now_us: int) -> int:
        """Materialise and train on all that is known by a time; the version that serves from then on."""
        with self._timed(outcome, "materialize"), self._ticker("materialising features", None) as tick:
            loop.materialize(_counted(tick))
        with self._timed(outcome, "train"), self._ticker("training detectors", None) as tick:
            trained = loop.train(
                now_us=now_us,
                known_by_us=now_us,
                seed=self.plan.seed,
                without=self.plan.without,
                reason="replay",
                # The other site's mail may be of a later year: all that it knows was known before this begins.
                tenants_known_by_us=None if self.plan.pretrain is None else {OTHER_SITE: ALL_KNOWN_US},
                progress=_counted(tick),
            )
        outcome.trainings.append({"at_us": now_us, **trained})
        return int(trained["version"])

    def _reparse(self, platform: Platform, outcome: ReplayOutcome, now_us: int) -> None:
        """A second fact set of all mail so far, of this same code; what is materialised next is made of it."""
        sites = {tenant.name: site_of(tenant) for tenant in platform.tenants.list()}
        with self._timed(outcome, "reparse"), self._ticker("deriving facts anew", None) as tick:
            reparse(
                platform.facts,
                platform.events,
                platform.raw,
                sites,
                made_at_us=now_us,
                again=True,
                scratch=self._settings.run_path,
                progress=lambda _, messages: tick(messages),
            )

    def _stream(
        self,
        platform: Platform,
        loop: Loop,
        service: LiveService,
        outcome: ReplayOutcome,
        pending: list[PendingLabel],
    ) -> None:
        plan = self.plan
        rest = outcome.spill.in_order()[outcome.split :]
        stream = Stream(service, plan.tenant, round(plan.label_delay_days * DAY_US), pending)
        rhythm_us = None if plan.retrain_days is None else round(plan.retrain_days * DAY_US)
        due_us = None if rhythm_us is None or not rest else rest[0].time_us + rhythm_us
        paused = 0.0

        def before(time_us: int) -> None:
            nonlocal due_us, paused
            if due_us is None or rhythm_us is None or time_us < due_us:
                return
            started = time.perf_counter()
            while due_us <= time_us:
                due_us += rhythm_us
            wait_logged(platform, plan.tenant, stream.last_seq)
            if plan.reparse:
                self._reparse(platform, outcome, time_us)
            service.wait_model(self._retrain(platform, loop, outcome, time_us))
            paused += time.perf_counter() - started

        started = time.perf_counter()
        with parts_cpu(service.process.pid) as cpu, self._ticker("scoring over HTTP", len(rest)) as tick:
            outcome.scored = stream.run(rest, outcome.spill.reader(), before=before, progress=tick)
        outcome.seconds["stream"] = time.perf_counter() - started - paused
        outcome.cpu_seconds.update(cpu)
        outcome.labels_given = stream.labels_given
        outcome.refused = stream.refused
        self._say("waiting for the logs")
        wait_logged(platform, plan.tenant, stream.last_seq)

    @contextlib.contextmanager
    def _timed(self, outcome: ReplayOutcome, what: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            outcome.seconds[what] = outcome.seconds.get(what, 0.0) + time.perf_counter() - started


def _entry(message: Spilled) -> LabelEntry:
    given = message.given or GivenLabel(message.label)
    return LabelEntry(given.label, message.path, message.path, True, given.known_us, given.source, given.stands_for)


def _counted(tick: Callable[[int], None]) -> Callable[[str], None]:
    """Turns what a step says when each of its parts begins into how many parts have begun."""
    begun = 0

    def begins(_: str) -> None:
        nonlocal begun
        begun += 1
        tick(begun)

    return begins


def wait_logged(platform: Platform, tenant: str, seq: int) -> None:
    """Wait until the event log holds a seq of the tenant."""
    deadline = time.monotonic() + LOGGED_SECONDS
    while platform.events.last_seq(tenant) < seq:
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"seq {seq} did not reach the event log within {LOGGED_SECONDS:.0f} s")
        time.sleep(0.1)


def _split_at(messages: Sequence[Spilled], train_until: float | datetime) -> int:
    if isinstance(train_until, datetime):
        until_us = microseconds(train_until)
        return sum(message.time_us < until_us for message in messages)
    if not 0.0 <= train_until < 1.0:
        raise ConfigError(f"--train-until {train_until} is not a share from 0 up to, but not including, 1")
    return round(train_until * len(messages))


def _message_ids(spill: Spill, tenant: str, messages: Sequence[Spilled]) -> dict[int, str]:
    """Our ids of messages by their number in the spill, as ingest gave them."""
    read = spill.reader()
    ids: dict[int, str] = {}
    for message in messages:
        found = read(message)
        digest = hashlib.sha256(found.raw).hexdigest()
        envelope = found.envelope
        borne_us = envelope.received_at_us or 0
        ids[message.number] = message_identity(tenant, digest, borne_us, envelope.mail_from, envelope.rcpt_to)
    return ids
