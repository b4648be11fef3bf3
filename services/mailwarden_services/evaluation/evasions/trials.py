"""Attacks that are caught, shown in every guise, and scored as the API would have scored them at their moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import pyarrow.dataset as ds

from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US
from mailwarden.domain.detection.proof import PROOFS, proof_of
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError
from mailwarden.scoring.scorer import RowPlan, Scored, Scorer
from mailwarden.simulation.evasions.catalog import NO_EVASION, Guise, pairs, singles
from mailwarden.simulation.evasions.claims import Attempt, Known, Letter
from mailwarden.simulation.evasions.pieces import Pieces
from mailwarden.stores.history_at import SupposedReader
from mailwarden.stores.lake.delta import bucket_of, within
from mailwarden.stores.sql import Tenant
from mailwarden_services.bootstrap import Platform, ServingChampion
from mailwarden_services.evaluation.evasions.asked import EvasionsAsked
from mailwarden_services.evaluation.evasions.attacks import Candidate, caught_of
from mailwarden_services.evaluation.evasions.walk import Acquaintances, Moment, Seen, walk
from mailwarden_services.reading.read import Reader, Reading
from mailwarden_services.scoring_api.answers import policy_of, site_of

HELD = ("junk", "quarantine")
INBOUND = "inbound"

Tick = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """One attack shown in one guise. attack: its number. before, after: verdicts, of the attack as it came and as
    shown; odds likewise fused log-odds. proof: the best that it proves of its name to a recipient, of `proof.PROOFS`,
    "" where that is not known. reasons: names of what was said, the strongest first."""

    attack: int
    candidate: Candidate
    guise: Guise
    before: str
    after: str
    odds_before: float
    odds: float
    proof: str
    reasons: tuple[str, ...]


@dataclass(slots=True)
class Left:
    """What was not tried. unreadable: attacks that could not be taken apart. impossible: by evasion, attacks for which
    what it takes is not known. repeated: messages that stand in the home word for word."""

    unreadable: int = 0
    impossible: Counter[str] = field(default_factory=Counter)
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Tried:
    """candidates: looked at; caught: of them, held back as they came; attacks: of those, tried."""

    trials: list[Trial]
    candidates: int
    caught: int
    attacks: int
    left: Left


@dataclass(frozen=True, slots=True)
class _Chosen:
    """An attack to be tried. number: its own. before: what was decided of it as it came. partner, colleague: whose
    mail its sender has seen."""

    number: int
    candidate: Candidate
    before: Scored
    partner: Seen | None
    colleague: Seen | None


class Trying:
    """Scores messages at a moment of a tenant's history; nothing of it stays in any store."""

    def __init__(self, platform: Platform, version: int | None) -> None:
        champions = ServingChampion(lambda: platform.champion(version))
        self._reader = Reader(platform.content)
        self.supposed = SupposedReader()
        # Whether a quota has room says nothing of an evasion.
        asking = 1.0 if platform.settings.costly_share > 0.0 else 0.0
        self._scorer = Scorer(champions, self.supposed, platform.activity, platform.content, costly_share=asking)
        self._rows = RowPlan(platform.activity, platform.content)

    def reading(self, raw: bytes, envelope: Envelope, tenant: Tenant) -> Reading:
        """The message as its tenant would read it now."""
        return self._reader.whole(raw, envelope, site_of(tenant))

    def score(self, moment: Moment, reading: Reading, event: Event, tenant: Tenant, before: Sequence[Event]) -> Scored:
        """What the API would have answered at that moment, had these events come right before."""
        self.supposed.at(moment.history, before)
        return self._scorer.score(reading.content, event, policy_of(tenant), failed=reading.failed)

    def proof(self, reading: Reading) -> str:
        """How far the message that was scored last proves its name, to the recipient to whom it does best."""
        if self.supposed.last is None:
            return ""
        found = proof_of(self._rows.table(reading.content, self.supposed.last))
        known = found[~np.isnan(found)]
        return PROOFS[int(known.max())] if len(known) else ""


def tried(
    platform: Platform,
    version: int | None,
    candidates: Sequence[Candidate],
    asked: EvasionsAsked,
    progress: Callable[[str, int], Tick],
) -> Tried:
    """Look which candidates are caught, and show those that are wanted in every guise.

    progress: told what begins and how many there are; what it gives is told how many are done. Raises DataError where
    none is caught.
    """
    trying = Trying(platform, version)
    before, knows = _as_they_came(platform, trying, candidates, progress("attacks as they came", len(candidates)))
    held = [one in before and before[one].decision.decision in HELD for one in range(len(candidates))]
    chosen = caught_of(candidates, held, asked)
    if not chosen:
        raise DataError(
            f"none of {len(candidates)} labelled attacks is held back by the bundle, so that none can evade it; train "
            "on more mail, or see what it misses with `mailwarden evaluate`"
        )
    place = {(one.tenant, one.message_id): number for number, one in enumerate(candidates)}
    attacks = [
        _Chosen(number, one, before[at], *knows[at])
        for number, one in enumerate(chosen)
        for at in (place[one.tenant, one.message_id],)
    ]
    left = Left()
    guises = _guises_of(len(attacks), asked)
    tick = progress("showing them otherwise", sum(map(len, guises)))
    trials = list(_trials(platform, trying, attacks, guises, asked, left, tick))
    return Tried(trials, len(candidates), sum(held), len(attacks), left)


def _guises_of(attacks: int, asked: EvasionsAsked) -> list[list[Guise]]:
    """By attack, what it is shown as: every single evasion, and each pair on some attacks drawn for it."""
    guises = [[NO_EVASION, *singles()] for _ in range(attacks)]
    for number, pair in enumerate(pairs() if asked.pairs else ()):
        drawn = Random(asked.seed * 10_007 + number).sample(range(attacks), min(asked.pairs, attacks))
        for attack in drawn:
            guises[attack].append(pair)
    return guises


def _as_they_came(
    platform: Platform, trying: Trying, candidates: Sequence[Candidate], tick: Tick
) -> tuple[dict[int, Scored], dict[int, tuple[Seen | None, Seen | None]]]:
    """By number of a candidate what is decided of it as it came, and whose mail its sender may have seen."""
    found: dict[int, Scored] = {}
    knows: dict[int, tuple[Seen | None, Seen | None]] = {}
    for tenant, numbers in _by_tenant(platform, candidates):
        own = {candidates[number].message_id: number for number in numbers}
        for moment in _moments(platform, tenant, {name: candidates[at].seq for name, at in own.items()}):
            number = own[moment.event.message_id]
            row = candidates[number].row
            reading = trying.reading(row.raw, row.envelope, tenant)
            event = replace(reading.event, campaign=moment.event.campaign)
            found[number] = trying.score(moment, reading, event, tenant, ())
            known = moment.acquaintances
            knows[number] = known.partner(moment.event), known.colleague(moment.event)
            tick(len(found))
    return found, knows


def _trials(
    platform: Platform,
    trying: Trying,
    attacks: Sequence[_Chosen],
    guises: Sequence[Sequence[Guise]],
    asked: EvasionsAsked,
    left: Left,
    tick: Tick,
) -> Iterator[Trial]:
    done = 0
    for tenant, numbers in _by_tenant(platform, [one.candidate for one in attacks]):
        stolen = _stolen(platform, tenant, [attacks[number] for number in numbers])
        known = _contents(platform, tenant)
        own = {attacks[number].candidate.message_id: attacks[number] for number in numbers}
        stops = {name: one.candidate.seq for name, one in own.items()}
        for moment in _moments(platform, tenant, stops):
            attack = own[moment.event.message_id]
            try:
                pieces = Pieces.of(attack.candidate.row.raw)
            except (LookupError, ValueError, AttributeError):
                # Text of an unknown charset, say: what it shows could not be put together again.
                left.unreadable += 1
                done += len(guises[attack.number])
                continue
            attempt = Attempt(pieces, _known(tenant, attack, moment, stolen))
            for guise in guises[attack.number]:
                done += 1
                tick(done)
                made = guise.applied(attempt, asked.seed * 1_000 + attack.number)
                if made is None:
                    left.impossible[guise.name] += 1
                    continue
                trial = _trial(trying, tenant, moment, attack, guise, made, known)
                if trial is None:
                    left.repeated += 1
                    continue
                yield trial


def _trial(
    trying: Trying,
    tenant: Tenant,
    moment: Moment,
    attack: _Chosen,
    guise: Guise,
    made: tuple[bytes, tuple[bytes, ...]],
    known: frozenset[str],
) -> Trial | None:
    raw, warm_up = made
    envelope = attack.candidate.row.envelope
    reading = trying.reading(raw, envelope, tenant)
    if guise != NO_EVASION and reading.event.content_sha256 in known:
        return None
    event = replace(reading.event, campaign=moment.campaign_of(reading.event))
    before = _written_before(trying, tenant, moment, event, warm_up, envelope)
    scored = trying.score(moment, reading, event, tenant, before)
    decision, first = scored.decision, attack.before.decision
    return Trial(
        attack.number,
        attack.candidate,
        guise,
        first.decision,
        decision.decision,
        first.logit,
        decision.logit,
        trying.proof(reading),
        tuple(signal.name for signal in decision.signals),
    )


def _written_before(
    trying: Trying, tenant: Tenant, moment: Moment, event: Event, warm_up: Sequence[bytes], envelope: Envelope
) -> list[Event]:
    """The events of mail that the sender wrote before, about a day apart, the last about a day before the attack."""
    found: list[Event] = []
    rng = Random(moment.event.seq)
    at_us = event.received_at_us - len(warm_up) * DAY_US
    for raw in warm_up:
        sent = replace(envelope, received_at_us=at_us + rng.randrange(-6, 7) * HOUR_US, queue_id=None)
        read = trying.reading(raw, sent, tenant).event
        wrote = {recipient for one in found if one.sender == read.sender for recipient in one.recipients}
        new = [name for name in moment.acquaintances.new_to(read.sender, read.recipients) if name not in wrote]
        seq = moment.event.seq + len(found)
        found.append(replace(read, seq=seq, campaign=moment.campaign_of(read), new_recipients=tuple(new)))
        at_us += DAY_US
    return found


def _known(tenant: Tenant, attack: _Chosen, moment: Moment, stolen: Mapping[str, bytes]) -> Known:
    """What the sender of an attack knows. Who is inside forges no name, and nobody outside vouches for it."""

    def letter(seen: Seen | None) -> Letter | None:
        if seen is None or seen.message_id not in stolen or moment.event.direction != INBOUND:
            return None
        return Letter(stolen[seen.message_id], seen.domain, seen.authenticated)

    ids = sorted(tenant.trusts.authserv_ids)
    return Known(letter(attack.partner), letter(attack.colleague), ids[0] if ids else "")


def _stolen(platform: Platform, tenant: Tenant, attacks: Sequence[_Chosen]) -> dict[str, bytes]:
    """By message_id, the raw mail that senders of attacks have seen, as far as it is there."""
    seen = {one.message_id: one.received_at_us for at in attacks for one in (at.partner, at.colleague) if one}
    return {name: row.raw for name, row in platform.raw.of_messages(tenant.name, seen).items()}


def _contents(platform: Platform, tenant: Tenant) -> frozenset[str]:
    """SHA-256 of every message of a tenant."""
    found: set[str] = set()
    own = ds.field("tenant") == tenant.name
    for batch in platform.facts.view(tenant.name).read(["content_sha256"], own, within([bucket_of(tenant.name)])):
        found.update(batch.column(0).to_pylist())
    return frozenset(found - {""})


def _by_tenant(platform: Platform, candidates: Sequence[Candidate]) -> Iterator[tuple[Tenant, list[int]]]:
    for name in sorted({one.tenant for one in candidates}):
        yield platform.tenants.get(name), [n for n, one in enumerate(candidates) if one.tenant == name]


def _moments(platform: Platform, tenant: Tenant, stops: Mapping[str, int]) -> Iterator[Moment]:
    view = platform.facts.view(tenant.name)
    recipients: set[str] = set()
    for event in view.find_all(tenant.name, stops).values():
        recipients.update(event.recipients)
    bad = [message for message, label in view.labels(tenant.name).items() if label != "ham"]
    return walk(view, tenant.name, platform.activity, stops, Acquaintances(recipients, bad))
