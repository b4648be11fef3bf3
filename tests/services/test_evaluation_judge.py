"""Rows of a set come as whole messages, and a batch is judged as the champion decides message by message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mailwarden.domain.detection.decision import HISTORY, VERDICTS, Calibration, Combination, Fusion, Thresholds
from mailwarden.domain.detection.detector import RawScores
from mailwarden.domain.detection.naming import Naming, Voice
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.tenant_budget import TRAINED, GoodNamed, TenantBudget
from mailwarden.domain.mail.events import CATEGORIES, LABELS
from mailwarden.domain.status import CODES, Status
from mailwarden.errors import DataError
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.rows import MISSING
from mailwarden.evaluation.scored import joined
from mailwarden.scoring.categorising import Bar, Caller
from mailwarden.scoring.champion import Champion
from mailwarden.stores.bundle import Bundle, Member
from mailwarden_services.evaluation.home import _check_labels, messages_of
from mailwarden_services.evaluation.judge import Judge, Messages, judged

TEXT, WORDS, KNOWN = "content_text:new_text", "content_text:subject_len", "sender_activity:messages_all"
STEPS = Thresholds(0.0, 1.0, 2.0, ((0.001, 1.5), (0.01, 0.5)))


class Says:
    """Raw scores of a numeric feature; abstains where it is null, fails on a message with 13."""

    def __init__(self, feature: str) -> None:
        self.features = (feature,)

    def score(self, rows: FeatureTable) -> RawScores:
        values = rows.columns[self.features[0]]
        if (values == 13).any():
            raise ValueError("poison")
        return RawScores(np.nan_to_num(values), np.isnan(values))

    def categorise(self, rows: FeatureTable) -> list[str]:
        return ["CP" if value > 2 else "BE" for value in rows.columns[self.features[0]]]


def fusion(names: Sequence[str], intercept: float) -> Fusion:
    return Fusion(dict.fromkeys(names, 1.0), intercept, {name: Calibration(1.0, 0.0) for name in names})


def judge(categoriser: str = "words") -> Judge:
    without = {
        "known": Combination(fusion(["words"], -0.1), STEPS),
        "words": Combination(fusion(["known"], -0.2), STEPS),
        HISTORY: Combination(fusion(["known", "words"], -0.3), STEPS),
    }
    bundle = Bundle(
        {name: Member(1, "", 1) for name in ("known", "words", "gone")},
        Combination(fusion(["known", "words"], 0.0), STEPS),
        "words", {"options": {"ablate": []}}, without,
    )  # fmt: skip
    champion = Champion(
        version=4,
        detectors={"words": Says(WORDS), "known": Says(KNOWN)},  # type: ignore[dict-item]
        detector_versions={"words": 1, "known": 1},
        whole=bundle.whole,
        content_views=frozenset({"content_text"}),
        categoriser=categoriser,
        without=without,
    )
    return Judge(bundle, champion, {"careful": TenantBudget(0.002)})


def messages(rows: list[tuple[int, float, float, bool]], tenants: Sequence[str]) -> Messages:
    """Rows of (message, words, known, whether history is there)."""
    numbers = [row[0] for row in rows]
    starts = np.array([numbers.index(n) for n in dict.fromkeys(numbers)] + [len(rows)])
    there = np.array([row[3] for row in rows])
    unavailable = np.where(there, 0, CODES[Status.UNAVAILABLE]).astype(np.uint8)
    table = FeatureTable(
        {WORDS: np.array([row[1] for row in rows]), KNOWN: np.where(there, [row[2] for row in rows], np.nan)},
        len(rows),
        {"sender_activity": unavailable},
    )
    n = len(starts) - 1
    return Messages(table, starts, Coded.of(list(tenants)), pa.array([f"m{at}" for at in range(n)], pa.large_string()),
                    np.arange(n), Coded.of(["ham"] * n, LABELS))  # fmt: skip


NAN = float("nan")
ROWS = [
    (0, 0.7, 0.6, True), (1, 0.2, NAN, True), (1, 0.2, 2.5, True), (2, 13.0, 1.2, True), (3, 1.0, 9.0, False),
    (4, 0.7, 0.6, True), (5, -3.0, NAN, True), (6, 0.5, 13.0, True), (6, 0.5, 1.0, True),
]  # fmt: skip


def test_a_batch_is_judged_as_each_message_alone_is_decided() -> None:
    found = judge()
    mail = messages(ROWS, ["acme", "acme", "acme", "acme", "careful", "acme", "acme"])
    scored = judged(found, mail)
    for number, (start, stop) in enumerate(pairwise(mail.starts.tolist())):
        one = found.champion.score(mail.rows.take(np.arange(start, stop))).of()
        assert scored.log_odds[number] == one.logit
        budget = found.budgets.get(mail.tenant.word(number), TRAINED)
        assert scored.verdict.word(number) == one.verdict("acme", budget)
        spoke = {name for name, said in scored.detectors.items() if said.missing[number] == 0}
        assert spoke == set(one.detectors)
        whole = not one.away
        for name in ("known", "words"):
            assert np.isnan(scored.without[name][number]) != whole
    assert [MISSING[code] for code in scored.detectors["words"].missing] == ["", "", "failed", "", "", "", ""]
    assert [MISSING[code] for code in scored.detectors["known"].missing] == ["", "", "", "abstained", "", "abstained",
                                                                            "failed"]  # fmt: skip
    # The second row decided message 1, and its own budget message 4.
    assert scored.detectors["known"].calibrated[1] == 2.5
    assert (scored.verdict.word(0), scored.verdict.word(4)) == ("junk", "banner")
    assert [scored.category.word(n) for n in range(7)] == ["BE", "BE", "CP", "BE", "BE", "", "BE"]
    # Without known, the worst row of message 1 says 0.2 - 0.1.
    assert scored.without["known"][1] == pytest.approx(0.1) and scored.without["words"][1] == pytest.approx(2.3)
    assert set(scored.verdict.words) == set(VERDICTS) and not scored.served


def test_a_budget_that_is_spent_by_category_judges_as_serving_does() -> None:
    plain = judge()
    named = GoodNamed({code: {"BE": 0.05, "CP": 0.5}.get(code, 0.05) for code in CATEGORIES}, 0.001)
    whole = replace(plain.bundle.whole, named=named)
    without = {name: replace(one, named=named) for name, one in plain.bundle.without.items()}
    # Loudest is whoever is surest, and known more than words.
    naming = Naming({"words": Voice(1.0, 0.1), "known": Voice(1.0, 0.2)})
    champion = replace(plain.champion, whole=whole, without=without, naming=naming)
    careful = TenantBudget.of(0.001, {"BE": 0.0005})
    found = Judge(replace(plain.bundle, whole=whole, without=without), champion, {"careful": careful})
    rows = [
        (0, 0.4, 0.2, True), (1, 0.9, 2.1, True), (2, 1.4, NAN, True), (3, 2.5, NAN, True), (4, 0.9, 9.0, False),
        (5, 2.2, 2.9, True), (5, 2.0, 1.0, True), (6, 0.3, 2.2, True), (7, 2.1, -1.2, True),
    ]  # fmt: skip
    mail = messages(rows, ["careful", "careful", "careful", "careful", "careful", "careful", "acme", "careful"])
    scored = judged(found, mail)
    assert scored.called is not None
    for number, (start, stop) in enumerate(pairwise(mail.starts.tolist())):
        one = mail.rows.take(np.arange(start, stop))
        tenant = mail.tenant.word(number)
        bar = Bar(tenant, found.budgets.get(tenant, TRAINED), Caller(champion, one))
        batch = champion.score(one, None, [tenant])
        assert scored.verdict.word(number) == bar.verdict(batch.of())
        assert scored.called.word(number) == (bar.caller.category(batch.of()) if tenant == "careful" else "")
        for name, verdict in bar.held_without_each(champion, batch).items():
            if not np.isnan(scored.without[name][number]):
                assert scored.held_back_without(name)[number] == (verdict in ("junk", "quarantine")), (number, name)
    # 0.6 is junk as BE and marked as CP; the whole budget would have it marked either way.
    assert [scored.verdict.word(n) for n in range(8)] == [
        "junk", "banner", "junk", "banner", "junk", "banner", "quarantine", "banner",
    ]  # fmt: skip
    assert [scored.called.word(n) for n in range(8)] == ["BE", "CP", "BE", "CP", "BE", "CP", "", "CP"]
    # A word less, and another category.
    assert (scored.called_without["known"].word(1), scored.called_without["words"].word(7)) == ("BE", "BE")
    halves = joined([scored.take(np.arange(3)), scored.take(np.arange(3, 8))])
    assert halves.called is not None and halves.called.codes.tolist() == scored.called.codes.tolist()
    assert halves.held_back_without("words").tolist() == scored.held_back_without("words").tolist()
    assert judged(replace(found, budgets={}), mail).called is None


def test_a_detector_that_did_not_load_is_away_from_all() -> None:
    found = judge()
    lame = Champion(**{**{name: getattr(found.champion, name) for name in (
        "version", "detector_versions", "whole", "content_views", "categoriser", "without")},
        "detectors": {"words": Says(WORDS)}, "away": {"known": "lost"}})  # fmt: skip
    scored = judged(Judge(found.bundle, lame, {}), messages(ROWS[:1], ["acme"]))
    assert MISSING[scored.detectors["known"].missing[0]] == "away" and np.isnan(scored.without["words"]).all()
    assert scored.log_odds.tolist() == pytest.approx([0.6]) and np.isnan(scored.detectors["known"].milliseconds).all()


def test_the_row_that_decided_names_the_category() -> None:
    scored = judged(judge("known"), messages(ROWS[:3], ["acme", "acme"]))
    assert [scored.category.word(n) for n in range(2)] == ["BE", "CP"]


def test_who_names_no_category_leaves_it_unwanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Says, rows: FeatureTable) -> list[str]:
        raise RuntimeError

    monkeypatch.setattr(Says, "categorise", fails)
    assert judged(judge(), messages(ROWS[:2], ["acme", "acme"])).category.word(0) == "SP"


@pytest.mark.parametrize("at_once", [1, 3, 4, 100])
def test_rows_come_as_whole_messages_in_order(tmp_path: Path, at_once: int) -> None:
    numbers = [0, 0, 1, 2, 2, 2, 2, 3, 4]
    rows = pa.table({
        "tenant": ["acme"] * 7 + ["other"] * 2, "message_id": [f"m{n}" for n in numbers],
        "recipient": [f"r{n}" for n in range(9)], "seq": numbers,
        "event_timestamp": pa.array([n * 1_000_000 for n in numbers]).cast(pa.timestamp("us", tz="UTC")),
        "label": ["ham" if n % 2 else "CP" for n in numbers],
        "content_text__new_text": ["x", None] * 4 + ["y"], "content_text__subject_len": pa.array([*range(8), None]),
        "content_text__status": ["present"] * 8 + ["damaged"],
    })  # fmt: skip
    for name, part in (("part-00000", rows.slice(0, 4)), ("part-00001", rows.slice(4))):
        pq.write_table(part, tmp_path / f"{name}.snappy.parquet")
    parts = list(messages_of(tmp_path, [TEXT, WORDS], {KNOWN: False, "content_text:subject": True}, at_once))
    assert [m for part in parts for m in part.message_id.to_pylist()] == [f"m{n}" for n in range(5)]
    assert [len(set(range(*part.starts[[0, -1]].tolist()))) for part in parts] == [part.rows.n for part in parts]
    assert [n for part in parts for n in np.diff(part.starts).tolist()] == [2, 1, 4, 1, 1]
    assert [t for part in parts for t in part.at_us.tolist()] == [n * 1_000_000 for n in range(5)]
    assert [part.label.word(n) for part in parts for n in range(len(part.at_us))] == ["CP", "ham", "CP", "ham", "CP"]
    columns: dict[str, list[Any]] = {
        name: [value for part in parts for value in part.rows.columns[name].tolist()] for name in parts[0].rows.columns
    }
    assert columns[TEXT] == ["x", None] * 4 + ["y"] and columns["content_text:subject"] == [None] * 9
    assert columns[WORDS][:8] == [float(n) for n in range(8)] and np.isnan(columns[WORDS][8])
    assert np.isnan(columns[KNOWN]).all()
    statuses = [code for part in parts for code in part.rows.status("content_text").tolist()]
    assert statuses == [0] * 8 + [CODES[Status.DAMAGED]]


def test_labels_of_one_class_end_before_features_are_computed(tmp_path: Path) -> None:
    rows = pa.table({"label": ["ham", "ham", "ham"], "weight": [0.5, 0.5, 1.0]})
    pq.write_table(rows, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="labelled mail has 2 labels, and all say good"):
        _check_labels(tmp_path, both=True)
    pq.write_table(rows.set_column(0, "label", pa.array(["ham", "ham", "EX"])), tmp_path / "rows.parquet")
    _check_labels(tmp_path, both=True)
