"""Good mail that looks like an attack; each draft names its case."""

from __future__ import annotations

import base64
from dataclasses import replace

from mailwarden.simulation.addresses import stem
from mailwarden.simulation.attachments import pdf
from mailwarden.simulation.company import AWARENESS, BENEFITS
from mailwarden.simulation.correspondence import Plan
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.first_contacts import desk
from mailwarden.simulation.mime import date_header
from mailwarden.simulation.people import Person, local_part, private_account
from mailwarden.simulation.phrases_hard import HARD
from mailwarden.simulation.phrases_work import WORK
from mailwarden.simulation.world import DAY_US, HOUR_US, World


def bank_change(world: World, at_us: int) -> int:
    """A vendor that really changes its bank: a notice from its usual desk, a talk by phone, then an invoice."""
    rng = world.rng
    vendor = rng.choice(world.company.vendors)
    billing = vendor.people[-1]
    reader = world.company.roles["accounts"] if rng.random() < 0.6 else rng.choice(world.company.department("finance"))
    values = {**world.values(billing, reader, at_us), "partner": vendor.name}

    def notice(now_us: int) -> Draft:
        body = world.write(("greeting", "bank_notice bank_proof", "closing"), HARD, values, typos=0)
        draft = _case(world.draft(billing, (reader,), world.say("bank_subject", HARD, values), body), "bank_change")
        draft.files.append(pdf("bank_confirmation.pdf", (vendor.name, "New account", f"IBAN {values['iban']}")))
        thread = world.open_thread(draft, now_us)
        world.later(world.working_time(now_us + rng.randint(2, 30) * HOUR_US, reader), lambda us: ask(us))

        def ask(us: int) -> Draft:
            answer = world.answer(thread, _person(world, reader), [world.say("bank_checked", HARD, values)], us)
            return _case(answer, "bank_change")

        return draft

    def invoice(now_us: int) -> Draft:
        body = world.write(("greeting", "bank_invoice", "closing"), HARD, values)
        subject = f"{vendor.name}: {values['invoice']}"
        draft = _case(world.draft(billing, (reader,), subject, body), "bank_change")
        lines = (vendor.name, values["invoice"], values["amount"], f"IBAN {values['iban']}")
        draft.files.append(pdf(f"{values['invoice']}.pdf", lines))
        return draft

    world.later(world.working_time(at_us, billing), notice)
    world.later(world.working_time(at_us + rng.randint(4, 12) * DAY_US, billing), invoice)
    return 3


def private_address(world: World, at_us: int) -> int:
    """A director who really writes from a private address, always the same, at times with a request."""
    rng = world.rng
    pool = (*world.company.department("executive"), *(world.company.department("finance")[:1]))
    sender = rng.choice(pool)
    reader = rng.choice(world.company.others(sender, rng.choice(("finance", "executive", "hr"))))
    private = private_account(sender, world.company.freemail_domains)

    def write(now_us: int) -> Draft:
        values = world.values(private, reader, now_us)
        body = world.write(("greeting", "private_note private_ask", "me_first"), HARD, values)
        draft = world.draft(private, (reader,), world.say("private_subject", HARD, values), body)
        return _case(draft, "private_address")

    world.later(at_us, write)
    return 1


def urgent_payment(world: World, at_us: int) -> int:
    """A real urgent payment, asked for by the director's own account."""
    rng = world.rng
    sender = rng.choice(world.company.department("executive"))
    reader = rng.choice(world.company.others(sender, "finance"))

    def write(now_us: int) -> Draft:
        values = world.values(sender, reader, now_us)
        body = world.write(("greeting", "urgent_pay ask", "closing"), WORK["en"], values)
        draft = _case(world.draft(sender, (reader,), world.say("urgent_subject", HARD, values), body), "urgent_payment")
        world.open_thread(draft, now_us)
        return draft

    world.later(world.working_time(at_us, sender), write)
    return 1


def phishing_test(world: World, at_us: int) -> int:
    """The company's own phishing test, sent by a service that it pays for."""
    rng = world.rng
    readers = rng.sample(world.company.people, min(len(world.company.people), rng.choice((3, 5, 8))))
    sender = replace(
        AWARENESS.people[0], name=rng.choice(("IT Helpdesk", "Mail Administrator", "Payroll")), mailer="bulk"
    )
    values = world.values(sender, readers[0], at_us)
    subject, line = world.say("test_subject", HARD, values), world.say("test_line", HARD, values)

    def send(reader: Person) -> None:
        def write(now_us: int) -> Draft:
            token = base64.urlsafe_b64encode(reader.address.encode()).decode().rstrip("=")
            body = [
                f"Hello {reader.first},",
                line,
                f"[[Sign in|https://login.{AWARENESS.domain}/t/{token}]]",
                "IT Support",
            ]
            draft = _case(world.draft(sender, (reader,), subject, body), "phishing_test")
            draft.headers = (("X-Phishwise-Campaign", f"{rng.getrandbits(32):08x}"),)
            return draft

        world.later(at_us + rng.randrange(3 * HOUR_US), write)

    for reader in readers:
        send(reader)
    return len(readers)


def bulk_like_phish(world: World, at_us: int) -> int:
    """A benefits provider that asks everybody to sign in and confirm, with a deadline."""
    rng = world.rng
    readers = rng.sample(world.company.people, min(len(world.company.people), rng.choice((4, 6, 10))))
    sender = replace(BENEFITS.people[0], mailer="bulk", utc_offset_minutes=0)
    values = world.values(sender, readers[0], at_us)
    subject = world.say("benefit_subject", HARD, values)

    def send(reader: Person) -> None:
        def write(now_us: int) -> Draft:
            own = {**values, "first": reader.first}
            body = world.write(("hello_all", "benefit_line benefit_line"), HARD, own, typos=0)
            body.append(f"[[Confirm now|https://my.{BENEFITS.domain}/enrol?u={reader.address}]]")
            draft = _case(world.draft(sender, (reader,), subject, body), "bulk_like_phish")
            draft.mail_from = f"bounce+{rng.getrandbits(40):x}@{BENEFITS.domain}"
            draft.headers = (("List-Unsubscribe", f"<https://my.{BENEFITS.domain}/out>"), ("Precedence", "bulk"))
            return draft

        world.later(at_us + rng.randrange(HOUR_US), write)

    for reader in readers:
        send(reader)
    return len(readers)


def bounce(world: World, at_us: int) -> int:
    """A partner's mail system returns what an employee wrote, with the null reverse path."""
    rng = world.rng
    partner = rng.choice(world.company.partners)
    writer = rng.choice(world.company.people)
    daemon = Person("Mail Delivery System", f"MAILER-DAEMON@{partner.domain}", role="machine", mailer="script")

    def write(now_us: int) -> Draft:
        values = world.values(daemon, writer, now_us)
        gone = f"{local_part(rng, partner.people[0].name, 'dotted')}.old@{partner.domain}"
        body = [world.say("bounce_line", HARD, values), f"<{gone}>: host mail.{partner.domain} said: 550 5.1.1 unknown"]
        draft = _case(world.draft(daemon, (writer,), "Undelivered Mail Returned to Sender", body), "bounce")
        draft.mail_from = ""
        draft.headers = (("Auto-Submitted", "auto-replied"),)
        draft.quoted = world.say("subject", WORK["en"], values)
        draft.quoted_head = f"From: {writer.name} <{writer.address}>\nDate: {date_header(now_us - HOUR_US, 60)}"
        draft.route = replace(draft.route, spf="none", spf_domain=f"mail.{partner.domain}", dkim="none", dkim_domain="")
        return draft

    world.later(at_us, write)
    return 1


def forwarded(world: World, at_us: int) -> int:
    """A partner's genuine mail by way of a mailbox that forwards it: SPF breaks, at times the signature too."""
    rng = world.rng
    partner = rng.choice(world.company.partners)
    sender = partner.people[0]
    reader = rng.choice(world.company.people)

    def write(now_us: int) -> Draft:
        values = world.values(sender, reader, now_us)
        body = world.write(("greeting", "order order", "closing"), WORK[partner.language], values)
        draft = world.draft(sender, (reader,), world.say("subject", WORK[partner.language], values), body)
        broken = rng.random() < 0.35
        draft.route = replace(
            draft.route,
            host="forward.alumni.example",
            ip="198.19.200.20",
            spf=rng.choice(("fail", "softfail")) if partner.posture.spf else "none",
            dkim="fail" if broken and draft.route.dkim_domain else draft.route.dkim,
            arc=rng.choice(("", "pass")),
        )
        return _case(draft, "forwarded")

    world.later(world.working_time(at_us, sender), write)
    return 1


def new_vendor(world: World, at_us: int) -> int:
    """The first invoice of a firm that nobody had mail from before."""
    rng = world.rng
    sender = replace(desk(world) if rng.random() < 0.5 else world.stranger(freemail=False), role="billing")
    reader = world.company.roles["accounts"]

    def write(now_us: int) -> Draft:
        values = world.values(sender, reader, now_us)
        body = world.write(("greeting", "first_invoice", "closing"), HARD, values)
        draft = _case(world.draft(sender, (reader,), f"Invoice {values['invoice']}", body), "new_vendor")
        lines = (sender.domain, values["invoice"], values["amount"], f"IBAN {values['iban']}")
        draft.files.append(pdf(f"{stem(rng, values)}.pdf", lines))
        world.acquaintances.append(sender)
        return draft

    world.later(at_us, write)
    return 1


def _case(draft: Draft, name: str) -> Draft:
    draft.case = name
    return draft


def _person(world: World, reader: Person) -> Person:
    """The reader, or who reads a shared mailbox, under its address."""
    if reader.role in world.company.roles:
        return replace(world.company.department("finance")[0], name=reader.name, address=reader.address)
    return reader


PLANS: tuple[tuple[Plan, int], ...] = (
    (bank_change, 2),
    (private_address, 3),
    (urgent_payment, 2),
    (phishing_test, 1),
    (bulk_like_phish, 1),
    (bounce, 3),
    (forwarded, 4),
    (new_vendor, 2),
)

CASES = frozenset(plan.__name__ for plan, _ in PLANS)
"""Names of the cases, as drafts bear them."""
