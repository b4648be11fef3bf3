from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from mailwarden.errors import DataError
from mailwarden.ingest.index import LabelIndex


def index(folder: Path, text: str) -> LabelIndex:
    (folder / "full").mkdir(exist_ok=True)
    (folder / "full" / "index").write_text(text)
    return LabelIndex.read(folder / "full" / "index")


def test_paths_are_read_against_the_indexs_own_folder(tmp_path: Path) -> None:
    labels = index(tmp_path, "spam ../data/inmail.1\nHAM ../data/inmail.2\n\ncp ../data/in mail.3\n")
    assert len(labels) == 3
    assert [entry.label for entry in labels] == ["spam", "ham", "CP"]
    found = labels.find(f"{tmp_path}/data/in mail.3")
    assert found is not None
    assert found.label == "CP"
    assert labels.find(f"{tmp_path}/data/inmail.9") is None


def test_capitalised_words_set_a_message_apart_from_the_subset(tmp_path: Path) -> None:
    labels = index(tmp_path, "Spam ../data/1\nham ../data/2\nHam ../data/3\nspam ../data/4\nBE ../data/5\n")
    assert [entry.selected for entry in labels] == [False, True, False, True, True]
    assert labels.selects(f"{tmp_path}/data/2")
    assert not labels.selects(f"{tmp_path}/data/1")
    assert not labels.selects(f"{tmp_path}/data/77")


def test_a_line_may_say_when_its_label_was_given_and_how_it_came_about(tmp_path: Path) -> None:
    labels = index(
        tmp_path,
        "CP ../data/1\t2026-01-31T09:30:00+01:00\tuser\nham ../data/2\taudit/50\n"
        "SP ../data/in 3\tanalyst \t2026-02-01\nspam ../data/4\nspam ../data/5\taudit\n",
    )
    given = [(entry.given.known_us, entry.source, entry.stands_for) for entry in labels]
    assert given == [
        (1_769_848_200_000_000, "user", 0),
        (None, "audit", 50),
        (1_769_904_000_000_000, "analyst", 0),
        (None, "index", 0),
        (None, "audit", 0),
    ]
    assert labels.find(f"{tmp_path}/data/in 3") is not None
    day_us = 86_400_000_000
    # Never before the message came, and after the delay where nothing is said.
    first, second = next(iter(labels)).given, next(iter(list(labels)[1:])).given
    assert first.known_at_us(1_769_848_200_000_001, day_us) == 1_769_848_200_000_001
    assert first.known_at_us(5, day_us) == 1_769_848_200_000_000
    assert second.known_at_us(5, day_us) == 5 + day_us


@pytest.mark.parametrize("column", ["soon", "users", "user/3", "audit/0", "audit/many", "2026-13-01"])
def test_what_stands_behind_a_path_and_is_neither_is_an_error_with_its_line(tmp_path: Path, column: str) -> None:
    with pytest.raises(DataError, match=r"line 2: .*audit/50") as raised:
        index(tmp_path, f"ham ../data/1\nspam ../data/2\t{column}\n")
    assert repr(column) in str(raised.value)


def test_mail_that_was_moved_is_found_by_the_end_of_its_path(tmp_path: Path) -> None:
    labels = index(tmp_path, "spam ../data/1\nham ../data/2\n")
    for moved in ("/elsewhere/data/1", "corpus/data/1"):
        entry = labels.find(moved)
        assert entry is not None
        assert entry.label == "spam"
    assert labels.find("/elsewhere/data/11") is None
    assert labels.find("/elsewhere/1") is None


def test_a_like_named_file_elsewhere_below_the_same_folder_is_not_mistaken(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "index").write_text("spam a/1\nham b/1\n")
    labels = LabelIndex.read(tmp_path / "full" / "index")
    assert labels.find(f"{tmp_path}/full/c/a/1") is None
    assert labels.find(f"{tmp_path}/full/a/1") is not None


def test_an_index_inside_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "corpus.tar"
    with tarfile.open(path, "w") as archive:
        data = b"ham ../data/1\nspam ../data/2\n"
        member = tarfile.TarInfo("./corpus/full/index")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    labels = LabelIndex.read(path, "corpus/full/index")
    entry = labels.find("corpus/data/2")
    assert entry is not None
    assert entry.label == "spam"
    with pytest.raises(DataError, match="no file 'corpus/none'"):
        LabelIndex.read(path, "corpus/none")


@pytest.mark.parametrize("line", ["ham", "junk ../data/2", "ham  ", "../data/2 ham"])
def test_a_line_that_cannot_be_read_is_named_by_number(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="line 2: expected `label path`"):
        index(tmp_path, f"ham ../data/1\n{line}\n")


def test_two_labels_for_one_message_are_refused_and_one_twice_is_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3.*is spam here and ham above"):
        index(tmp_path, "ham ../data/1\nham ../data/2\nspam ../full/../data/1\n")
    assert len(index(tmp_path, "ham ../data/1\nHam ../data/1\n")) == 1
    with pytest.raises(DataError, match="cannot be read"):
        LabelIndex.read(tmp_path / "none")
