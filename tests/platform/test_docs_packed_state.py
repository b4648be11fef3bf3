"""The byte map of docs/packed-state.md against the code: its example is run, its table decoded."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.aggregates.layout import Layout, layout_of
from mailwarden.domain.aggregates.online.state import EntityState

PAGE = Path(__file__).parents[2] / "docs" / "packed-state.md"
ANY = "··"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """What the page's blocks of Python leave behind; what they assert holds."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    return names


def rows() -> list[tuple[int, list[str], str, str]]:
    """Offset, bytes in hex, value and field of each row of the example's table."""
    found = re.findall(r"^\| (\d+) \| `([^`]+)` \| (\S[^|]*) \| ([^|]+) \|", PAGE.read_text(), re.MULTILINE)
    return [(int(at), digits.split(), value.strip(), field.strip()) for at, digits, value, field in found]


def fields(layout: Layout, state: EntityState) -> list[str]:
    """A name a word, in the order that the page states."""
    names = ["header: fingerprint", "header: last_seq", "header: newest_us"]
    names += [f"length: level {i}" for i in range(len(layout.levels))]
    names += [f"length: recent {name}" for name in layout.recent_names]
    names += [f"total: {name}" for name in (*layout.measure_names, *layout.peak_names, *layout.distinct_names)]
    held = [layout.extreme_names[i] for i in layout.held]
    names += [f"time: {name}" for name in layout.extreme_names]
    names += [f"value: {name}" for name in held]
    names += [f"held seq: {name}" for name in held]
    for i, level in enumerate(layout.levels):
        columns = [layout.measure_names[m] for m in level.measures] + [layout.peak_names[p] for p in level.peaks]
        columns += [layout.distinct_names[d] for d in level.distincts]
        n = len(state.buckets[i])
        names += [f"level {i}: bucket {k}" for k in range(n)]
        names += [f"level {i}: row {k}, {column}" for k in range(n) for column in columns]
    for name, recent in zip(layout.recent_names, state.recents, strict=True):
        for k, (members, _) in enumerate(reversed(list(recent.uses()))):
            parts = ["time", "seq", "size", *(f"member {m}" for m in range(len(members)))]
            names += [f"recent {name}: set {k}, {part}" for part in parts]
    return names


def test_every_byte_is_what_the_page_says(example: dict[str, Any]) -> None:
    packed: bytes = example["packed"]
    table = rows()
    assert [at for at, *_ in table] == list(range(0, len(packed), 8))
    for at, digits, value, field in table:
        word = packed[at : at + 8]
        assert [ANY if said == ANY else f"{byte:02x}" for said, byte in zip(digits, word, strict=True)] == digits, field
        if ANY not in digits:
            assert struct.unpack("<q", word)[0] == int(value), field
    assert f"`packed` is {len(packed) // 8} words, {len(packed)} bytes" in PAGE.read_text()


def test_fields_stand_in_the_order_that_the_page_says(example: dict[str, Any]) -> None:
    state: EntityState = example["state"]
    assert [field for *_, field in rows()] == fields(layout_of(example["view"]), state)


def test_the_example_is_read_back_and_its_sketches_are_framed_as_said(example: dict[str, Any]) -> None:
    state: EntityState = example["state"]
    sketches = state.sketch_bytes()
    again = EntityState.from_bytes(layout_of(example["view"]), example["packed"], sketches)
    assert again.to_bytes() == example["packed"] and again.sketch_bytes() == sketches
    sizes, at = [], 0
    while at < len(sketches):
        sizes.append(struct.unpack_from("<I", sketches, at)[0])
        at += 4 + sizes[-1]
    # One of all time, then one a bucket of the level that counts recipients.
    assert at == len(sketches) and len(sizes) == 1 + len(state.buckets[1])
