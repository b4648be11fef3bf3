"""Which part of a text is kept where all of it is too much: nothing that stands before or behind pushes it out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_START, _END = 0.4, 0.2
"""Shares of what is kept that are the start's and the end's; the rest is of places that a message is about."""
_WINDOW = 400
_MOST_MISSED = 40
"""Texts that are looked for in vain, each through all of the text."""
_TELLING = (
    "http:", "https:", "www.", "$", "€", "£", "¥", "₿", "bitcoin", "iban", "password", "account", "invoice", "payment",
    "gift card", "verify", "suspended", "urgent", "konto", "rechnung", "contraseña", "mot de passe", "senha",
    "wachtwoord", "hasło", "heslo", "şifre", "пароль", "счет", "счёт", "密码", "密碼", "口座", "パスワード", "비밀번호",
)  # fmt: skip
_NUMBER = re.compile(r"[0-9][0-9 .-]{6,40}")


def ends_of(length: int, most: int) -> tuple[int, int]:
    """Where a start ends and an end begins that have `most` of `length` characters, three quarters of them in front.

    >>> ends_of(1_000, 100)
    (75, 975)
    """
    end = most // 4
    return most - end, length - end


def kept_of(text: str, most: int, link_texts: Iterable[str] = ()) -> str:
    """At most `most` characters: the start, the end, and between them windows around links, money and requests.

    link_texts: what a reader sees of links. Windows that hold more different such things come first. What is left out
    leaves a line break.
    """
    if len(text) <= most:
        return text
    start = int(most * _START)
    end = len(text) - int(most * _END)
    windows = _windows(text, start, end, link_texts)
    room = (most - start - (len(text) - end)) // (_WINDOW + 1) - 1
    chosen = sorted(sorted(windows, key=lambda at: (-windows[at], at))[: max(0, room)])
    pieces = [text[:start]]
    reached = start
    for at in chosen:
        piece = text[at : min(end, at + _WINDOW)]
        pieces.append(piece if at == reached else f"\n{piece}")
        reached = at + _WINDOW
    spare = most - (len(text) - end) - sum(map(len, pieces)) - 1
    if not chosen and spare > 0:
        pieces.append(text[start : start + spare])
    pieces.append(f"\n{text[end:]}")
    return "".join(pieces)


def _windows(text: str, start: int, end: int, link_texts: Iterable[str]) -> dict[int, int]:
    """Begins of windows between start and end, each with how many different telling things it holds."""
    told: dict[int, set[str]] = {}

    def tell(at: int, what: str) -> None:
        told.setdefault(start + (at - start) // _WINDOW * _WINDOW, set()).add(what)

    lower = text[start:end].lower()
    if len(lower) != end - start:
        lower = text[start:end]
    for word in _TELLING:
        at = lower.find(word)
        while at >= 0:
            tell(start + at, word)
            # One of a kind says as much for its window as many.
            at = lower.find(word, max(at + 1, (at // _WINDOW + 1) * _WINDOW))
    for found in _NUMBER.finditer(text, start, end):
        tell(found.start(), "number")
    for at in _places(text, end, link_texts):
        if at >= start:
            tell(at, "link")
    return {at: len(kinds) for at, kinds in told.items()}


def _places(text: str, end: int, wanted: Iterable[str]) -> Iterator[int]:
    """Where texts stand before `end`, each behind the one before it where it does, as links in their order do."""
    reached = missed = 0
    for one in filter(None, dict.fromkeys(wanted)):
        at = text.find(one, reached, end)
        if at >= 0:
            reached = at
        else:
            missed += 1
            if missed > _MOST_MISSED:
                break
            at = text.find(one, 0, reached)
        if at >= 0:
            yield at
