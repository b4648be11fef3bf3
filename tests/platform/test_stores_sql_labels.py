from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from mailwarden.errors import DataError
from mailwarden.stores.sql import LabelRecord, Labels, Tenants
from mailwarden.stores.sql import labels as module


def label(label_id: str, message_id: str, value: str, known_at_us: int, seq: int, **changes: str) -> LabelRecord:
    record = LabelRecord("acme", label_id, message_id, value, known_at_us, seq, "analyst", "ana")
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


@pytest.fixture
def store(sql_engine: sa.Engine) -> Labels:
    for name in ("acme", "other"):
        Tenants(sql_engine).create(name, domains=[], created_us=1)
    return Labels(sql_engine)


def test_a_correction_is_another_row_and_takes_nothing_back(store: Labels) -> None:
    first = label("l1", "m1", "ham", 100, 1)
    second = label("l2", "m1", "BE", 200, 2, source="user", given_by="bo")
    assert store.append(second) and store.append(first)
    assert store.history("acme", "m1") == (first, second)
    assert store.latest("acme", "m1") == second
    assert store.latest("acme", "m2") is None
    assert store.history("acme", "m2") == ()


def test_the_label_of_the_greatest_seq_counts_whatever_time_it_was_given_for(store: Labels) -> None:
    first, second = label("b", "m1", "ham", 200, 6), label("a", "m1", "spam", 100, 7)
    store.append_many([second, first])
    assert store.latest("acme", "m1") == second
    assert store.history("acme", "m1") == (first, second)


def test_the_same_label_again_changes_nothing(store: Labels) -> None:
    record = label("l1", "m1", "ham", 100, 1)
    assert store.append(record) is True
    assert store.append(record) is False
    assert store.append_many([record, record, label("l2", "m2", "CP", 100, 2)]) == {("acme", "l2")}
    assert store.append_many([]) == frozenset()
    assert store.count("acme") == 2


@pytest.mark.parametrize("change", [{"label": "spam"}, {"message_id": "m2"}, {"given_by": "bo"}])
def test_a_label_cannot_be_changed(store: Labels, change: dict[str, str]) -> None:
    record = label("l1", "m1", "ham", 100, 1)
    store.append(record)
    with pytest.raises(DataError, match="never changed"):
        store.append_many([label("l2", "m2", "ham", 100, 2), dataclasses.replace(record, **change)])  # type: ignore[arg-type]
    assert store.history("acme", "m1") == (record,)
    assert store.count("acme") == 1


def test_one_id_for_two_labels_of_a_batch_is_refused(store: Labels) -> None:
    with pytest.raises(DataError, match="never changed"):
        store.append_many([label("l1", "m1", "ham", 100, 1), label("l1", "m1", "spam", 100, 1)])
    assert store.count("acme") == 0


def test_a_label_or_source_that_nobody_knows_is_refused() -> None:
    with pytest.raises(DataError, match="unknown"):
        label("l1", "m1", "Ham", 100, 1)
    with pytest.raises(DataError, match="unknown"):
        label("l1", "m1", "ham", 100, 1, source="model")


def test_no_tenant_sees_anothers(store: Labels) -> None:
    mine, theirs = label("l1", "m1", "ham", 100, 1), label("l1", "m1", "MW", 90, 1, tenant="other")
    store.append_many([theirs, mine])
    assert store.latest("acme", "m1") == mine
    assert store.history("acme", "m1") == (mine,)
    assert store.history("other", "m1") == (theirs,) and store.history("nobody", "m1") == ()


def test_a_label_of_an_unknown_tenant_is_refused(store: Labels) -> None:
    with pytest.raises(DataError):
        store.append(label("l1", "m1", "ham", 1, 1, tenant="nobody"))


def test_threads_that_append_the_same_labels_add_each_once(store: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    # A statement a row, and opposite orders: unsorted, these would wait for each other for ever.
    monkeypatch.setattr(module, "_BATCH", 1)
    records = [label(f"l{n:03d}", f"m{n}", "spam", n, n) for n in range(100)]

    with ThreadPoolExecutor(4) as pool:
        added = sum(len(stored) for stored in pool.map(store.append_many, [records, records[::-1]] * 2))
    assert added == store.count("acme") == 100
