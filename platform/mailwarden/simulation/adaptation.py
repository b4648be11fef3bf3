"""How attackers change what was caught: other words, hidden and quoted benign text, broken words, forged trust."""

from __future__ import annotations

from collections.abc import Callable

from mailwarden.simulation.disguise import excerpt, zero_width
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.phrases_work import WORK
from mailwarden.simulation.rewording import reword
from mailwarden.simulation.world import World

_CONFUSABLE = str.maketrans({"a": "\u0430", "e": "\u0435", "o": "\u043e", "i": "\u0456", "c": "\u0441"})
_REWORDED = (0.15, 0.7)
_TRICKED = (0.08, 0.45)

Trick = Callable[[World, Draft], None]


def adapt(world: World, draft: Draft, pressure: float) -> None:
    """Change an attack's draft as its writer does who sees the former ones caught.

    pressure: 0..1, how long the attackers have been at it: few take the trouble first, most do in the end. What was
    done stands in `draft.case`.
    """
    rng = world.rng
    done = [draft.case] if draft.case else []
    if rng.random() < _between(_REWORDED, pressure):
        draft.paragraphs = [one if "[[" in one else reword(rng, one) for one in draft.paragraphs]
        done.append("reworded")
    if rng.random() < _between(_TRICKED, pressure):
        name, trick = rng.choice(TRICKS)
        trick(world, draft)
        done.append(name)
    draft.case = "+".join(done)


def _between(bounds: tuple[float, float], pressure: float) -> float:
    low, high = bounds
    return low + (high - low) * min(max(pressure, 0.0), 1.0)


def _benign(world: World, sentences: int) -> str:
    if world.threads and world.rng.random() < 0.5:
        return excerpt(world, 60)
    values = world.values(world.rng.choice(world.company.people), world.rng.choice(world.company.people), world.now_us)
    topics = ("small_talk", "engineering", "operations", "sales", "ask")
    said = (world.say(world.rng.choice(topics), WORK["en"], values) for _ in range(sentences))
    return " ".join(filter(None, said))


def _hidden(world: World, draft: Draft) -> None:
    draft.html = True
    draft.hidden = _benign(world, 6)


def _appended(world: World, draft: Draft) -> None:
    draft.paragraphs.append("\n" * 12 + _benign(world, 8))


def _prepended(world: World, draft: Draft) -> None:
    draft.paragraphs.insert(0, _benign(world, 3))


def _quoted(world: World, draft: Draft) -> None:
    if not draft.quoted:
        writer = world.rng.choice(world.company.people)
        draft.quoted, draft.quoted_head = _benign(world, 6), f"On Monday, {writer.name} wrote:"
        draft.subject = draft.subject if draft.subject[:3].lower() == "re:" else f"Re: {draft.subject}"


def _broken(world: World, draft: Draft) -> None:
    draft.paragraphs = [one if "[[" in one else zero_width(world, one) for one in draft.paragraphs]


def _confusable(world: World, draft: Draft) -> None:
    rng = world.rng
    draft.paragraphs = [
        one
        if "[[" in one or "@" in one or "//" in one
        else " ".join(w.translate(_CONFUSABLE) if len(w) > 4 and rng.random() < 0.3 else w for w in one.split(" "))
        for one in draft.paragraphs
    ]


def _listed(world: World, draft: Draft) -> None:
    name = world.rng.choice(world.company.lists)
    draft.headers = (*draft.headers, ("List-Id", f"<{name.name}.{name.domain}>"), ("Precedence", "list"))


def _vouched(world: World, draft: Draft) -> None:
    if not draft.route.submitted:
        domain = draft.sender.domain
        draft.forged_results = f"mx.{domain}; spf=pass smtp.mailfrom={domain}; dkim=pass header.d={domain}; dmarc=pass"


TRICKS: tuple[tuple[str, Trick], ...] = (
    ("hidden_text", _hidden),
    ("appended_text", _appended),
    ("prepended_text", _prepended),
    ("quoted_text", _quoted),
    ("broken_words", _broken),
    ("lookalike_letters", _confusable),
    ("list_headers", _listed),
    ("forged_results", _vouched),
)
