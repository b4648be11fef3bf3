"""Conformance of feature views: what a team's view owes its readers, said in words where it falls short."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import get_args

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.fact_specs import FACTS
from mailwarden.domain.mail.content import ContentFeature, ContentValue, ContentView, lists_for
from mailwarden.domain.mail.lists import NO_LISTS, Lists
from mailwarden.domain.mail.message import Aspect, Message
from mailwarden.stores.lists import LISTS
from mailwarden.testing.check_activity import check_activity
from mailwarden.testing.check_leaks import check_elsewhere, check_labels
from mailwarden.testing.messages import empty_message
from mailwarden.testing.problem import Problem

__all__ = ["Problem", "check_names", "check_view", "empty_message"]

_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_ENTITIES = ("tenant", *FACTS, "recipient", "message")
_TYPES = {"int64": int, "float64": float, "string": str}
_INT64 = 2**63
_LONGEST_WORD = 64
"""Longest string that passes for a word of a closed set."""
_COLUMNS = ("message_id", "event_timestamp", "seq", "label", "weight", "as_of_seq", "status")
"""Names that stand beside features in training sets and in the log of vectors."""


def check_view(
    view: ActivityView | ContentView, messages: Sequence[Message] = (), lists: Lists = NO_LISTS
) -> list[Problem]:
    """Everything in which a view breaks its contract; empty where it keeps it. Raises nothing.

    messages: what a content view is computed on, besides a message that has nothing at all. lists: those that there
    are, of which it sees the ones that it names.
    """
    problems = [*_check_words(view)]
    if isinstance(view, ActivityView):
        problems += check_activity(view)
        problems += check_labels(view)
    else:
        chosen, seen = (empty_message(), *messages), lists_for(view, lists)
        problems += _check_declared(view, lists)
        computed = [problem for message in chosen for problem in _check_compute(view, message, seen)]
        # One that raises or changes its mind here says nothing more elsewhere.
        problems += computed or check_elsewhere(view, chosen, seen)
    return list(dict.fromkeys(problems))


def check_names(views: Sequence[ActivityView | ContentView], services: Iterable[str] = ()) -> list[Problem]:
    """Names that two views, or a view and something else, would share; empty where each is one thing's alone.

    services: names of feature services, one a detector.
    """
    problems = []
    taken: dict[str, str] = {name: "an entity" for name in _ENTITIES}
    taken |= {name.lower(): "a detector, and so its feature service" for name in services}
    full_names: dict[str, str] = {}
    for view in views:
        owner = taken.setdefault(view.name.lower(), "another view")
        if owner != "another view" or sum(other.name.lower() == view.name.lower() for other in views) > 1:
            problems.append(Problem(view.name, "", f"its name is used already, by {owner}; give it one of its own"))
        for feature in view.features:
            # As columns of a training set and of Feast's online answers with full feature names.
            column = f"{view.name}__{feature.name}"
            other = full_names.setdefault(column, f"{view.name}:{feature.name}")
            if other != f"{view.name}:{feature.name}":
                words = f"its full name is also that of {other} ({column}); rename one of them"
                problems.append(Problem(view.name, feature.name, words))
            if feature.name in _COLUMNS or feature.name in _ENTITIES:
                words = "the name is that of a key or of a column beside the features; rename it"
                problems.append(Problem(view.name, feature.name, words))
    return list(dict.fromkeys(problems))


def _check_words(view: ActivityView | ContentView) -> Iterator[Problem]:
    if not _SNAKE.fullmatch(view.name):
        yield Problem(view.name, "", "its name is not snake_case; name it as its folder, like sender_activity")
    if view.version < 1:
        yield Problem(view.name, "", f"its version is {view.version}; versions begin at 1")
    if not view.owner.strip():
        yield Problem(view.name, "", "it has no owner; name the team that answers for it")
    if not view.description.strip():
        yield Problem(view.name, "", "it has no description; say in one sentence what it tells")
    if not view.features:
        yield Problem(view.name, "", "it has no feature; give it one, or remove the folder")
    for name, times in Counter(feature.name for feature in view.features).items():
        if times > 1:
            yield Problem(view.name, name, f"the name is used {times} times; give each feature its own")
    for feature in view.features:
        if not _SNAKE.fullmatch(feature.name):
            yield Problem(view.name, feature.name, "its name is not snake_case")
        for what, words in (("description", feature.description), ("unit", feature.unit)):
            if not words.strip():
                yield Problem(view.name, feature.name, f"it has no {what}; its readers need it")
        if not feature.null.strip():
            yield Problem(view.name, feature.name, "the meaning of null is not said; say when it is null, or never")


def _check_declared(view: ContentView, lists: Lists) -> Iterator[Problem]:
    aspects = get_args(Aspect)
    if not view.reads:
        yield Problem(view.name, "", f"it says not what it reads; say some of {', '.join(aspects)} in `reads`")
    for aspect in view.reads:
        if aspect not in aspects:
            yield Problem(view.name, "", f"it reads {aspect!r}, which is none of {', '.join(aspects)}")
    if not 0 < view.cost_us < 1e6:
        yield Problem(view.name, "", "its cost_us is no number of microseconds; say what a usual message takes")
    known = {*lists.names, *(["popular"] if lists.ranks else []), *(["brands"] if lists.brands else [])}
    for name in view.lists:
        if name not in known:
            words = f"it names the list {name!r}, which is not there; there are {', '.join(sorted(known)) or 'none'}"
            yield Problem(view.name, "", words)
    for feature in view.features:
        if feature.text and feature.dtype != "string":
            yield Problem(view.name, feature.name, f"it is marked as text and is {feature.dtype}; leave `text` out")


def _check_compute(view: ContentView, message: Message, lists: Lists) -> Iterator[Problem]:
    which = message.content_sha256[:12] or "empty"
    try:
        values, again = view.compute(message, lists), view.compute(message, lists)
    except Exception as error:
        mend = "; name the list in `lists`" if isinstance(error, KeyError) and error.args[0] in LISTS else ""
        yield Problem(view.name, "", f"compute raised {error!r} on message {which}; it must never raise{mend}")
        return
    if list(values.items()) != list(again.items()):
        yield Problem(view.name, "", f"compute gave two answers for message {which}; it must be deterministic")
    yield from _check_names(view, values)
    for feature in view.features:
        if feature.name in values:
            yield from _check_value(view, feature, values[feature.name], which)


def _check_names(view: ContentView, values: Mapping[str, ContentValue]) -> Iterator[Problem]:
    declared = {feature.name for feature in view.features}
    for name in sorted(declared - values.keys()):
        yield Problem(view.name, name, "compute leaves it out; give every feature a value, None for null")
    for name in sorted(values.keys() - declared):
        yield Problem(view.name, name, "compute gives it, and no feature declares it; declare it, or leave it out")


def _check_value(view: ContentView, feature: ContentFeature, value: ContentValue, which: str) -> Iterator[Problem]:
    wanted = _TYPES.get(feature.dtype)
    if wanted is None:
        yield Problem(view.name, feature.name, f"dtype {feature.dtype!r} is unknown; use one of {', '.join(_TYPES)}")
    elif value is None:
        if feature.null.startswith("never"):
            yield Problem(view.name, feature.name, f"it is null on message {which}, and says that it never is")
    elif type(value) is not wanted:
        words = f"it is {type(value).__name__} on message {which}; {feature.dtype} wants {wanted.__name__}"
        yield Problem(view.name, feature.name, words)
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(view.name, feature.name, f"it is {value} on message {which}; give None where it has no value")
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        yield Problem(view.name, feature.name, f"it does not fit int64 on message {which}")
    elif isinstance(value, str) and not feature.text and len(value) > _LONGEST_WORD:
        words = f"it has {len(value)} characters on message {which}; mark what people wrote with text=True"
        yield Problem(view.name, feature.name, words)
    elif isinstance(value, str) and not _is_utf8(value):
        yield Problem(view.name, feature.name, f"it holds lone surrogates on message {which}; no store can keep them")


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
