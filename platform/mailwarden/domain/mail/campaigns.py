"""The signature of a message: which words it is made of, short enough for the event log, for near copies to be found.

A campaign's messages differ in names, links, digits and random words, so that no digest of the whole stays the same.
A signature keeps, for each of 94 permutations of all words, the low byte of the least word of the message: two
messages agree in as many slots as the share of their words that they have in common. Source: A. Broder, "On the
resemblance and containment of documents" (1997); P. Li and A. C. König, "b-Bit Minwise Hashing" (2010).

All of it is chosen by whoever writes the message: time and space are linear in at most 16,384 characters.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mailwarden.compiled import compiled
from mailwarden.domain.mail.fingerprints import MAX_DISPLAY_NAME, compatible
from mailwarden.domain.mail.message import Message

SLOTS = 94
"""Permutations of which a signature keeps the least word."""

SIGNATURE_BYTES = SLOTS + 2
"""The slots, then how many different words there were: 16 bits, little endian."""

MIN_LETTERS = 40
"""A newest text with fewer letters is nobody's campaign: "ok, thanks" is written by everyone."""

_NAME_PART = re.compile(r"[^\W\d_]{3,}")
_MAX_TEXT = 16_384
_MAX_KEYS = 8
_MAX_NAMES = 16
_MAX_WORDS = 0xFFFF
_TABLE = 0x10000
_OTHER, _LETTER, _SPACE, _PASSED = range(4)
_AT, _COLON, _SLASH, _DOT, _W = (ord(char) for char in "@:/.w")

_UNSEEN = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8),
)  # fmt: skip
"""Characters that nobody sees (Default_Ignorable_Code_Point). Source: Unicode Standard Annex 44."""

IntArray = NDArray[np.uint32]


def _constants(seed: int) -> IntArray:
    """As many odd numbers as there are slots, the same everywhere. Source: SplitMix64 (G. Steele et al., 2014)."""
    found, state = [], seed
    for _ in range(SLOTS):
        state = (state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        found.append((mixed ^ mixed >> 31) >> 32 | 1)
    return np.array(found, dtype=np.uint32)


_SEEDS, _FACTORS = _constants(1), _constants(2)
_NO_WORDS: IntArray = np.empty(0, dtype=np.uint32)


def signature_of(message: Message) -> str:
    """What a campaign's messages have in common, as 128 characters of base64; "" where it would be nobody's.

    Of the newest text the words of two letters and more; links, addresses, digits and the recipients' own names are
    left out, and characters that nobody sees, which is what a sender fills in for each recipient. Scripts that are
    written without spaces count by threes of letters. Beside them stand the domains of links and the attachments,
    eight of each. A text of fewer than 40 letters has a signature only where something is attached, and of that alone.
    """
    own = _own_names(message)
    words, letters = hashed_words(message.new_text, own)
    files = list(dict.fromkeys(part.sha256 for part in message.attachments))[:_MAX_KEYS]
    if letters < MIN_LETTERS:
        if not files:
            return ""
        words = words[:0]
    keys = [f"link {domain}" for domain in dict.fromkeys(url.domain for url in message.urls) if domain][:_MAX_KEYS]
    # A file weighs more than a link or a word.
    keys += [f"{part} {digest}" for digest in files for part in ("file", "part")]
    return signature_of_words(words, keys)


def hashed_words(text: str, own: IntArray = _NO_WORDS) -> tuple[IntArray, int]:
    """The words of a text that a signature is made of, 32 bits each, and the letters of all words.

    own: hashed words that are left out, ascending.
    """
    return _hashed_words(_codes_of(text), _classes(), own)


def signature_of_words(words: IntArray, keys: Sequence[str] = ()) -> str:
    """The signature of hashed words, in any order and number, and of keys beside them; "" of nothing."""
    if keys:
        digests = [hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=4).digest() for key in keys]
        words = np.append(words, np.frombuffer(b"".join(digests), dtype="<u4").astype(np.uint32))
    distinct = _ascending(words)
    if not len(distinct):
        return ""
    slots = _least_words(distinct, _SEEDS, _FACTORS)
    return base64.b64encode(slots.tobytes() + min(len(distinct), _MAX_WORDS).to_bytes(2, "little")).decode("ascii")


def name_of(signature: str) -> str:
    """16 hex digits that name the campaign which a message of that signature founds."""
    return hashlib.blake2b(signature.encode("ascii"), digest_size=8).hexdigest()


def _codes_of(text: str) -> IntArray:
    text = text[:_MAX_TEXT]
    if not text.isascii():
        text = compatible(text)[:_MAX_TEXT]
    return np.frombuffer(f"{text.lower()} ".encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32)


def _own_names(message: Message) -> IntArray:
    """Words of three letters and more of the recipients' addresses and names, hashed, ascending."""
    texts = [address.partition("@")[0][:MAX_DISPLAY_NAME] for address in message.recipients[:_MAX_NAMES]]
    texts += [mailbox.display_name[:MAX_DISPLAY_NAME] for mailbox in message.to[:_MAX_NAMES]]
    names = [word for text in texts for word in _NAME_PART.findall(text)]
    if not names:
        return _NO_WORDS
    return _ascending(hashed_words(" ".join(names))[0])


def _ascending(words: IntArray) -> IntArray:
    """What `np.unique` gives, in a third of its time for arrays as short as these."""
    words = np.sort(words)
    return words[np.concatenate(([True], words[1:] != words[:-1]))] if len(words) else words


@cache
def _classes() -> NDArray[np.uint8]:
    """By code point below 2**16: a letter, a space, passed over (unseen, or a mark on a letter), or else."""
    found = np.full(_TABLE, _OTHER, dtype=np.uint8)
    for code in range(_TABLE):
        char = chr(code)
        if char.isalpha():
            found[code] = _LETTER
        elif char.isspace():
            found[code] = _SPACE
        elif unicodedata.category(char)[0] == "M":
            found[code] = _PASSED
    for first, last in _UNSEEN:
        found[first : last + 1] = _PASSED
    return found


@compiled
def _class_of(code: int, classes: NDArray[np.uint8]) -> int:
    if code < _TABLE:
        return int(classes[code])
    if 0x20000 <= code < 0x40000:
        return _LETTER
    return _PASSED if 0xE0000 <= code < 0xE1000 else _OTHER


@compiled
def _is_unspaced(code: int) -> bool:
    """Whether a letter is of a script without spaces: Thai to Lao, Burmese, Khmer, Chinese, Japanese."""
    return (
        0x0E00 <= code < 0x0F00
        or 0x1000 <= code < 0x10A0
        or 0x1780 <= code < 0x1800
        or 0x2E80 <= code < 0xA000
        or 0xF900 <= code < 0xFB00
        or code >= 0x20000
    )


@compiled
def _hashed_words(codes: IntArray, classes: NDArray[np.uint8], own: IntArray) -> tuple[IntArray, int]:
    """32 bits of each word, and how many letters there were in all, single ones too; `own` words are left out.

    codes: of a text in lower case that ends with a space. Pieces between spaces that hold `@`, `://` or `www.` are no
    words.
    """
    found = np.empty(len(codes), dtype=np.uint32)
    word = np.empty(len(codes), dtype=np.uint32)
    n, letters, start = 0, 0, 0
    for at in range(len(codes)):
        if _class_of(codes[at], classes) != _SPACE:
            continue
        plain = True
        for place in range(start, at):
            code = codes[place]
            if code == _AT:
                plain = False
            elif code == _COLON and place + 2 < at:
                plain = plain and not (codes[place + 1] == _SLASH and codes[place + 2] == _SLASH)
            elif code == _DOT and place - 3 >= start:
                plain = plain and not (codes[place - 1] == _W and codes[place - 2] == _W and codes[place - 3] == _W)
        length = 0
        for place in range(start, at + 1 if plain else start):
            kind = _class_of(codes[place], classes)
            if kind == _LETTER:
                word[length] = codes[place]
                length += 1
                continue
            if kind == _PASSED or length == 0:
                continue
            unspaced = _is_unspaced(word[0])
            size = min(3, length) if unspaced else length
            first = n
            for begin in range(length - size + 1):
                value = np.uint64(0xCBF29CE484222325)
                for index in range(begin, begin + size):
                    value = (value ^ np.uint64(word[index])) * np.uint64(0x9E3779B97F4A7C15)
                    value ^= value >> np.uint64(29)
                found[n] = np.uint32(value >> np.uint64(32))
                n += 1
            if n == first + 1:
                held = np.searchsorted(own, found[first])
                if held < len(own) and own[held] == found[first]:
                    n, length = first, 0
            letters += length
            # A single letter is what an apostrophe or spaced-out text leaves.
            if length == 1 and not unspaced:
                n = first
            length = 0
        start = at + 1
    return found[:n], letters


@compiled
def _least_words(words: IntArray, seeds: IntArray, factors: IntArray) -> NDArray[np.uint8]:
    """The low byte of the least of all words under each permutation: (SLOTS,) uint8."""
    least = np.full(len(seeds), 0xFFFFFFFF, dtype=np.uint32)
    for word in words:
        for slot in range(len(seeds)):
            value = np.uint32((word ^ seeds[slot]) * factors[slot])
            value = np.uint32((value ^ (value >> np.uint32(15))) * np.uint32(0x2C1B3C6D))
            value = np.uint32(value ^ (value >> np.uint32(12)))
            least[slot] = min(least[slot], value)
    return (least & np.uint32(0xFF)).astype(np.uint8)
