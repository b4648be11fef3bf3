"""What was served: the decisions of one bundle with the score log beside them, as a scored table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import VERDICTS
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.errors import NotFound
from mailwarden.evaluation.coded import NONE, Coded
from mailwarden.evaluation.keys import Keys
from mailwarden.evaluation.language import LANGUAGES, languages_of
from mailwarden.evaluation.rows import AWAY, RowScores
from mailwarden.evaluation.scored import MISSING, Scored
from mailwarden.stores.accepted import RULE_LOGGED
from mailwarden.stores.bundle import Bundle
from mailwarden.stores.sql import ModelRecord
from mailwarden_services.bootstrap import Platform
from mailwarden_services.evaluation.facts import facts_of, labels_of, learned
from mailwarden_services.evaluation.home import TEXTS, Wanted, budgets_of, learned_by
from mailwarden_services.loop import Progress, quiet

_LOGGED = (
    "tenant", "message_id", "recipient", "bundle", "detector", "raw", "calibrated", "milliseconds", "missing",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Decisions that are in no figure. others: by version, of other bundles. unlogged: of this one, with no scores in
    the log (yet). forgotten: whose message a tombstone takes out."""

    others: Mapping[str, int]
    unlogged: int
    forgotten: int


def judge_served(
    platform: Platform, record: ModelRecord, bundle: Bundle, wanted: Wanted, progress: Progress = quiet
) -> tuple[Scored, LeftOut]:
    """Every decision of a bundle that is wanted, with the labels that are known of it; many have none.

    Verdicts are those that were given, by each tenant's lists too. Raises NotFound where it decided nothing, or the
    score log has nothing of it.
    """
    tenants = [tenant.name for tenant in platform.tenants.list()] if wanted.tenant is None else [wanted.tenant]
    progress("decisions")
    decided = _decided(platform, tenants, str(record.version), wanted)
    others = _others(platform, tenants, record.version)
    if decided is None:
        raise _nothing(record.version, others, wanted)
    keys = Keys(decided["tenant"].combine_chunks(), decided["message_id"].combine_chunks())
    progress("what each detector said")
    rows, took, logged = _rows(platform, keys, record.version, bundle, wanted.tenant)
    labels = labels_of(platform, keys, tenants, wanted.known_by_us)
    left = LeftOut(others, int((~logged & ~labels.gone).sum()), int(labels.gone.sum()))
    if not (logged & ~labels.gone).any():
        raise NotFound(
            f"the score log has nothing of the {len(keys):,} decisions of bundle {record.version}; let the feature "
            "writer of `mailwarden serve` write it, or judge labelled mail without --served"
        )
    progress("slices")
    facts = facts_of(platform, keys, tenants)
    tenant = Coded.of(decided["tenant"])
    slices = {**facts.slices, "language": _languages(platform, keys)}
    what = learned_by(record)
    if what is not None:
        slices["learned"] = learned(tenant, facts, labels, what)
    # Rows are of the logged messages alone, in the order of all.
    there = np.flatnonzero(logged)
    of_logged = tenant.take(there)
    fused = rows.fused(bundle, of_logged)
    worst = rows.decided(fused)
    given = np.asarray(pc.fill_null(decided["log_odds"], np.nan), dtype=np.float64)[there]
    degraded = np.asarray(pc.fill_null(decided["degraded"], True))[there]
    category = Coded.of(decided["category"], CATEGORIES).take(there)
    scored = Scored(
        version=record.version,
        bundle=bundle,
        served=True,
        tenant=of_logged,
        message_id=decided["message_id"].combine_chunks().take(pa.array(there)),
        at_us=np.asarray(decided["received_at_us"], dtype=np.int64)[there],
        label=labels.label.take(there),
        category=category,
        verdict=Coded.of(decided["decision"], VERDICTS).take(there),
        log_odds=np.where(np.isnan(given), fused[worst], given),
        detectors=rows.said(worst, {name: values[there] for name, values in took.items()}),
        without=rows.without(bundle, rows.whole() & ~degraded, of_logged),
        campaign=facts.campaign[there],
        slices={name: column.take(there) for name, column in sorted(slices.items())},
        budgets=budgets_of(platform),
        # What was delivered has none, and without a detector counts by the plain budget.
        called=category,
    )
    return scored.where(~labels.gone[there]).in_order(), left


def _others(platform: Platform, tenants: Sequence[str], version: int) -> dict[str, int]:
    found: Counter[str] = Counter()
    for tenant in tenants:
        found.update(platform.decisions.judged_by(tenant))
    return {model: n for model, n in sorted(found.items()) if model != str(version)}


def _nothing(version: int, others: Mapping[str, int], wanted: Wanted) -> NotFound:
    of_that_time = " of that time" if wanted.from_us is not None or wanted.until_us is not None else ""
    if others:
        there = ", ".join(f"{model} ({n:,})" for model, n in others.items())
        return NotFound(
            f"bundle {version} decided nothing{of_that_time}; bundles that did: {there}; name one (--bundle)"
        )
    return NotFound(
        f"nothing was decided yet{of_that_time} that is kept here; score mail with `mailwarden serve` first, or judge "
        "labelled mail without --served"
    )


_COLUMNS: dict[str, pa.DataType] = {
    "message_id": pa.large_string(),
    "received_at_us": pa.int64(),
    "decision": pa.string(),
    "category": pa.string(),
    "degraded": pa.bool_(),
    "log_odds": pa.float64(),
}


def _decided(platform: Platform, tenants: Sequence[str], version: str, wanted: Wanted) -> pa.Table | None:
    parts = []
    for tenant in tenants:
        for page in platform.decisions.judged(tenant, version, wanted.from_us, wanted.until_us):
            columns = {name: pa.array(page[name], kind) for name, kind in _COLUMNS.items()}
            names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(page["decision"]), np.int32)), [tenant])
            parts.append(pa.table({"tenant": names.cast(pa.string()), **columns}))
    return pa.concat_tables(parts) if parts else None


def _rows(
    platform: Platform, keys: Keys, version: int, bundle: Bundle, tenant: str | None
) -> tuple[RowScores, dict[str, NDArray[np.float64]], NDArray[np.bool_]]:
    """Rows of the messages that the log has, in the order of `keys`; by detector (n,) milliseconds; (n,) which it
    has."""
    n = len(keys)
    recipients = _Numbers()
    found: dict[str, list[tuple[NDArray[Any], ...]]] = {name: [] for name in bundle.members}
    took = {name: np.full(n, np.nan) for name in bundle.members}
    for place, rows in keys.read(_of_bundle(platform, version, tenant)):
        row = place * _RECIPIENTS + recipients.of(rows["recipient"].combine_chunks())
        detector = Coded.of(rows["detector"])
        why = Coded.of(rows["missing"], MISSING[1:]).codes + 1
        raw, calibrated, spent = (
            np.asarray(pc.fill_null(rows[name], np.nan), dtype=np.float64)
            for name in ("raw", "calibrated", "milliseconds")
        )
        for name in bundle.members:
            own = np.flatnonzero(detector.has(name))
            found[name].append((row[own], raw[own], calibrated[own], why[own]))
            took[name][place[own]] = spent[own]
    every = np.unique(
        np.concatenate([part[0] for parts in found.values() for part in parts] or [np.empty(0, np.int64)])
    )
    of_message = every // _RECIPIENTS
    messages, first = np.unique(of_message, return_index=True)
    scores: dict[str, dict[str, NDArray[Any]]] = {"raw": {}, "calibrated": {}, "missing": {}}
    for name, parts in found.items():
        raw, calibrated = np.full(len(every), np.nan), np.full(len(every), np.nan)
        missing = np.full(len(every), AWAY, dtype=np.uint8)
        for row, *values in parts:
            at = np.searchsorted(every, row)
            raw[at], calibrated[at], missing[at] = values
        scores["raw"][name], scores["calibrated"][name], scores["missing"][name] = raw, calibrated, missing
    logged = np.zeros(n, dtype=np.bool_)
    logged[messages] = True
    starts = np.append(first, len(every)).astype(np.intp)
    return RowScores(starts, scores["raw"], scores["calibrated"], scores["missing"]), took, logged


_RECIPIENTS = 1 << 32
"""More than there are recipients: a row is its message's place times this, and its recipient's number."""


class _Numbers:
    """Numbers of names, in the order in which they are first met."""

    def __init__(self) -> None:
        self._known = pa.array([], pa.large_string())

    def of(self, names: pa.Array) -> NDArray[np.int64]:
        """(n,) numbers, the same for the same name as ever before."""
        wide = pc.fill_null(names.cast(pa.large_string()), "")
        new = pc.unique(wide)
        strange = new.filter(pc.invert(pc.is_in(new, value_set=self._known)))
        if len(strange):
            self._known = pa.concat_arrays([self._known, strange])
        return np.asarray(pc.index_in(wide, value_set=self._known), dtype=np.int64)


def _of_bundle(platform: Platform, version: int, tenant: str | None) -> Iterator[pa.RecordBatch]:
    for batch in platform.scores.scan(tenant, columns=_LOGGED):
        wanted = pc.fill_null(pc.equal(batch["bundle"], version), False)
        kept = batch.filter(pc.and_not(wanted, pc.starts_with(batch["detector"], RULE_LOGGED)))
        if kept.num_rows:
            yield kept


def _languages(platform: Platform, keys: Keys) -> Coded:
    """By the texts that features saw, as long as they are kept."""
    codes = np.full(len(keys), NONE, dtype=np.int32)
    for name in reversed(TEXTS):
        view, _, feature = name.partition(":")
        for place, rows in keys.read(platform.texts.scan(view, feature)):
            own = languages_of(rows["value"].combine_chunks()).codes
            codes[place] = np.where(own >= 0, own, codes[place])
    return Coded(codes, LANGUAGES)
