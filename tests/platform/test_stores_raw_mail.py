from __future__ import annotations

import dataclasses
import datetime
import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from mailwarden.domain.mail.reception import Reception
from mailwarden.domain.mail.trust import Trust
from mailwarden.errors import NotFound, StoreError
from mailwarden.stores.lake.delta import DeltaLog, bucket_of
from mailwarden.stores.lake.raw_mail import RAW_SCHEMA, RawMail, RawRow, _to_table

DAY_US = 86_400_000_000
T0 = 1_176_076_800_000_000


def row(number: int, *, tenant: str = "acme", day: int = 0, raw: bytes | None = None) -> RawRow:
    data = b"Subject: %d\r\n\r\n\x00\xff" % number if raw is None else raw
    return RawRow(
        tenant=tenant,
        content_sha256=hashlib.sha256(data).hexdigest(),
        message_id=f"m{number}",
        received_at_us=T0 + day * DAY_US + number,
        mail_from=None if number % 2 else f"s{number}@parts.example",
        rcpt_to=("bob@acme.example",) * (number % 3),
        time_source="received",
        raw=data,
    )


def test_mail_is_found_by_its_content(tmp_path: Path) -> None:
    mail = RawMail(tmp_path)
    rows = [row(n, day=n % 3) for n in range(600)]
    assert mail.append(rows) == 600
    for one in (rows[0], rows[299], rows[599]):
        assert mail.get(one.content_sha256, "acme") == one.raw
    day = datetime.date(2007, 4, 9) + datetime.timedelta(days=599 % 3)
    assert mail.get(rows[599].content_sha256, "acme", day=day) == rows[599].raw
    with pytest.raises(NotFound, match="of 2007-04-09"):
        mail.get(rows[599].content_sha256, "acme", day=datetime.date(2007, 4, 9))


def test_mail_is_found_by_its_messages_in_the_days_that_they_came(tmp_path: Path) -> None:
    mail = RawMail(tmp_path)
    assert mail.of_messages("acme", {"m1": T0}) == {}
    rows = [row(n, day=n % 3) for n in range(600)]
    mail.append([*rows, row(700, tenant="other")])
    asked = {one.message_id: one.received_at_us for one in (rows[0], rows[299], rows[598])}
    found = mail.of_messages("acme", {**asked, "m700": row(700).received_at_us, "nobody": T0})
    assert found == {one.message_id: one for one in (rows[0], rows[299], rows[598])}
    # A wrong day is another place.
    assert mail.of_messages("acme", {"m1": T0}) == {}


def test_mail_of_another_tenant_is_not_found(tmp_path: Path) -> None:
    mail = RawMail(tmp_path)
    with pytest.raises(NotFound):
        mail.get("0" * 64, "acme")
    # Two tenants of one bucket, so that only the tenant column keeps them apart.
    mail.append([row(1, tenant="t0")])
    other = next(name for name in (f"t{n}" for n in range(1, 99)) if bucket_of(name) == bucket_of("t0"))
    with pytest.raises(NotFound, match=other):
        mail.get(row(1).content_sha256, other)


def test_a_message_is_kept_once_and_a_content_once_an_arrival(tmp_path: Path) -> None:
    mail = RawMail(tmp_path)
    assert mail.append([row(1), row(1), row(2)]) == 2
    assert mail.append([row(1), row(2)]) == 0
    assert mail.append([dataclasses.replace(row(1), message_id="later")]) == 1
    assert mail.append([row(3)], batch_id=("w", 1)) == 1
    assert mail.append([row(4)], batch_id=("w", 1)) == 0


def test_rows_hold_the_envelope_they_were_parsed_with(tmp_path: Path) -> None:
    mail = RawMail(tmp_path)
    rows = [row(n) for n in range(4)]
    mail.append(rows)
    snapshot = mail.snapshot()
    table = ds.dataset(list(snapshot.files), partitioning="hive", partition_base_dir=snapshot.root).to_table()
    assert set(table.column_names) == set(RAW_SCHEMA.names)
    table = table.sort_by("message_id")
    assert table["mail_from"].to_pylist() == [one.mail_from for one in rows]
    assert [tuple(names) for names in table["rcpt_to"].to_pylist()] == [one.rcpt_to for one in rows]
    assert table["received_at"].cast(pa.int64()).to_pylist() == [one.received_at_us for one in rows]
    assert table["raw"].to_pylist() == [one.raw for one in rows]


def test_retention_ends_by_day_and_removes_the_bytes(tmp_path: Path) -> None:
    mail = RawMail(tmp_path)
    old, new = row(1), row(2, day=5)
    mail.append([old, new])
    mail.drop_before(datetime.date(2007, 4, 14))
    mail.compact(retention_hours=0)
    with pytest.raises(NotFound):
        mail.get(old.content_sha256, "acme")
    assert mail.get(new.content_sha256, "acme") == new.raw
    assert [path.parent.parent.name for path in tmp_path.glob("day=*/*/*.parquet")] == ["day=2007-04-14"]


def test_bytes_that_are_not_those_of_the_hash_are_refused(tmp_path: Path) -> None:
    mail = RawMail(tmp_path)
    mail.append([dataclasses.replace(row(1), raw=b"something else")])
    with pytest.raises(StoreError, match="damaged"):
        mail.get(row(1).content_sha256, "acme")


def test_mail_from_before_its_reception_was_kept_is_read_beside_newer(tmp_path: Path) -> None:
    former = DeltaLog(tmp_path / "raw", RAW_SCHEMA.remove(RAW_SCHEMA.get_field_index("reception")))
    old, new = row(1), dataclasses.replace(row(2), reception=Reception(Trust(topmost=1), answers=()).to_text())
    former.append(lambda _: _to_table([old]).drop_columns(["reception"]))
    raw = RawMail(tmp_path / "raw")
    assert raw.append([new]) == 1
    found = {one.message_id: one for one in raw.scan(old.tenant)}
    assert found[old.message_id] == old and found[new.message_id] == new
    assert found[old.message_id].envelope.reception is None
    kept = found[new.message_id].envelope.reception
    assert kept is not None and kept.trust == Trust(topmost=1) and kept.answers == ()
    times = {one.message_id: one.received_at_us for one in (old, new)}
    assert raw.of_messages(old.tenant, times) == found
