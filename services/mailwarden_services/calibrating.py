"""The mail by which a tenant's thresholds are found: of the event log, as it was when each message was accepted."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import HISTORY
from mailwarden.domain.detection.evidence import FEATURES, evidence_of
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import LABELS
from mailwarden.domain.status import Status
from mailwarden.errors import DataError, NotFound
from mailwarden.evaluation.scored import GOOD
from mailwarden.scoring.champion import Champion
from mailwarden.stores.bundle import Bundle
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.spark.failures import translated
from mailwarden.training.prepare import ask
from mailwarden.training.register import BUNDLE
from mailwarden.training.rows import write_training_rows
from mailwarden.training.tenants import TenantMail, calibrate
from mailwarden_features.feature_services import feast_objects
from mailwarden_services.bootstrap import Platform
from mailwarden_services.evaluation.home import messages_of
from mailwarden_services.evaluation.judge import Messages
from mailwarden_services.loop import Loop, Progress, code_revision, quiet

MESSAGES = 5_000
"""About so many of a tenant's messages are looked at, the same ones each time."""

_ORDER = ("event_timestamp", "tenant", "seq", "recipient")


def calibrate_tenants(
    loop: Loop, *, tenants: Sequence[str], now_us: int, until_us: int | None = None, progress: Progress = quiet
) -> dict[str, Any]:
    """Find the thresholds of tenants that the serving bundle did not learn from, and have a bundle with them serve.

    tenants: all by default. until_us: only mail received before then counts, None for all. Returns the version that
    serves then, and what was found of each tenant, as plain JSON values. Raises NotFound where none serves or there is
    no such tenant, DataError where the bundle knows nothing of sites.
    """
    platform = loop.platform
    record, bundle = platform.bundle(None)
    if bundle.whole.tail is None:
        raise DataError(f"bundle {record.version} knows nothing of other sites; run `mailwarden train`")
    known = [platform.tenants.get(name).name for name in tenants] or [tenant.name for tenant in platform.tenants.list()]
    others = [name for name in known if name not in bundle.whole.learned]
    champion = platform.champion(record.version)
    gathered = {name: mail for name in others if (mail := _mail_of(loop, champion, name, now_us, until_us, progress))}
    moved, found = calibrate(bundle, gathered)
    words = {name: asdict(one) for name, one in found.items()}
    if not found:
        return {"version": record.version, "tenants": words}
    moved = replace(moved, record={**bundle.record, "calibrated": {"of": record.version, "tenants": words}})
    version = _register(loop, moved, record, now_us)
    return {"version": version, "tenants": words}


def calibrated(platform: Platform) -> tuple[str, ...]:
    """Tenants whose own thresholds the serving bundle has without having learned from them, none where none serves."""
    try:
        _, bundle = platform.bundle(None)
    except NotFound:
        return ()
    known = {tenant.name for tenant in platform.tenants.list()}
    return tuple(sorted((set(bundle.whole.tenants) - bundle.whole.learned) & known))


def calibrate_again(
    loop: Loop, names: Sequence[str], *, now_us: int, progress: Progress = quiet
) -> dict[str, Any] | None:
    """Have tenants keep thresholds of their own when another bundle took over, whose scores are others: found anew.

    names: as `calibrated` gave them before. None where nobody is left to do it for.
    """
    _, bundle = loop.platform.bundle(None)
    left = [name for name in names if name not in bundle.whole.learned]
    if not left or bundle.whole.tail is None:
        return None
    return calibrate_tenants(loop, tenants=left, now_us=now_us, progress=progress)


def _mail_of(
    loop: Loop, champion: Champion, tenant: str, now_us: int, until_us: int | None, progress: Progress
) -> TenantMail | None:
    platform = loop.platform
    read = tuple(dict.fromkeys([*(name for one in champion.detectors.values() for name in one.features), *FEATURES]))
    facts = platform.facts.snapshot()
    store = open_feature_store(platform.settings, feast_objects(), fact_set=facts.number)
    platform.settings.run_path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=platform.settings.run_path, prefix="calibrate-") as folder:
        rows, values, ordered = (Path(folder) / name for name in ("rows", "values", "ordered"))
        progress(f"reading mail of {tenant}")
        try:
            write_training_rows(
                loop.spark,
                facts,
                rows,
                cutoff_us=now_us,
                tenant=tenant,
                until_us=until_us,
                unlabelled=True,
                limit=MESSAGES,
            )
        except DataError:
            # It has no mail yet.
            return None
        progress(f"{len(read)} features of it")
        ask(store, rows, read, values)
        with translated("ordering rows"):
            loop.spark.read.parquet(str(values)).sort(*_ORDER).write.parquet(str(ordered))
        progress("scoring")
        parts = [_said(champion, messages) for messages in messages_of(ordered, read, {})]
    odds = {name: np.concatenate([part.log_odds[name] for part in parts]) for name in parts[0].log_odds}
    evidence, good, bad = (
        np.concatenate([getattr(part, what) for part in parts]) for what in ("evidence", "good", "bad")
    )
    return TenantMail(odds, evidence, good, bad)


def _said(champion: Champion, messages: Messages) -> TenantMail:
    rows, starts = messages.rows, messages.starts
    odds = log_odds_of(champion, rows, starts)
    label = messages.label
    good = np.asarray(label.codes == LABELS.index(GOOD))
    known = np.asarray(label.codes >= 0)
    return TenantMail(odds, np.maximum.reduceat(evidence_of(rows), starts[:-1]), good, known & ~good)


def log_odds_of(champion: Champion, rows: FeatureTable, starts: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
    """(messages,) log-odds of every combination by its name, whatever is away now: what fails here is away in serving
    too.

    starts: (messages + 1,) where each message's rows begin.
    """
    blind = rows.lacking(champion.history_views, Status.UNAVAILABLE)
    scored = {False: champion.score(rows, starts), True: champion.score(blind, starts)}
    odds: dict[str, NDArray[np.float64]] = {}
    for name, combination in {"": champion.whole, **champion.without}.items():
        batch = scored[HISTORY in name.split("+")]
        there = [one for one in combination.fusion.weights if one in batch.detectors]
        fused = combination.fusion.leaving_out(set(combination.fusion.weights) - set(there)).logit(
            {one: batch.detectors[one].raw for one in there},
            {one: batch.detectors[one].abstains for one in there},
        )
        odds[name] = np.maximum.reduceat(fused, starts[:-1])
    return odds


def _register(loop: Loop, bundle: Bundle, record: Any, now_us: int) -> int:
    platform = loop.platform
    content = bundle.to_bytes()
    uri, digest = platform.artefacts.put(content)
    added = platform.registry.add(
        model_id=digest[:32],
        name=BUNDLE,
        artefact_uri=uri,
        artefact_sha256=digest,
        created_us=now_us,
        tenant=None,
        record=replace(record.record, code_revision=code_revision()),
    )
    platform.registry.promote(BUNDLE, added.version, at_us=now_us, reason="thresholds of tenants", tenant=None)
    return added.version
