"""What reading a message costs: the parser and the content features, beside the standard library's parser."""

from __future__ import annotations

import email
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from mailwarden.domain.mail.content import ContentSet, ContentView
from mailwarden.ingest.containers.openers import load_openers
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.sources import open_source
from mailwarden.simulation.simulate import simulate
from mailwarden.stores.lists import load_lists
from mailwarden_features.discovery import discover
from mailwarden_services.reading.child import settle_collector

TREC = Path(__file__).parents[3].parent / "shared" / "data" / "trec07p.tar.zst"
"""The corpus of the README's figures, where it lies beside the checkout."""
MESSAGES = 1_000
ROUNDS = 4
SEED = 11


def measure(
    *, messages: int = MESSAGES, rounds: int = ROUNDS, corpus: Path = TREC, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """CPU milliseconds a message of each step, the best of rounds that take turns, after one that warms up.

    Each message is read and let go as in a reading process, with the collector set as there. p99_cpu_ms: of both steps
    together, each message's best round.

    Of the corpus's first messages where it is there, else of simulated ones. The standard library's parser
    (`compat32`, the fast policy) decodes the payload of every part, and neither reads HTML nor looks for links.
    """
    if corpus.exists():
        mail, raws = corpus.name, [message.raw for message in islice(open_source(corpus), messages)]
    else:
        mail, raws = "simulated mail", [message.raw for message in islice(simulate(SEED, days=30), messages)]
    say(f"reading {len(raws):,} messages of {mail}")
    content = ContentSet(discover().content, load_lists(), {})
    load_openers()
    settle_collector()
    clock = time.process_time

    def standard() -> float:
        start = clock()
        for raw in raws:
            _decoded(raw)
        return clock() - start

    def own() -> list[tuple[float, float]]:
        taken = []
        for raw in raws:
            start = clock()
            message = parse_message(raw)
            parsed = clock()
            content.values_of(message, _raise)
            taken.append((parsed - start, clock() - parsed))
        return taken

    standards: list[float] = []
    owns: list[list[tuple[float, float]]] = []
    for _ in range(rounds + 1):
        standards.append(standard())
        owns.append(own())
    sums = [[sum(step) for step in zip(*taken, strict=True)] for taken in owns[1:]]
    best = min(sums, key=sum)
    cpu_ms = {
        "stdlib": _ms(min(standards[1:]) / len(raws)),
        "parse": _ms(best[0] / len(raws)),
        "content": _ms(best[1] / len(raws)),
    }
    each = sorted(min(sum(taken[number]) for taken in owns[1:]) for number in range(len(raws)))
    together = round(cpu_ms["parse"] + cpu_ms["content"], 4)
    p99 = _ms(each[min(len(each) - 1, int(0.99 * len(each)))])
    return {"mail": mail, "messages": len(raws), "cpu_ms": cpu_ms, "sum_cpu_ms": together, "p99_cpu_ms": p99}


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 4)


def _raise(view: ContentView, failure: Exception) -> None:
    raise failure


def _decoded(raw: bytes) -> list[bytes]:
    parts = email.message_from_bytes(raw).walk()
    return [payload for part in parts if isinstance(payload := part.get_payload(decode=True), bytes)]
