"""A tenant's labelled mail with what every cheap detector said of it, with history and without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import HISTORY
from mailwarden.domain.status import Status
from mailwarden.evaluation.keys import Keys
from mailwarden.scoring.batch import BatchScores, DetectorScores
from mailwarden.scoring.champion import Champion
from mailwarden_services.bootstrap import Platform
from mailwarden_services.evaluation.facts import senders_of
from mailwarden_services.evaluation.faults.asked import FaultsAsked
from mailwarden_services.evaluation.home import check_content, labelled_messages, texts_among
from mailwarden_services.evaluation.judge import Judge, Messages
from mailwarden_services.loop import Loop, Progress, quiet
from mailwarden_services.teams.content_changes import read_by

Said = Mapping[str, DetectorScores]
"""By detector, of n rows."""


@dataclass(frozen=True, slots=True)
class TenantRows:
    """Messages of one tenant in order of arrival.

    starts: (messages + 1,) where each one's rows begin. bad: (messages,). sender: (messages,) addresses, "" for none.
    said: by detector, of all rows. blind: the same with no history.
    """

    tenant: str
    starts: NDArray[np.intp]
    bad: NDArray[np.bool_]
    sender: NDArray[np.object_]
    said: Said
    blind: Said

    def take(self, chosen: NDArray[np.intp]) -> TenantRows:
        """Some of the messages, in the order of their positions."""
        lengths = np.diff(self.starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp)
        at = np.arange(starts[-1]) + np.repeat(self.starts[chosen] - starts[:-1], lengths)
        said, blind = _taken(self.said, at), _taken(self.blind, at)
        return TenantRows(self.tenant, starts, self.bad[chosen], self.sender[chosen], said, blind)

    def thinned(self, share: float, draw: np.random.Generator) -> TenantRows:
        """The good messages, and so many of the bad ones, drawn, as come to that share; fewer where there are fewer."""
        good, bad = np.flatnonzero(~self.bad), np.flatnonzero(self.bad)
        n = min(len(bad), round(share / (1.0 - share) * len(good)))
        return self.take(np.sort(np.concatenate([good, draw.choice(bad, n, replace=False)])))


def _taken(said: Said, at: NDArray[np.intp]) -> dict[str, DetectorScores]:
    return {
        name: DetectorScores(one.raw[at], None if one.abstains is None else one.abstains[at], one.seconds)
        for name, one in said.items()
    }


@dataclass(frozen=True, slots=True)
class _Part:
    messages: Messages
    whole: BatchScores
    blind: BatchScores


def mail_by_tenant(
    loop: Loop, judge: Judge, asked: FaultsAsked, progress: Progress = quiet
) -> tuple[dict[str, TenantRows], int]:
    """The labelled mail that is wanted, by tenant, and of how many messages something was away already, which are left
    out.

    Raises DataError where nothing is labelled, or labels are of one class.
    """
    platform, champion = loop.platform, judge.champion
    features = [name for name in judge.features if judge.sees(name)]
    classes = {name: type(one) for name, one in champion.detectors.items()}
    check_content(platform, read_by(classes, platform.content))
    parts: list[_Part] = []
    hidden = texts_among(platform, set(judge.features) - set(features))
    with labelled_messages(loop, features, asked.wanted, progress, hidden=hidden, both=True) as found:
        progress("scoring")
        for messages in found:
            names = [messages.tenant.word(at) for at in range(len(messages.at_us))]
            blind = messages.rows.lacking(champion.history_views, Status.UNAVAILABLE)
            parts.append(
                _Part(
                    messages,
                    champion.score(messages.rows, messages.starts, names),
                    champion.score(blind, messages.starts, names),
                )
            )
    sender = _senders(platform, [part.messages for part in parts])
    return _by_tenant(champion, parts, sender, asked)


def _senders(platform: Platform, parts: Sequence[Messages]) -> list[NDArray[np.object_]]:
    """By part (messages,), addresses."""
    tenants = sorted({name for part in parts for name in part.tenant.words})
    keys = Keys(
        pa.concat_arrays([part.tenant.to_arrow().dictionary_decode() for part in parts]),
        pa.concat_arrays([part.message_id for part in parts]),
    )
    found = np.array([word or "" for word in senders_of(platform, keys, tenants).to_arrow().to_pylist()], dtype=object)
    cuts = np.cumsum([len(part.at_us) for part in parts])[:-1]
    return list(np.split(found, cuts))


def _by_tenant(
    champion: Champion, parts: Sequence[_Part], sender: Sequence[NDArray[np.object_]], asked: FaultsAsked
) -> tuple[dict[str, TenantRows], int]:
    left = 0
    rows: dict[str, list[TenantRows]] = {}
    for part, senders in zip(parts, sender, strict=True):
        messages = part.messages
        # What something is away for already tells nothing of a fault.
        whole = _sound(champion, part.whole) & _sound(champion, part.blind, HISTORY)
        left += int((~whole).sum())
        label = messages.label
        for code, name in enumerate(messages.tenant.words):
            chosen = np.flatnonzero(whole & (messages.tenant.codes == code))
            if len(chosen):
                of = TenantRows(
                    name, messages.starts, ~label.has("ham"), senders, part.whole.detectors, part.blind.detectors
                )
                rows.setdefault(name, []).append(of.take(chosen))
    return {name: _last(_joined(found), asked.messages) for name, found in sorted(rows.items())}, left


def _sound(champion: Champion, batch: BatchScores, *known: str) -> NDArray[np.bool_]:
    """(messages,) where nothing is away but what did not load, and what is known to be."""
    sound = [pattern.away <= {*champion.away, *known} for pattern in batch.patterns]
    return np.array(sound)[batch.pattern_of]


def _joined(parts: Sequence[TenantRows]) -> TenantRows:
    lengths = np.concatenate([np.diff(part.starts) for part in parts])
    n = [int(part.starts[-1]) for part in parts]

    def together(of: Callable[[TenantRows], Said]) -> dict[str, DetectorScores]:
        found = {}
        for name in of(parts[0]):
            silent = [
                np.zeros(count, dtype=np.bool_) if (one := of(part)[name].abstains) is None else one
                for part, count in zip(parts, n, strict=True)
            ]
            raw = np.concatenate([of(part)[name].raw for part in parts])
            found[name] = DetectorScores(raw, np.concatenate(silent), 0.0)
        return found

    return TenantRows(
        parts[0].tenant,
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp),
        np.concatenate([part.bad for part in parts]),
        np.concatenate([part.sender for part in parts]),
        together(lambda part: part.said),
        together(lambda part: part.blind),
    )


def _last(rows: TenantRows, messages: int) -> TenantRows:
    """From the last so many good messages on."""
    good = np.flatnonzero(~rows.bad)
    first = int(good[-messages]) if len(good) > messages else 0
    return rows if not first else rows.take(np.arange(first, len(rows.bad)))
