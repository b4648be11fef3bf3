"""The one place that wires things: settings in, rooms connected out."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import structlog
from sqlalchemy import Engine

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.detection import assets
from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.mail.content import ContentSet, ContentView
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.domain.mail.trust import Trust
from mailwarden.errors import ConfigError, NotFound
from mailwarden.ingest.parse import parse_message
from mailwarden.scoring.champion import Champion
from mailwarden.settings import Settings
from mailwarden.stores.accepted import AcceptedMessage
from mailwarden.stores.bundle import Bundle, Member
from mailwarden.stores.content_code import content_set
from mailwarden.stores.dns import DnsResolver
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.lake.raw_mail import RawMail
from mailwarden.stores.lake.score_log import ScoreLog
from mailwarden.stores.lake.texts import Texts
from mailwarden.stores.lake.vector_log import VectorLog
from mailwarden.stores.lists import load_lists
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.partition_writer import PartitionWriters
from mailwarden.stores.online.reader import OnlineReader
from mailwarden.stores.online.rebuilding import KeyHistory
from mailwarden.stores.online.streams import Routes
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.stores.quarantine import HeldFiles, Quarantine
from mailwarden.stores.shards import shard_of, shards_of
from mailwarden.stores.sql import (
    Audit,
    Decisions,
    Directories,
    Labels,
    ModelArtefacts,
    ModelRecord,
    PlatformKeys,
    Registry,
    Tenants,
    open_engine,
    upgrade,
)
from mailwarden.training.register import BUNDLE
from mailwarden_detectors import absent
from mailwarden_detectors import discover as discover_detectors
from mailwarden_features import FeatureRepository
from mailwarden_features import discover as discover_features
from mailwarden_services.feature_writer.logged_tables import score_table, vector_table
from mailwarden_services.feature_writer.logs import Logs, writer_of
from mailwarden_services.feature_writer.writer import FeatureWriter
from mailwarden_services.mail_gateway.places import read_next_hop
from mailwarden_services.mail_gateway.release import Releases
from mailwarden_services.scoring_api.found_messages import FoundMessages, Rows, find_unlogged
from mailwarden_services.starter.kinds import Starter, starter_of
from mailwarden_services.teams.content_changes import changed_since_training

log = structlog.get_logger(__name__)


class Platform:
    """Every part of one Mailwarden, each made when it is first asked for and once.

    settings.redis_url must name a Redis for the parts that read or write online features; commands start one of
    their own where it is empty (`mailwarden_services.embedded`). activity, content, content_views: what
    another process has discovered, so that this one need not; the views alone do where none is computed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        activity: tuple[ActivityView, ...] | None = None,
        content: ContentSet | None = None,
        content_views: tuple[ContentView, ...] | None = None,
    ) -> None:
        self.settings = settings
        assets.look_in(settings.models_path)
        self._activity, self._content = activity, content
        self._content_views = content_views if content is None else content.views

    @cached_property
    def features(self) -> FeatureRepository:
        """The feature views found in the repository."""
        return discover_features()

    @property
    def activity(self) -> tuple[ActivityView, ...]:
        """The behavioural views."""
        return self.features.activity if self._activity is None else self._activity

    @cached_property
    def content(self) -> ContentSet:
        """The content views with their lists, ready to be computed."""
        if self._content is not None:
            return self._content
        return content_set(self.content_views, load_lists(self.settings.lists_path))

    @property
    def content_views(self) -> tuple[ContentView, ...]:
        """The content views."""
        return self.features.content if self._content_views is None else self._content_views

    @cached_property
    def detectors(self) -> dict[str, type[Detector]]:
        """The detectors that can be used here, for training and for teams: raises ContractError where a folder cannot
        be read."""
        return discover_detectors()

    @cached_property
    def detectors_there(self) -> tuple[dict[str, type[Detector]], dict[str, str]]:
        """The detectors that can be used here, for serving, and why each other folder gives none, by its name."""
        unread: dict[str, str] = {}
        found = discover_detectors(unread=unread)
        return found, {**self.absent_detectors, **unread}

    def bring_assets(self, models: Path) -> None:
        """Keep here too what detectors share and another home has. models: its folder of artefacts."""
        assets.look_in(models)
        for digest in {digest for kind in discover_detectors(unread={}, every=True).values() for digest in kind.assets}:
            if assets.is_there(digest):
                self.artefacts.put(assets.asset(digest))

    @property
    def absent_detectors(self) -> dict[str, str]:
        """Detectors that lack an extra or a file here, by name with the mend: all else works without them."""
        return absent()

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
    def directories(self) -> Directories:
        """Tenants' directories."""
        return Directories(self._engine)

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
    def scores(self) -> ScoreLog:
        """The log of what each detector said."""
        return ScoreLog(self.settings.scores_path)

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
        history = KeyHistory(self.events, self.facts)
        return OnlineWriter(self.redis, self.settings.project, self.activity, self.settings.streams, history)

    def feature_writer(self) -> FeatureWriter:
        """A feature writer over this shard's spool, which folds its share of the partitions; one may run at a time."""
        settings = self.settings
        logs = Logs(
            events=self.events,
            raw=self.raw,
            vectors=self.vectors,
            scores=self.scores,
            texts=self.texts,
            decisions=self.decisions,
            labels=self.labels,
            views=self.activity,
            content=self.content_views,
            writer=writer_of(settings.spool_path),
        )

        def ours() -> list[str]:
            return [t.name for t in self.tenants.list() if shard_of(t.name, settings.shards) == settings.shard]

        return FeatureWriter(
            settings.spool_path,
            self.partition_writers([p for p in range(settings.streams) if p % settings.shards == settings.shard]),
            self.online_writer,
            Routes(settings.project, self.activity, settings.streams),
            logs,
            tenants=ours,
            pause_seconds=settings.fold_seconds,
        )

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

    def found_messages(self) -> FoundMessages:
        """Messages looked up again, in the logs and in the spool."""
        return FoundMessages(
            self.decisions,
            self.raw,
            self.vectors,
            self.scores,
            self._find_unlogged,
            self._rows_of,
        )

    def _rows_of(self, record: AcceptedMessage) -> tuple[Rows, Rows]:
        vectors = vector_table([record], self.activity, self.content_views)
        return vectors.to_pylist(), score_table([record]).to_pylist()

    def _find_unlogged(self, tenant: str, message_id: str) -> AcceptedMessage | None:
        shard = shard_of(tenant, shards_of(self.settings.root))
        return find_unlogged(self.settings.of_shard(shard).spool_path, tenant, message_id)

    def serving_version(self) -> int | None:
        """The version of the bundle that was promoted last; None where none was."""
        record = self.registry.champion(BUNDLE)
        return None if record is None else record.version

    def starter(self, version: int | None = None) -> Starter | None:
        """Which kind of starter the bundle that serves is, or another by its version; None for one that was trained.

        None too where none serves. Raises NotFound where there is no such version.
        """
        record = self.registry.champion(BUNDLE) if version is None else self.registry.get(BUNDLE, version)
        return None if record is None else starter_of(record.record.parameters)

    def serving_detectors(self) -> list[str]:
        """Names of the detectors in that bundle, without loading any; none where no bundle was promoted."""
        record = self.registry.champion(BUNDLE)
        return [] if record is None else record.record.feature_service.split(",")

    def serving_bundle(self) -> tuple[int, Bundle] | None:
        """That bundle with its version, its detectors not loaded; None where no bundle was promoted.

        Raises DataError where it is of a release before this one's format.
        """
        if self.serving_version() is None:
            return None
        record, bundle = self.bundle()
        return record.version, bundle

    def bundle(self, version: int | None = None) -> tuple[ModelRecord, Bundle]:
        """The bundle that serves, or another by its version, as registered; raises NotFound where there is none."""
        record = self.registry.champion(BUNDLE) if version is None else self.registry.get(BUNDLE, version)
        if record is None:
            raise NotFound("no model serves yet; run `mailwarden train`")
        return record, Bundle.from_bytes(self.artefacts.get(record.artefact_uri, record.artefact_sha256))

    def champion(self, version: int | None = None) -> Champion:
        """The champion, or another bundle by its version, loaded; raises NotFound where there is none."""
        record, bundle = self.bundle(version)
        classes, unread = self.detectors_there
        return Champion.of(
            bundle,
            classes,
            self.fetch,
            version=record.version,
            content_views=frozenset(view.name for view in self.content.views),
            unread=unread,
        )

    def fetch(self, member: Member) -> bytes:
        """The bytes of a bundle's detector; raises NotFound where they are gone, StoreError where they are others."""
        return self.artefacts.of_digest(member.sha256)

    def content_changed(self) -> tuple[str, ...]:
        """Content views that changed since the bundle that serves learned from them; none where none serves."""
        found = self.serving_bundle()
        return () if found is None else changed_since_training(found[1], self.content)


def handed_views(platform: Platform) -> int:
    """A file in memory, by its descriptor, that holds the views for `with_views` of a process that it is handed to."""
    file = os.memfd_create("mailwarden-views")
    with os.fdopen(os.dup(file), "wb") as out:
        pickle.dump((platform.activity, platform.content_views), out, protocol=5)
    return file


def with_views(settings: Settings, file: int) -> Platform:
    """A platform with the views that another process has found, which takes importing Feast. file: `handed_views`."""
    # Whoever started this process hands the same to the next one.
    activity, content_views = pickle.loads(os.pread(file, os.fstat(file).st_size, 0))
    os.close(file)
    return Platform(settings, activity=activity, content_views=content_views)


def parse(raw: bytes, envelope: Envelope, trust: Trust) -> Message:
    """The platform's one parser, as stages take it: under the trust that the mail was received with, else this one."""
    return parse_message(raw, envelope, trust=envelope.trust_or(trust))


def resolver_of(settings: Settings) -> DnsResolver | None:
    """What is asked of the DNS where a message bears no trusted result; None where no name server is set.

    Raises ConfigError where one is set that is no address.
    """
    return DnsResolver(settings.name_servers, settings.resolver_seconds) if settings.name_servers else None


class ServingChampion:
    """The champion that serves, loaded when it is first asked for."""

    def __init__(self, load: Callable[[], Champion]) -> None:
        self._load = load

    @cached_property
    def current(self) -> Champion:
        """The champion; raises NotFound where none was promoted."""
        return self._load()
