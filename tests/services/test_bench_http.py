"""`bench http`: its mail, its times and its parts, and the whole, small; no time that it measures is asserted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.domain.aggregates.windows import DAY_US, SECOND_US
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.stores.lake.event_log import table_to_events
from mailwarden_services.bench import http_price, load_mail, rspamd
from mailwarden_services.bench.arrivals import ARRIVALS, LATE_SECONDS
from mailwarden_services.bench.disk import sync_times
from mailwarden_services.bench.home import loaded_home
from mailwarden_services.bench.http_price import HttpOptions
from mailwarden_services.bench.suite import bench_tables
from mailwarden_services.bootstrap import Platform
from mailwarden_services.processes import parts_of

SAYS_ITS_NAME = """
import ctypes, sys, time
ctypes.CDLL(None).prctl(15, b"mw-sequencer")
print("named", flush=True)
time.sleep(60)
"""
STARTS_ONE = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
"""


@given(st.integers(0, 10_000_000))
def test_times_rise_and_only_late_mail_lies_before(number: int) -> None:
    strict, ties, late = (ARRIVALS[name] for name in ("strict", "ties", "late"))
    assert strict(number + 1) - strict(number) == SECOND_US
    assert ties(number + 1) - ties(number) in (0, SECOND_US)
    lateness = ties(number) - late(number)
    assert lateness == 0 or LATE_SECONDS[0] * SECOND_US <= lateness <= LATE_SECONDS[1] * SECOND_US
    assert late(number) % SECOND_US == 0 and late(number) == late(number)


def test_three_messages_or_so_bear_a_second_and_a_tenth_is_late() -> None:
    n = 6_000
    seconds = Counter(ARRIVALS["ties"](number) for number in range(n))
    assert max(seconds.values()) == 5 and 2.9 < n / len(seconds) < 3.1
    late = sum(ARRIVALS["late"](number) != ARRIVALS["ties"](number) for number in range(n))
    assert 0.08 * n < late < 0.12 * n


def write_mail(folder: Path) -> None:
    for number in range(6):
        raw = f"From: p{number}@b.example\nTo: <q@d.example>\nSubject: {number}\n\nx\n"
        (folder / f"m{number}").write_text("From MAILER Sun Apr  8 13:07:32 2007\n" + raw)
    (folder / "notes").write_text("no mail at all\n")


def test_mail_is_drawn_from_a_folder_a_pattern_and_an_index(tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    mail.mkdir()
    write_mail(mail)
    (tmp_path / "INDEX").write_text("spam mail/m1\nham mail/m4\n")
    held = {str(mail): "012345", f"{mail}/m[0-3]": "0123", str(tmp_path / "INDEX"): "14"}
    for chosen, subjects in held.items():
        found = load_mail.load_mail(chosen, 100, "own.example")
        assert found is not None and found[0] == chosen
        assert {message.raw.split(b"Subject: ")[1][:1].decode() for message in found[1]} == set(subjects)
        assert all(message.raw.startswith(b"From: ") for message in found[1])
    envelope = found[1][0].envelope
    assert envelope.mail_from in ("p1@b.example", "p4@b.example")
    assert envelope.rcpt_to[0].endswith("@own.example") and found[1][1].envelope.rcpt_to == envelope.rcpt_to
    twice = [load_mail.load_mail(str(mail), 3, "own.example") for _ in range(2)]
    assert twice[0] == twice[1] and twice[0] is not None and len(twice[0][1]) == 3
    with pytest.raises(DataError, match="names no mail"):
        load_mail.load_mail(f"{tmp_path}/none*", 3, "own.example")


def test_without_a_corpus_mail_is_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_mail, "TREC", tmp_path / "none")
    assert load_mail.load_mail("", 3, "own.example") is None


def test_syncs_leave_nothing_behind(tmp_path: Path) -> None:
    found = sync_times(tmp_path, 5)
    assert 0 < found["p50_ms"] <= found["p99_ms"] and not list(tmp_path.iterdir())


def test_processes_are_told_by_what_they_say_of_themselves() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE, SAYS_ITS_NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parts = parts_of(parent.pid)
        assert parts["api"] == [parent.pid] and parts["sequencer"] == [child]
        assert parts["writer"] == parts["reading"] == []
    finally:
        parent.communicate()


@pytest.fixture
def loaded(model_home: Any, tmp_path: Path) -> Path:
    """A home with models and no events, which is copied and never changed."""
    folder = tmp_path / "home"
    shutil.copytree(model_home.folder, folder)
    return folder


def test_the_day_of_the_load_has_small_files(loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_mail, "TREC", loaded / "none")
    with loaded_home(Settings(), lambda _: None, home=loaded, messages=5, small_files=6) as home:
        events = sorted(table_to_events(Platform(home.settings).events.scan().read_all()), key=lambda one: one.seq)
        assert home.settings.root != loaded and (home.tenant, home.small_files, home.messages) == ("acme", 6, 5)
        assert [event.seq for event in events] == list(range(1, 13))
        assert all(before.received_at_us < after.received_at_us for before, after in pairwise(events))
        assert {event.received_at_us // DAY_US for event in events} == {home.begin_us // DAY_US}
        assert events[-1].received_at_us < home.begin_us < time.time() * SECOND_US - DAY_US // 4
        assert json.loads(home.load.read_text().splitlines()[0]) == {"start_us": home.begin_us}
        folder = home.settings.root
    assert not folder.exists() and not (loaded / "lake" / "events").exists()
    with (
        pytest.raises(DataError, match="no tenant nobody"),
        loaded_home(Settings(), lambda _: None, home=loaded, tenant="nobody", small_files=0),
    ):
        pass


def test_a_service_is_loaded_measured_and_stopped(loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_mail, "TREC", loaded / "none")
    monkeypatch.setattr(http_price, "WARM_MESSAGES", 10)
    monkeypatch.setattr(http_price, "IDLE_SECONDS", 0.5)
    options = HttpOptions(
        home=loaded, messages=50, times=("late",), ahead=False, latency=False, peer=False, small_files=2
    )
    found = http_price.measure(Settings(), options)
    assert found["mail"] == "simulated mail" and found["rspamd_cpu_ms"] is None and set(found["cpu"]) == {"late"}
    late = found["cpu"]["late"]
    assert (late["messages"], late["failed"]) == (50, 0) and late["parts"]["api"] > 0
    assert {"api", "writer", "signals", "reading", "redis"} <= set(found["cpu"]["late"]["parts"])
    assert len(bench_tables({"http": found})) == 2
    assert json.loads(json.dumps(found)) == found


@pytest.mark.verify
@pytest.mark.skipif(not rspamd.installed(), reason="Debian's rspamd is not installed")
def test_rspamd_answers_beside_the_service(loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_price, "WARM_MESSAGES", 20)
    options = HttpOptions(home=loaded, messages=50, times=("strict",), ahead=False, latency=False, small_files=2)
    found = http_price.measure(Settings(), options)
    assert found["cpu"]["strict"]["ratio"] > 0 and len(found["rspamd_cpu_ms"]) == 2
    assert len(bench_tables({"http": found})) == 2


def test_bad_choices_are_refused_in_words(run: Any) -> None:
    code, _, err = run("bench", "http", "--times", "sometimes")
    assert code == 2 and "strict, ties, late" in err
    code, _, err = run("bench", "speed")
    assert code == 66 and "'speed'" in err
