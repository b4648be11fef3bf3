"""A real history with attacks put among it: what is written is read back by ingest as it was meant."""

from __future__ import annotations

import base64
import csv
import random
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from mailwarden.domain.mail.message import Envelope
from mailwarden.domain.mail.trust import Trust
from mailwarden.errors import DataError
from mailwarden.ingest.glance import glance
from mailwarden.ingest.index import LabelIndex
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.sources import FolderSource, RawMessage
from mailwarden.simulation.injection.acquaintance import Acquaintance
from mailwarden.simulation.injection.merging import COLUMNS, HostMessage, Injected, Survey, choose, inject, make
from mailwarden.simulation.injection.placement import wanted
from mailwarden.simulation.injection.spill import NATIVE, Attack, Spill

HOUR_US = 3_600_000_000
T0 = 1_600_000_000_000_000
READERS = ("ann@host.example", "bob@host.example", "list@host.example")

PHISH = """Received: from mx1.inner.test (2603:10b6:610:f2::17)
 by mx0.inner.test with HTTPS; Sun, 26 Nov 2023 23:59:51 +0000
Authentication-Results: spf=fail (sender IP is 203.0.113.77)
 smtp.mailfrom=bad.example; dkim=pass (signature was verified)
 header.d=bad.example;dmarc=fail action=none header.from=bank.example;compauth=fail reason=001
Received-SPF: Fail (inner.test: domain of bad.example does not designate 203.0.113.77)
Received: from out.bad.example (203.0.113.77) by
 mx1.inner.test (10.1.2.3) with Microsoft SMTP Server id 15.20; Sun, 26 Nov
 2023 23:59:48 +0000
Subject: =?utf-8?B?cGhpc2hpbmdAcG90LCB5b3VyIGNhcmQ=?=
From: Bank <a@bank.example>
To: phishing@pot
Date: Sun, 26 Nov 2023 23:59:40 +0000
Message-ID: <same@bad.example>
Return-Path: bounce-phishing@pot=hotmail.com@bad.example
X-MS-Exchange-Organization-SCL: 7
X-Sender-IP: 203.0.113.77
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="b1"

--b1
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Dear phishing@p=
ot, number {number}: http://x.example/?u=3Dphishing%40pot
--b1
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PGEgaHJlZj0iaHR0cDovL3guZXhhbXBsZS8/dT1jR2hwYzJocGJtZEFjRzkwIj5waGlzaGluZ0Bwb3Q8
L2E+
--b1--
"""


def traced(number: int, at_us: int) -> bytes:
    stamp = datetime.fromtimestamp(at_us / 1e6).astimezone().strftime("%a, %d %b %Y %H:%M:%S %z")
    reader = READERS[number % 2]
    return (
        f"Return-Path: <c{number}@there.example>\nDelivered-To: {reader}\n"
        f"Received: from mail.there.example (mail.there.example [198.18.4.{number % 200 + 1}])\n"
        f"\tby mx.host.example (Postfix) with ESMTPS id 4AB{number:07d}\n\tfor <{reader}>; {stamp} (CET)\n"
        "Authentication-Results: mx.host.example; spf=pass smtp.mailfrom=there.example; dmarc=none\n"
        f"From: C <c{number}@there.example>\nTo: {reader}\nSubject: hello {number}\nDate: {stamp}\n"
        f"Message-ID: <m{number}@there.example>\n\nDear reader, this is message {number}.\n"
    ).encode()


def dated(number: int, at_us: int) -> bytes:
    stamp = datetime.fromtimestamp(at_us / 1e6).astimezone().strftime("%a, %d %b %Y %H:%M:%S %z")
    return (
        f"Message-ID: <{number}@host.example>\nDate: {stamp}\nFrom: c@there.example\nTo: {READERS[number % 3]}, "
        f"other@host.example\nSubject: hello {number}\n\nDear reader, this is message {number}.\n"
    ).encode()


def host_of(make: Callable[[int, int], bytes], count: int = 200) -> list[HostMessage]:
    # Its files stand in another order than they came, as the folders of several mailboxes do.
    numbers = sorted(range(count), key=lambda number: (number * 7) % count)
    found = []
    for number in numbers:
        message = RawMessage(f"m/{number}", make(number, T0 + number * HOUR_US), Envelope())
        seen = glance(message)
        found.append(HostMessage(message.path, message.raw, seen.received_at_us, seen.recipients))
    return found


def merged(folder: Path, host: list[HostMessage], *, share: float = 0.05, after: int = 0, seed: int = 3) -> Injected:
    survey = Survey.of(host)
    folder.mkdir(exist_ok=True)
    spill = Spill(folder / "spilled")
    attacks = (Attack(PHISH.replace("{number}", str(n)).encode(), "CP", f"phish/{n}", at_us=T0 + n) for n in range(100))
    choose(attacks, wanted(len(host) - after, share), spill, random.Random(seed))
    return inject(folder / "out", lambda: host, survey, spill, share=share, after=after, seed=seed)


def marks_of(made: Injected) -> dict[str, dict[str, str]]:
    with made.marks.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert not rows or tuple(rows[0]) == COLUMNS
    return {row["path"]: row for row in rows}


@pytest.mark.parametrize("make", [traced, dated])
def test_ingest_reads_what_was_injected_as_it_was_meant(tmp_path: Path, make: Callable[[int, int], bytes]) -> None:
    made = merged(tmp_path, host_of(make))
    marks, index = marks_of(made), LabelIndex.read(made.index)
    source = FolderSource(made.index.parent)
    last_us = 0
    injected = 0
    for message in source:
        seen, entry = glance(message), index.find(source.full_path(message))
        assert entry is not None
        assert seen.received_at_us is not None and seen.received_at_us >= last_us
        last_us = seen.received_at_us
        mark = marks.get(message.path)
        assert entry.label == ("ham" if mark is None else "CP")
        if mark is None:
            continue
        injected += 1
        assert datetime.fromisoformat(mark["received_at"]).timestamp() * 1e6 == seen.received_at_us
        assert mark["recipient"] in seen.recipients
        assert mark["recipient"] in (*READERS, "other@host.example")
    assert injected == made.injected == len(marks) == 11
    assert sorted(source.skipped) == ["INDEX", "injected.csv"]


def test_nothing_of_the_first_receiver_stays(tmp_path: Path) -> None:
    made = merged(tmp_path, host_of(traced))
    source = FolderSource(made.index.parent)
    marks = marks_of(made)
    trust = Trust(authserv_ids=frozenset({"mx.host.example"}))
    ids = set()
    for message in source:
        if message.path not in marks:
            continue
        recipient = marks[message.path]["recipient"]
        read = parse_message(message.raw, message.envelope, trust=trust)
        names = {name.lower() for name, _ in read.headers}
        everything = message.raw.lower() + (read.subject + read.new_text + " ".join(u.url for u in read.urls)).encode()
        for leak in (b"@pot", b"%40pot", b"inner.test", b"x-ms-", b"cghpc2hpbmdacg90"):
            assert leak not in everything.lower()
        assert not names & {"x-sender-ip", "received-spf"}
        assert read.subject == f"{recipient}, your card"
        assert f"Dear {recipient}, number".encode() in message.raw and read.new_text == recipient
        assert any(base64.b64encode(recipient.encode()).decode().rstrip("=") in one.url for one in read.urls)
        assert read.hops[0].by_host == "mx.host.example" and read.hops[0].from_ip == "203.0.113.77"
        assert read.hops[0].for_address == recipient
        assert (read.authentication.spf, read.authentication.dmarc) == ("fail", "fail")
        assert read.authentication.dkim is None, "the host's results have no DKIM"
        ids.add(read.message_id_header)
    assert len(ids) == len(marks), "Message-IDs repeat"


def test_a_host_without_a_path_gets_none(tmp_path: Path) -> None:
    made = merged(tmp_path, host_of(dated))
    for path in marks_of(made):
        raw = (made.index.parent / path).read_bytes().lower()
        assert b"received:" not in raw and b"authentication-results:" not in raw and b"return-path:" not in raw


def test_attacks_stand_only_behind_the_warm_up_and_spread_over_the_rest(tmp_path: Path) -> None:
    made = merged(tmp_path, host_of(traced), after=100, share=0.2)
    ranks = sorted(int(Path(path).stem) for path in marks_of(made))
    assert len(ranks) == 25 and ranks[0] >= 100
    assert sum(rank < 160 for rank in ranks) in range(10, 16)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    def bytes_of(name: str, seed: int) -> dict[str, bytes]:
        out = merged(tmp_path / name, host_of(traced), seed=seed).index.parent
        return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}

    first = bytes_of("a", 3)
    assert bytes_of("b", 3) == first
    assert bytes_of("c", 4) != first


def test_what_an_mbox_line_said_of_the_time_is_kept(tmp_path: Path) -> None:
    host = [
        HostMessage(f"{n}", dated(n, T0), T0 + n * HOUR_US, (READERS[0],), "ham", from_mbox=True) for n in range(40)
    ]
    made = merged(tmp_path, host)
    marks = marks_of(made)
    assert marks
    for message in FolderSource(made.index.parent):
        seen = glance(message)
        assert seen.time_source == "mbox_from"
        if message.path in marks:
            when = datetime.fromisoformat(marks[message.path]["received_at"]).timestamp() * 1e6
            assert seen.received_at_us == when


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("x")
    with pytest.raises(DataError, match="not an empty folder"):
        merged(tmp_path, host_of(traced))


def test_a_warm_up_longer_than_the_host_is_refused(tmp_path: Path) -> None:
    host = host_of(traced, 20)
    survey = Survey.of(host)
    spill = Spill(tmp_path / "spilled")
    choose([Attack(PHISH.encode(), "CP", "x")], 1, spill, random.Random(1))
    with pytest.raises(DataError, match="smaller --after"):
        inject(tmp_path / "out", lambda: host, survey, spill, share=0.05, after=20)


def of_firm(number: int, at_us: int) -> bytes:
    """Mail of a host that partners and colleagues write to, in threads."""
    stamp = datetime.fromtimestamp(at_us / 1e6).astimezone().strftime("%a, %d %b %Y %H:%M:%S %z")
    inside = number % 3 == 0
    sender = f"staff{number % 5}@host.example" if inside else f"p{number % 4}@partner{number % 6}.example"
    host = "mx.host.example" if inside else f"mail.partner{number % 6}.example"
    reader = f"reader{number % 7}@host.example"
    return (
        f"Return-Path: <{sender}>\nReceived: from {host} ({host} [198.18.4.{number % 6 + 1}])\n"
        f"\tby mx.host.example (Postfix) with ESMTPS id 4AB{number:07d}\n\tfor <{reader}>; {stamp}\n"
        f"X-Own-Program: {sender}\nFrom: Writer {number % 5} <{sender}>\nTo: {reader}\n"
        f"Subject: Re: topic {number % 9}\n"
        f"Date: {stamp}\nMessage-ID: <m{number}@{host}>\nReferences: <r{number % 9}@{host}>\n\n"
        f"The secret of message {number} is secret{number}.\n"
    ).encode()


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Injected, dict[str, HostMessage]]:
    folder = tmp_path_factory.mktemp("attacked")
    host = host_of(of_firm, 600)
    known = Acquaintance(random.Random(1), lambda raw: raw.partition(b"\n\n")[2].decode())
    survey = Survey.of(host, known=known)
    spill = Spill(folder / "spilled")
    make(survey, 150, 100, spill, 7)
    made = inject(folder / "out", lambda: host, survey, spill, share=0.2, after=100, seed=4)
    return made, {message.path: message for message in host}


def test_campaigns_made_for_a_host_are_read_back_as_they_were_meant(
    attacked: tuple[Injected, dict[str, HostMessage]],
) -> None:
    made, _ = attacked
    marks, index = marks_of(made), LabelIndex.read(made.index)
    source = FolderSource(made.index.parent)
    for rank, message in enumerate(m for m in source if m.path.startswith("mail/")):
        mark = marks.get(message.path)
        if mark is None:
            continue
        seen, entry = glance(message), index.find(source.full_path(message))
        assert entry is not None and entry.label == mark["label"] and rank >= 100
        assert seen.received_at_us == datetime.fromisoformat(mark["received_at"]).timestamp() * 1e6
        assert seen.recipients == (mark["recipient"],) and mark["recipient"].endswith("@host.example")
    assert len(marks) == 150
    labels = {mark["label"] for mark in marks.values()}
    assert labels >= {"CP", "MW", "BE", "VF", "LA", "EA", "CB", "EX", "RC", "SC", "SP"}


def test_a_hijack_answers_a_real_message_and_quotes_it(attacked: tuple[Injected, dict[str, HostMessage]]) -> None:
    made, host = attacked
    texts = {re.search(rb"Message-ID: (\S+)", m.raw)[1].decode(): m for m in host.values()}  # type: ignore[index]
    hijacks = 0
    for path, mark in marks_of(made).items():
        if mark["means"] != "stolen thread":
            continue
        read = parse_message((made.index.parent / path).read_bytes(), Envelope())
        stolen = [texts[f"<{one}>"] for one in read.in_reply_to if f"<{one}>" in texts]
        if not stolen:
            continue
        hijacks += 1
        secret = re.search(rb"secret\d+", stolen[0].raw)
        assert secret is not None and secret[0].decode() in read.quoted_text
        assert stolen[0].received_at_us is not None
        assert stolen[0].received_at_us < datetime.fromisoformat(mark["received_at"]).timestamp() * 1e6
    assert hijacks >= 2


def test_an_account_that_was_taken_over_writes_as_it_always_did(
    attacked: tuple[Injected, dict[str, HostMessage]],
) -> None:
    made, host = attacked
    programs = {
        (m.sender.address, m.hops[0].from_ip)
        for m in (parse_message(message.raw, Envelope()) for message in host.values())
    }
    taken = [path for path, mark in marks_of(made).items() if mark["means"] == NATIVE]
    assert taken
    for path in taken:
        raw = (made.index.parent / path).read_bytes()
        read = parse_message(raw, Envelope())
        assert (read.sender.address, read.hops[0].from_ip) in programs
        assert f"X-Own-Program: {read.sender.address}".encode() in raw
        assert b"secret" not in raw.partition(b"\n\n")[2] or read.in_reply_to
