"""Words that look the same and are written with other characters, or with something between their letters."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from mailwarden.simulation.evasions.evasion import Evasion, Evasions, shown
from mailwarden.simulation.evasions.pieces import Pieces

FOUND = Evasions()
"""By name, the kind first."""

_WORD = re.compile(r"(?<![\w&#/.:=@-])[A-Za-z]{4,}(?![\w;/.:=@-])")
_TEXT = re.compile(r"(<[^>]*>)")


def _in_text(shown: str, change: Callable[[str], str]) -> str:
    """Words of the text changed, and neither tags nor entities nor addresses."""
    pieces = _TEXT.split(shown)
    return "".join(
        piece if piece.startswith("<") or "://" in piece else _WORD.sub(lambda m: change(m[0]), piece)
        for piece in pieces
    )


_LOOKALIKES = str.maketrans("aeopcxyiABEHKMOPTX", "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0410\u0412\u0415"
                            "\u041d\u041a\u041c\u041e\u0420\u0422\u0425")  # fmt: skip


def _between(mark: str) -> Evasion:
    def evade(pieces: Pieces, seed: int) -> bytes:
        return shown(pieces, _in_text(pieces.html, lambda word: mark.join(word)))

    return evade


def _once(mark: str) -> Evasion:
    def evade(pieces: Pieces, seed: int) -> bytes:
        rng = Random(seed)

        def split(word: str) -> str:
            at = rng.randrange(1, len(word))
            return word[:at] + mark + word[at:]

        return shown(pieces, _in_text(pieces.html, split))

    return evade


FOUND["invisible: zero-width spaces"] = _between("\u200b")
FOUND["invisible: soft hyphens"] = _once("&shy;")
FOUND["invisible: word joiners"] = _once("\u2060")
FOUND["invisible: zero-width non-joiners"] = _once("&zwnj;")
FOUND["invisible: tag characters"] = _once("\U000e0061")
FOUND["split: by empty tags"] = _once("<b></b>")
FOUND["split: by comments"] = _once("<!-- x -->")
FOUND["split: by hidden letters"] = _once('<span style="font-size:0">q</span>')


@FOUND.named("lookalike: Cyrillic letters")
def _cyrillic(pieces: Pieces, seed: int) -> bytes:
    return shown(pieces, _in_text(pieces.html, lambda word: word.translate(_LOOKALIKES)))


@FOUND.named("lookalike: fullwidth letters")
def _fullwidth(pieces: Pieces, seed: int) -> bytes:
    return shown(
        pieces, _in_text(pieces.html, lambda word: "".join(chr(ord(c) + 0xFEE0) if c < "\x7f" else c for c in word))
    )


@FOUND.named("lookalike: mathematical letters")
def _mathematical(pieces: Pieces, seed: int) -> bytes:
    def bold(word: str) -> str:
        return "".join(chr(0x1D41A + ord(c) - 97) if "a" <= c <= "z" else c for c in word)

    return shown(pieces, _in_text(pieces.html, bold))
