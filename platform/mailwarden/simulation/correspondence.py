"""Benign mail between people: colleagues, customers, vendors, strangers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mailwarden.simulation.addresses import shared
from mailwarden.simulation.attachments import calendar, document, locked_archive, pdf, photo, picture
from mailwarden.simulation.company import FREE_HOSTS
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.first_contacts import dress
from mailwarden.simulation.mime import civil
from mailwarden.simulation.people import Organisation, Person, local_part, private_account
from mailwarden.simulation.phrases_work import WORK
from mailwarden.simulation.world import DAY_US, HOUR_US, MINUTE_US, Thread, World

Plan = Callable[[World, int], int]

_FORM = Person("Website form", f"no-reply@{FREE_HOSTS[1]}", role="machine", mailer="script")


def colleagues(world: World, at_us: int) -> int:
    """A thread inside the company."""
    rng = world.rng
    sender = rng.choice(world.company.people)
    circle = world.company.department(sender.department) if rng.random() < 0.7 else world.company.people
    others = [p for p in rng.sample(circle, min(len(circle), rng.choice((2, 2, 3, 4)))) if p is not sender]
    readers = others or [rng.choice(world.company.others(sender))]
    return _converse(world, at_us, sender, readers, sender.department, going=0.5)


def customers(world: World, at_us: int) -> int:
    """An order or a question, begun by either side."""
    rng = world.rng
    contact = _contact(world, world.company.customers)
    own = _account_holder(world, contact, rng.choice(("sales", "sales", "support")))
    if rng.random() < 0.6:
        return _converse(world, at_us, contact, [own], "order", going=0.6)
    return _converse(world, at_us, own, [contact], "order", going=0.55)


def vendors(world: World, at_us: int) -> int:
    """A purchase, begun by either side."""
    rng = world.rng
    contact = _contact(world, world.company.vendors)
    own = _account_holder(world, contact, rng.choice(("operations", "operations", "engineering")))
    pair = (own, contact) if rng.random() < 0.6 else (contact, own)
    return _converse(world, at_us, pair[0], [pair[1]], "order", going=0.55)


def invoices(world: World, at_us: int) -> int:
    """A vendor's invoice as PDF to accounts payable; seldom with a genuine notice of new bank details."""

    def write(now_us: int) -> Draft:
        rng = world.rng
        vendor = rng.choice(world.company.vendors)
        billing = vendor.people[-1]
        reader = world.company.roles["accounts"] if rng.random() < 0.7 else world.company.department("finance")[0]
        values = world.values(billing, reader, now_us)
        grammar = WORK[vendor.language]
        last = "bank_notice" if rng.random() < 0.04 else "invoice_note"
        body = world.write(("greeting", "invoice_line " + last, "closing"), grammar, values)
        draft = world.draft(billing, (reader,), f"{vendor.name}: {values['invoice']}", body)
        lines = (vendor.name, values["invoice"], values["amount"], f"IBAN {values['iban']}")
        draft.files.append(pdf(f"{values['invoice']}.pdf", lines))
        world.open_thread(draft, now_us)
        return draft

    world.later(at_us, write)
    return 1


def strangers(world: World, at_us: int) -> int:
    """A first contact that is welcome: a sales lead or an applicant, often answered."""
    rng = world.rng
    applicant = rng.random() < 0.4
    sender = world.stranger(freemail=applicant or rng.random() < 0.35)
    reader = world.company.roles["jobs" if applicant else "info"]
    if rng.random() < 0.4:
        reader = rng.choice(world.company.department("hr" if applicant else "sales"))

    def write(now_us: int) -> Draft:
        values = world.values(sender, reader, now_us)
        topic = "applicant" if applicant else "lead"
        body = world.write(("greeting", f"{topic} {topic} {topic}", "closing"), WORK["en"], values)
        subject = f"Application: {values['me']}" if applicant else world.say("subject", WORK["en"], values)
        if not applicant and rng.random() < 0.15:
            form = world.draft(_FORM, (reader,), f"Contact form: {subject}", body)
            form.reply_to = sender.address
            return form
        draft = world.draft(sender, (reader,), subject, body)
        if applicant:
            name = f"CV_{local_part(rng, sender.name, 'dotted').replace('.', '_')}"
            text = " ".join(body)
            draft.files.append(pdf(f"{name}.pdf", body) if rng.random() < 0.6 else document(f"{name}.docx", text))
        thread = world.open_thread(draft, now_us)
        dress(world, draft, reader, values)
        if not applicant:
            world.acquaintances.append(sender)
        if rng.random() < 0.5:
            _schedule_reply(world, thread, now_us, 0.4)
        return draft

    world.later(at_us, write)
    return 1


def urgent_payments(world: World, at_us: int) -> int:
    """Genuine requests that look like fraud: an urgent payment, or a colleague's new bank account."""
    rng = world.rng
    payroll = rng.random() < 0.35
    topic = "payroll_change" if payroll else "urgent_pay"
    sender = rng.choice(world.company.people if payroll else world.company.department("executive"))
    pool = world.company.others(sender, "hr" if payroll else "finance")
    return _converse(world, at_us, sender, [rng.choice(pool)], topic, going=0.5)


def announcements(world: World, at_us: int) -> int:
    """A note to everyone."""

    def write(now_us: int) -> Draft:
        rng = world.rng
        sender = rng.choice(world.company.department(rng.choice(("hr", "operations", "executive"))))
        reader = world.company.roles["everyone"]
        values = world.values(sender, replace(reader, name="all"), now_us)
        body = world.write(
            ("greeting", rng.choice(("announce small_talk", "announce warning")), "closing"), WORK["en"], values
        )
        return world.draft(sender, (reader,), world.say("announce", WORK["en"], values)[:60].rstrip("."), body)

    world.later(at_us, write)
    return 1


def meetings(world: World, at_us: int) -> int:
    """A calendar invitation, from inside or from a partner."""

    def write(now_us: int) -> Draft:
        rng = world.rng
        sender = rng.choice(world.company.people)
        if rng.random() < 0.3:
            sender = _contact(world, world.company.partners)
        readers = [p for p in rng.sample(world.company.people, rng.randint(1, 4)) if p is not sender]
        readers = readers or [rng.choice(world.company.others(sender))]
        values = world.values(sender, readers[0], now_us)
        topic = world.say("subject", WORK["en"], values)
        draft = world.draft(sender, readers, f"Invitation: {topic}", world.write(("ask",), WORK["en"], values))
        starts = (now_us // DAY_US + rng.randint(1, 9)) * DAY_US + rng.randint(7, 15) * HOUR_US
        uid = f"{rng.getrandbits(64):016x}@{sender.domain}"
        draft.files.append(calendar(uid, topic, sender.address, _basic(starts), _basic(starts + HOUR_US)))
        return draft

    world.later(at_us, write)
    return 1


def forwards(world: World, at_us: int) -> int:
    """A colleague passes a mail on, or somebody writes from a private account to the office."""

    def write(now_us: int) -> Draft:
        rng = world.rng
        sender, reader = rng.sample(world.company.people, 2)
        if rng.random() < 0.35 or not world.threads:
            private = private_account(sender, world.company.freemail_domains)
            reader = sender if rng.random() < 0.6 else reader
            if rng.random() < 0.3:
                # A note to oneself, from the office's own account.
                note = world.write(("private",), WORK["en"], world.values(sender, sender, now_us))
                return world.draft(sender, (sender,), rng.choice(("note", "for tomorrow", "scan")), note)
            values = world.values(private, reader, now_us)
            body = world.write(("private",), WORK["en"], values)
            draft = world.draft(private, (reader,), world.say("subject", WORK["en"], values), body)
            if rng.random() < 0.4:
                draft.files.append(picture(rng, "scan.png"))
            return draft
        if world.unwanted and rng.random() < 0.4:
            return _report(world, sender, now_us)
        thread = rng.choice(world.threads)
        draft = world.draft(
            sender,
            (reader,),
            f"Fwd: {thread.subject}",
            world.write(("reply",), WORK["en"], world.values(sender, reader, now_us)),
        )
        draft.references = tuple(thread.ids[-3:])
        draft.quoted = thread.text
        draft.quoted_head = (
            f"---------- Forwarded message ----------\nFrom: {thread.author.name} <{thread.author.address}>"
        )
        return draft

    world.later(at_us, write)
    return 1


def mailing_lists(world: World, at_us: int) -> int:
    """A post to a public list that some employees read; the list breaks its members' signatures."""
    mailing_list = world.rng.choice(world.company.lists)
    author = world.rng.choice(mailing_list.people)
    list_address = f"{mailing_list.name}@{mailing_list.domain}"

    def write(now_us: int) -> Draft:
        rng = world.rng
        values = world.values(author, author, now_us)
        body = world.write(("list_post list_post", "closing"), WORK["en"], values)
        subject = f"[{mailing_list.name}] {world.say('subject', WORK['en'], values)}"
        draft = world.draft(author, (Person("", list_address),), subject, body)
        members = world.company.department("engineering" if "payroll" not in mailing_list.name else "hr")
        draft.rcpt = (members[rng.randrange(min(3, len(members)))].address,)
        draft.mail_from = f"{mailing_list.name}-bounces@{mailing_list.domain}"
        draft.route = replace(
            draft.route,
            host=mailing_list.domain,
            ip=mailing_list.ip,
            spf="pass",
            spf_domain=mailing_list.domain,
            dkim="fail" if draft.route.dkim_domain else "none",
            arc="pass",
        )
        draft.headers = (("List-Id", f"<{mailing_list.name}.{mailing_list.domain}>"), ("Precedence", "list"))
        return draft

    world.later(at_us, write)
    return 1


def _converse(world: World, at_us: int, sender: Person, readers: list[Person], topic: str, going: float) -> int:
    def write(now_us: int) -> Draft:
        rng = world.rng
        values = world.values(sender, readers[0], now_us)
        grammar = WORK[sender.language if topic == "order" else "en"]
        sentences = " ".join([topic] * rng.choice((1, 2, 2, 3)))
        body = world.write(("greeting", "small_talk", sentences, "ask", "closing"), grammar, values)
        draft = world.draft(sender, readers[:2], world.say("subject", grammar, values), body)
        draft.cc = readers[2:]
        _enclose(world, draft, values)
        thread = world.open_thread(draft, now_us)
        if rng.random() < going:
            _schedule_reply(world, thread, now_us, going)
        return draft

    world.later(world.working_time(at_us, sender), write)
    return 1


def _report(world: World, sender: Person, now_us: int) -> Draft:
    """A reader hands unwanted mail to IT, its words within or below his own."""
    desk = world.company.roles["it-support"]
    bad = world.rng.choice(world.unwanted)
    words = world.write(("suspicion",), WORK["en"], world.values(sender, desk, now_us))
    draft = world.draft(sender, (desk,), f"Fwd: {bad.subject}", words)
    if world.rng.random() < 0.5:
        draft.paragraphs += bad.paragraphs
    else:
        draft.quoted, draft.quoted_head = bad.read, "---------- Forwarded message ----------"
    return draft


def _enclose(world: World, draft: Draft, values: dict[str, str]) -> None:
    """Give some drafts a file or a link, locked archives and free hosts among them."""
    rng, code, text = world.rng, values["code"], draft.text
    match int(rng.random() * 100):
        case n if n < 8:
            draft.files.append(pdf(f"{values['invoice']}.pdf", [text[:90]]))
        case n if n < 13:
            draft.files.append(document(f"notes_{code}.docx", text, macro=rng.random() < 0.1))
        case n if n < 16:
            draft.files.append(photo(rng, f"photo_{code}.png"))
        case n if n < 18:
            draft.files.append(locked_archive(rng, f"drawings_{code}.zip", f"drawing_{code}.dwg"))
            draft.paragraphs.insert(-1, rng.choice((f"Password: {code}", "The password follows by phone.")))
        case n if n < 22:
            draft.paragraphs.insert(-1, f"https://{world.company.domains[0]}/files/{code}")
        case n if n < 33:
            link = shared(rng, draft.sender.domain if rng.random() < 0.5 else world.new_domain())
            draft.paragraphs.insert(-1, f"[[{rng.choice(('Open document', 'drawings', 'View document', ''))}|{link}]]")
        case _:
            pass


def _schedule_reply(world: World, thread: Thread, now_us: int, going: float) -> None:
    rng = world.rng
    author = rng.choice([m for m in thread.members if m is not thread.author])
    if author.role in world.company.roles:
        role = author
        author = replace(rng.choice(world.company.department("sales")), name=role.name, address=role.address)
        thread.members = tuple(author if m is role else m for m in thread.members)
    delay_us = int(rng.lognormvariate(3.7, 1.1) * MINUTE_US) + MINUTE_US

    def write(at_us: int) -> Draft:
        values = world.values(author, thread.author, at_us)
        body = world.write(
            ("greeting", "reply reply" if rng.random() < 0.4 else "reply", "closing"),
            WORK[author.language if author.language == thread.author.language else "en"],
            values,
        )
        if rng.random() < 0.3:
            body = body[1:2]
        if rng.random() < 0.08:
            body.append(shared(rng, author.domain))
        draft = world.answer(thread, author, body, at_us, prefix="AW: " if author.language == "de" else "Re: ")
        if rng.random() < going and len(thread.ids) < 7:
            _schedule_reply(world, thread, at_us, going)
        return draft

    world.later(world.working_time(now_us + delay_us, author), write)


def _contact(world: World, organisations: tuple[Organisation, ...]) -> Person:
    rng = world.rng
    if world.acquaintances and rng.random() < 0.15:
        return rng.choice(world.acquaintances)
    busy = int(len(organisations) * rng.random() ** 1.8)
    return rng.choice([p for p in organisations[busy].people if p.role != "billing"])


def _account_holder(world: World, contact: Person, department: str) -> Person:
    """The employee who looks after the contact, most of the time the same one."""
    people = world.company.department(department)
    if world.rng.random() < 0.2:
        return world.rng.choice(people)
    return people[sum(contact.address.encode()) % len(people)]


def _basic(time_us: int) -> str:
    day, within = divmod(time_us, DAY_US)
    year, month, date = civil(day)
    return f"{year}{month:02d}{date:02d}T{within // HOUR_US:02d}0000Z"
