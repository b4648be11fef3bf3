"""Who a host's people and partners are, and what they wrote to each other, learned from its mail; of bounded size."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from email.utils import parseaddr

from mailwarden.simulation.company import Company
from mailwarden.simulation.company import company as world_company
from mailwarden.simulation.injection.letter import Letter
from mailwarden.simulation.people import Organisation, Person, Posture, documentation_ip, plain

MOST_WRITERS = 1_500
MOST_THREADS = 1_500
MOST_TEXT = 3_000
FREE_MAIL = ("gmail.com", "outlook.com", "yahoo.com", "hotmail.com")
_FEW = 24
_DEPARTMENTS = ("executive", "finance", "hr", "sales", "engineering", "operations", "support")

TextOf = Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class Writer:
    """Somebody who writes to the host. sample: a message of his as it lies there; at_us: when that came."""

    address: str
    name: str
    sample: bytes
    recipients: tuple[str, ...]
    at_us: int


@dataclass(frozen=True, slots=True)
class Stolen:
    """A message that an attacker may have read: what a reply to it quotes and refers to."""

    author: Writer
    subject: str
    ids: tuple[str, ...]
    text: str
    at_us: int


@dataclass(slots=True)
class Acquaintance:
    """What is kept of a host's mail: its busiest writers, each with a message of his, and a fair draw of messages."""

    rng: random.Random
    text_of: TextOf
    domains: frozenset[str] = frozenset()
    writers: dict[str, Writer] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    readers: Counter[str] = field(default_factory=Counter)
    names: dict[str, str] = field(default_factory=dict)
    stolen: list[Stolen] = field(default_factory=list)
    seen: int = 0

    def learn(self, letter: Letter, raw: bytes, recipients: tuple[str, ...], at_us: int | None) -> None:
        """Take a message of the host in; one without a writer, a reader or a time says nothing."""
        name, address = parseaddr(letter.first("from"))
        address = address.lower()
        if "@" not in address or at_us is None or not recipients:
            return
        known = address in self.counts
        if known or len(self.counts) < MOST_WRITERS:
            self.counts[address] += 1
            writer = Writer(address, _decoded(name) or address.partition("@")[0], raw, recipients, at_us)
            if self.rng.random() < 1 / self.counts[address] or not known:
                self.writers[address] = writer
            self._steal(writer, letter, raw, at_us)
        for one in recipients:
            if one in self.readers or len(self.readers) < MOST_WRITERS:
                self.readers[one] += 1

    def _steal(self, writer: Writer, letter: Letter, raw: bytes, at_us: int) -> None:
        given = letter.first("message-id")
        if not given or len(raw) > 200_000:
            return
        self.seen += 1
        place = len(self.stolen) if len(self.stolen) < MOST_THREADS else self.rng.randrange(self.seen)
        if place >= MOST_THREADS:
            return
        subject = _decoded(letter.first("subject"))
        while subject[:3].lower() in ("re:", "fw:", "aw:"):
            subject = subject[3:].strip()
        ids = (*letter.first("references").split()[-7:], given)
        one = Stolen(writer, subject, ids, self.text_of(raw)[:MOST_TEXT], at_us)
        if place == len(self.stolen):
            self.stolen.append(one)
        else:
            self.stolen[place] = one

    def own_domains(self) -> frozenset[str]:
        """The host's own: as given, else the one that most of its mail is for."""
        if self.domains:
            return self.domains
        by_domain: Counter[str] = Counter()
        for address, times in self.readers.items():
            by_domain[address.rpartition("@")[2]] += times
        return frozenset(name for name, _ in by_domain.most_common(1))

    def company(self, rng: random.Random) -> Company:
        """The host as a company of the simulated world: readers are its people, busy writers partners."""
        own = self.own_domains()
        inside = [one for one, _ in self.readers.most_common(300) if one.rpartition("@")[2] in own]
        inside = inside or [one for one, _ in self.readers.most_common(20)]
        people = [self._person(rng, address, _DEPARTMENTS[n % 7]) for n, address in enumerate(inside)]
        if len(people) < _FEW:
            # A list or a single mailbox has nobody but those who write to it to be taken for colleagues.
            writers = [address for address, _ in self.counts.most_common(_FEW) if address not in inside]
            people += [self._person(rng, address, _DEPARTMENTS[n % 7]) for n, address in enumerate(writers)]
        people *= -(-_FEW // len(people))
        partners: dict[str, list[Person]] = {}
        for address, _ in self.counts.most_common(400):
            domain = address.rpartition("@")[2]
            if domain not in own and domain not in FREE_MAIL:
                partners.setdefault(domain, []).append(self._person(rng, address, ""))
        organisations = tuple(
            Organisation(
                domain.split(".")[-2 if "." in domain else 0].title(),
                domain,
                "vendor" if number % 2 == 0 else "customer",
                "en",
                Posture(),
                tuple(members),
                documentation_ip(rng),
            )
            for number, (domain, members) in enumerate(partners.items())
        )
        domain = next(iter(sorted(own)))
        roles = {name: people[n % len(people)] for n, name in enumerate(("everyone", "accounts", "jobs", "info"))}
        roles |= {name: Person("IT Support", f"{name}@{domain}", role=name) for name in ("it-support", "support")}
        return Company(
            tenant=domain,
            domains=(domain, *sorted(own - {domain})),
            authserv_id=f"mx.{domain}",
            freemail_domains=FREE_MAIL,
            people=tuple(people),
            roles=roles,
            partners=organisations or world_company().partners,
            services=(
                Organisation("Billhop", "billhop.example", "service", "en", Posture(), (_BILLHOP,), "198.18.9.9"),
            ),
            newsletters=(),
            lists=(),
            name=domain.split(".")[0].title(),
        )

    def _person(self, rng: random.Random, address: str, department: str) -> Person:
        writer = self.writers.get(address)
        name = writer.name if writer else self.names.get(address, "")
        local = address.partition("@")[0]
        shown = name if name and plain(name) != local else local.replace(".", " ").replace("_", " ").title()
        return Person(shown, address, department, department and f"{department} team", client_ip=documentation_ip(rng))


_BILLHOP = Person("Billhop", "no-reply@billhop.example", role="machine", mailer="bulk")


def _decoded(text: str) -> str:
    try:
        return str(make_header(decode_header(text))).replace("\n", " ").strip()
    except (ValueError, LookupError):
        return text
