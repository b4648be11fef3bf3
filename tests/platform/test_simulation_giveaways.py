"""Nothing in the shape of addresses and headers tells attackers' first mail from good first contacts in the world."""

from __future__ import annotations

import re
from collections import defaultdict
from email import message_from_bytes
from email.header import decode_header, make_header
from email.utils import parseaddr, parsedate_to_datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from mailwarden.simulation.company import FREEMAIL_DOMAINS, company
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.simulate import simulate

SEED, DAYS, STAFF, NAME = 5, 60, 40, "Acme Tools"
POOLED, ONE_CATEGORY = 0.63, 0.72
"""Bounds on the AUC of one feature by itself, either way round: of all categories, and of one."""
FEW = 40
Shape = dict[str, float]

# What an attack of the category is made of may tell: a lookalike of a vendor's long name, a brand's desk, a file.
OF_THE_CATEGORY = {
    "VF": ("domain: ", "name: ", "local: ", "header: Reply-To", "boundary: ", "header: Content-Transfer-Encoding"),
    "CP": ("domain: ", "local: ", "name: ", "date: zone is UTC"),
    "CB": ("domain: ", "local: ", "name: "),
    "SC": ("header: Reply-To", "name: not ASCII"),
    "MW": ("boundary: ", "header: Content-Transfer-Encoding"),
    "BE": ("domain: ", "name: ", "local: of the name"),
}


def shape_of(raw: bytes) -> Shape:
    """Numbers that say what addresses and headers look like, and nothing of what the message says."""
    mail = message_from_bytes(raw)
    name, address = parseaddr(str(mail["From"]))
    name, address = str(make_header(decode_header(name))), address.lower()
    local, _, domain = address.rpartition("@")
    label = domain.partition(".")[0]
    left, _, right = str(mail["Message-ID"]).strip("<>").rpartition("@")
    hops = [str(one) for one in mail.get_all("Received", [])]
    host, ip = (re.search(form, hops[0])[1] for form in (r"from (\S+)", r"\[([\d.]+)\]"))  # type: ignore[index]
    client = re.search(r"\[([\d.]+)\]", hops[-1])[1]  # type: ignore[index]
    arrived, written = parsedate_to_datetime(hops[0].rpartition(";")[2].strip()), parsedate_to_datetime(mail["Date"])
    results = [str(one) for one in mail.get_all("Authentication-Results", [])]
    path = parseaddr(str(mail["Return-Path"]))[1]
    offset = written.utcoffset()
    assert offset is not None
    found: Shape = {
        "local: digits": sum(map(str.isdigit, local)),
        "local: any digit": any(map(str.isdigit, local)),
        "local: length": len(local),
        "local: dots": local.count("."),
        "local: other marks": sum(not one.isalnum() and one != "." for one in local),
        "local: of the name": any(word.lower()[:4] in local for word in name.split()),
        "domain: digits": sum(map(str.isdigit, label)),
        "domain: hyphens": label.count("-"),
        "domain: length": len(label),
        "name: words": len(name.split()),
        "name: length": len(name),
        "name: not ASCII": not name.isascii(),
        "name: quoted": str(mail["From"]).startswith('"'),
        "id: length": len(left),
        "id: dashes": left.count("-"),
        "id: capitals": left.upper() == left,
        "id: host is the domain": right == domain,
        "path: another address": path != address,
        "hop: how many": len(hops),
        "hop: rented host": "hosting" in host,
        "hop: host of the domain": host.endswith(domain),
        "hop: digits of host": sum(map(str.isdigit, host)),
        "hop: network": int(ip.split(".")[2]),
        "hop: last number": int(ip.split(".")[3]),
        "hop: block": int(ip.split(".")[1]),
        "client: block": int(client.split(".")[1]),
        "client: last number": int(client.split(".")[3]),
        "date: zone": offset.total_seconds(),
        "date: zone is UTC": not offset.total_seconds(),
        "date: seconds off": abs((written - arrived).total_seconds()),
        "time: hour": arrived.hour,
        "time: at night": not 6 <= arrived.hour <= 20,
        "results: how many": len(results),
        "to: nobody named": "undisclosed" in str(mail["To"]),
        "boundary: length": len(mail.get_boundary() or ""),
    }
    found |= {f"results: {one}": one in results[0] for one in ("spf=pass", "dkim=pass", "dmarc=pass", "dmarc=none")}
    mailer = str(mail["X-Mailer"] or mail["User-Agent"] or ("bulk" if mail["X-Feedback-ID"] else "webmail"))
    found[f"mailer: {mailer}"] = 1
    for header in set(mail.keys()) - {"In-Reply-To", "References", "Cc", "CC", "Content-Type"}:
        found[f"header: {header}"] = 1
    return {key: float(value) for key, value in found.items()}


def auc(bad: NDArray[np.float64], good: NDArray[np.float64]) -> float:
    """Area under the ROC curve of a feature by itself, ties counting half: at least 0.5, whichever way it tells."""
    below = np.searchsorted(np.sort(good), bad, "left") + np.searchsorted(np.sort(good), bad, "right")
    area = float(below.mean()) / (2 * len(good))
    return max(area, 1 - area)


def told_by(bad: list[Shape], good: list[Shape], left_out: tuple[str, ...] = ()) -> dict[str, float]:
    names = sorted({name for one in (*bad, *good) for name in one if not name.startswith(left_out or ("-",))})
    return {name: auc(*(np.array([one.get(name, 0.0) for one in part]) for part in (bad, good))) for name in names}


@pytest.fixture(scope="module")
def first() -> dict[tuple[str, bool], list[Shape]]:
    """Shapes of first mails of addresses whose domains the company does not deal with, by label and free mail."""
    firm = company(SEED, STAFF, NAME, deep=True)
    partners = (*firm.partners, *firm.services, *firm.newsletters, *firm.lists)
    known = {one.domain for one in partners} | {p.domain for one in firm.lists for p in one.people}
    known = (known | set(firm.domains)) - set(FREEMAIL_DOMAINS)
    seen: set[str] = set()
    found: defaultdict[tuple[str, bool], list[Shape]] = defaultdict(list)
    mail = simulate(SEED, DAYS, employees=STAFF, messages_per_day=120, attack_share=0.3, name=NAME, deep=True)
    for message in mail:
        address = sender_of(message)
        if address not in seen and address.partition("@")[2] not in known and message.label != "SP":
            free = address.partition("@")[2] in FREEMAIL_DOMAINS
            found[message.label, free].append(shape_of(message.raw))
        seen.add(address)
    return found


def sender_of(message: SimulatedMessage) -> str:
    return parseaddr(str(message_from_bytes(message.raw[: message.raw.index(b"\n\n")])["From"]))[1].lower()


@pytest.mark.parametrize("free", [True, False], ids=["free mail", "domains of their own"])
def test_no_shape_tells_attackers_from_strangers(first: dict[tuple[str, bool], list[Shape]], free: bool) -> None:
    good = first["ham", free]
    bad = [
        shape for (label, is_free), shapes in first.items() if label != "ham" and is_free == free for shape in shapes
    ]
    assert len(good) > 60 and len(bad) > 60
    found = told_by(bad, good)
    assert len(found) > 50
    telling = {name: round(area, 3) for name, area in found.items() if area > POOLED}
    assert not telling


@pytest.mark.parametrize("free", [True, False], ids=["free mail", "domains of their own"])
def test_no_shape_tells_a_category(first: dict[tuple[str, bool], list[Shape]], free: bool) -> None:
    good = first["ham", free]
    looked_at = 0
    telling = {}
    for (label, is_free), bad in first.items():
        if label == "ham" or is_free != free or len(bad) < FEW:
            continue
        looked_at += 1
        found = told_by(bad, good, OF_THE_CATEGORY.get(label, ()))
        telling.update({f"{label} {name}": round(area, 3) for name, area in found.items() if area > ONE_CATEGORY})
    assert looked_at >= 2
    assert not telling
