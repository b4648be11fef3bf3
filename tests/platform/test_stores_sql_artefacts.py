from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from mailwarden.errors import DataError, NotFound, StoreError
from mailwarden.stores.sql import ModelArtefacts


def test_content_is_read_back_and_kept_once(tmp_path: Path) -> None:
    store = ModelArtefacts(tmp_path / "models")
    uri, digest = store.put(b"weights")
    assert digest == hashlib.sha256(b"weights").hexdigest()
    assert store.put(b"weights") == (uri, digest)
    assert store.put(b"")[0] != uri
    assert store.get(uri, digest) == b"weights"
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 2


def test_the_folder_can_be_moved(tmp_path: Path) -> None:
    uri, digest = ModelArtefacts(tmp_path / "here").put(b"weights")
    (tmp_path / "here").rename(tmp_path / "there")
    assert ModelArtefacts(tmp_path / "there").get(uri, digest) == b"weights"


def test_damage_is_found_on_reading_and_mended_by_writing(tmp_path: Path) -> None:
    store = ModelArtefacts(tmp_path)
    uri, digest = store.put(b"weights")
    (tmp_path / uri).write_bytes(b"weighty")
    with pytest.raises(StoreError, match="SHA-256"):
        store.get(uri, digest)
    store.put(b"weights")
    assert store.get(uri, digest) == b"weights"


def test_another_hash_on_record_is_refused(tmp_path: Path) -> None:
    store = ModelArtefacts(tmp_path)
    uri, _ = store.put(b"weights")
    with pytest.raises(StoreError, match="SHA-256"):
        store.get(uri, "0" * 64)


@pytest.mark.parametrize("uri", ["../secret", "sha256/aa/../../secret", "/etc/passwd", "", "sha256/aa/" + "b" * 64])
def test_a_uri_leads_nowhere_else(tmp_path: Path, uri: str) -> None:
    with pytest.raises(DataError, match="URI"):
        ModelArtefacts(tmp_path).get(uri, "0" * 64)


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Restore it"):
        ModelArtefacts(tmp_path).get("sha256/aa/" + "a" * 64, "a" * 64)


def test_a_root_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be written"):
        ModelArtefacts(tmp_path / "file").put(b"weights")


def test_a_write_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StoreError, match="is full"):
        ModelArtefacts(tmp_path).put(b"weights")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_writers_of_the_same_content_do_not_disturb_each_other(tmp_path: Path) -> None:
    store, found = ModelArtefacts(tmp_path), []

    def work() -> None:
        for number in range(20):
            uri, digest = store.put(bytes([number]) * 10_000)
            found.append(store.get(uri, digest) == bytes([number]) * 10_000)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 60
