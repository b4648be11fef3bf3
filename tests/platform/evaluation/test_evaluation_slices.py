"""Figures of parts against a plain recount, and against one that was worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings

from mailwarden.evaluation.figures import Share, threshold_at
from mailwarden.evaluation.scored import Scored
from mailwarden.evaluation.slices import Part, by_category, by_slice, named_rightly, whole

Table = Callable[..., Scored]
BUDGETS = (0.1, 0.5)


def recount(rows: list[dict[str, Any]], everything: list[dict[str, Any]], part: Part) -> None:
    """The same figures by loops over rows."""
    good = sorted((row["log_odds"] for row in everything if row["label"] == "ham"), reverse=True)
    bad_rows = [row for row in rows if row["label"] not in (None, "ham")]
    good_rows = [row for row in rows if row["label"] == "ham"]
    assert (part.n, part.bad, part.good) == (len(rows), len(bad_rows), len(good_rows))
    for found in part.at_budget:
        limit = good[int(found.budget * len(good) + 1e-9)] if good else float("inf")
        assert found.threshold == limit
        assert found.caught == Share.of(sum(row["log_odds"] > limit for row in bad_rows), len(bad_rows))
        assert found.passed == Share.of(sum(row["log_odds"] > limit for row in good_rows), len(good_rows))
    held, marked = ("junk", "quarantine"), ("banner", "junk", "quarantine")
    assert part.deployed.good_held_back.hits == sum(row["verdict"] in held for row in good_rows)
    assert part.deployed.good_marked.hits == sum(row["verdict"] in marked for row in good_rows)
    assert part.deployed.bad_held_back.hits == sum(row["verdict"] in held for row in bad_rows)
    assert part.deployed.bad_marked.hits == sum(row["verdict"] in marked for row in bad_rows)


def test_every_part_is_what_a_recount_finds(scored: Table, mails: Any) -> None:
    @settings(deadline=None)
    @given(mails)
    def check(drawn: list[Any]) -> None:
        table = scored(drawn)
        rows = table.to_arrow().to_pylist()
        recount(rows, rows, whole(table, BUDGETS))
        for name, column in (("language", "slice__language"), ("tenant", "tenant")):
            parts = by_slice(table, name, BUDGETS)
            assert {part.name for part in parts} == {row[column] or "unknown" for row in rows}
            for part in parts:
                recount([row for row in rows if (row[column] or "unknown") == part.name], rows, part)
        categories = by_category(table, BUDGETS)
        assert {part.name for part in categories} == {row["label"] for row in rows} - {"ham", None}
        for part in categories:
            recount([row for row in rows if row["label"] in ("ham", part.name)], rows, part)

    check()


def test_a_table_worked_out_by_hand(scored: Table, mail: Any) -> None:
    good = [mail("ham", float(score), language="en") for score in (-3, -2, -1, 0, 1.5)]
    bad = [mail("CP", 1.0, language="en"), mail("CP", 2.5, language="de"), mail("BE", 0.5, language="de")]
    table = scored([*good, *bad, mail(None, 9.0)])
    found = whole(table, (0.2,))
    # One of five good messages may pass: the threshold is the second highest good score.
    assert found.at_budget[0].threshold == threshold_at(table.log_odds[table.good], 0.2) == 0.0
    assert (found.at_budget[0].caught.hits, found.at_budget[0].passed.hits) == (3, 1)
    assert found.deployed.good_held_back.rate == 0.2 and found.deployed.good_marked.rate == 0.4
    assert (found.n, found.deployed.bad_held_back.hits, found.deployed.bad_held_back.n) == (9, 2, 3)
    german, english, unknown = by_slice(table, "language", (0.2,))
    assert (german.name, german.bad, german.good, german.at_budget[0].caught.hits) == ("de", 2, 0, 2)
    assert (english.bad, english.good, english.at_budget[0].passed.hits) == (1, 5, 1)
    assert (unknown.name, unknown.n, unknown.bad, unknown.good) == ("unknown", 1, 0, 0)
    assert german.deployed.bad_held_back.low == pytest.approx(0.0945, abs=1e-3)


def test_categories_are_named_rightly_among_what_was_marked(scored: Table, mail: Any) -> None:
    table = scored([
        mail("CP", 3.0, category="CP"), mail("CP", 3.0, category="BE"), mail("CP", -1.0),
        mail("spam", 3.0, category="SP"), mail("ham", 3.0, category="CP"),
    ])  # fmt: skip
    share, named = named_rightly(table)
    assert (share.hits, share.n) == (2, 3)
    assert named == {"CP": {"BE": 1, "CP": 1}, "spam": {"SP": 1}}
