"""The state of the simulated world: who is there, what is due, and which threads are open."""

from __future__ import annotations

import heapq
import random
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mailwarden.simulation.attachments import iban, wallet
from mailwarden.simulation.company import Company
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.grammar import Grammar, expand, mistype
from mailwarden.simulation.mime import US_PER_S, civil, date_header, message_id
from mailwarden.simulation.networks import host_for, rented_network
from mailwarden.simulation.people import (
    Organisation,
    Person,
    Posture,
    Route,
    desk_of,
    documentation_ip,
    firm_name,
    invent_person,
    route_of,
)
from mailwarden.simulation.rewording import reword
from mailwarden.simulation.travel import at_home, away

MINUTE_US = 60 * US_PER_S
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
_MONTH_NAMES = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_CHARSETS = {"en": ("utf-8",), "de": ("utf-8", "iso-8859-1", "windows-1252"), "fr": ("utf-8", "iso-8859-1")}
_SMALL_POSTURES = (
    *(Posture(),) * 4,
    *(Posture(dmarc=False),) * 3,
    *(Posture(dkim=False, dmarc=False),) * 2,
    Posture(False, False, False),
)
_WRONG_CLOCKS_S = (-86_400, -50_000, -10_800, -3_600, 5_400, 7_200, 40_000, 86_400)
_POLISHED = 0.1
"""Of good paragraphs: those whose writer had a language model go over them, as attackers do."""
_OFFICE_NETWORK = "10.20."
_NAMES = ("en", "en", "en", "en", "en", "de", "fr")
_NEW_FIRMS = (
    "aldine",
    "birchwood",
    "corvane",
    "dunlin",
    "elmstead",
    "fairmount",
    "gantry",
    "holmlea",
    "inverlock",
    "junewell",
    "kirkdale",
    "larkhill",
    "mossbank",
    "netherby",
    "oakhanger",
    "pinecrest",
)
_NEW_TRADES = (
    "systems",
    "foods",
    "works",
    "group",
    "trading",
    "health",
    "engineering",
    "logistics",
    "studio",
    "media",
    "inc",
    "secure",
    "online",
    "portal",
    "travel",
    "print",
    "care",
    "tech",
)

Action = Callable[[int], Draft]


@dataclass(slots=True)
class Thread:
    """A conversation so far. ids: Message-IDs, oldest first. author, text, at_us: of the last message."""

    subject: str
    members: tuple[Person, ...]
    ids: list[str]
    author: Person
    text: str
    at_us: int


class World:
    """Everything that changes while the mail is made; all chance comes from one generator in a fixed order."""

    def __init__(self, rng: random.Random, company: Company, start_us: int, *, deep: bool = False) -> None:
        self.rng = rng
        self.company = company
        self.start_us = start_us
        self.threads: deque[Thread] = deque(maxlen=150)
        self.acquaintances: deque[Person] = deque(maxlen=300)
        self.unwanted: deque[Draft] = deque(maxlen=40)
        self.suffixes: tuple[str, ...] = ("example",)
        self.deep = deep
        self.now_us = start_us
        self._campaigns = 0
        self._agenda: list[tuple[int, int, Action]] = []
        self._scheduled = 0
        self._organisations = {
            o.domain: o for o in (*company.partners, *company.services, *company.newsletters, *company.lists)
        }
        for domain in company.freemail_domains:
            self._add_organisation(domain, domain, "freemail", Posture())

    def become(self, company: Company) -> None:
        """The company as it is from now on."""
        self.company = company
        self._organisations.update((one.domain, one) for one in company.partners)

    def later(self, at_us: int, action: Action) -> None:
        """Have the action make a message at that time or as soon after as the border host is free."""
        self._scheduled += 1
        heapq.heappush(self._agenda, (at_us, self._scheduled, action))

    def due_before(self, end_us: int) -> int:
        """How many messages are due before the time."""
        return sum(1 for at_us, _, _ in self._agenda if at_us < end_us)

    def pop(self, end_us: int) -> tuple[int, Action] | None:
        """The next action due before the time, or None."""
        if not self._agenda or self._agenda[0][0] >= end_us:
            return None
        at_us, _, action = heapq.heappop(self._agenda)
        return at_us, action

    def campaign(self, label: str) -> str:
        """A new campaign's name."""
        self._campaigns += 1
        return f"{label.lower()}-{self._campaigns:05d}"

    def working_time(self, at_us: int, person: Person) -> int:
        """The time itself where the person works then, else some minutes into the next working day."""
        shift_us = person.utc_offset_minutes * MINUTE_US
        day, within = divmod(at_us + shift_us, DAY_US)
        opens = person.start_hour * HOUR_US
        if weekday(day) < 5 and opens <= within < opens + 10 * HOUR_US:
            return at_us
        if within >= opens:
            day += 1
        while weekday(day) >= 5:
            day += 1
        return day * DAY_US + opens + self.rng.randrange(90 * MINUTE_US) - shift_us

    def organisation(self, domain: str) -> Organisation:
        """The owner of a domain; one that nobody here deals with has a posture and hosts that its name settles."""
        known = self._organisations.get(domain)
        if known is not None:
            return known
        drawn = zlib.crc32(f"posture {domain}".encode())
        posture = _SMALL_POSTURES[drawn % len(_SMALL_POSTURES)]
        return Organisation(firm_name(domain), domain, "unknown", "en", posture, (), rented_network(domain))

    def route(self, sender: Person) -> Route:
        """How genuine mail of this sender arrives."""
        if sender.domain in self.company.domains:
            return Route(
                host=f"host-{sender.client_ip.replace('.', '-')}.lan.invalid", ip=sender.client_ip, submitted=True
            )
        found = route_of(self.rng, self.organisation(sender.domain))
        own = self.organisation(sender.domain).ip
        return replace(found, ip=host_for(own, sender.address)) if self.deep and found.ip == own else found

    def stranger(self, *, freemail: bool, language: str = "") -> Person:
        """A person or a firm's desk that never wrote before, good or bad. language: of the name; drawn where empty."""
        rng = self.rng
        spoken = language or rng.choice(_NAMES)
        domain = rng.choice(self.company.freemail_domains) if freemail else self.new_domain()
        person = invent_person(rng, domain, spoken, "free" if freemail else "firm")
        if not freemail and rng.random() < 0.3:
            person = desk_of(rng, person)
        return person if language else replace(person, language="en")

    def new_domain(self) -> str:
        """The domain of a firm that the company has most likely not met."""
        label = f"{self.rng.choice(_NEW_FIRMS)}-{self.rng.choice(_NEW_TRADES)}"
        suffix = self.suffixes[0] if len(self.suffixes) == 1 else self.rng.choice(self.suffixes)
        return f"{label}{self.rng.randint(2, 99) if self.rng.random() < 0.3 else ''}.{suffix}"

    def values(self, sender: Person, reader: Person, at_us: int) -> dict[str, str]:
        """What the grammars' braces stand for in a message from sender to reader."""
        rng = self.rng
        month = civil(at_us // DAY_US)[1]
        amount = rng.choice((rng.randint(80, 990), rng.randint(1_000, 9_900), rng.randint(10_000, 94_000)))
        currency = rng.choice(("EUR {:,}.00", "{:,} EUR", "EUR {:,}.50", "USD {:,}.00", "€ {:,}"))
        return {
            "me": sender.name,
            "me_first": sender.first,
            "first": reader.first,
            "company": self.company.name,
            "partner": rng.choice(self.company.partners).name,
            "actor": rng.choice(self.company.people).name,
            "amount": currency.format(amount),
            "invoice": f"{rng.choice(('', 'R', 'INV-', 'F', '2026-'))}{rng.randint(1_000, 99_999)}",
            "month": _MONTH_NAMES[month - 2],
            "code": f"{rng.randint(0, 999_999):06d}",
            "phone": f"+1 (555) {rng.choice((201, 312, 415, 646))}-01{rng.randint(0, 99):02d}",
        }

    def say(self, symbol: str, grammar: Grammar, values: dict[str, str]) -> str:
        """One phrase of the symbol."""
        if "iban" not in values:
            values["iban"] = iban(self.rng)
        if "wallet" not in values:
            values["wallet"] = wallet(self.rng)
        return expand(self.rng, "{" + symbol + "}", grammar, values)

    def write(self, parts: Sequence[str], grammar: Grammar, values: dict[str, str], typos: float = 0.004) -> list[str]:
        """A paragraph for each part; a part is symbols apart by blanks, whose phrases stand in one paragraph."""
        written = []
        for part in parts:
            text = " ".join(filter(None, (self.say(symbol, grammar, values) for symbol in part.split(" "))))
            if self.rng.random() < _POLISHED:
                text = reword(self.rng, text, 0.3)
            written.append(mistype(self.rng, text, typos) if self.rng.random() < 0.5 else text)
        return written

    def draft(self, sender: Person, to: Sequence[Person], subject: str, paragraphs: list[str]) -> Draft:
        """A genuine message with what the sender's mailer and language imply."""
        rng = self.rng
        charsets = _CHARSETS[sender.language]
        if self.deep and sender.domain in self.company.domains:
            sender = away(sender, self.now_us)
        elif sender.domain in self.company.domains and rng.random() < 0.06:
            # Staff on the road write from webmail and foreign networks, as a thief of the mailbox does.
            sender = replace(sender, mailer="webmail", client_ip=documentation_ip(rng))
        if sender.client_ip.startswith(_OFFICE_NETWORK):
            sender = at_home(sender, self.now_us)
        return Draft(
            sender=sender,
            to=to,
            subject=subject,
            paragraphs=paragraphs,
            route=self.route(sender),
            message_id=message_id(rng, sender),
            html=sender.mailer in ("suite", "webmail", "bulk"),
            charset=charsets[len(sender.name) % len(charsets)],
            skew_s=-rng.randint(1, 40) if rng.random() < 0.97 else rng.choice(_WRONG_CLOCKS_S),
            forged_results=self._results_of_before(sender),
        )

    def _results_of_before(self, sender: Person) -> str:
        """What the sender's own gateway wrote about the message: some do, good and bad, and it proves nothing here."""
        domain = sender.domain
        if domain in self.company.domains or zlib.crc32(f"gateway {domain}".encode()) % 14:
            return ""
        return f"mx.{domain}; spf=pass smtp.mailfrom={domain}; dkim=pass header.d={domain}; dmarc=pass"

    def open_thread(self, draft: Draft, at_us: int) -> Thread:
        """A thread begun by the draft."""
        members = tuple(dict.fromkeys((draft.sender, *draft.to, *draft.cc)))
        thread = Thread(draft.subject, members, [draft.message_id], draft.sender, draft.read, at_us)
        self.threads.append(thread)
        return thread

    def answer(self, thread: Thread, author: Person, paragraphs: list[str], at_us: int, prefix: str = "Re: ") -> Draft:
        """A genuine reply of a member to the thread's last message, which the thread then ends with."""
        partner = thread.author if thread.author is not author else next(m for m in thread.members if m is not author)
        draft = self.draft(author, (partner,), prefix + thread.subject, paragraphs)
        if self.rng.random() < 0.8:
            draft.cc = tuple(m for m in thread.members if m is not author and m is not partner)
        quote(draft, thread)
        if self.rng.random() < 0.03:
            # Some phones answer without reference headers, which looks like an invented thread.
            draft.in_reply_to, draft.references = "", ()
        thread.ids.append(draft.message_id)
        thread.author, thread.text, thread.at_us = author, draft.read, at_us
        return draft

    def _add_organisation(self, domain: str, name: str, kind: str, posture: Posture) -> Organisation:
        added = Organisation(name, domain, kind, "en", posture, (), rented_network(domain))
        self._organisations[domain] = added
        return added


def quote(draft: Draft, thread: Thread) -> None:
    """Make the draft follow the thread's last message: reference headers and quoted text."""
    draft.in_reply_to = thread.ids[-1]
    draft.references = tuple(thread.ids[-8:])
    draft.quoted = thread.text
    stamp = date_header(thread.at_us, thread.author.utc_offset_minutes)
    if draft.sender.mailer == "suite":
        draft.quoted_head = (
            f"-----Original Message-----\nFrom: {thread.author.name} <{thread.author.address}>\nSent: {stamp}\n"
            f"Subject: {thread.subject}"
        )
    else:
        draft.quoted_head = f"On {stamp}, {thread.author.name} wrote:"


def weekday(day: int) -> int:
    """Monday is 0; day: days since 1970-01-01."""
    return (day + 3) % 7
