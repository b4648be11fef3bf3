"""deep_text: absent in words where it cannot be, and where its encoder is made, a detector like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mailwarden.domain.detection import assets
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.errors import DataError, NotFound
from mailwarden.settings import Settings
from mailwarden.testing.check_detector import CHECKS, Conformance
from mailwarden_detectors import absent, discover
from mailwarden_detectors.deep_text import encoder as encoding
from mailwarden_detectors.deep_text.build import encoder as built
from mailwarden_detectors.deep_text.build import quantised, tensors_of
from mailwarden_detectors.deep_text.detector import DeepText
from mailwarden_detectors.deep_text.encoder import ENCODER_SHA256, MEND, lacking, the_encoder
from mailwarden_detectors.deep_text.head import Head, fit_head
from mailwarden_detectors.deep_text.wordpiece import WordPiece
from mailwarden_features import discover as discover_features

assets.look_in(Settings().models_path)
LACKING = lacking()
with_encoder = pytest.mark.skipif(bool(LACKING), reason=LACKING)


@pytest.fixture(scope="module")
def conformance() -> Conformance:
    return Conformance(DeepText, discover_features().feature_names())


@with_encoder
@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_its_contract(conformance: Conformance, check: str) -> None:
    assert [str(finding) for finding in conformance.findings(check)] == []


@with_encoder
def test_a_text_has_its_own_embedding_whatever_its_length_and_what_came_before() -> None:
    texts = ["", "hello", "wire the money " * 40, "日本語のメール", "hello"]
    first = encoding.Encoder(assets.asset(ENCODER_SHA256))
    second = encoding.Encoder(assets.asset(ENCODER_SHA256))
    here = [first.embedding(text) for text in texts]
    there = [second.embedding(text) for text in reversed(texts)][::-1]
    assert all((a == b).all() for a, b in zip(here, there, strict=True))
    assert all(abs(float((one.astype(np.float64) ** 2).sum()) - 1.0) < 1e-6 for one in here)
    near = float(
        the_encoder().embedding("send me the gift card codes") @ the_encoder().embedding("buy vouchers for me")
    )
    far = float(the_encoder().embedding("send me the gift card codes") @ the_encoder().embedding("tests of the parser"))
    assert near > far + 0.1


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(assets, "_folders", [tmp_path])
    monkeypatch.setattr(assets, "_held", {})
    the_encoder.cache_clear()
    yield
    the_encoder.cache_clear()


def test_where_its_encoder_is_not_made_it_is_absent_and_says_the_command(nowhere: None) -> None:
    assert "deep_text" not in discover() and "deep_text" in discover(every=True)
    assert absent()["deep_text"].endswith(MEND) and "mailwarden encoder build" in MEND
    head = Head(np.zeros(384), 0.0, ENCODER_SHA256)
    with pytest.raises(NotFound, match="SHA-256"):
        DeepText.from_bytes(head.to_bytes())


def test_bytes_of_another_encoder_or_of_something_else_are_refused() -> None:
    with pytest.raises(DataError, match="another encoder"):
        DeepText.from_bytes(Head(np.zeros(384), 0.0, "0" * 64).to_bytes())
    whole = Head(np.arange(3.0), 0.5, "e").to_bytes()
    for data in (b"", b"{}\n", whole[:-1], whole.replace(b"1", b"7", 1)):
        with pytest.raises(DataError):
            Head.from_bytes(data)
    again = Head.from_bytes(whole)
    assert again.weights.tolist() == [0.0, 1.0, 2.0] and (again.intercept, again.encoder) == (0.5, "e")


def test_the_head_learns_what_tells_classes_apart_and_weights_count() -> None:
    draw = np.random.default_rng(2)
    bad = draw.random(400) < 0.5
    rows = draw.normal(size=(400, 5)) + 2.0 * bad[:, None] * np.array([1.0, 0, 0, 0, 0])
    head = fit_head(rows, bad, np.ones(400), ridge=1.0, encoder="e")
    said = np.array([head.score(row.astype(np.float32)) for row in rows])
    assert said[bad].mean() > 1.0 > -1.0 > said[~bad].mean()
    heavy = fit_head(rows, bad, np.where(bad, 10.0, 1.0), ridge=1.0, encoder="e")
    assert heavy.intercept > head.intercept + 1.0


VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "pay",
    "##ment",
    "##s",
    "now",
    "!",
    "日",
    "本",
    "cafe",
    "don",
    "'",
    "t",
]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Payments NOW!", ["pay", "##ment", "##s", "now", "!"]),
        ("Café don't", ["cafe", "don", "'", "t"]),
        ("日本\tpay\u200b\x00\r\nnow", ["日", "本", "pay", "now"]),
        ("payx " + "a" * 101, ["[UNK]", "[UNK]"]),
        ("", []),
    ],
)
def test_text_becomes_the_pieces_that_the_vocabulary_has(text: str, pieces: list[str]) -> None:
    words = WordPiece(VOCABULARY)
    assert [VOCABULARY[at] for at in words.ids(text, 64)] == ["[CLS]", *pieces, "[SEP]"]


def test_a_text_is_cut_to_the_limit_with_its_end_marked_and_what_is_behind_costs_nothing() -> None:
    ids = WordPiece(VOCABULARY).ids("pay now " * 1_000_000, 16)
    assert (len(ids), ids[0], ids[-1]) == (16, 2, 3)


def test_weights_are_taken_by_their_hash_alone_and_quantised_within_bounds() -> None:
    with pytest.raises(DataError, match="weights"):
        built(b"something else", b"")
    values = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    codes, scale = quantised(values, 63, 0)
    assert codes.dtype == np.int8 and int(np.abs(codes).max()) == 63 and scale.shape == (5,)
    assert np.abs(codes * scale - values).max() <= scale.max() / 2 + 1e-6
    head = json.dumps({"a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}}).encode()
    file = len(head).to_bytes(8, "little") + head + np.array([1.5, -2.0], dtype="<f4").tobytes()
    assert tensors_of(file)["a"].tolist() == [[1.5, -2.0]]
    with pytest.raises(DataError, match="safetensors"):
        tensors_of(file[:-2])


def test_it_abstains_from_what_has_no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = DeepText()
    detector._head = Head(np.ones(384), 0.0, ENCODER_SHA256)

    class Constant:
        def embedding(self, text: str) -> np.ndarray:
            return np.full(384, 0.01 * len(text), dtype=np.float32)

    monkeypatch.setattr("mailwarden_detectors.deep_text.detector.the_encoder", Constant)
    texts = {"content_text:subject": ["a", "", None], "content_text:new_text": ["b", "  ", None]}
    said = detector.score(FeatureTable({name: np.array(own, dtype=object) for name, own in texts.items()}, 3))
    assert said.abstains is not None and said.abstains.tolist() == [False, True, True]
    assert said.raw[0] == pytest.approx(3 * 3.84)
