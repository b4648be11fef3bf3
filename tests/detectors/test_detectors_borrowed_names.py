"""What a reader is told of a borrowed name."""

from __future__ import annotations

import numpy as np
import pytest

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden_detectors._trees.borrowed_names import borrowed

VIEW = "content_directory:"


def table(flag: str, value: float, *, duty: str | None, usual: str | None, history: float) -> FeatureTable:
    texts = {f"{VIEW}name_duty": duty, f"{VIEW}name_usual_address": usual}
    numbers = {f"{VIEW}{flag}": value, "sender_activity:history": history}
    columns = {name: np.array([text], dtype=object) for name, text in texts.items()}
    return FeatureTable(columns | {name: np.array([number]) for name, number in numbers.items()}, 1)


@pytest.mark.parametrize(
    ("flag", "duty", "history", "words"),
    [
        ("name_vip_borrowed", "finance", 0.0,
         "First mail from this address under the name of a VIP, who writes from ann@acme.example."),
        ("name_borrowed", "finance", 1.0,
         "Mail from another address under the name of someone in finance here, who writes from ann@acme.example."),
        ("name_manager_borrowed", None, np.nan,
         "Mail from another address under the name of the reader's manager, who writes from ann@acme.example."),
    ],
)  # fmt: skip
def test_whose_name_it_is_and_where_they_write_from_is_said(
    flag: str, duty: str | None, history: float, words: str
) -> None:
    rows = table(flag, 1.0, duty=duty, usual="ann@acme.example", history=history)
    assert borrowed(rows, 0, f"{VIEW}{flag}") == words


def test_nothing_is_said_of_a_name_that_is_not_borrowed_or_not_known_and_of_other_features() -> None:
    for value in (0.0, np.nan):
        rows = table("name_borrowed", value, duty="hr", usual="ann@acme.example", history=0.0)
        assert borrowed(rows, 0, f"{VIEW}name_borrowed") == ""
    assert borrowed(rows, 0, "sender_activity:history") == ""
