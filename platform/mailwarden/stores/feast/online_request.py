"""What Feast's online read is asked, checked before it reads: Feast itself answers None or 0.0 for much of it.

Refused here, as the offline store refuses it: a join key that is left out or misspelt while another of its view is
there (feast#3270), a request field that is named as a join key (feast#6790), and one name for two values that an
on-demand view may read (feast#3165).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np
from feast import FeatureView, OnDemandFeatureView
from feast.feature_service import FeatureService
from feast.infra.registry.base_registry import BaseRegistry
from feast.utils import _get_cached_request_context

from mailwarden.domain.aggregates.fact_specs import FACTS
from mailwarden.domain.aggregates.recent import Members, own_set
from mailwarden.domain.mail.events import Event, members_of
from mailwarden.errors import DataError, did_you_mean
from mailwarden.stores.asked import MESSAGE_KEYS, OWN, own_column
from mailwarden.stores.feast.own_facts import own_facts_of, refuse_without_own
from mailwarden.stores.feast.source import ContentDefinition, definition_of

Columns = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OnlineRequest:
    """Columns that Feast is to read, with what it has no place for.

    own: of each row by fact of `MEMBERS` the message's own set; empty where no feature needs one.
    """

    columns: Columns
    own: tuple[Mapping[str, Members], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call names: views with the features asked of each, on-demand views, and the fields these are handed."""

    views: Sequence[tuple[FeatureView, list[str]]]
    on_demand: Sequence[OnDemandFeatureView]
    fields: frozenset[str]

    @classmethod
    def of(
        cls, registry: BaseRegistry, project: str, features: list[str] | FeatureService, full_feature_names: bool
    ) -> Wanted:
        """As Feast resolves it; raises Feast's errors where there is no such feature."""
        found = _get_cached_request_context(registry, project, features, full_feature_names)
        return cls(found[5], found[1], frozenset(found[7]))

    @property
    def content(self) -> list[ContentDefinition]:
        """The views that are computed from a message alone."""
        found = [definition_of(view) for view, _ in self.views]
        return [definition for definition in found if isinstance(definition, ContentDefinition)]

    @property
    def keys(self) -> dict[str, str]:
        """Columns of join keys, each with a view that is keyed by it."""
        return {
            view.projection.join_key_map.get(column.name, column.name): view.projection.name_to_use()
            for view, _ in self.views
            for column in view.entity_columns
        }


def columns_of(entity_rows: list[dict[str, Any]] | Mapping[str, Any]) -> Columns:
    """Entity rows by column; raises DataError where rows have different keys."""
    if not isinstance(entity_rows, list):
        return dict(entity_rows)
    names = list(entity_rows[0]) if entity_rows else []
    for row in entity_rows:
        if set(row) != set(names):
            raise DataError(
                f"entity rows have different keys ({', '.join(names)} and {', '.join(row)}); give each the same"
            )
    return {name: [row[name] for row in entity_rows] for name in names}


def checked(wanted: Wanted, columns: Columns, *, full_feature_names: bool, also: Iterable[str] = ()) -> list[str]:
    """The join keys that rows leave to the message that they name; all others are there.

    also: columns that are read beside keys and request fields. Raises DataError as the module says.
    """
    keys = wanted.keys
    shared = sorted(wanted.fields & set(keys))
    if shared:
        raise DataError(
            f"request field {shared[0]} is named as a join key of view {keys[shared[0]]}, and one value cannot be "
            "told from the other; rename the field in its on-demand view's RequestSource"
        )
    _refuse_clashes(wanted, full_feature_names)
    named = all(key in columns for key in MESSAGE_KEYS)
    left_out = [key for key in keys if key not in columns]
    missing = [key for key in left_out if not (named and key in FACTS)]
    known = {*keys, *wanted.fields, *MESSAGE_KEYS, *also}
    strange = [name for name in columns if name not in known and not name.startswith(OWN)]
    if missing:
        key = missing[0]
        hint = did_you_mean(key, strange, cutoff=0.6).replace("mean", "mean it by")
        others = f" (nor {', '.join(missing[1:])})" if missing[1:] else ""
        raise DataError(
            f"entity rows have no {key}{others}, which view {keys[key]} is keyed by; give it in every row, or "
            f"{' and '.join(MESSAGE_KEYS)} for what the message itself says.{hint}"
        )
    for name in strange:
        hint = did_you_mean(name, sorted(known - set(columns)), cutoff=0.85)
        if hint:
            raise DataError(f"entity rows have {name!r}, which nothing reads.{hint}")
    return left_out


def completed(
    wanted: Wanted, columns: Columns, left_out: Sequence[str], events: Sequence[Event | None] | None
) -> OnlineRequest:
    """The request with what messages answer: keys that rows leave out, and own sets.

    events: of each row its message's, None for one that names none; None as a whole where rows name no messages.
    Raises DataError where a feature needs what the message holds and nobody tells.
    """
    facts = own_facts_of({view: names for view, names in wanted.views})
    absent = {fact: names for fact, names in facts.items() if own_column(fact) not in columns}
    if events is None:
        refuse_without_own(absent, "entity rows")
    n = len(next(iter(columns.values()), ()))
    own: list[dict[str, Members]] = [{} for _ in range(n)]
    for fact in facts:
        if fact in absent:
            names = [members_of(event, fact) if event is not None else () for event in events or ()]
        else:
            names = [_names(fact, given) for given in columns[own_column(fact)]]
        for row, held in zip(own, names, strict=True):
            row[fact] = own_set(held)
    kept: Columns = {name: values for name, values in columns.items() if not name.startswith(OWN)}
    for key in left_out:
        kept[key] = ["" if event is None else getattr(event, key) for event in events or ()]
    for key in wanted.keys:
        # A key that a message does not name is an empty one: nobody's, so that it has no history.
        kept[key] = ["" if value is None else value for value in kept[key]]
    return OnlineRequest(kept, tuple(own) if facts else ())


def needs_messages(wanted: Wanted, columns: Columns, left_out: Sequence[str]) -> bool:
    """Whether the rows' messages must be looked up: for keys, for own sets, or for content."""
    facts = own_facts_of({view: names for view, names in wanted.views})
    if wanted.content:
        return True
    named = all(key in columns for key in MESSAGE_KEYS)
    return named and (bool(left_out) or any(own_column(fact) not in columns for fact in facts))


def _names(fact: str, given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, (Sequence, np.ndarray)):
        raise DataError(f"{own_column(fact)} is a {type(given).__name__}; give a list of strings")
    return tuple(str(name) for name in given)


def _refuse_clashes(wanted: Wanted, full_feature_names: bool) -> None:
    for view in wanted.on_demand:
        sources = view.source_feature_view_projections.values()
        bearers = _bearers([(source.name_to_use(), [field.name for field in source.features]) for source in sources])
        bearers |= {
            name: [*bearers.get(name, ()), "its request"]
            for name in view.get_request_data_schema()
            if name in bearers or name in wanted.keys
        }
        read = set(_texts_of(view))
        for name, held_by in bearers.items():
            if len(held_by) > 1 and (not full_feature_names or name in read or "its request" in held_by):
                origins = " and from ".join(sorted(held_by))
                raise DataError(
                    f"on-demand view {view.name} has {name} from {origins}, and one cannot be told from the other; ask "
                    "with full_feature_names=True and read it as view__feature, or rename one"
                )
    if full_feature_names or not wanted.on_demand:
        return
    for name, held_by in _bearers([(view.projection.name_to_use(), names) for view, names in wanted.views]).items():
        if len(held_by) > 1:
            both = " and ".join(sorted(held_by))
            raise DataError(
                f"views {both} both have {name}, and an on-demand view that is asked with them could "
                "be given either; ask with full_feature_names=True"
            )


def _bearers(named: Iterable[tuple[str, Iterable[str]]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for view, names in named:
        for name in dict.fromkeys(names):
            found[name].append(view)
    return dict(found)


def _texts_of(view: OnDemandFeatureView) -> Iterator[str]:
    """Texts that a view's function is written with, among them the names that it reads."""
    code = getattr(getattr(view.feature_transformation, "udf", None), "__code__", None)
    waiting = [] if code is None else [code]
    while waiting:
        for constant in waiting.pop().co_consts:
            if isinstance(constant, CodeType):
                waiting.append(constant)
            elif isinstance(constant, str):
                yield constant
