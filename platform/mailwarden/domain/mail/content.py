"""Content views: features computed from one message alone, by one function each, in the API, in Spark and in skew."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, Literal, NamedTuple

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


Pick = Callable[[Any], tuple[Any, ...]]
"""Takes some of a row's values, or a row out of what a view's function gave."""

Failed = Callable[[ContentView, Exception], None]
"""Told of a view whose function raised, or gave what its features cannot hold."""


class _Shape(NamedTuple):
    """Which of a row's values are of a kind; each pick gives them from a row. int64s: holds the whole numbers."""

    int64s: struct.Struct
    whole: Pick | None
    real: Pick | None
    words: Pick | None


class _Plan:
    """A view, the lists that it sees, and how its rows are checked.

    Few kinds of rows stand for nearly all messages of a site (which values are null), so that the types of a row are
    held against the features' once a kind, and its values against what stores can hold a kind of value at a time.
    """

    def __init__(self, view: ContentView, lists: Lists) -> None:
        self.view = view
        self.lists = lists_for(view, lists)
        self.names = tuple(feature.name for feature in view.features)
        self.kinds = tuple(_TYPES[feature.dtype] for feature in view.features)
        self._in_order = _pick(self.names)
        self._shapes: dict[tuple[type, ...], _Shape] = {}

    def row(self, message: Message) -> tuple[ContentValue, ...]:
        """The values in order; raises where the function does, or leaves out or gives what no store can hold."""
        found = self.view.compute(message, self.lists)
        values = self._in_order(found)
        types = tuple(map(type, values))
        shape = self._shapes.get(types)
        if shape is None:
            shape = self._shape_of(values, types)
        if shape.whole is not None:
            whole = shape.whole(values)
            try:
                shape.int64s.pack(*whole)
            except struct.error:
                beyond = next(name for name, value in self._named(values, int) if not _LEAST <= value <= _MOST)
                raise OverflowError(f"{beyond} does not fit int64") from None
        if shape.words is not None:
            for value in shape.words(values):
                if not value.isascii():
                    value.encode()
        # What is no number cannot be told from null in every store.
        if shape.real is not None and not all(map(math.isfinite, shape.real(values))):
            return tuple(_finite(value) for value in values)
        return values

    def _shape_of(self, values: Sequence[ContentValue], types: tuple[type, ...]) -> _Shape:
        for name, kind, value in zip(self.names, self.kinds, values, strict=True):
            if value is not None and type(value) is not kind:
                raise TypeError(f"{name} is {type(value).__name__}")
        places = [[at for at, found in enumerate(types) if found is kind] for kind in _KINDS]
        shape = _Shape(struct.Struct(f"{len(places[0])}q"), *(_pick(of) if of else None for of in places))
        if len(self._shapes) < _MOST_SHAPES:
            self._shapes[types] = shape
        return shape

    def __reduce__(self) -> tuple[type[_Plan], tuple[ContentView, Lists]]:
        return _Plan, (self.view, self.lists)

    def _named(self, values: Sequence[ContentValue], kind: type) -> Iterator[tuple[str, Any]]:
        return ((name, value) for name, value in zip(self.names, values, strict=True) if type(value) is kind)


def _pick(of: Sequence[str] | Sequence[int]) -> Pick:
    return itemgetter(*of) if len(of) > 1 else lambda found: tuple([found[one] for one in of])


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
        return tuple(sorted(name for name, then in learned.items() if self._now.get(name) != tuple(then)))

    @cached_property
    def versions(self) -> Mapping[str, int]:
        """By view, its version."""
        return {view.name: view.version for view in self.views}

    @cached_property
    def _now(self) -> dict[str, tuple[int, int]]:
        return {view.name: (view.version, self.fingerprints[view.name]) for view in self.views}

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
_MOST_SHAPES = 1_000
_TYPES: Mapping[str, type] = dict(zip(("int64", "float64", "string"), _KINDS, strict=True))


def full_names(view: ContentView) -> Sequence[str]:
    """Names of a view's features as detectors read them, "view:feature"."""
    return [f"{view.name}:{feature.name}" for feature in view.features]
