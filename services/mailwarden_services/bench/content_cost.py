"""What reading a message and each content view take of a processor, beside what the views declare."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

from mailwarden.ingest.parse import parse_message
from mailwarden.simulation.simulate import simulate
from mailwarden.stores.lists import load_lists
from mailwarden.testing.content_cost import ROUNDS, cost_us
from mailwarden_features import discover

MESSAGES = 300
SEED = 7


def measure(messages: int = MESSAGES) -> dict[str, Any]:
    """CPU microseconds a message over simulated mail: of the parser, and of each view with what it declares."""
    made = list(islice(simulate(SEED, days=30), messages))
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time_ns()
        parsed = [parse_message(one.raw, one.envelope) for one in made]
        best = min(best, (time.thread_time_ns() - began) / 1_000)
    lists = load_lists()
    views = {
        view.name: {"declared_us": view.cost_us, "measured_us": cost_us(view, parsed, lists)}
        for view in discover().content
    }
    return {"messages": len(made), "reading_us": best / len(made), "views": views}
