"""Text to the encoder's tokens: BERT's uncased WordPiece, of as much text as can matter.

Gives the ids that the `tokenizers` library gives by the encoder's own file.

Source: Devlin et al., BERT, 2018; for the greedy match Wu et al., Google's neural machine translation system, 2016.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence

PAD, UNKNOWN, CLS, SEP = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_LONGEST_WORD = 100
_CHARS_A_TOKEN = 40
"""Characters of text that are looked at for each token: words are shorter, and spaces cost nothing more."""

_CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class WordPiece:
    """A vocabulary; `ids` of a text. words: by id."""

    def __init__(self, words: Sequence[str]) -> None:
        self._ids: Mapping[str, int] = {word: at for at, word in enumerate(words)}
        self._unknown, self._cls, self._sep = (self._ids[word] for word in (UNKNOWN, CLS, SEP))
        self._known: dict[str, tuple[int, ...]] = {}

    def ids(self, text: str, limit: int) -> list[int]:
        """At most `limit` token ids of a text, the marks at its ends among them."""
        found = [self._cls]
        for word in _words(text[: _CHARS_A_TOKEN * limit]):
            found += self._pieces(word)
            if len(found) >= limit:
                break
        return [*found[: limit - 1], self._sep]

    def _pieces(self, word: str) -> tuple[int, ...]:
        found = self._known.get(word)
        if found is None:
            if len(self._known) > 100_000:
                self._known.clear()
            found = self._known[word] = self._split(word)
        return found

    def _split(self, word: str) -> tuple[int, ...]:
        if len(word) > _LONGEST_WORD:
            return (self._unknown,)
        pieces: list[int] = []
        start = 0
        while start < len(word):
            head = "##" if start else ""
            for stop in range(len(word), start, -1):
                piece = self._ids.get(head + word[start:stop])
                if piece is not None:
                    break
            else:
                return (self._unknown,)
            pieces.append(piece)
            start = stop
        return tuple(pieces)


def _words(text: str) -> Iterator[str]:
    """Words and signs, in lower case without accents."""
    spaced = "".join(_cleaned(text))
    lowered = "".join(sign for sign in unicodedata.normalize("NFD", spaced) if unicodedata.category(sign) != "Mn")
    for run in lowered.lower().split():
        start = 0
        for at, sign in enumerate(run):
            if _is_punctuation(sign):
                if start < at:
                    yield run[start:at]
                yield sign
                start = at + 1
        if start < len(run):
            yield run[start:]


def _cleaned(text: str) -> Iterator[str]:
    for sign in text:
        code = ord(sign)
        if sign in "\t\n\r":
            yield " "
        elif code in (0, 0xFFFD) or unicodedata.category(sign).startswith("C"):
            continue
        elif unicodedata.category(sign) == "Zs":
            yield " "
        elif code >= 0x3400 and any(low <= code <= high for low, high in _CJK):
            yield f" {sign} "
        else:
            yield sign


def _is_punctuation(sign: str) -> bool:
    code = ord(sign)
    if code < 128:
        return 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return unicodedata.category(sign).startswith("P")
