from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.errors import DataError
from mailwarden_detectors._trees.columns import COLUMNS
from mailwarden_detectors.behaviour.detector import Behaviour

_SEEN, _LINKS = "sender_activity:messages_all", "content_links:url_count"


def _rows(n: int, seed: int) -> TrainingSet:
    rng = np.random.default_rng(seed)
    bad = rng.random(n) < 0.4
    columns: dict[str, NDArray[Any]] = {name: np.full(n, np.nan) for name in Behaviour.features}
    columns[_SEEN] = np.where(bad, np.nan, rng.integers(1, 50, n))
    columns[_LINKS] = np.where(bad, rng.integers(2, 9, n), rng.integers(0, 5, n)).astype(float)
    columns["content_attachments:size_bytes"] = rng.integers(500, 50_000, n).astype(float)
    attack = rng.random(n) < 0.5
    columns["content_attachments:attachment_count"] = (bad & attack).astype(float)
    labels = ["ham" if not b else ("MW" if a else "CP") for b, a in zip(bad, attack, strict=True)]
    return TrainingSet(
        FeatureTable(columns, n), bad, labels, np.ones(n), np.arange(n, dtype=np.int64), np.zeros(n, bool)
    )


@pytest.fixture(scope="module")
def fitted() -> Behaviour:
    detector = Behaviour()
    detector.fit(_rows(500, 1), seed=3)
    return detector


def test_it_tells_unseen_mail_apart_by_missing_history(fitted: Behaviour) -> None:
    later = _rows(300, 2)
    scores = fitted.score(later.features).raw
    assert scores[later.bad].min() > scores[~later.bad].max()
    named = fitted.categorise(later.features)
    assert all(a == b for a, b in zip(named, later.labels, strict=True) if b != "ham")


def test_the_same_rows_and_seed_give_the_same_bytes_and_another_seed_others(fitted: Behaviour) -> None:
    again, other = Behaviour(), Behaviour()
    again.fit(_rows(500, 1), seed=3)
    other.fit(_rows(500, 1), seed=4)
    assert again.to_bytes() == fitted.to_bytes() != other.to_bytes()


def test_a_row_scores_the_same_alone(fitted: Behaviour) -> None:
    later = _rows(300, 2).features
    together = Behaviour.from_bytes(fitted.to_bytes()).score(later).raw
    alone = [fitted.score(later.take(np.array([row]))).raw[0] for row in range(300)]
    assert together.tolist() == alone


def test_reasons_name_what_raised_the_score_beside_what_is_usual_and_nothing_unknown(fitted: Behaviour) -> None:
    later = _rows(50, 2)
    for row in np.flatnonzero(later.bad).tolist():
        signals = fitted.explain(later.features, row)
        assert _SEEN not in {name for signal in signals for name in signal.features}
        named = {signal.name: signal for signal in signals}
        if later.features.columns[_LINKS][row] > 4:
            assert named[_LINKS].words.endswith(" (good mail: 0 to 4).") and named[_LINKS].features == (_LINKS,)
        else:
            assert _LINKS not in named


def test_one_class_is_refused() -> None:
    rows = _rows(50, 1)
    with pytest.raises(DataError, match="bad and good"):
        Behaviour().fit(
            TrainingSet(rows.features, np.ones(50, bool), ["SP"] * 50, rows.weight, rows.at_us, rows.outage), seed=1
        )


def test_every_column_has_words_of_its_own() -> None:
    assert len({column.name for column in COLUMNS}) == len(COLUMNS) == len({column.words for column in COLUMNS})
