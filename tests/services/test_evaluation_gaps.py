"""Gaps of mail that is gone through in batches: the deciding rows are looked at, and rules counted over all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mailwarden.domain.detection.decision import VERDICTS
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.rules.reading import read_rules
from mailwarden.domain.detection.rules.ruleset import RuleSet
from mailwarden.domain.mail.events import CATEGORIES, LABELS
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.scored import Said, Scored
from mailwarden_services.evaluation.gap_tables import gap_grids, proposed_rules
from mailwarden_services.evaluation.gaps import gaps_of, gaps_result, write_gaps
from mailwarden_services.evaluation.judge import Messages

N = 900
LINKS, OTHER = "links:url_count", "text:new_chars"


@pytest.fixture(scope="module")
def mail() -> tuple[FeatureTable, np.ndarray[Any, Any], Scored]:
    """Messages of one to three rows; bad ones with many links, in the row that decides, are missed."""
    random = np.random.default_rng(1)
    lengths = random.integers(1, 4, N)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    deciding = random.integers(0, lengths)
    bad = random.random(N) < 0.4
    missed = bad & (random.random(N) < 0.25)
    links = random.integers(0, 3, starts[-1]).astype(float)
    links[(starts[:-1] + deciding)[missed]] = random.integers(6, 9, int(missed.sum()))
    rows = FeatureTable({LINKS: links, OTHER: random.normal(size=starts[-1]),
                         "text:new_text": np.full(starts[-1], None, dtype=object)}, int(starts[-1]))  # fmt: skip
    log_odds = np.where(bad & ~missed, 3.0, -3.0)
    scored = Scored(
        version=1,
        bundle=None,  # type: ignore[arg-type]
        served=False,
        tenant=Coded.of(["acme"] * N),
        message_id=pa.array([f"m{at}" for at in range(N)], pa.large_string()),
        at_us=np.arange(N, dtype=np.int64) * 1_000_000,
        label=Coded.of(["BE" if one else "ham" for one in bad], LABELS),
        category=Coded.of([None] * N, CATEGORIES),
        verdict=Coded(np.where(log_odds > 0, VERDICTS.index("junk"), 0).astype(np.int32), VERDICTS),
        log_odds=log_odds,
        detectors={"text": Said(log_odds, np.zeros(N, np.uint8), np.full(N, np.nan))},
        without={},
        campaign=np.full(N, -1),
        row=deciding,
    )
    return rows, starts, scored


def batches(rows: FeatureTable, starts: Any, scored: Scored, at_once: int) -> Sequence[Messages]:
    found = []
    for begin in range(0, N, at_once):
        own = np.arange(begin, min(N, begin + at_once))
        part = rows.take(np.arange(starts[own[0]], starts[own[-1] + 1]))
        found.append(Messages(part, starts[own[0] : own[-1] + 2] - starts[own[0]], scored.tenant.take(own),
                              scored.message_id.take(pa.array(own)), scored.at_us[own],
                              scored.label.take(own)))  # fmt: skip
    return found


def test_the_rows_that_decided_are_looked_at_and_batches_say_nothing(mail: Any) -> None:
    everything = np.ones(N, dtype=bool)
    results = [gaps_result(gaps_of(batches(*mail, n), mail[2], everything, [LINKS, OTHER])) for n in (7, 250, N)]
    assert results[0] == results[1] == results[2]
    rows, starts, scored = mail
    (gap,) = results[0]["gaps"]
    missed = scored.bad & ~scored.held_back
    assert gap["conditions"] == [f"{LINKS} >= 6"] and gap["errors"] == int(missed.sum())
    many = np.maximum.reduceat(rows.columns[LINKS] >= 6, starts[:-1])
    late = scored.at_us >= results[0]["middle_us"]
    assert gap["later"]["bad_hits"] == gap["later"]["errors"] == int((many & late).sum())
    assert gap["later"]["good_hits"] == 0 and gap["found_on"]["bad"] == int((scored.bad & ~late).sum())
    assert abs(int(late.sum()) - N // 2) <= 1
    assert [one["errors"] for one in results[0]["kinds"]] == [int(missed.sum()), 0]


def test_what_was_not_chosen_counts_for_nothing(mail: Any) -> None:
    scored = mail[2]
    chosen = np.arange(N) % 3 == 0
    found = gaps_of(batches(*mail, 100), scored, chosen, [LINKS, OTHER])
    result = gaps_result(found)
    missed = scored.bad & ~scored.held_back & chosen
    assert result["kinds"][0]["errors"] == int(missed.sum()) == result["gaps"][0]["errors"]
    halves = [result["gaps"][0][half] for half in ("found_on", "later")]
    assert sum(half["bad"] for half in halves) == int((scored.bad & chosen).sum())
    assert sum(half["good"] for half in halves) == int((scored.good & chosen).sum())
    kept = {f"m{at}" for at in np.flatnonzero(chosen)}
    assert set(found.sample.message_id.to_pylist()) <= kept
    nothing = gaps_of(batches(*mail, 100), scored, np.zeros(N, dtype=bool), [LINKS, OTHER])
    assert gaps_result(nothing)["gaps"] == []


def test_what_is_written_can_be_read_and_its_rules_added(mail: Any, tmp_path: Path) -> None:
    found = gaps_of(batches(*mail, 100), mail[2], np.ones(N, dtype=bool), [LINKS, OTHER])
    write_gaps(tmp_path, found)
    (rule,) = read_rules(tmp_path / "rules", of_tenant=True, kinds={LINKS: "int64", OTHER: "float64"})
    assert RuleSet([rule]).held(found.sample.rows)[:, 0].tolist() == (found.sample.rows.columns[LINKS] >= 6).tolist()
    errors = pq.read_table(tmp_path / "errors.parquet").to_pylist()
    assert {row["message_id"] for row in errors} == {
        f"m{at}" for at in np.flatnonzero(mail[2].bad & ~mail[2].held_back)
    }
    for row in errors:
        assert row["gap"] == rule.name and len(row["nearest_of_other_class"]) == 3
        own = [mail[2].label.word(int(one[1:])) for one in row["nearest_of_own_class"]]
        assert set(own) == {"BE"} and row["distance_of_own_class"] == sorted(row["distance_of_own_class"])
    (gap,) = pq.read_table(tmp_path / "gaps.parquet").to_pylist()
    assert gap["later_precision_rate"] == 1.0 and 0.9 < gap["later_precision_low"] < 1.0
    result = {"gaps": gaps_result(found)}
    grids = {grid.title: grid for grid in gap_grids(result)}
    assert f"{LINKS} >= 6" in grids["Rules that are proposed for gaps"].rows[0][1]
    assert grids["Gaps"].rows[0][2] == f"{gap['errors']:,}"
    example, neighbour = grids["Gaps"].rows[0][-1].split(" / ")
    assert neighbour in next(row["nearest_of_other_class"] for row in errors if row["message_id"] == example)
    assert "action: banner" in "\n".join(proposed_rules(result))
    assert gap_grids({"gaps": None}) == [] and proposed_rules({"gaps": None}) == []
