"""The scored table: order, parts, slices, groups, and what stands in its Parquet."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.detection.decision import VERDICTS, Combination, Fusion, Thresholds
from mailwarden.domain.detection.tenant_budget import TenantBudget
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.errors import DataError
from mailwarden.evaluation import coded, drift, reliability
from mailwarden.evaluation.coded import Coded, rarely_others
from mailwarden.evaluation.scored import Scored, check_both_classes, contributions, joined, verdicts_at

Table = Callable[..., Scored]


def test_doctests() -> None:
    assert [doctest.testmod(module).failed for module in (coded, drift, reliability)] == [0, 0, 0]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["", "x", "y", "zz", None]), max_size=12))
def test_words_are_numbers_and_back(words: list[str | None]) -> None:
    column = Coded.of(words)
    assert [column.word(row) for row in range(len(words))] == [word or "" for word in words]
    assert column.words == tuple(sorted({word for word in words if word}))
    assert column.to_arrow().to_pylist() == [word or None for word in words]
    counts = dict(zip(column.words, column.counts().tolist(), strict=True))
    assert counts == {word: words.count(word) for word in column.words}
    halves = [Coded.of(words[: len(words) // 2]), Coded.of(words[len(words) // 2 :])]
    both = coded.joined(halves)
    assert [both.word(row) for row in range(len(words))] == [word or "" for word in words]


def test_a_word_beyond_the_vocabulary_is_named() -> None:
    with pytest.raises(DataError, match="'hamm' is none of ham, spam"):
        Coded.of(["ham", "hamm"], ["ham", "spam"])


def test_seldom_words_stand_together() -> None:
    column = rarely_others(Coded.of(["b", "b", "a", "c", "", "b"]), 2)
    assert [column.word(row) for row in range(6)] == ["b", "b", "others", "others", "", "b"]
    same = Coded.of(["a", "a"])
    assert rarely_others(same, 2) is same


def test_verdicts_are_those_of_the_thresholds_within_each_tenants_own_budget() -> None:
    steps = Thresholds(0.0, 1.0, 2.0, ((0.001, 1.5), (0.01, 0.5)))
    tenant = Coded.of(["a", "a", "a", "a", "b", "b", "c"])
    log_odds = np.array([-0.1, 0.0, 1.2, 2.0, 1.2, 1.5, 9.0])
    found = verdicts_at(
        log_odds, tenant, Combination(Fusion({}, 0.0, {}), steps), {"b": TenantBudget(0.002), "c": TenantBudget(1e-9)}
    )
    assert [found.word(row) for row in range(7)] == ["deliver", "banner", "junk", "quarantine", "banner", "junk",
                                                     "banner"]  # fmt: skip
    for row, value in enumerate(log_odds.tolist()):
        budget = {"b": 0.002, "c": 1e-9}.get(tenant.word(row))
        assert found.word(row) == steps.within(budget).verdict(value)


def test_the_order_of_rows_says_nothing(scored: Table, mails: Any) -> None:
    @settings(deadline=None)
    @given(mails, st.randoms())
    def check(drawn: list[Any], random: Any) -> None:
        places = list(range(len(drawn)))
        random.shuffle(places)
        one = scored(drawn)
        two = scored([drawn[at] for at in places], numbers=places)
        assert two.message_id.equals(one.message_id)
        assert two.to_arrow().drop(["campaign"]).equals(one.to_arrow().drop(["campaign"]))
        assert np.array_equal(two.groups()[0], one.groups()[0])

    check()


def test_parts_are_put_together_as_they_were(scored: Table, mails: Any) -> None:
    @settings(deadline=None)
    @given(mails, st.integers(0, 40))
    def check(drawn: list[Any], cut: int) -> None:
        whole = scored(drawn)
        rows = np.arange(len(whole))
        parts = [whole.take(rows[:cut]), whole.take(rows[cut:])] if 0 < cut < len(whole) else [whole]
        again = joined([replace(part, campaign=np.full(len(part), -1)) for part in parts])
        assert again.to_arrow().drop(["campaign"]).equals(whole.to_arrow().drop(["campaign"]))

    check()


def test_parts_of_which_some_were_asked_what_they_would_be_called_are_put_together(scored: Table, mail: Any) -> None:
    plain, asked = scored([mail("ham")] * 2), scored([mail("CP")] * 3)
    of = Coded.of(["CP", "SP", "CP"], CATEGORIES)
    asked = replace(asked, called=of, called_without={"text": of})
    for parts, wanted in (((plain, asked), [-1, -1]), ((asked, plain), [])):
        whole = joined(list(parts))
        codes = [*wanted, *of.codes.tolist(), *([-1, -1] if not wanted else [])]
        assert whole.called is not None and whole.called.codes.tolist() == codes
        assert whole.called_without["text"].codes.tolist() == codes
    assert joined([plain, plain]).called is None and not joined([plain, plain]).called_without


def test_campaigns_of_several_parts_stay_apart(scored: Table, mail: Any) -> None:
    part = scored([mail("ham", campaign="x"), mail("ham"), mail("CP", campaign="x")])
    assert joined([part, part, part]).campaign.tolist() == [0, -1, 0, 1, -1, 1, 2, -1, 2]


def test_groups_are_campaigns_and_single_messages(scored: Table, mail: Any) -> None:
    table = scored([mail("ham", campaign="x"), mail("ham"), mail("CP", campaign="y"), mail("ham", campaign="x"),
                    mail("ham")])  # fmt: skip
    assert table.groups()[0].tolist() == [0, 1, 2, 0, 3] and table.groups()[1] == 4
    assert table.groups("message")[0].tolist() == [0, 1, 2, 3, 4]


def test_what_each_detector_adds_makes_the_log_odds(scored: Table, mail: Any) -> None:
    table = scored([mail("ham", 1.0, 2.0), mail("CP", 3.0, None)], weights=(0.5, 2.0), intercept=-1.0)
    added = contributions(table)
    assert added["text"].tolist() == [0.5, 1.5] and added["rules"].tolist() == [4.0, 0.0]
    assert table.log_odds.tolist() == pytest.approx((added["text"] + added["rules"] - 1.0).tolist())


def test_slices_are_named_in_words(scored: Table, mail: Any) -> None:
    table = scored([mail("ham", language="en"), mail("CP", language="de"), mail("CP", tenant="other")])
    assert table.slice_named("language")[0] == "language" and table.slice_named("language")[1].all()
    assert table.slice_named("language=de")[1].tolist() == [False, True, False]
    assert table.slice_named("tenant=other")[1].tolist() == [False, False, True]
    assert len(table.where(table.slice_named("label=CP")[1])) == 2
    with pytest.raises(DataError, match=r"no slice 'langage'.*Did you mean 'language'"):
        table.slice_named("langage")
    with pytest.raises(DataError, match=r"no message that was judged has language 'fr'. There are de, en"):
        table.slice_named("language=fr")


@pytest.mark.parametrize(("labels", "said"), [
    ([None, None], "none of 2 messages of a home has a label; give labels"),
    (["ham", None], "a home has 1 labels, and all say good.*needs bad mail too"),
    (["CP", "spam"], "a home has 2 labels, and all say bad.*needs good mail too; label some .ham"),
])  # fmt: skip
def test_one_class_alone_is_said_with_the_mend(scored: Table, mail: Any, labels: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_both_classes(scored([mail(label) for label in labels]), "a home")
    check_both_classes(scored([mail("ham"), mail("EX")]), "a home")


def test_columns_of_different_lengths_are_no_table(scored: Table, mail: Any) -> None:
    table = scored([mail("ham"), mail("CP")])
    with pytest.raises(DataError, match="column log_odds of a scored table has 1 rows, the others 2"):
        replace(table, log_odds=np.zeros(1))


def test_what_is_written_reads_back(scored: Table, mail: Any, tmp_path: Path) -> None:
    table = scored([mail("ham", 1.0, None, "x", language="en"), mail(None, "away", 2.5, category="CP")])
    pq.write_table(table.to_arrow(), tmp_path / "scored.parquet")
    found = pq.read_table(tmp_path / "scored.parquet")
    first, second = found.to_pylist()
    assert (first["label"], first["verdict"], first["text__log_odds"], first["rules__log_odds"]) == (
        "ham", "junk", 1.0, None)  # fmt: skip
    assert (first["text__missing"], first["rules__missing"], second["text__missing"]) == (None, "abstained", "away")
    assert (first["campaign"], second["campaign"], first["slice__language"], second["slice__language"]) == (
        0, None, "en", None)  # fmt: skip
    assert second["label"] is None and second["category"] == "CP" and second["without__text"] is None
    assert first["verdict"] in VERDICTS and pa.types.is_timestamp(found.schema.field("received_at").type)
