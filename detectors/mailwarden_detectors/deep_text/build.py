"""Makes the encoder: the weights of all-MiniLM-L6-v2 as an int8 ONNX file, the same bytes wherever it is made.

1. The weights are read as numbers, by the SHA-256 that is known of them; no code that comes with them runs.
2. Linear maps have 7-bit weights with a scale a column, so that sums of products fit what processors of any kind add
   exactly; embeddings have 8 bits with a scale a word. What goes in is quantised by each message's own range.
3. Layers are ONNX Runtime's own operators. The mean over tokens comes out. The vocabulary lies in the file's metadata.

Source: Reimers and Gurevych, Sentence-BERT, 2019; Wang et al., MiniLM, 2020. The weights are under Apache-2.0.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.errors import DataError

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors of all-MiniLM-L6-v2."""

VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
"""Of its vocab.txt."""

LAYERS, HEADS, EPSILON = 6, 12, 1e-12
_WEIGHT_MOST, _WORD_MOST = 63, 127
_CONTRIB = "com.microsoft"


def encoder(weights: bytes, vocabulary: bytes) -> bytes:
    """The ONNX file; raises DataError where the weights or the vocabulary are others.

    Needs the `onnx` package.
    """
    for what, content, wanted in (
        ("weights", weights, WEIGHTS_SHA256), ("vocabulary", vocabulary, VOCABULARY_SHA256),
    ):  # fmt: skip
        if sha256(content).hexdigest() != wanted:
            raise DataError(f"These are not the {what} of all-MiniLM-L6-v2: their SHA-256 is not {wanted}.")
    return _Graph(tensors_of(weights)).model(vocabulary.decode("utf-8"))


def tensors_of(content: bytes) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a safetensors file, by name; raises DataError where it is none."""
    try:
        size = int.from_bytes(content[:8], "little")
        header: dict[str, Any] = json.loads(content[8 : 8 + size])
        found = {}
        for name, entry in header.items():
            if name != "__metadata__" and entry["dtype"] == "F32":
                start, stop = entry["data_offsets"]
                body = np.frombuffer(content[8 + size + start : 8 + size + stop], dtype="<f4")
                found[name] = body.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"This is no safetensors file, or a damaged one ({error}).") from error
    return found


def quantised(weights: NDArray[np.float32], most: int, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers within -most..most, and the scale of each row or column that gives the weights back.

    axis: along which one scale holds.
    """
    scale = np.maximum(np.abs(weights).max(axis=axis, keepdims=True), np.float32(1e-12)) / np.float32(most)
    return np.rint(weights / scale).astype(np.int8), scale.astype(np.float32).squeeze(axis)


class _Graph:
    """An ONNX graph in the making."""

    def __init__(self, tensors: dict[str, NDArray[np.float32]]) -> None:
        self._tensors = tensors
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def model(self, vocabulary: str) -> bytes:
        """The file's bytes."""
        from onnx import TensorProto, helper

        hidden = self._embedded()
        for number in range(LAYERS):
            hidden = self._layer(hidden, f"encoder.layer.{number}.")
        axes = self._constant("axes", np.array([1], dtype=np.int64))
        self._node("ReduceMean", [hidden, axes], "embedding", keepdims=0)
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "tokens"])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 384])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_CONTRIB, 1)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="mailwarden")
        helper.set_model_props(made, {"vocabulary": vocabulary})
        return bytes(made.SerializeToString(deterministic=True))

    def _embedded(self) -> str:
        words, scale = quantised(self._tensors["embeddings.word_embeddings.weight"], _WORD_MOST, 1)
        table, scales = self._constant("words", words), self._constant("word_scales", scale[:, None])
        whole = self._node("Cast", [self._node("Gather", [table, "ids"], "word_codes")], "word_numbers", to=1)
        word = self._node("Mul", [whole, self._node("Gather", [scales, "ids"], "scales")], "word")
        # All text is of the first type.
        places = (
            self._tensors["embeddings.position_embeddings.weight"]
            + self._tensors["embeddings.token_type_embeddings.weight"][0]
        )
        shape = self._node("Shape", ["ids"], "length", start=1, end=2)
        zero, first = self._constant("zero", np.array([0])), self._constant("first_axis", np.array([0]))
        place = self._node("Slice", [self._constant("places", places), zero, shape, first], "place")
        whole = self._node("Add", [word, place], "sum")
        return self._normal(whole, "embeddings.LayerNorm")

    def _layer(self, hidden: str, name: str) -> str:
        parts = [f"{name}attention.self.{part}" for part in ("query", "key", "value")]
        query, key, value = (self._linear(hidden, part) for part in parts)
        seen = self._node(
            "MultiHeadAttention", [query, key, value], f"{name}seen", domain=_CONTRIB, num_heads=HEADS
        )  # fmt: skip
        added = self._node("Add", [self._linear(seen, f"{name}attention.output.dense"), hidden], f"{name}attended")
        attended = self._normal(added, f"{name}attention.output.LayerNorm")
        wide = self._node("Gelu", [self._linear(attended, f"{name}intermediate.dense")], f"{name}wide", domain=_CONTRIB)
        added = self._node("Add", [self._linear(wide, f"{name}output.dense"), attended], f"{name}out")
        return self._normal(added, f"{name}output.LayerNorm")

    def _linear(self, hidden: str, name: str) -> str:
        codes, scale = quantised(np.ascontiguousarray(self._tensors[f"{name}.weight"].T), _WEIGHT_MOST, 0)
        inputs = [
            hidden,
            self._constant(f"{name}.codes", codes),
            self._constant(f"{name}.scale", scale),
            "",
            self._constant(f"{name}.bias", self._tensors[f"{name}.bias"]),
        ]
        return self._node("DynamicQuantizeMatMul", inputs, f"{name}.mapped", domain=_CONTRIB)

    def _normal(self, hidden: str, name: str) -> str:
        inputs = [
            hidden,
            *(self._constant(f"{name}.{part}", self._tensors[f"{name}.{part}"]) for part in ("weight", "bias")),
        ]
        return self._node("LayerNormalization", inputs, f"{name}.normal", axis=-1, epsilon=EPSILON)

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output
