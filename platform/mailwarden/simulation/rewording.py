"""The same text in other words, as a language model would give it: by synonyms, order and frame, from a seed."""

from __future__ import annotations

import random
import re

_SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("please", "kindly", "would you", "be so kind and"),
    ("confirm", "verify", "check", "make sure of"),
    ("document", "file", "paper", "record"),
    ("attached", "enclosed", "included"),
    ("account", "profile", "login"),
    ("password", "passphrase", "sign-in details"),
    ("expires", "lapses", "ends", "runs out"),
    ("invoice", "bill", "statement"),
    ("payment", "transfer", "settlement", "remittance"),
    ("bank details", "banking information", "account information", "remittance details"),
    ("changed", "been updated", "moved"),
    ("new", "updated", "current", "replacement"),
    ("urgent", "time-critical", "pressing"),
    ("review", "look over", "go through", "read"),
    ("immediately", "right away", "without delay"),
    ("receive", "get", "obtain"),
    ("send", "forward", "share", "pass on"),
    ("need", "require", "must have"),
    ("unusual", "unexpected", "unfamiliar", "out-of-pattern"),
    ("sign-in", "login", "access attempt"),
    ("device", "computer", "machine"),
    ("message", "e-mail", "note"),
    ("help desk", "support team", "service line"),
    ("call", "phone", "ring", "give a ring to"),
    ("money", "funds", "sum"),
    ("confidential", "private", "between us", "discreet"),
    ("available", "free", "around", "reachable"),
    ("quick", "brief", "short"),
    ("task", "errand", "matter", "favour"),
    ("client", "customer", "account holder"),
    ("offer", "proposal", "opportunity"),
    ("shared", "made available", "posted"),
    ("order", "purchase", "request"),
    ("renewed", "extended", "continued"),
    ("charged", "debited", "billed"),
    ("gift cards", "vouchers", "prepaid cards"),
    ("salary", "pay", "wages"),
    ("direct deposit", "salary payment", "payroll account"),
)
_WORD_OF = {word: group for group in _SYNONYMS for word in group}
_KNOWN = re.compile(r"\b(" + "|".join(sorted(map(re.escape, _WORD_OF), key=len, reverse=True)) + r")\b", re.IGNORECASE)
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_OPENERS = (
    "I hope this note finds you well.",
    "I wanted to follow up briefly.",
    "Just a short update from my side.",
    "I trust your week is going smoothly.",
    "Apologies for writing at short notice.",
)
_LINKS = ("In addition, ", "Also, ", "To be clear, ", "As a next step, ", "At the same time, ", "For your records, ")
_CLOSERS = (
    "Thank you for taking care of this.",
    "I appreciate your help.",
    "Let me know if anything is unclear.",
    "Thanks in advance for your prompt attention.",
)


def reword(rng: random.Random, text: str, rate: float = 0.6) -> str:
    """The text reworded. rate: 0..1, chance of each known word, and of the order of sentences, to change.

    Names, sums, links and account numbers stay. Text without a sentence end is one sentence.
    """
    sentences = [one for one in _SENTENCES.split(text) if one]
    if len(sentences) > 2 and rng.random() < rate:
        middle = sentences[1:]
        rng.shuffle(middle)
        sentences = [sentences[0], *middle]
    said = [_KNOWN.sub(lambda found: _other(rng, found[0], rate), one) for one in sentences]
    for at in range(1, len(said)):
        if said[at][:1].isupper() and said[at][1:2].islower() and rng.random() < rate / 3:
            said[at] = rng.choice(_LINKS) + said[at][0].lower() + said[at][1:]
    if len(text) > 60:
        if rng.random() < rate / 2:
            said.insert(0, rng.choice(_OPENERS))
        if rng.random() < rate / 2:
            said.append(rng.choice(_CLOSERS))
    return " ".join(said)


def _other(rng: random.Random, word: str, rate: float) -> str:
    if rng.random() >= rate:
        return word
    chosen = rng.choice(_WORD_OF[word.lower()])
    return chosen[0].upper() + chosen[1:] if word[0].isupper() else chosen
