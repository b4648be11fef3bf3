"""The made-up company, its partners, and the services whose mail it gets."""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass, replace

from mailwarden.errors import ConfigError
from mailwarden.simulation.networks import own_network
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
from mailwarden.simulation.travel import office

NAME = "Example Corp"
TENANT = "example-corp"
DOMAINS = ("example-corp.example", "example-corp.test")
MOST_EMPLOYEES = 1_000
AUTHSERV_ID = "mx.example-corp.example"
FREEMAIL_DOMAINS = ("mailbox.example", "postfach.example", "courriel.example")
FREE_HOSTS = ("freepages.example", "formbuilder.example", "filedrop.example")
SHORTENERS = ("lnkly.example", "tinyto.example")
REDIRECTOR = "click.searchly.example"
BRANDS = ("Cloudoffice", "Parcelworld", "Signwell", "Bankunion", "Sharebox", "Ringcast")

_NAMED, _LIST_NETWORK = 70, 60
"""Networks before these are of partners, services and newsletters with fixed names, then of lists, then of others."""
_FIRST_HALVES = (
    "ash", "bram", "calder", "dray", "elver", "fenn", "glen", "hart", "iron", "jasper", "keld", "lorne", "marl",
    "nether", "orrin", "pell", "quill", "rowan", "stave", "thorn", "ulver", "vale", "wren", "yarrow",
    "alt", "berg", "clair",
)  # fmt: skip
_SECOND_HALVES = (
    "bridge", "croft", "dale", "field", "ford", "gate", "haven", "hurst", "lock", "mead", "mont", "port", "ridge",
    "stone", "ton", "vale", "well", "wick", "wood", "worth", "bach", "feld", "rive",
)  # fmt: skip
_TRADES = ("tools", "freight", "paper", "power", "metal", "legal", "travel", "print", "labs", "foods", "pumps", "data")
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


AWARENESS = Organisation(
    "Phishwise", "phishwise.example", "service", "en", Posture(), (Person("Phishwise", "n@phishwise.example"),), ""
)
BENEFITS = Organisation(
    "Staffwell", "staffwell.example", "service", "en", Posture(), (Person("Staffwell", "b@staffwell.example"),), ""
)


@dataclass(frozen=True, slots=True)
class Company:
    """The tenant and the world round it.

    tenant: its name. domains: its own registrable domains. authserv_id: the one Authentication-Results author to
    trust. freemail_domains: hosts that act as free-mail here. people: employees. roles: shared addresses by name.
    partners: vendors, then customers. services, newsletters, lists: senders of machine mail. name: for people.
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
    name: str = "Example Corp"

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


def company(seed: int = 7, employees: int = 40, name: str = NAME, *, deep: bool = False) -> Company:
    """The company of a seed; the same seed gives the same people.

    name: for people, and what its domains are made of. deep: it has offices in several time zones and partners that
    no other seed has. Raises ConfigError for fewer than 10 or more than 1,000 employees, and a name without letters.
    """
    if not 10 <= employees <= MOST_EMPLOYEES:
        raise ConfigError(
            f"simulation: employees={employees}; give at least 10, or departments are empty, and at most "
            f"{MOST_EMPLOYEES:,}, for whom there are names"
        )
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not label:
        raise ConfigError(f"simulation: the company's name {name!r} has no letter for a domain; give another")
    rng = random.Random(f"company-{seed}")
    domains = (f"{label}.example", f"{label}.test")
    people = _employees(rng, employees, domains[0])
    made = Company(
        tenant=label,
        domains=domains,
        authserv_id=f"mx.{domains[0]}",
        freemail_domains=FREEMAIL_DOMAINS,
        people=tuple(map(office, people)) if deep else people,
        roles={
            role: Person(shown, f"{role}@{domains[0]}", role=role)
            for role, shown in (
                ("everyone", "Everyone"),
                ("accounts", "Accounts Payable"),
                ("jobs", "Recruiting"),
                ("info", name),
                ("it-support", "IT Support"),
                ("support", "Customer Support"),
            )
        },
        partners=tuple(_partner(rng, *v, "vendor") for v in _VENDORS)
        + tuple(_partner(rng, *c, "customer") for c in _CUSTOMERS),
        services=tuple(_machine(rng, *s, "service") for s in _SERVICES),
        newsletters=tuple(_machine(rng, *n, "newsletter") for n in _NEWSLETTERS),
        lists=tuple(_list(rng, *entry) for entry in _LISTS),
        name=name,
    )
    if deep:
        own = random.Random(f"partners-{seed}")
        for number in range(employees // 6 + 4):
            partner = new_partner(own, made, "vendor" if number % 2 == 0 else "customer")
            made = replace(made, partners=(*made.partners, partner))
        known = (AWARENESS, BENEFITS)
        made = replace(made, services=(*made.services, *known))
    return _with_networks(made)


def hire(rng: random.Random, made: Company) -> Person:
    """Somebody who begins to work for the company."""
    names = {person.name for person in made.people}
    drawn = (invent_name(rng, rng.choice(("en", "en", "de", "fr"))) for _ in range(50))
    name = next((one for one in drawn if one not in names), f"{invent_name(rng)}-{len(names)}")
    department = rng.choice([person.department for person in made.people])
    return office(_employee(rng, name, department, made.domains[0], f"{department} team"))


def new_partner(rng: random.Random, made: Company, kind: str) -> Organisation:
    """A firm that begins to deal with the company. kind: vendor or customer."""
    known = {partner.domain for partner in made.partners}
    while True:
        words = rng.choice(_FIRST_HALVES) + rng.choice(_SECOND_HALVES)
        trade = rng.choice(_TRADES)
        label = f"{words}-{trade}" if rng.random() < 0.5 else f"{words}{rng.choice(('', 'co', 'group', 'ltd'))}"
        if f"{label}.example" not in known:
            break
        # Several hundred pairs of halves: another draw finds a free one.
    partner = _partner(rng, f"{words.title()} {trade.title()}", label, kind)
    language = rng.choice(("en", "en", "en", "de", "fr"))
    return replace(partner, language=language, ip=own_network(_NAMED + len(known), partner.domain))


def _with_networks(made: Company) -> Company:
    """Each partner, service and newsletter with mail hosts in a network of its own."""
    numbers = iter(range(10_000))

    def placed(organisations: tuple[Organisation, ...]) -> tuple[Organisation, ...]:
        return tuple(replace(one, ip=own_network(next(numbers), one.domain)) for one in organisations)

    named = {f"{label}.example" for _, label in (*_VENDORS, *_CUSTOMERS)}
    partners = placed(tuple(one for one in made.partners if one.domain in named))
    others = tuple(one for one in made.partners if one.domain not in named)
    return replace(
        made,
        partners=(*partners, *others),
        services=placed(made.services),
        newsletters=placed(made.newsletters),
        lists=tuple(
            replace(one, ip=own_network(_LIST_NETWORK + zlib.crc32(one.domain.encode()) % 8, one.domain))
            for one in made.lists
        ),
    )


def _employees(rng: random.Random, count: int, domain: str) -> tuple[Person, ...]:
    total = sum(weight for _, weight in _DEPARTMENTS)
    departments = [d for d, weight in _DEPARTMENTS for _ in range(max(1, weight * count // total))]
    departments = (departments + ["engineering", "sales", "operations"] * count)[: count - 1]
    people: dict[str, Person] = {}
    for department in ["executive", *departments]:
        name = invent_name(rng, rng.choice(("en", "en", "en", "en", "en", "de", "fr")))
        while name in people:
            name = invent_name(rng)
        role = "Chief Executive" if not people else f"{department} team"
        people[name] = _employee(rng, name, department, domain, role)
    return tuple(people.values())


def _employee(rng: random.Random, name: str, department: str, domain: str, role: str) -> Person:
    return Person(
        name=name,
        address=f"{local_part(rng, name, 'dotted')}{_namesake(name)}@{domain}",
        department=department,
        role=role,
        mailer=rng.choice((*MAILERS[:3], *MAILERS)),
        client_ip=f"10.20.{rng.randint(1, 9)}.{rng.randint(2, 250)}",
        start_hour=rng.choice((7, 8, 8, 9, 9)),
    )


def _namesake(name: str) -> str:
    """The number in the address of one in twelve, who was not the first of that name; "" for all others."""
    drawn = zlib.crc32(name.encode())
    return str(2 + drawn // 12 % 3) if drawn % 12 == 0 else ""


def _posture(rng: random.Random) -> Posture:
    return rng.choices(
        (Posture(), Posture(dmarc=False), Posture(dkim=False, dmarc=False), Posture(False, False, False)),
        (60, 22, 12, 6),
    )[0]


def _partner(rng: random.Random, name: str, label: str, kind: str) -> Organisation:
    language = _LANGUAGES.get(label, "en")
    domain = f"{label}.example"
    style = rng.choice(("dotted", "initial", "firm"))
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
        name,
        f"{local}@{domain}",
        role="machine",
        mailer=rng.choice(("bulk", "bulk", "script")),
        client_ip=documentation_ip(rng),
        utc_offset_minutes=rng.choice((0, 0, 60, -300)),
    )
    language = "de" if label.startswith("mittelstand") else "en"
    posture = Posture(dmarc=kind == "service" or rng.random() < 0.7)
    return Organisation(name, domain, kind, language, posture, (sender,), documentation_ip(rng))


def _list(rng: random.Random, name: str, host: str) -> Organisation:
    homes = [f"{label}.example" for label in ("hobbyworks", "fieldlab", "uni-arden", "mailbox", "postfach")]
    people = tuple(invent_person(rng, rng.choice(homes), "en", rng.choice(("dotted", "free"))) for _ in range(14))
    return Organisation(name, f"{host}.example", "list", "en", Posture(dmarc=False), people, documentation_ip(rng))
