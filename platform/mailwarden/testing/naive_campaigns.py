"""Campaigns counted again from the rule in words: each message against all before it, in exact fractions."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from fractions import Fraction

SLOTS = 94


def naive_campaigns(messages: Iterable[tuple[int, str]], *, capacity: int = 65_536, bucket: int = 16) -> list[str]:
    """The campaign of each of a tenant's messages, given seq and signature in order of seq; "" for no signature.

    Time is quadratic. capacity, bucket: how many clusters, the newest, are known at all and in a band.
    """
    founders: dict[str, bytes] = {}
    newest: dict[str, int] = {}
    given: list[str] = []
    for seq, text in messages:
        if not text:
            given.append("")
            continue
        signature = base64.b64decode(text)
        known = sorted(newest, key=lambda name: -newest[name])[:capacity]
        met: set[str] = set()
        for at in range(0, SLOTS, 2):
            alike = [name for name in known if founders[name][at : at + 2] == signature[at : at + 2]]
            met.update(alike[:bucket])
        near = [(_agreeing(signature, founders[name]), newest[name], name) for name in met]
        near = [each for each in near if _is_near(each[0], _words(signature), _words(founders[each[2]]))]
        if near:
            name = max(near)[2]
        else:
            name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
            founders[name] = signature
        newest[name] = seq
        given.append(name)
    return given


def _words(signature: bytes) -> int:
    return signature[SLOTS] + 256 * signature[SLOTS + 1]


def _agreeing(one: bytes, other: bytes) -> int:
    return sum(one[at] == other[at] for at in range(SLOTS))


def _is_near(same: int, words: int, others: int) -> bool:
    # Bytes that differ agree by chance once in 256.
    share = (Fraction(same, SLOTS) - Fraction(1, 256)) / (1 - Fraction(1, 256))

    def share_of(common: int) -> Fraction:
        either = words + others - common
        return Fraction(common, either) if either >= common > 0 else Fraction(common > 0)

    left = max(min(words, others) - 16, max(words, others) - 28)
    return share >= max(share_of(7), Fraction(1, 4), min(share_of(left), Fraction(9, 20)))
