"""The freshness benchmark's arithmetic."""

from __future__ import annotations

import pytest

from mailwarden_services.bench.freshness import waits_of
from mailwarden_services.bench.suite import PARTS


def test_a_message_waits_from_its_answer_until_a_mark_reaches_it() -> None:
    answers = [(1, 10.0), (2, 10.1), (3, 10.5), (5, 11.0)]
    folds = [(1, 9.9), (3, 10.4), (5, 11.25)]
    assert waits_of(answers, folds) == pytest.approx([0.0, 0.3, 0.0, 0.25])


def test_its_table_names_both_times() -> None:
    found = {
        "offered_per_second": 100.0,
        "messages": 2000,
        "streams": 4,
        "answer": {"p50_ms": 5.0, "p99_ms": 9.0},
        "to_folded": {"p50_ms": 4.25, "p99_ms": 30.5},
        "longest_ms": 41.0,
    }
    (made,) = PARTS["freshness"].grids
    grid = made(found)
    assert [row[1:] for row in grid.rows] == [("5.000", "9.000"), ("4.250", "30.500")]
