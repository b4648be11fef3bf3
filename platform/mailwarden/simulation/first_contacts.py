"""Good mail of people and firms that nobody here has had mail from: as new, as urgent and as bare as attacks are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mailwarden.simulation.addresses import page, shared, stem, veiled
from mailwarden.simulation.attachments import document, locked_archive, login_page, pdf, photo
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.mime import as_machine
from mailwarden.simulation.people import MACHINES, Person, desk_of, firm_mailer, firm_name, zone
from mailwarden.simulation.phrases_first import ABROAD, FIRST
from mailwarden.simulation.world import HOUR_US, World

_ABROAD_SHARE = 0.15

Write = Callable[[Person, Person, int], Draft]


def short_notes(world: World, at_us: int) -> int:
    """A line or two of a stranger, at times a picture and no word."""
    sender = world.stranger(freemail=world.rng.random() < 0.5)

    def write(sender: Person, reader: Person, now_us: int) -> Draft:
        rng = world.rng
        draft = _written(world, sender, reader, "short", 1 if rng.random() < 0.7 else 2, now_us)
        if rng.random() < 0.1:
            draft.paragraphs = []
            draft.files.append(photo(rng, f"IMG_{rng.randint(1_000, 9_999)}.png"))
        return draft

    return _send(world, at_us, sender, write)


def first_bills(world: World, at_us: int) -> int:
    """A bill, a reminder or a deposit asked for by a firm or a small trader, as PDF, archive, link or words alone."""
    rng = world.rng
    trader = rng.random() < 0.3
    sender = world.stranger(freemail=trader) if trader or rng.random() < 0.5 else desk(world)
    if trader and rng.random() < 0.6:
        sender = replace(sender, name=f"{firm_name(world.new_domain())}{rng.choice(('', ' Billing', ' Accounts'))}")

    def write(sender: Person, reader: Person, now_us: int) -> Draft:
        rng = world.rng
        values = world.values(sender, reader, now_us)
        draft = _written(world, sender, reader, "bill", rng.randint(1, 3), now_us, values)
        if rng.random() < 0.65:
            shown = (sender.name, values["invoice"], values["amount"], f"IBAN {values.get('iban', '')}")
            draft.files.append(pdf(f"{stem(rng, values)}.pdf", shown))
        elif rng.random() < 0.5:
            draft.paragraphs.insert(-1, veiled(rng, page(rng, f"pay.{sender.domain}", reader.address)))
        return draft

    return _send(world, at_us, sender, write, "accounts", "finance")


def signups(world: World, at_us: int) -> int:
    """A service that a reader has just begun to use: addresses to confirm, passwords, documents, in HTML alone too."""
    rng = world.rng
    sender = replace(
        desk(world, rng.choice(MACHINES)),
        mailer=rng.choice(("bulk", "script", firm_mailer(rng))),
        utc_offset_minutes=rng.choice((0, zone(rng))),
    )

    def write(sender: Person, reader: Person, now_us: int) -> Draft:
        rng = world.rng
        values = {**world.values(sender, reader, now_us), "service": sender.name}
        draft = _written(world, sender, reader, "signup", rng.randint(1, 3), now_us, values)
        site = rng.choice(("login.", "app.", "", "my.")) + sender.domain
        if rng.random() < 0.5:
            # Many send by one provider, count clicks by another, and have people sign in at a third.
            site = rng.choice(("links.sendgrove.example", f"login.{world.new_domain()}"))
        link = veiled(rng, page(rng, site, reader.address))
        draft.paragraphs.insert(-1, f"[[{rng.choice(('Sign in', 'Confirm', 'Open document', link))}|{link}]]")
        draft.html, draft.only_html = True, rng.random() < 0.3
        if rng.random() < 0.06:
            draft.files.append(login_page("secure_message.html", link))
        if sender.mailer == "bulk" and rng.random() < 0.6:
            as_machine(draft, sender.domain)
        return draft

    return _send(world, at_us, sender, write)


def calls(world: World, at_us: int) -> int:
    """A purchase confirmed, a plan renewed or a call missed, with a number to ring."""
    sender = world.stranger(freemail=world.rng.random() < 0.4)

    def write(sender: Person, reader: Person, now_us: int) -> Draft:
        rng = world.rng
        values = {**world.values(sender, reader, now_us), "service": sender.name}
        draft = _written(world, sender, reader, "call", rng.randint(2, 4), now_us, values)
        if rng.random() < 0.3:
            draft.files.append(pdf(f"{stem(rng, values)}.pdf", [draft.text]))
        return draft

    return _send(world, at_us, sender, write)


def circulars(world: World, at_us: int) -> int:
    """An invitation or news to many, blind copies among them, of somebody whom a reader met once."""
    rng = world.rng
    sender = world.stranger(freemail=rng.random() < 0.2)

    def write(sender: Person, reader: Person, now_us: int) -> Draft:
        draft = _written(world, sender, reader, "circular", rng.randint(1, 3), now_us)
        if rng.random() < 0.5:
            draft.to, draft.rcpt = (), (reader.address,)
        if rng.random() < 0.7:
            draft.paragraphs.insert(-1, veiled(rng, page(rng, f"www.{sender.domain}", reader.address)))
        if sender.mailer == "bulk":
            draft.hidden = draft.paragraphs[0][:60]
            draft.headers = (("List-Unsubscribe", f"<https://www.{sender.domain}/out>"),)
        return draft

    return _send(world, at_us, sender, write)


def offers(world: World, at_us: int) -> int:
    """A grant, a job, an estate, a warning about the reader's own systems: all real, and all new."""
    sender = world.stranger(freemail=world.rng.random() < 0.5)

    def write(sender: Person, reader: Person, now_us: int) -> Draft:
        return _written(world, sender, reader, "offer", world.rng.randint(2, 4), now_us)

    return _send(world, at_us, sender, write)


def desk(world: World, local: str = "") -> Person:
    """A firm's desk rather than a person. local: its local part, a usual one where empty."""
    found = desk_of(world.rng, world.stranger(freemail=False))
    return replace(found, address=f"{local}@{found.domain}") if local else found


def dress(world: World, draft: Draft, reader: Person, values: dict[str, str]) -> Draft:
    """Give a first mail what first mails have: a link, a file, an address for answers, blind copies, HTML alone."""
    rng = world.rng
    sender = draft.sender
    sign(world, draft, reader)
    if rng.random() < 0.12:
        link = veiled(rng, shared(rng, sender.domain))
        draft.paragraphs.insert(-1, rng.choice((link, f"[[{rng.choice(('Open document', 'Document', link))}|{link}]]")))
    if rng.random() < 0.08 and draft.subject:
        draft.subject = f"{rng.choice(('Re', 'RE', 'FW', 'Fwd'))}: {draft.subject}"
    if rng.random() < 0.12:
        name = stem(rng, values)
        draft.files.append(
            locked_archive(rng, f"{name}.zip", f"{name}.pdf")
            if rng.random() < 0.4
            else document(f"{name}.docm" if rng.random() < 0.3 else f"{name}.docx", draft.text)
        )
        if draft.files[-1].name.endswith(".zip"):
            draft.paragraphs.insert(-1, f"Password: {values['code']}")
    if rng.random() < 0.15:
        draft.reply_to = world.stranger(freemail=rng.random() < 0.5).address
    if rng.random() < 0.08:
        draft.to, draft.rcpt = (), (reader.address,)
    if draft.html and rng.random() < 0.15:
        draft.only_html = True
    return draft


def sign(world: World, draft: Draft, reader: Person) -> None:
    """Put a link to the sender's own site below some mail, good and bad, as signatures have it."""
    rng = world.rng
    if rng.random() < 0.25 and draft.sender.domain not in world.company.domains:
        link = page(rng, f"www.{draft.sender.domain}", reader.address)
        draft.paragraphs.append(rng.choice((link, f"[[our site|{link}]]", f"[[www.{draft.sender.domain}|{link}]]")))


def _written(
    world: World,
    sender: Person,
    reader: Person,
    kind: str,
    sentences: int,
    now_us: int,
    values: dict[str, str] | None = None,
) -> Draft:
    values = world.values(sender, reader, now_us) if values is None else values
    grammar = world.rng.choice(ABROAD) if world.rng.random() < _ABROAD_SHARE else FIRST
    body = world.write(("hello", " ".join([f"{kind}_line"] * sentences), "bye"), grammar, values)
    draft = world.draft(sender, (reader,), world.say(f"{kind}_subject", grammar, values), list(filter(None, body)))
    return dress(world, draft, reader, values)


def _send(world: World, at_us: int, sender: Person, write: Write, role: str = "info", department: str = "") -> int:
    """Have one written at the time, or some hours off where the writer lives by another clock."""
    rng = world.rng
    reader = world.company.roles[role] if rng.random() < 0.25 else rng.choice(world.company.people)
    if department and rng.random() < 0.6:
        reader = rng.choice(world.company.department(department))
    if rng.random() < 0.2:
        at_us += rng.randrange(-4 * HOUR_US, 5 * HOUR_US)
    world.later(at_us, lambda now_us: write(sender, reader, now_us))
    return 1
