"""What content views take of a processor, beside what their owners say that they take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from mailwarden.domain.mail.content import ContentView, lists_for
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message
from mailwarden.testing.problem import Problem

ROUNDS = 5
SLACK = 5.0
"""How many times the declared cost may be measured before it is called wrong: machines and mail differ."""
_SMALL_US = 20.0
"""What is added to that, since the first microseconds are the clock's and the call's."""


def cost_us(view: ContentView, messages: Sequence[Message], lists: Lists) -> float:
    """CPU microseconds a message that the view's function takes, in the quickest of `ROUNDS` over all messages."""
    seen = lists_for(view, lists)
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time_ns()
        for message in messages:
            view.compute(message, seen)
        best = min(best, (time.thread_time_ns() - began) / 1_000)
    return best / max(1, len(messages))


def check_cost(view: ContentView, messages: Sequence[Message], lists: Lists) -> Iterator[Problem]:
    """Whether the view costs far more than it declares; a measurement, so no test's business but a team's."""
    measured = cost_us(view, messages, lists)
    if measured > SLACK * view.cost_us + _SMALL_US:
        words = f"it takes {measured:,.0f} us a message and declares {view.cost_us:g}; make it cheaper, or say so"
        yield Problem(view.name, "", words)
