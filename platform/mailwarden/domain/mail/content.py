"""Content views: features computed from one message alone, by one function each, in the API, in Spark and in skew."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Aspect, Message
from mailwarden.domain.status import Status

ContentValue = float | int | str | None

NEVER = "never: always a value"
"""What `ContentFeature.null` says of a feature that every message has."""


@dataclass(frozen=True, slots=True)
class ContentFeature:
    """A fact of one message. null: what a null means ("not computable: no Reply-To header").

    text: what people wrote, which is kept no longer than raw mail; every other string is a word of a closed set.
    """

    name: str
    dtype: Literal["int64", "float64", "string"]
    description: str
    unit: str
    null: str
    text: bool = False


def flag(name: str, description: str, null: str = NEVER) -> ContentFeature:
    """A feature that is 0 or 1."""
    return ContentFeature(name, "int64", description, "0 or 1", null)


def count(name: str, description: str, unit: str, null: str = NEVER) -> ContentFeature:
    """A feature that is a whole number."""
    return ContentFeature(name, "int64", description, unit, null)


def real(name: str, description: str, unit: str, null: str) -> ContentFeature:
    """A feature that is a number with a fraction."""
    return ContentFeature(name, "float64", description, unit, null)


@dataclass(frozen=True, slots=True)
class ContentView:
    """Features of a message without history.

    compute: a module-level pure function from a Message and the lists that the view names to one value a feature,
    every name present. version: raised when the meaning of any feature changes. reads: what of a message the values
    rest on; where it was not read in full, the view's status says so. cost_us: CPU microseconds that computing it for
    a usual message takes, as its owner answers for. lists: names of the lists that it looks things up in.
    """

    name: str
    version: int
    owner: str
    description: str
    features: tuple[ContentFeature, ...]
    compute: Callable[[Message, Lists], Mapping[str, ContentValue]]
    reads: tuple[Aspect, ...]
    cost_us: float
    lists: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContentValues:
    """What all content views give of one message.

    values: by view, one a feature in the view's order, None for null. status: by view; present where all that the
    view reads was read, else why not; damaged, and every value null, where computing it failed.
    """

    values: Mapping[str, tuple[ContentValue, ...]]
    status: Mapping[str, Status]


Failed = Callable[[ContentView, Exception], None]
"""Told of a view whose function raised, or gave what its features cannot hold."""


class _Plan:
    """A view, the lists that it sees, and how its rows are checked."""

    def __init__(self, view: ContentView, lists: Lists) -> None:
        self.view = view
        self.lists = lists_for(view, lists)
        self.names = tuple(feature.name for feature in view.features)
        self.kinds = tuple(_TYPES[feature.dtype] for feature in view.features)

    def row(self, message: Message) -> tuple[ContentValue, ...]:
        """The values in order; raises where the function does, or leaves out or gives what no store can hold."""
        found = self.view.compute(message, self.lists)
        values = [found[name] for name in self.names]
        finite = True
        for kind, value in zip(self.kinds, values, strict=True):
            if value is None:
                continue
            if type(value) is not kind:
                raise TypeError(f"{self._name_of(values, value)} is {type(value).__name__}")
            if kind is int:
                if not _LEAST <= value <= _MOST:  # type: ignore[operator]
                    raise OverflowError(f"{self._name_of(values, value)} does not fit int64")
            elif kind is float:
                finite = finite and math.isfinite(value)  # type: ignore[arg-type]
            elif not value.isascii():  # type: ignore[union-attr]
                value.encode()  # type: ignore[union-attr]
        # What is no number cannot be told from null in every store.
        return tuple(values if finite else [_finite(value) for value in values])

    def _name_of(self, values: Sequence[ContentValue], value: ContentValue) -> str:
        return next(name for name, one in zip(self.names, values, strict=True) if one is value)


def _finite(value: ContentValue) -> ContentValue:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class ContentSet:
    """The content views that are computed together, with the lists and the fingerprints of what computes them.

    views: in order of name. lists: whatever was loaded; a view sees those alone that it names. fingerprints: by view,
    of its code, the parser's and its lists (`stores.content_code`). It may be sent to another process.
    """

    def __init__(self, views: Iterable[ContentView], lists: Lists, fingerprints: Mapping[str, int]) -> None:
        self.views = tuple(views)
        self.fingerprints = dict(fingerprints)
        self._plans = [_Plan(view, lists) for view in self.views]

    def only(self, names: Iterable[str]) -> ContentSet:
        """The same of some views."""
        chosen, found = set(names), ContentSet((), _NOTHING, self.fingerprints)
        found._plans = [plan for plan in self._plans if plan.view.name in chosen]
        found.views = tuple(plan.view for plan in found._plans)
        return found

    def changed_since(self, learned: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
        """Views that are gone, or made by another version, code or lists, since a model learned from them.

        learned: by view, the version and fingerprint that its training set had.
        """
        now = {view.name: (view.version, self.fingerprints[view.name]) for view in self.views}
        return tuple(sorted(name for name, then in learned.items() if now.get(name) != tuple(then)))

    def values_of(self, message: Message, failed: Failed) -> ContentValues:
        """The values of every view: the one way to them, for scoring, Spark and skew alike; raises nothing."""
        values: dict[str, tuple[ContentValue, ...]] = {}
        status: dict[str, Status] = {}
        for plan in self._plans:
            view = plan.view
            try:
                values[view.name] = plan.row(message)
                status[view.name] = message.status_of(view.reads) if message.unread else Status.PRESENT
            except Exception as exc:
                failed(view, exc)
                values[view.name] = (None,) * len(view.features)
                status[view.name] = Status.DAMAGED
        return ContentValues(values, status)


def lists_for(view: ContentView, lists: Lists) -> Lists:
    """What a view sees of the lists: those that it names."""
    return lists.only(view.lists)


_NOTHING = Lists({}, {}, "")
_LEAST, _MOST = -(2**63), 2**63 - 1


_KINDS = (int, float, str)
_TYPES: Mapping[str, type] = dict(zip(("int64", "float64", "string"), _KINDS, strict=True))


def full_names(view: ContentView) -> Sequence[str]:
    """Names of a view's features as detectors read them, "view:feature"."""
    return [f"{view.name}:{feature.name}" for feature in view.features]
