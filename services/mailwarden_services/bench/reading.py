"""What reading a message costs: the parser and the content features, beside the standard library's parser."""

from __future__ import annotations

import email
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from mailwarden.domain.mail.content import ContentSet, ContentView
from mailwarden.domain.mail.message import Message
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.sources import open_source
from mailwarden.simulation.simulate import simulate
from mailwarden.stores.lists import load_lists
from mailwarden_features.discovery import discover

TREC = Path(__file__).parents[3].parent / "shared" / "data" / "trec07p.tar.zst"
"""The corpus of the README's figures, where it lies beside the checkout."""
MESSAGES = 1_000
ROUNDS = 4
SEED = 11


def measure(
    *, messages: int = MESSAGES, rounds: int = ROUNDS, corpus: Path = TREC, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """CPU milliseconds a message of each step, the best of rounds that take turns, after one that warms up.

    Of the corpus's first messages where it is there, else of simulated ones. The standard library's parser
    (`compat32`, the fast policy) decodes the payload of every part, and neither reads HTML nor looks for links.
    """
    if corpus.exists():
        mail, raws = corpus.name, [message.raw for message in islice(open_source(corpus), messages)]
    else:
        mail, raws = "simulated mail", [message.raw for message in islice(simulate(SEED, days=30), messages)]
    say(f"reading {len(raws):,} messages of {mail}")
    content = ContentSet(discover().content, load_lists(), {})
    parsed: list[Message] = []

    def parse() -> None:
        parsed[:] = [parse_message(raw) for raw in raws]

    steps: dict[str, Callable[[], object]] = {
        "stdlib": lambda: [_decoded(raw) for raw in raws],
        "parse": parse,
        "content": lambda: [content.values_of(message, _raise) for message in parsed],
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    best = {name: round(1e3 * min(taken[1:]) / len(raws), 4) for name, taken in seconds.items()}
    together = round(best["parse"] + best["content"], 4)
    return {"mail": mail, "messages": len(raws), "cpu_ms": best, "sum_cpu_ms": together}


def _raise(view: ContentView, failure: Exception) -> None:
    raise failure


def _decoded(raw: bytes) -> list[bytes]:
    parts = email.message_from_bytes(raw).walk()
    return [payload for part in parts if isinstance(payload := part.get_payload(decode=True), bytes)]
