"""A tenant left out: a bundle learns from all others, and meets that tenant's mail as a new customer's.

1. Nothing of the host and the sources is learned from, nor are messages that were set aside.
2. The host's mail is scored in order of arrival, and that of the sources as if it had come to the host.
3. Thresholds are, first, those of a site never seen; then, for each share of bad mail, those found by a warm-up whose
   labels nobody sees: the host's first good messages, mixed with bad ones in that share.
4. What was in no warm-up is judged at these thresholds.

Invariant: no label of the host or of a source reaches a model, a fusion or a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import VERDICTS, away_name
from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.evidence import FEATURES, evidence_of
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import LABELS
from mailwarden.errors import DataError
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.figures import Share, recall_at
from mailwarden.evaluation.rows import NOT_ASKED
from mailwarden.scoring.champion import Champion
from mailwarden.stores.bundle import Bundle
from mailwarden.training.dataset import LabelledRows
from mailwarden.training.tenants import TenantMail, calibrate
from mailwarden.training.train import train
from mailwarden_services.calibrating import log_odds_of
from mailwarden_services.evaluation.judge import Judge, Messages, judged
from mailwarden_services.evaluation.left_out.asked import LeftOutAsked

Progress = Callable[[str], None]

_HELD = VERDICTS.index("junk")
_MARKED = VERDICTS.index("banner")
NAMED = 100
"""Good messages that were held back are named by their ids, so many at most: some will be labelled wrongly."""
RANKED = (0.002, 0.001, 0.0005)
"""Shares of the host's good mail at which ranking alone is told."""


@dataclass(frozen=True, slots=True)
class _Mail:
    """Messages of the host and the sources, as the host's, in order of arrival, the host's first."""

    messages: Messages
    source: NDArray[np.str_]
    labels: NDArray[np.str_]
    evidence: NDArray[np.float64]

    @property
    def bad(self) -> NDArray[np.bool_]:
        return np.asarray(self.labels != "ham")


def left_out(
    rows: LabelledRows,
    features: Mapping[str, FeatureTable],
    detectors: Mapping[str, type[Detector]],
    asked: LeftOutAsked,
    *,
    history: Collection[str],
    content_views: Collection[str],
    progress: Progress = lambda stage: None,
) -> dict[str, Any]:
    """Train without tenants and tell what becomes of their mail, as plain JSON values.

    features: each detector's table, its rows those of `rows`; one of them must read what tells good mail without a
    label (`evidence.FEATURES`). Raises DataError where a tenant has no mail, or what is left cannot be trained on.
    """
    tenant = rows.tenant.astype(str)
    away = (asked.host, *asked.sources)
    _check_there(rows, asked)
    odd = np.isin(rows.message_id.astype(str), sorted(asked.set_aside))
    inside = ~np.isin(tenant, away) & ~(np.isin(tenant, asked.good_alone) & rows.bad) & ~odd
    index = np.flatnonzero(inside)
    trained = train(
        rows.take(index), {name: table.take(index) for name, table in features.items()}, detectors, asked.options,
        history=history, progress=progress,
    )  # fmt: skip
    champion = Champion.of(trained.bundle, detectors, trained.fetch, version=1, content_views=frozenset(content_views))
    progress(f"scoring mail of {', '.join(away)}")
    every = _joined(features)
    mail = _mail(rows, every, [np.flatnonzero((tenant == name) & ~odd) for name in away], asked.host)
    odds = log_odds_of(champion, mail.messages.rows, mail.messages.starts)
    setups = [_judged(trained.bundle, champion, mail, asked.host, {"thresholds": "of a site never seen"}, None)]
    for share in asked.shares or (None,):
        warm = _warm_up(mail, asked, share)
        of_warm = TenantMail(
            {name: one[warm] for name, one in odds.items()}, mail.evidence[warm],
            np.zeros(len(warm), dtype=np.bool_), np.zeros(len(warm), dtype=np.bool_),
        )  # fmt: skip
        moved, found = calibrate(trained.bundle, {asked.host: of_warm})
        words: dict[str, Any] = {
            "thresholds": f"after {len(warm):,} messages",
            "bad_share": float(mail.bad[warm].mean()),
        }
        if asked.host in found:
            own = found[asked.host]
            words |= {"counted": own.counted, "shift": own.shift, "expected": list(own.expected)}
        setups.append(
            _judged(moved, champion, mail, asked.host, words, warm)
            | {"away": _with_each_away(moved, champion, odds, mail, asked.host, warm)}
        )
    there = rows.take(index)
    return {
        "host": asked.host,
        "sources": list(asked.sources),
        "good_alone": list(asked.good_alone),
        "set_aside": len(np.unique(rows.message[odd])),
        "learned_from": _counts(there),
        "detectors": sorted(detectors),
        "not_learned": trained.not_learned,
        "setups": setups,
        "ranking": _ranking(mail, odds[""]),
        "record": dict(asked.record),
        "options": asdict(asked.options) | {"ablate": list(asked.options.ablate)},
    }


def _check_there(rows: LabelledRows, asked: LeftOutAsked) -> None:
    first = rows.of_messages()
    tenant, bad = rows.tenant[first].astype(str), rows.bad[first]
    for name in (asked.host, *asked.sources, *asked.good_alone):
        if not (tenant == name).any():
            raise DataError(f"tenant {name} has no labelled mail; ingest it with labels, or leave its name out")
    good = int((~bad[tenant == asked.host]).sum())
    if good <= asked.warm_up:
        raise DataError(
            f"tenant {asked.host} has {good:,} good messages, and a warm-up takes {asked.warm_up:,}; name a tenant "
            "with more first, or give a shorter --warm-up"
        )


def _joined(features: Mapping[str, FeatureTable]) -> FeatureTable:
    """One table of all that any detector reads."""
    columns: dict[str, NDArray[Any]] = {}
    statuses: dict[str, NDArray[np.uint8]] = {}
    n = 0
    for table in features.values():
        n = table.n
        columns |= {name: column for name, column in table.columns.items() if name not in columns}
        statuses |= table.statuses
    absent = sorted(set(FEATURES) - set(columns))
    if absent:
        raise DataError(f"no detector reads {absent[0]}, by which a tenant's thresholds are found; name behaviour too")
    return FeatureTable(columns, n, statuses)


def _mail(rows: LabelledRows, every: FeatureTable, parts: Sequence[NDArray[np.intp]], host: str) -> _Mail:
    index = np.concatenate(parts)
    number = rows.message[index]
    starts = np.append(np.flatnonzero(np.append(True, number[1:] != number[:-1])), len(index)).astype(np.intp)
    first = index[starts[:-1]]
    labels = np.array([rows.labels[row] for row in first.tolist()])
    table = every.take(index)
    messages = Messages(
        rows=table,
        starts=starts,
        tenant=Coded.of([host] * len(first)),
        message_id=pa.array(rows.message_id[first].tolist()),
        at_us=rows.at_us[first],
        label=Coded.of(labels.tolist(), LABELS),
    )
    evidence = np.maximum.reduceat(evidence_of(table), starts[:-1])
    return _Mail(messages, rows.tenant[first].astype(str), labels, evidence)


def _warm_up(mail: _Mail, asked: LeftOutAsked, share: float | None) -> NDArray[np.intp]:
    """Positions of the messages of a warm-up."""
    host = mail.source == asked.host
    if share is None:
        return np.flatnonzero(host)[: asked.warm_up]
    n_bad = round(share * asked.warm_up)
    good = np.flatnonzero(host & ~mail.bad)[: asked.warm_up - n_bad]
    # The host's own bad mail first, as it came; what is lacking is spread over the sources' mail.
    own = np.flatnonzero(host & mail.bad)[:n_bad]
    others = np.flatnonzero(~host & mail.bad)
    lacking = min(n_bad - len(own), len(others))
    spread = others[np.linspace(0, len(others) - 1, lacking).astype(np.intp)] if lacking else others[:0]
    return np.concatenate([good, own, spread])


def _judged(
    bundle: Bundle, champion: Champion, mail: _Mail, host: str, words: Mapping[str, Any], warm: NDArray[np.intp] | None
) -> dict[str, Any]:
    """What becomes of what is in no warm-up."""
    serving = replace(champion, whole=bundle.whole, without=bundle.without)
    scored = judged(Judge(bundle, serving, {}), mail.messages)
    verdict = scored.verdict.codes
    left = np.ones(len(verdict), dtype=np.bool_)
    if warm is not None:
        left[warm] = False
    of_host = mail.source == host
    good = left & ~mail.bad & of_host
    junk = bundle.whole.thresholds_of(host).junk
    return {
        **words,
        "junk_from": junk if np.isfinite(junk) else None,
        "asked": {
            name: _share(scored.detectors[name].missing[mail.source == host] != NOT_ASKED)
            for name in champion.to_consult
        },
        "good_held": _share(verdict[good] >= _HELD),
        "good_marked": _share(verdict[good] >= _MARKED),
        "good_held_ids": mail.messages.message_id.filter(pa.array(good & (verdict >= _HELD)))[:NAMED].to_pylist(),
        "bad": [
            {
                "source": source,
                "label": label,
                "held": _share(verdict[chosen] >= _HELD),
                "marked": _share(verdict[chosen] >= _MARKED),
            }
            for source, label, chosen in _bad_of(mail, left)
        ],
    }


def _with_each_away(
    bundle: Bundle,
    champion: Champion,
    odds: Mapping[str, NDArray[np.float64]],
    mail: _Mail,
    host: str,
    warm: NDArray[np.intp],
) -> dict[str, dict[str, Any]]:
    """By what is away, of the host's good mail and of bad mail that is in no warm-up, what is held back then."""
    left = np.ones(len(mail.labels), dtype=np.bool_)
    left[warm] = False
    good = left & ~mail.bad & (mail.source == host)
    ways = {name: (combination, odds[name]) for name, combination in sorted(bundle.without.items())}
    if champion.to_consult:
        # Without those that are asked about doubtful mail alone, what the cheap ones say stands.
        ways = {away_name(champion.to_consult): (bundle.whole, odds[""]), **ways}
    found = {}
    for name, (combination, own) in ways.items():
        held = own >= combination.thresholds_of(host).junk
        found[name] = {
            "good_held": _share(held[good]),
            "bad_held": _share(held[left & mail.bad]),
            "by_source": {source: _share(held[of]) for source, label, of in _bad_of(mail, left) if not label},
        }
    return found


def _bad_of(mail: _Mail, left: NDArray[np.bool_]) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """By source, then by its labels where there are several: which messages."""
    found = []
    for source in dict.fromkeys(mail.source.tolist()):
        own = left & mail.bad & (mail.source == source)
        labels = sorted(set(mail.labels[own].tolist()))
        if labels:
            found.append((source, "", own))
        if len(labels) > 1:
            found += [(source, label, own & (mail.labels == label)) for label in labels]
    return found


def _ranking(mail: _Mail, odds: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Of each source, how much of its bad mail lies above all but a share of the host's good mail: no threshold that
    anybody could know beforehand."""
    good = odds[~mail.bad & (mail.source == mail.source[0])]
    return [
        {"source": source, "budget": budget, **asdict(recall_at(odds[own], good, budget))}
        for source in dict.fromkeys(mail.source.tolist())
        if (own := mail.bad & (mail.source == source)).any()
        for budget in RANKED
    ]


def _share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    return asdict(Share.of(int(hits.sum()), len(hits)))


def _counts(rows: LabelledRows) -> dict[str, list[int]]:
    """By tenant, good and bad messages that were learned from."""
    first = rows.of_messages()
    tenant, bad = rows.tenant[first].astype(str), rows.bad[first]
    return {
        name: [int((~bad[tenant == name]).sum()), int(bad[tenant == name].sum())]
        for name in sorted(set(tenant.tolist()))
    }
