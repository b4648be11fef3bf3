"""What a message would be called is asked of each detector once a row, whichever row decides."""

from __future__ import annotations

from collections import Counter

import numpy as np

from mailwarden.domain.detection.decision import Calibration, Combination, Fusion, Thresholds
from mailwarden.domain.detection.detector import RawScores
from mailwarden.domain.detection.naming import Naming, Voice
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.tenant_budget import GoodNamed, TenantBudget
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.scoring.categorising import Bar, Caller
from mailwarden.scoring.champion import Champion

STEPS = Thresholds(0.0, 1.0, 2.0, ((0.001, 1.0), (0.01, 0.5)))
NAMED = GoodNamed({code: {"BE": 0.05, "CP": 0.5}.get(code, 0.05) for code in CATEGORIES}, 0.001)
ROWS = FeatureTable({"v:words": np.array([2.2, 0.8]), "v:known": np.array([1.0, 2.9])}, 2)


class Says:
    """Raw scores of a feature; whatever has more than 2 is phishing. Counts what it was asked about."""

    def __init__(self, feature: str) -> None:
        self.features = (feature,)
        self.asked: Counter[float] = Counter()

    def score(self, rows: FeatureTable) -> RawScores:
        return RawScores(rows.columns[self.features[0]])

    def categorise(self, rows: FeatureTable) -> list[str]:
        values = rows.columns[self.features[0]].tolist()
        self.asked.update(values)
        return ["CP" if value > 2 else "BE" for value in values]


def combination(*names: str) -> Combination:
    fusion = Fusion(dict.fromkeys(names, 1.0), 0.0, {name: Calibration(1.0, 0.0) for name in names})
    return Combination(fusion, STEPS, named=NAMED)


def test_each_detector_is_asked_once_about_the_row_that_decides_without_any_of_them() -> None:
    says = {"words": Says("v:words"), "known": Says("v:known")}
    served = Champion(
        1, says, dict.fromkeys(says, 1), combination("words", "known"), frozenset(), "",  # type: ignore[arg-type]
        without={"known": combination("words"), "words": combination("known")},
        naming=Naming({"words": Voice(1.0, 0.1), "known": Voice(1.0, 0.2)}),
    )  # fmt: skip
    batch, budget = served.score(ROWS), TenantBudget.of(0.001, {"BE": 0.0005})
    bar = Bar("acme", budget, Caller(served, ROWS))
    # The second row decides, and known is surest of it; without known the first, of which words says phishing.
    assert bar.called(batch.of()) == "CP" and bar.verdict(batch.of()) == "banner"
    without = served.without_each(batch)
    assert {name: (one.worst, bar.called(one)) for name, one in without.items()} == {
        "known": (0, "CP"), "words": (1, "CP"),
    }  # fmt: skip
    assert bar.held_without_each(served, batch) == {"known": "banner", "words": "banner"}
    assert bar.held_without_each(served, batch) == {"known": "banner", "words": "banner"}
    assert max(max(one.asked.values()) for one in says.values()) == 1
    # A tenant whose budget is spent as it comes asks nobody.
    says["words"].asked.clear()
    plain = Bar("acme", TenantBudget(0.001), Caller(served, ROWS))
    assert plain.verdict(batch.of()) == "quarantine" and plain.called(batch.of()) is None
    assert plain.held_without_each(served, batch) == {"known": "quarantine", "words": "quarantine"}
    assert not says["words"].asked
