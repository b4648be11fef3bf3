"""Finds feature views: every folder here is one, and a folder that cannot be read is an error."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mailwarden.domain.aggregates.definitions import ActivityView, Feature
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.mail.content import ContentFeature, ContentView
from mailwarden.errors import ContractError, NotFound, did_you_mean

FOLDER = Path(__file__).parent
"""Where the folders of views lie."""

_PACKAGE = "mailwarden_features"


@dataclass(frozen=True)
class FeatureRepository:
    """Every view that was found.

    activity: behavioural views, in order of name. content: those computed from a message alone, in order of name.
    feature_views: Feast's object of each view, by name.
    """

    activity: tuple[ActivityView, ...]
    content: tuple[ContentView, ...]
    feature_views: Mapping[str, Any]

    @property
    def views(self) -> tuple[ActivityView | ContentView, ...]:
        """All views, the content views first."""
        return (*self.content, *self.activity)

    @cached_property
    def _by_full_name(self) -> dict[str, Feature | ContentFeature]:
        return {f"{view.name}:{feature.name}": feature for view in self.views for feature in view.features}

    def by_name(self, name: str) -> ActivityView | ContentView:
        """The view of that name; raises NotFound naming the nearest one."""
        for view in self.views:
            if view.name == name:
                return view
        raise NotFound(f"There is no feature view {name!r}.{did_you_mean(name, (view.name for view in self.views))}")

    def feature_names(self) -> tuple[str, ...]:
        """Full names ("view:feature") in order of view and definition."""
        return tuple(self._by_full_name)

    def feature(self, full_name: str) -> Feature | ContentFeature:
        """The definition behind a full name; raises NotFound naming the nearest one."""
        try:
            return self._by_full_name[full_name]
        except KeyError:
            hint = did_you_mean(full_name, self._by_full_name)
            raise NotFound(f"There is no feature {full_name!r}.{hint}") from None

    def dtype(self, full_name: str) -> Literal["int64", "float64", "string"]:
        """Type of a feature's values; raises NotFound naming the nearest feature."""
        return self.feature(full_name).dtype


def discover(root: Path = FOLDER, package: str = _PACKAGE) -> FeatureRepository:
    """Every view under a folder.

    root: folder of the views' folders; package: the name that it is imported under.
    Raises ContractError naming the folder that is no view, and the mend; nothing is skipped.
    """
    activity: list[ActivityView] = []
    content: list[ContentView] = []
    feature_views: dict[str, Any] = {}
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith((".", "_")):
            continue
        if all(inside.name == "__pycache__" for inside in folder.iterdir()):
            continue  # what version control leaves of a view that was removed
        view, feature_view = _read(folder, package)
        feature_views[view.name] = feature_view
        if isinstance(view, ContentView):
            content.append(view)
        else:
            activity.append(view)
    return FeatureRepository(tuple(activity), tuple(content), feature_views)


def _read(folder: Path, package: str) -> tuple[ActivityView | ContentView, Any]:
    for wanted in ("__init__.py", "view.py", "transform.py"):
        if not (folder / wanted).is_file():
            raise ContractError(f"View folder {folder} has no {wanted}. Add it, or remove the folder.")
    where = folder / "view.py"
    try:
        module = importlib.import_module(f"{package}.{folder.name}.view")
    except Exception as error:
        raise ContractError(f"View {where} cannot be imported: {error!r}. Mend it, or remove the folder.") from error
    view = getattr(module, "VIEW", None)
    if not isinstance(view, (ActivityView, ContentView)):
        raise ContractError(f"{where} must define VIEW, an ActivityView or a ContentView; it is {type(view).__name__}.")
    if view.name != folder.name:
        raise ContractError(f"{where}: VIEW is named {view.name!r}. Name it {folder.name!r}, as its folder is.")
    feature_view = getattr(module, "feature_view", None)
    if getattr(feature_view, "name", None) != view.name:
        raise ContractError(f"{where} must end with `feature_view = feature_view_of(VIEW)`, so that Feast finds it.")
    if isinstance(view, ActivityView):
        layout_of(view)
    return view, feature_view
