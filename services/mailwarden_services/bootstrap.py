"""The one place that wires things: settings in, rooms connected out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cached_property, partial
from socket import gethostname

import structlog
from sqlalchemy import Engine

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.mail.content import ContentSet
from mailwarden.domain.mail.facts import FACTS_VERSION
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.domain.mail.trust import Trust
from mailwarden.errors import ConfigError, MailwardenError, NotFound
from mailwarden.ingest.parse import parse_message
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.scorer import Scorer
from mailwarden.settings import Settings
from mailwarden.stores.accepted import AcceptedMessage, decode_accepted
from mailwarden.stores.bundle import Bundle
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.content_code import content_set, facts_fingerprint
from mailwarden.stores.dns import DnsResolver
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.lake.raw_mail import RawMail
from mailwarden.stores.lake.texts import Texts
from mailwarden.stores.lake.vector_log import VectorLog
from mailwarden.stores.lists import load_lists
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.partition_writer import PartitionWriters
from mailwarden.stores.online.reader import OnlineReader
from mailwarden.stores.online.streams import Routes
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.stores.quarantine import HeldFiles, Quarantine
from mailwarden.stores.spool import Spool
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden.stores.sql import (
    Audit,
    Decisions,
    Labels,
    ModelArtefacts,
    PlatformKeys,
    Registry,
    Tenants,
    open_engine,
    upgrade,
)
from mailwarden.training.register import BUNDLE
from mailwarden_detectors import discover as discover_detectors
from mailwarden_features import FeatureRepository
from mailwarden_features import discover as discover_features
from mailwarden_services.feature_writer.logged_tables import vector_table
from mailwarden_services.feature_writer.logs import Logs
from mailwarden_services.feature_writer.status import READER_NAME, read_lag
from mailwarden_services.feature_writer.writer import FeatureWriter
from mailwarden_services.mail_gateway.places import read_next_hop
from mailwarden_services.mail_gateway.release import Releases
from mailwarden_services.reading.read import ReadInProcesses
from mailwarden_services.reading.show import Shower
from mailwarden_services.scoring_api.intake import Intake
from mailwarden_services.scoring_api.listeners import listeners_of
from mailwarden_services.scoring_api.mail_flow import MailFlow
from mailwarden_services.scoring_api.metrics import Metrics
from mailwarden_services.scoring_api.rspamd import Rspamd, rspamd_actions_of
from mailwarden_services.scoring_api.service import Service
from mailwarden_services.scoring_api.tenant_directory import TenantDirectory
from mailwarden_services.signals.handover import Handover
from mailwarden_services.teams.content_changes import changed_since_training

log = structlog.get_logger(__name__)

MODEL_POLL_SECONDS = 1.0

SHOWING_SECONDS = 5.0
"""CPU time that reading a message for people may take."""

SEARCHED_BYTES = 64 << 20
"""How much of the spool is searched for a message that is not logged yet."""


class Platform:
    """Every part of one Mailwarden, each made when it is first asked for and once.

    settings.redis_url must name a Redis for the parts that read or write online features; commands start one of
    their own where it is empty (`mailwarden_services.embedded`).
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def features(self) -> FeatureRepository:
        """The feature views found in the repository."""
        return discover_features()

    @property
    def activity(self) -> tuple[ActivityView, ...]:
        """The behavioural views."""
        return self.features.activity

    @cached_property
    def content(self) -> ContentSet:
        """The content views with their lists, ready to be computed."""
        return content_set(self.features.content, load_lists(self.settings.lists_path))

    @cached_property
    def detectors(self) -> dict[str, type[Detector]]:
        """The detectors found."""
        return discover_detectors()

    @cached_property
    def _engine(self) -> Engine:
        self.settings.root.mkdir(parents=True, exist_ok=True)
        upgrade(self.settings.database)
        return open_engine(self.settings.database)

    @cached_property
    def tenants(self) -> Tenants:
        """Tenants and their keys."""
        return Tenants(self._engine)

    @cached_property
    def decisions(self) -> Decisions:
        """The decision log."""
        return Decisions(self._engine)

    @cached_property
    def labels(self) -> Labels:
        """The label log."""
        return Labels(self._engine)

    @cached_property
    def audit(self) -> Audit:
        """The audit log."""
        return Audit(self._engine)

    @cached_property
    def platform_keys(self) -> PlatformKeys:
        """Keys above tenants."""
        return PlatformKeys(self._engine)

    @cached_property
    def quarantine(self) -> Quarantine:
        """Mail that is held."""
        files = HeldFiles(self.settings.quarantine_path)
        return Quarantine(self._engine, files, keep_days=self.settings.quarantine_days)

    @cached_property
    def releases(self) -> Releases:
        """The way out of the quarantine; raises ConfigError where `release_next` is no place."""
        settings = self.settings
        if settings.release_next:
            read_next_hop(settings.release_next)
        return Releases(self.quarantine, self.audit, next_hop=settings.release_next, postsuper=settings.postsuper)

    @cached_property
    def registry(self) -> Registry:
        """The model registry."""
        return Registry(self._engine)

    @cached_property
    def artefacts(self) -> ModelArtefacts:
        """Model files by content."""
        return ModelArtefacts(self.settings.models_path)

    @cached_property
    def events(self) -> EventLog:
        """The event log."""
        return EventLog(self.settings.events_path)

    @cached_property
    def facts(self) -> FactSets:
        """The fact sets."""
        return FactSets(self.settings.facts_path, self.events)

    @cached_property
    def raw(self) -> RawMail:
        """Raw mail by content."""
        return RawMail(self.settings.raw_path)

    @cached_property
    def vectors(self) -> VectorLog:
        """The log of feature vectors."""
        return VectorLog(self.settings.vectors_path)

    @cached_property
    def texts(self) -> Texts:
        """Texts that features saw."""
        return Texts(self.settings.texts_path)

    @cached_property
    def redis(self) -> Client:
        """Client of the online store; raises ConfigError where no URL is set."""
        url = self.settings.redis_url.get_secret_value()
        if not url:
            raise ConfigError(
                "no Redis is named; set MAILWARDEN_REDIS_URL, or run `mailwarden serve`, which starts one"
            )
        return open_client(url, timeout_seconds=self.settings.redis_timeout_seconds)

    @cached_property
    def online_reader(self) -> OnlineReader:
        """Reader of online features."""
        return OnlineReader(self.redis, self.settings.project, self.activity)

    @cached_property
    def online_writer(self) -> OnlineWriter:
        """Writer of online features."""
        return OnlineWriter(self.redis, self.settings.project, self.activity, self.settings.streams)

    def feature_writer(self) -> FeatureWriter:
        """A feature writer over the spool; one may run at a time."""
        logs = Logs(
            events=self.events,
            raw=self.raw,
            vectors=self.vectors,
            texts=self.texts,
            decisions=self.decisions,
            labels=self.labels,
            views=self.activity,
            content=self.features.content,
        )
        writers = self.partition_writers()
        writer = FeatureWriter(
            self.settings.spool_path,
            writers,
            self.online_writer,
            Routes(self.settings.project, self.activity, self.settings.streams),
            logs,
            tenants=lambda: [tenant.name for tenant in self.tenants.list()],
        )
        return writer

    def partition_writers(self, partitions: Sequence[int] | None = None) -> PartitionWriters:
        """Writers of these partitions' streams, all by default; they take over from whoever served them before."""
        return PartitionWriters(
            self.redis,
            self.settings.project,
            self.activity,
            self.online_writer,
            self.events,
            partitions=partitions,
        )

    def champion(self) -> Champion:
        """The champion, loaded; raises NotFound where none was promoted."""
        record = self.registry.champion(BUNDLE)
        if record is None:
            raise NotFound("no model serves yet; run `mailwarden train`")
        bundle = Bundle.from_bytes(self.artefacts.get(record.artefact_uri, record.artefact_sha256))
        return Champion(
            version=record.version,
            detectors=bundle.load(self.detectors),
            detector_versions=dict(bundle.versions),
            fusion=bundle.fusion,
            thresholds=bundle.thresholds,
            content_views=frozenset(view.name for view in self.content.views),
            categoriser=bundle.categoriser,
            withheld=frozenset(bundle.record["options"]["ablate"]),
            trained_on={name: (int(v), int(f)) for name, (v, f) in bundle.record.get("content", {}).items()},
        )

    def content_changed(self) -> tuple[str, ...]:
        """Content views that changed since the bundle that serves learned from them; none where none serves."""
        record = self.registry.champion(BUNDLE)
        if record is None:
            return ()
        bundle = Bundle.from_bytes(self.artefacts.get(record.artefact_uri, record.artefact_sha256))
        return changed_since_training(bundle, self.content)


def parse(raw: bytes, envelope: Envelope, trust: Trust) -> Message:
    """The platform's one parser, as stages take it: under the trust that the mail was received with, else this one."""
    return parse_message(raw, envelope, trust=envelope.trust_or(trust))


def resolver_of(settings: Settings) -> DnsResolver | None:
    """What is asked of the DNS where a message bears no trusted result; None where no name server is set.

    Raises ConfigError where one is set that is no address.
    """
    return DnsResolver(settings.name_servers, settings.resolver_seconds) if settings.name_servers else None


class ServingChampion:
    """The champion that serves, exchanged between two messages when the registry names another."""

    def __init__(self, load: Callable[[], Champion], version: Callable[[], int | None]) -> None:
        self._load, self._version = load, version
        self._champion: Champion | None = None

    @property
    def current(self) -> Champion:
        """The champion; raises NotFound where none was promoted."""
        if self._champion is None:
            self._champion = self._load()
        return self._champion

    async def follow(self) -> None:
        """Look for another champion from time to time, and load it off the event loop."""
        while True:
            await asyncio.sleep(MODEL_POLL_SECONDS)
            try:
                version = await asyncio.to_thread(self._version)
                if version is not None and (self._champion is None or version != self._champion.version):
                    self._champion = await asyncio.to_thread(self._load)
                    log.info("champion exchanged", version=version)
            except MailwardenError as exc:
                # The champion that serves goes on serving: a registry that is away must not stop mail.
                log.warning("champion not refreshed", error=str(exc))


def scoring_service(platform: Platform) -> Service:
    """The scoring API's service: reads what the spool still holds, then follows the registry while it runs."""
    settings = platform.settings
    spool = Spool(settings.spool_path, fsync=settings.spool_fsync)
    contacts = Contacts(settings.contacts_path, platform.facts)
    campaigns = Campaigns(settings.campaigns_path, platform.facts)

    def version() -> int | None:
        record = platform.registry.champion(BUNDLE)
        return None if record is None else record.version

    champions = ServingChampion(platform.champion, version)
    scorer = Scorer(champions, platform.online_reader, platform.activity, platform.content)
    mail = ReadInProcesses(platform.content, cpu_seconds=settings.reading_seconds, resolver=resolver_of(settings))
    intake = Intake(
        scorer=scorer,
        mail=mail,
        append=lambda payload: asyncio.ensure_future(spool.append_async(payload)),
        decisions=platform.decisions,
        labels=platform.labels,
        events=platform.events,
        facts=platform.facts,
        contacts=contacts,
        campaigns=campaigns,
        stale_after_seconds=settings.stale_after_seconds,
    )

    shower = Shower(cpu_seconds=SHOWING_SECONDS)
    handover = Handover(settings.found_path, intake.signal)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await asyncio.to_thread(note_facts, platform)
        restore(intake, settings)
        await asyncio.to_thread(intake.learn, [tenant.name for tenant in platform.tenants.list()])
        await asyncio.to_thread(mail.start)
        with contextlib.suppress(NotFound):
            _ = champions.current
        # What is loaded by now stays: the collector need not walk through it while mail waits.
        gc.collect()
        gc.freeze()
        beside = [asyncio.create_task(champions.follow()), asyncio.create_task(handover.run())]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            spool.close()
            contacts.close()
            campaigns.close()
            mail.stop()
            shower.stop()

    metrics = Metrics()
    return Service(
        intake=intake,
        metrics=metrics,
        flow=MailFlow(
            intake,
            TenantDirectory(platform.tenants.list),
            metrics,
            listeners=listeners_of(settings.listeners),
            authserv_id=settings.authserv_id or gethostname(),
        ),
        rspamd=Rspamd(
            settings.rspamd_password.get_secret_value(),
            rspamd_actions_of(settings.rspamd_actions),
            lambda budget: champions.current.thresholds.within(budget),
        ),
        tenants=platform.tenants,
        decisions=platform.decisions,
        labels=platform.labels,
        audit=platform.audit,
        releases=platform.releases,
        raw=platform.raw,
        vectors=platform.vectors,
        shower=shower,
        find_unlogged=partial(find_unlogged, settings),
        vectors_of=lambda record: vector_table([record], platform.activity, platform.features.content).to_pylist(),
        champion_version=lambda: champions.current.version,
        checks={
            "database": lambda: void(platform.tenants.list()),
            "online store": partial(_ping, platform),
        },
        essential=frozenset({"database"}),
        max_message_bytes=settings.max_message_bytes,
        lifespan=lifespan,
        writer_lag=partial(read_lag, settings.spool_path, since=time.time()),
    )


def note_facts(platform: Platform) -> None:
    """Remember by which code facts are taken from now on, and warn where other code took some under its version."""
    platform.facts.note(FACTS_VERSION, facts_fingerprint())
    if len(platform.facts.noted()[FACTS_VERSION]) > 1:
        log.warning(
            "facts of one version were taken by more than one code; `mailwarden reparse` derives them anew",
            facts_version=FACTS_VERSION,
        )


def restore(intake: Intake, settings: Settings) -> None:
    """Show an intake the records that the logs do not hold yet: those behind the feature writer's checkpoint."""
    reader = SpoolReader(settings.spool_path, READER_NAME)
    try:
        while records := reader.poll():
            for _, payload in records:
                intake.restore(decode_accepted(payload))
    finally:
        reader.close()


def find_unlogged(settings: Settings, tenant: str, message_id: str) -> AcceptedMessage | None:
    """A message that is accepted and that the logs do not hold yet; None where it is not within `SEARCHED_BYTES`."""
    reader = SpoolReader(settings.spool_path, READER_NAME)
    read = 0
    try:
        while read < SEARCHED_BYTES and (records := reader.poll()):
            for _, payload in records:
                read += len(payload)
                # Most records are others', and are not worth decoding.
                if message_id.encode() in payload:
                    record = decode_accepted(payload)
                    named = (record.event.tenant, record.event.message_id) == (tenant, message_id)
                    if named and isinstance(record, AcceptedMessage):
                        return record
    finally:
        reader.close()
    return None


def _ping(platform: Platform) -> None:
    platform.online_reader.watermark("")


def void(_: object) -> None:
    """Nothing, whatever the value."""
