"""What would have changed a verdict, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_SHOWN = 5


def explanation_lines(explanation: Mapping[str, Any]) -> Iterator[str]:
    """Of the API's `explanation`: thresholds, each detector's part, and what would have changed the verdict."""
    limits = [f"{name} from {_number(value)}" for name, value in explanation["thresholds"].items()]
    of = f" of {explanation['called']}" if explanation["called"] else ""
    yield f"log-odds {explanation['log_odds']:.2f}, {explanation['verdict']} by the scores; {', '.join(limits)}{of}"
    for name, said in explanation["detectors"].items():
        adds = said["why_silent"] or f"adds {said['adds']:+.2f}"
        without = said["without"]
        tail = f"; without it {without['verdict']} at {without['log_odds']:.2f}" if without else ""
        yield f"{name} {adds}{tail}"
    for change in [*explanation["views"][:_SHOWN], *explanation["features"][:_SHOWN]]:
        yield f"as usual in {change['changed'][0]}: {change['verdict']} at {change['log_odds']:.2f}"
    for code, adds in explanation["category"].items():
        words = ", ".join(f"{name} {value:+.2f}" for name, value in adds.items())
        yield f"category {code} {sum(adds.values()):+.2f}: {words}"
    if explanation["enough"] is not None:
        views = ", ".join(explanation["enough"]["changed"])
        yield f"enough for {explanation['enough']['verdict']}: {views} as in good mail"


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}"
