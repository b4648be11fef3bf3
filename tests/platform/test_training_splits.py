from __future__ import annotations

import pytest

from mailwarden.errors import DataError
from mailwarden.training.splits import Split, moment_us, parse_splits

DAY_US = 86_400_000_000
JANUARY_US = 1_767_225_600_000_000


def test_splits_are_by_time_with_open_ends_or_by_tenant() -> None:
    assert parse_splits(["train=..2026-01-01", "test=2026-01-01T00:00:00Z.."]) == (
        Split("train", None, JANUARY_US),
        Split("test", JANUARY_US, None),
    )
    assert parse_splits(["a=tenant:acme+other", "b=tenant:third"])[0] == Split("a", tenants=("acme", "other"))
    assert parse_splits([]) == ()
    assert moment_us("2026-01-02T02:00:00+02:00") == JANUARY_US + DAY_US


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["..2026-01-01"], "has no name"),
        (["train=2026-01-01"], "is no time"),
        (["train=yesterday.."], "'yesterday' is no time"),
        (["train=2026-02-01..2026-01-01"], "ends before it begins"),
        (["train=tenant:"], "names no tenant"),
        (["a=..2026-01-02", "b=2026-01-01.."], "splits 'a' and 'b' hold the same messages"),
        (["a=tenant:x+y", "b=tenant:y"], "hold the same messages"),
        (["a=..2026-01-01", "a=2026-02-01.."], "given twice"),
        (["a=..2026-01-01", "b=tenant:x"], "by time or by tenant"),
    ],
)
def test_what_is_no_split_is_said_in_words(texts: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_splits(texts)
