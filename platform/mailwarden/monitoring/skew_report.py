"""What a comparison of logged vectors with history found, a line a view and a line a feature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FeatureSkew:
    """One feature's comparison.

    compared: values held against the recomputed one at the logged seq. with_history: of these, how many had an
    event of their key behind them. mismatches: not equal to the last bit, or null on one side only; of these
    null_logged were null where there is a value, null_recomputed the other way round.
    stale: values that an up-to-date store would have given otherwise (freshness loss, not skew).
    """

    view: str
    feature: str
    compared: int
    with_history: int
    mismatches: int
    null_logged: int
    null_recomputed: int
    stale: int


@dataclass(frozen=True, slots=True)
class ViewSkew:
    """One view's rows and their kinds of missing.

    rows: of the vector log, for any version of the view. compared: held against history; unavailable: logged without
    an online store; other_versions: by version, rows of versions that the view of today cannot recompute, 0 for rows
    that do not say; unknown: rows whose message the event log does not hold; changed: rows of a content view that were
    made by other code, lists or parser under the same version; gone: those whose raw mail is gone. They add up to
    `rows`.
    statuses: of the compared rows, as logged. status_mismatches: rows whose kind of missing, or last seq, is not what
    history says. behind: rows whose state lacked an event that came before the message (freshness loss). facts: by the
    number of the fact set that served them, the compared rows.
    """

    view: str
    rows: int
    compared: int
    unavailable: int
    unknown: int
    other_versions: Mapping[int, int]
    statuses: Mapping[str, int]
    status_mismatches: int
    behind: int
    changed: int = 0
    gone: int = 0
    facts: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """One detector's comparison in one bundle.

    rows: of the score log, one a decision and recipient. compared: those that were asked again; different: of these,
    another raw or calibrated score to the last bit, another version, another reason for none, or one that the log
    lacks. unanswered: the rest, by why.
    """

    bundle: int
    detector: str
    rows: int
    compared: int
    different: int
    unanswered: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ScoreSkew:
    """The comparison of logged scores with what detectors say of the logged vectors now.

    unscored: messages of the vector log of which no score is logged, as of releases that kept none.
    examples: a few of what differs, with the row's seq; no address.
    """

    lines: tuple[ScoreLine, ...]
    unscored: int = 0
    examples: tuple[dict[str, Any], ...] = field(default=())

    @property
    def compared(self) -> int:
        """Rows compared, all detectors."""
        return sum(line.compared for line in self.lines)

    @property
    def different(self) -> int:
        """Rows that differ."""
        return sum(line.different for line in self.lines)

    @property
    def unanswered(self) -> dict[str, int]:
        """Rows that could not be asked again, by why."""
        return dict(sum((Counter(line.unanswered) for line in self.lines), Counter()))


@dataclass(frozen=True, slots=True)
class SkewReport:
    """The comparison of all logged vectors.

    vectors: rows of the vector log. examples: a few mismatches, with the row's seq, logged and recomputed values; no
    address. scores: of what detectors said of these vectors.
    """

    vectors: int
    views: tuple[ViewSkew, ...]
    features: tuple[FeatureSkew, ...]
    examples: tuple[dict[str, Any], ...] = field(default=())
    scores: ScoreSkew = field(default=ScoreSkew(()))

    @property
    def compared_values(self) -> int:
        """Values compared, all views and features."""
        return sum(line.compared for line in self.features)

    @property
    def values_with_history(self) -> int:
        """Values compared whose key had history."""
        return sum(line.with_history for line in self.features)

    @property
    def mismatches(self) -> int:
        """Values that differ."""
        return sum(line.mismatches for line in self.features)

    @property
    def status_mismatches(self) -> int:
        """Rows of views whose kind of missing, or last seq, differs."""
        return sum(line.status_mismatches for line in self.views)

    @property
    def stale_values(self) -> int:
        """Values that lagging writers changed."""
        return sum(line.stale for line in self.features)

    @property
    def unavailable(self) -> int:
        """Rows of views that were logged without an online store, not compared."""
        return sum(line.unavailable for line in self.views)

    @property
    def unknown(self) -> int:
        """Rows of the vector log whose message the event log does not hold."""
        return max((line.unknown for line in self.views), default=0)

    @property
    def changed(self) -> int:
        """Rows of content views that were made by other code, lists or parser under the same version."""
        return sum(line.changed for line in self.views)

    @property
    def gone(self) -> int:
        """Rows of the vector log whose raw mail is gone, so that their content cannot be made again."""
        return max((line.gone for line in self.views), default=0)

    def with_content(self, content: SkewReport) -> SkewReport:
        """This report and that of the content views over the same vectors, as one."""
        return SkewReport(
            self.vectors,
            (*content.views, *self.views),
            (*content.features, *self.features),
            (*content.examples, *self.examples),
            self.scores,
        )

    @property
    def agrees(self) -> bool:
        """Whether there was something to compare, and all of it is what history, and the detectors, say."""
        wrong = self.mismatches or self.status_mismatches or self.unknown or self.scores.different
        return bool(self.compared_values) and not wrong

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, totals first."""
        return {
            **self.totals(),
            "rows_of_other_versions": {
                line.view: {str(version): rows for version, rows in line.other_versions.items()}
                for line in self.views
                if line.other_versions
            },
            "views": [_plain(line) for line in self.views],
            "features": [asdict(line) for line in self.features],
            "scores": [{**asdict(line), "unanswered": dict(line.unanswered)} for line in self.scores.lines],
            "examples": list(self.examples),
            "score_examples": list(self.scores.examples),
        }

    def totals(self) -> dict[str, int]:
        """The figures of the whole, by name."""
        return {
            "vectors": self.vectors,
            "unavailable": self.unavailable,
            "unknown": self.unknown,
            "changed": self.changed,
            "gone": self.gone,
            "compared_values": self.compared_values,
            "values_with_history": self.values_with_history,
            "mismatches": self.mismatches,
            "status_mismatches": self.status_mismatches,
            "stale_values": self.stale_values,
            "scores_compared": self.scores.compared,
            "scores_different": self.scores.different,
            "scores_unanswered": sum(self.scores.unanswered.values()),
        }


def _plain(line: ViewSkew) -> dict[str, Any]:
    versions = {str(version): rows for version, rows in line.other_versions.items()}
    facts = {str(number): rows for number, rows in line.facts.items()}
    return {**asdict(line), "other_versions": versions, "statuses": dict(line.statuses), "facts": facts}
