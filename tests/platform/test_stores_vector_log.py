from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from mailwarden.errors import DataError
from mailwarden.stores.lake.vector_log import VectorLog

T0 = 1_176_076_800_000_000


def rows(*seqs: int, tenant: str = "acme", **columns: pa.Array) -> pa.Table:
    count = len(seqs)
    keys = {
        "tenant": [tenant] * count,
        "seq": list(seqs),
        "message_id": [f"m{seq}" for seq in seqs],
        "recipient": ["bob@acme.example"] * count,
        "sender": ["ann@parts.example"] * count,
        "sender_domain": ["parts.example"] * count,
        "received_at": pa.array([T0 + seq for seq in seqs], pa.timestamp("us", tz="UTC")),
        "decision_id": [f"d{seq}" for seq in seqs],
    }
    return pa.table({**keys, **columns})


def test_columns_of_new_views_join_and_are_null_before(tmp_path: Path) -> None:
    log = VectorLog(tmp_path)
    assert log.scan().read_all().num_rows == 0
    assert log.append(rows(1, 2, sender_activity__days_known=pa.array([1.5, None]))) == 2
    assert log.append(rows(3, relationship__as_of_seq=pa.array([2]), relationship__status=pa.array(["seen"]))) == 1
    assert log.append(rows(4, sender_activity__days_known=pa.array([2.5]))) == 1
    table = log.scan("acme").read_all().sort_by("seq")
    assert table["sender_activity__days_known"].to_pylist() == [1.5, None, None, 2.5]
    assert table["relationship__as_of_seq"].to_pylist() == [None, None, 2, None]
    assert table["relationship__as_of_seq"].type == pa.int64()
    assert table["day"].to_pylist()[0].isoformat() == "2007-04-09"
    assert "relationship__status" in log.snapshot().schema.names
    assert log.scan("other").read_all().num_rows == 0
    assert log.scan(columns=["seq"]).read_all().column_names == ["seq"]


def test_a_batch_handed_over_again_adds_nothing(tmp_path: Path) -> None:
    log = VectorLog(tmp_path)
    assert log.append(rows(1), batch_id=("scoring", 3)) == 1
    assert log.append(rows(1), batch_id=("scoring", 3)) == 0
    assert log.append(rows(1), batch_id=("scoring", 2)) == 0
    assert log.scan().read_all().num_rows == 1


def test_a_column_that_is_missing_or_changes_its_type_is_refused_by_name(tmp_path: Path) -> None:
    log = VectorLog(tmp_path)
    log.append(rows(1, v__f=pa.array([1.0])))
    with pytest.raises(DataError, match=r"v__f.*string.*double"):
        log.append(rows(2, v__f=pa.array(["1"])))
    with pytest.raises(DataError, match="decision_id"):
        log.append(rows(2).drop_columns(["decision_id"]))
    with pytest.raises(DataError, match="tenant or received_at"):
        log.append(rows(2).set_column(0, "tenant", pa.array([None], pa.string())))
    assert log.scan().read_all().num_rows == 1


def test_writers_that_bring_different_columns_at_once_both_land(tmp_path: Path) -> None:
    VectorLog(tmp_path).append(rows(1))
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            log = VectorLog(tmp_path)
            for i in range(3):
                log.append(rows(number * 10 + i, **{f"view{number}__f{i}": pa.array([float(i)])}))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    table = VectorLog(tmp_path).scan().read_all()
    assert table.num_rows == 10
    assert {f"view{n}__f{i}" for n in (1, 2, 3) for i in range(3)} <= set(table.column_names)
    VectorLog(tmp_path).compact()
    assert VectorLog(tmp_path).scan().read_all().num_rows == 10
