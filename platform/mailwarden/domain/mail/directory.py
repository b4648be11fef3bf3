"""A tenant's directory: who works there, who its VIPs and partners are, and what that says of a message."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from mailwarden.domain.mail.addresses import address_domain, registrable_domain
from mailwarden.domain.mail.directory_answer import DirectoryAnswer, Duty, Named
from mailwarden.domain.mail.domain_lookalikes import KnownDomains
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.own_domains import covers
from mailwarden.domain.mail.person_names import abbreviated, initials_of, person_of

_WORDS: dict[Duty, str] = {
    "partner": "vendor|supplier|partner|customer|client|lieferant|kunde|fournisseur",
    "finance": "financ\\w*|account(?:s|ing|ant)|treasur\\w*|controll(?:er|ing)|payable|billing|cfo|buchhaltung",
    "hr": "hr|human resources|people|payroll|personal(?:abteilung|wesen)|recruit\\w*|talent",
    "executive": "c[et]o|coo|chief|president|director|managing|chair\\w*|founder|owner|board|vorstand|"
    "gesch\u00e4ftsf\u00fchr\\w*|pdg",
    "it": "it|ict|helpdesk|help desk|admin\\w*|security|infrastructure|system\\w*",
    "legal": "legal|counsel|lawyer|attorney|compliance|recht\\w*",
}
_DUTIES = {duty: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for duty, words in _WORDS.items()}
_CHIEF = re.compile(
    r"\b(?:c[eft]o|coo|chief|president|founder|vorstand|gesch\u00e4ftsf\u00fchrer\w*|pdg)\b", re.IGNORECASE
)
_ASKED_FIRST: tuple[Duty, ...] = ("finance", "hr", "executive", "it", "legal", "partner", "other", "")
_MOST_RECIPIENTS = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody, or a partner, in a directory.

    address: normalised; of a partner it may be a domain. aliases: more of their own addresses, and more names that
    they bear. manager: address of theirs, "" without. vip: None where the directory does not say.
    """

    address: str
    name: str = ""
    aliases: tuple[str, ...] = ()
    role: str = ""
    department: str = ""
    manager: str = ""
    vip: bool | None = None

    @property
    def is_vip(self) -> bool:
        """Whether the directory says so, or says nothing and their role is at the head of the house."""
        return _CHIEF.search(self.role) is not None if self.vip is None else self.vip

    @property
    def addresses(self) -> tuple[str, ...]:
        """All their own."""
        return (self.address, *(alias for alias in self.aliases if "@" in alias))

    @property
    def names(self) -> tuple[str, ...]:
        """All that they bear."""
        return tuple(filter(None, (self.name, *(alias for alias in self.aliases if "@" not in alias))))

    @property
    def duty(self) -> Duty:
        """What role and department come to."""
        return _duty_of(self.role, self.department)


class Directory:
    """The entries of a tenant, in order of address, with what they are looked up by; one without any was not given.

    rows: an entry's fields each. index: places in `rows`. Both as `to_json` has them: `of` makes them, once, since it
    takes seconds for a large house, and whoever reads them back needs a moment.
    """

    def __init__(self, rows: Sequence[Sequence[Any]] = (), index: Mapping[str, Any] | None = None) -> None:
        self._rows = rows
        index = index or {}
        self._by_address: Mapping[str, int] = index.get("address", {})
        self._by_name: Mapping[str, int] = index.get("name", {})
        self._by_initials: Mapping[str, int] = index.get("initials", {})
        self._partner_domains: Sequence[str] = index.get("partners", ())
        self.fingerprint: str = index.get("fingerprint", "")

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Directory:
        """The directory of these entries. Of several with one name the first counts, and a VIP before others."""
        kept = sorted(entries, key=lambda entry: entry.address)
        rows = [[*astuple(entry)] for entry in kept]
        address: dict[str, int] = {}
        name: dict[str, int] = {}
        initials: dict[str, int] = {}
        for at, entry in enumerate(kept):
            address[entry.address] = at
        for at, entry in sorted(enumerate(kept), key=lambda one: not one[1].is_vip):
            for alias in entry.addresses:
                address.setdefault(alias, at)
            for written in entry.names:
                name.setdefault(person_of(written), at)
                for form in initials_of(written):
                    initials.setdefault(form, at)
        name.pop("", None)
        hosts = (entry.address.rpartition("@")[2] for entry in kept if entry.duty == "partner")
        partners = sorted({domain for host in hosts if (domain := registrable_domain(host))})
        text = json.dumps(rows)
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() if rows else ""
        index = {"address": address, "name": name, "initials": initials, "partners": partners, "fingerprint": digest}
        return cls(rows, index)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, index and all."""
        return {
            "rows": self._rows,
            "index": {
                "address": self._by_address,
                "name": self._by_name,
                "initials": self._by_initials,
                "partners": self._partner_domains,
                "fingerprint": self.fingerprint,
            },
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Directory:
        """What `to_json` gave."""
        return cls(values["rows"], values["index"])

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All, in order of address."""
        return tuple(map(_entry, self._rows))

    def entry_of(self, address: str) -> Entry | None:
        """The entry whose address, or further address, a normalised one is; None where it is nobody's."""
        at = self._by_address.get(address)
        return None if at is None else _entry(self._rows[at])

    def says(self, event: Event, own_domains: frozenset[str]) -> DirectoryAnswer:
        """What is known of who wrote a message and whom to. Work is bounded, however large the directory.

        own_domains: as the tenant names them.
        """
        own = covers(own_domains, address_domain(event.sender))
        domain = event.sender_domain
        near_own = None if own or not domain else _known(own_domains).near(domain)
        said = DirectoryAnswer(
            own_domain=own,
            own_unproven=own and event.direction == "inbound",
            own_near=near_own.domain if near_own else "",
            own_near_edits=near_own is not None and near_own.how == "edit",
        )
        if not self._rows:
            return said
        sender = self.entry_of(event.sender)
        near = None if own or sender is not None or not domain else self._partners.near(domain)
        found = (self.entry_of(address) for address in event.recipients[:_MOST_RECIPIENTS])
        recipients = [entry for entry in found if entry is not None]
        person, named = self._named(event.display_name, sender)
        managers = {entry.manager for entry in recipients}
        return replace(
            said,
            listed=True,
            partner_near=near.domain if near else "",
            partner_near_edits=near is not None and near.how == "edit",
            sender_there=sender is not None,
            sender_duty="" if sender is None else sender.duty,
            sender_vip=sender is not None and sender.is_vip,
            named=named,
            named_duty="" if person is None else person.duty,
            named_vip=person is not None and person.is_vip,
            named_manager=person is not None and not managers.isdisjoint(person.addresses),
            named_theirs=person is not None and person == sender,
            named_usual="" if person is None else person.address,
            recipient_duty=min((entry.duty for entry in recipients), key=_ASKED_FIRST.index, default=""),
            recipient_vip=any(entry.is_vip for entry in recipients),
        )

    def _named(self, display_name: str, sender: Entry | None) -> tuple[Entry | None, Named]:
        """Whom a display name names, the sender itself before others of the same name, and how."""
        whole, short = person_of(display_name), abbreviated(display_name)
        if sender is not None and (whole or short):
            if whole in map(person_of, sender.names):
                return sender, "name"
            if any(short in initials_of(name) for name in sender.names):
                return sender, "initials"
        if whole in self._by_name:
            return _entry(self._rows[self._by_name[whole]]), "name"
        if short in self._by_initials:
            return _entry(self._rows[self._by_initials[short]]), "initials"
        return None, ""

    @cached_property
    def _partners(self) -> KnownDomains:
        return KnownDomains(self._partner_domains)


def _entry(row: Sequence[Any]) -> Entry:
    address, name, aliases, *rest = row
    return Entry(address, name, tuple(aliases), *rest)


NO_DIRECTORY = Directory()
"""None was given."""


@lru_cache(maxsize=1_024)
def _known(own_domains: frozenset[str]) -> KnownDomains:
    return KnownDomains(filter(None, (registrable_domain(name.removeprefix(".")) for name in own_domains)), 2)


@lru_cache(maxsize=16_384)
def _duty_of(role: str, department: str) -> Duty:
    for text in (role, department):
        for duty, words in _DUTIES.items():
            if words.search(text):
                return duty
    return "other" if role or department else ""
