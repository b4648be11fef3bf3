from __future__ import annotations

import random
from typing import Any

import numpy as np

from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.offline.sequential_reads import SequentialReads
from mailwarden.domain.aggregates.online.reads import read_slots
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US, effective_time
from mailwarden.domain.mail.events import Event, Way


def sent(seq: int, time_us: int, recipients: tuple[str, ...]) -> Event:
    return Event(
        "t", seq, "message", str(seq), time_us, time_us, "envelope", "inbound", "a@x.test", "x.test", recipients, ()
    )


def test_reads_are_those_of_a_state_with_and_without_one_carried(histories: Any) -> None:
    view = histories.view()
    layout = layout_of(view)
    slots = [(j, slot) for j, slot in enumerate(layout.slots) if slot.total >= layout.first_distinct]
    assert {slot.level is None for _, slot in slots} == {True, False}
    rng = random.Random(4)
    for cut in (0, 150):
        state, reads = EntityState(layout), SequentialReads(layout)
        larger = 0
        for i in range(700):
            if i == cut:
                reads = SequentialReads(layout, state if cut else None)
            time_us = i * HOUR_US // 4 - rng.choice((0, 0, 0, HOUR_US, 3 * DAY_US))
            members = tuple({f"p{rng.randrange(2000)}" for _ in range(rng.choice((0, 1, 3)))})
            state = EntityState.from_bytes(layout, state.to_bytes(), state.sketch_bytes())
            state.fold(sent(i + 1, time_us, members), [Way(True)])
            if i >= cut:
                reads.add(time_us, [members])
            if i >= cut and rng.random() < 0.3:
                at_us = effective_time(i * HOUR_US // 4 + rng.choice((0, DAY_US, -2 * DAY_US)), state.newest_us)
                expected = read_slots(layout, [state.to_bytes()], np.array([at_us], dtype=np.int64))[0][0]
                for j, slot in slots:
                    assert reads.count(j, slot, at_us) == expected[j]
                larger = max(larger, *(int(expected[j]) for j, _ in slots))
        assert larger > 400  # beyond where a sketch lists its members
