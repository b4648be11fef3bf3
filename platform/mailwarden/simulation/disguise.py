"""How attackers dress up: lookalike names, invented senders, links and the routes that their mail takes."""

from __future__ import annotations

from dataclasses import replace

from mailwarden.simulation.addresses import page, veiled
from mailwarden.simulation.company import BRANDS, FREE_HOSTS
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.first_contacts import sign
from mailwarden.simulation.grammar import Grammar, mistype
from mailwarden.simulation.mime import as_machine
from mailwarden.simulation.networks import rented_network
from mailwarden.simulation.people import (
    MACHINES,
    Person,
    Route,
    documentation_ip,
    firm_mailer,
    host_of,
    invent_name,
    local_part,
    plain,
    zone,
)
from mailwarden.simulation.phrases_attack import ATTACK, MIMICRY
from mailwarden.simulation.world import World

_SWAPS = (("i", "1"), ("o", "0"), ("l", "1"), ("m", "rn"), ("w", "vv"), ("e", "3"))


def lookalike(world: World, domain: str) -> str:
    """A domain that reads like the given one and is not it."""
    rng = world.rng
    label, _, suffix = domain.partition(".")
    choices = [label.replace(a, b, 1) for a, b in _SWAPS if a in label]
    cut = rng.randrange(1, len(label))
    choices += [label[:cut] + label[cut - 1 :], f"{label}-group", f"{label.replace('-', '')}-inc", f"{label}s"]
    return f"{rng.choice([c for c in choices if c != label])}.{suffix}"


def impostor(world: World, victim: Person, domain: str | None = None) -> Person:
    """Somebody with the victim's display name and a free-mail address, or one at the given domain."""
    rng = world.rng
    offset = victim.utc_offset_minutes if rng.random() < 0.5 else zone(rng)
    played = replace(victim, client_ip=documentation_ip(rng), utc_offset_minutes=offset)
    if domain is not None:
        return replace(played, address=f"{victim.address.split('@')[0]}@{domain}", mailer=firm_mailer(rng))
    local = local_part(rng, victim.name if rng.random() < 0.8 else invent_name(rng), "free")
    address = f"{local}@{rng.choice(world.company.freemail_domains)}"
    return replace(played, address=address, mailer="webmail" if rng.random() < 0.75 else firm_mailer(rng))


def forger(world: World, victim: Person) -> Person:
    """Somebody who writes under the victim's whole address, from elsewhere."""
    rng = world.rng
    mailer = "script" if rng.random() < 0.3 else firm_mailer(rng)
    return replace(victim, mailer=mailer, client_ip=documentation_ip(rng), utc_offset_minutes=zone(rng))


def brand_sender(world: World) -> tuple[str, Person]:
    """A brand and somebody who pretends to write for it."""
    rng = world.rng
    brand = rng.choice(BRANDS)
    shown = rng.choice(
        (
            brand,
            f"{brand} Support",
            f"{brand} Security Team",
            "IT Helpdesk",
            "Mail Administrator",
            f"{world.company.name} IT",
        )
    )
    if rng.random() < 0.1:
        shown = shown.replace("o", "\u043e", 1)
    local = rng.choice(MACHINES)
    domain = rng.choice(
        (lookalike(world, f"{brand.lower()}.example"), world.new_domain(), f"{brand.lower()}-secure.example")
    )
    if rng.random() < 0.2:
        domain = rng.choice(world.company.freemail_domains)
        local = rng.choice((f"{brand.lower()}.team{rng.randint(1, 99)}", local_part(rng, invent_name(rng), "free")))
    return brand, Person(
        shown,
        f"{local}@{domain}",
        role="machine",
        mailer=rng.choice(("bulk", firm_mailer(rng), firm_mailer(rng))),
        client_ip=documentation_ip(rng),
        utc_offset_minutes=rng.choice((0, zone(rng))),
    )


def spoofed_route(world: World, claimed: str, *, policy: bool) -> Route:
    """The route of mail that claims a domain which is not the attacker's; policy: its owner publishes DMARC."""
    rng = world.rng
    own = world.new_domain()
    host, ip = host_of(own), rented_network(own)
    if rng.random() < 0.4:
        return Route(host, ip, "pass", own, "pass", own, policy)
    return Route(host, ip, rng.choice(("fail", "softfail")), claimed, policy=policy)


def hostile_link(world: World, brand: str, reader: Person) -> str:
    """A link to the attacker's page: a lookalike, a free host, an open redirect, an address, or a stolen site."""
    rng = world.rng
    brand_label = plain(brand).replace(" ", "")
    site = rng.choice(
        (
            f"login.{lookalike(world, brand_label + '.example')}",
            f"{brand_label}.{world.new_domain()}",
            f"{brand_label}-portal.{rng.choice(FREE_HOSTS)}",
            world.new_domain(),
            documentation_ip(rng),
        )
    )
    return veiled(rng, page(rng, site, reader.address))


def hostile_draft(
    world: World, sender: Person, to: Person, subject: str, paragraphs: list[str], label: str, campaign: str
) -> Draft:
    """A draft of the attacker's, mistyped as anybody's, with the marks that careless tooling leaves on some."""
    rng = world.rng
    typed = [one if "[[" in one or rng.random() < 0.5 else mistype(rng, one, 0.004) for one in paragraphs]
    draft = world.draft(sender, (to,), subject, typed)
    draft.label, draft.campaign = label, campaign
    sign(world, draft, to)
    if sender.role == "machine" and sender.mailer == "bulk" and rng.random() < 0.6:
        as_machine(draft, sender.domain)
    if rng.random() < 0.06:
        draft.hidden = excerpt(world, 30) or "newsletter meeting invoice"
    return draft


def excerpt(world: World, words: int) -> str:
    """So many words of a conversation that is open, or none where none is."""
    return " ".join(world.rng.choice(world.threads).text.split()[:words]) if world.threads else ""


def phrasing(world: World) -> Grammar:
    """The grammar of a campaign: an attacker's own words, or those of genuine mail."""
    return world.rng.choice((ATTACK, MIMICRY))


def zero_width(world: World, text: str) -> str:
    """The text with invisible characters inside some words."""
    return " ".join(w[:2] + "\u200b" + w[2:] if len(w) > 5 and world.rng.random() < 0.4 else w for w in text.split(" "))
