"""Hashed byte n-grams and words of a subject and a text, compiled: some hundredths of a millisecond a message."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.compiled import compiled

BITS = 20
BUCKETS = 1 << BITS

SUBJECT_BYTES = 400
TEXT_BYTES = 3000

_GRAM = 4
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_OF_TEXT, _OF_SUBJECT, _OF_SUBJECT_WORD, _OF_SUBJECT_PAIR = (
    np.uint64(value) for value in (0x2545F4914F6CDD1D, 0x5851F42D4C957F2D, 0x14057B7EF767814F, 0x27BB2EE687B0B0FD)
)

_BASE = np.uint64(0x100000001B3)
_PAIR = np.uint64(31)
_LOWER = np.arange(256, dtype=np.uint64)
_LOWER[65:91] += np.uint64(32)
_IN_WORD = np.zeros(256, dtype=np.bool_)
for _first, _last in ((48, 58), (65, 91), (97, 123), (128, 256), (36, 37)):
    _IN_WORD[_first:_last] = True


def subject_bytes(subject: str) -> NDArray[np.uint8]:
    """The bytes of a subject that are read, with a blank at both ends so that its edges show."""
    data = f" {subject[:SUBJECT_BYTES]} ".encode("utf-8", "replace")[:SUBJECT_BYTES]
    return np.frombuffer(data, dtype=np.uint8)


def text_bytes(text: str) -> NDArray[np.uint8]:
    """The bytes of a text that are read: its beginning."""
    return np.frombuffer(text[:TEXT_BYTES].encode("utf-8", "replace")[:TEXT_BYTES], dtype=np.uint8)


def text_buckets(text: str) -> NDArray[np.int32]:
    """Distinct buckets, ascending, of the text's 4-grams."""
    return _distinct(_grams(text_bytes(text), _OF_TEXT))


def subject_buckets(subject: str) -> NDArray[np.int32]:
    """Distinct buckets, ascending, of the subject's 4-grams, words and pairs of words; in a space of their own."""
    return _distinct(_of_subject(subject_bytes(subject), _OF_SUBJECT, _OF_SUBJECT_WORD, _OF_SUBJECT_PAIR))


def gram_buckets(data: NDArray[np.uint8], *, subject: bool) -> NDArray[np.int32]:
    """Buckets of the 4-grams of some bytes, in order, as of a subject or of a text."""
    return np.asarray(_grams(data, _OF_SUBJECT if subject else _OF_TEXT))


def _distinct(buckets: NDArray[np.int32]) -> NDArray[np.int32]:
    """Ascending, each once."""
    # NumPy sorts by the processor's own instructions.
    buckets.sort()
    return buckets[: _once_each(buckets)]


@compiled
def _once_each(ascending: Any) -> Any:
    """Move each distinct value of a sorted array to its front; how many there are."""
    n = 0
    for at in range(len(ascending)):
        if at == 0 or ascending[at] != ascending[at - 1]:
            # What is written lies behind what is compared with, or is the same.
            value = ascending[at]
            ascending[n] = value
            n += 1
    return n


@compiled
def _bucket(value: Any, salt: Any) -> Any:
    mixed = value * _SPREAD + salt
    mixed ^= mixed >> np.uint64(29)
    mixed *= _MIX
    return np.int32(mixed >> np.uint64(64 - BITS))


@compiled
def _put_grams(data: Any, salt: Any, out: Any) -> Any:
    gram = np.uint64(0)
    for at in range(len(data)):
        # Four bytes as one integer, the first the lowest.
        gram = (gram >> np.uint64(8)) | (np.uint64(data[at]) << np.uint64(8 * (_GRAM - 1)))
        if at >= _GRAM - 1:
            out[at - _GRAM + 1] = _bucket(gram, salt)


@compiled
def _grams(data: Any, salt: Any) -> Any:
    out = np.empty(max(0, len(data) - _GRAM + 1), dtype=np.int32)
    _put_grams(data, salt, out)
    return out


@compiled
def _words(data: Any, out: Any) -> Any:
    """Write a hash of each word, case folded for ASCII: a polynomial modulo 2**64; how many there are."""
    n = 0
    inside = False
    power = np.uint64(1)
    for at in range(len(data)):
        byte = data[at]
        if not _IN_WORD[byte]:
            inside = False
            continue
        if not inside:
            inside = True
            power = np.uint64(1)
            out[n] = np.uint64(0)
            n += 1
        out[n - 1] += (_LOWER[byte] + np.uint64(1)) * power
        power *= _BASE
    return n


@compiled
def _of_subject(data: Any, of_gram: Any, of_word: Any, of_pair: Any) -> Any:
    words = np.empty(len(data) // 2 + 1, dtype=np.uint64)
    n = _words(data, words)
    grams = max(0, len(data) - _GRAM + 1)
    out = np.empty(grams + n + max(0, n - 1), dtype=np.int32)
    _put_grams(data, of_gram, out)
    for at in range(n):
        out[grams + at] = _bucket(words[at], of_word)
    for at in range(n - 1):
        out[grams + n + at] = _bucket(words[at] * _PAIR + words[at + 1], of_pair)
    return out
