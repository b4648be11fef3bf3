"""Made-up messages that two detectors judged, as a scored table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from mailwarden.domain.detection.decision import Calibration, Combination, Fusion, Thresholds
from mailwarden.domain.mail.events import CATEGORIES, LABELS
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.rows import AWAY, RowScores
from mailwarden.evaluation.scored import Scored, verdicts_at
from mailwarden.stores.bundle import Bundle, Member

DAY_US = 86_400_000_000


class Mail(NamedTuple):
    """One message. text, rules: calibrated log-odds of two detectors, None where they abstain, "away" where they are.
    campaign: "" for none."""

    label: str | None
    text: float | str | None = None
    rules: float | str | None = None
    campaign: str = ""
    day: float = 0.0
    tenant: str = "acme"
    language: str = ""
    category: str = ""


def bundle_of(weights: tuple[float, float], intercept: float, steps: tuple[float, float, float]) -> Bundle:
    """text and rules, raw scores half of what they are calibrated; without one, the other counts double."""
    calibrations = {"text": Calibration(2.0, 0.0), "rules": Calibration(2.0, 0.0)}

    def alone(name: str) -> Combination:
        return Combination(Fusion({name: 2.0}, 0.0, {name: calibrations[name]}), Thresholds(*steps))

    return Bundle(
        members={name: Member(1, "", 1) for name in calibrations},
        whole=Combination(
            Fusion(dict(zip(calibrations, weights, strict=True)), intercept, calibrations), Thresholds(*steps)
        ),
        without={"text": alone("rules"), "rules": alone("text")},
    )


def scored_of(
    mail: Sequence[Mail],
    *,
    weights: tuple[float, float] = (1.0, 1.0),
    intercept: float = 0.0,
    steps: tuple[float, float, float] = (0.0, 1.0, 2.0),
    version: int = 1,
    numbers: Sequence[int] | None = None,
) -> Scored:
    """The table of these messages, put in order. numbers: of their ids, by their place by default."""
    bundle = bundle_of(weights, intercept, steps)
    n = len(mail)
    missing, calibrated = {}, {}
    for name in ("text", "rules"):
        said = [getattr(one, name) for one in mail]
        missing[name] = np.array([1 if value is None else AWAY if value == "away" else 0 for value in said], np.uint8)
        calibrated[name] = np.array([value if isinstance(value, float) else np.nan for value in said])
    raw = {name: values / 2.0 for name, values in calibrated.items()}
    rows = RowScores(np.arange(n + 1), raw, calibrated, missing)
    tenant = Coded.of([one.tenant for one in mail])
    log_odds = rows.fused(bundle, tenant)
    names = sorted({one.campaign for one in mail if one.campaign})
    nothing = {name: np.full(n, np.nan) for name in missing}
    return Scored(
        version=version,
        bundle=bundle,
        served=False,
        tenant=tenant,
        message_id=pa.array([f"{number:032x}" for number in (numbers or range(n))], pa.large_string()),
        at_us=np.array([round(one.day * DAY_US) for one in mail], dtype=np.int64),
        label=Coded.of([one.label for one in mail], LABELS),
        category=Coded.of([one.category for one in mail], CATEGORIES),
        verdict=verdicts_at(log_odds, tenant, bundle.whole, {}),
        log_odds=log_odds,
        detectors=rows.said(np.arange(n), nothing),
        without=rows.without(bundle, rows.whole(), tenant),
        campaign=np.array([names.index(one.campaign) if one.campaign else -1 for one in mail], dtype=np.int64),
        slices={"language": Coded.of([one.language for one in mail])},
    ).in_order()


@pytest.fixture(scope="session")
def scored() -> Callable[..., Scored]:
    return scored_of


_ODDS = st.one_of(st.none(), st.integers(-6, 6).map(float))


@pytest.fixture(scope="session")
def mails() -> Any:
    """A strategy: some messages, ties and abstentions among them."""
    one = st.builds(
        Mail,
        label=st.sampled_from(["ham", "ham", "ham", "CP", "BE", "spam", None]),
        text=_ODDS,
        rules=_ODDS,
        campaign=st.sampled_from(["", "", "c1", "c2"]),
        day=st.integers(0, 3).map(float),
        tenant=st.sampled_from(["acme", "other"]),
        language=st.sampled_from(["", "en", "de"]),
        category=st.sampled_from(["", "CP", "SP"]),
    )
    return st.lists(one, min_size=1, max_size=40)


@pytest.fixture(scope="session")
def mail() -> type[Mail]:
    return Mail
