"""What one scoring process does with a message: all that needs no seq.

1. The message is read, as far as is asked (`reading.read`).
2. What was found goes back, and what the tenant's order says of it comes (`Begun`); where it needs no score, this ends.
3. Features are read from the online store and the champion scores them, by the same code as everywhere.
4. The draft goes back: JSON in all but what numbering adds.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.detection.decision import Combination, TenantPolicy
from mailwarden.domain.detection.rules.tenant import TenantRules
from mailwarden.domain.mail.content import ContentSet
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope, TimeSource
from mailwarden.errors import MailwardenError
from mailwarden.ingest.receive import Site
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.scorer import Scored, Scorer
from mailwarden.settings import Settings
from mailwarden.stores.content_index import Content
from mailwarden.stores.draft import Draft
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.sql import Tenant
from mailwarden_services.bootstrap import Platform, resolver_of
from mailwarden_services.observability.stages import StageClock, StageSeconds, added
from mailwarden_services.reading.read import Reader, Reading
from mailwarden_services.reading.sent import send_as_values
from mailwarden_services.scoring_api.answers import answer_of, policy_of, site_of
from mailwarden_services.scoring_worker.known_directories import KnownDirectories
from mailwarden_services.starter.kinds import Starter

How = Literal["whole", "headers", "envelope"]

_TENANTS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Ask:
    """A message to be scored. how: how much of it is read. tenant: a pickled `Tenant`. version: of the bundle.
    explained: say what would have changed the verdict."""

    how: How
    raw: bytes
    envelope: Envelope
    tenant: bytes
    version: int
    explained: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What reading tells whoever numbers. has_headers: a header field was found, or nobody could look.

    borne_us: the time that it bears, before it was settled; None where no time is known. content: what tells whether it
    came before.
    """

    message_id: str
    signature: str
    has_headers: bool
    borne_us: int | None
    time_source: TimeSource
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What the tenant's order says of a message that was found. flags: what could not be found out.

    signature: that the campaign was found by: of a first reading, where that came to no end.
    """

    campaign: str
    signature: str
    due_seq: int
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """Have a bundle at hand before a message asks for it."""

    version: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A bundle that is at hand, as others are told of it. away: its detectors that did not load, with why. starter: its
    kind, None where it was trained."""

    version: int
    whole: Combination
    away: Mapping[str, str]
    starter: Starter | None = None


@dataclass(frozen=True, slots=True)
class ScoredDraft:
    """A draft with what its stages took so far. store: why history is not asked for, "" where it is."""

    draft: Draft
    seconds: StageSeconds
    store: str = ""


def draft_of(
    scored: Scored,
    event: Event,
    reading: Reading,
    tenant: Tenant,
    flags: Sequence[str] = (),
    starter: Starter | None = None,
) -> Draft:
    """A scored message in all but its number. flags: what could not be found out, beside the decision's own. starter:
    see `answer_of`."""
    decision = scored.decision
    return Draft.of(
        event,
        reading.envelope,
        raw_from=reading.raw_from,
        as_of=scored.watermark,
        verdict=decision.decision,
        category=decision.category,
        degraded=decision.degraded or bool(flags),
        flags=[*decision.flags, *flags],
        answer=answer_of(scored, event, reading, tenant, starter),
        rows=scored.rows,
        content=scored.content,
        scores=scored.scores,
    )


class _Named:
    """The champion that the message at hand is to be scored with; the last two that were asked for are kept."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._loaded: dict[int, tuple[Champion, Starter | None]] = {}
        self._current: Champion | None = None
        self.starter: Starter | None = None

    def use(self, version: int) -> Champion:
        """The bundle, which is current from now on.

        Raises NotFound, StoreError, DataError or ContractError where it cannot be had.
        """
        found = self._loaded.pop(version, None) or (self._platform.champion(version), self._platform.starter(version))
        self._loaded[version] = found
        while len(self._loaded) > 2:
            del self._loaded[next(iter(self._loaded))]
        self._current, self.starter = found
        return found[0]

    @property
    def current(self) -> Champion:
        """See `scorer.Champions`."""
        assert self._current is not None
        return self._current


class ScoringWork:
    """The work of a scoring process; it may be sent to one.

    activity, content: what the sender has discovered: a process that must do so imports Feast first. version: of the
    bundle to begin with.
    """

    def __init__(
        self, settings: Settings, activity: tuple[ActivityView, ...], content: ContentSet, version: int | None = None
    ) -> None:
        self._settings, self._activity, self._content, self.version = settings, activity, content, version
        self._tenants: dict[bytes, tuple[Tenant, Site, TenantPolicy, TenantRules]] = {}

    def prepare(self) -> None:
        """Load all that a message needs, once a process."""
        _ = self._reader, self._scorer
        if self.version is not None:
            # One that cannot be had is told to the first message that asks for it.
            with contextlib.suppress(MailwardenError):
                self._champions.use(self.version)

    def __call__(self, asked: Ask | Load) -> Generator[Found, Order | None, ScoredDraft | None] | Loaded:
        """See the module; None where the message needs no score."""
        if isinstance(asked, Load):
            champion = self._champions.use(asked.version)
            away = dict(champion.away)
            return Loaded(champion.version, champion.whole, away, self._champions.starter)
        return self._score(asked)

    def _score(self, asked: Ask) -> Generator[Found, Order | None, ScoredDraft | None]:
        clock = StageClock()
        tenant, site, policy, rules = self._of(asked.tenant)
        read = {"whole": self._reader.whole, "headers": self._reader.headers, "envelope": self._reader.envelope_only}
        reading = read[asked.how](asked.raw, asked.envelope, site)
        event = reading.event
        clock.end("read")
        order = yield Found(
            event.message_id,
            event.signature,
            reading.has_headers,
            reading.borne_us,
            reading.time_source,
            Content.of(event),
        )
        if order is None:
            return None
        clock.skip()
        event = replace(event, campaign=order.campaign, signature=order.signature)
        self._champions.use(asked.version)
        scored = self._scorer.score(
            reading.content,
            event,
            policy,
            rules=rules,
            failed=reading.failed,
            due_seq=order.due_seq,
            explained=asked.explained,
            lap=clock.end,
        )
        draft = draft_of(scored, event, reading, tenant, order.flags, self._champions.starter)
        clock.end("score")
        # What the message alone says is computed where it is read.
        took = reading.features_seconds
        return ScoredDraft(
            draft, added(clock.seconds, (-took, took, 0.0, 0.0, 0.0)), self._platform.online_reader.breaker.words
        )

    def _of(self, pickled: bytes) -> tuple[Tenant, Site, TenantPolicy, TenantRules]:
        """A tenant as it was sent, read once for all its messages."""
        known = self._tenants.get(pickled)
        if known is None:
            tenant: Tenant = pickle.loads(pickled)
            if len(self._tenants) >= _TENANTS_KEPT:
                self._tenants.clear()
            rules = self._scorer.readable(tenant.rules)
            directory, is_current = self._directories.of(tenant)
            known = tenant, site_of(tenant, directory), policy_of(tenant), rules
            if is_current:
                self._tenants[pickled] = known
        return known

    @cached_property
    def _directories(self) -> KnownDirectories:
        return KnownDirectories(self._platform.directories.get)

    @cached_property
    def _platform(self) -> Platform:
        return Platform(self._settings, activity=self._activity, content=self._content)

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._platform.content, resolver_of(self._settings))

    @cached_property
    def _champions(self) -> _Named:
        return _Named(self._platform)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(
            self._champions,
            self._platform.online_reader,
            self._platform.activity,
            self._platform.content,
            costly_share=self._settings.costly_share,
        )

    def with_version(self, version: int | None) -> ScoringWork:
        """The same, to begin with another bundle."""
        return ScoringWork(self._settings, self._activity, self._content, version)

    def __reduce__(self) -> tuple[type[ScoringWork], tuple[object, ...]]:
        return ScoringWork, (self._settings, self._activity, self._content, self.version)


send_as_values(Ask, Found, Order, ScoredDraft, Draft, Content, Envelope, Watermark)
