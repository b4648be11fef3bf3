"""The persons and organisations that write to each other, and how their mail authenticates."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mailwarden.simulation.networks import rented_network

MAILERS = ("suite", "bird", "post", "webmail")
_DESK_NAMES = ("Billing", "Accounts", "Service", "Support", "Team", "Office")
MACHINES = ("no-reply", "no-reply", "support", "security", "admin", "notify", "service", "hello")
"""Local parts of senders that are no people."""
_FIRM_MAILERS = (*MAILERS, *MAILERS, "script", "bulk")
_DESKS = ("info", "office", "sales", "contact", "accounts", "billing", "support", "no-reply", "service")
_ZONES = (0, 60, 60, 60, 120, -300, 330, 0)
_FIRST = {
    "en": "Anna Ben Carla Daniel Ellen Frank Grace Harold Irene James Kate Liam Maria Nathan Olive Peter Quinn Rosa "
    "Simon Teresa Umar Vera Walter Xenia Yusuf Zoe Aisha Bruno Celia Derek Esther Felix Gina Hugo Isabel Jonas "
    "Kirsten Leo Mina Noel",
    "de": "Jürgen Sabine Uwe Käthe Dieter Anke Jörg Birgit Matthias Ute Günther Silke",
    "fr": "Hélène Luc Amélie Benoît Chloé Thierry Noémie François Sylvie Rémi Agnès Gaël",
}
_LAST = {
    "en": "Abbott Barlow Castell Dunmore Easton Farrow Gilder Hartley Ingram Jessop Kendrick Langley Marlowe Norwood "
    "Oakes Penrose Quarles Rowntree Selby Thorne Underhill Vance Whitlock Yardley Adeyemi Bianchi Chowdhury "
    "Duarte Eriksen Fontana Grigorov Haddad Ivanova Jansen Kowalski Lindqvist Moreau Nakamura Okafor Petrov",
    "de": "Bäcker Schröder Kühn Voß Lindemann Hölzl Brandt Große Wieland Jäger",
    "fr": "Lefèvre Béranger Dupré Garnier Chauvet Noël Perrin Fabre Rousselle Mercier",
}
_ASCII = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "ß": "ss",
        "é": "e",
        "è": "e",
        "ê": "e",
        "ë": "e",
        "î": "i",
        "ç": "c",
        "ï": "i",
        "Ä": "ae",
        "Ö": "oe",
        "Ü": "ue",
    }
)


@dataclass(frozen=True, slots=True)
class Person:
    """Someone, or a role or machine, that sends or receives mail.

    department: the company's, "" for outsiders. language: "en", "de" or "fr". start_hour: hour of the local
    working day's begin. utc_offset_minutes: of the sender's clock. mailer: a key of `mime.MAILERS`.
    """

    name: str
    address: str
    department: str = ""
    role: str = ""
    language: str = "en"
    mailer: str = "suite"
    client_ip: str = "192.0.2.10"
    start_hour: int = 8
    utc_offset_minutes: int = 60

    @property
    def first(self) -> str:
        """The given name, or the whole where the name is one word."""
        return self.name.split(" ")[0]

    @property
    def domain(self) -> str:
        """The part of the address after the @."""
        return self.address.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Posture:
    """What a domain's owner has set up: SPF, DKIM signing, a published DMARC policy."""

    spf: bool = True
    dkim: bool = True
    dmarc: bool = True


@dataclass(frozen=True, slots=True)
class Organisation:
    """A mail domain and its people. kind: vendor, customer, service, newsletter, list, brand, freemail or company."""

    name: str
    domain: str
    kind: str
    language: str
    posture: Posture
    people: tuple[Person, ...]
    ip: str


@dataclass(frozen=True, slots=True)
class Route:
    """How one message reached the company and what its border host found.

    spf, dkim: verdict words of RFC 8601. spf_domain, dkim_domain: what was authenticated, "" where nothing.
    policy: the From domain publishes DMARC. submitted: sent through the company's own authenticated submission.
    """

    host: str
    ip: str
    spf: str = "none"
    spf_domain: str = ""
    dkim: str = "none"
    dkim_domain: str = ""
    policy: bool = False
    arc: str = ""
    submitted: bool = False

    def dmarc(self, from_domain: str) -> str:
        """DMARC verdict under relaxed alignment (RFC 7489): "pass", "fail", or "none" without a policy."""
        spf_ok = self.spf == "pass" and registered(self.spf_domain) == registered(from_domain)
        dkim_ok = self.dkim == "pass" and registered(self.dkim_domain) == registered(from_domain)
        if not self.policy:
            return "none"
        return "pass" if spf_ok or dkim_ok else "fail"


def registered(domain: str) -> str:
    """The last two labels, which is the registrable domain for every reserved name used here."""
    return ".".join(domain.rsplit(".", 2)[-2:])


def plain(text: str) -> str:
    """The text in lower-case ASCII, as a local part would have it."""
    return text.translate(_ASCII).lower().encode("ascii", "ignore").decode().replace(" ", "-")


def invent_name(rng: random.Random, language: str = "en") -> str:
    """A given name and a family name of the language's stock."""
    return f"{rng.choice(_FIRST[language].split())} {rng.choice(_LAST[language].split())}"


def local_part(rng: random.Random, name: str, style: str) -> str:
    """The local part for a name.

    style: "dotted", "initial", "firm" (as small firms have them) or "free" (free-mail, half of them with digits).
    """
    first, _, last = plain(name.replace(" ", "|")).partition("|")
    last = last.replace("|", "") or "mail"
    if style == "dotted":
        return f"{first}.{last}"
    if style == "initial":
        return f"{first[0]}{last}"
    number = rng.choice((rng.randint(1, 9), rng.randint(10, 99), rng.randint(60, 99), rng.randint(1960, 2004)))
    if style == "firm":
        return rng.choice(
            (f"{first}.{last}", f"{first}.{last}", f"{first[0]}{last}", f"{first[0]}.{last}", first, f"{first}{number}",
             f"{first}_{last}", f"{first}.{last}{number % 10}", f"{last}", f"{first}-{last}", *_DESKS)
        )  # fmt: skip
    return rng.choice(
        (f"{first}.{last}{number}", f"{first}.{last}{number}", f"{first}{last}", f"{last}.{first}", f"{first}{number}",
         f"{first}.{last}", f"{first[0]}{last}{number}", f"{first}_{last}", f"office.{last}", f"{last}.mail{number}",
         f"{first}.office{number}", f"office.{number}")
    )  # fmt: skip


def private_account(person: Person, domains: Sequence[str]) -> Person:
    """The person at its own free-mail account, the same each time, by webmail from home."""
    drawn = random.Random(f"private {person.address}")
    local = local_part(drawn, person.name, "free")
    home = rented_network(f"home {person.address}")
    return replace(person, address=f"{local}@{drawn.choice(domains)}", mailer="webmail", client_ip=home)


def firm_name(domain: str) -> str:
    """What a firm with that domain calls itself."""
    return domain.partition(".")[0].rstrip("0123456789").replace("-", " ").title()


def desk_of(rng: random.Random, person: Person) -> Person:
    """A desk of the person's firm: named after it and what it does."""
    kind, firm = rng.choice(_DESK_NAMES), firm_name(person.domain)
    local = rng.choice((kind.lower(), kind.lower(), "no-reply", "info"))
    return replace(person, name=firm if rng.random() < 0.3 else f"{firm} {kind}", address=f"{local}@{person.domain}")


def documentation_ip(rng: random.Random) -> str:
    """An address of the block kept for benchmarks (RFC 2544): nobody's, in one of its 256 rented networks."""
    return f"198.19.{rng.randint(0, 255)}.{rng.randint(1, 254)}"


def firm_mailer(rng: random.Random) -> str:
    """The mail program of somebody outside, whoever it is."""
    return rng.choice(_FIRM_MAILERS)


def zone(rng: random.Random) -> int:
    """Where the clock of somebody outside stands, in minutes east of UTC."""
    return rng.choice(_ZONES)


def invent_person(rng: random.Random, domain: str, language: str = "en", style: str = "dotted") -> Person:
    """A person with an address at the domain."""
    name = invent_name(rng, language)
    return Person(
        name=name,
        address=f"{local_part(rng, name, style)}@{domain}",
        language=language,
        mailer="webmail" if style == "free" and rng.random() < 0.75 else firm_mailer(rng),
        client_ip=documentation_ip(rng),
        start_hour=rng.choice((7, 8, 8, 9)),
        utc_offset_minutes=zone(rng) if language == "en" else 60,
    )


def host_of(domain: str) -> str:
    """The host that mail of a small firm, or of an attacker's domain, leaves by: its own, or one that is rented."""
    drawn = zlib.crc32(domain.encode())
    if drawn % 5 < 2:
        return f"vps{drawn // 5 % 999 + 1}.hosting.example"
    return f"{('mail', 'smtp', 'mx1')[drawn // 5 % 3]}.{domain}"


def route_of(rng: random.Random, organisation: Organisation, misfortune: float = 0.03) -> Route:
    """The route of genuine mail from an organisation; misfortune: chance that forwarding or an error breaks it."""
    posture = organisation.posture
    broken = rng.random() < misfortune
    spf = ("softfail" if broken else "pass") if posture.spf else "none"
    dkim = ("fail" if broken and rng.random() < 0.4 else "pass") if posture.dkim else "none"
    # Small firms rent hosts as attackers do, or the host name alone would tell them apart.
    host = host_of(organisation.domain) if organisation.kind == "unknown" else f"mail.{organisation.domain}"
    return Route(
        host=host if not broken else "relay.forwarding.example",
        ip=organisation.ip if not broken else documentation_ip(rng),
        spf=spf,
        spf_domain=organisation.domain,
        dkim=dkim,
        dkim_domain=organisation.domain if posture.dkim else "",
        policy=posture.dmarc,
    )
