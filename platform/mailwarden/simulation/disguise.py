"""How attackers dress up: lookalike names, invented senders, links and the routes that their mail takes."""

from __future__ import annotations

import base64
from dataclasses import replace
from urllib.parse import quote

from mailwarden.simulation.company import BRANDS, FREE_HOSTS, REDIRECTOR
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.grammar import Grammar
from mailwarden.simulation.people import Person, Posture, Route, documentation_ip, local_part, plain
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
    if domain is not None:
        return replace(
            victim,
            address=f"{victim.address.split('@')[0]}@{domain}",
            mailer=_tool(world),
            client_ip=documentation_ip(rng),
        )
    local = rng.choice(
        (
            local_part(rng, victim.name, "free"),
            f"office.{rng.randint(100, 999)}",
            f"{plain(victim.first)}.ceo{rng.randint(1, 99)}",
            f"executive.mail{rng.randint(1, 99)}",
        )
    )
    address = f"{local}@{rng.choice(world.company.freemail_domains)}"
    return replace(victim, address=address, mailer="webmail", client_ip=documentation_ip(rng))


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
    local = rng.choice(("no-reply", "support", "security", "admin", "notify", "service"))
    domain = rng.choice(
        (lookalike(world, f"{brand.lower()}.example"), world.new_domain(), f"{brand.lower()}-secure.example")
    )
    if rng.random() < 0.2:
        domain = rng.choice(world.company.freemail_domains)
        local = f"{brand.lower()}.team{rng.randint(1, 99)}"
    return brand, Person(
        shown, f"{local}@{domain}", mailer=_tool(world), client_ip=documentation_ip(rng), utc_offset_minutes=0
    )


def hostile_route(world: World, sender: Person) -> Route:
    """The route of mail from the attacker's own domain or free-mail account: most of it authenticates."""
    rng = world.rng
    free = sender.domain in world.company.freemail_domains
    posture = (
        Posture()
        if free
        else rng.choice(
            (Posture(), Posture(dmarc=False), Posture(dkim=False, dmarc=False), Posture(False, False, False))
        )
    )
    return Route(
        host=f"mail.{sender.domain}" if free or rng.random() < 0.5 else f"vps{rng.randint(1, 999)}.hosting.example",
        ip=documentation_ip(rng),
        spf="pass" if posture.spf else rng.choice(("none", "softfail")),
        spf_domain=sender.domain,
        dkim="pass" if posture.dkim else "none",
        dkim_domain=sender.domain if posture.dkim else "",
        policy=posture.dmarc,
    )


def spoofed_route(world: World, claimed: str, *, policy: bool) -> Route:
    """The route of mail that claims a domain which is not the attacker's; policy: its owner publishes DMARC."""
    rng = world.rng
    own = world.new_domain()
    if rng.random() < 0.4:
        return Route(f"mail.{own}", documentation_ip(rng), "pass", own, "pass", own, policy)
    return Route(
        f"vps{rng.randint(1, 999)}.hosting.example",
        documentation_ip(rng),
        rng.choice(("fail", "softfail")),
        claimed,
        policy=policy,
    )


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
    path = rng.choice(
        ("login", "secure/verify", "wp-content/x/index.html", "view", "auth/signin", f"{rng.getrandbits(40):x}")
    )
    mark = reader.address
    if rng.random() < 0.5:
        mark = base64.urlsafe_b64encode(mark.encode()).decode().rstrip("=")
    link = f"https://{site}/{path}" + rng.choice(("", f"?u={mark}", f"#{mark}"))
    if rng.random() < 0.15:
        return f"https://{REDIRECTOR}/url?q={quote(link, safe='')}"
    return link


def hostile_draft(
    world: World, sender: Person, to: Person, subject: str, paragraphs: list[str], label: str, campaign: str
) -> Draft:
    """A draft of the attacker's, with the marks that careless tooling leaves on some."""
    rng = world.rng
    draft = world.draft(sender, (to,), subject, paragraphs)
    draft.route = hostile_route(world, sender)
    draft.label, draft.campaign = label, campaign
    if rng.random() < 0.06:
        draft.forged_results = f"mail.{sender.domain}; spf=pass smtp.mailfrom={sender.domain}; dkim=pass; dmarc=pass"
    if rng.random() < 0.08:
        draft.skew_s = rng.choice((-10_800, 7_200, -50_000, 86_400))
    if rng.random() < 0.06:
        draft.hidden = rng.choice(world.threads).text[:200] if world.threads else "newsletter meeting invoice"
    return draft


def phrasing(world: World) -> Grammar:
    """The grammar of a campaign: an attacker's own words, or those of genuine mail."""
    return world.rng.choice((ATTACK, MIMICRY))


def zero_width(world: World, text: str) -> str:
    """The text with invisible characters inside some words."""
    return " ".join(w[:2] + "\u200b" + w[2:] if len(w) > 5 and world.rng.random() < 0.4 else w for w in text.split(" "))


def _tool(world: World) -> str:
    return world.rng.choice(("script", "webmail", "bulk", "suite", "post"))
