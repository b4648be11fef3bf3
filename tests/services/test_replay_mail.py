"""A reader's own mail in a replay: unlabelled, missing, timeless, refused; none of it ends the experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from mailwarden.domain.mail.content import ContentView
from mailwarden.domain.mail.lists import NO_LISTS
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError, StoreError
from mailwarden.ingest.index import LabelIndex
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.receive import Site, receive
from mailwarden.ingest.sources import open_source
from mailwarden_features import discover
from mailwarden_services.replay.experiment import ReplayOutcome, ReplayPlan, _message_ids
from mailwarden_services.replay.figures import write_scores
from mailwarden_services.replay.live import LiveService, Refused
from mailwarden_services.replay.report import write_report
from mailwarden_services.replay.result import report_of, score_table
from mailwarden_services.replay.spill import Spill, files_in
from mailwarden_services.replay.stream import Stream

NEXT_YEAR_US = 1_798_761_600_000_000
RECEIVED = "Received: from mx.a.example by mx.b.example; Mon, 2 Mar 2026 1{hour}:00:00 +0000\r\n"


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """A folder of mail as people have it, with its index."""
    folder = tmp_path / "mail"
    (folder / "in").mkdir(parents=True)
    body = "From: a@a.example\r\nTo: b@b.example\r\nSubject: hi\r\n\r\nhi\r\n"
    messages = {
        "0.eml": "Subject: no time\r\n\r\nhi\r\n",
        "1.eml": RECEIVED.format(hour=2) + body,
        "2.eml": RECEIVED.format(hour=1) + body.replace("hi", "unlabelled"),
        "3.eml": "Date: Mon, 2 Mar 2026 13:00:00 +0000\r\n" + body,
        "4.eml": RECEIVED.format(hour=4) + body.replace("hi", "big"),
    }
    for name, text in messages.items():
        (folder / "in" / name).write_bytes(text.encode())
    (folder / "INDEX").write_text("ham in/0.eml\nham in/1.eml\nSpam in/3.eml\nspam in/4.eml\nspam in/gone.eml\n")
    return folder


def spill_of(mail: Path, tmp_path: Path, **options: Any) -> Spill:
    labels = LabelIndex.read(mail / "INDEX")
    return Spill.build(
        open_source(mail), labels, tmp_path / "spill", **{"only": None, "limit": None, "progress": int, **options}
    )


def test_unlabelled_mail_stays_and_missing_lines_are_counted(mail: Path, tmp_path: Path) -> None:
    spill = spill_of(mail, tmp_path)
    assert [(m.path, m.label) for m in spill.in_order()] == [
        ("in/2.eml", ""), ("in/0.eml", "ham"), ("in/1.eml", "ham"), ("in/3.eml", "spam"), ("in/4.eml", "spam"),
    ]  # fmt: skip
    assert spill.unlabelled == 1
    assert spill.missing == ("in/gone.eml",)
    assert files_in(mail) == 6 and files_in(mail / "INDEX") is None


def test_what_was_not_read_is_not_called_missing(mail: Path, tmp_path: Path) -> None:
    spill = spill_of(mail, tmp_path, limit=2)
    assert len(spill) == 2 and spill.missing is None


def test_only_keeps_what_the_index_selects(mail: Path, tmp_path: Path) -> None:
    spill = spill_of(mail, tmp_path, only=LabelIndex.read(mail / "INDEX"))
    assert [m.path for m in spill.in_order()] == ["in/0.eml", "in/1.eml", "in/4.eml"]
    assert spill.unlabelled == 0


def test_an_index_of_other_mail_is_refused(mail: Path, tmp_path: Path) -> None:
    (mail / "INDEX").write_text("ham elsewhere/1.eml\n")
    with pytest.raises(DataError, match="no message"):
        spill_of(mail, tmp_path)


def test_mail_that_only_bears_a_date_has_no_skew_in_history_nor_when_served(mail: Path, tmp_path: Path) -> None:
    spill = spill_of(mail, tmp_path)
    read, content = spill.reader(), discover().by_name("content_headers")
    assert isinstance(content, ContentView)
    found = next(m for m in spill.in_order() if m.path == "in/3.eml")
    raw, envelope = read(found).raw, read(found).envelope
    assert envelope.time_source == "date" and envelope.received_at_us == found.time_us
    for given in (envelope, Envelope(envelope.received_at_us)):
        assert content.compute(parse_message(raw, given), NO_LISTS)["date_skew_hours"] is None


def test_a_time_ahead_of_the_source_is_set_back_without_a_clock(mail: Path, tmp_path: Path) -> None:
    body = "From: a@a.example\r\nTo: b@b.example\r\nSubject: hi\r\n\r\n"
    for minute in range(30):
        hop = RECEIVED.format(hour=0).replace(":00:00", f":{minute:02}:00", 1)
        (mail / "in" / f"a{minute}.eml").write_bytes((hop + body + f"{minute}").encode())
    hop = RECEIVED.format(hour=0).replace("2026", "2077")
    (mail / "in" / "zz.eml").write_bytes((hop + body).encode())
    spill = spill_of(mail, tmp_path)
    last = spill.in_order()[-1]
    newest_us = max(m.time_us for m in spill.messages if not m.clamped)
    assert (last.path, last.clamped, last.time_us) == ("in/zz.eml", True, newest_us)
    found = spill.reader()(last)
    event = receive(found.raw, found.envelope, Site("t", frozenset())).event
    assert (event.received_at_us, event.time_clamped) == (newest_us, True)
    assert _message_ids(spill, "t", [last]) == {last.number: event.message_id}
    scored = streamed(spill, Api()).run([last], spill.reader(), before=nothing, progress=nothing)
    assert scored[0].answer["flags"] == ["time clamped"]


class Api:
    """What a stream asks of a live service; messages over a size are refused, others get a decision."""

    def __init__(self, failing: bool = False) -> None:
        self.failing = failing
        self.labels: list[str] = []
        self.said: list[tuple[str, int]] = []
        self.seq = 0

    def score(self, raw: bytes, envelope: Envelope) -> tuple[dict[str, Any], float]:
        if b"big" in raw:
            if self.failing:
                raise StoreError("scoring answered 503")
            raise Refused(413, "The body is too large")
        self.seq += 1
        answer = {
            "seq": self.seq, "repeated": False, "message_id": f"{self.seq:032x}", "log_odds": 1.0, "score": 0.7,
            "verdict": "junk", "category": None, "detectors": {}, "signals": [{"name": "n", "words": "w"}],
            "features": {}, "flags": [],
        }  # fmt: skip
        assert envelope.received_at_us is not None and envelope.received_at_us < NEXT_YEAR_US
        return answer, 0.001

    def label(self, labels: list[dict[str, Any]]) -> list[int]:
        self.labels += [label["message_id"] for label in labels]
        self.said += [(label["source"], label["stands_for"]) for label in labels]
        self.seq += len(labels)
        return list(range(self.seq - len(labels) + 1, self.seq + 1))

    def wait_folded(self, tenant: str, seq: int) -> None:
        assert seq <= self.seq


def streamed(spill: Spill, api: Api) -> Stream:
    return Stream(cast(LiveService, api), "t", 3_600_000_000)


def nothing(_: int) -> None:
    """Called for no effect."""


def test_a_refused_message_is_recorded_and_the_stream_goes_on(mail: Path, tmp_path: Path) -> None:
    spill, api = spill_of(mail, tmp_path), Api()
    stream = streamed(spill, api)
    steps: list[int] = []
    messages = spill.in_order()
    order = [messages[-1], *messages[:-1]]
    scored = stream.run(order, spill.reader(), before=nothing, progress=steps.append)
    assert [s.message.path for s in scored] == ["in/2.eml", "in/0.eml", "in/1.eml", "in/3.eml"]
    assert [(r.message.path, r.status) for r in stream.refused] == [("in/4.eml", 413)]
    assert steps == [1, 2, 3, 4, 5]
    # Nothing is ever said of what bears no label.
    stream.give_labels(messages[-1].time_us + 10**12)
    assert len(api.labels) == 3 and scored[0].answer["message_id"] not in api.labels


def test_labels_are_given_when_their_index_says_and_as_what(mail: Path, tmp_path: Path) -> None:
    (mail / "INDEX").write_text(
        "ham in/0.eml\t2026-03-05T00:00:00Z\tuser\nham in/1.eml\nSpam in/3.eml\taudit/20\t2026-03-02T13:00:01Z\n"
    )
    spill, api = spill_of(mail, tmp_path), Api()
    stream = streamed(spill, api)
    scored = stream.run(spill.in_order()[:4], spill.reader(), before=nothing, progress=nothing)
    ids = {s.message.path: s.answer["message_id"] for s in scored}
    second_us = 1_000_000
    last_us = max(s.message.time_us for s in scored)
    assert api.labels == [ids["in/1.eml"]]
    stream.give_labels(last_us + 7_200 * second_us)
    assert api.labels[1:] == [ids["in/3.eml"]]
    stream.give_labels(last_us + 5 * 86_400 * second_us)
    assert api.labels[2:] == [ids["in/0.eml"]] and api.said == [("analyst", 0), ("audit", 20), ("user", 0)]


def test_a_store_that_fails_is_no_refusal(mail: Path, tmp_path: Path) -> None:
    spill = spill_of(mail, tmp_path)
    with pytest.raises(StoreError):
        streamed(spill, Api(failing=True)).run(spill.in_order(), spill.reader(), before=nothing, progress=nothing)


def test_the_report_counts_what_its_figures_are_not_of(mail: Path, tmp_path: Path) -> None:
    spill = spill_of(mail, tmp_path)
    stream = streamed(spill, Api())
    outcome = ReplayOutcome(spill, 0)
    outcome.scored = stream.run(spill.in_order(), spill.reader(), before=nothing, progress=nothing)
    outcome.refused = stream.refused
    outcome.subsets = {"lower": LabelIndex.read(mail / "INDEX")}
    plan = ReplayPlan(source=mail, labels="INDEX", out=tmp_path)
    table = score_table(outcome)
    report = report_of(plan, outcome, table, mail="mail of a test", command="test", title="Test")
    assert report["source"] == {
        "messages": 5, "unlabelled": 1, "times_set_back": 0, "labelled_but_missing": 1, "missing": ["in/gone.eml"],
    }  # fmt: skip
    assert report["refused"]["count"] == 1 and report["refused"]["by_status"] == {"413": 1}
    assert report["refused"]["messages"][0]["path"] == "in/4.eml"
    assert (report["n"], report["unlabelled"]) == (4, 1)
    # A folder's subset is found by the path that its index means.
    assert report["subsets"]["lower"]["n"] == 2
    assert report["example"]["label"] == "spam"
    text = write_report(tmp_path / "out", report, table).read_text()
    assert "1 of 5 messages bear no label" in text
    assert "1 lines of the label index" in text
    assert "1 messages were refused by the API (1 with 413)" in text
    assert ",in/2.eml," not in write_scores(tmp_path / "scores.csv", table).read_text()


@pytest.mark.parametrize("status", [413, 422])
def test_the_client_tells_refusals_from_failures(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    service = cast(Any, LiveService.__new__(LiveService))
    asked: list[str] = []

    def answering(code: int) -> Callable[..., tuple[int, Any]]:
        def call(method: str, path: str, *rest: object) -> tuple[int, Any]:
            asked.append(path)
            return code, {"detail": "no"}

        return call

    monkeypatch.setattr(service, "call", answering(status), raising=False)
    with pytest.raises(Refused, match="no") as refusal:
        service.score(b"", Envelope(0, "\udce9ü@x.example", ("a@x.example", "b,@x.example")))
    assert refusal.value.status == status
    assert asked[0].isascii() and asked[0].count("rcpt_to=") == 2 and "received_at=1970-01-01T00%3A00%3A00" in asked[0]
    monkeypatch.setattr(service, "call", answering(503), raising=False)
    with pytest.raises(StoreError):
        service.score(b"", Envelope())
