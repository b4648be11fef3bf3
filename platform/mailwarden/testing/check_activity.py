"""What a behavioural view owes: keys, flags, windows, kinds of aggregate, size, and words for its nulls."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Age,
    Decayed,
    Distinct,
    Extreme,
    Feature,
    Held,
    History,
    Match,
    Measure,
    Peak,
    Ratio,
    Recent,
    Surge,
    Total,
    Unusual,
    aggregate_names,
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

_FORWARD_ONLY = ("recipients", "facts")
_EXCLUSIVE = (
    ("forward", "reverse"),
    ("inbound", "outbound", "internal"),
    ("authenticated", "unauthenticated"),
    HOUR_FLAGS,
    WEEKDAY_FLAGS,
)
_NAMED_WINDOW = re.compile(r".*_(\d+[hd]|all)")

Aggregate = Measure | Peak | Extreme | Distinct | Recent


def check_activity(view: ActivityView) -> Iterator[Problem]:
    """Everything in which a behavioural view contradicts itself or its emission; see `check_leaks` for the rest."""
    yield from _check_keys(view)
    if not any(isinstance(feature.expression, History) for feature in view.features):
        yield Problem(view.name, "", "it has no History feature; without it, never seen cannot be told from null")
    for aggregate in aggregates_of(view):
        yield from _check_where(view, aggregate)
    for feature in view.features:
        for window in feature.windows:
            yield from _check_window(view, feature, window)
        yield from _check_window_name(view, feature)
    expressions = [problem for feature in view.features for problem in _check_expression(view, feature)]
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
        words = _null_when(view, feature)
        if words and feature.null.startswith("never:"):
            words = f"its `null` says never, and it is null {words}; say so there"
            yield Problem(view.name, feature.name, words)


def aggregates_of(view: ActivityView) -> tuple[Aggregate, ...]:
    """All aggregates of a view, kind by kind."""
    return (*view.measures, *view.peaks, *view.extremes, *view.distincts, *view.recents)


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
        if view.emission in _FORWARD_ONLY:
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
    if window.until_us and isinstance(feature.expression, (Surge, Decayed, Match)):
        kind = type(feature.expression).__name__
        yield Problem(view.name, feature.name, f"{kind} takes no window with an upper edge; {window.name} has one")


def _check_window_name(view: ActivityView, feature: Feature) -> Iterator[Problem]:
    named = _NAMED_WINDOW.fullmatch(feature.name)
    names = [window.name for window in feature.windows]
    if named and names and not any(name.split("_")[0] == named[1] for name in names):
        words = f"its name says {named[1]} and its window is {', '.join(names)}; rename one of them"
        yield Problem(view.name, feature.name, words)


def _check_expression(view: ActivityView, feature: Feature) -> Iterator[Problem]:
    match feature.expression:
        case Ratio(_, _, _, prior) if min(prior) < 0:
            yield Problem(view.name, feature.name, "its prior is negative; a prior is a count of made-up messages")
        case Surge(_, window, baseline, since):
            if window.length_us is None or baseline.length_us is None or baseline.length_us <= window.length_us:
                words = f"its baseline {baseline.name} is no longer than its window {window.name}; take a longer one"
                yield Problem(view.name, feature.name, words)
            if any(extreme.name == since and extreme.kind != "first" for extreme in view.extremes):
                words = f"its `since` {since!r} is no first extreme, so that it cannot say when the key's life began"
                yield Problem(view.name, feature.name, f"{words}; name one of kind 'first'")
        case Unusual(profile, by, _):
            known = {measure.name for measure in view.measures}
            missing = [name for name in aggregate_names(feature.expression) if name not in known]
            if missing:
                words = f"profile {profile!r} lacks {', '.join(missing)}; add profile_of({profile!r}, {by!r})"
                yield Problem(view.name, feature.name, f"{words} to the measures")
        case Decayed(_, half_life_us, windows):
            lengths = [window.length_us for window in windows]
            known_lengths = [length for length in lengths if length is not None]
            if not windows or len(known_lengths) < len(lengths) or known_lengths != sorted(set(known_lengths)):
                words = "a decayed count needs windows with a lower edge, from the shortest to the longest"
                yield Problem(view.name, feature.name, words)
            if half_life_us <= 0:
                yield Problem(view.name, feature.name, f"its half life is {half_life_us}; give microseconds above 0")
        case _:
            pass


def _check_unused(view: ActivityView) -> Iterator[Problem]:
    used = {name for feature in view.features for name in aggregate_names(feature.expression)}
    for aggregate in aggregates_of(view):
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


def _null_when(view: ActivityView, feature: Feature) -> str:
    """When the feature is null though the key has history; "" for never."""
    extremes = {extreme.name: extreme for extreme in view.extremes}
    peaks = {peak.name: peak for peak in view.peaks}
    counts = {measure.name: measure for measure in view.measures if not measure.of and measure.on == "message"}
    match feature.expression:
        case Total(name, window) if name in peaks:
            return "" if _all_rows(view, peaks[name].where, window) else "where the window holds no such message"
        case Ratio(_, name, window, (good, bad)) if good + bad == 0:
            sure = name in counts and _all_rows(view, counts[name].where, window)
            return "" if sure else f"where {name!r} is 0 in the window"
        case Surge():
            return "while the key lives for less than a window before the window"
        case Unusual(profile, _, window):
            bins = [measure for measure in view.measures if measure.name.startswith(f"{profile}_")]
            other = tuple(flag for flag in bins[0].where if flag not in (*HOUR_FLAGS, *WEEKDAY_FLAGS)) if bins else ()
            return "" if _all_rows(view, other, window) else f"where the window holds nothing of profile {profile!r}"
        case Age(name) | Held(name):
            return "" if _all_rows(view, extremes[name].where) else f"where there was no {name!r}"
        case Match():
            return "where the message has no such set, or none was used in the window"
        case _:
            return ""


def _all_rows(view: ActivityView, where: tuple[str, ...], window: Window | None = None) -> bool:
    """Whether the filter lets every row of a key pass, and the window, where there is one, holds all time."""
    trivial = {"forward"} if view.emission in _FORWARD_ONLY else set()
    unbounded = window is None or (window.length_us is None and not window.until_us)
    return unbounded and set(where) <= trivial
