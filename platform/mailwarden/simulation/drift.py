"""What changes while time goes by: people who come, vendors that are new, partners that move their mail."""

from __future__ import annotations

from dataclasses import replace

from mailwarden.simulation.company import Company, hire, new_partner
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.networks import rented_network
from mailwarden.simulation.people import Posture
from mailwarden.simulation.phrases_work import WORK
from mailwarden.simulation.world import DAY_US, HOUR_US, World

HIRED_A_YEAR = 0.2
"""Of those who work there."""
VENDORS_A_YEAR = 6
MOVES_A_YEAR = 8


def drift(world: World, day_us: int) -> None:
    """Let a day's changes happen; what comes of them is due on the same day."""
    rng = world.rng
    if rng.random() < len(world.company.people) * HIRED_A_YEAR / 365:
        _join(world, day_us)
    if rng.random() < VENDORS_A_YEAR / 365:
        partner = new_partner(rng, world.company, "vendor" if rng.random() < 0.7 else "customer")
        world.become(replace(world.company, partners=(*world.company.partners, partner)))
    if rng.random() < MOVES_A_YEAR / 365:
        _move(world)


def _join(world: World, day_us: int) -> None:
    person = hire(world.rng, world.company)
    company: Company = replace(world.company, people=(*world.company.people, person))
    world.become(company)
    boss = company.department(person.department)[0]

    def welcome(now_us: int) -> Draft:
        values = {**world.values(boss, person, now_us), "actor": person.name}
        body = world.write(("greeting", "small_talk ask", "closing"), WORK["en"], values)
        draft = world.draft(boss, (person,), f"Welcome, {person.first}", body)
        draft.case = "joined"
        world.open_thread(draft, now_us)
        return draft

    world.later(day_us + 9 * HOUR_US, welcome)


def _move(world: World) -> None:
    """A partner takes its mail to a provider: other hosts, and all its mail signed from then on."""
    partners = world.company.partners
    at = world.rng.randrange(len(partners))
    moved = replace(
        partners[at], ip=rented_network(f"{partners[at].domain} {world.now_us // DAY_US}"), posture=Posture()
    )
    world.become(replace(world.company, partners=(*partners[:at], moved, *partners[at + 1 :])))
