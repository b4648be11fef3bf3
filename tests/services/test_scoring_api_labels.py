"""Labels over HTTP: found by any id, counted once, taken back by a correction, in the log and in the features."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.ingest.index import LabelEntry, LabelIndex
from mailwarden.ingest.pipeline import ingest
from mailwarden.ingest.sources import open_source
from mailwarden.labelling.feedback import index_sink
from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.online.reader import ReadRequest
from mailwarden_services.bootstrap import Platform

Mail = list[SimulatedMessage]
KNOWN = "2026-03-30T10:00:00Z"


def labelled(warden: Any, message: SimulatedMessage, sender: str) -> tuple[float, float]:
    """(bad, good) labels that the online store has counted for a sender."""
    reader = Platform(warden.settings).online_reader
    at_us = 1_775_000_000_000_000
    asked = Event("acme", 0, "message", "", at_us, at_us, "envelope", "inbound", sender, "", (), ())
    (found,) = reader.read([ReadRequest(asked)])
    values = dict(zip(reader.feature_names["sender_activity"], found.values["sender_activity"][0], strict=True))
    return float(values["labelled_bad_all"]), float(values["labelled_good_all"])


def sender_of(warden: Any, message_id: str) -> str:
    record = Platform(warden.settings).decisions.by_message("acme", message_id)
    assert record is not None
    sender: str = record.sender
    return sender


@pytest.mark.parametrize("when", ["at once", "logged", "restarted"])
def test_a_label_finds_its_message_by_either_id(warden: Any, simulated: Mail, when: str) -> None:
    with warden.api() as api:
        one, two = (api.send(m) for m in simulated[:2])
        if when == "logged":
            warden.drain()
        if when != "restarted":
            label_both(api, one, two)
    if when == "restarted":
        warden.drain()
        with warden.api() as api:
            label_both(api, one, two)
    warden.drain()
    assert warden.platform.labels.count("acme") == 2
    events = warden.events()
    assert [(e.kind, e.label, e.message_id) for e in events[2:]] == [
        ("label", "CP", one["message_id"]), ("label", "ham", two["message_id"])
    ]  # fmt: skip
    assert [(e.labelled_bad, e.labelled_attack, e.labelled_good) for e in events[2:]] == [(1, 1, 0), (0, 0, 1)]
    for label, message in zip(events[2:], events[:2], strict=True):
        assert (label.sender, label.recipients, label.received_at_us, label.direction) == (
            message.sender, message.recipients, message.received_at_us, message.direction
        )  # fmt: skip
        assert label.recipient_domains == message.recipient_domains
        assert label.known_at_us == 1_774_864_800_000_000
    assert warden.states() == warden.folded(events)


def label_both(api: Any, one: dict[str, Any], two: dict[str, Any]) -> None:
    first = api.label(decision_id=one["decision_id"], label="CP", known_at=KNOWN)
    second = api.label(message_id=two["message_id"], label="ham", known_at=KNOWN, source="user", given_by="u1")
    assert (first.status_code, first.json()["seq"], first.json()["repeated"]) == (201, 3, False)
    assert (second.status_code, second.json()["seq"]) == (201, 4)


@pytest.mark.parametrize("between", ["nothing", "drain", "restart", "drain and restart"])
def test_the_same_label_counts_once_and_a_correction_takes_it_back(warden: Any, simulated: Mail, between: str) -> None:
    given = ["spam", "spam", "ham", "ham", "CP"]
    seen = []
    with warden.api() as api:
        answer = api.send(simulated[0])
    for label in given:
        with warden.api() as api:
            response = api.label(message_id=answer["message_id"], label=label, known_at=KNOWN)
            seen.append((response.status_code, response.json()["repeated"]))
            if between == "nothing":
                break
        if "drain" in between:
            warden.drain()
    if between == "nothing":
        with warden.api() as api:
            for label in given[1:]:
                response = api.label(message_id=answer["message_id"], label=label, known_at=KNOWN)
                seen.append((response.status_code, response.json()["repeated"]))
    assert seen == [(201, False), (200, True), (201, False), (200, True), (201, False)]
    warden.drain()
    events = warden.events()
    assert [e.label for e in events] == ["", "spam", "ham", "CP"]
    assert [(e.labelled_bad, e.labelled_attack, e.labelled_good) for e in events] == [
        (0, 0, 0), (1, 0, 0), (-1, 0, 1), (1, 1, -1)
    ]  # fmt: skip
    assert labelled(warden, simulated[0], sender_of(warden, answer["message_id"])) == (1.0, 0.0)
    assert [r.label for r in warden.platform.labels.history("acme", answer["message_id"])] == ["spam", "ham", "CP"]


def test_a_label_that_comes_late_with_an_earlier_time_is_still_the_last_word(warden: Any, simulated: Mail) -> None:
    """What is taken back is what the counts hold: the label of the greatest seq, whatever time it bears."""
    with warden.api() as api:
        answer = api.send(simulated[0])
        api.label(message_id=answer["message_id"], label="CP", known_at=KNOWN)
        api.label(message_id=answer["message_id"], label="ham", known_at="2026-03-20T00:00:00Z")
    warden.drain()
    with warden.api() as api:
        again = api.label(message_id=answer["message_id"], label="ham", known_at=KNOWN)
        assert again.json()["repeated"] is True
        assert api.label(message_id=answer["message_id"], label="CP", known_at=KNOWN).status_code == 201
    warden.drain()
    assert sum(e.labelled_bad for e in warden.events()) == 1
    assert sum(e.labelled_good for e in warden.events()) == 0


def test_several_labels_at_once_each_with_its_own_fate(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        ids = [api.send(m)["message_id"] for m in simulated[:4]]
        bodies = [{"message_id": i, "label": "SP", "known_at": KNOWN} for i in ids]
        bodies += [{"message_id": "0" * 32, "label": "SP", "known_at": KNOWN}, dict(bodies[0])]
        bodies.append({"message_id": ids[1], "label": "nonsense", "known_at": KNOWN})
        response = api.client.post("/v1/labels/batch", json={"labels": bodies})
        assert response.status_code == 200
        results = response.json()["results"]
        assert [r.get("seq") for r in results[:4]] == [5, 6, 7, 8]
        assert results[4]["problem"]["status"] == 404
        assert results[5]["repeated"] is True
        assert results[6]["problem"]["status"] == 422 and "nonsense" in results[6]["problem"]["detail"]
    warden.drain()
    assert sorted(e.seq for e in warden.events()) == list(range(1, 9))


def test_unknown_and_malformed_labels_are_refused(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        answer = api.send(simulated[0])
        known = {"message_id": answer["message_id"], "label": "spam", "known_at": KNOWN}
        for change, status, words in (
            ({"message_id": "f" * 32}, 404, "no message"),
            ({"message_id": None}, 422, "decision_id"),
            ({"label": "Phish"}, 422, "unknown label"),
            ({"known_at": "2026-03-30T10:00:00"}, 422, "known_at"),
            ({"source": "machine"}, 422, "source"),
            ({"colour": "red"}, 422, "colour"),
        ):
            response = api.label(**{**known, **change})
            assert response.status_code == status and words in response.json()["detail"], (change, response.text)
            assert response.headers["content-type"] == "application/problem+json"
    warden.drain()
    assert [e.kind for e in warden.events()] == ["message"]


@pytest.fixture
def bulk(warden: Any, simulated: Mail, tmp_path: Any) -> Callable[..., list[Any]]:
    """Ingests the first messages in bulk, with labels or without, and returns their events."""
    write_corpus(tmp_path / "mail", simulated[:6])

    def run(labels: LabelIndex | None) -> list[Any]:
        platform = Platform(warden.settings)
        ingest(
            open_source(tmp_path / "mail" / "mail"),
            tenant="acme",
            own_domains=frozenset(platform.tenants.get("acme").domains),
            event_log=platform.events,
            raw_mail=platform.raw,
            labels=labels,
            label_sink=index_sink(platform.labels),
            workers=1,
        )
        events: list[Any] = warden.events()
        platform.online_writer.fold(events)
        return events

    return run


def test_mail_that_was_ingested_in_bulk_is_labelled_by_its_time(
    warden: Any, simulated: Mail, bulk: Callable[..., list[Any]]
) -> None:
    first = bulk(None)[0]
    at = "2026-03-02T00:00:00+00:00"
    with warden.api() as api:
        by_day = api.label(
            message_id=first.message_id, label="CP", known_at=KNOWN, received_at=api_time(first.received_at_us)
        )
        assert by_day.status_code == 201 and by_day.json()["seq"] == 7
        assert api.label(message_id=first.message_id, label="ham", known_at=KNOWN, received_at=at).status_code == 201
        assert api.send(simulated[7])["seq"] == 9
    warden.drain()
    events = warden.events()
    assert [(e.seq, e.label, e.labelled_bad) for e in events if e.kind == "label"] == [(7, "CP", 1), (8, "ham", -1)]
    assert warden.states() == warden.folded(events)


def api_time(time_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat()


def test_a_correction_takes_back_a_label_that_an_index_gave(
    warden: Any, simulated: Mail, bulk: Callable[..., list[Any]]
) -> None:
    paths = [m.path.removeprefix("mail/") for m in simulated[:6]]
    base = str(warden.settings.root.parent / "mail" / "mail")
    entries = [LabelEntry("spam", f"{base}/{path}", path, selected=True) for path in paths]
    events = bulk(LabelIndex("index", entries))
    messages = [e for e in events if e.kind == "message"]
    assert len([e for e in events if e.label == "spam"]) == 6
    with warden.api() as api:
        target = messages[0]
        same = api.label(message_id=target.message_id, label="spam", known_at=KNOWN)
        assert same.json()["repeated"] is True
        assert api.label(message_id=target.message_id, label="ham", known_at=KNOWN).status_code == 201
    warden.drain()
    given = warden.events()[-1]
    assert (given.label, given.labelled_bad, given.labelled_good) == ("ham", -1, 1)
    # The index says spam again: that takes back what the analyst said, which stays on record as theirs.
    bulk(LabelIndex("index", entries))
    assert [(e.label, e.labelled_bad) for e in warden.events()[-2:]] == [("ham", -1), ("spam", 1)]
    history = warden.platform.labels.history("acme", target.message_id)
    assert sorted((r.seq, r.label, r.source) for r in history)[1:] == [
        (given.seq, "ham", "analyst"), (given.seq + 1, "spam", "index")
    ]  # fmt: skip


@pytest.mark.parametrize("between", ["nothing", "drain and restart"])
def test_a_label_that_is_withdrawn_counts_no_more_and_may_be_given_again(
    warden: Any, simulated: Mail, between: str
) -> None:
    with warden.api() as api:
        answer = api.send(simulated[0])
    path = f"/v1/messages/{answer['message_id']}/label"
    seen = []
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(warden.api())
        for act in ("withdraw", "CP", "withdraw", "withdraw", "ham"):
            if act == "withdraw":
                response = api.client.delete(path, params={"known_at": KNOWN, "given_by": "u1"})
            else:
                response = api.label(message_id=answer["message_id"], label=act, known_at=KNOWN)
            seen.append((act, response.status_code))
            if between == "drain and restart":
                stack.close()
                warden.drain()
                api = stack.enter_context(warden.api())
    assert seen == [("withdraw", 404), ("CP", 201), ("withdraw", 200), ("withdraw", 404), ("ham", 201)]
    warden.drain()
    events = warden.events()
    assert [(e.label, e.labelled_bad, e.labelled_attack, e.labelled_good) for e in events[1:]] == [
        ("CP", 1, 1, 0), ("withdrawn", -1, -1, 0), ("ham", 0, 0, 1)
    ]  # fmt: skip
    assert warden.states() == warden.folded(events)
    assert labelled(warden, simulated[0], sender_of(warden, answer["message_id"])) == (0.0, 1.0)
    history = warden.platform.labels.history("acme", answer["message_id"])
    assert [(r.label, r.given_by) for r in history] == [("CP", ""), ("withdrawn", "u1"), ("ham", "")]
    assert warden.platform.events.view().labels("acme") == {answer["message_id"]: "ham"}


def forwarded(original: bytes, how: str) -> bytes:
    """A report of a message, as mail programs forward one."""
    name = re.search(rb"^Message-ID:\s*<(.*?)>", original, re.IGNORECASE | re.MULTILINE)
    assert name is not None
    head = b"From: bob@acme.example\r\nTo: report@acme.example\r\nSubject: Fwd\r\nMIME-Version: 1.0\r\n"
    if how == "attached":
        kind = b'Content-Type: multipart/mixed; boundary="xx"\r\n\r\n--xx\r\nContent-Type: text/plain\r\n\r\nlook\r\n'
        return head + kind + b"--xx\r\nContent-Type: message/rfc822\r\n\r\n" + original + b"\r\n--xx--\r\n"
    if how == "quoted":
        return head + b"\r\nlook\r\n\r\n> From: somebody\r\n> Message-ID: <" + name[1] + b">\r\n> hello\r\n"
    return head + b"In-Reply-To: <" + name[1] + b">\r\n\r\nthis is bad\r\n"


@pytest.mark.parametrize("how", ["attached", "quoted", "answered"])
def test_a_report_labels_the_original_that_it_forwards(warden: Any, simulated: Mail, how: str) -> None:
    with warden.api() as api:
        answers = [api.send(message) for message in simulated[:4]]
        warden.drain()
        sent = {"content": forwarded(simulated[1].raw, how), "headers": {"Content-Type": "message/rfc822"}}
        bob = f"bob@{warden.platform.tenants.get('acme').domains[0]}"
        where = {"label": "CP", "known_at": KNOWN, "reporter": bob}
        outside = api.client.post("/v1/reports", params=where | {"reporter": "eve@evil.example"}, **sent)
        assert outside.status_code == 404, "somebody else's mail was labelled"
        response = api.client.post("/v1/reports", params=where, **sent)
        assert response.status_code == 200, response.text
        (taken,) = response.json()["reported"]
        assert (taken["message_id"], taken["label"], taken["repeated"]) == (answers[1]["message_id"], "CP", False)
        again = api.client.post("/v1/reports", params=where, **sent).json()["reported"]
        assert [one["repeated"] for one in again] == [True]
        for raw in (b"From: a@x.example\r\n\r\nnothing", forwarded(b"Message-ID: <no@such.example>\r\n\r\n", how)):
            refused = api.client.post("/v1/reports", content=raw, headers=sent["headers"])
            assert refused.status_code == 404, refused.text
        acts = api.client.get("/v1/audit", params={"what": "label.report"}).json()["entries"]
        assert [act["target"] for act in acts] == [answers[1]["message_id"]]
    warden.drain()
    (record,) = warden.platform.labels.history("acme", answers[1]["message_id"])
    assert (record.label, record.source, record.given_by) == ("CP", "user", bob)


def test_a_report_of_a_message_that_bears_anothers_name_labels_the_one_of_its_sender(
    warden: Any, simulated: Mail
) -> None:
    forged = simulated[1].raw.replace(simulated[1].raw.split(b"From: ")[1].split(b"\r\n")[0].split(b"\n")[0],
                                      b"Eve <eve@evil.example>", 1)  # fmt: skip
    with warden.api() as api:
        honest = api.send(simulated[1])["message_id"]
        bad = api.score(forged, simulated[2].envelope).json()["message_id"]
        warden.drain()
        sent = {"content": forwarded(forged, "attached"), "headers": {"Content-Type": "message/rfc822"}}
        taken = api.client.post("/v1/reports", **sent).json()["reported"]
        assert [one["message_id"] for one in taken] == [bad] != [honest]
