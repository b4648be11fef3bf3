"""Every evasion, alone and in pairs, by name: what an attack is tried with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailwarden.simulation.evasions.claims import CLAIMS, Attempt
from mailwarden.simulation.evasions.content import EVASIONS
from mailwarden.simulation.evasions.evasion import kind_of
from mailwarden.simulation.evasions.pieces import Pieces, html_part, message_of

AS_IT_WAS = "as it was"
"""The name of no evasion: the attack taken apart and put together again."""

REPRESENTATIVES = (
    "hidden: display", "hidden: white on white", "prepended: a paragraph", "appended: far below",
    "quoted: a harmless thread below", "as a quote: gmail_quote", "invisible: zero-width spaces",
    "lookalike: Cyrillic letters", "split: by hidden letters", "attached: an HTML file",
    "attached: a forwarded message", "image only", "base: links without their host", "encoding: UTF-16",
    "structure: an encoded multipart",
)  # fmt: skip
"""Content tricks that stand for their kind in pairs of which there would be too many."""

_WITH_ALL = ("forged partner: the From", "own domain: a colleague")
"""Claims that are paired with every content trick."""

_READ_BACK = (
    "hidden: display", "prepended: a paragraph", "appended: far below", "quoted: a harmless thread below",
    "invisible: zero-width spaces", "lookalike: Cyrillic letters", "split: by hidden letters",
)  # fmt: skip
"""Content tricks that another one can be laid over: all that they do stands in the body's element."""


@dataclass(frozen=True, slots=True)
class Guise:
    """An evasion or two. claims: names of `CLAIMS` in the order that they are made; content: names of `EVASIONS`, the
    inner first."""

    claims: tuple[str, ...] = ()
    content: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return " + ".join((*self.claims, *self.content)) or AS_IT_WAS

    @property
    def kind(self) -> str:
        """The kinds of its evasions."""
        return " + ".join(map(kind_of, (*self.claims, *self.content))) or AS_IT_WAS

    @property
    def single(self) -> bool:
        """Whether it is one evasion alone."""
        return len(self.claims) + len(self.content) == 1

    def applied(self, attempt: Attempt, seed: int) -> tuple[bytes, tuple[bytes, ...]] | None:
        """The message, and those that its sender writes before it; None where what that takes is not known."""
        for name in self.claims:
            made = CLAIMS[name](attempt, seed)
            if made is None:
                return None
            attempt = made
        pieces = attempt.pieces
        raw = message_of(pieces, html_part(pieces.html))
        for number, name in enumerate(self.content):
            raw = EVASIONS[name](pieces if number == 0 else Pieces.of(raw), seed)
        return raw, attempt.before


NO_EVASION = Guise()


def singles() -> tuple[Guise, ...]:
    """Each evasion alone."""
    return (*(Guise((name,)) for name in CLAIMS), *(Guise((), (name,)) for name in EVASIONS))


def pairs() -> tuple[Guise, ...]:
    """Two at a time: a forged name with every content trick, every other claim with a content trick of each kind,
    claims with each other, and content tricks of two kinds."""
    return tuple(dict.fromkeys((*_claims_with_content(), *_claims_together(), *_content_together())))


def _claims_with_content() -> Iterator[Guise]:
    for claim in CLAIMS:
        for name in EVASIONS if claim in _WITH_ALL else REPRESENTATIVES:
            yield Guise((claim,), (name,))


def _claims_together() -> Iterator[Guise]:
    names = list(CLAIMS)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            # Two names cannot stand in one From, nor two threads in one message.
            if kind_of(first) != kind_of(second) and not {kind_of(first), kind_of(second)} <= _NAMES:
                yield Guise((first, second))


_NAMES = {"forged partner", "own domain", "displayed name"}


def _content_together() -> Iterator[Guise]:
    for first in _READ_BACK:
        for second in REPRESENTATIVES:
            if kind_of(first) != kind_of(second):
                yield Guise((), (first, second))
