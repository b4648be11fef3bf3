"""Made-up, hostile histories and reads of them, each piece unpacked from one integer.

An integer of 0 is the plainest piece, so that whatever shrinks integers shrinks a failing history with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple, TypeVar

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
)
from mailwarden.domain.aggregates.fact_specs import MESSAGE_FIELDS
from mailwarden.domain.aggregates.windows import (
    DAY_US,
    HOUR_US,
    SECOND_US,
)
from mailwarden.domain.mail.events import WITHDRAWN, Event, direction_of, label_change, members_of
from mailwarden.domain.mail.facts import tombstone_of

T = TypeVar("T")

PIECE_BITS = 256
"""Pieces are integers from 0 up to, and without, 2 to this; larger ones hold nothing more."""

START_US = 1_700_000_000_000_000
OWN_DOMAINS = frozenset({"own.test"})
TENANTS = ("t", "t", "t", "u")

STARTS_US = (
    START_US,
    START_US,
    1_710_054_000_000_000,  # an hour before New York's clocks jump, 2024-03-10
    1_730_608_200_000_000,  # amid the hour that New York has twice, 2024-11-03
    1_711_845_000_000_000,  # before Europe's clocks jump, 2024-03-31
    1_709_247_600_000_000,  # the last hour of a leap day, 2024-02-29
    -3 * DAY_US,  # on over the epoch
)
"""Where a history may begin: what clocks, calendars and integer division get wrong."""

PEOPLE = (
    "a@else.test", "b@own.test", "a@else.test", "c@own.test", "", "d@else.test", "ä☃𝕏@ü.test",
    "a\x00b@x.test", "\"'; drop--@own.test", "l" * 400 + "@z.test", " @ ", "1", "12", "a|b@x.test",
)  # fmt: skip
"""Addresses to draw from: one hot, one that is nobody's, and some that glued keys would confuse."""

NAMES = ("p", "q", "p", "", "p", "1", "12", "a\x00b", "ä☃𝕏", "\"'; drop--", "p|q", " ", "l" * 300)
"""Names that facts may have: one hot, one that is none, and some that glued keys would confuse."""

_CROWD = 70


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

    Times tie, step back, lie ahead, stand on the edges of hops, pause for months, pass over days on which clocks are
    moved; labels are given, corrected and withdrawn; signals come; there is mail to oneself, to a crowd, without a
    sender, without a recipient.
    """
    events: list[Event] = []
    given: dict[str, str] = {}
    now = START_US
    for index, piece in enumerate(pieces):
        choose = Pieces(piece)
        if index == 0:
            now = choose.one_of(STARTS_US)
        now += choose.one_of(_STEPS_US)
        chance = choose.below(12)
        messages = [event for event in events if event.kind == "message"]
        if chance >= 9 and messages:
            message = messages[-1 - choose.below(min(len(messages), 12))]
            if chance == 9:
                events.append(_signal(choose, message, index, now))
                continue
            label = choose.one_of(("BE", "ham", "spam", WITHDRAWN))
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


def _signal(choose: Pieces, message: Event, index: int, now: int) -> Event:
    codes = choose.below(4) + 1
    return replace(
        message,
        seq=index + 1,
        kind="signal",
        known_at_us=now,
        signal="qr",
        qr_code_count=codes,
        qr_url_count=choose.below(codes + 1),
        link_domain=choose.one_of(NAMES),
    )


def _message(choose: Pieces, index: int, now: int) -> Event:
    sender = choose.one_of(PEOPLE)
    recipients = _recipients(choose)
    hop = choose.one_of(_ROUND_US)
    received = (now - choose.one_of(_BACK_US)) // hop * hop - (choose.below(4) == 3)
    domain = sender.rpartition("@")[2]
    domains = tuple(dict.fromkeys(d for r in recipients if (d := r.rpartition("@")[2])))
    url_count, attachment_count = choose.below(4), choose.below(3)
    event = Event(
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
        display_name=choose.one_of(NAMES),
        thread=choose.one_of(NAMES),
        campaign=choose.one_of(NAMES),
        link_domain=choose.one_of(NAMES),
        attachment=choose.one_of(NAMES),
        structure=choose.one_of(NAMES),
        path=choose.one_of(NAMES),
        reply=choose.one_of((False, True)),
        new_recipients=tuple(recipient for recipient in recipients if choose.below(3) == 1),
    )
    event = replace(event, copy_of=choose.one_of(("", "", "", "", f"{index:032x}")))
    return replace(event, **{name: _drawn(choose, kind) for name, kind in _OTHERS.items()})


_DRAWN = (
    "sender", "sender_domain", "direction", "recipients", "recipient_domains", "size_bytes", "url_count",
    "attachment_count", "has_link", "has_attachment", "authenticated", "reply_to_differs", "display_name", "thread",
    "campaign", "link_domain", "attachment", "structure", "path", "reply", "new_recipients",
)  # fmt: skip
"""Fields of an event that `_message` draws by hand, since they depend on each other or were drawn before others."""

_OTHERS = {field.name: str(field.type) for field in fields(Event) if field.name in {*MESSAGE_FIELDS} - {*_DRAWN}}
"""Fields with a fact that are not drawn by hand, and their types: a fact that is added is drawn by its type."""


def _drawn(choose: Pieces, kind: str) -> Any:
    match kind:
        case "bool":
            return choose.one_of((False, True))
        case "bool | None":
            return choose.one_of((None, False, True))
        case "int":
            return choose.below(100)
        case "str":
            return choose.one_of(NAMES)
    return tuple(dict.fromkeys(choose.one_of(NAMES) for _ in range(choose.below(4))))


def _recipients(choose: Pieces) -> tuple[str, ...]:
    wanted = choose.one_of((1, 1, 2, 0, 3, 5, 1, 2, 1, 1, _CROWD))
    if wanted == _CROWD:
        first = choose.below(30)
        return tuple(f"n{i}@own.test" for i in range(first, first + _CROWD))
    return tuple(dict.fromkeys(name for _ in range(wanted) if (name := choose.one_of(PEOPLE[::-1]))))


def forgetting(events: Sequence[Event], pieces: Sequence[int]) -> list[Event]:
    """A history in which messages are taken out of the counts again: events in order of seq from 1.

    A piece an event, used up in order: in some of them a tombstone of an earlier message stands before the event, one
    more for its signal, and what labels and signals the message got later is left out.
    """
    told: list[Event] = []
    gone: set[tuple[str, str]] = set()
    by_message: dict[tuple[str, str], list[Event]] = {}
    for event, piece in zip(events, pieces, strict=True):
        choose = Pieces(piece)
        if choose.below(4) == 1 and by_message:
            name = choose.one_of([*by_message][::-1][:12])
            about = by_message.pop(name)
            gone.add(name)
            told += [tombstone_of(one, seq=0, known_at_us=event.known_at_us) for one in about]
        name = event.tenant, event.message_id
        if name in gone:
            continue
        if event.kind == "message":
            by_message[name] = [event]
        elif event.kind == "signal":
            by_message[name].insert(0, event)
        told.append(event)
    return [replace(event, seq=seq) for seq, event in enumerate(told, start=1)]


class Request(NamedTuple):
    """A read. at_us: microseconds UTC. own: by fact of `MEMBERS`, the set of the message that asks, for matches."""

    tenant: str
    key: tuple[str, ...]
    at_us: int
    seq: int
    own: Mapping[str, tuple[str, ...]] = {}


READ_AT_US = (0, 1, -1, -HOUR_US, -DAY_US, -DAY_US - 1, -3 * DAY_US, 2 * DAY_US, 40 * DAY_US, 400 * DAY_US)
"""How far from an event's time a read of its key may lie."""


def requests_of(
    view: ActivityView, events: Sequence[Event], keys: Sequence[tuple[str, tuple[str, ...]]], pieces: Sequence[int]
) -> list[Request]:
    """One read a piece, some twice: of a key or a stranger, at a seq anywhere in the history and a time near it.

    keys: (tenant, key) pairs that may be asked for. The own sets are those of some message of the history.
    """
    asked = [*keys, ("t", ("nobody@else.test",) * len(view.keys))]
    requests: list[Request] = []
    for piece in pieces:
        choose = Pieces(piece)
        tenant, key = choose.one_of(asked)
        seq = choose.below(len(events) + 2) + 1
        near = events[min(seq, len(events)) - 1] if events else None
        at_us = (near.received_at_us if near else START_US) + choose.one_of(READ_AT_US)
        times = choose.one_of((1, 1, 2))
        reading = choose.one_of(events) if events else None
        own = own_of(view, reading) if reading else {}
        requests += [Request(tenant, key, at_us, seq, own)] * times
    return requests


def own_of(view: ActivityView, event: Event) -> dict[str, tuple[str, ...]]:
    """The sets of names that a message brings to a read of a view."""
    return {recent.of: members_of(event, recent.of) for recent in view.recents}
