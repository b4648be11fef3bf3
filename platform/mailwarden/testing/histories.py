"""Made-up views and hostile histories, each piece unpacked from one integer.

An integer of 0 is the plainest piece, so that whatever shrinks integers shrinks a failing history with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeVar

import numpy as np

from mailwarden.domain.as_of import FoldRows
from mailwarden.domain.events import Emission, Event, direction_of, keys_of, label_change
from mailwarden.domain.views import (
    FLAGS,
    QUANTITIES,
    ActivityView,
    Age,
    Distinct,
    Extreme,
    Feature,
    History,
    Measure,
    Ratio,
    Total,
    flags_of,
)
from mailwarden.domain.windows import (
    DAY_US,
    HOUR_US,
    SECOND_US,
    W_1D,
    W_1H,
    W_7D,
    W_30D,
    W_90D,
    W_90D_MATURED,
    W_ALL,
    W_MATURED,
    Window,
)

T = TypeVar("T")

PIECE_BITS = 128
"""Pieces are integers from 0 up to, and without, 2 to this; larger ones hold nothing more."""

START_US = 1_700_000_000_000_000
OWN_DOMAINS = frozenset({"own.test"})
TENANTS = ("t", "t", "t", "u")

W_ODD = Window("odd", 3 * DAY_US + 1, 7 * HOUR_US + 13)
"""A hop that divides neither the window nor a day."""

WINDOWS = (W_1D, W_1H, W_7D, W_30D, W_90D, W_ALL, W_ODD)
MATURED_WINDOWS = (W_MATURED, W_90D_MATURED)

PEOPLE = (
    "a@else.test", "b@own.test", "a@else.test", "c@own.test", "", "d@else.test", "ä☃𝕏@ü.test",
    "a\x00b@x.test", "\"'; drop--@own.test", "l" * 400 + "@z.test", " @ ", "1", "12", "a|b@x.test",
)  # fmt: skip
"""Addresses to draw from: one hot, one that is nobody's, and some that glued keys would confuse."""


class Pieces:
    """Choices unpacked one after another from an integer."""

    def __init__(self, piece: int) -> None:
        self._left = piece

    def below(self, n: int) -> int:
        """An integer from 0 up to, and without, n."""
        self._left, chosen = divmod(self._left, n)
        return chosen

    def one_of(self, options: Sequence[T]) -> T:
        """One of the options; the first of them where the integer is 0 or used up."""
        return options[self.below(len(options))]


_STEPS_US = (
    HOUR_US, 0, 1, 0, 7 * SECOND_US, HOUR_US // 12, 5 * HOUR_US, DAY_US, 8 * DAY_US, 35 * DAY_US, 200 * DAY_US,
)  # fmt: skip
_BACK_US = (
    0, 0, 0, 0, 0, 0, 1, HOUR_US, 30 * HOUR_US, 9 * DAY_US, 95 * DAY_US, 900 * DAY_US, -DAY_US - 1, -5 * DAY_US,
)  # fmt: skip
_ROUND_US = (1, 1, 1, HOUR_US // 12, HOUR_US, 6 * HOUR_US, DAY_US)


def history_of(pieces: Sequence[int]) -> list[Event]:
    """Events of a few keys and two tenants, one a piece, in order of seq from 1.

    Times tie, step back, lie ahead, stand on the edges of hops and pause for months; labels are given and corrected;
    there is mail to oneself, mail without a sender and mail without a recipient.
    """
    events: list[Event] = []
    given: dict[str, str] = {}
    now = START_US
    for index, piece in enumerate(pieces):
        choose = Pieces(piece)
        now += choose.one_of(_STEPS_US)
        labels = choose.below(6) == 5
        messages = [event for event in events if event.kind == "message"]
        if labels and messages:
            message = messages[-1 - choose.below(min(len(messages), 12))]
            label = choose.one_of(("BE", "ham", "spam"))
            bad, attack, good = label_change(label, given.get(message.message_id))
            given[message.message_id] = label
            events.append(
                replace(
                    message,
                    seq=index + 1,
                    kind="label",
                    known_at_us=now,
                    label=label,
                    labelled_bad=bad,
                    labelled_attack=attack,
                    labelled_good=good,
                )
            )
            continue
        events.append(_message(choose, index, now))
    return events


def _message(choose: Pieces, index: int, now: int) -> Event:
    sender = choose.one_of(PEOPLE)
    wanted = choose.one_of((1, 1, 2, 0, 3, 5))
    recipients = tuple(dict.fromkeys(name for _ in range(wanted) if (name := choose.one_of(PEOPLE[::-1]))))
    hop = choose.one_of(_ROUND_US)
    received = (now - choose.one_of(_BACK_US)) // hop * hop - (choose.below(4) == 3)
    domain = sender.rpartition("@")[2]
    domains = tuple(dict.fromkeys(d for r in recipients if (d := r.rpartition("@")[2])))
    url_count, attachment_count = choose.below(4), choose.below(3)
    return Event(
        tenant=choose.one_of(TENANTS),
        seq=index + 1,
        kind="message",
        message_id=f"{index + 1:032x}",
        received_at_us=received,
        known_at_us=received,
        time_source="envelope",
        direction=direction_of(domain, domains, OWN_DOMAINS),
        sender=sender,
        sender_domain=domain,
        recipients=recipients,
        recipient_domains=domains,
        size_bytes=choose.below(100_000),
        url_count=url_count,
        attachment_count=attachment_count,
        has_link=url_count > 0,
        has_attachment=attachment_count > 0,
        authenticated=choose.one_of((None, True, False)),
        reply_to_differs=choose.one_of((None, False, True)),
    )


_KEYS: dict[Emission, tuple[str, ...]] = {
    "participants": ("sender",),
    "participant_domains": ("sender_domain",),
    "recipients": ("recipient",),
    "pairs": ("sender", "recipient"),
}


def view_of(piece: int) -> ActivityView:
    """A small view: any emission, a few aggregates of any kind, and features over any windows."""
    choose = Pieces(piece)
    emission: Emission = choose.one_of(tuple(_KEYS))
    measures = [Measure("count"), *(_measure(choose, f"m{i}") for i in range(choose.below(3)))]
    kinds: tuple[Literal["first", "last"], ...] = ("first", "last")
    extremes = tuple(Extreme(f"x{i}", choose.one_of(kinds), _where(choose)) for i in range(choose.below(3)))
    members: tuple[Literal["sender", "recipients"], ...] = ("recipients", "sender")
    distincts = tuple(Distinct(f"d{i}", choose.one_of(members), _where(choose)) for i in range(choose.below(3)))
    features = [Feature("seen", History(), "seen before", "flag")]
    for i, measure in enumerate(measures):
        windows = (*WINDOWS, *MATURED_WINDOWS)
        features.append(Feature(f"t{i}", Total(measure.name, choose.one_of(windows)), "sum", "1"))
        prior = choose.one_of(((0.0, 0.0), (0.25, 1.5)))
        ratio = Ratio(measure.name, choose.one_of(measures).name, choose.one_of(windows[::-1]), prior)
        features.append(Feature(f"r{i}", ratio, "share", "share"))
    for i, distinct in enumerate(distincts):
        features.append(Feature(f"u{i}", Total(distinct.name, choose.one_of(WINDOWS)), "different", "names"))
        features.append(Feature(f"v{i}", Total(distinct.name, choose.one_of(WINDOWS)), "different", "names"))
    features += [Feature(f"a{i}", Age(extreme.name), "since", "days") for i, extreme in enumerate(extremes)]
    return ActivityView(
        name="made_up",
        version=1,
        owner="tests",
        description="made up",
        keys=_KEYS[emission],
        emission=emission,
        measures=tuple(measures),
        extremes=extremes,
        distincts=distincts,
        features=tuple(dict.fromkeys(features)),
    )


def _where(choose: Pieces) -> tuple[str, ...]:
    return tuple(choose.one_of(FLAGS) for _ in range(choose.one_of((0, 1, 1, 2))))


def _measure(choose: Pieces, name: str) -> Measure:
    quantity = choose.one_of(("", "size_bytes", "", *QUANTITIES))
    on: Literal["message", "label"] = "label" if quantity.startswith("labelled") else "message"
    return Measure(name, quantity, _where(choose), on)


Request = tuple[str, tuple[str, ...], int, int]
"""A read: tenant, key, time in microseconds UTC, seq."""


def fold_rows_of(
    view: ActivityView, events: Sequence[Event], requests: Sequence[Request]
) -> tuple[FoldRows, list[Request]]:
    """Events and reads as the rows that `AsOf` takes, keys in the order of their names; the reads in row order."""
    happened = [
        ((event.tenant, *key), event.seq, 1, event.received_at_us, (event, forward))
        for event in events
        for key, forward in keys_of(view.emission, event)
    ]
    asked = [((tenant, *key), seq, 0, at_us, None) for tenant, key, at_us, seq in requests]
    rows = sorted([*happened, *asked], key=lambda row: row[:3])
    names = {name: index for index, name in enumerate(sorted({row[0] for row in rows}))}
    deltas = np.zeros((len(rows), len(view.measures)), dtype=np.int64)
    extremes = np.zeros((len(rows), len(view.extremes)), dtype=np.bool_)
    distincts: tuple[list[list[str] | None], ...] = tuple([None] * len(rows) for _ in view.distincts)
    for i, row in enumerate(rows):
        if row[4] is None:
            continue
        event, forward = row[4]
        flags = flags_of(event, forward)
        for j, measure in enumerate(view.measures):
            if measure.on == event.kind and all(flags[flag] for flag in measure.where):
                deltas[i, j] = getattr(event, measure.of) if measure.of else 1
        if event.kind != "message":
            continue
        for j, extreme in enumerate(view.extremes):
            extremes[i, j] = all(flags[flag] for flag in extreme.where)
        for j, distinct in enumerate(view.distincts):
            if all(flags[flag] for flag in distinct.where):
                distincts[j][i] = [event.sender] if distinct.of == "sender" else list(event.recipients)
    fold_rows = FoldRows(
        key=np.array([names[row[0]] for row in rows], dtype=np.int64),
        seq=np.array([row[1] for row in rows], dtype=np.int64),
        time_us=np.array([row[3] for row in rows], dtype=np.int64),
        request=np.array([row[2] == 0 for row in rows], dtype=np.bool_),
        deltas=deltas,
        extremes=extremes,
        distincts=distincts,
    )
    return fold_rows, [(row[0][0], row[0][1:], row[3], row[1]) for row in rows if row[2] == 0]
