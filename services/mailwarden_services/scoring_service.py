"""The scoring API's service, wired: workers, sequencer, and what runs beside them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from socket import gethostname

import structlog

from mailwarden.domain.detection.decision import Combination, Thresholds
from mailwarden.domain.detection.tenant_budget import TenantBudget
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.domain.mail.facts import FACTS_VERSION
from mailwarden.errors import MailwardenError, NotFound
from mailwarden.settings import Settings
from mailwarden.stores.accepted import Accepted, decode_accepted
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.content_code import facts_fingerprint
from mailwarden.stores.spool import Spool
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden_services.allocator import give_back_now
from mailwarden_services.bootstrap import Platform
from mailwarden_services.feature_writer.logs import writer_of
from mailwarden_services.feature_writer.status import READER_NAME, WriterLag, read_lag
from mailwarden_services.observability.exposition import METHOD, Exposition
from mailwarden_services.observability.observer import Observer
from mailwarden_services.observability.traces import open_traces
from mailwarden_services.reading.lanes import Lane
from mailwarden_services.reading.show import SHOWING_SECONDS, Shower
from mailwarden_services.scoring_api.connections import ConnectionLimits
from mailwarden_services.scoring_api.forgetting import Forgetting
from mailwarden_services.scoring_api.in_flight import InFlight
from mailwarden_services.scoring_api.intake import Intake
from mailwarden_services.scoring_api.labelling import Labelling
from mailwarden_services.scoring_api.listeners import listeners_of
from mailwarden_services.scoring_api.mail_flow import MailFlow
from mailwarden_services.scoring_api.metrics import Metrics
from mailwarden_services.scoring_api.rates import Rates, shared_memory
from mailwarden_services.scoring_api.rspamd import Rspamd, rspamd_actions_of
from mailwarden_services.scoring_api.service import Service
from mailwarden_services.scoring_api.tenant_directory import TenantDirectory
from mailwarden_services.scoring_worker.work import Loaded
from mailwarden_services.scoring_worker.workers import ScoringWorkers
from mailwarden_services.sequencer.history import History
from mailwarden_services.sequencer.sequencer import Sequencer
from mailwarden_services.sequencer.sequencing import Here
from mailwarden_services.sequencer.shards import Shards
from mailwarden_services.signals.handover import Handover
from mailwarden_services.starter.kinds import Starter

log = structlog.get_logger(__name__)

MODEL_POLL_SECONDS = 1.0


class ServingVersion:
    """The version of the bundle that serves, exchanged between two messages once every worker has the new one.

    This process itself loads none: what bundles need is large, and workers have it.

    latest: what the registry names, None where nothing was promoted. load: has a bundle at hand in every worker. words:
    what keeps the one that the registry names from serving, "" for nothing.
    """

    def __init__(self, latest: Callable[[], int | None], load: Callable[[int], Awaitable[Loaded]]) -> None:
        self.latest, self._load = latest, load
        self._serves: Loaded | None = None
        self.words = ""

    async def begin(self, look: Callable[[int], Awaitable[Loaded]]) -> None:
        """Begin with the newest, which the workers load as they start. look: what one of them says of it."""
        version = await asyncio.to_thread(self.latest)
        if version is None:
            return
        try:
            self._serves = await look(version)
        except MailwardenError as exc:
            self._say(exc)

    @property
    def current(self) -> int:
        """The version; raises NotFound where none was promoted."""
        return self._now.version

    @property
    def whole(self) -> Combination:
        """How scores become a verdict with nothing away; raises NotFound where none serves."""
        return self._now.whole

    @property
    def starter(self) -> Starter | None:
        """Which kind of starter it is; raises NotFound where none serves."""
        return self._now.starter

    @property
    def away(self) -> Mapping[str, str]:
        """Detectors of the bundle that did not load, with why; raises NotFound where none serves."""
        return self._now.away

    async def follow(self) -> None:
        """Look for another version from time to time, until cancelled; whatever fails, the one that serves goes on."""
        while True:
            await asyncio.sleep(MODEL_POLL_SECONDS)
            try:
                version = await asyncio.to_thread(self.latest)
                if version is not None and (self._serves is None or version != self._serves.version):
                    self._serves = await self._load(version)
                    log.info("champion exchanged", version=version)
                self.words = ""
            except Exception as exc:
                self._say(exc)

    @property
    def _now(self) -> Loaded:
        if self._serves is None:
            raise NotFound("no model serves yet; run `mailwarden train`")
        return self._serves

    def _say(self, exc: Exception) -> None:
        if not self.words:
            log.error("champion not exchanged", error=repr(exc))
        self.words = f"the model that was promoted last does not serve: {exc}"


def scoring_service(platform: Platform, *, lanes: tuple[Lane, ...] | None = None) -> Service:
    """The scoring API's service: reads what the spool still holds, then follows the registry while it runs.

    lanes: of scoring processes, by default as the settings say.
    """
    settings = platform.settings
    writer_of(settings.spool_path)
    spool = Spool(settings.spool_path, fsync=settings.spool_fsync)
    contacts = Contacts(settings.contacts_path, platform.facts)
    campaigns = Campaigns(settings.campaigns_path, platform.facts)
    sequencer = Sequencer(
        spool=spool,
        events=platform.events,
        contacts=contacts,
        campaigns=campaigns,
        stale_after_seconds=settings.stale_after_seconds,
        unlogged=partial(unlogged, settings),
    )
    workers = ScoringWorkers(settings, platform.activity, platform.content, lanes=lanes)
    serving = ServingVersion(platform.serving_version, workers.load)
    history = History(
        sequencer,
        lag_bytes=lambda: read_lag(settings.spool_path, since=0.0).lag_bytes,
        folded=partial(_folded, platform),
    )
    sequencing = Shards(settings, Here(sequencer, history))
    intake = Intake(
        workers=workers,
        sequencing=sequencing.of,
        version=lambda: serving.current,
        decisions=platform.decisions,
        events=platform.events,
        clock=(lambda: time.time_ns() // 1_000) if settings.live_clock else None,
    )
    labelling = Labelling(
        sequencing.of,
        decisions=platform.decisions,
        labels=platform.labels,
        events=platform.events,
        facts=platform.facts,
    )
    shower = Shower(cpu_seconds=SHOWING_SECONDS)
    handovers = [Handover(settings.found_path, labelling.signal)]
    if settings.shard == 0:
        # Found by shards that are no more.
        left = (settings.root / "shards.d").glob("*/found")
        known = {settings.of_shard(shard).found_path for shard in range(settings.shards)}
        handovers += [Handover(found, labelling.signal) for found in left if found not in known]
    metrics = Metrics(by_tenant=settings.metrics_by_tenant)
    began = time.time()
    trouble = partial(_trouble, serving, spool, workers)
    exposition = Exposition(
        metrics, lambda: _own_lag(settings, began, trouble), settings, lambda: workers.store_trouble
    )
    shared = None
    if settings.shards > 1:
        shared = shared_memory(settings.run_path / "rates", anew=settings.shard == 0)
    rates = Rates(settings.tenant_rate, shared)
    observer = Observer(metrics, open_traces(settings.otlp_endpoint, settings.trace_share))

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await asyncio.to_thread(note_facts, platform)
        restore(sequencer, settings)
        ours = [tenant.name for tenant in platform.tenants.list() if sequencing.is_ours(tenant.name)]
        await asyncio.to_thread(sequencer.learn, ours)
        await asyncio.to_thread(lambda: workers.start(serving.latest()))
        await serving.begin(workers.look)
        # What is loaded by now stays: the collector need not walk through it while mail waits.
        gc.collect()
        gc.freeze()
        # Logs were read whole, which takes much more than what is kept of them.
        give_back_now()
        beside = [
            asyncio.create_task(serving.follow()),
            *(asyncio.create_task(handover.run()) for handover in handovers),
        ]
        try:
            async with sequencing.answering({METHOD: exposition.own}):
                yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            spool.close()
            contacts.close()
            campaigns.close()
            workers.stop()
            shower.stop()
            await asyncio.to_thread(observer.close)

    return Service(
        intake=intake,
        labelling=labelling,
        forgetting=Forgetting(sequencing.of, platform.decisions, platform.facts),
        metrics=metrics,
        exposition=exposition,
        observer=observer,
        flow=MailFlow(
            intake,
            TenantDirectory(platform.tenants.list),
            metrics,
            observer,
            listeners=listeners_of(settings.listeners),
            authserv_id=settings.authserv_id or gethostname(),
            rates=rates,
        ),
        rspamd=Rspamd(
            settings.rspamd_password.get_secret_value(),
            rspamd_actions_of(settings.rspamd_actions),
            partial(_thresholds, serving),
        ),
        in_flight=InFlight(requests=settings.tenant_requests, rates=rates),
        connections=ConnectionLimits(settings.connections, settings.connections_per_peer, settings.request_seconds),
        tenants=platform.tenants,
        decisions=platform.decisions,
        labels=platform.labels,
        audit=platform.audit,
        releases=platform.releases,
        found=platform.found_messages(),
        shower=shower,
        champion_version=lambda: serving.current,
        detectors_away=lambda: serving.away,
        starter=lambda: serving.starter,
        checks={
            "database": lambda: void(platform.tenants.list()),
            "online store": partial(_ping, platform),
            **sequencing.checks(),
        },
        essential=frozenset({"database"}),
        max_message_bytes=settings.max_message_bytes,
        lifespan=lifespan,
        writer_lag=partial(_lag, settings, began, trouble),
    )


def _thresholds(serving: ServingVersion, tenant: str, budget: TenantBudget, category: str | None) -> Thresholds:
    """For a message of a category; of what was delivered that is not known, and the highest stand for it."""
    whole = serving.whole
    told = CATEGORIES if category is None and budget.by_category else (category,)
    return max((whole.thresholds_within(tenant, budget, one) for one in told), key=lambda found: found.junk)


def note_facts(platform: Platform) -> None:
    """Remember by which code facts are taken from now on, and warn where other code took some under its version."""
    platform.facts.note(FACTS_VERSION, facts_fingerprint())
    if len(platform.facts.noted()[FACTS_VERSION]) > 1:
        log.warning(
            "facts of one version were taken by more than one code; `mailwarden reparse` derives them anew",
            facts_version=FACTS_VERSION,
        )


def restore(sequencer: Sequencer, settings: Settings) -> None:
    """Show a sequencer the records that the logs do not hold yet."""
    for record in unlogged(settings):
        sequencer.restore(record)


def unlogged(settings: Settings) -> Iterator[Accepted]:
    """The records that the logs do not hold yet: those behind the feature writer's checkpoint, in order."""
    with contextlib.closing(SpoolReader(settings.spool_path, READER_NAME)) as reader:
        while records := reader.poll():
            for _, payload in records:
                yield decode_accepted(payload)


def _trouble(serving: ServingVersion, spool: Spool, workers: ScoringWorkers) -> tuple[str, ...]:
    """What is wrong in this process."""
    return tuple(word for word in (serving.words, spool.trouble, workers.trouble, workers.store_trouble) if word)


def _own_lag(settings: Settings, since: float, trouble: Callable[[], tuple[str, ...]]) -> WriterLag:
    """How far the writer of this process's shard is behind, with what is wrong in this process."""
    lag = read_lag(settings.spool_path, since=since)
    return replace(lag, words=(*lag.words, *trouble()))


def _lag(settings: Settings, since: float, trouble: Callable[[], tuple[str, ...]]) -> WriterLag:
    """How far the writers of all shards are behind, with what is wrong in this process; status: of its own writer."""
    lags = {n: read_lag(settings.of_shard(n).spool_path, since=since) for n in range(settings.shards)}
    words = [f"shard {n}: {word}" if settings.shards > 1 else word for n, lag in lags.items() for word in lag.words]
    return replace(
        lags[settings.shard],
        lag_bytes=sum(lag.lag_bytes for lag in lags.values()),
        words=(*words, *trouble()),
        seconds=max(lag.seconds for lag in lags.values()),
    )


def _folded(platform: Platform, tenant: str) -> int | None:
    mark = platform.online_reader.watermark(tenant)
    return None if mark is None else mark.seq


def _ping(platform: Platform) -> None:
    platform.online_reader.watermark("")


def void(_: object) -> None:
    """Nothing, whatever the value."""
