"""An evaluation's figures as tables of words: budgets, n and intervals beside each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mailwarden_services.reports.grids import Grid
from mailwarden_services.reports.words import NOTHING, budget_words, category_words, figure, percent

SHOWN = 20
"""Rows of a table at most; evaluation.json has all."""


def share_words(share: Mapping[str, Any]) -> str:
    """A share with its interval, and of how many it is."""
    if not share["n"]:
        return NOTHING
    return f"{percent(share['rate'])} [{percent(share['low'])}, {percent(share['high'])}] of {share['n']:,}"


def budget_note(result: Mapping[str, Any]) -> str:
    """What budgets mean here, and what so few good messages cannot tell."""
    good = result["good"]
    allowed = {budget: int(budget * good + 1e-9) for budget in result["budgets"]}
    words = ", ".join(f"{budget_words(budget)} allows {n:,}" for budget, n in allowed.items())
    note = f"Intervals are 95% (Wilson). Thresholds are set on these {good:,} good messages: {words} false positives."
    none = [budget_words(budget) for budget, n in allowed.items() if n == 0]
    if none:
        note += f" {good:,} are too few for {' and '.join(none)}, which means no false positive among them here."
    return note


def whole_grid(result: Mapping[str, Any]) -> Grid:
    """What is caught and what is held back, over all."""
    found = result["whole"]
    deployed = found["deployed"]
    rows = [
        (f"recall at {budget_words(at['budget'])} FPR", share_words(at["caught"]), share_words(at["passed"]))
        for at in found["at_budget"]
    ]
    rows.append(
        ("held back as deployed", share_words(deployed["bad_held_back"]), share_words(deployed["good_held_back"]))
    )
    rows.append(("marked as deployed", share_words(deployed["bad_marked"]), share_words(deployed["good_marked"])))
    title = (
        f"Bundle {result['bundle']}: {result['bad']:,} bad, {result['good']:,} good; 1-ROCA% {_area(result['area'])}"
    )
    note = f"{budget_note(result)} Held back: junk or quarantine. Marked: a banner or stronger."
    return Grid(title, ("", "bad mail", "good mail"), tuple(rows), note)


def part_grid(result: Mapping[str, Any], parts: Sequence[Mapping[str, Any]], title: str, note: str = "") -> Grid:
    """A row a part: recall at each budget, what is held back of bad and of good mail."""
    budgets = [budget_words(budget) for budget in result["budgets"]]
    heading = (
        "", "bad", "good", *(f"recall at {words}" for words in budgets),
        *(f"good passed at {words}" for words in budgets), "bad held back", "good held back", "good marked",
    )  # fmt: skip
    largest = sorted(parts, key=lambda part: -part["n"])[:SHOWN]
    rows = tuple(
        (
            category_words(part["name"]), f"{part['bad']:,}", f"{part['good']:,}",
            *(share_words(at["caught"]) for at in part["at_budget"]),
            *(share_words(at["passed"]) for at in part["at_budget"]),
            *(share_words(part["deployed"][name]) for name in ("bad_held_back", "good_held_back", "good_marked")),
        )
        for part in parts if part in largest
    )  # fmt: skip
    more = f"The {SHOWN} of {len(parts)} with most messages. " if len(parts) > SHOWN else ""
    return Grid(title, heading, rows, more + note)


def category_grid(result: Mapping[str, Any]) -> Grid:
    """A row a label of bad mail; good mail is all there is, and stands in no column."""
    budgets = [budget_words(budget) for budget in result["budgets"]]
    heading = ("category", "n", *(f"recall at {words} FPR" for words in budgets), "held back", "marked", "named most")
    rows = []
    for part in result["by_category"]:
        named = result["categories"]["named"].get(part["name"], {})
        most = max(sorted(named), key=lambda code: named[code]) if named else ""
        rows.append((
            category_words(part["name"]), f"{part['bad']:,}", *(share_words(at["caught"]) for at in part["at_budget"]),
            share_words(part["deployed"]["bad_held_back"]), share_words(part["deployed"]["bad_marked"]),
            f"{most} ({named[most]:,} of {sum(named.values()):,})" if most else NOTHING,
        ))  # fmt: skip
    right = share_words(result["categories"]["right"])
    return Grid(
        "By category", heading, tuple(rows), f"Categories named rightly among bad mail that is marked: {right}."
    )


def spending_grid(result: Mapping[str, Any]) -> Grid | None:
    """A row a category that a tenant has a budget for, and one for all others; None where no tenant has any."""
    rows = tuple(
        (one["tenant"], category_words(one["category"]) if one["category"] else "all others",
         f"{100 * one['budget']:.3g}%", share_words(one["held_back"]))
        for one in result["spending"]
    )  # fmt: skip
    if not rows:
        return None
    heading = ("tenant", "held back as", "budget of good mail", "good mail held back")
    return Grid("Budgets by category", heading, rows, "As deployed, of all good mail of the tenant.")


def detector_grid(result: Mapping[str, Any]) -> Grid:
    """A row a detector: alone, unique, and what is lost without it."""
    first = budget_words(result["budgets"][0])
    rows = []
    for one in result["detectors"]:
        whys = ("abstained", "not_asked", "failed", "away")
        silent = ", ".join(f"{why.replace('_', ' ')} {one[why]:,}" for why in whys if one[why])
        rows.append((
            one["name"], f"{one['spoke']:,}" + (f" ({silent})" if silent else ""), _area(one["area"]),
            share_words(_share(one["recall"][0])), share_words(one["unique"]), *_without(one["without"]),
            _took(one["milliseconds"], served=result["served"]),
        ))  # fmt: skip
    heading = (
        "detector", "spoke of", "1-ROCA% alone", f"recall alone at {first}", "unique catches",
        f"recall at {first} with it, without", "held back, lost without", "good held back without",
        "ms a message, mean / p99" if result["served"] else "ms a message in batches",
    )  # fmt: skip
    note = (
        "Unique: of the bad mail that some detector catches alone, what only this one does. Without: by the fusion and "
        "thresholds that the bundle has for its being away; of the bad mail held back with it, what is not without it."
    )
    return Grid("Detectors", heading, tuple(rows), note)


def group_grid(result: Mapping[str, Any]) -> Grid | None:
    """A row a group of features: what becomes of recall and of good mail without it."""
    found = result["groups"]
    if not found:
        return None
    budgets = [budget_words(budget) for budget in result["budgets"]]
    rows = []
    for one in found:
        recalls = zip(one["recall"], one["recall_without"], strict=True)
        most = min(one["by_category"].items(), key=lambda item: item[1]["difference"], default=None)
        worst = NOTHING if most is None or not most[1]["difference"] < 0 else f"{most[0]} {_difference(most[1])}"
        rows.append((
            one["name"] + (" (as in an outage)" if one["outage"] else ""),
            *(cell for each, share in recalls for cell in (share_words(_share(share)), _difference(each))),
            worst,
            share_words(one["bad_without"]), _difference(one["bad_held_back"]),
            share_words(one["good_without"]), _difference(one["good_held_back"]), _difference(one["good_marked"]),
        ))  # fmt: skip
    heading = (
        "without", *(cell for words in budgets for cell in (f"recall at {words}", "difference")),
        f"category that loses most at {budgets[0]}", "bad held back", "difference", "good held back", "difference",
        "good marked, difference",
    )  # fmt: skip
    note = (
        "The same bundle on the same mail with the views of one group hidden; nothing is trained anew, so that one "
        "trained without a group would lose less as a rule. Fusion and deployed thresholds are those of the whole; "
        "all history alone is hidden as in an outage, with the fusion and thresholds that count then. Recall: at a "
        "threshold found anew on the same good mail. Differences, without less with, in percentage points with 95% "
        "intervals (paired bootstrap)."
    )
    return Grid("What is lost without a group of features", heading, tuple(rows), note)


def overlap_grid(result: Mapping[str, Any]) -> Grid | None:
    """What two detectors both catch alone."""
    found = result["overlap"]
    if len(found["names"]) < 2:
        return None
    rows = tuple(
        (name, *(f"{n:,}" for n in caught)) for name, caught in zip(found["names"], found["caught"], strict=True)
    )
    title = f"Bad mail that two detectors both catch alone at {budget_words(found['budget'])} FPR"
    note = f"Of {found['bad']:,} bad messages some detector catches {found['any']:,} alone."
    return Grid(title, ("", *found["names"]), rows, note)


def reliability_grid(result: Mapping[str, Any]) -> Grid:
    """How far probabilities are off, by score."""
    rows = tuple(
        (name, share_words(one["base"]),
         NOTHING if one["error"] is None else f"{one['error']:.4f} [{figure(one['low'], 4)}, {figure(one['high'], 4)}]",
         figure(one["by_chance"], 4))
        for name, one in result["reliability"].items()
    )  # fmt: skip
    note = (
        "Expected calibration error over bins of equal counts, 0..1, with a 95% interval (bootstrap over campaigns); "
        "by chance: what a calibrated score would show at most, 95 times in 100."
    )
    return Grid("Calibration", ("score", "bad", "error", "by chance"), rows, note)


def drift_grid(result: Mapping[str, Any]) -> Grid | None:
    """A row a week: how far each score's spread is from the first week's."""
    found = result["drift"]
    names = list(next((week["scores"] for week in found["weeks"] if week["scores"]), {}))
    if not names:
        return None
    rows = []
    for week in found["weeks"]:
        cells = [_moved(week["scores"].get(name)) for name in names]
        first = " (the first)" if week["begin_us"] == found["reference_us"] else ""
        rows.append((_day(week["begin_us"]) + first, f"{week['n']:,}", *cells))
    note = (
        "Population stability index against the first week that has enough messages, and in brackets the "
        "Jensen-Shannon divergence in bits; * is more than chance gives 95 times in 100. Weeks begin on Monday, UTC."
    )
    return Grid("Drift of scores by week", ("week of", "n", *names), tuple(rows[-SHOWN:]), note)


def comparison_grid(result: Mapping[str, Any]) -> Grid | None:
    """Differences from the bundle that it is held against."""
    found = result["comparison"]
    if found is None:
        return None
    first = budget_words(result["budgets"][0])
    differences = [
        *((f"recall at {budget_words(each['budget'])} FPR", each) for each in found["recall"]),
        *((f"{category_words(name)}, recall at {first}", each) for name, each in found["by_category"].items()),
        ("bad held back", found["bad_held_back"]),
        ("good held back", found["good_held_back"]),
        ("good marked", found["good_marked"]),
    ]
    rows = tuple((words, f"{each['n']:,}", _rate_of(each["first"]), _rate_of(each["second"]), _difference(each))
                 for words, each in differences)  # fmt: skip
    note = (
        f"Differences in percentage points with 95% intervals: paired bootstrap over {found['groups']:,} "
        f"{found['grouped_by']}s{' and single messages' if found['grouped_by'] == 'campaign' else ''}, "
        f"{found['resamples']:,} draws, thresholds set anew in each."
    )
    title = f"Bundle {found['second']} beside bundle {found['first']}"
    heading = ("", "n", f"bundle {found['first']}", f"bundle {found['second']}", "difference")
    return Grid(title, heading, rows, note)


def flip_grid(result: Mapping[str, Any]) -> Grid | None:
    """Messages whose verdict changed, counted."""
    found = result["comparison"]
    if found is None:
        return None
    rows = tuple(
        (category_words(flip["label"]) if flip["label"] else "no label", flip["category"] or NOTHING, flip["detector"],
         f"{flip['before']} to {flip['after']}", f"{flip['messages']:,}")
        for flip in found["flips"][:SHOWN]
    )  # fmt: skip
    title = f"{found['flipped']:,} of {result['messages']:,} messages change their verdict"
    note = "" if len(found["flips"]) <= SHOWN else f"The {SHOWN} most frequent of {len(found['flips']):,} kinds."
    return Grid(title, ("label", "named", "moved most by", "verdict", "messages"), rows, note)


def _without(without: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if without is None:
        return NOTHING, NOTHING, NOTHING
    recall = f"{percent(without['recall'][0]['rate'])} to {share_words(_share(without['recall_without'][0]))}"
    return recall, share_words(without["lost"]), share_words(without["good_held_back_without"])


def _took(took: Mapping[str, Any], *, served: bool) -> str:
    if not took["n"]:
        return NOTHING
    # Of a batch only the mean of its messages is known.
    return f"{took['mean_ms']:.3f}" + (f" / {took['p99_ms']:.3f}" if served else "")


def _share(recall: Mapping[str, Any]) -> dict[str, Any]:
    return {"rate": recall["rate"], "low": recall["low"], "high": recall["high"], "n": recall["bad"]}


def _area(area: Mapping[str, Any] | None) -> str:
    if area is None:
        return NOTHING
    if not area["roca"]:
        return "0 (no pair is ranked wrongly)"
    return f"{area['roca']:.4f} [{figure(area['low'], 4)}, {figure(area['high'], 4)}]"


def _rate_of(rate: float | None) -> str:
    return NOTHING if rate is None or rate != rate else f"{100 * rate:.2f}%"


def _difference(each: Mapping[str, Any]) -> str:
    if not each["n"]:
        return NOTHING
    return f"{100 * each['difference']:+.2f} [{_signed(each['low'])}, {_signed(each['high'])}]"


def _signed(value: float | None) -> str:
    return NOTHING if value is None or value != value else f"{100 * value:+.2f}"


def _moved(moved: Mapping[str, Any] | None) -> str:
    if moved is None:
        return NOTHING
    return f"{moved['psi']:.3f}{'*' if moved['psi'] > moved['by_chance'] else ''} ({moved['shannon']:.3f})"


def _day(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1_000_000, UTC).date().isoformat()
