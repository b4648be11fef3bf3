"""Where people are: the offices of the company, and who is at home or on the road."""

from __future__ import annotations

import zlib
from dataclasses import replace

from mailwarden.simulation.networks import rented_network
from mailwarden.simulation.people import Person

_DAY_US = 86_400_000_000
_WEEK_US = 7 * _DAY_US
OFFICES = ((60, 12), (0, 3), (-300, 4), (480, 1))
"""Minutes east of UTC, and how many of twenty work there."""


def office(person: Person) -> Person:
    """The person at the office where it works, the same each time."""
    drawn = zlib.crc32(person.address.encode()) % 20
    for offset, share in OFFICES:
        if drawn < share:
            return replace(person, utc_offset_minutes=offset)
        drawn -= share
    return person


def at_home(person: Person, at_us: int) -> Person:
    """The person at home where it works there that day (one day in four): its own network, at times by webmail."""
    drawn = zlib.crc32(f"{person.address} at home {at_us // _DAY_US}".encode())
    if drawn % 4:
        return person
    mailer = "webmail" if drawn // 4 % 5 < 2 else person.mailer
    return replace(person, client_ip=rented_network(f"home {person.address}"), mailer=mailer)


def away(person: Person, at_us: int) -> Person:
    """The person on the road where it is away that week (one week in twenty): another clock, network and mailer."""
    week = at_us // _WEEK_US
    drawn = zlib.crc32(f"{person.address} {week}".encode())
    if drawn % 20:
        return person
    offset = (-480, -300, 120, 330, 480, 540)[drawn // 20 % 6]
    mailer = "webmail" if drawn // 120 % 2 else person.mailer
    return replace(person, utc_offset_minutes=offset, client_ip=rented_network(f"hotel {drawn}"), mailer=mailer)
