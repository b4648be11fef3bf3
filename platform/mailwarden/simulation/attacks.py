"""Attacks that need no knowledge of the company: phishing, malware, callback, extortion, probes, scams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mailwarden.simulation.addresses import page, stem, veiled
from mailwarden.simulation.attachments import (
    document,
    locked_archive,
    login_page,
    noise,
    pdf,
    smuggling_page,
    square_code,
    wallet,
)
from mailwarden.simulation.company import FREE_HOSTS
from mailwarden.simulation.disguise import (
    brand_sender,
    forger,
    hostile_draft,
    hostile_link,
    phrasing,
    spoofed_route,
    zero_width,
)
from mailwarden.simulation.draft import Draft, File
from mailwarden.simulation.first_contacts import desk
from mailwarden.simulation.people import Person
from mailwarden.simulation.phrases_attack import ATTACK
from mailwarden.simulation.world import DAY_US, HOUR_US, MINUTE_US, World

Write = Callable[[Person, int], Draft]


def credential_phishing(world: World, at_us: int) -> int:
    """CP: a page to sign in at, reached by a link, a code to scan, or an attached form."""
    rng = world.rng
    campaign = world.campaign("CP")
    grammar = phrasing(world)
    brand, sender = brand_sender(world)
    spoofed = rng.random() < 0.15
    if spoofed:
        staff = world.company.roles["it-support"]
        sender = replace(forger(world, staff), name="IT Support")
    values = {**world.values(sender, sender, at_us), "brand": brand}
    lines = [world.say("cp_line", grammar, values) for _ in range(rng.randint(1, 3))]
    subject = world.say("cp_subject", grammar, values)
    lure = rng.choices(("link", "code", "form"), (72, 16, 12))[0]
    blurred = rng.random() < 0.08
    own_site = rng.random() < 0.35 and not spoofed and sender.domain not in world.company.freemail_domains

    def write(reader: Person, now_us: int) -> Draft:
        own = {**values, "first": reader.first}
        text = " ".join(lines)
        body = [world.say("hello", grammar, own), zero_width(world, text) if blurred else text]
        link = hostile_link(world, brand, reader)
        if own_site:
            link = veiled(rng, page(rng, f"login.{sender.domain}", reader.address))
        if lure == "link":
            shown = world.say("cp_button", grammar, own)
            body.append(f"[[{shown if rng.random() < 0.8 else f'https://portal.{brand.lower()}.example/'}|{link}]]")
        elif lure == "code":
            body.append(world.say("cp_qr", grammar, own))
        body.append(world.say("cp_foot", grammar, own) if not spoofed else "IT Support")
        draft = hostile_draft(world, sender, reader, subject, body, "CP", campaign)
        draft.html, draft.only_html = True, rng.random() < 0.3
        if lure == "code":
            draft.files.append(replace(square_code(rng), inline=True))
            if rng.random() < 0.3:
                draft.paragraphs, draft.only_html = [body[0]], True
        elif lure == "form":
            draft.files.append(login_page(f"{stem(rng, own)}.html", link))
        if spoofed:
            draft.route = spoofed_route(world, sender.domain, policy=True)
        return draft

    return _run(world, at_us, _targets(world, (1, 2, 3, 5, 8)), write)


def malware(world: World, at_us: int) -> int:
    """MW: an attachment or a download that would run; every payload is noise."""
    rng = world.rng
    campaign = world.campaign("MW")
    grammar = phrasing(world)
    sender = desk(world) if rng.random() < 0.25 else world.stranger(freemail=rng.random() < 0.33)
    values = world.values(sender, sender, at_us)
    kind = rng.choice(("locked", "locked", "macro", "smuggling", "double", "image", "link"))
    lines = [world.say("mw_line", grammar, values) for _ in range(rng.randint(1, 2))]
    subject = world.say("mw_subject", grammar, values)
    site = rng.choice((*FREE_HOSTS, world.new_domain()))
    payload = _payload(world, kind, values)
    spoofed = rng.random() < 0.15
    if spoofed:
        sender = forger(world, rng.choice(world.company.vendors).people[-1])

    def write(reader: Person, now_us: int) -> Draft:
        own = {**values, "first": reader.first}
        body = [world.say("hello", grammar, own), " ".join(lines)]
        if kind == "locked":
            body.append(world.say("mw_password", grammar, own))
        elif kind == "link":
            body.append(
                f"{world.say('mw_link', grammar, own)} https://{site}/{rng.getrandbits(40):x}/{own['invoice']}.zip"
            )
        body.append(world.say("bye", grammar, own))
        draft = hostile_draft(world, sender, reader, subject, body, "MW", campaign)
        draft.files += [payload] if payload is not None else []
        if spoofed:
            draft.route = spoofed_route(world, sender.domain, policy=world.organisation(sender.domain).posture.dmarc)
        return draft

    return _run(world, at_us, _targets(world, (1, 2, 2, 4, 6)), write)


def callback(world: World, at_us: int) -> int:
    """CB: a charge that never was and a number to call, by mail, in a PDF, or through a real invoicing service."""
    rng = world.rng
    campaign = world.campaign("CB")
    grammar = phrasing(world)
    brand, sender = brand_sender(world)
    abused = rng.random() < 0.3
    if abused:
        sender = next(o for o in world.company.services if o.name == "Billhop").people[0]
    elif rng.random() < 0.6:
        sender = world.stranger(freemail=True)
    values = {**world.values(sender, sender, at_us), "brand": brand}
    lines = [world.say("cb_line", grammar, values) for _ in range(rng.randint(2, 4))]
    lines.append(world.say("cb_foot", grammar, values))
    subject = world.say("cb_subject", grammar, values)
    in_file = rng.random() < 0.35

    def write(reader: Person, now_us: int) -> Draft:
        own = {**values, "first": reader.first}
        body = [world.say("hello", grammar, own), lines[0] if in_file else " ".join(lines)]
        draft = hostile_draft(world, sender, reader, subject, body, "CB", campaign)
        if in_file:
            draft.files.append(pdf(f"{stem(rng, own)}.pdf", lines))
        if abused:
            draft.route = world.route(sender)
            draft.paragraphs.append(f"[[View request|https://app.billhop.example/r/{rng.getrandbits(48):012x}]]")
            draft.forged_results = ""
        return draft

    return _run(world, at_us, _targets(world, (1, 1, 2, 4)), write)


def extortion(world: World, at_us: int) -> int:
    """EX: money under threat, often with the reader's own address as sender."""
    rng = world.rng
    campaign = world.campaign("EX")
    stranger = world.stranger(freemail=rng.random() < 0.5)
    own_address = rng.random() < 0.45
    forged = forger(world, stranger)
    values = {**world.values(stranger, stranger, at_us), "wallet": wallet(rng)}
    grammar = phrasing(world)
    lines = [world.say("ex_line", grammar, values) for _ in range(rng.randint(3, 5))]
    where = f"{rng.choice(('Wallet', 'BTC', 'Bitcoin address'))}: {values['wallet']}"
    lines.append(where if rng.random() < 0.7 else f"Write to {world.stranger(freemail=True).address}")
    subject = world.say("ex_subject", grammar, values)

    def write(reader: Person, now_us: int) -> Draft:
        text = " ".join(rng.sample(lines[:-1], len(lines) - 1))
        body = [zero_width(world, text) if rng.random() < 0.2 else text, lines[-1]]
        sender = replace(forged, name=reader.name, address=reader.address) if own_address else stranger
        draft = hostile_draft(world, sender, reader, subject, body, "EX", campaign)
        if own_address:
            draft.route = spoofed_route(world, reader.domain, policy=True)
        return draft

    return _run(world, at_us, _targets(world, (1, 2, 3, 6)), write)


def reconnaissance(world: World, at_us: int) -> int:
    """RC: a near-empty message that finds out who answers, or a question about who does what."""
    rng = world.rng
    campaign = world.campaign("RC")
    grammar = phrasing(world)
    sender = world.stranger(freemail=rng.random() < 0.6)
    values = world.values(sender, sender, at_us)
    line = world.say("rc_line", grammar, values)
    subject = world.say("rc_subject", grammar, values)

    def write(reader: Person, now_us: int) -> Draft:
        own = {**values, "first": reader.first}
        body = (
            [line] if rng.random() < 0.5 else [world.say("hello", grammar, own), line, world.say("bye", grammar, own)]
        )
        draft = hostile_draft(world, sender, reader, subject, body if rng.random() < 0.9 else [], "RC", campaign)
        if rng.random() < 0.3:
            draft.to, draft.rcpt = (), (reader.address,)
        return draft

    return _run(world, at_us, _targets(world, (1, 2, 3, 6)), write)


def scam(world: World, at_us: int) -> int:
    """SC: advance fee, job, romance, in three languages, answers going to another address."""
    rng = world.rng
    campaign = world.campaign("SC")
    language = rng.choice(("en", "en", "en", "en", "de", "fr"))
    sender = world.stranger(freemail=rng.random() < 0.6, language=language)
    values = world.values(sender, sender, at_us)
    symbol = "sc_line" if language == "en" else f"sc_line_{language}"
    grammar = phrasing(world)
    lines = [world.say(symbol, grammar, values) for _ in range(rng.randint(2, 5))]
    subject = world.say("sc_subject", grammar, values)
    reply_to = world.stranger(freemail=True).address if rng.random() < 0.4 else ""

    def write(reader: Person, now_us: int) -> Draft:
        body = [world.say("hello", ATTACK, {**values, "first": "friend"}), " ".join(lines), sender.name]
        draft = hostile_draft(world, sender, reader, subject, body, "SC", campaign)
        draft.reply_to = reply_to
        if rng.random() < 0.35:
            draft.to, draft.rcpt = (), (reader.address,)
        return draft

    return _run(world, at_us, _targets(world, (1, 2, 3, 5)), write)


def _payload(world: World, kind: str, values: dict[str, str]) -> File | None:
    rng, number = world.rng, stem(world.rng, values)
    match kind:
        case "locked":
            return locked_archive(rng, f"{number}.zip", f"{number}.js")
        case "macro":
            return document(f"{number}.docm", "Enable content to see the document.", macro=True)
        case "smuggling":
            return smuggling_page(rng, f"{number}.html", f"{number}.iso")
        case "double":
            return noise(rng, f"{number}.pdf.exe", "application/octet-stream", b"MZ\x90\x00\x03\x00\x00\x00")
        case "image":
            return noise(rng, f"{number}.iso", "application/octet-stream", bytes(0x800) + b"\x01CD001\x01")
        case _:
            return None


def _targets(world: World, sizes: Sequence[int]) -> list[Person]:
    people = world.rng.sample(world.company.people, world.rng.choice(sizes))
    desk = world.company.roles[world.rng.choice(("info", "accounts", "jobs", "support"))]
    return [desk, *people[1:]] if world.rng.random() < 0.3 else people


def _run(world: World, at_us: int, targets: list[Person], write: Write) -> int:
    spread_us = world.rng.choice((15 * MINUTE_US, 3 * HOUR_US, DAY_US))

    def send(reader: Person) -> None:
        world.later(at_us + world.rng.randrange(spread_us), lambda now_us: write(reader, now_us))

    for target in targets:
        send(target)
    return len(targets)
