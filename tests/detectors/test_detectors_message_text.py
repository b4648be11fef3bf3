from __future__ import annotations

import random

import numpy as np
import pytest

from mailwarden.domain.detection.detector import TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.errors import DataError
from mailwarden_detectors.message_text.detector import MessageText
from mailwarden_detectors.message_text.hashing import BUCKETS, subject_buckets, text_buckets

_GOOD = [
    "minutes",
    "meeting",
    "budget",
    "schedule",
    "review",
    "draft",
    "station",
    "lunch",
    "branch",
    "tests",
    "report",
    "thanks",
    "weekly",
    "plan",
]
_PHISH = ["verify", "account", "password", "suspended", "click", "login", "confirm", "mailbox", "unusual", "expire"]
_SCAM = [
    "inheritance",
    "million",
    "transfer",
    "beneficiary",
    "lottery",
    "prince",
    "deposit",
    "barrister",
    "consignment",
    "fund",
]


def _rows(n: int, seed: int) -> TrainingSet:
    rng = random.Random(seed)
    subjects, texts, labels = [], [], []
    for index in range(n):
        label = ("ham", "ham", "CP", "SC")[index % 4]
        words = {"ham": _GOOD, "CP": _GOOD + _PHISH * 2, "SC": _GOOD + _SCAM * 2}[label]
        subjects.append(" ".join(rng.choices(words, k=4)))
        texts.append(" ".join(rng.choices(words, k=40)))
        labels.append(label)
    table = FeatureTable(
        {
            "content_text:subject": np.array(subjects, dtype=object),
            "content_text:new_text": np.array(texts, dtype=object),
        },
        n,
    )
    return TrainingSet(
        table,
        np.array([label != "ham" for label in labels]),
        labels,
        np.ones(n),
        np.arange(n, dtype=np.int64),
        np.zeros(n, bool),
    )


@pytest.fixture(scope="module")
def fitted() -> MessageText:
    detector = MessageText()
    detector.fit(_rows(400, 1), seed=3)
    return detector


def test_it_tells_unseen_mail_apart(fitted: MessageText) -> None:
    later = _rows(200, 2)
    scores = fitted.score(later.features).raw
    assert scores[later.bad].min() > scores[~later.bad].max()


def test_it_tells_categories_apart(fitted: MessageText) -> None:
    later = _rows(200, 2)
    named = fitted.categorise(later.features)
    right = [a == b for a, b in zip(named, later.labels, strict=True) if b != "ham"]
    assert np.mean(right) > 0.95


def test_reasons_quote_the_words_that_speak_loudest(fitted: MessageText) -> None:
    table = FeatureTable(
        {
            "content_text:subject": np.array(["weekly report"], dtype=object),
            "content_text:new_text": np.array(["thanks for the plan, verify your password now"], dtype=object),
        },
        1,
    )
    signals = fitted.explain(table, 0)
    assert [signal.name for signal in signals] == ["suspicious_wording"]
    assert "“verify”" in signals[0].words
    assert "“password”" in signals[0].words
    assert "thanks" not in signals[0].words


def test_a_message_to_many_counts_as_one_of_their_weight() -> None:
    rows = _rows(40, 4)
    twice = np.sort(np.concatenate([np.arange(40), np.arange(40)]))
    once, exploded = MessageText(), MessageText()
    once.fit(rows, seed=1)
    exploded.fit(
        TrainingSet(
            rows.features.take(twice),
            rows.bad[twice],
            [rows.labels[row] for row in twice],
            np.full(80, 0.5),
            rows.at_us[twice],
            np.zeros(80, bool),
        ),
        seed=1,
    )
    assert once.to_bytes() == exploded.to_bytes()


def test_subject_and_text_have_spaces_of_their_own() -> None:
    same = "verify your account"
    shared = np.intersect1d(text_buckets(f" {same} "), subject_buckets(same))
    assert len(shared) < 2


def test_buckets_are_distinct_in_range_and_of_the_beginning_only() -> None:
    buckets = text_buckets("abcd" * 50)
    assert len(buckets) == 4
    assert ((buckets >= 0) & (buckets < BUCKETS)).all()
    long = "".join(random.Random(5).choices("abcdefghij ", k=3000))
    assert np.array_equal(text_buckets(long), text_buckets(long + " more that is not read"))


def test_words_are_hashed_alike_wherever_they_stand_and_whatever_their_case() -> None:
    first, second = subject_buckets("zq invoice"), subject_buckets("yx zzzz INVOICE")
    # Beside the lower-case 4-grams, which the capitals do not share, one bucket is the word itself.
    assert len(np.intersect1d(first, second)) == 1


@pytest.mark.parametrize("text", ["", "abc", "\udcff\udcfe broken", "\x00\x00\x00\x00", "é" * 5000])
def test_odd_texts_have_a_score(fitted: MessageText, text: str) -> None:
    table = FeatureTable(
        {
            "content_text:subject": np.array([text], dtype=object),
            "content_text:new_text": np.array([text], dtype=object),
        },
        1,
    )
    assert np.isfinite(fitted.score(table).raw).all()
    fitted.explain(table, 0)


def test_one_class_is_refused() -> None:
    rows = _rows(40, 1)
    good = np.flatnonzero(~rows.bad)
    with pytest.raises(DataError, match="bad and good"):
        MessageText().fit(
            TrainingSet(
                rows.features.take(good),
                rows.bad[good],
                ["ham"] * len(good),
                np.ones(len(good)),
                rows.at_us[good],
                np.zeros(len(good), bool),
            ),
            seed=1,
        )
