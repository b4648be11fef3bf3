"""Domains that pass for another: one skeleton for what the eye takes for one name, and few edits between two.

A skeleton folds letters that are drawn alike, hyphens, doubled letters, words that impostors put beside a name and the
public suffix, and orders the letters, so that two exchanged ones do not count. Both sides of a comparison are folded,
so that nothing needs to be undone.

Sources: UTS 39 (skeletons); Damerau 1964 and Levenshtein 1966, in the form where no part is edited twice; for the
look-up by deletions, Mor and Fraenkel, A hash code method for detecting and correcting spelling errors, 1982.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mailwarden.domain.mail.lookalikes import ASCII_OF

LEAST_LETTERS = 4
"""Letters of a folded name below which nothing is told by it: `abb` and `aba` are two companies."""

_EDITS_FROM = (5, 9)
"""Letters of a folded name from which on one edit, and two, are taken for a slip of the eye."""

_LONG = 24
_FEW = 8
"""Names that are compared one by one sooner than what is left of them is looked up."""
_KEPT = 256
"""Domains of which the answer is kept, since most senders write again."""
_MOST_LETTERS = 63
_SAME = str.maketrans("0135i", "olesl")
_AFFIX_WORDS = """
account accounts accounting admin ap ar billing bills care co company corp customer finance global
gmbh group help holding holdings hr inc info international intl invoice invoices invoicing llc login ltd mail message
messages mx my net notice official online orders pay payment payments payroll portal remit sales secure security
service services shop signin sso supplier support team tech the update us usa uk vendor verify web
"""
_AFFIXES = frozenset(_AFFIX_WORDS.split())
_LONG_AFFIXES = sorted((affix for affix in _AFFIXES if len(affix) > 2), key=lambda affix: (-len(affix), affix))
_LEAST_BESIDE = 5

Nearness = Literal["skeleton", "edit"]


@dataclass(frozen=True, slots=True)
class Near:
    """The known domain that another passes for, and how: by its skeleton, or within few edits of it."""

    domain: str
    how: Nearness


@lru_cache(maxsize=65_536)
def folded_stem(domain: str) -> str:
    """The folded name of a registrable domain, without public suffix; "" where it has less than 4 letters.

    >>> folded_stem("acrne-billing.example"), folded_stem("acme.test"), folded_stem("xn--cme-5cd.example")
    ('acme', 'acme', 'acme')
    """
    label = domain.partition(".")[0][:_MOST_LETTERS]
    if label.startswith("xn--"):
        try:
            label = label[4:].encode("ascii").decode("punycode")
        except ValueError:
            return ""
        label = label.translate(ASCII_OF).casefold()
        plain = unicodedata.normalize("NFKD", label)
        label = "".join(char for char in plain if not unicodedata.combining(char)).translate(ASCII_OF)
    pieces = [piece for piece in label.split("-") if piece]
    named = [piece for piece in pieces if piece not in _AFFIXES] or pieces
    stem = _drawn(_bare("".join(named)))
    return stem if len(stem) >= LEAST_LETTERS else ""


def skeleton_of(domain: str) -> str:
    """What a registrable domain and all that pass for it by their skeleton share; "" where it is too short to tell.

    >>> skeleton_of("northwind.example") == skeleton_of("northwnid-payments.test") != skeleton_of("southwind.example")
    True
    """
    stem = folded_stem(domain)
    return "".join(sorted(letter for at, letter in enumerate(stem) if at == 0 or stem[at - 1] != letter))


def edits_between(one: str, other: str, most: int) -> int | None:
    """Letters to insert, delete, replace or exchange with a neighbour to make one of the other; None beyond `most`.

    >>> edits_between("northwind", "nortwhind", 2), edits_between("northwind", "southwind", 1)
    (1, None)
    """
    if abs(len(one) - len(other)) > most:
        return None
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        row = [i]
        for j, facing in enumerate(other, start=1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != facing))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == facing:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return None
        before, last = last, row
    return last[-1] if last[-1] <= most else None


class KnownDomains:
    """Domains that others may pass for, looked up in a time that does not grow with how many there are.

    most_edits: at most 2; fewer where a name is short.
    """

    def __init__(self, domains: Iterable[str], most_edits: int = 1) -> None:
        self._domains = frozenset(domains)
        self._most = most_edits
        self._by_skeleton: dict[str, str] = {}
        self._by_deletions: dict[str, list[str]] = {}
        self._stems: dict[str, None] = {}
        self._found: dict[str, Near | None] = {}
        for domain in sorted(self._domains):
            stem = folded_stem(domain)
            if not stem:
                continue
            self._stems[stem] = None
            self._by_skeleton.setdefault(skeleton_of(domain), domain)
            for shorter in _deletions(stem, self._edits(stem)):
                self._by_deletions.setdefault(shorter, []).append(domain)

    def near(self, domain: str) -> Near | None:
        """The known domain that a registrable domain passes for; None where it is known itself, or like none."""
        if domain in self._found:
            return self._found[domain]
        if len(self._found) >= _KEPT:
            self._found = {}
        found = self._found[domain] = self._look(domain)
        return found

    def _look(self, domain: str) -> Near | None:
        stem = folded_stem(domain)
        if not stem or domain in self._domains:
            return None
        alike = self._by_skeleton.get(skeleton_of(domain))
        if alike is not None and edits_between(stem, folded_stem(alike), 2) is not None:
            return Near(alike, "skeleton")
        if len(self._stems) <= _FEW and not any(self._are_near(stem, other) for other in self._stems):
            return None
        for shorter in _deletions(stem, self._edits(stem)):
            for known in self._by_deletions.get(shorter, ()):
                if self._are_near(stem, folded_stem(known)):
                    return Near(known, "edit")
        return None

    def _are_near(self, stem: str, other: str) -> bool:
        return edits_between(stem, other, min(self._edits(stem), self._edits(other))) is not None

    def _edits(self, stem: str) -> int:
        # The pairs of letters to leave out grow by the length squared.
        most = 1 if len(stem) > _LONG else self._most
        return min(most, sum(len(stem) >= least for least in _EDITS_FROM))


def _deletions(stem: str, most: int) -> Iterator[str]:
    """What is left of a name without each choice of up to `most` of its letters, two at most."""
    yield stem
    if most >= 1:
        for at in range(len(stem)):
            yield stem[:at] + stem[at + 1 :]
    if most >= 2:
        for at in range(len(stem)):
            left, right = stem[:at], stem[at + 1 :]
            for more in range(len(right)):
                yield left + right[:more] + right[more + 1 :]


def _bare(name: str) -> str:
    """A name without one word that stands before or behind it, where enough of it is left."""
    for affix in _LONG_AFFIXES:
        if len(name) - len(affix) >= _LEAST_BESIDE:
            if name.endswith(affix):
                return name[: -len(affix)]
            if name.startswith(affix):
                return name[len(affix) :]
    return name


def _drawn(name: str) -> str:
    return name.translate(_SAME).replace("vv", "w").replace("rn", "m").replace("cl", "d")
