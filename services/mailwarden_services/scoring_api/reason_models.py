"""What the API says of why a message was decided on as it was, as models; see `answer_models`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Verdict = Literal["deliver", "banner", "junk", "quarantine"]


class EvidenceAnswer(BaseModel):
    """A feature that a reason rests on."""

    feature: str = Field(description="full name, `view:feature`")
    value: float | None = Field(description="the message's; null where it is not known, or is text")
    usual: tuple[float, float, float] | None = Field(
        description="5th, 50th and 95th percentile in the good mail that was trained on; null where nobody knows"
    )


class SignalAnswer(BaseModel):
    """One thing that drove a decision."""

    name: str
    words: str = Field(description="one sentence for people")
    weight: float = Field(description="log-odds that it adds; below 0 it speaks for the message")
    evidence: list[EvidenceAnswer] = Field([], description="what it rests on, the most telling first")


class ChangeAnswer(BaseModel):
    """What had come of the message with something else."""

    changed: list[str] = Field(description="views, or features, put back to what good mail has; or a detector left out")
    log_odds: float
    verdict: Verdict


class SaidAnswer(BaseModel):
    """One detector's part in a decision."""

    raw: float | None = Field(description="its score, of its own scale")
    log_odds: float | None = Field(description="the same, calibrated")
    adds: float | None = Field(description="to the fused log-odds")
    why_silent: Literal["abstained", "not asked", "away"] | None
    without: ChangeAnswer | None = Field(description="by the fusion fitted without it; null where there is none")


class ThresholdsAnswer(BaseModel):
    """Log-odds from which each verdict is given to this tenant; null for one that is never given."""

    banner: float | None
    junk: float | None
    quarantine: float | None


class ExplanationAnswer(BaseModel):
    """What the scores' verdict came of, and what would have changed it."""

    verdict: Verdict = Field(description="of the scores alone: lists, rules and unread mail may decide over it")
    log_odds: float
    thresholds: ThresholdsAnswer
    intercept: float = Field(description="of the fusion; with what the detectors add, the log-odds")
    detectors: dict[str, SaidAnswer]
    views: list[ChangeAnswer] = Field(description="each view that raises the log-odds, alone, the strongest first")
    features: list[ChangeAnswer] = Field(description="each feature that a reason rests on, alone")
    enough: ChangeAnswer | None = Field(description="views that made the verdict together; null where it delivers")
    category: dict[str, dict[str, float]] = Field(
        description="by code, what each detector's word for it adds; the highest sum is named"
    )
    called: str | None = Field(
        None,
        description="the category whose thresholds these are where the tenant spends its budget by category, else null",
    )
