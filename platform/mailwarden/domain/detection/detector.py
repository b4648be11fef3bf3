"""The contract between a team's detector and the platform that trains and serves it, version 2.

1. A detector scores rows of many messages in one call; serving's one message is the smallest batch. Replay, training,
   shadow and counterfactuals make the same call.
2. A row's score does not depend on the rows beside it, to the last bit.
3. It may abstain from rows that are none of its business. Then its score counts for nothing, which is a statement, and
   no failure: a detector that fails is away, and a decision is made without it by other thresholds.
4. Its reasons are asked for apart from its scores, of the rows that matter alone.
5. It says what it is: cheap or costly, how much CPU it may take, which categories it can name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.usual import Usual

CONTRACT = 2
"""Version of the contract between detectors and the platform."""

Stage = Literal["cheap", "costly"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""cheap: asked about every message. costly: asked about those that the cheap ones are unsure of."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A feature that a reason rests on.

    value: its own, None for null and for text. usual: what good mail has, None where nobody knows.
    """

    feature: str
    value: float | None
    usual: Usual | None


@dataclass(frozen=True, slots=True)
class Signal:
    """One reason, in words that a reader of mail understands.

    name: fixed word of the reason. words: a sentence. weight: log-odds that it added, higher is worse. features: full
    names of what it rests on, the most telling first. evidence: their values, put beside by the platform.
    """

    name: str
    words: str
    weight: float
    features: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class RawScores:
    """What a detector says of n rows.

    raw: (n,) float64, any range, higher is worse; finite where it does not abstain. abstains: (n,) bool, None for
    nowhere.
    """

    raw: NDArray[np.float64]
    abstains: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows to learn from, in order of arrival.

    features: n rows. bad: (n,) bool, unwanted or an attack. labels: n codes of `events.LABELS`.
    weight: (n,) float64, 1/recipients of the message times what its label weighs (`mail.label_sources`). at_us: (n,)
    int64 event time. outage: (n,) bool, rows made to be learned from: an earlier row as it would have been had the
    history been unavailable.
    """

    features: FeatureTable
    bad: NDArray[np.bool_]
    labels: Sequence[str]
    weight: NDArray[np.float64]
    at_us: NDArray[np.int64]
    outage: NDArray[np.bool_]


class Detector(ABC):
    """One team's detector: features in, a score and its reasons out.

    name: its folder's name. owner: the team. description: one sentence. features: full names (`view:feature`) that
    it reads, numeric or text; nothing else is handed to it but the status of their views. version: raised when its
    meaning changes. stage: when it is asked. cpu_budget_us: the CPU that its score and reasons may take for one
    message of one recipient, microseconds, the median of many. categories: codes of `events.CATEGORIES` that
    `categorise` may give, none where it has no opinion. assets: SHA-256 in hex of large files that it shares with its
    other models and holds no copy of (`domain.detection.assets`).
    """

    name: ClassVar[str]
    owner: ClassVar[str]
    description: ClassVar[str]
    version: ClassVar[int] = 1
    features: ClassVar[tuple[str, ...]]
    stage: ClassVar[Stage] = "cheap"
    cpu_budget_us: ClassVar[int]
    categories: ClassVar[tuple[str, ...]] = ()
    assets: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def absent(cls) -> str:
        """Why it cannot be used here, in a sentence that ends with the mend: an extra that is not installed, an asset
        that is not there. "" where it can."""
        return ""

    @abstractmethod
    def fit(self, training: TrainingSet, *, seed: int) -> None:
        """Learn from rows in order of arrival; the same rows and seed give the same detector, bit for bit."""

    @abstractmethod
    def score(self, features: FeatureTable) -> RawScores:
        """What it says of n rows, of one message or of many; calibrated by the platform."""

    @abstractmethod
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        """The strongest reasons behind one row's score, worst first, at most `limit`, with the features they rest on.

        What is absent is a reason only where its absence says something: never that a value is not known.
        """

    def categorise(self, features: FeatureTable) -> list[str] | None:
        """n of `categories`, the likeliest if the row is bad; None where the detector has no opinion."""
        return None

    def amount(self, features: FeatureTable, rules: Collection[str]) -> NDArray[np.float64] | None:
        """(n,) what rules of these names add to `score`; None where it is no sum of rules, or has none of these.

        What a tenant has turned off is taken out of its decisions by this, and the score stays the detector's own.
        """
        return None

    def parameters(self) -> dict[str, Any]:
        """What the registry records beside the model: plain JSON values."""
        return {}

    @abstractmethod
    def to_bytes(self) -> bytes:
        """The fitted detector, in a format that runs no code when it is read."""

    @classmethod
    @abstractmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises DataError where it is something else."""
