"""Groups of features by what they are of, and the bundle as it scores with one of them hidden.

A view's group follows from its keys: one of the message alone is `message`, one keyed by nothing but the tenant
`tenant`, by a name of the sender `sender`, by the recipient `recipient`, by sender and recipient or by the thread
`relationship`, by what mail carries (link, file, text) `contents seen before`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.detection.detector import RawScores
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.content import ContentView
from mailwarden.domain.status import Status
from mailwarden.scoring.champion import Champion

MESSAGE, SENDER, RECIPIENT, RELATIONSHIP, TENANT = "message", "sender", "recipient", "relationship", "tenant"
SEEN_BEFORE, OTHERS, HISTORY = "contents seen before", "others", "all history"
GROUPS = (MESSAGE, SENDER, RECIPIENT, RELATIONSHIP, SEEN_BEFORE, TENANT, OTHERS, HISTORY)
"""In the order of reports; the last is every group but the first."""

_OF_KEY = {
    **dict.fromkeys(("sender", "sender_domain", "display_name", "person", "domain_skeleton"), SENDER),
    "recipient": RECIPIENT,
    "thread": RELATIONSHIP,
    **dict.fromkeys(("attachment", "campaign", "link_domain"), SEEN_BEFORE),
}
_ROW = "evaluation:row"


def group_of(view: ActivityView | ContentView) -> str:
    """The group of a view; `others` where its keys are of none that is known."""
    if isinstance(view, ContentView):
        return MESSAGE
    found = {_OF_KEY.get(key, OTHERS) for key in view.keys}
    if not found:
        return TENANT
    if {SENDER, RECIPIENT} <= found:
        return RELATIONSHIP
    return found.pop() if len(found) == 1 else OTHERS


@dataclass(frozen=True, slots=True)
class Group:
    """views: those of its views that some detector of the bundle reads, and is not kept from reading."""

    name: str
    views: frozenset[str]

    @property
    def outage(self) -> bool:
        """Whether it is hidden as an outage hides it, with the fusion and thresholds that count then."""
        return self.name == HISTORY


def groups_of(champion: Champion, views: Sequence[ActivityView | ContentView]) -> tuple[Group, ...]:
    """The groups that the detectors read anything of."""
    read = {feature.partition(":")[0] for one in champion.detectors.values() for feature in one.features}
    read -= champion.withheld
    by_group: dict[str, set[str]] = {}
    for view in views:
        if view.name in read:
            by_group.setdefault(group_of(view), set()).add(view.name)
    if champion.history_views:
        by_group[HISTORY] = set(champion.history_views)
    return tuple(Group(name, frozenset(by_group[name])) for name in GROUPS if name in by_group)


class Hiding:
    """A bundle that scores rows with everything there, and then with one group hidden after the other.

    What reads nothing but the message is asked once about each row, however often that is hidden which it does not
    read: asking a costly detector again would cost most of all.
    """

    def __init__(self, champion: Champion, groups: Sequence[Group]) -> None:
        self.groups = tuple(groups)
        self._memories = {name: _Remembering(champion.detectors[name]) for name in champion.of_content}
        asked: dict[str, Any] = {**champion.detectors, **self._memories}
        self.whole = replace(champion, detectors={name: asked[name] for name in champion.detectors})
        self._without = {group: self._hidden(champion, group) for group in groups}

    def begin(self, rows: FeatureTable) -> FeatureTable:
        """The rows, numbered; what was remembered of others is forgotten."""
        for memory in self._memories.values():
            memory.forget(rows.n)
        columns: dict[str, NDArray[Any]] = {**rows.columns, _ROW: np.arange(rows.n, dtype=np.float64)}
        return FeatureTable(columns, rows.n, rows.statuses)

    def without(self, group: Group, rows: FeatureTable) -> tuple[Champion, FeatureTable]:
        """Who scores, and what, with a group hidden. rows: as `begin` gave them."""
        return self._without[group], rows.lacking(group.views, Status.UNAVAILABLE) if group.outage else rows

    def _hidden(self, champion: Champion, group: Group) -> Champion:
        """A group alone is hidden as views are that the detectors were trained without. By its status alone all history
        would be hidden with it, since that is how an outage is served."""
        if group.outage:
            return self.whole
        detectors = {
            name: champion.detectors[name] if _reads(detector, group.views) else detector
            for name, detector in self.whole.detectors.items()
        }
        return replace(self.whole, detectors=detectors, withheld=champion.withheld | group.views)


def _reads(detector: Any, views: Collection[str]) -> bool:
    return any(feature.partition(":")[0] in views for feature in detector.features)


class _Remembering:
    """A detector that is asked once about a row, told by its number; one that it fails on is asked about again."""

    def __init__(self, detector: Any) -> None:
        self._detector = detector
        self.features = detector.features
        self.forget(0)

    def forget(self, n: int) -> None:
        """There are n rows that nothing is known of."""
        self._known = np.zeros(n, dtype=np.bool_)
        self._raw, self._silent = np.full(n, np.nan), np.zeros(n, dtype=np.bool_)

    def score(self, features: FeatureTable) -> RawScores:
        """What the detector says, or said."""
        row = features.columns[_ROW].astype(np.intp)
        new = np.flatnonzero(~self._known[row])
        if len(new):
            said = self._detector.score(features if len(new) == features.n else features.take(new))
            self._raw[row[new]] = said.raw
            self._silent[row[new]] = False if said.abstains is None else said.abstains
            self._known[row[new]] = True
        return RawScores(self._raw[row], self._silent[row])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)
