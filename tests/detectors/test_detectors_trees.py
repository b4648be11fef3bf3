"""Trees evaluated by us against CatBoost's own prediction."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from catboost import CatBoostClassifier

from mailwarden_detectors._trees.trees import Trees

_OPTIONS = {"depth": 5, "thread_count": 2, "allow_writing_files": False, "verbose": False, "random_seed": 3}


def _rows(seed: int, n: int, features: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.choice([0.0, 1.0, 2.5, 7.0, 1e9, -3.0], size=(n, features)) + rng.normal(size=(n, features)) * (
        rng.random((n, features)) < 0.5
    )
    rows[rng.random((n, features)) < 0.3] = np.nan
    rows[:, 0] = np.round(rows[:, 0])
    return rows


@pytest.mark.parametrize("classes", [2, 4])
def test_trees_give_catboosts_sums_to_the_last_bit_alone_and_among_others(classes: int) -> None:
    rows = _rows(1, 600, 9)
    target = np.nan_to_num(rows[:, 0]).astype(int) % classes
    loss = "Logloss" if classes == 2 else "MultiClass"
    model = CatBoostClassifier(iterations=40, loss_function=loss, nan_mode="Min", **_OPTIONS)
    model.fit(rows, target)
    trees = Trees.of(model)
    asked = np.vstack([_rows(2, 400, 9), np.full((1, 9), np.nan), np.zeros((1, 9))])
    # Values on the borders themselves, and a float64 above one that float32 is not.
    borders = trees.borders[np.isfinite(trees.borders)][:50].astype(np.float64)
    on_borders = np.repeat(asked[:1], len(borders) * 2, axis=0)
    on_borders[np.arange(len(borders)), trees.columns[: len(borders)]] = borders
    on_borders[len(borders) + np.arange(len(borders)), trees.columns[: len(borders)]] = np.nextafter(borders, np.inf)
    asked = np.vstack([asked, on_borders])

    wanted = model.predict(asked, prediction_type="RawFormulaVal", thread_count=1).reshape(len(asked), -1)
    found = trees.raw(asked)
    np.testing.assert_array_equal(found, wanted)
    for row in range(0, len(asked), 7):
        np.testing.assert_array_equal(trees.raw(asked[row : row + 1])[0], wanted[row])
    if classes > 2:
        named = model.predict(asked, prediction_type="Class").ravel().tolist()
        assert [model.classes_[at] for at in found.argmax(axis=1)] == named


def test_trees_that_would_read_null_as_large_are_refused() -> None:
    rows = _rows(1, 300, 3)
    model = CatBoostClassifier(iterations=5, nan_mode="Max", **_OPTIONS)
    model.fit(rows, np.isnan(rows[:, 0]).astype(int))
    with pytest.raises(ValueError, match="null is above"):
        Trees.of(model)


def test_rows_too_short_are_refused() -> None:
    rows = _rows(1, 300, 3)
    model = CatBoostClassifier(iterations=20, nan_mode="Min", **_OPTIONS)
    model.fit(rows, (np.nan_to_num(rows[:, 2]) > 1).astype(int))
    with pytest.raises(ValueError, match="rows of 2 features"):
        Trees.of(model).raw(rows[:, :2])


def test_what_a_column_adds_is_what_its_absence_takes_away() -> None:
    rows = _rows(5, 500, 6)
    model = CatBoostClassifier(iterations=60, nan_mode="Min", **_OPTIONS)
    model.fit(rows, (np.nan_to_num(rows[:, 1]) + np.nan_to_num(rows[:, 2]) > 2).astype(int))
    trees = Trees.of(model)
    columns = np.array([4, 1, 0, 2])
    values = np.array([1.0, np.nan, 7.0, 2.5])
    for row in _rows(6, 50, 6):
        others = np.repeat(row[None], len(columns), axis=0)
        others[np.arange(len(columns)), columns] = values
        wanted = trees.raw(row[None])[0, 0] - trees.raw(others)[:, 0]
        np.testing.assert_allclose(trees.without(row, columns, values), wanted, atol=1e-12)


def _fitted(features: int = 9) -> tuple[Trees, np.ndarray]:
    rows = _rows(1, 400, features)
    model = CatBoostClassifier(iterations=15, nan_mode="Min", **_OPTIONS)
    model.fit(rows, np.nan_to_num(rows[:, 0]).astype(int) % 2)
    return Trees.of(model), rows


def test_as_json_they_are_the_same_to_the_last_bit() -> None:
    trees, rows = _fitted()
    again = Trees.from_json(json.loads(json.dumps(trees.as_json())), rows.shape[1])
    np.testing.assert_array_equal(again.raw(rows), trees.raw(rows))
    assert again.as_json() == trees.as_json()


@pytest.mark.parametrize(
    "damage",
    [
        {"columns": lambda own: [*own[:-1], 9]},
        {"columns": lambda own: [-1, *own[1:]]},
        {"columns": lambda own: own[:-1]},
        {"borders": lambda own: own[:-1]},
        {"leaves": lambda own: own[:-1]},
        {"leaves": lambda own: [*own[:-1], float("nan")]},
        {"leaf_starts": lambda own: [own[0], own[1] + 1, *own[2:]]},
        {"starts": lambda own: [*own[:-1], own[-1] + 1]},
        {"starts": lambda own: [own[0], own[2], own[1], *own[3:]]},
        {"bias": lambda own: []},
    ],
)
def test_damaged_json_is_refused_since_nobody_checks_indices_later(damage: dict[str, Any]) -> None:
    trees, rows = _fitted()
    found = trees.as_json()
    ((name, change),) = damage.items()
    with pytest.raises(ValueError):
        Trees.from_json({**found, name: change(found[name])}, rows.shape[1])
