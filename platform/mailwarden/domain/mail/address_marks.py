"""Marks that only look like @ or a dot, and addresses that are written with them or hidden in a name."""

from __future__ import annotations

import re
from functools import lru_cache

from mailwarden.domain.mail.addresses import normalise_host, registrable_domain

MAX_NAME = 1_000
"""Characters of a text in which addresses are looked for."""
MAX_ADDRESSES = 20

_AT = "\uff20\ufe6b\u24d0\u24b6\U0001f150\U0001f170\u1d43"
_DOT = "\uff0e\u3002\uff61\ufe52\u2024\u00b7\u0387\u2027\u30fb\uff65\u0701\u0702\ua4f8\u0660\u06f0\u2219\u22c5"
# Nobody sees these, and they would part an address in two.
_UNSEEN = "\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff" + "".join(
    map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xFE00, 0xFE10)))
)
_FOLD = {
    **{ord(char): "@" for char in _AT},
    **{ord(char): "." for char in _DOT},
    **{ord(char): None for char in _UNSEEN},
}
_WIDE = {code: chr(code - 0xFEE0) for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))}
_WORD = r"[^\s<>()\[\],;:\"'@]"
_ADDRESS = re.compile(rf"({_WORD}{{1,64}}+)\s?@\s?([\w-]{{1,63}}+(?:\.[\w-]{{1,63}}+){{1,8}}+)")
_SPELT_AT = re.compile(r"\s?[\[({]\s?(?:at|@)\s?[\])}]\s?", re.IGNORECASE)
_SPELT_DOT = re.compile(r"\s?[\[({]\s?(?:dot|\.)\s?[\])}]\s?", re.IGNORECASE)


def fold_marks(text: str) -> str:
    """The text with what looks like @ or a dot as these, wide letters narrow, and without characters nobody sees.

    >>> fold_marks("ann\uff20partner\uff0eexample")
    'ann@partner.example'
    """
    return text if text.isascii() else text.translate(_FOLD).translate(_WIDE)


def addresses_in(text: str) -> tuple[str, ...]:
    """The hosts of the addresses that a reader may see in a text, also where marks only look right; normalised.

    >>> addresses_in("ann\uff20partner\u3002example via post")
    ('partner.example',)
    """
    folded = _folded(text[:MAX_NAME])
    if "@" not in folded:
        return ()
    found = (normalise_host(one[2]) for one in _ADDRESS.finditer(folded))
    return tuple(dict.fromkeys(host for host in (next(found, "") for _ in range(MAX_ADDRESSES)) if host))


def has_lookalike_mark(text: str) -> bool:
    """Whether a text holds an address that is one only for the eye: its @ or a dot is another character, or is spelt.

    An @ or dot of another kind that makes no address, as in Japanese names and sentences, is none.
    """
    text = text[:MAX_NAME]
    if text.isascii() and not ("[" in text or "(" in text or "{" in text):
        return False
    folded = _folded(text)
    if "@" not in folded:
        return False
    plain = {one[2] for one in _ADDRESS.finditer(text)}
    return any(one[2] not in plain and _is_host(one[2]) for one in _ADDRESS.finditer(folded))


def _folded(text: str) -> str:
    text = fold_marks(text)
    if "[" in text or "(" in text or "{" in text:
        text = _SPELT_DOT.sub(".", _SPELT_AT.sub("@", text))
    return text


@lru_cache(maxsize=4_096)
def _is_host(name: str) -> bool:
    return bool(registrable_domain(name)) and not name.rpartition(".")[2].isdecimal()
