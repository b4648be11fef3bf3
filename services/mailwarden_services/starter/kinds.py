"""Kinds of starter: what serves before a tenant's own training does."""

from __future__ import annotations

from typing import Literal

Starter = Literal["rules", "simulation"]

RULES_ALONE: Starter = "rules"
"""The rules by themselves: nothing was learned."""

SIMULATION: Starter = "simulation"
"""Learned from the simulated world."""

WORDS = {
    RULES_ALONE: "a starter: rules alone, nothing is learned; `mailwarden starter` builds a better one in minutes",
    SIMULATION: "a starter, learned from the simulated world; `mailwarden train` on your own labelled mail takes over",
}


def starter_of(parameters: object) -> Starter | None:
    """The kind of starter that a registered bundle's parameters say it is; None for a bundle that was trained."""
    said = parameters.get("starter") if isinstance(parameters, dict) else None
    return next((kind for kind in (RULES_ALONE, SIMULATION) if kind == said), None)
