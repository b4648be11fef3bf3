"""Which features compare what a message itself holds with the past, and what is said where nobody tells it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from feast import FeatureView

from mailwarden.domain.aggregates.definitions import ActivityView, Match
from mailwarden.errors import DataError
from mailwarden.stores.asked import MESSAGE_KEYS, own_column
from mailwarden.stores.feast.source import definition_of


def own_facts_of(wanted: Mapping[FeatureView, Collection[str]]) -> dict[str, list[str]]:
    """Facts whose own names the features asked compare with the past, each with those features ("view:feature")."""
    found: dict[str, list[str]] = {}
    for feature_view, names in wanted.items():
        view = definition_of(feature_view)
        if not isinstance(view, ActivityView):
            continue
        kept = {recent.name: recent.of for recent in view.recents}
        for feature in view.features:
            if feature.name in names and isinstance(feature.expression, Match):
                found.setdefault(kept[feature.expression.recent], []).append(f"{view.name}:{feature.name}")
    return found


def refuse_without_own(facts: Mapping[str, Collection[str]], rows: str) -> None:
    """Raise DataError where there are facts: features that need what the message holds, in rows that do not say it."""
    if facts:
        features = sorted({feature for names in facts.values() for feature in names})
        raise DataError(
            f"{', '.join(features)}: what the message itself holds is compared with the past, and {rows} do not say "
            f"what that is. Give {' and '.join(MESSAGE_KEYS)}, by which it is looked up in the event log, or "
            f"{', '.join(sorted(map(own_column, facts)))}, lists of strings"
        )
