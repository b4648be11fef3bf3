"""Groups of features by what views are keyed by, and a bundle that scores without one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mailwarden.domain.detection.decision import HISTORY as AWAY_HISTORY
from mailwarden.domain.detection.decision import Calibration, Combination, Fusion, Thresholds
from mailwarden.domain.detection.detector import RawScores
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import LABELS
from mailwarden.domain.status import CODES, Status
from mailwarden.evaluation.coded import Coded
from mailwarden.scoring.champion import Champion
from mailwarden.stores.bundle import Bundle, Member
from mailwarden_features import discover
from mailwarden_services.evaluation.groups import GROUPS, OTHERS, Hiding, group_of, groups_of
from mailwarden_services.evaluation.judge import Judge, Messages, judged

WORDS, SENT, GOT = "content_text:subject_len", "sender_activity:messages_all", "recipient_activity:messages_all"
STEPS = Thresholds(0.0, 1.0, 2.0)


class Sums:
    """Adds up what it reads, null as -1; counts how often it was asked, and what it saw."""

    def __init__(self, *features: str) -> None:
        self.features = features
        self.asked: list[FeatureTable] = []

    def score(self, rows: FeatureTable) -> RawScores:
        self.asked.append(rows)
        values = rows.numeric(self.features)
        return RawScores(np.where(np.isnan(values), -1.0, values).sum(axis=1))

    def categorise(self, rows: FeatureTable) -> list[str]:
        return ["CP"] * rows.n


def champion() -> Champion:
    kept = Fusion({"past": 1.0, "text": 1.0}, 0.0, {name: Calibration(1.0, 0.0) for name in ("past", "text")})
    detectors: Any = {"past": Sums(WORDS, SENT, GOT), "text": Sums(WORDS)}
    return Champion(
        version=1,
        detectors=detectors,
        detector_versions={"past": 1, "text": 1},
        whole=Combination(kept, STEPS),
        content_views=frozenset({"content_text"}),
        categoriser="text",
        without={AWAY_HISTORY: Combination(replace(kept, intercept=100.0), Thresholds(0.0, 1.0, 1_000.0))},
    )


def messages() -> Messages:
    columns = {WORDS: np.array([1.0, 2.0, 2.0]), SENT: np.array([0.5, 0.25, 0.25]), GOT: np.array([-4.0, 8.0, 16.0])}
    ids = pa.array(["m0", "m1"], pa.large_string())
    starts, label = np.array([0, 1, 3]), Coded.of(["ham", "CP"], LABELS)
    return Messages(FeatureTable(columns, 3), starts, Coded.of(["acme", "acme"]), ids, np.arange(2), label)


def judge(found: Champion, *, hiding: bool = True) -> Judge:
    bundle = Bundle({name: Member(1, "", 1) for name in found.detectors}, found.whole, "text",
                    {"options": {"ablate": []}}, found.without)  # fmt: skip
    return Judge(bundle, found, {}, Hiding(found, groups_of(found, discover().views)) if hiding else None)


def test_every_view_is_of_a_group_by_its_keys() -> None:
    found = {view.name: group_of(view) for view in discover().views}
    assert set(found.values()) == {*GROUPS} - {OTHERS, "all history"}
    assert {name: found[name] for name in (
        "content_links", "sender_activity", "sender_display_name", "recipient_activity", "relationship",
        "thread_activity", "tenant_activity", "campaign_activity")} == {
        "content_links": "message", "sender_activity": "sender", "sender_display_name": "sender",
        "recipient_activity": "recipient", "relationship": "relationship", "thread_activity": "relationship",
        "tenant_activity": "tenant", "campaign_activity": "contents seen before",
    }  # fmt: skip
    (of_link,) = (view for view in discover().activity if view.name == "link_domain_activity")
    assert group_of(replace(of_link, keys=("link_domain", "sender"))) == OTHERS


def test_one_group_is_hidden_and_the_rest_of_history_stays() -> None:
    found = champion()
    scored = judged(judge(found), messages())
    assert {name: one.outage for name, one in scored.hidden.items()} == {
        "message": False, "sender": False, "recipient": False, "all history": True,
    }  # fmt: skip
    # Of the second message the row that decides is found anew: without recipients its rows are alike.
    expected = {
        "message": [-1 + 0.5 - 4 - 1, -1 + 0.25 + 16 - 1],
        "sender": [1 - 1 - 4 + 1, 2 - 1 + 16 + 2],
        "recipient": [1 + 0.5 - 1 + 1, 2 + 0.25 - 1 + 2],
        "all history": [100 + 1 - 1 - 1 + 1, 100 + 2 - 1 - 1 + 2],
    }
    for name, values in expected.items():
        assert scored.hidden[name].log_odds.tolist() == pytest.approx(values)
    # By the thresholds of the whole, and in an outage by those that count then.
    words = {name: [one.verdict.word(at) for at in (0, 1)] for name, one in scored.hidden.items()}
    assert words["recipient"] == ["junk", "quarantine"] and words["all history"] == ["junk", "junk"]
    past: Any = found.detectors["past"]
    hidden = past.asked[[*scored.hidden].index("recipient") + 1]
    assert np.isnan(hidden.columns[GOT]).all() and set(hidden.status("recipient_activity")) == {
        CODES[Status.UNAVAILABLE]
    }
    assert hidden.columns[SENT].tolist() == [0.5, 0.25, 0.25] and not hidden.status("sender_activity").any()


def test_hiding_changes_nothing_of_what_is_said_with_everything_there() -> None:
    found = champion()
    alone, beside = judged(judge(found, hiding=False), messages()), judged(judge(found), messages())
    assert alone.hidden == {}
    assert alone.log_odds.tolist() == beside.log_odds.tolist()
    assert alone.verdict.codes.tolist() == beside.verdict.codes.tolist()
    assert alone.category.codes.tolist() == beside.category.codes.tolist()
    for name, said in alone.detectors.items():
        assert said.calibrated.tolist() == beside.detectors[name].calibrated.tolist()


def test_what_reads_the_message_alone_is_asked_again_only_where_that_is_hidden() -> None:
    found = champion()
    asking = judge(found)
    text: Any = found.detectors["text"]
    first = judged(asking, messages())
    assert len(text.asked) == 2
    # Other mail is new to it, however its rows are numbered.
    other = messages()
    other.rows.columns[WORDS][:] = 7.0
    second = judged(asking, other)
    assert len(text.asked) == 4 and first.log_odds[0] != second.log_odds[0]
    assert second.detectors["text"].calibrated.tolist() == [7.0, 7.0]
    assert second.hidden["recipient"].log_odds.tolist() == pytest.approx([7 + 0.5 - 1 + 7, 7 + 0.25 - 1 + 7])
