"""The company's mail day by day, in order of arrival."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import ConfigError
from mailwarden.simulation import attacks, bulk, correspondence, first_contacts, hard_cases, impersonation, patience
from mailwarden.simulation.adaptation import adapt
from mailwarden.simulation.company import NAME, Company, company
from mailwarden.simulation.correspondence import Plan
from mailwarden.simulation.draft import Draft, SimulatedMessage
from mailwarden.simulation.drift import drift
from mailwarden.simulation.mime import US_PER_S, civil, recipients, render, reverse_path
from mailwarden.simulation.world import DAY_US, HOUR_US, World, weekday

START_US = 1_772_409_600_000_000  # 2026-03-02T00:00Z, a Monday

_ATTACKS: tuple[tuple[Plan, int], ...] = (
    (attacks.credential_phishing, 4),
    (attacks.malware, 3),
    (impersonation.executive_fraud, 4),
    (impersonation.vendor_fraud, 4),
    (impersonation.lateral, 1),
    (impersonation.compromised_partner, 2),
    (attacks.callback, 3),
    (attacks.extortion, 2),
    (attacks.reconnaissance, 2),
    (attacks.scam, 2),
)
_DEEP_ATTACKS: tuple[tuple[Plan, int], ...] = (
    *_ATTACKS,
    (impersonation.lateral, 1),
    (patience.patient_attacker, 2),
    (patience.forged_partner, 3),
)
_PEOPLE_WRITE: tuple[tuple[Plan, int], ...] = (
    (correspondence.colleagues, 24),
    (correspondence.customers, 14),
    (correspondence.vendors, 9),
    (correspondence.invoices, 4),
    (correspondence.strangers, 6),
    (first_contacts.short_notes, 3),
    (first_contacts.first_bills, 2),
    (first_contacts.calls, 2),
    (first_contacts.circulars, 2),
    (first_contacts.offers, 1),
    (correspondence.urgent_payments, 2),
    (correspondence.announcements, 1),
    (correspondence.meetings, 4),
    (correspondence.forwards, 4),
)
_MACHINES_WRITE: tuple[tuple[Plan, int], ...] = (
    (bulk.notifications, 14),
    (bulk.resets, 3),
    (bulk.newsletters, 3),
    (first_contacts.signups, 3),
    (correspondence.mailing_lists, 5),
)
_HARD_SHARE = 0.05
"""Of good mail that people or machines begin."""
_PATIENCE_US = 180 * DAY_US
"""After which attackers have adapted to what is caught."""
_REPLIES_A_PLAN = 0.45
_BUSY_DAY, _QUIET_DAY = 1.3, 0.25


def simulate(
    seed: int = 7,
    days: int = 60,
    start_us: int = START_US,
    employees: int = 40,
    messages_per_day: int = 110,
    attack_share: float = 0.06,
    spam_share: float = 0.12,
    name: str = NAME,
    *,
    deep: bool = False,
    at_end: Callable[[Company], None] | None = None,
) -> Iterator[SimulatedMessage]:
    """Yield a made-up company's mail in order of arrival, every byte settled by the arguments.

    days: from start_us, which is midnight (microseconds, UTC). messages_per_day: the mean over a week. attack_share,
    spam_share: 0..1, of all messages, reached to within a campaign's size. Arrivals are whole seconds, each later
    than the one before. name: the company's. deep: with time zones and travel, people and vendors that come, partners
    that move their mail, good mail that looks like an attack, and attackers who adapt. at_end: told the company as it
    is then. What is kept in memory does not grow with the days. Raises ConfigError for shares that leave no room, a
    start within a day, and a company that there are no people for.
    """
    if not (attack_share >= 0 and spam_share >= 0 and attack_share + spam_share < 1):
        raise ConfigError(f"simulation: attack_share={attack_share} and spam_share={spam_share} must add up to below 1")
    if start_us % DAY_US:
        raise ConfigError(f"simulation: start_us={start_us} is not midnight UTC; round it to whole days")
    firm = company(seed, employees, name, deep=deep)
    world = World(random.Random(seed), firm, start_us, deep=deep)
    return _told(world, _days(world, days, messages_per_day, attack_share, spam_share), at_end)


def _told(
    world: World, mail: Iterator[SimulatedMessage], at_end: Callable[[Company], None] | None
) -> Iterator[SimulatedMessage]:
    yield from mail
    if at_end is not None:
        at_end(world.company)


def _days(
    world: World, days: int, messages_per_day: int, attack_share: float, spam_share: float
) -> Iterator[SimulatedMessage]:
    rng = world.rng
    owed = {"ham": 0.0, "SP": 0.0, "attack": 0.0}
    bag: list[Plan] = []
    last_us, number = world.start_us - US_PER_S, 0
    for day in range(days):
        day_us = world.start_us + day * DAY_US
        busy = weekday(day_us // DAY_US) < 5
        volume = messages_per_day * (_BUSY_DAY if busy else _QUIET_DAY)
        owed["attack"] += volume * attack_share
        owed["SP"] += volume * spam_share
        owed["ham"] += volume * (1 - attack_share - spam_share)
        if world.deep:
            drift(world, day_us)
        planned = float(world.due_before(day_us + DAY_US))
        while planned < owed["ham"]:
            planned += _plan_benign(world, day_us, busy) * (1 + _REPLIES_A_PLAN)
        while owed["SP"] >= 1:
            owed["SP"] -= bulk.spam(world, day_us + rng.randrange(DAY_US))
        while owed["attack"] >= 1:
            if not bag:
                bag = [plan for plan, weight in (_DEEP_ATTACKS if world.deep else _ATTACKS) for _ in range(weight)]
                rng.shuffle(bag)
            owed["attack"] -= bag.pop()(world, _attack_time(world, day_us))
        while (due := world.pop(day_us + DAY_US)) is not None:
            at_us, action = due
            last_us = max(at_us // US_PER_S * US_PER_S, last_us + US_PER_S)
            world.now_us = last_us
            draft = action(last_us)
            if draft.label == "ham":
                owed["ham"] -= 1
            else:
                world.unwanted.append(draft)
                if world.deep and draft.case != "warm_up":
                    adapt(world, draft, (last_us - world.start_us) / _PATIENCE_US)
            number += 1
            yield _deliver(world, draft, last_us, number)


def _plan_benign(world: World, day_us: int, busy: bool) -> int:
    rng = world.rng
    machine = rng.random() < (0.3 if busy else 0.85)
    plans, weights = zip(*(_MACHINES_WRITE if machine else _PEOPLE_WRITE), strict=True)
    if world.deep and rng.random() < _HARD_SHARE:
        plans, weights = zip(*hard_cases.PLANS, strict=True)
    plan: Plan = rng.choices(plans, weights)[0]
    hour = rng.random() * 24 if machine and rng.random() < 0.4 else rng.triangular(6.5, 18.5, 10)
    return plan(world, day_us + int(hour * HOUR_US))


def _attack_time(world: World, day_us: int) -> int:
    rng = world.rng
    hour = rng.triangular(6, 18, 10) if rng.random() < 0.65 else rng.random() * 24
    return day_us + int(hour * HOUR_US)


def _deliver(world: World, draft: Draft, received_us: int, number: int) -> SimulatedMessage:
    company_domain = world.company.domains[0]
    raw = render(world.rng, draft, received_us, company_domain, world.company.authserv_id)
    year, month, day = civil(received_us // DAY_US)
    return SimulatedMessage(
        raw=raw,
        envelope=Envelope(received_us, reverse_path(draft), recipients(draft), "envelope"),
        label=draft.label,
        path=f"mail/{year}-{month:02d}-{day:02d}/{number:07d}.eml",
        campaign=draft.campaign,
        case=draft.case,
    )
