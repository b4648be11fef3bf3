"""What a behavioural view owes: keys, flags, windows, kinds of aggregate, size, and words for its nulls."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailwarden.domain.aggregates.definitions import (
    FORWARD_ONLY,
    ActivityView,
    Aggregate,
    Distinct,
    Feature,
    Held,
    History,
    Recent,
)
from mailwarden.domain.aggregates.fact_specs import FACTS, FLAGS, HOUR_FLAGS, WEEKDAY_FLAGS
from mailwarden.domain.aggregates.layout import Layout, layout_of
from mailwarden.domain.aggregates.windows import Window
from mailwarden.errors import ContractError
from mailwarden.testing.problem import Problem
from mailwarden.testing.state_size import largest_state

MOST_LEVELS = 5
"""Hops of one view: each costs every fold a row and every key its buckets."""

MOST_STATE_BYTES = 64 * 2**10
"""A key's state is fetched for every message that reads it."""

MOST_SKETCH_BYTES = 512 * 2**10
"""A key's sketches are fetched and written back for every event that folds into it."""

KEYS_OF_EMISSION = {
    "participants": ("sender",),
    "participant_domains": ("sender_domain",),
    "recipients": ("recipient",),
    "pairs": ("sender", "recipient"),
}
"""The keys that each emission but `facts` fills."""

_EXCLUSIVE = (
    ("forward", "reverse"),
    ("inbound", "outbound", "internal"),
    ("authenticated", "unauthenticated"),
    HOUR_FLAGS,
    WEEKDAY_FLAGS,
)
_NAMED_WINDOW = re.compile(r".*_(\d+[hd]|all)")


def check_activity(view: ActivityView) -> Iterator[Problem]:
    """Everything in which a behavioural view contradicts itself or its emission; see `check_leaks` for the rest."""
    yield from _check_keys(view)
    if not any(isinstance(feature.expression, History) for feature in view.features):
        yield Problem(view.name, "", "it has no History feature; without it, never seen cannot be told from null")
    for aggregate in view.aggregates:
        yield from _check_where(view, aggregate)
    for feature in view.features:
        for window in feature.windows:
            yield from _check_window(view, feature, window)
        yield from _check_window_name(view, feature)
    expressions = [
        Problem(view.name, feature.name, words)
        for feature in view.features
        for words in feature.expression.contradictions(view)
    ]
    yield from expressions
    if any(window.hop_us <= 0 for feature in view.features for window in feature.windows):
        return
    try:
        layout = layout_of(view)
    except ContractError as error:
        # What was said above in words is not said again.
        if not expressions:
            yield Problem(view.name, "", str(error))
        return
    yield from _check_unused(view)
    yield from _check_size(view, layout)
    for feature in view.features:
        words = feature.expression.null_when(view)
        if words and feature.null.startswith("never:"):
            words = f"its `null` says never, and it is null {words}; say so there"
            yield Problem(view.name, feature.name, words)


def _check_keys(view: ActivityView) -> Iterator[Problem]:
    if view.emission == "facts":
        for key in view.keys:
            if key == "recipient":
                words = "is one of many in a message; use emission 'recipients', or 'pairs' with the sender"
                yield Problem(view.name, "", f"its key 'recipient' {words}")
            elif key not in FACTS:
                words = f"is no fact of a message when it is read; use some of {', '.join(FACTS)}"
                yield Problem(view.name, "", f"its key {key!r} {words}")
        if len(set(view.keys)) != len(view.keys):
            yield Problem(view.name, "", f"its keys {view.keys} name a fact twice")
        named_sets: tuple[Distinct | Recent, ...] = (*view.distincts, *view.recents)
        for named in named_sets:
            if named.of in view.keys:
                words = f"aggregate {named.name!r} holds {named.of!r}, which is the key itself: it is always the same"
                yield Problem(view.name, "", f"{words}; remove it")
        return
    expected = KEYS_OF_EMISSION.get(view.emission)
    if expected is None:
        known = ", ".join((*KEYS_OF_EMISSION, "facts"))
        yield Problem(view.name, "", f"its emission {view.emission!r} is unknown; use one of {known}")
    elif view.keys != expected:
        words = f"its keys {view.keys} do not fit emission {view.emission!r}"
        yield Problem(view.name, "", f"{words}; use {expected}, or emission 'facts'")


def _check_where(view: ActivityView, aggregate: Aggregate) -> Iterator[Problem]:
    where = [flag for flag in aggregate.where if flag in FLAGS]
    clashes = [[flag for flag in group if flag in where] for group in _EXCLUSIVE]
    impossible = next((" and ".join(found) for found in clashes if len(found) > 1), "")
    if not impossible and "reverse" in where:
        if view.emission in FORWARD_ONLY:
            impossible = f"reverse under emission {view.emission!r}"
        elif view.emission != "pairs" and {"inbound", "internal"} & set(where):
            impossible = f"reverse, which is outbound mail alone under emission {view.emission!r}, with another"
    if impossible:
        words = f"aggregate {aggregate.name!r} can never see an event: {impossible}; mend its `where`"
        yield Problem(view.name, "", words)


def _check_window(view: ActivityView, feature: Feature, window: Window) -> Iterator[Problem]:
    if window.hop_us <= 0:
        yield Problem(view.name, feature.name, f"window {window.name} has no hop; state the step of its edges")
        return
    if window.length_us is not None and window.length_us < window.hop_us:
        yield Problem(view.name, feature.name, f"window {window.name} is shorter than its hop; shorten the hop")
    if window.until_us and window.until_us < window.hop_us:
        yield Problem(view.name, feature.name, f"window {window.name} ends within one hop; shorten the hop")
    if window.length_us is not None and window.until_us >= window.length_us:
        yield Problem(view.name, feature.name, f"window {window.name} ends before it begins; it can hold no event")
    if window.until_us and not feature.expression.upper_edges:
        kind = type(feature.expression).__name__
        yield Problem(view.name, feature.name, f"{kind} takes no window with an upper edge; {window.name} has one")


def _check_window_name(view: ActivityView, feature: Feature) -> Iterator[Problem]:
    named = _NAMED_WINDOW.fullmatch(feature.name)
    names = [window.name for window in feature.windows]
    if named and names and not any(name.split("_")[0] == named[1] for name in names):
        words = f"its name says {named[1]} and its window is {', '.join(names)}; rename one of them"
        yield Problem(view.name, feature.name, words)


def _check_unused(view: ActivityView) -> Iterator[Problem]:
    used = {name for feature in view.features for name in feature.expression.aggregates}
    for aggregate in view.aggregates:
        if aggregate.name not in used:
            yield Problem(view.name, "", f"no feature reads aggregate {aggregate.name!r}; remove it from every state")
    for extreme in view.extremes:
        held = any(feature.expression == Held(extreme.name) for feature in view.features)
        if extreme.of and extreme.name in used and not held:
            words = f"no feature reads the {extreme.of} that extreme {extreme.name!r} keeps; leave `of` out"
            yield Problem(view.name, "", words)


def _check_size(view: ActivityView, layout: Layout) -> Iterator[Problem]:
    if len(layout.levels) > MOST_LEVELS:
        words = f"its windows have {len(layout.levels)} different hops; let windows share hops, {MOST_LEVELS} at most"
        yield Problem(view.name, "", words)
    size = largest_state(layout)
    mend = "take fewer aggregates per window, coarser hops, or smaller recent sets"
    for what, found, most in (
        ("state", size.state, MOST_STATE_BYTES),
        ("sketches", size.sketches, MOST_SKETCH_BYTES),
    ):
        if found > most:
            words = f"the {what} of a busy key may take {found:,} bytes, of {most:,} at most; {mend}"
            yield Problem(view.name, "", words)
