from __future__ import annotations

import itertools
import random
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailwarden.domain.detection.detector import TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.errors import DataError
from mailwarden_detectors.message_text.detector import MessageText
from mailwarden_detectors.message_text.hashing import (
    BITS,
    BUCKETS,
    SUBJECT_BYTES,
    TEXT_BYTES,
    gram_buckets,
    subject_buckets,
    subject_bytes,
    text_buckets,
)

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


def _bucket(value: int, salt: int) -> int:
    mixed = (value * 0x9E3779B97F4A7C15 + salt) % 2**64
    mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 % 2**64
    return mixed >> 64 - BITS


def _grams(data: bytes, salt: int) -> list[int]:
    return [_bucket(int.from_bytes(data[at : at + 4], "little"), salt) for at in range(len(data) - 3)]


def _words(data: bytes) -> list[int]:
    found = re.findall(rb"[0-9A-Za-z$\x80-\xff]+", data)
    return [sum((byte + 1) * 0x100000001B3**at for at, byte in enumerate(word.lower())) % 2**64 for word in found]


@given(st.text(st.sampled_from("aZ09$ .,!-\n\u00fc\u6f22"), max_size=200) | st.text(max_size=60))
@example("")
@example("pay " * 1_000)
@example("a" * 2_999 + "\u00fc")
def test_buckets_are_those_of_plain_arithmetic(text: str) -> None:
    data = text[:TEXT_BYTES].encode("utf-8", "replace")[:TEXT_BYTES]
    assert text_buckets(text).tolist() == sorted(set(_grams(data, 0x2545F4914F6CDD1D)))
    title = f" {text[:SUBJECT_BYTES]} ".encode("utf-8", "replace")[:SUBJECT_BYTES]
    words = _words(title)
    pairs = [(one * 31 + other) % 2**64 for one, other in itertools.pairwise(words)]
    wanted = {
        *_grams(title, 0x5851F42D4C957F2D),
        *(_bucket(word, 0x14057B7EF767814F) for word in words),
        *(_bucket(pair, 0x27BB2EE687B0B0FD) for pair in pairs),
    }
    assert subject_buckets(text).tolist() == sorted(wanted)
    assert gram_buckets(subject_bytes(text), subject=True).tolist() == _grams(title, 0x5851F42D4C957F2D)
