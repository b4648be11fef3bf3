"""Which attacks are tried: by category in turn, by seed, few a campaign, what the bundle never saw first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import pyarrow as pa

from mailwarden.errors import DataError
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.keys import Keys
from mailwarden.evaluation.scored import GOOD
from mailwarden.stores.lake.raw_mail import RawRow
from mailwarden.stores.sql import ModelRecord
from mailwarden_services.bootstrap import Platform
from mailwarden_services.evaluation.evasions.asked import EvasionsAsked
from mailwarden_services.evaluation.facts import facts_of, labels_of, learned
from mailwarden_services.evaluation.home import learned_by

_One = TypeVar("_One")

LOOKED_AT = 4
"""Candidates for each attack that is wanted: not all are caught."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A labelled attack. label: of `events.LABELS`. campaign: its number in the home, below 0 where it is of none; then
    each has another. new: the bundle cannot have learned from it. row: as it came."""

    tenant: str
    message_id: str
    seq: int
    label: str
    campaign: int
    new: bool
    row: RawRow


def candidates_of(platform: Platform, record: ModelRecord, asked: EvasionsAsked) -> list[Candidate]:
    """Attacks that may be tried, in the order that they are preferred in; those whose raw mail is gone are left out.

    Raises DataError where none is labelled.
    """
    wanted = asked.wanted
    tenants = [tenant.name for tenant in platform.tenants.list()] if wanted.tenant is None else [wanted.tenant]
    found: list[tuple[str, str, int, str, int, bool]] = []
    times: dict[tuple[str, str], int] = {}
    for tenant in tenants:
        named = platform.facts.view(tenant).labels(tenant)
        ids = sorted(message for message, label in named.items() if label != GOOD)
        if not ids:
            continue
        events = platform.facts.view(tenant).find_all(tenant, ids)
        keys = Keys(pa.array([tenant] * len(ids)), pa.array(ids))
        labels = labels_of(platform, keys, [tenant], wanted.known_by_us)
        facts = facts_of(platform, keys, [tenant])
        what = learned_by(record)
        seen = None if what is None else learned(Coded.of([tenant] * len(ids)), facts, labels, what).has("learned from")
        for place, message_id in enumerate(ids):
            event, label = events.get(message_id), labels.label.word(place)
            if event is None or event.copy_of or labels.gone[place] or label in ("", GOOD):
                continue
            if not (wanted.from_us or 0) <= event.received_at_us < (wanted.until_us or 2**63):
                continue
            number = int(facts.campaign[place])
            campaign = number if number >= 0 else -1 - len(found)
            new = seen is not None and not bool(seen[place])
            found.append((tenant, message_id, event.seq, label, campaign, new))
            times[tenant, message_id] = event.received_at_us
    if not found:
        raise DataError(
            "no attack is labelled; ingest mail with `mailwarden ingest MAIL --labels INDEX`, or give labels to what "
            "was scored, then evaluate"
        )
    chosen = in_turn(found, asked.seed, LOOKED_AT * asked.attacks, asked.a_campaign)
    raw: dict[tuple[str, str], RawRow] = {}
    for tenant in {one[0] for one in chosen}:
        own = {message_id: times[tenant, message_id] for name, message_id, *_ in chosen if name == tenant}
        raw |= {(tenant, name): row for name, row in platform.raw.of_messages(tenant, own).items()}
    return [Candidate(*one, raw[one[0], one[1]]) for one in chosen if (one[0], one[1]) in raw]


def caught_of(candidates: Sequence[Candidate], caught: Iterable[bool], asked: EvasionsAsked) -> list[Candidate]:
    """Those that are tried: of the candidates that are caught as many as are wanted, by category in turn."""
    held = [one for one, there in zip(candidates, caught, strict=True) if there]
    turns = _turns(held, lambda one: one.label)
    return [one for _, one in zip(range(asked.attacks), turns, strict=False)]


def in_turn(
    found: Sequence[tuple[str, str, int, str, int, bool]], seed: int, most: int, a_campaign: int
) -> list[tuple[str, str, int, str, int, bool]]:
    """By category in turn, each drawn by seed, what is new to the bundle first, and so many of a campaign at most."""
    order = sorted(found)
    Random(seed).shuffle(order)
    order.sort(key=lambda one: not one[5])
    of_campaign: Counter[tuple[str, int]] = Counter()
    kept = []
    for one in order:
        of_campaign[one[0], one[4]] += 1
        if of_campaign[one[0], one[4]] <= a_campaign:
            kept.append(one)
    turns = _turns(kept, lambda one: one[3])
    return [one for _, one in zip(range(most), turns, strict=False)]


def _turns(ones: Iterable[_One], label: Callable[[_One], str]) -> Iterator[_One]:
    """One of each category, then the next of each, in the order that they have."""
    by_label: dict[str, list[_One]] = defaultdict(list)
    for one in ones:
        by_label[label(one)].append(one)
    for number in range(max(map(len, by_label.values()), default=0)):
        for name in sorted(by_label):
            if number < len(by_label[name]):
                yield by_label[name][number]
