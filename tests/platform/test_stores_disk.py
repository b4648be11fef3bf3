"""A full disk is named, with what is free; a damaged file is named, with the mend. Real disks where they can be had."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.disk import free_bytes, full_disk_named, is_full, mount_of
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.raw_mail import RawMail, RawRow
from mailwarden.stores.sql import ModelArtefacts, Tenants, open_engine, upgrade

US = 1_772_409_600_000_000


def event(seq: int) -> Event:
    return Event(
        "acme", seq, "message", f"{seq:032x}", US + seq, US + seq, "envelope", "inbound", "a@b.example", "b.example",
        ("c@d.example",), ("d.example",), display_name=os.urandom(2_000).hex(),
    )  # fmt: skip


def raw(number: int, size: int) -> RawRow:
    return RawRow("acme", f"{number:064x}", f"{number:032x}", US, None, (), "envelope", os.urandom(size))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_the_disk_of_a_path_is_its_mount_point_also_before_the_path_exists(tmp_path: Path) -> None:
    assert mount_of(tmp_path / "a" / "b" / "c") == mount_of(tmp_path) and mount_of(tmp_path).is_mount()
    assert free_bytes(tmp_path / "nowhere") > 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_an_error_for_want_of_space_names_the_disk_and_others_pass(tmp_path: Path, number: int) -> None:
    words = rf"the disk at {mount_of(tmp_path)} is full \([\d,]+ bytes"
    with pytest.raises(StoreUnavailable, match=words), full_disk_named(tmp_path, "the spool cannot be written"):
        raise OSError(number, os.strerror(number))
    with pytest.raises(PermissionError), full_disk_named(tmp_path, "x"):
        raise PermissionError(errno.EACCES, "no")
    assert is_full(ValueError("OS error: No space left on device (os error 28)"))
    assert not is_full(ValueError("No such file"))


def test_stores_on_a_full_disk_say_so_and_keep_what_they_had(small_disk: Path) -> None:
    log, mail = EventLog(small_disk / "events"), RawMail(small_disk / "raw")
    models = ModelArtefacts(small_disk / "models")
    assert log.append([event(1)]).added == 1 and mail.append([raw(1, 1_000)]) == 1
    uri, digest = models.put(b"small")
    words = f"the disk at {small_disk} is full"
    with pytest.raises(StoreUnavailable, match=words):
        models.put(os.urandom(2 << 20))
    with pytest.raises(StoreUnavailable, match=words):
        mail.append([raw(2, 2 << 20)])
    with pytest.raises(StoreUnavailable, match=words):
        log.append([event(number) for number in range(2, 1_000)])
    assert models.get(uri, digest) == b"small" and log.count() == 1
    assert [row.message_id for row in mail.scan("acme")] == [f"{1:032x}"]


def test_a_database_on_a_full_disk_says_so(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk / 'a.db'}"
    upgrade(url)
    engine = open_engine(url)
    with pytest.raises(StoreUnavailable, match=f"the disk at {small_disk} is full"):
        for number in range(10_000):
            Tenants(engine).create(f"t{number}", domains=[f"a{number}.example"], created_us=1)
            if free_bytes(small_disk) > 40_000:
                (small_disk / f"fill{number}").write_bytes(b"x" * 20_000)
    engine.dispose()


@pytest.mark.parametrize("damage", [b"", b"no Parquet at all", None])
def test_a_damaged_file_of_the_lake_is_named(tmp_path: Path, damage: bytes | None) -> None:
    log, mail = EventLog(tmp_path / "events"), RawMail(tmp_path / "raw")
    log.append([event(1)])
    mail.append([raw(1, 100)])
    for table in ("events", "raw"):
        (file,) = (tmp_path / table).rglob("*.parquet")
        if damage is None:
            file.unlink()
        else:
            file.write_bytes(damage)
    with pytest.raises(StoreError, match=r"events/day=.*parquet, a file of the table events, is damaged.*backup"):
        log.find("acme", f"{1:032x}")
    with pytest.raises(StoreError, match=r"raw/day=.*parquet, a file of the table raw, is damaged.*backup"):
        list(mail.scan("acme"))
    with pytest.raises(StoreError, match=r"a file of the table raw"):
        mail.get(f"{1:064x}", "acme")


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"This is no SQLite database, by its head.\n" * 100)
    with pytest.raises(StoreError, match=r"a\.db is damaged: .*not a database.*backup"):
        upgrade(f"sqlite:///{path}")


def test_a_damaged_log_of_a_table_is_named(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    log.append([event(1)])
    for commit in (tmp_path / "events" / "_delta_log").glob("*.json"):
        commit.write_text("{ no JSON")
    with pytest.raises(StoreError, match=str(tmp_path / "events")):
        EventLog(tmp_path / "events").count()
