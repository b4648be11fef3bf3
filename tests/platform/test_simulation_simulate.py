from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import getaddresses, parsedate_to_datetime
from itertools import pairwise

import pytest

from mailwarden.errors import ConfigError
from mailwarden.simulation.company import AUTHSERV_ID, DOMAINS, company
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.people import registered
from mailwarden.simulation.simulate import START_US, simulate

ATTACKS = {"CP", "MW", "BE", "VF", "LA", "EA", "CB", "EX", "RC", "SC"}
DAYS = 30
SEED = 3
Parsed = list[tuple[SimulatedMessage, EmailMessage]]


def digest(messages: Iterable[SimulatedMessage]) -> str:
    found = hashlib.sha256()
    for message in messages:
        found.update(message.raw + repr((message.envelope, message.label, message.path, message.campaign)).encode())
    return found.hexdigest()


def parse(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.fixture(scope="module")
def parsed() -> Parsed:
    return [(m, parse(m.raw)) for m in simulate(seed=SEED, days=DAYS)]


def own(address: str) -> bool:
    return address.rpartition("@")[2] in DOMAINS


def text_of(message: EmailMessage) -> str:
    return "\n".join(p.get_content() for p in message.walk() if p.get_content_maintype() == "text")


def test_same_seed_same_bytes_under_any_hash_seed() -> None:
    code = (
        "import hashlib; from mailwarden.simulation.simulate import simulate; h = hashlib.sha256()\n"
        "for m in simulate(days=6, seed=11):\n"
        "    h.update(m.raw + repr((m.envelope, m.label, m.path, m.campaign)).encode())\n"
        "print(h.hexdigest())"
    )
    expected = digest(simulate(days=6, seed=11))
    assert digest(simulate(days=6, seed=12)) != expected
    for hash_seed in ("0", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == expected


def test_arrival_order_and_unique_paths(parsed: Parsed) -> None:
    times = [m.envelope.received_at_us or 0 for m, _ in parsed]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[0] >= START_US and times[-1] < START_US + (DAYS + 1) * 86_400_000_000
    paths = [m.path for m, _ in parsed]
    assert paths == sorted(set(paths))


def test_shares_and_volume(parsed: Parsed) -> None:
    counts = Counter(m.label for m, _ in parsed)
    total = sum(counts.values())
    assert set(counts) == ATTACKS | {"ham", "SP"}
    assert 0.045 < sum(counts[a] for a in ATTACKS) / total < 0.075
    assert 0.09 < counts["SP"] / total < 0.15
    assert 0.85 < total / (DAYS * 110) < 1.15


def test_shares_of_zero_leave_only_ham() -> None:
    assert {m.label for m in simulate(days=5, attack_share=0, spam_share=0)} == {"ham"}


def test_direction_mix(parsed: Parsed) -> None:
    mix: Counter[str] = Counter()
    for message, _ in parsed:
        if message.label != "ham":
            continue
        inside = own(message.envelope.mail_from or "")
        to_us = any(own(r) for r in message.envelope.rcpt_to)
        mix["inbound" if not inside else "internal" if to_us else "outbound"] += 1
    total = sum(mix.values())
    assert mix["inbound"] / total > 0.3
    assert mix["internal"] / total > 0.2
    assert mix["outbound"] / total > 0.08


def test_weekends_are_quiet(parsed: Parsed) -> None:
    days = Counter((m.envelope.received_at_us or 0) // 86_400_000_000 for m, _ in parsed)
    quiet = [n for day, n in days.items() if (day + 3) % 7 >= 5]
    busy = [n for day, n in days.items() if (day + 3) % 7 < 5]
    assert sum(quiet) / len(quiet) < 0.5 * sum(busy) / len(busy)


def test_every_part_decodes_without_defect(parsed: Parsed) -> None:
    for message, mail in parsed:
        for part in mail.walk():
            assert not part.defects, (message.path, part.defects)
            if not part.is_multipart():
                part.get_content()
        assert mail["From"] and mail["Date"] and mail["Message-ID"], message.path


def test_files_alone_tell_time_and_recipients(parsed: Parsed) -> None:
    for message, mail in parsed:
        envelope = message.envelope
        top = str(mail.get_all("Received", [])[0])
        arrived = parsedate_to_datetime(top.rpartition(";")[2].strip()).timestamp()
        assert arrived * 1_000_000 == envelope.received_at_us
        assert str(mail["Return-Path"]) == f"<{envelope.mail_from}>"
        addressed = re.search(r"for <([^>]+)>", top)
        if addressed:
            assert envelope.rcpt_to == (addressed[1],)
        else:
            headers = getaddresses([str(mail[name]) for name in ("To", "Cc") if mail[name]])
            assert set(envelope.rcpt_to) == {address for _, address in headers}
        assert own(envelope.mail_from or "") or any(own(r) for r in envelope.rcpt_to)


def test_replies_follow_earlier_messages(parsed: Parsed) -> None:
    seen: set[str] = set()
    replies = 0
    for message, mail in parsed:
        parents = " ".join(str(mail.get(name, "")) for name in ("In-Reply-To", "References")).split()
        assert seen.issuperset(parents), message.path
        replies += bool(parents)
        assert mail["Message-ID"] not in seen
        seen.add(str(mail["Message-ID"]))
    assert replies > len(parsed) / 6


def test_only_reserved_names(parsed: Parsed) -> None:
    def reserved(host: str) -> bool:
        if re.fullmatch(r"[\d.]+", host):
            blocks = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.0.0.0/8", "198.18.0.0/15")
            return any(ipaddress.ip_address(host) in ipaddress.ip_network(b) for b in blocks)
        return host.endswith((".example", ".test", ".invalid"))

    for message, mail in parsed:
        headers = "\n".join(f"{name}: {value}" for name, value in mail.items())
        text = headers + text_of(mail)
        hosts = re.findall(r"https?://([\w.-]+)", text) + re.findall(r"[\w.+-]@([\w-]+\.[\w.-]*\w)", text)
        hosts += re.findall(r"Received: from (\S+) \(", headers) + re.findall(r"\[([\d.]+)\]", headers)
        assert hosts and all(map(reserved, hosts)), (message.path, [h for h in hosts if not reserved(h)])


def test_verdicts_agree_with_each_other(parsed: Parsed) -> None:
    verdicts: Counter[tuple[bool, str]] = Counter()
    for message, mail in parsed:
        results = [str(r) for r in mail.get_all("Authentication-Results", [])]
        trusted = [r for r in results if r.startswith(AUTHSERV_ID)]
        assert len(trusted) == 1
        if "auth=pass" in trusted[0]:
            continue
        found = dict(re.findall(r"\b(spf|dkim|dmarc|smtp\.mailfrom|header\.d|header\.from)=([\w.-]+)", trusted[0]))
        sender = registered(found["header.from"])
        aligned = (found["spf"] == "pass" and registered(found["smtp.mailfrom"]) == sender) or (
            found["dkim"] == "pass" and registered(found["header.d"]) == sender
        )
        assert found["dmarc"] == "none" or (found["dmarc"] == "pass") == aligned, message.path
        verdicts[(message.label in ATTACKS, found["dmarc"])] += 1
    assert min(verdicts[(True, v)] for v in ("pass", "fail", "none")) > 5
    assert min(verdicts[(False, v)] for v in ("pass", "fail", "none")) > 5


def test_compromised_mailboxes_are_genuine(parsed: Parsed) -> None:
    partners = {p.address for o in company(SEED).partners for p in o.people}
    staff = {p.address for p in company(SEED).people}
    for message, mail in parsed:
        if message.label == "LA":
            assert message.envelope.mail_from in staff and "auth=pass" in str(mail["Authentication-Results"])
        elif message.label == "EA":
            assert message.envelope.mail_from in partners


def test_tactics_are_present(parsed: Parsed) -> None:
    attacks = [(m, mail) for m, mail in parsed if m.label in ATTACKS]
    names = [name for _, mail in attacks for part in mail.walk() if (name := part.get_filename())]
    assert {name.rpartition(".")[2] for name in names} >= {"pdf", "html", "zip"}
    locked = [p.get_content() for _, mail in attacks for p in mail.walk() if (p.get_filename() or "").endswith(".zip")]
    assert all(content[:4] == b"PK\x03\x04" and content[6] & 1 for content in locked)
    chief = company(SEED).chief
    assert any(chief.name in str(mail["From"]) and not own(m.envelope.mail_from or "") for m, mail in attacks)
    assert any(mail["Reply-To"] for _, mail in attacks)
    assert any(mail["In-Reply-To"] for m, mail in attacks if m.label == "VF")
    assert any(str(mail["Subject"]).startswith(("RE:", "FW:")) and not mail["References"] for _, mail in attacks)
    assert any(len(mail.get_all("Authentication-Results", [])) > 1 for _, mail in attacks)
    assert any(p.get_content_type() == "image/png" for m, mail in attacks if m.label == "CP" for p in mail.walk())


def test_no_single_header_gives_attacks_away(parsed: Parsed) -> None:
    mailers = {True: Counter[str](), False: Counter[str]()}
    for message, mail in parsed:
        mailers[message.label in ATTACKS][str(mail["X-Mailer"] or mail["User-Agent"])] += 1
    assert set(mailers[True]) <= set(mailers[False])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"attack_share": 0.6, "spam_share": 0.5}, "attack_share"),
        ({"start_us": START_US + 1}, "start_us"),
        ({"employees": 3}, "employees"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        simulate(**arguments)  # type: ignore[arg-type]


def test_some_attacks_use_the_words_of_genuine_mail() -> None:
    attacked = [(m, parse(m.raw)) for m in simulate(seed=SEED, days=DAYS, attack_share=0.4)]

    def sentences(mail: EmailMessage) -> set[str]:
        body = mail.get_body(("plain", "html"))
        text = body.get_content() if body is not None else ""
        return {s for s in re.split(r"[.?!\n]\s*", text) if len(s) > 25 and not re.search(r"\d|<", s)}

    genuine = set().union(*(sentences(mail) for m, mail in attacked if m.label == "ham"))
    for label in ("CP", "MW", "BE"):
        own = [sentences(mail) for m, mail in attacked if m.label == label]
        shared = [len(words & genuine) / len(words) for words in own if words]
        assert max(shared) >= 0.5, label
        assert min(shared) == 0, label


@pytest.mark.parametrize(("employees", "volume"), [(10, 40), (150, 400)])
def test_other_sizes_of_company(employees: int, volume: int) -> None:
    messages = list(simulate(seed=4, days=7, employees=employees, messages_per_day=volume))
    assert 0.7 < len(messages) / (7 * volume) < 1.3
    staff = {p.address for p in company(4, employees).people}
    assert len(staff) == employees
    assert {r for m in messages for r in m.envelope.rcpt_to if own(r)} & staff
