"""The scorer over a real Redis: history in, a decision out, and a decision also without history."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.domain.detection.decision import Calibration, Combination, Fusion, TenantPolicy, Thresholds
from mailwarden.domain.detection.detector import RawScores, Signal
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.content import ContentFeature, ContentSet, ContentValues, ContentView
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import event_of
from mailwarden.domain.mail.lists import NO_LISTS
from mailwarden.domain.mail.message import Envelope
from mailwarden.domain.status import Status
from mailwarden.ingest.parse import parse_message
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.scorer import Scorer, nulls_as_none
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.reader import OnlineReader
from mailwarden.stores.online.writer import OnlineWriter

Views = tuple[ActivityView, ...]
Events = Callable[..., list[Event]]
AT_US = 1_710_000_000_000_000
WORDS = ContentView(
    "content_text", 1, "tests", "", (ContentFeature("subject", "string", "", "", "", text=True),),
    lambda message, lists: {"subject": message.subject}, ("headers", "text"), 1.0,
)  # fmt: skip
LINKS = ContentView(
    "content_links", 3, "tests", "",
    (ContentFeature("urls", "int64", "", "", ""), ContentFeature("ratio", "float64", "", "", "null here")),
    lambda message, lists: {"urls": len(message.urls), "ratio": None}, ("links",), 1.0,
)  # fmt: skip
CONTENT = ContentSet((WORDS, LINKS), NO_LISTS, {"content_text": 11, "content_links": 12})


class Watching:
    """A detector whose score is a column's, 0 for null; it remembers what it was shown."""

    features = ("sender_activity:received_30d", "relationship:known", "content_text:subject")

    def __init__(self, column: str = "relationship:received_30d", bias: float = 0.0) -> None:
        self.column, self.bias = column, bias
        self.shown: FeatureTable | None = None

    def score(self, features: FeatureTable) -> RawScores:
        self.shown = features
        return RawScores(np.nan_to_num(features.columns[self.column]) + self.bias)

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        return [Signal("much_mail", "This sender has written to you a lot.", 1.0)]

    def categorise(self, features: FeatureTable) -> list[str] | None:
        return ["CP"] * features.n


class Serving:
    """A champion of one detector."""

    def __init__(self, detector: Any, trained_on: dict[str, tuple[int, int]] | None = None) -> None:
        self.current = Champion(
            2, {"watching": detector}, {"watching": 4},
            Combination(Fusion({"watching": 1.0}, 0.0, {"watching": Calibration(1, 0)}), Thresholds(0.6, 0.9, 0.999)),
            frozenset({"content_text", "content_links"}), "watching",
            trained_on=trained_on or {},
        )  # fmt: skip


def mail(
    sender: str = "s1@far.example",
    rcpt: tuple[str, ...] = ("u0@acme.example", "u1@acme.example"),
    unread: Any = (),
) -> Any:
    raw = f"From: {sender}\r\nSubject: hello\r\n\r\nsee http://x.example/\r\n".encode()
    envelope = Envelope(AT_US, sender, rcpt)
    message = parse_message(raw, envelope)
    if unread:
        message = replace(message, unread=unread)
    event = event_of(
        message, tenant="acme", own_domains=frozenset({"acme.example"}), seq=0, received_at_us=AT_US,
        mail_from=sender, rcpt_to=rcpt,
    )  # fmt: skip
    return CONTENT.values_of(message, unexpected), event


def unexpected(view: ContentView, exc: Exception) -> None:
    raise AssertionError(f"{view.name} failed") from exc


@pytest.fixture
def filled(redis_client: Client, activity_views: Views, mail_events: Events) -> Client:
    OnlineWriter(redis_client, "mail", activity_views).fold(mail_events(300, seed=3))
    return redis_client


def scorer(client: Client, views: Views, detector: Any) -> Scorer:
    return Scorer(Serving(detector), OnlineReader(client, "mail", views), views, CONTENT)


def test_every_recipients_history_reaches_the_detectors(filled: Client, activity_views: Views) -> None:
    detector = Watching()
    content, event = mail()
    scored = scorer(filled, activity_views, detector).score(content, event, TenantPolicy())
    shown = detector.shown
    assert shown is not None and shown.n == 2
    assert shown.text("content_text:subject") == ["hello", "hello"]
    assert shown.columns["content_links:urls"].tolist() == [1.0, 1.0]
    assert np.isnan(shown.columns["content_links:ratio"]).all()
    for view in activity_views:
        for index, feature in enumerate(view.features):
            column = shown.columns[f"{view.name}:{feature.name}"]
            logged = [row.values[view.name][index] for row in scored.rows]
            assert [None if math.isnan(v) else v for v in column.tolist()] == logged
    assert [row.recipient for row in scored.rows] == ["u0@acme.example", "u1@acme.example"]
    per_recipient = shown.columns["relationship:received_30d"]
    assert scored.decision.logit == pytest.approx(float(np.nanmax(per_recipient)))
    assert all(row.as_of_seq["sender_activity"] > 0 for row in scored.rows)
    assert scored.watermark is not None and scored.watermark.seq == 300
    assert scored.decision.models == {"bundle": 2, "watching": 4}
    assert (scored.decision.degraded, scored.decision.flags) == (False, [])


def test_content_is_logged_once_a_message_with_what_it_was_made_by(filled: Client, activity_views: Views) -> None:
    content, event = mail(unread=(("links", Status.OVER_BUDGET),))
    scored = scorer(filled, activity_views, Watching()).score(content, event, TenantPolicy())
    assert scored.content.values == {"content_text": ("hello",), "content_links": (1, None)}
    assert scored.content.status == {"content_text": "present", "content_links": "over_budget"}
    assert scored.content.version == {"content_text": 1, "content_links": 3}
    assert scored.content.fingerprint == {"content_text": 11, "content_links": 12}


def test_a_view_that_failed_is_named_and_is_not_held_against_the_message(filled: Client, activity_views: Views) -> None:
    content, event = mail()
    broken = ContentValues(
        {**content.values, "content_links": (None, None)}, {**content.status, "content_links": Status.DAMAGED}
    )
    detector = Watching(bias=-1e3)
    scored = scorer(filled, activity_views, detector).score(broken, event, TenantPolicy(), failed=("content_links",))
    assert (scored.decision.degraded, scored.decision.flags) == (True, ["content_links could not be computed"])
    assert scored.decision.decision == "deliver" and scored.content.status["content_links"] == "damaged"
    assert detector.shown is not None and np.isnan(detector.shown.columns["content_links:urls"]).all()


@pytest.mark.parametrize("status", [Status.OVER_BUDGET, Status.DAMAGED, Status.DEADLINE])
def test_what_was_not_read_in_full_is_at_least_marked(filled: Client, activity_views: Views, status: Status) -> None:
    content, event = mail(unread=(("links", status),))
    benign = scorer(filled, activity_views, Watching(bias=-1e3))
    decision = benign.score(content, event, TenantPolicy()).decision
    assert (decision.decision, decision.category) == ("banner", None)
    assert [signal.name for signal in decision.signals] == ["much_mail", "not_read_in_full"]
    assert benign.score(content, event, TenantPolicy(unread="junk")).decision.decision == "junk"
    assert benign.score(content, event, TenantPolicy(unread="deliver")).decision.decision == "deliver"
    bad = scorer(filled, activity_views, Watching(bias=1e3)).score(content, event, TenantPolicy()).decision
    assert (bad.decision, bad.category) == ("quarantine", "CP")
    assert {signal.name for signal in bad.signals} == {"much_mail", "not_read_in_full"}


def test_what_is_encrypted_was_read_as_far_as_anybody_can(filled: Client, activity_views: Views) -> None:
    content, event = mail(unread=(("links", Status.ENCRYPTED),))
    decision = scorer(filled, activity_views, Watching(bias=-1e3)).score(content, event, TenantPolicy()).decision
    assert decision.decision == "deliver" and "not_read_in_full" not in {signal.name for signal in decision.signals}


def test_what_changed_since_training_is_flagged_and_degrades_nothing(filled: Client, activity_views: Views) -> None:
    content, event = mail()
    reader = OnlineReader(filled, "mail", activity_views)
    learned = {"content_text": (1, 11), "content_links": (3, 99), "content_gone": (1, 1)}
    judged = Scorer(Serving(Watching(), learned), reader, activity_views, CONTENT)
    decision = judged.score(content, event, TenantPolicy()).decision
    assert decision.flags == ["content_gone changed since training", "content_links changed since training"]
    assert decision.degraded is False


def test_a_delivered_message_tells_what_spoke_against_it(filled: Client, activity_views: Views) -> None:
    content, event = mail()
    decision = scorer(filled, activity_views, Watching(bias=-1e3)).score(content, event, TenantPolicy()).decision
    assert (decision.decision, decision.category) == ("deliver", None)
    assert [signal.name for signal in decision.signals] == ["much_mail"]


def test_a_stopped_message_has_a_category_and_reasons_in_sentences(filled: Client, activity_views: Views) -> None:
    content, event = mail()
    decision = scorer(filled, activity_views, Watching(bias=1e3)).score(content, event, TenantPolicy()).decision
    assert (decision.decision, decision.category) == ("quarantine", "CP")
    assert [s.words for s in decision.signals] == ["This sender has written to you a lot."]


@pytest.mark.parametrize("name", ["s1@far.example", "far.example"])
def test_a_blocked_sender_is_stopped_whatever_the_models_say(filled: Client, activity_views: Views, name: str) -> None:
    content, event = mail()
    policy = TenantPolicy(block_senders=frozenset({name}), allow_senders=frozenset({name}))
    decision = scorer(filled, activity_views, Watching(bias=-1e3)).score(content, event, policy).decision
    assert decision.decision == "quarantine" and decision.score < 0.01
    assert decision.signals[0].words == f"{name} is on your block list"


@pytest.mark.parametrize(
    ("authenticated", "expected"), [(True, "deliver"), (False, "quarantine"), (None, "quarantine")]
)
def test_an_allowed_sender_passes_only_when_authenticated(
    filled: Client, activity_views: Views, authenticated: bool | None, expected: str
) -> None:
    content, event = mail()
    policy = TenantPolicy(allow_senders=frozenset({"far.example"}))
    judged = scorer(filled, activity_views, Watching(bias=1e3))
    decision = judged.score(content, replace(event, authenticated=authenticated), policy).decision
    assert decision.decision == expected
    if expected == "deliver":
        assert decision.signals[0].words == "far.example is on your allow list and is authenticated"
        assert decision.category is None


def test_a_score_that_is_no_number_is_flagged(filled: Client, activity_views: Views) -> None:
    content, event = mail()
    decision = scorer(filled, activity_views, Watching(bias=math.nan)).score(content, event, TenantPolicy()).decision
    assert decision.degraded is True and decision.flags == [
        "detector watching gave no score",
        "too much is away: nothing stronger than a banner",
    ]
    assert decision.score == pytest.approx(0.5)


def test_without_the_store_the_message_alone_decides_and_it_is_said(activity_views: Views, tmp_path: Path) -> None:
    detector = Watching()
    content, event = mail()
    with open_client(f"unix://{tmp_path}/none.sock") as client:
        scored = scorer(client, activity_views, detector).score(content, event, TenantPolicy())
    assert scored.decision.degraded is True
    # This champion has no fusion for mail without history.
    assert scored.decision.flags == [
        "history unavailable: StoreUnavailable",
        "too much is away: nothing stronger than a banner",
    ]
    assert scored.watermark is None
    assert detector.shown is not None
    assert detector.shown.columns["content_links:urls"].tolist() == [1.0, 1.0]
    assert np.isnan(detector.shown.columns["relationship:received_30d"]).all()
    for row in scored.rows:
        assert set(row.status.values()) == {"unavailable"} and set(row.as_of_seq.values()) == {NEVER}
        assert all(value is None for values in row.values.values() for value in values)


def test_a_writer_that_lags_is_said(filled: Client, activity_views: Views) -> None:
    content, event = mail()
    judged = scorer(filled, activity_views, Watching())
    assert judged.score(content, event, TenantPolicy(), due_seq=300).decision.flags == []
    late = judged.score(content, event, TenantPolicy(), due_seq=301).decision
    assert late.degraded is True and late.flags == ["history is stale: the feature writer lags"]


def test_mail_without_readable_sender_or_recipient_is_decided(filled: Client, activity_views: Views) -> None:
    content, event = mail("", ())
    assert event.recipients == ()
    scored = scorer(filled, activity_views, Watching()).score(content, event, TenantPolicy())
    assert [row.recipient for row in scored.rows] == [""]
    assert {row.status["sender_activity"] for row in scored.rows} == {"not_computable"}
    assert scored.decision.degraded is False


def test_null_is_none_and_everything_else_stays() -> None:
    assert nulls_as_none(np.array([[1.5, np.nan], [0.0, -2.0]])) == [[1.5, None], [0.0, -2.0]]
