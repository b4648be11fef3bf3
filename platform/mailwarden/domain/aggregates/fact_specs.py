"""Facts of an event as views know them: one spec object a fact, which every engine reads.

A flag filters rows, a quantity is summed, compared or kept, names are counted, kept as sets, or are keys. A spec says
so in words, and how the fact is read from an event as a *form*: data, which the fold of one event evaluates here and
Spark as columns of its own (`stores.spark.fact_columns`). What follows from the specs alone: what `definitions` may
name, bits of flags, the columns of fold rows, the entities that Feast knows, and what made-up histories draw.

To add a fact of a message: its field in `mail.events.Event`, its value in `mail.facts.event_of`, its spec here. One
file more is written by hand on purpose: `testing.naive_facts`, which all others are held against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from operator import attrgetter
from typing import Literal, assert_never, get_args

from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US
from mailwarden.domain.mail.events import TUPLES, Event, Kind, Way

HOURS_A_BIN = 3
HOUR_FLAGS = tuple(f"hour_{hour:02}" for hour in range(0, 24, HOURS_A_BIN))
WEEKDAY_FLAGS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Period = Literal["hour", "weekday"]


@dataclass(frozen=True, slots=True)
class Is:
    """A flag: the field holds just this value; one that is null holds none."""

    field: str
    value: bool | str


@dataclass(frozen=True, slots=True)
class During:
    """A flag: the event was received in a bin of the day or the week (UTC), a place in the flags of its period."""

    period: Period
    place: int


@dataclass(frozen=True, slots=True)
class Reaches:
    """A flag: the event reaches the key in this way. field: of `Way`."""

    field: Literal["forward", "first_contact"]
    value: bool = True


@dataclass(frozen=True, slots=True)
class Value:
    """A quantity: the integer that the field holds, 0 where it is null."""

    field: str


@dataclass(frozen=True, slots=True)
class Length:
    """A quantity: how many values the field lists, 0 where it is null."""

    field: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A quantity: 1 where the field is true, -1 where it is false, 0 where it is null."""

    field: str


FlagForm = Is | During | Reaches
QuantityForm = Value | Length | Verdict


@dataclass(frozen=True, slots=True)
class FlagFact:
    """A boolean fact that an aggregate may filter on. words: when it is true."""

    name: str
    form: FlagForm
    words: str


@dataclass(frozen=True, slots=True)
class QuantityFact:
    """An integer fact that an aggregate may sum, compare or keep. on: the kind of event that brings it."""

    name: str
    form: QuantityForm
    words: str
    on: Kind = "message"


@dataclass(frozen=True, slots=True)
class NameFact:
    """A field of one name, "" for none, or of many, whose names can be counted or kept as sets.

    key: it can be a view's key, and is an entity of that name: a field of one name alone.
    """

    name: str
    words: str
    key: bool = False

    @property
    def many(self) -> bool:
        """Whether the field lists names."""
        return self.name in TUPLES


FLAG_FACTS = (
    FlagFact("forward", Reaches("forward"), "the key's own: it sent the message, or was sent it; see the emissions"),
    FlagFact("reverse", Reaches("forward", False), "the tenant wrote to the key, or the pair's other side answered"),
    FlagFact("inbound", Is("direction", "inbound"), "came from outside, or claims without proof to be of the tenant"),
    FlagFact("outbound", Is("direction", "outbound"), "from the tenant to somebody outside"),
    FlagFact("internal", Is("direction", "internal"), "within the tenant"),
    FlagFact("has_link", Is("has_link", True), "holds a link"),
    FlagFact("has_attachment", Is("has_attachment", True), "holds an attachment"),
    FlagFact("authenticated", Is("authenticated", True), "the From domain is vouched for by results that are trusted"),
    FlagFact("unauthenticated", Is("authenticated", False), "trusted results deny the From domain"),
    FlagFact("reply_to_differs", Is("reply_to_differs", True), "an answer would go to another registrable domain"),
    FlagFact("reply", Is("reply", True), "names a message that it answers"),
    FlagFact(
        "first_contact",
        Reaches("first_contact"),
        "the sender had never written to the key's recipient; where the key has none, to one of the recipients",
    ),
    *(
        FlagFact(name, During("hour", place), f"received from {name[-2:]}:00 UTC on, within {HOURS_A_BIN} hours")
        for place, name in enumerate(HOUR_FLAGS)
    ),
    *(
        FlagFact(name, During("weekday", place), f"received on a {name.capitalize()} (UTC)")
        for place, name in enumerate(WEEKDAY_FLAGS)
    ),
)
"""Bit i of an event's flags is the i-th here; the order is free, since no state keeps bits."""

QUANTITY_FACTS = (
    QuantityFact("size_bytes", Value("size_bytes"), "bytes of the raw message"),
    QuantityFact("url_count", Value("url_count"), "links"),
    QuantityFact("attachment_count", Value("attachment_count"), "attachments"),
    QuantityFact("recipient_count", Length("recipients"), "recipients"),
    QuantityFact("new_recipient_count", Length("new_recipients"), "recipients that the sender had never written to"),
    QuantityFact("authentication", Verdict("authenticated"), "1 passed, -1 failed, 0 unknown"),
    QuantityFact("labelled_bad", Value("labelled_bad"), "1 for bad, -1 where that is taken back", on="label"),
    QuantityFact("labelled_attack", Value("labelled_attack"), "1 for an attack, -1 where taken back", on="label"),
    QuantityFact("labelled_good", Value("labelled_good"), "1 for good, -1 where that is taken back", on="label"),
    QuantityFact("qr_code_count", Value("qr_code_count"), "QR codes that were read with it"),
    QuantityFact("qr_url_count", Value("qr_url_count"), "QR codes that were read with it and hold a link"),
    QuantityFact("late_qr_code_count", Value("qr_code_count"), "QR codes that were found later", on="signal"),
    QuantityFact("late_qr_url_count", Value("qr_url_count"), "those of them that hold a link", on="signal"),
)

NAME_FACTS = (
    NameFact("sender", "normalised address of the sender", key=True),
    NameFact("sender_domain", "registrable domain of the sender", key=True),
    NameFact("recipients", "normalised addresses of all recipients"),
    NameFact("recipient_domains", "registrable domains of all recipients"),
    NameFact("display_name", "the sender's display name, folded for comparison", key=True),
    NameFact("thread", "digest of the Message-ID that a thread began with", key=True),
    NameFact("campaign", "cluster of near copies, named after the message that founded it", key=True),
    NameFact("link_domain", "registrable domain that a message's links lead to first", key=True),
    NameFact("attachment", "SHA-256 of a message's largest attachment", key=True),
    NameFact("structure", "digest of header order, mailer and the form of the Message-ID"),
    NameFact("person", "the sender's display name, as whoever looks like it passes for it", key=True),
    NameFact("domain_skeleton", "what the sender's domain and those that pass for it share", key=True),
    NameFact("path", "network of the host that handed a message over to the site"),
)

FLAGS = tuple(fact.name for fact in FLAG_FACTS)
"""Boolean facts that an aggregate may filter on; a fact that is null for an event counts as false."""

QUANTITIES = tuple(fact.name for fact in QUANTITY_FACTS)
"""Integer facts that an aggregate may sum, compare or keep."""

MEMBERS = tuple(fact.name for fact in NAME_FACTS)
"""Facts whose names can be counted or kept as sets; a name that is empty is nobody's and not counted."""

FACTS = tuple(fact.name for fact in NAME_FACTS if fact.key)
"""Facts of an event that can be keys: one name each, "" where the message has none."""

MESSAGE_FIELDS = tuple(
    dict.fromkeys(
        [
            *(fact.form.field for fact in FLAG_FACTS if isinstance(fact.form, Is)),
            *(fact.form.field for fact in QUANTITY_FACTS if fact.on == "message"),
            *MEMBERS,
        ]
    )
)
"""The fields of an event that facts of a message are read from, besides its time."""


def profile_flags(by: Period) -> tuple[str, ...]:
    """The flags of a profile's bins, in the order of time."""
    return HOUR_FLAGS if by == "hour" else WEEKDAY_FLAGS


def hour_bin(time_us: int) -> int:
    """The bin of an hour profile that a time (microseconds UTC) falls into, a place in `HOUR_FLAGS`."""
    return time_us % DAY_US // (HOURS_A_BIN * HOUR_US)


def weekday_bin(time_us: int) -> int:
    """The day of the week of a time (microseconds UTC), 0 for Monday, a place in `WEEKDAY_FLAGS`."""
    # The first day of the epoch was a Thursday.
    return (time_us // DAY_US + 3) % 7


def flag_mask(where: tuple[str, ...]) -> int:
    """The bits that must all be set for flags to be true: bit i for name i of `FLAGS`."""
    return sum(1 << FLAGS.index(flag) for flag in set(where))


# What the fold of one event looks up, made once: an event is folded into every view there is.
_HOUR_BITS, _WEEKDAY_BITS = (
    tuple(
        sum(1 << bit for bit, fact in enumerate(FLAG_FACTS) if fact.form == During(period, place))
        for place in range(len(profile_flags(period)))
    )
    for period in get_args(Period)
)
_VALUE_BITS: dict[str, dict[bool | str, int]] = {}
_WAY_BITS = {Way(*values): 0 for values in product((False, True), repeat=len(Way._fields))}
for _bit, _fact in enumerate(FLAG_FACTS):
    match _fact.form:
        case Is(_field, _value):
            _bits = _VALUE_BITS.setdefault(_field, {})
            _bits[_value] = _bits.get(_value, 0) | 1 << _bit
        case Reaches(_field, _value):
            for _way in _WAY_BITS:
                _WAY_BITS[_way] |= (getattr(_way, _field) == _value) << _bit
_TABLES, _values_of = tuple(_VALUE_BITS.values()), attrgetter(*_VALUE_BITS)


def event_bits(event: Event) -> int:
    """The bits of an event's flags that are the same for every key; the rest comes by `way_bits`."""
    time_us = event.received_at_us
    found = _HOUR_BITS[hour_bin(time_us)] | _WEEKDAY_BITS[weekday_bin(time_us)]
    for bits, value in zip(_TABLES, _values_of(event), strict=True):
        found |= bits.get(value, 0)
    return found


def way_bits(way: Way) -> int:
    """The bits of the flags that depend on the key."""
    return _WAY_BITS[way]


def _reader(form: QuantityForm) -> Callable[[Event], int]:
    read = attrgetter(form.field)
    match form:
        case Value():
            return lambda event: int(read(event) or 0)
        case Length():
            return lambda event: len(read(event) or ())
        case Verdict():
            return lambda event: {True: 1, False: -1}.get(read(event), 0)
        case _:
            assert_never(form)


_QUANTITIES = {fact.name: _reader(fact.form) for fact in QUANTITY_FACTS}


def quantity_of(event: Event, name: str) -> int:
    """An integer fact of an event; see `QUANTITIES`."""
    return _QUANTITIES[name](event)
