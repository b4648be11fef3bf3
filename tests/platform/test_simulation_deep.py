"""The deep world: hard good mail, patient attackers, drift, networks; the same by seed and flat in memory."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.utils import parseaddr
from itertools import islice
from pathlib import Path

import pytest

from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.errors import ConfigError
from mailwarden.ingest.parse import parse_message
from mailwarden.simulation import hard_cases
from mailwarden.simulation.company import Company, company
from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.directory import entries, write_directory
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.simulate import START_US, _days, simulate
from mailwarden.simulation.world import DAY_US, World

CATEGORIES = {"CP", "MW", "BE", "VF", "LA", "EA", "CB", "EX", "RC", "SC", "SP"}
DAYS, A_DAY = 75, 40


def made(seed: int, days: int = DAYS, at_end: Callable[[Company], None] | None = None) -> Iterator[SimulatedMessage]:
    return simulate(
        seed,
        days=days,
        employees=25,
        messages_per_day=A_DAY,
        attack_share=0.2,
        deep=True,
        name="Acme Tools",
        at_end=at_end,
    )


@pytest.fixture(scope="module")
def firm() -> list[Company]:
    return []


@pytest.fixture(scope="module")
def mail(firm: list[Company]) -> list[SimulatedMessage]:
    return list(made(5, at_end=firm.append))


@pytest.fixture(scope="module")
def read(mail: list[SimulatedMessage]) -> dict[str, Message]:
    return {m.path: parse_message(m.raw, Envelope()) for m in mail if m.case or m.label == "EA"}


def test_a_seed_settles_every_byte(mail: list[SimulatedMessage]) -> None:
    def digest(messages: list[SimulatedMessage]) -> str:
        return hashlib.sha256(
            b"".join(m.raw + f"{m.label}{m.path}{m.campaign}{m.case}".encode() for m in messages)
        ).hexdigest()

    assert digest(list(islice(made(5), 300))) == digest(mail[:300])
    assert digest(list(islice(made(6), 300))) != digest(mail[:300])


def test_every_category_is_there(mail: list[SimulatedMessage]) -> None:
    assert {m.label for m in mail} == CATEGORIES | {"ham"}


def test_every_hard_case_is_there_and_good_mail(mail: list[SimulatedMessage]) -> None:
    cases: defaultdict[str, set[str]] = defaultdict(set)
    for message in mail:
        cases[message.case].add(message.label)
        assert (message.campaign is None) == (message.label == "ham")
    for name in hard_cases.CASES:
        assert cases[name] == {"ham"}, name


def test_attackers_warm_up_forge_hide_and_reword(mail: list[SimulatedMessage]) -> None:
    attacks = Counter(name for m in mail if m.label != "ham" for name in m.case.split("+"))
    assert {"warm_up", "warmed_up", "forged_partner", "reworded", "hidden_text"} <= set(attacks)
    warmed = {m.campaign: (m.envelope.received_at_us, m.envelope.mail_from) for m in mail if "warmed_up" in m.case}
    before = Counter(m.campaign for m in mail if m.case == "warm_up" and m.campaign in warmed)
    assert set(before) == set(warmed) and max(before.values()) <= 5
    for message in mail:
        if message.case == "warm_up" and message.campaign in warmed:
            at_us, sender = warmed[message.campaign]
            assert (message.envelope.received_at_us or 0) < (at_us or 0) and message.envelope.mail_from == sender
            assert message.label == "RC"


def test_a_forged_partner_proves_nothing(
    mail: list[SimulatedMessage], read: dict[str, Message], firm: list[Company]
) -> None:
    addresses = {p.address for o in firm[0].partners for p in o.people}
    forged = [m for m in mail if "forged_partner" in m.case]
    assert forged
    for message in forged:
        assert read[message.path].sender.address in addresses
        results = [str(v) for v in message_from_bytes(message.raw).get_all("Authentication-Results", [])]
        trusted = [one for one in results if one.startswith("mx.acme-tools.example")]
        assert len(trusted) == 1 and "dmarc=pass" not in trusted[0]


def test_known_domains_have_networks_of_their_own() -> None:
    firm = company(5, 40, deep=True)
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for one in (*firm.partners, *firm.services, *firm.newsletters, *firm.lists):
        owners[one.ip.rpartition(".")[0]].add(one.domain)
        assert one.ip.startswith("198.18.")
    assert all(len(domains) == 1 for domains in owners.values()), owners


def test_people_come_and_partners_move() -> None:
    last: list[Company] = []
    list(simulate(3, days=300, employees=10, messages_per_day=2, deep=True, at_end=last.append))
    first = company(3, 10, deep=True)
    assert set(first.people) < set(last[0].people)
    assert len(last[0].partners) > len(first.partners)
    ips = {one.domain: one.ip for one in last[0].partners}
    assert any(ips[one.domain] != one.ip for one in first.partners)


def test_what_the_world_keeps_does_not_grow_with_its_days() -> None:
    import random

    sizes: list[int] = []
    world = World(random.Random(1), company(1, 10, deep=True), START_US, deep=True)
    for message in _days(world, 240, 12, 0.1, 0.1):
        if (message.envelope.received_at_us or 0) > START_US + (len(sizes) + 1) * 60 * DAY_US:
            sizes.append(len(world._agenda) + len(world.threads) + len(world.unwanted) + len(world.acquaintances))
    assert len(sizes) == 3
    assert sizes[-1] < 1.3 * sizes[0] + 30, sizes


def test_the_directory_names_everybody_with_a_manager(tmp_path: Path) -> None:
    firm = company(5, 40, deep=True)
    with write_directory(tmp_path / "directory.csv", firm).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["address"] for row in rows] and {row["address"] for row in rows} == {p.address for p in firm.people}
    assert {row["manager"] for row in rows} <= {row["address"] for row in rows} | {""}
    assert [row["role"] for row in rows if not row["manager"]] == ["Chief Executive"]
    assert {row["vip"] for row in rows} == {"yes", "no"}
    vips = {person.department for person, _, _, vip in entries(firm) if vip}
    assert vips == {"executive", "finance", "hr"}


def test_truth_stands_beside_the_index(tmp_path: Path, mail: list[SimulatedMessage]) -> None:
    index = write_corpus(tmp_path / "out", mail[:200])
    with (index.parent / "truth.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["path"], r["label"], r["case"]) for r in rows] == [(m.path, m.label, m.case) for m in mail[:200]]
    assert not (index.parent / ".INDEX").exists()


def test_a_bounce_has_the_null_path_and_forwarding_breaks_spf(
    mail: list[SimulatedMessage], read: dict[str, Message]
) -> None:
    bounces = [m for m in mail if m.case == "bounce"]
    assert bounces and all(m.envelope.mail_from == "" for m in bounces)
    forwarded = [str(message_from_bytes(m.raw)["Authentication-Results"]) for m in mail if m.case == "forwarded"]
    assert any("spf=fail" in one or "spf=softfail" in one for one in forwarded)
    private = {parseaddr(str(message_from_bytes(m.raw)["From"]))[1] for m in mail if m.case == "private_address"}
    assert private and all(
        address.endswith(("mailbox.example", "postfach.example", "courriel.example")) for address in private
    )
    assert all(read[m.path].sender.address for m in bounces)


@pytest.mark.parametrize(("employees", "name", "words"), [(1_001, "A", "1,000"), (40, "???", "no letter")])
def test_a_company_that_cannot_be_is_refused(employees: int, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        company(1, employees, name)
