"""Detectors of one number each, two cheap and one costly, and mail of several sites that they are trained on."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, RawScores, Signal, Stage, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.training.dataset import LabelledRows, labelled_rows

LINKS, TERMS, SENT = "content_links:url_count", "content_text:credential_terms", "sender_activity:messages_30d"


class _Number(Detector):
    """Says the number that it reads; abstains from null, and fails on 666."""

    owner: ClassVar[str] = "tests"
    description: ClassVar[str] = "Says the number that it reads."
    cpu_budget_us: ClassVar[int] = 1_000

    def fit(self, training: TrainingSet, *, seed: int) -> None:
        """It learns nothing."""
        assert training.bad.any() and not training.bad.all()

    def score(self, features: FeatureTable) -> RawScores:
        """The number, as it is."""
        values = features.columns[self.features[0]]
        if (values == 666.0).any():
            raise ValueError("poison")
        return RawScores(np.nan_to_num(values), np.isnan(values))

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        """One reason."""
        return [Signal(self.name, f"{self.name} says so.", 1.0, (self.features[0],))]

    def to_bytes(self) -> bytes:
        """Nothing of it."""
        return b"a number"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """It again."""
        return cls()


class Links(_Number):
    """Cheap, of the message alone."""

    name: ClassVar[str] = "links"
    features: ClassVar[tuple[str, ...]] = (LINKS,)


class Sent(_Number):
    """Cheap, of history."""

    name: ClassVar[str] = "sent"
    features: ClassVar[tuple[str, ...]] = (SENT,)


class Terms(_Number):
    """Costly, of the message alone."""

    name: ClassVar[str] = "terms"
    stage: ClassVar[Stage] = "costly"
    features: ClassVar[tuple[str, ...]] = (TERMS,)


KINDS: dict[str, type[Detector]] = {kind.name: kind for kind in (Links, Sent, Terms)}
HISTORY_VIEWS = ("sender_activity",)


def mail(n: int, seed: int, *, sites: int = 3, telling: float = 4.0) -> tuple[LabelledRows, dict[str, FeatureTable]]:
    """n messages, a tenth of them bad, a row each. telling: how far the costly detector's number lies apart."""
    draw = np.random.default_rng(seed)
    bad = draw.random(n) < 0.15
    columns: dict[str, NDArray[Any]] = {
        LINKS: 2.0 * bad + draw.normal(size=n),
        SENT: 2.0 * bad + draw.normal(size=n),
        TERMS: np.where(draw.random(n) < 0.05, np.nan, telling * bad + draw.normal(size=n)),
    }
    rows, order = labelled_rows(
        tenant=[f"site{at}" for at in range(sites)] * (n // sites) + ["site0"] * (n % sites),
        message_id=[f"{number:032x}" for number in range(n)],
        recipient=["u@site.example"] * n,
        seq=np.arange(n) + 1,
        at_us=np.arange(n) * 60_000_000,
        labels=["CP" if one else "ham" for one in bad],
        weight=np.ones(n),
    )
    table = FeatureTable(columns, n).take(order)
    return rows, {
        name: FeatureTable({kind.features[0]: table.columns[kind.features[0]]}, n) for name, kind in KINDS.items()
    }


def table_of(features: dict[str, FeatureTable]) -> FeatureTable:
    """All that detectors read, in one table."""
    columns = {name: column for table in features.values() for name, column in table.columns.items()}
    return FeatureTable(columns, len(next(iter(columns.values()))))
