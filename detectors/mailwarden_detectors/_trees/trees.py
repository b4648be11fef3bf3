"""CatBoost's symmetric trees evaluated over arrays: the same sums to the last bit, without what a call of it costs.

CatBoost builds a pool of its own for each prediction, which takes fifty times as long as the trees of one row.

1. Every tree asks the same question on each of its levels. `Trees.of` takes the questions (column, border), the values
   of the leaves, scale and bias out of the model's own JSON.
2. A row's answers are the bits of its leaf's number, the first level's the lowest: 1 where the value, as float32, is
   above the border. Nothing is above a border where the value is null, which is what nan_mode "Min" means.
3. The leaves are added up tree by tree in float64, as CatBoost adds them, then scaled and shifted.

Source: Prokhorenkova et al., CatBoost: unbiased boosting with categorical features, 2018, section 4.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from catboost import CatBoostClassifier
from numpy.typing import NDArray

from mailwarden.compiled import compiled

_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Trees:
    """A fitted model's trees.

    columns, borders: (splits,) of all trees on end; starts: (trees + 1,) where each tree's begin. leaves: values of all
    leaves on end, `len(bias)` each; leaf_starts: (trees,) where each tree's begin.
    """

    columns: NDArray[np.int64]
    borders: NDArray[np.float32]
    starts: NDArray[np.int64]
    leaves: NDArray[np.float64]
    leaf_starts: NDArray[np.int64]
    scale: float
    bias: NDArray[np.float64]
    least_width: int = field(init=False)
    """Features that a row must have."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "least_width", int(self.columns.max(initial=-1)) + 1)

    @classmethod
    def of(cls, model: CatBoostClassifier) -> Self:
        """The trees of a model over numeric features alone; raises ValueError where they are of another kind."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            model.save_model(str(path), format="json")
            read = json.loads(path.read_bytes())
        features = read["features_info"]["float_features"]
        if any(feature["nan_value_treatment"] == "AsTrue" for feature in features):
            raise ValueError("trees for which null is above every border")
        columns: list[int] = []
        borders: list[float] = []
        leaves: list[float] = []
        starts, leaf_starts = [0], []
        for tree in read["oblivious_trees"]:
            # A tree that asks nothing has one leaf.
            for split in tree["splits"] or ():
                if split["split_type"] != "FloatFeature":
                    raise ValueError(f"trees with splits of type {split['split_type']}")
                columns.append(features[split["float_feature_index"]]["flat_feature_index"])
                borders.append(split["border"])
            starts.append(len(columns))
            leaf_starts.append(len(leaves))
            leaves += tree["leaf_values"]
        scale, bias = read["scale_and_bias"]
        return cls(
            np.array(columns, dtype=np.int64),
            np.array(borders, dtype=np.float32),
            np.array(starts, dtype=np.int64),
            np.array(leaves, dtype=np.float64),
            np.array(leaf_starts, dtype=np.int64),
            float(scale),
            np.array(bias, dtype=np.float64),
        )

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, exact: without CatBoost they give the same trees."""
        return {
            "columns": self.columns.tolist(),
            "borders": self.borders.tolist(),
            "starts": self.starts.tolist(),
            "leaves": self.leaves.tolist(),
            "leaf_starts": self.leaf_starts.tolist(),
            "scale": self.scale,
            "bias": self.bias.tolist(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any], width: int) -> Self:
        """Read what `as_json` gave, over rows of `width` features; raises ValueError, KeyError or TypeError where it is
        something else, since nobody checks indices later."""
        trees = cls(
            np.array(found["columns"], dtype=np.int64),
            np.array(found["borders"], dtype=np.float32),
            np.array(found["starts"], dtype=np.int64),
            np.array(found["leaves"], dtype=np.float64),
            np.array(found["leaf_starts"], dtype=np.int64),
            float(found["scale"]),
            np.array(found["bias"], dtype=np.float64),
        )
        splits = np.diff(trees.starts)
        ends = np.append(trees.leaf_starts[1:], len(trees.leaves))
        if (
            trees.starts[0] != 0
            or trees.starts[-1] != len(trees.columns)
            or len(trees.borders) != len(trees.columns)
            or (splits < 0).any()
            or (splits > _DEEPEST).any()
            or len(splits) != len(trees.leaf_starts)
            or not len(trees.bias)
            or (ends - trees.leaf_starts != len(trees.bias) << splits).any()
            or (len(splits) > 0 and trees.leaf_starts[0] != 0)
            or not np.isfinite([*trees.leaves, *trees.bias, trees.scale]).all()
            or ((trees.columns < 0) | (trees.columns >= width)).any()
        ):
            raise ValueError("trees that do not fit together")
        return trees

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, outputs) raw values of (n, features) rows, NaN for null; each row alone as among others."""
        if matrix.shape[1] < self.least_width:
            raise ValueError(f"rows of {matrix.shape[1]} features, where the trees ask for more")
        out: NDArray[np.float64] = _sums(
            matrix, self.columns, self.borders, self.starts, self.leaves, self.leaf_starts, self.scale, self.bias
        )
        return out

    def without(
        self, row: NDArray[np.float64], columns: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(k,) how much the row's first output falls where a column has another value, for each of k columns alone.

        Only trees that ask about the column are added up again. row: (features,).
        """
        out: NDArray[np.float64] = _shares(
            row, columns, values, self.columns, self.borders, self.starts, self.leaves, self.leaf_starts, self.scale,
            len(self.bias),
        )  # fmt: skip
        return out


@compiled
def _sums(
    matrix: Any, columns: Any, borders: Any, starts: Any, leaves: Any, leaf_starts: Any, scale: Any, bias: Any
) -> Any:
    outputs = len(bias)
    out = np.zeros((matrix.shape[0], outputs))
    for row in range(matrix.shape[0]):
        for tree in range(len(leaf_starts)):
            leaf = 0
            start = starts[tree]
            for split in range(start, starts[tree + 1]):
                if np.float32(matrix[row, columns[split]]) > borders[split]:
                    leaf |= 1 << (split - start)
            at = leaf_starts[tree] + leaf * outputs
            for output in range(outputs):
                out[row, output] += leaves[at + output]
        for output in range(outputs):
            out[row, output] = scale * out[row, output] + bias[output]
    return out


@compiled
def _shares(
    row: Any, asked: Any, values: Any, columns: Any, borders: Any, starts: Any, leaves: Any, leaf_starts: Any,
    scale: Any, outputs: Any,
) -> Any:  # fmt: skip
    out = np.zeros(len(asked))
    place = np.full(len(row), -1, np.int64)
    for at in range(len(asked)):
        place[asked[at]] = at
    seen = np.full(len(asked), -1, np.int64)
    for tree in range(len(leaf_starts)):
        start, stop = starts[tree], starts[tree + 1]
        leaf = 0
        for split in range(start, stop):
            if np.float32(row[columns[split]]) > borders[split]:
                leaf |= 1 << (split - start)
        for split in range(start, stop):
            at = place[columns[split]]
            if at < 0 or seen[at] == tree:
                continue
            seen[at] = tree
            other = leaf
            for again in range(start, stop):
                if columns[again] == columns[split]:
                    bit = 1 << (again - start)
                    if np.float32(values[at]) > borders[again]:
                        other |= bit
                    else:
                        other &= ~bit
            out[at] += leaves[leaf_starts[tree] + leaf * outputs] - leaves[leaf_starts[tree] + other * outputs]
    for at in range(len(out)):
        out[at] *= scale
    return out
