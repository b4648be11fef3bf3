"""Attacks in somebody's name or from somebody's mailbox: BEC, vendor fraud, lateral, compromised partner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mailwarden.simulation.addresses import shared, stem
from mailwarden.simulation.attachments import login_page, pdf
from mailwarden.simulation.disguise import (
    forger,
    hostile_draft,
    hostile_link,
    impostor,
    lookalike,
    phrasing,
    spoofed_route,
)
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.people import Organisation, Person, documentation_ip
from mailwarden.simulation.phrases_attack import ATTACK
from mailwarden.simulation.phrases_work import WORK
from mailwarden.simulation.world import MINUTE_US, Thread, World, quote


def executive_fraud(world: World, at_us: int) -> int:
    """BE: a request without payload in a chief's or a colleague's name; a victim that answers is asked for more."""
    rng = world.rng
    campaign = world.campaign("BE")
    grammar = phrasing(world)
    company = world.company
    topic = rng.choices(("be_open", "be_gift", "be_payroll", "be_w2", "be_wire"), (32, 18, 22, 10, 18))[0]
    victim = rng.choice(company.people) if topic == "be_payroll" else company.chief
    if rng.random() < 0.2 and topic != "be_payroll":
        victim = rng.choice(company.department("executive"))
    department = {"be_payroll": "hr", "be_w2": "hr", "be_wire": "finance"}.get(topic)
    pool = company.others(victim, department)
    targets = rng.sample(pool, min(len(pool), rng.choice((1, 1, 1, 2, 3)) if topic in ("be_open", "be_gift") else 1))
    means = rng.choices(("freemail", "lookalike", "spoof"), (66, 20, 14))[0]
    sender = {
        "freemail": lambda: impostor(world, victim),
        "lookalike": lambda: impostor(world, victim, lookalike(world, company.domains[0])),
        "spoof": lambda: forger(world, victim),
    }[means]()

    def approach(reader: Person) -> None:
        def write(now_us: int) -> Draft:
            values = world.values(sender, reader, now_us)
            body = [
                world.say("hello", grammar, values),
                world.say(topic, grammar, values),
                world.say("bye", grammar, values),
            ]
            subject = world.say("be_subject", grammar, values)
            if rng.random() < 0.12:
                subject = f"RE: {subject}"
            draft = hostile_draft(world, sender, reader, subject, body, "BE", campaign)
            if means == "spoof":
                draft.route = spoofed_route(world, sender.domain, policy=True)
                draft.reply_to = impostor(world, victim).address
            elif topic == "be_open" and rng.random() < 0.4:
                _fall_for(
                    world,
                    Thread(
                        subject.removeprefix("RE: "), (sender, reader), [draft.message_id], sender, draft.read, now_us
                    ),
                    campaign,
                )
            return draft

        world.later(world.working_time(at_us + rng.randrange(90 * MINUTE_US), reader), write)

    for target in targets:
        approach(target)
    return len(targets)


def vendor_fraud(world: World, at_us: int) -> int:
    """VF: a vendor's payment turned to another account, in a stolen thread, an invented one, or out of the blue."""
    rng = world.rng
    campaign = world.campaign("VF")
    grammar = phrasing(world)
    company = world.company
    vendor = _talked_to(world, company.vendors) if world.deep and rng.random() < 0.6 else rng.choice(company.vendors)
    means = rng.choices(("lookalike", "freemail", "spoof", "approval"), (50, 15, 20, 15))[0]
    billing = vendor.people[-1]
    sender = (
        impostor(world, billing, lookalike(world, vendor.domain)) if means in ("lookalike", "approval") else billing
    )
    if means == "freemail":
        sender = impostor(world, billing)
    elif means == "spoof":
        sender = forger(world, billing)
    stolen = rng.random() < 0.5 and means in ("lookalike", "spoof")
    reader = company.roles["accounts"] if rng.random() < 0.5 else rng.choice(company.department("finance"))
    count = rng.choice((1, 1, 2))

    def write(now_us: int) -> Draft:
        thread = _thread_with(world, vendor) if stolen else None
        target = reader
        if thread is not None:
            target = next((m for m in thread.members if m.domain in company.domains), reader)
        values = {**world.values(sender, target, now_us), "partner": vendor.name}
        lines = " ".join(["vf_line"] * rng.choice((1, 2, 2)))
        body = world.write(("hello", lines, "bye"), grammar, values)
        subject = thread.subject if thread else world.say("vf_subject", grammar, values)
        draft = hostile_draft(world, sender, target, f"Re: {subject}" if thread else subject, body, "VF", campaign)
        if thread is not None:
            quote(draft, thread)
        elif means == "approval":
            draft.subject = f"FW: {subject}"
            draft.quoted_head = f"-----Original Message-----\nFrom: {company.chief.name} <{company.chief.address}>"
            draft.quoted = world.say("vf_approve", grammar, values)
        if means == "spoof":
            draft.route = spoofed_route(world, sender.domain, policy=vendor.posture.dmarc)
            draft.reply_to = f"billing@{lookalike(world, vendor.domain)}"
        if rng.random() < 0.6:
            lines_shown = (vendor.name, values["invoice"], values["amount"], f"IBAN {values['iban']}")
            draft.files.append(pdf(f"{stem(rng, values)}.pdf", lines_shown))
        return draft

    for turn in range(count):
        world.later(world.working_time(at_us + turn * 26 * 60 * MINUTE_US, reader), write)
    return count


def lateral(world: World, at_us: int) -> int:
    """LA: a colleague's own mailbox, taken over, sends a link or form to people it seldom writes to."""
    rng = world.rng
    campaign = world.campaign("LA")
    grammar = phrasing(world)
    owner = rng.choice(world.company.people)
    taken = replace(owner, mailer="webmail" if rng.random() < 0.5 else owner.mailer, client_ip=documentation_ip(rng))
    outside = (
        [p for o in rng.sample(world.company.partners, min(3, len(world.company.partners))) for p in o.people[:1]]
        if rng.random() < 0.25
        else []
    )
    inside = rng.sample(world.company.others(owner), rng.choice((2, 3, 5, 7)))
    values = world.values(taken, inside[0], at_us)
    line, subject = world.say("la_line", grammar, values), world.say("la_subject", grammar, values)
    site = shared(rng, world.new_domain())
    in_file = rng.random() < 0.2

    def send(reader: Person) -> None:
        def write(now_us: int) -> Draft:
            own = {**values, "first": reader.first}
            body = [world.say("greeting", WORK["en"], own), line, world.say("bye", grammar, own)]
            if not in_file:
                body.insert(2, f"[[{rng.choice(('Open document', site))}|{site}]]")
            draft = world.draft(taken, (reader,), subject, body)
            draft.label, draft.campaign = "LA", campaign
            if in_file:
                draft.files.append(login_page("document.html", site))
            return draft

        world.later(at_us + rng.randrange(25 * MINUTE_US), write)

    for reader in (*inside, *outside):
        send(reader)
    return len(inside) + len(outside)


def compromised_partner(world: World, at_us: int) -> int:
    """EA: a partner's real account, authenticated, sends a link or form, at times inside a genuine thread."""
    rng = world.rng
    campaign = world.campaign("EA")
    grammar = phrasing(world)
    partner = world.company.partners[int(len(world.company.partners) * rng.random() ** 1.8)]
    if world.deep and rng.random() < 0.5:
        partner = _talked_to(world, world.company.partners)
    owner = rng.choice(partner.people)
    thread = _thread_with(world, partner) if rng.random() < 0.5 else None
    readers = rng.sample(world.company.people, rng.choice((1, 2, 3)))
    if thread is not None:
        owner = next(m for m in thread.members if m.domain == partner.domain)
        readers = [m for m in thread.members if m.domain in world.company.domains][:1]
    brand = rng.choice(("Sharebox", "Signwell", partner.name))

    def send(reader: Person) -> None:
        def write(now_us: int) -> Draft:
            values = world.values(owner, reader, now_us)
            body = [world.say("greeting", WORK["en"], values), world.say("ea_line", grammar, values)]
            link = hostile_link(world, brand, reader)
            in_file = rng.random() < 0.2
            if not in_file:
                body.append(f"[[{rng.choice(('View document', 'Open proposal', link))}|{link}]]")
            body.append(world.say("closing", WORK["en"], values))
            subject = f"Re: {thread.subject}" if thread else world.say("ea_subject", grammar, values)
            draft = world.draft(owner, (reader,), subject, body)
            draft.label, draft.campaign = "EA", campaign
            if in_file:
                draft.files.append(login_page(f"{values['invoice']}.html", link))
            if thread is not None:
                quote(draft, thread)
            return draft

        world.later(at_us + rng.randrange(40 * MINUTE_US), write)

    for reader in readers:
        send(reader)
    return len(readers)


def _fall_for(world: World, thread: Thread, campaign: str) -> None:
    """The victim answers, and the attacker asks for what he came for."""
    rng = world.rng
    attacker, reader = thread.members

    def answer(at_us: int) -> Draft:
        draft = world.answer(
            thread, reader, [rng.choice(("Yes, what do you need?", "I am at my desk.", "Sure, go ahead."))], at_us
        )
        world.later(at_us + rng.randint(3, 50) * MINUTE_US, follow)
        return draft

    def follow(at_us: int) -> Draft:
        values = world.values(attacker, reader, at_us)
        body = [world.say("be_follow", ATTACK, values), attacker.first]
        draft = hostile_draft(world, attacker, reader, f"Re: {thread.subject}", body, "BE", campaign)
        quote(draft, thread)
        return draft

    world.later(world.working_time(thread.at_us + rng.randint(4, 45) * MINUTE_US, reader), answer)


def _talked_to(world: World, partners: Sequence[Organisation]) -> Organisation:
    """A partner with a thread that is open, where there is one: attackers read stolen mail before they write."""
    domains = {member.domain for thread in world.threads for member in thread.members}
    return world.rng.choice([one for one in partners if one.domain in domains] or list(partners))


def _thread_with(world: World, partner: Organisation) -> Thread | None:
    known = [t for t in world.threads if any(m.domain == partner.domain for m in t.members)]
    known = [t for t in known if any(m.domain in world.company.domains for m in t.members)]
    return world.rng.choice(known) if known else None
