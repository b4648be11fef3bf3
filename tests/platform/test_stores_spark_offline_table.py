from __future__ import annotations

from pathlib import Path

import pytest

from mailwarden.errors import DataError, StoreError
from mailwarden.stores.spark.offline_table import Manifest, OfflineTable


def publish(table: OfflineTable, before: Manifest | None = None) -> Manifest:
    folder = table.new_folder()
    (table.path / folder).mkdir(parents=True)
    (table.path / folder / "a.parquet").write_bytes(b"x")
    manifest = Manifest(
        view="v",
        version=1,
        fingerprint=7,
        rows=1,
        source_version=3,
        folders=(folder,),
        files=table.parts_in(folder),
        last_seq={"t": 4},
        before=before.folders if before else (),
    )
    table.publish(manifest)
    return manifest


def test_a_publication_is_read_back_and_the_one_before_keeps_its_files(tmp_path: Path) -> None:
    table = OfflineTable(tmp_path, "v", 1)
    assert table.manifest() is None
    with table.writing():
        first = publish(table)
        assert table.manifest() == first
        second = publish(table, first)
        assert table.manifest() == second
        assert all(Path(name).exists() for name in (*table.files(first), *table.files(second)))
        third = publish(table, second)
    assert not any(Path(name).exists() for name in table.files(first))
    assert all(Path(name).exists() for name in (*table.files(second), *table.files(third)))


def test_a_crash_before_the_rename_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = OfflineTable(tmp_path, "v", 1)
    with table.writing():
        first = publish(table)
        monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(table, first)
    assert table.manifest() == first
    assert Path(table.files(first)[0]).exists()


def test_damage_and_a_second_writer_are_said_in_words(tmp_path: Path) -> None:
    table = OfflineTable(tmp_path, "v", 1)
    with table.writing():
        publish(table)
        with pytest.raises(StoreError, match="another process"), OfflineTable(tmp_path, "v", 1).writing():
            pass
    with OfflineTable(tmp_path, "v", 1).writing():
        (table.path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        table.manifest()
