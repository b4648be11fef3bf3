"""Made-up views and hostile histories, each piece unpacked from one integer.

An integer of 0 is the plainest piece, so that whatever shrinks integers shrinks a failing history with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, NamedTuple, TypeVar

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
from mailwarden.domain.aggregates.fact_specs import FLAGS, MEMBERS, MESSAGE_FIELDS, QUANTITIES, QUANTITY_FACTS, Period
from mailwarden.domain.aggregates.windows import (
    DAY_US,
    HOUR_US,
    SECOND_US,
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
from mailwarden.domain.mail.events import WITHDRAWN, Emission, Event, direction_of, label_change, members_of
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
        reply=choose.one_of((False, True)),
        new_recipients=tuple(recipient for recipient in recipients if choose.below(3) == 1),
    )
    event = replace(event, copy_of=choose.one_of(("", "", "", "", f"{index:032x}")))
    return replace(event, **{name: _drawn(choose, kind) for name, kind in _OTHERS.items()})


_DRAWN = (
    "sender", "sender_domain", "direction", "recipients", "recipient_domains", "size_bytes", "url_count",
    "attachment_count", "has_link", "has_attachment", "authenticated", "reply_to_differs", "display_name", "thread",
    "campaign", "link_domain", "attachment", "structure", "reply", "new_recipients",
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
