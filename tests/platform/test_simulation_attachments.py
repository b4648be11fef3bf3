from __future__ import annotations

import hashlib
import io
import random
import zipfile

import pytest

from mailwarden.simulation.attachments import document, iban, locked_archive, pdf, square_code, wallet
from mailwarden.simulation.grammar import expand, mistype

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def test_documents_are_readable_archives() -> None:
    with zipfile.ZipFile(io.BytesIO(document("a.docm", "text", macro=True).content)) as archive:
        assert archive.testzip() is None
        assert "word/vbaProject.bin" in archive.namelist()


def test_locked_archives_ask_for_a_password() -> None:
    content = io.BytesIO(locked_archive(random.Random(1), "a.zip", "a.js").content)
    with zipfile.ZipFile(content) as archive, pytest.raises(RuntimeError, match="password"):
        archive.read("a.js")


def test_pdf_offsets_point_at_their_objects() -> None:
    content = pdf("a.pdf", ["one", "two (2)"]).content
    start = int(content.rsplit(b"startxref\n", 1)[1].split(b"\n")[0])
    assert content[start : start + 4] == b"xref"
    for number, line in enumerate(content[start:].split(b"\n")[3:8], 1):
        assert content[int(line[:10]) :].startswith(b"%d 0 obj" % number)


def test_pictures_have_the_marks_of_png() -> None:
    content = square_code(random.Random(1)).content
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82")


def test_account_numbers_and_wallets_have_valid_checks() -> None:
    rng = random.Random(5)
    for _ in range(50):
        number = iban(rng)
        assert len(number) == 22 and int(number[4:] + "1314" + number[2:4]) % 97 == 1
        value = 0
        for letter in wallet(rng):
            value = value * 58 + ALPHABET.index(letter)
        raw = value.to_bytes(25, "big")
        assert hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()[:4] == raw[21:]


def test_grammar_fills_to_any_depth_and_refuses_unknown_symbols() -> None:
    rng = random.Random(1)
    assert expand(rng, "{a}!", {"a": ("{b} {c}",), "b": ("x",)}, {"c": "{y}"}) == "x {y}!"
    with pytest.raises(KeyError, match="nobody"):
        expand(rng, "{nobody}", {}, {})


def test_typing_errors_keep_the_words_apart() -> None:
    text = "please confirm the delivery of seventeen measuring instruments"
    wrong = mistype(random.Random(2), text, 0.5)
    assert wrong != text and len(wrong.split()) == len(text.split())
