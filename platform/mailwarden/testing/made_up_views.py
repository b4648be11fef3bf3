"""Made-up views, each unpacked from one integer as histories are: 0 is the plainest."""

from __future__ import annotations

from typing import Literal

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
    profile_of,
)
from mailwarden.domain.aggregates.fact_specs import FLAGS, MEMBERS, QUANTITIES, QUANTITY_FACTS, Period
from mailwarden.domain.aggregates.windows import (
    DAY_US,
    HOUR_US,
    W_1D,
    W_1H,
    W_7D,
    W_30D,
    W_30D_COARSE,
    W_90D,
    W_90D_MATURED,
    W_180D,
    W_365D,
    W_ALL,
    W_MATURED,
    Window,
)
from mailwarden.domain.mail.events import Emission
from mailwarden.testing.histories import Pieces

W_ODD = Window("odd", 3 * DAY_US + 1, 7 * HOUR_US + 13)
"""A hop that divides neither the window nor a day."""

WINDOWS = (W_1D, W_1H, W_7D, W_30D, W_90D, W_ALL, W_ODD, W_180D, W_365D, W_30D_COARSE)
MATURED_WINDOWS = (W_MATURED, W_90D_MATURED)


_KEYS: tuple[tuple[Emission, tuple[str, ...]], ...] = (
    ("participants", ("sender",)),
    ("participant_domains", ("sender_domain",)),
    ("recipients", ("recipient",)),
    ("pairs", ("sender", "recipient")),
    ("facts", ()),
    ("facts", ("thread",)),
    ("facts", ("sender",)),
    ("facts", ("sender_domain", "display_name")),
    ("facts", ("campaign",)),
    ("facts", ("link_domain", "attachment")),
)
_OF_KIND = {fact.name: fact.on for fact in QUANTITY_FACTS}
_OF_MESSAGES = tuple(name for name, kind in _OF_KIND.items() if kind == "message")
_RINGS = ((W_1D, W_7D, W_30D), (W_1H, W_1D), (W_ODD, W_7D, W_90D, W_365D), (W_180D,))


def view_of(piece: int) -> ActivityView:
    """A small view: any emission, a few aggregates of any kind, and features over any windows."""
    choose = Pieces(piece)
    emission, keys = choose.one_of(_KEYS)
    measures = [Measure("count"), *(_measure(choose, f"m{i}") for i in range(choose.below(3)))]
    ends: tuple[Literal["first", "last"], ...] = ("first", "last")
    extremes = [
        Extreme(f"x{i}", choose.one_of(ends), _where(choose), choose.one_of(("", *_OF_MESSAGES)))
        for i in range(choose.below(3))
    ]
    distincts = tuple(Distinct(f"d{i}", _member(choose), _where(choose)) for i in range(choose.below(3)))
    sides: tuple[Literal["min", "max"], ...] = ("min", "max")
    peaks = tuple(
        Peak(f"p{i}", choose.one_of(sides), choose.one_of(_OF_MESSAGES), _where(choose)) for i in range(choose.below(3))
    )
    recents = tuple(
        Recent(f"s{i}", _member(choose), choose.one_of((3, 1, 8)), _where(choose)) for i in range(choose.below(3))
    )
    features = [Feature("seen", History(), "seen before", "flag")]
    for i, measure in enumerate(measures):
        windows = (*WINDOWS, *MATURED_WINDOWS)
        features.append(Feature(f"t{i}", Total(measure.name, choose.one_of(windows)), "sum", "1"))
        prior = choose.one_of(((0.0, 0.0), (0.25, 1.5)))
        ratio = Ratio(measure.name, choose.one_of(measures).name, choose.one_of(windows[::-1]), prior)
        features.append(Feature(f"r{i}", ratio, "share", "share"))
    for counted in (*(distinct.name for distinct in distincts), *(peak.name for peak in peaks)):
        for i in range(2):
            features.append(Feature(f"{counted}_{i}", Total(counted, choose.one_of(WINDOWS)), "total", "1"))
    for distinct in distincts:
        share = Ratio(distinct.name, choose.one_of(measures).name, choose.one_of(WINDOWS))
        features.append(Feature(f"{distinct.name}_share", share, "share", "share"))
    for i, extreme in enumerate(extremes):
        features.append(Feature(f"a{i}", Age(extreme.name), "since", "days"))
        if extreme.of:
            features.append(Feature(f"h{i}", Held(extreme.name), "held", "1"))
    for i, recent in enumerate(recents):
        features.append(Feature(f"o{i}", Match(recent.name, choose.one_of((W_ALL, *WINDOWS))), "overlap", "share"))
    if choose.below(2):
        extremes.append(Extreme("began", "first", _where(choose)))
        window, baseline = choose.one_of((W_1D, W_1H, W_7D, W_ODD)), choose.one_of((W_30D, W_365D, W_180D, W_90D))
        surge = Surge(choose.one_of(measures).name, window, baseline, "began")
        features.append(Feature("surge", surge, "surge", "standard deviations"))
    if choose.below(2):
        rings = Decayed(choose.one_of(measures).name, choose.one_of((DAY_US, 9 * DAY_US + 1)), choose.one_of(_RINGS))
        features.append(Feature("decayed", rings, "decayed", "1"))
    if choose.below(2):
        bins: tuple[Period, ...] = ("hour", "weekday")
        by = choose.one_of(bins)
        measures += profile_of("when", by, _where(choose))
        features.append(Feature("unusual", Unusual("when", by, choose.one_of(WINDOWS)), "unusual", "0..1"))
    return ActivityView(
        name="made_up",
        version=1,
        owner="tests",
        description="made up",
        keys=keys,
        emission=emission,
        measures=tuple(measures),
        extremes=tuple(extremes),
        distincts=distincts,
        features=tuple(dict.fromkeys(features)),
        peaks=peaks,
        recents=recents,
    )


def _where(choose: Pieces) -> tuple[str, ...]:
    return tuple(choose.one_of(FLAGS) for _ in range(choose.one_of((0, 1, 0, 1, 0, 2))))


def _member(choose: Pieces) -> str:
    return choose.one_of(("recipients", "sender", *MEMBERS))


def _measure(choose: Pieces, name: str) -> Measure:
    quantity = choose.one_of(("", "size_bytes", "", *QUANTITIES))
    return Measure(name, quantity, _where(choose), _OF_KIND.get(quantity, "message"))
