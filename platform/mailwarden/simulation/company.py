"""The made-up company, its partners, and the services whose mail it gets."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from mailwarden.errors import ConfigError
from mailwarden.simulation.people import (
    MAILERS,
    Organisation,
    Person,
    Posture,
    documentation_ip,
    invent_name,
    invent_person,
    local_part,
)

TENANT = "example-corp"
DOMAINS = ("example-corp.example", "example-corp.test")
AUTHSERV_ID = "mx.example-corp.example"
FREEMAIL_DOMAINS = ("mailbox.example", "postfach.example", "courriel.example")
FREE_HOSTS = ("freepages.example", "formbuilder.example", "filedrop.example")
REDIRECTOR = "click.searchly.example"
BRANDS = ("Cloudoffice", "Parcelworld", "Signwell", "Bankunion", "Sharebox", "Ringcast")

_DEPARTMENTS = (
    ("engineering", 10),
    ("sales", 8),
    ("operations", 7),
    ("finance", 4),
    ("support", 5),
    ("hr", 2),
    ("executive", 3),
)
_VENDORS = (
    ("Northwind Parts", "northwind-parts"),
    ("Harbor Freight Lines", "harborlines"),
    ("Kestrel Tooling", "kestrel-tooling"),
    ("Bluepeak Energy", "bluepeak-energy"),
    ("Papermill Office", "papermill-office"),
    ("Ostwald Metall", "ostwald-metall"),
    ("Atelier Garonne", "atelier-garonne"),
    ("Sterling Legal", "sterling-legal"),
    ("Cleanway Services", "cleanway"),
    ("Meridian Hosting", "meridian-hosting"),
    ("Tallis Staffing", "tallis-staffing"),
    ("Delta Insurance", "delta-cover"),
)
_CUSTOMERS = (
    ("Fernhill Foods", "fernhill-foods"),
    ("Quarry Lane Labs", "quarrylane"),
    ("Solent Marine", "solent-marine"),
    ("Brightwater Council", "brightwater-council"),
    ("Rheinwerk Anlagen", "rheinwerk-anlagen"),
    ("Ville de Sarlac", "sarlac"),
    ("Tamarind Hotels", "tamarind-hotels"),
    ("Copperfield Motors", "copperfield-motors"),
    ("Lumen Clinics", "lumen-clinics"),
    ("Ashdown Brewery", "ashdown-brewery"),
    ("Polaris Mining", "polaris-mining"),
    ("Wexley College", "wexley-college"),
    ("Iberis Solar", "iberis-solar"),
    ("Morgenrot Bau", "morgenrot-bau"),
)
_LANGUAGES = {
    "ostwald-metall": "de",
    "rheinwerk-anlagen": "de",
    "morgenrot-bau": "de",
    "atelier-garonne": "fr",
    "sarlac": "fr",
}
_SERVICES = (
    ("Trackboard", "trackboard"),
    ("Codeforge", "codeforge"),
    ("Sharebox", "sharebox"),
    ("Cloudoffice", "cloudoffice"),
    ("Signwell", "signwell"),
    ("Parcelworld", "parcelworld"),
    ("Expensely", "expensely"),
    ("Bankunion", "bankunion"),
    ("Staffportal", "staffportal"),
    ("Ringcast", "ringcast"),
    ("Meetly", "meetly"),
    ("Billhop", "billhop"),
)
_NEWSLETTERS = (
    ("The Instrument Letter", "instrumentletter"),
    ("Supply Chain Weekly", "scweekly"),
    ("Morning Ledger", "morningledger"),
    ("Deals Depot", "dealsdepot"),
    ("People & Work", "peopleandwork"),
    ("Der Mittelstand Brief", "mittelstandbrief"),
    ("Calibre Events", "calibre-events"),
    ("Stack Digest", "stackdigest"),
)
_LISTS = (
    ("metrology", "lists.opencommunity"),
    ("embedded-dev", "lists.opencommunity"),
    ("payroll-forum", "forum.guild"),
)


@dataclass(frozen=True, slots=True)
class Company:
    """The tenant and the world round it.

    tenant: its name. domains: its own registrable domains. authserv_id: the one Authentication-Results author to
    trust. freemail_domains: hosts that act as free-mail here. people: employees. roles: shared addresses by name.
    partners: vendors, then customers. services, newsletters, lists: senders of machine mail.
    """

    tenant: str
    domains: tuple[str, ...]
    authserv_id: str
    freemail_domains: tuple[str, ...]
    people: tuple[Person, ...]
    roles: dict[str, Person]
    partners: tuple[Organisation, ...]
    services: tuple[Organisation, ...]
    newsletters: tuple[Organisation, ...]
    lists: tuple[Organisation, ...]

    def department(self, name: str) -> tuple[Person, ...]:
        """The employees of a department, never empty."""
        return tuple(p for p in self.people if p.department == name) or self.people

    def others(self, person: Person, department: str | None = None) -> tuple[Person, ...]:
        """The employees of a department, or all, but for the person; all others where that leaves nobody."""
        pool = tuple(p for p in self.people if p.department == department and p is not person)
        return pool or tuple(p for p in self.people if p is not person)

    @property
    def chief(self) -> Person:
        """The chief executive, whom attackers like to be."""
        return self.department("executive")[0]

    @property
    def vendors(self) -> tuple[Organisation, ...]:
        """The partners that send invoices."""
        return tuple(o for o in self.partners if o.kind == "vendor")

    @property
    def customers(self) -> tuple[Organisation, ...]:
        """The partners that order."""
        return tuple(o for o in self.partners if o.kind == "customer")


def company(seed: int = 7, employees: int = 40) -> Company:
    """The company of a seed; the same seed gives the same people. Raises ConfigError below 10 employees."""
    if employees < 10:
        raise ConfigError(f"simulation: employees={employees} leaves departments empty; give at least 10")
    rng = random.Random(f"company-{seed}")
    return Company(
        tenant=TENANT,
        domains=DOMAINS,
        authserv_id=AUTHSERV_ID,
        freemail_domains=FREEMAIL_DOMAINS,
        people=_employees(rng, employees),
        roles={
            role: Person(name, f"{role}@{DOMAINS[0]}", role=role)
            for role, name in (
                ("everyone", "Everyone"),
                ("accounts", "Accounts Payable"),
                ("jobs", "Recruiting"),
                ("info", "Example Corp"),
                ("it-support", "IT Support"),
                ("support", "Customer Support"),
            )
        },
        partners=tuple(_partner(rng, *v, "vendor") for v in _VENDORS)
        + tuple(_partner(rng, *c, "customer") for c in _CUSTOMERS),
        services=tuple(_machine(rng, *s, "service") for s in _SERVICES),
        newsletters=tuple(_machine(rng, *n, "newsletter") for n in _NEWSLETTERS),
        lists=tuple(_list(rng, *entry) for entry in _LISTS),
    )


def _employees(rng: random.Random, count: int) -> tuple[Person, ...]:
    total = sum(weight for _, weight in _DEPARTMENTS)
    departments = [d for d, weight in _DEPARTMENTS for _ in range(max(1, weight * count // total))]
    departments = (departments + ["engineering", "sales", "operations"] * count)[: count - 1]
    people: dict[str, Person] = {}
    for department in ["executive", *departments]:
        name = invent_name(rng, rng.choice(("en", "en", "en", "en", "en", "de", "fr")))
        while name in people:
            name = invent_name(rng)
        people[name] = Person(
            name=name,
            address=f"{local_part(rng, name, 'dotted')}@{DOMAINS[0]}",
            department=department,
            role="Chief Executive" if not people else f"{department} team",
            mailer=rng.choice(MAILERS[:3]),
            client_ip=f"10.20.{rng.randint(1, 9)}.{rng.randint(2, 250)}",
            start_hour=rng.choice((7, 8, 8, 9, 9)),
        )
    return tuple(people.values())


def _posture(rng: random.Random) -> Posture:
    return rng.choices(
        (Posture(), Posture(dmarc=False), Posture(dkim=False, dmarc=False), Posture(False, False, False)),
        (60, 22, 12, 6),
    )[0]


def _partner(rng: random.Random, name: str, label: str, kind: str) -> Organisation:
    language = _LANGUAGES.get(label, "en")
    domain = f"{label}.example"
    style = rng.choice(("dotted", "initial"))
    people = [invent_person(rng, domain, language, style) for _ in range(rng.randint(2, 4))]
    if kind == "vendor":
        people.append(
            replace(
                people[0],
                name=f"{name} Billing",
                address=f"billing@{domain}",
                role="billing",
                mailer=rng.choice(("suite", "bulk", "script")),
            )
        )
    return Organisation(name, domain, kind, language, _posture(rng), tuple(people), documentation_ip(rng))


def _machine(rng: random.Random, name: str, label: str, kind: str) -> Organisation:
    domain = f"{label}.example"
    local = rng.choice(("no-reply", "notify", "hello", "news")) if kind == "newsletter" else "no-reply"
    sender = Person(
        name, f"{local}@{domain}", role="machine", mailer=rng.choice(("bulk", "bulk", "script")), utc_offset_minutes=0
    )
    language = "de" if label.startswith("mittelstand") else "en"
    posture = Posture(dmarc=kind == "service" or rng.random() < 0.7)
    return Organisation(name, domain, kind, language, posture, (sender,), documentation_ip(rng))


def _list(rng: random.Random, name: str, host: str) -> Organisation:
    homes = [f"{label}.example" for label in ("hobbyworks", "fieldlab", "uni-arden", "mailbox", "postfach")]
    people = tuple(invent_person(rng, rng.choice(homes), "en", rng.choice(("dotted", "free"))) for _ in range(14))
    return Organisation(name, f"{host}.example", "list", "en", Posture(dmarc=False), people, documentation_ip(rng))
