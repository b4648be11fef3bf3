from __future__ import annotations

from pathlib import Path

import pytest

from mailwarden.errors import DataError
from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.simulate import simulate


def test_index_names_every_file_in_order(tmp_path: Path) -> None:
    messages = list(simulate(days=2))
    index = write_corpus(tmp_path / "corpus", messages)
    assert index == tmp_path / "corpus" / "INDEX"
    lines = [line.split(" ", 1) for line in index.read_text(encoding="ascii").splitlines()]
    assert lines == [[m.label, m.path] for m in messages]
    for message in messages:
        assert (index.parent / message.path).read_bytes() == message.raw


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept.eml"
    kept.write_bytes(b"Subject: kept\n\n")
    with pytest.raises(DataError, match="empty folder"):
        write_corpus(tmp_path, simulate(days=1))
    assert [p.name for p in tmp_path.iterdir()] == ["kept.eml"]
