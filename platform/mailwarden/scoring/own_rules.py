"""A tenant's own rules beside the champion: what they make of a message, and what is logged of them."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import structlog
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.rules.tenant import NO_VERDICT, OwnVerdict, TenantRules, own_verdict
from mailwarden.logs import FailureLog
from mailwarden.scoring.champion import Champion
from mailwarden.stores.accepted import RULE_LOGGED, LoggedScores

log = structlog.get_logger(__name__)
_failures = FailureLog(log, "rules of a tenant failed", "rules")

FAILED = "the tenant's own rules could not be computed"
"""Flag of a decision that was made without them."""


def own_rules(
    rules: TenantRules, champion: Champion, features: FeatureTable
) -> tuple[OwnVerdict, tuple[LoggedScores, ...], str]:
    """What a tenant's rules make of a message, a row of the score log for each that holds, and a flag, "" for none.

    A rule must cost neither the decision nor the event: where one raises, all are as if there were none.
    """
    if not rules:
        return NO_VERDICT, (), ""
    began = time.perf_counter()
    try:
        own = own_verdict(rules, features)
        held = {**own.held, **champion.held(features, rules.silenced & rules.shadow)}
    except Exception as exc:
        _failures.add("own", exc)
        return NO_VERDICT, (), FAILED
    took = round(1_000.0 * (time.perf_counter() - began), 4)
    return own, _logged(held, took), ""


def _logged(held: Mapping[str, NDArray[np.bool_]], milliseconds: float) -> tuple[LoggedScores, ...]:
    found = []
    for name, rows in held.items():
        nothing: list[None] = [None] * len(rows)
        raw = rows.astype(np.float64).tolist()
        found.append(LoggedScores(f"{RULE_LOGGED}{name}", None, milliseconds, raw, nothing, nothing))
    return tuple(found)
