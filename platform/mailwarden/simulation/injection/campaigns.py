"""Campaigns of the world's own against a real host: in its partners' names, in its threads, from its own accounts."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mailwarden.simulation import attacks, bulk, impersonation
from mailwarden.simulation.correspondence import Plan
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.injection.acquaintance import Acquaintance, Stolen, Writer
from mailwarden.simulation.injection.letter import Letter, field_of
from mailwarden.simulation.injection.received import moved, reshuffled, with_date
from mailwarden.simulation.injection.spill import NATIVE, Attack
from mailwarden.simulation.mime import date_header, recipients, render
from mailwarden.simulation.people import Person
from mailwarden.simulation.world import DAY_US, Thread, World

_PLANS: tuple[tuple[Plan, int], ...] = (
    (attacks.credential_phishing, 4),
    (attacks.malware, 3),
    (impersonation.executive_fraud, 4),
    (impersonation.vendor_fraud, 4),
    (impersonation.lateral, 2),
    (impersonation.compromised_partner, 3),
    (attacks.callback, 3),
    (attacks.extortion, 2),
    (attacks.reconnaissance, 2),
    (attacks.scam, 2),
    (bulk.spam, 2),
)
_STOLEN_WITHIN_US = 30 * DAY_US
_CONTENT = ("mime-version", "content-type", "content-transfer-encoding", "content-disposition", "content-language")


def campaigns(known: Acquaintance, times: Sequence[int], end_us: int, seed: int) -> Iterator[Attack]:
    """Attacks on the host, about one a time, by campaign.

    times: ascending moments at which campaigns may begin; none of their messages comes after end_us. A category that
    the host gives no ground for is left out: none from its own accounts where nobody of its own writes.
    """
    rng = random.Random(f"campaigns {seed}")
    world = World(rng, known.company(rng), times[0])
    world.deep = True
    world.suffixes = ("com", "net", "info", "co")
    stolen = sorted(known.stolen, key=lambda one: one.at_us)
    bag: list[Plan] = []
    made, turn = 0, 0
    while made < len(times) and turn < 20 * len(times):
        start_us = times[made]
        turn += 1
        if not bag:
            bag = [plan for plan, weight in _plans(known, world) for _ in range(weight)]
            rng.shuffle(bag)
        world.threads = deque(_threads(stolen, start_us, world), maxlen=150)
        bag.pop()(world, start_us)
        while (due := world.pop(1 << 62)) is not None and made < len(times):
            at_us, action = due
            at_us = at_us // 1_000_000 * 1_000_000
            draft = action(at_us)
            if draft.label == "ham" or at_us > end_us:
                continue
            if draft.label in ("LA", "EA") and draft.sender.address not in known.writers:
                continue
            made += 1
            yield _attack(known, world, draft, at_us)
        while world.pop(1 << 62) is not None:
            pass


def _plans(known: Acquaintance, world: World) -> Iterator[tuple[Plan, int]]:
    own = set(world.company.domains)
    known_domains = {address.rpartition("@")[2] for address in known.writers}
    inside = any(address.rpartition("@")[2] in own for address in known.writers)
    for plan, weight in _PLANS:
        if plan is impersonation.lateral and not inside:
            continue
        if plan is impersonation.compromised_partner and not any(
            o.domain in known_domains for o in world.company.partners
        ):
            continue
        yield plan, weight


def _threads(stolen: list[Stolen], at_us: int, world: World) -> Iterator[Thread]:
    for one in stolen:
        if at_us - _STOLEN_WITHIN_US <= one.at_us < at_us:
            author = Person(one.author.name, one.author.address)
            readers = tuple(Person(name.partition("@")[0], name) for name in one.author.recipients[:4])
            yield Thread(one.subject, (author, *readers), list(one.ids), author, one.text, one.at_us)


def _attack(known: Acquaintance, world: World, draft: Draft, at_us: int) -> Attack:
    account = known.writers.get(draft.sender.address)
    if draft.label in ("LA", "EA") and account is not None:
        raw, recipient = from_account(world.rng, draft, account, at_us)
        return Attack(raw, draft.label, "the world", NATIVE, draft.campaign or "", at_us, recipient)
    raw = render(world.rng, draft, at_us, world.company.domains[0], world.company.authserv_id)
    means = "stolen thread" if draft.quoted and draft.in_reply_to else "made"
    recipient = recipients(draft)[0]
    if recipient not in known.readers:
        recipient = world.rng.choices(list(known.readers), list(known.readers.values()))[0]
    return Attack(raw, draft.label, "the world", means, draft.campaign or "", at_us, recipient)


def from_account(rng: random.Random, draft: Draft, account: Writer, at_us: int) -> tuple[bytes, str]:
    """The draft as that account writes and its mail arrives, and whom it is for: a reader of the account's own.

    The path, the order of fields and the mail program are those of a message of the account; its own are the text,
    subject, thread and identity.
    """
    letter = Letter.read(account.sample)
    made = Letter.read(render(rng, replace(draft, to=draft.to[:1], cc=()), at_us, "unused.example", "unused"))
    by_us = at_us - account.at_us
    letter.remove((*_CONTENT, "in-reply-to", "references", "thread-index", "x-mailing-list", "content-length", "lines"))
    for place, one in enumerate(letter.fields):
        if one.key in ("received", "x-received"):
            value = one.raw.decode("latin-1").partition(":")[2].strip()
            head, semicolon, date = value.rpartition(";")
            if semicolon:
                letter.fields[place] = field_of(one.name, with_date(f"{head};{date}", moved(date.strip(), by_us)))
    letter.put("Date", moved(letter.first("date"), by_us) or date_header(at_us, 0))
    letter.put("Subject", made.first("subject"))
    given = letter.first("message-id")
    local, _, host = given.strip("<>").rpartition("@")
    letter.put("Message-ID", f"<{reshuffled(rng, local)}@{host}>")
    for name in ("In-Reply-To", "References"):
        if made.first(name.lower()):
            letter.put(name, made.first(name.lower()))
    for one in made.fields:
        if one.key in _CONTENT:
            letter.fields.append(one)
    letter.body = made.body.replace(b"\n", letter.eol)
    return letter.to_bytes(), rng.choice(account.recipients)
