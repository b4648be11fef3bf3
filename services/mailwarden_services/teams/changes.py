"""What the views in the repository change against what was applied and materialised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.mail.content import ContentSet, ContentView
from mailwarden.errors import ContractError
from mailwarden.settings import Settings
from mailwarden.stores.feast.source import ContentDefinition, Definition, definition_of
from mailwarden.stores.spark.offline_table import Manifest, OfflineTable
from mailwarden_services.teams.content_changes import made_by_others

Kind = Literal["new", "version", "in place", "code", "features", "words", "none", "removed"]
"""in place: other states under the same version, which is refused. version: the same view under a higher one. code: a
content view whose code, lists or parser changed, which `materialize` computes anew. features: other features over the
same states. words: other words alone."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one view. view: None where it was removed. words: what follows, and the mend where refused."""

    name: str
    kind: Kind
    words: str
    view: ActivityView | ContentView | None

    @property
    def fills(self) -> bool:
        """Whether states of all its keys have to be computed and loaded."""
        return isinstance(self.view, ActivityView) and self.kind in ("new", "version", "in place")


def applied(store: Any) -> dict[str, Definition | None]:
    """Definitions in Feast's registry by name, None for one of another release that cannot be read.

    store: a feast.FeatureStore; nothing is written.
    """
    found: dict[str, Definition | None] = {}
    for feature_view in store.list_feature_views():
        try:
            found[feature_view.name] = definition_of(feature_view)
        except ContractError:
            found[feature_view.name] = None
    return found


def changes(
    views: Sequence[ActivityView | ContentView],
    before: Mapping[str, Definition | None],
    settings: Settings,
    content: ContentSet,
) -> list[Change]:
    """What becomes of every view that is there or was applied, those without any change too.

    content: the content views with the fingerprints that they have now.
    """
    made_otherwise = made_by_others(settings, content)
    found = [_of_code(_change(view, before, settings), made_otherwise) for view in views]
    names = {view.name for view in views}
    for name in before:
        if name not in names:
            words = (
                "its folder is gone; `feast apply` removes it from the registry, `mailwarden features retire` online"
            )
            found.append(Change(name, "removed", words, None))
    return found


def refuse_changed(views: Sequence[ActivityView], settings: Settings) -> None:
    """Raise ContractError where a view's offline states are of another definition under the version that it has."""
    for view in views:
        found = _change(view, {}, settings)
        if found.kind == "in place":
            raise ContractError(
                f"view {found.name} is {found.words} Where nothing reads it yet, `mailwarden materialize --afresh` "
                "computes it anew under this version."
            )


def _of_code(found: Change, made_otherwise: Mapping[str, Manifest]) -> Change:
    """The change, or that of a content view's code where nothing else is to be said of it."""
    manifest = made_otherwise.get(found.name)
    if manifest is None or found.kind not in ("none", "words"):
        return found
    words = (
        f"its code, lists or parser changed under version {manifest.version}: `mailwarden materialize` computes "
        f"{manifest.rows:,} messages anew, and detectors that read it want `mailwarden train`; raise the version, or "
        "run `mailwarden features version`, where the meaning of a feature changed"
    )
    return Change(found.name, "code", words, found.view)


def _change(view: ActivityView | ContentView, before: Mapping[str, Definition | None], settings: Settings) -> Change:
    definition = before.get(view.name)
    if isinstance(view, ActivityView):
        manifest = OfflineTable(settings.offline_path, view.name, view.version).manifest()
        fingerprints = set() if manifest is None else {manifest.fingerprint}
        if isinstance(definition, ActivityView) and definition.version == view.version:
            fingerprints.add(layout_of(definition).fingerprint)
        if fingerprints - {layout_of(view).fingerprint}:
            return _in_place(view, "keys, aggregates or hops")
    elif (
        isinstance(definition, ContentDefinition)
        and definition.version == view.version
        and _columns(definition) != _columns(view)
    ):
        return _in_place(view, "features")
    if view.name not in before:
        return Change(view.name, "new", "a new view", view)
    if definition is None:
        return Change(view.name, "words", "what was applied is of another release and cannot be compared", view)
    if definition.version != view.version:
        words = f"version {definition.version} becomes {view.version}: the former one is no longer served afterwards"
        return Change(view.name, "version", words, view)
    if definition.features != view.features:
        names = sorted({feature.name for feature in definition.features} ^ {feature.name for feature in view.features})
        return Change(view.name, "features", f"other features over the same states{_named(names)}", view)
    if (definition.owner, definition.description) != (view.owner, view.description):
        return Change(view.name, "words", "another owner or description", view)
    return Change(view.name, "none", "", view)


def _in_place(view: ActivityView | ContentView, what: str) -> Change:
    words = (
        f"refused: its {what} changed and it is still version {view.version}, under which other values are kept. "
        f"Raise `version` to {view.version + 1}"
    )
    words += (
        f", or undo the change and run `mailwarden features version {view.name}`: "
        "then both are served until detectors have moved"
    )
    return Change(view.name, "in place", f"{words}.", view)


def _columns(definition: ContentDefinition | ContentView) -> list[tuple[str, str]]:
    return [(feature.name, feature.dtype) for feature in definition.features]


def _named(names: Sequence[str]) -> str:
    return f" (added or removed: {', '.join(names)})" if names else ""
