"""What `feast apply` would register, what becomes of each view, and what that costs; nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from feast import FeatureService, FeatureView, Project
from feast.repo_contents import RepoContents

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.settings import Settings
from mailwarden.stores.content_code import content_set
from mailwarden.stores.feast.objects import ENTITIES
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lists import load_lists
from mailwarden_features.discovery import FeatureRepository
from mailwarden_features.feature_services import feast_objects
from mailwarden_services.teams.changes import Change, applied, changes
from mailwarden_services.teams.cost import START_SECONDS, Cost, Rates, estimate, read_rates

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Plan:
    """registry: Feast's own words, a line an object. changes: of every view. costs: of those to be filled, by name."""

    registry: str
    changes: tuple[Change, ...]
    costs: dict[str, Cost]
    rates: Rates

    @property
    def refused(self) -> tuple[Change, ...]:
        """Definitions that changed under the version that they had."""
        return tuple(change for change in self.changes if change.kind == "in place")

    @property
    def seconds(self) -> float:
        """Of Spark, for all that is to be filled."""
        return START_SECONDS + sum(cost.seconds for cost in self.costs.values()) if self.costs else 0.0


def plan(
    settings: Settings,
    repository: FeatureRepository,
    *,
    also: Sequence[str] = (),
    begins: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Compare the repository with the registry and with what was materialised, and estimate what has to be filled.

    also: views whose cost is wanted though they are as they were. begins: told what is being read. Needs neither
    data nor a JVM; raises StoreError where the registry or the log is away.
    """
    begins("Feast's registry")
    store = open_feature_store(settings)
    objects = feast_objects()
    feature_views = [item for item in objects if isinstance(item, FeatureView)]
    contents = RepoContents(
        projects=[Project(name=settings.project)],
        data_sources=[feature_view.batch_source for feature_view in feature_views],
        feature_views=feature_views,
        on_demand_feature_views=[],
        stream_feature_views=[],
        label_views=[],
        entities=list(ENTITIES),
        feature_services=[item for item in objects if isinstance(item, FeatureService)],
        permissions=[],
    )
    content = content_set(repository.content, load_lists(settings.lists_path))
    found = changes(repository.views, applied(store), settings, content)
    registry = _COLOURS.sub("", store.plan(contents)[0].to_string()).strip()
    rates, log = read_rates(settings), EventLog(settings.events_path)
    kept = [view for view in repository.activity if not any(c.name == view.name and c.fills for c in found)]
    costs: dict[str, Cost] = {}
    for change in found:
        if isinstance(change.view, ActivityView) and (change.fills or change.name in also):
            begins(change.name)
            beside = [view for view in kept if view.name != change.name]
            costs[change.name] = estimate(log, change.view, rates, project=settings.project, beside=beside)
    return Plan(registry, tuple(found), costs, rates)
