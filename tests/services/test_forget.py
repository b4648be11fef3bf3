"""Messages taken out of the counts: over HTTP, by the command line, and with processes killed in between."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame

from mailwarden.domain.mail.events import TOMBSTONE
from mailwarden.errors import StoreUnavailable
from mailwarden.monitoring.skew import measure_skew, read_vectors
from mailwarden.monitoring.skew_report import SkewReport
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.spark.facts import read_facts
from mailwarden_services.bootstrap import Platform
from mailwarden_services.client import ApiNotAllowed, ApiNotFound, Client
from mailwarden_services.embedded import ChildProcess, environment_of, wait_until
from mailwarden_services.loop import Loop
from mailwarden_services.replay.live import LiveService
from mailwarden_services.scoring_api import forgetting

Mail = list[SimulatedMessage]
Run = Callable[..., tuple[int, str, str]]
KNOWN = datetime(2026, 3, 30, 10, tzinfo=UTC)
VIEW = "sender_activity"
NOBODY = "0" * 32


@pytest.fixture
def of_one(simulated: Mail) -> Mail:
    """Mail of one sender, in order of arrival."""
    senders = Counter(message.envelope.mail_from for message in simulated)
    often = max(senders, key=lambda sender: senders[sender])
    return [message for message in simulated if message.envelope.mail_from == often][:12]


def envelope(message: SimulatedMessage) -> dict[str, Any]:
    known = message.envelope
    assert known.received_at_us is not None
    received_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=known.received_at_us)
    return {"received_at": received_at, "mail_from": known.mail_from, "rcpt_to": known.rcpt_to}


def skew(warden: Any) -> SkewReport:
    """What was served against what the log gives."""
    platform = Platform(warden.settings)
    loop = Loop(platform)

    def events(number: int) -> DataFrame:
        return read_facts(loop.spark, platform.facts.snapshot(number))

    views = [view for view in platform.activity if view.name == VIEW]
    vectors = read_vectors(loop.spark, platform.vectors.snapshot())
    return measure_skew(events, vectors, views, warden.settings.run_path)


def test_a_message_is_forgotten_once_and_takes_no_label_any_more(warden: Any, of_one: Mail) -> None:
    plain = warden.platform.tenants.issue_key("acme", "plain", 1)
    writer = warden.writer()
    with warden.served() as address, Client(address, warden.keys["acme"]) as client:

        def score(message: SimulatedMessage) -> Any:
            answer = client.score(message.raw, **envelope(message))
            warden.drain(writer)
            return answer

        ids = [score(message).message_id for message in of_one[:5]]
        assert client.label(ids[1], "CP", known_at=KNOWN).seq == 6
        warden.drain(writer)
        with pytest.raises(ApiNotFound, match=f"no message {NOBODY} is known"):
            client.forget(NOBODY)
        with Client(address, plain) as other, pytest.raises(ApiNotAllowed, match="`admin`"):
            other.forget(ids[1])
        told = client.forget(ids[1])
        assert (told.message_id, told.seq, told.repeated) == (ids[1], 7, False)
        assert client.message(ids[1]).decision.seq == 2
        for _ in ("not logged yet", "logged"):
            again = client.forget(ids[1])
            assert (again.seq, again.repeated) == (None, True)
            with pytest.raises(ApiNotFound, match="taken out of the counts"):
                client.label(ids[1], "ham", known_at=KNOWN)
            warden.drain(writer)
        # The same message does not come back by coming again.
        assert score(of_one[1]).repeated
        assert [score(message).seq for message in of_one[5:8]] == [8, 9, 10]
        acts = [entry for entry in client.audit() if entry.what == "message.forget"]
        assert [(entry.who, entry.target) for entry in acts] == [("key:tests", ids[1])]
    writer.close()
    events = warden.events()
    assert [(e.seq, e.message_id) for e in events if e.kind == TOMBSTONE] == [(7, ids[1])]
    assert warden.states() == warden.folded(events)
    with warden.api() as api:
        # Another process knows it from the log.
        assert api.label(message_id=ids[1], label="ham", known_at="2026-03-30T10:00:00Z").status_code == 404


def test_the_command_forgets_where_an_api_runs_and_where_none_does(
    warden: Any, of_one: Mail, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warden.served() as address, Client(address, warden.keys["acme"]) as client:
        ids = [client.score(message.raw, **envelope(message)).message_id for message in of_one[:4]]
        code, _, errors = run("forget", ids[0], "--tenant", "acme")
        assert code == 69 and "--api http" in errors
        warden.drain()
        monkeypatch.setenv("MAILWARDEN_API_KEY", warden.keys["acme"])
        code, text, errors = run("forget", ids[0], "--api", address)
        assert (code, text) == (0, f"message {ids[0]} counts no more from seq 5 on\n"), errors
        assert run("forget", NOBODY, "--api", address)[0] == 66
    code, _, errors = run("forget", ids[1], "--tenant", "acme")
    assert code == 69 and "not logged yet" in errors
    warden.drain()
    # It needs no index, which is made again from the log at the next start.
    warden.settings.contacts_path.unlink()
    code, text, errors = run("forget", ids[1], "--tenant", "acme")
    assert (code, text) == (0, f"message {ids[1]} counts no more from seq 6 on\n"), errors
    for message_id in ids[:2]:
        code, text, _ = run("forget", message_id, "--tenant", "acme")
        assert (code, text) == (0, f"message {message_id} counted no more already\n")
    for words, expected, said in (
        ((NOBODY, "--tenant", "acme"), 66, f"no message {NOBODY} is known"),
        ((ids[2], "--tenant", "other"), 66, f"no message {ids[2]} is known"),
        ((ids[2], "--tenant", "nobody"), 66, "nobody"),
        ((ids[2], "--tenant", "acme", "--received-at", "soon"), 65, "--received-at"),
    ):
        code, _, errors = run("forget", *words)
        assert (code, said in errors) == (expected, True), errors
    entries = [entry for entry in Platform(warden.settings).audit.page("acme") if entry.what == "message.forget"]
    assert [(entry.who.split(":")[0], entry.target) for entry in entries] == [("cli", ids[1]), ("key", ids[0])]
    # The streams get it from the log.
    with warden.api() as api:
        api.send(of_one[4])
        warden.drain()
    events = warden.events()
    assert [event.kind for event in events].count(TOMBSTONE) == 2 and events[-1].seq == 7
    assert warden.states() == warden.folded(events)


class Served:
    """`mailwarden serve` that can be killed with all that it started."""

    def __init__(self, warden: Any, folder: Path) -> None:
        path = folder / "api.sock"
        path.unlink(missing_ok=True)
        self.process = ChildProcess(
            "mailwarden_services.cli", ["serve", "--socket", str(path)], environment_of(warden.settings), folder / "log"
        )
        self.service = LiveService(warden.settings, self.process, path, warden.keys["acme"])

        def ready() -> bool:
            with contextlib.suppress(StoreUnavailable):
                return self.service.call("GET", "/readyz")[0] == 200
            return False

        wait_until(ready, self.process, seconds=120, what="the start")

    def writer(self) -> int:
        """The process that folds."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if b"mailwarden_services.feature_writer" in path.read_bytes():
                    parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
                    if parent == self.process.pid:
                        return int(path.parent.name)
        raise AssertionError("no feature writer runs")

    def kill(self) -> None:
        """At once, its children with it."""
        writer = self.writer()
        os.kill(self.process.pid, signal.SIGKILL)
        self.process._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(writer, signal.SIGKILL)
        self.service.close()

    def stop(self) -> None:
        self.service.close()
        self.process.stop()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="mw-forget-") as made:
        yield Path(made)


def test_what_is_killed_between_tombstone_and_rebuild_is_done_later_and_all_that_was_served_is_recomputed(
    warden: Any, of_one: Mail, folder: Path
) -> None:
    served = Served(warden, folder)
    try:
        ids = [served.service.score(m.raw, m.envelope)[0]["message_id"] for m in of_one[:4]]
        served.service.wait_folded("acme", 4)
        deadline = time.monotonic() + 60
        while Platform(warden.settings).events.last_seq("acme") < 4:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(served.writer(), signal.SIGSTOP)
        before = warden.states()
        status, told = served.service.call("POST", f"/v1/messages/{ids[2]}/forget")
        assert (status, told) == (200, {"message_id": ids[2], "seq": 5, "repeated": False})
        served.kill()
    finally:
        served.stop()
    assert warden.states() == before and TOMBSTONE not in {event.kind for event in warden.events()}
    writer = warden.writer()
    with warden.api() as api:
        told = api.client.post(f"/v1/messages/{ids[2]}/forget").json()
        assert told == {"message_id": ids[2], "repeated": True}
        warden.drain(writer)
        for number, message in enumerate(of_one[4:6], start=6):
            answer = api.send(message)
            assert (answer["seq"], answer["features"]["as_of_seq"]) == (number, number - 1)
            warden.drain(writer)
    writer.close()
    events = warden.events()
    assert [event.seq for event in events if event.kind == TOMBSTONE] == [5] and len(events) == 7
    assert warden.states() == warden.folded(events)
    report = skew(warden)
    assert report.agrees and report.mismatches == 0, report.examples


def test_further_copies_are_forgotten_with_their_message(warden: Any, of_one: Mail) -> None:
    first = of_one[0]
    more = replace(first.envelope, rcpt_to=(*first.envelope.rcpt_to, f"zoe@{first.envelope.rcpt_to[0].split('@')[1]}"))
    with warden.api() as api:
        message_id = api.send(first)["message_id"]
        assert api.score(first.raw, more).status_code == 200
        warden.drain()
        copies = [event for event in warden.events() if event.copy_of]
        assert [event.copy_of for event in copies] == [message_id]
        told = api.client.post(f"/v1/messages/{copies[0].message_id}/forget").json()
        assert (told["message_id"], told["repeated"]) == (message_id, False)
        warden.drain()
        assert api.client.post(f"/v1/messages/{message_id}/forget").json()["repeated"]
    events = warden.events()
    assert [event.message_id for event in events if event.kind == TOMBSTONE] == [message_id, copies[0].message_id]
    assert warden.states() == warden.folded(events)


def test_a_copy_that_no_log_has_yet_is_forgotten_with_its_message(warden: Any, of_one: Mail) -> None:
    """One came just now; another was in the spool already when the process started."""
    first = of_one[0]
    domain = first.envelope.rcpt_to[0].split("@")[1]

    def copy_for(api: Any, name: str) -> str:
        more = replace(first.envelope, rcpt_to=(*first.envelope.rcpt_to, f"{name}@{domain}"))
        answer = api.score(first.raw, more).json()
        return str(answer["message_id"])

    with warden.api() as api:
        message_id = api.send(first)["message_id"]
        warden.drain()
        before = copy_for(api, "zoe")
    with warden.api() as api:
        after = copy_for(api, "yves")
        logs = threading.Timer(0.5, warden.drain)
        logs.start()
        told = api.client.post(f"/v1/messages/{message_id}/forget").json()
        logs.join()
        assert (told["seq"], told["repeated"]) == (4, False)
        warden.drain()
    events = warden.events()
    assert {event.message_id for event in events if event.kind == TOMBSTONE} == {message_id, before, after}
    assert warden.states() == warden.folded(events)


def test_a_copy_that_was_set_aside_is_waited_for_no_longer_than_a_log_may_take(
    warden: Any, of_one: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "LOG_SECONDS", 0.1)
    with warden.api() as api:
        ids = [api.send(message)["message_id"] for message in of_one[:2]]
        warden.drain()
        told = warden.service.forgetting._sequencing("acme")._sequencer.told
        told.copies.keep("acme", ids[0], "1" * 32, 2)
        assert api.client.post(f"/v1/messages/{ids[0]}/forget").json()["repeated"] is False
        # In no log yet, for all that is known: the tombstone is there, and the rest is to be asked for again.
        told.copies.keep("acme", ids[1], "2" * 32, 4)
        answer = api.client.post(f"/v1/messages/{ids[1]}/forget")
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "not-logged")
        acts = [entry.target for entry in Platform(warden.settings).audit.page("acme")]
        assert sorted(acts) == sorted(ids)


def test_a_message_that_was_set_aside_is_not_found_and_one_that_waits_for_its_log_is_to_be_asked_for_again(
    warden: Any, of_one: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "LOG_SECONDS", 0.1)
    with warden.api() as api:
        for message in of_one[:2]:
            api.send(message)
        warden.drain()
        index = warden.service.forgetting._sequencing("acme")._sequencer.contacts_of("acme")
        index.restore("acme", "", (), 1, "1" * 32)
        index.restore("acme", "", (), 9, "9" * 32)
        # The log has what came behind it, and not the message.
        assert api.client.post(f"/v1/messages/{'1' * 32}/forget").status_code == 404
        answer = api.client.post(f"/v1/messages/{'9' * 32}/forget")
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "not-logged")
    assert [event.kind for event in warden.events()] == ["message", "message"]
