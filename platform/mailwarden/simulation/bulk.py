"""Mail from machines to many: notifications, newsletters, and spam."""

from __future__ import annotations

import base64
from dataclasses import replace

from mailwarden.simulation.attachments import pdf, picture, square_code
from mailwarden.simulation.company import FREE_HOSTS
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.mime import as_machine
from mailwarden.simulation.networks import rented_network
from mailwarden.simulation.people import Person, Route, host_of
from mailwarden.simulation.phrases_bulk import GRAYMAIL, SERVICE, SPAM
from mailwarden.simulation.world import DAY_US, HOUR_US, MINUTE_US, World


def notifications(world: World, at_us: int) -> int:
    """A service's notice with a link or two; some share documents or ask for a signature, as phishing does."""
    rng = world.rng
    busy = int(len(world.company.services) * rng.random() ** 1.5)
    service = world.company.services[busy]
    reader = rng.choice(world.company.people)

    def write(now_us: int) -> Draft:
        sender = service.people[0]
        values = {**world.values(sender, reader, now_us), "service": service.name}
        link = f"https://app.{service.domain}/{rng.choice(('t', 'open', 'd', 'n'))}/{rng.getrandbits(48):012x}"
        lines = " ".join(["service_line"] * rng.randint(1, 3))
        body = world.write((lines,), SERVICE, values, typos=0)
        body.append(f"[[{world.say('button', SERVICE, values)}|{link}]]")
        body += world.write(("footer",), SERVICE, values, typos=0)
        draft = world.draft(sender, (reader,), world.say("service_subject", SERVICE, values), body)
        as_machine(draft, service.domain)
        if rng.random() < 0.03:
            draft.files.append(replace(square_code(rng, "ticket.png"), inline=True))
        if rng.random() < 0.08:
            draft.files.append(pdf(f"receipt_{values['code']}.pdf", body))
        return draft

    world.later(at_us, write)
    return 1


def resets(world: World, at_us: int) -> int:
    """A genuine password reset, code or confirmation, as the reader asked for."""
    rng = world.rng
    service = rng.choice(world.company.services)
    reader = rng.choice(world.company.people)

    def write(now_us: int) -> Draft:
        sender = (
            replace(service.people[0], name=f"{service.name} Security") if rng.random() < 0.5 else service.people[0]
        )
        values = {**world.values(sender, reader, now_us), "service": service.name}
        token = base64.urlsafe_b64encode(rng.randbytes(18)).decode()
        body = world.write(("reset_line reset_line",), SERVICE, values, typos=0)
        body.append(f"[[{world.say('button', SERVICE, values)}|https://accounts.{service.domain}/reset?token={token}]]")
        body += world.write(("footer",), SERVICE, values, typos=0)
        draft = world.draft(sender, (reader,), world.say("reset_subject", SERVICE, values), body)
        as_machine(draft, service.domain)
        return draft

    world.later(at_us, write)
    return 1


def newsletters(world: World, at_us: int) -> int:
    """One issue to each of its subscribers, links carrying the subscriber's mark."""
    rng = world.rng
    letter = rng.choice(world.company.newsletters)
    sender = letter.people[0]
    first = sum(letter.domain.encode()) % len(world.company.people)
    subscribers = [world.company.people[(first + 5 * n) % len(world.company.people)] for n in range(3 + first % 4)]
    values = {**world.values(sender, subscribers[0], at_us), "name": letter.name}
    subject = world.say("newsletter_subject", SERVICE, values)
    items = [
        (world.say("headline", SERVICE, values), world.say("teaser", SERVICE, values), f"{rng.getrandbits(32):08x}")
        for _ in range(rng.randint(4, 9))
    ]

    def write_to(reader: Person) -> None:
        def write(now_us: int) -> Draft:
            mark = base64.urlsafe_b64encode(reader.address.encode()).decode().rstrip("=")
            base = f"https://links.{letter.domain}/c"
            body = [f"{teaser}\n[[{head}|{base}/{slug}?r={mark}]]" for head, teaser, slug in items]
            body.append(f"[[Unsubscribe|{base}/out?r={mark}]] - {letter.name}, 2 Example Street")
            draft = world.draft(sender, (reader,), subject, body)
            as_machine(draft, "sendgrove.example")
            draft.headers = (
                ("List-Unsubscribe", f"<{base}/out?r={mark}>"),
                ("Precedence", "bulk"),
            )
            # What comes behind the first words of a preview is kept out of it by characters without width.
            draft.hidden = items[0][1] + "\u200c\u200b" * 20 if len(letter.name) % 2 else ""
            if len(letter.domain) % 4 == 0:
                draft.to, draft.rcpt = (), (reader.address,)
            if rng.random() < 0.2:
                draft.files.append(replace(picture(rng, "logo.png"), inline=True))
            return draft

        world.later(at_us + rng.randrange(10 * MINUTE_US), write)

    for subscriber in subscribers:
        write_to(subscriber)
    return len(subscribers)


def spam(world: World, at_us: int) -> int:
    """A run of near-duplicates to several employees: crude spam from throw-away hosts, or authenticated graymail."""
    rng = world.rng
    campaign = world.campaign("SP")
    graymail = rng.random() < 0.45
    readers = rng.sample(world.company.people, min(len(world.company.people), rng.choice((1, 2, 3, 5, 8, 12))))
    pitcher = world.stranger(freemail=False)
    values = {**world.values(pitcher, readers[0], at_us), "name": world.organisation(pitcher.domain).name}
    grammar = GRAYMAIL if graymail and rng.random() < 0.5 else SPAM
    german = rng.random() < 0.12
    topics = ["pitch_de" if german else "pitch" for _ in range(rng.randint(2, 5))]
    lines = [world.say(topic, grammar, values) for topic in topics]
    subject = world.say("pitch_subject", grammar, {**values, "first": "there"})
    host = pitcher.domain if graymail else f"{rng.choice(('best', 'top', 'super', 'e'))}{rng.getrandbits(24):x}.example"
    if rng.random() < 0.2:
        host = rng.choice(FREE_HOSTS)
    spread_us = rng.choice((20 * MINUTE_US, 6 * HOUR_US, 2 * DAY_US))

    def write_to(reader: Person) -> None:
        def write(now_us: int) -> Draft:
            sender = pitcher if graymail or rng.random() < 0.3 else world.stranger(freemail=rng.random() < 0.3)
            if not graymail:
                sender = replace(sender, mailer=rng.choice(("script", "bulk", "webmail")))
            own = [f"Hi {reader.first},", *lines]
            if rng.random() < 0.4:
                own[rng.randrange(1, len(own))] = world.say("pitch", grammar, values)
            if not graymail or rng.random() < 0.4:
                link = f"{rng.choice(('http', 'https'))}://{host}/{rng.getrandbits(28):x}"
                own.append(f"[[Click here|{link}]]" if rng.random() < 0.6 else link)
            own.append(world.say("opt_out", grammar, values))
            own.append(f"{sender.name}" if graymail else "")
            draft = world.draft(sender, (reader,), subject, ["\n".join(filter(None, own))])
            draft.label, draft.campaign = "SP", campaign
            if not graymail:
                draft.route = _throwaway_route(world, sender)
                draft.hidden = " ".join(lines) if rng.random() < 0.15 else ""
                draft.html = rng.random() < 0.6
                draft.only_html = rng.random() < 0.3
                draft.skew_s = rng.choice((-5, -30, -12, -7200, -20, 3600, 40_000))
            elif rng.random() < 0.5:
                draft.headers = (("List-Unsubscribe", f"<https://{sender.domain}/out>"),)
            return draft

        world.later(at_us + rng.randrange(spread_us), write)

    for reader in readers:
        write_to(reader)
    return len(readers)


def _throwaway_route(world: World, sender: Person) -> Route:
    rng = world.rng
    free = sender.domain in world.company.freemail_domains
    spf = rng.choice(("softfail", "none", "fail")) if free else rng.choice(("pass", "none", "pass", "fail"))
    signed = not free and rng.random() < 0.5
    via = world.new_domain() if free else sender.domain
    return Route(
        host=host_of(via),
        ip=rented_network(via),
        spf=spf,
        spf_domain=sender.domain,
        dkim="pass" if signed else "none",
        dkim_domain=sender.domain if signed else "",
        policy=free or rng.random() < 0.3,
    )
