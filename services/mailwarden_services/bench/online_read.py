"""Reading one message's online features: ours, the bare Redis pipeline, and Feast's own Redis store."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mailwarden.domain.layout import layout_of
from mailwarden.domain.views import ActivityView
from mailwarden.errors import StoreUnavailable
from mailwarden.stores.online.client import Client, open_client, round_trip
from mailwarden.stores.online.reader import OnlineReader, ReadRequest
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden_features import discover
from mailwarden_services.bench.feast_redis import feast_reads, quiet_feast
from mailwarden_services.bench.mail import mail_events
from mailwarden_services.bench.timing import take_turns

PROJECT = "bench"
SEVERAL = 5
"""Recipients of the larger read."""

START_SECONDS = 10.0


def measure(*, events: int = 4_000, reads: int = 1_000) -> dict[str, Any]:
    """Milliseconds a read (p50, p99) and their ratios, all on one Redis of our own on TCP loopback.

    features: values of one read. ours: all views of one message with one recipient, finalised; ours_several: with
    `SEVERAL`. bare: as many plain fields in as many hashes by one pipeline, made numbers. feast_sdk, feast_store:
    see `feast_reads`.
    """
    views = discover().activity
    with tempfile.TemporaryDirectory(prefix="mailwarden-bench-") as folder, _redis(Path(folder)) as url, quiet_feast():
        client = open_client(url, timeout_seconds=10.0)
        try:
            calls = _ours(client, views, events)
            calls |= feast_reads(url, views, Path(folder))
            times = take_turns(calls, reads)
        finally:
            client.close()
    p50 = {name: found["p50_ms"] for name, found in times.items()}
    return {
        "features": sum(len(view.features) for view in views),
        "views": len(views),
        "reads": reads,
        **times,
        "ratios": {
            "ours_over_bare": round(p50["ours"] / p50["bare"], 2),
            "feast_sdk_over_ours": round(p50["feast_sdk"] / p50["ours"], 2),
            "feast_store_over_ours": round(p50["feast_store"] / p50["ours"], 2),
        },
    }


def _ours(client: Client, views: Sequence[ActivityView], events: int) -> dict[str, Callable[[], object]]:
    writer, reader = OnlineWriter(client, PROJECT, views), OnlineReader(client, PROJECT, views)
    mail = list(mail_events(events))
    for start in range(0, len(mail), 500):
        writer.fold(mail[start : start + 500])
    last = next(event for event in reversed(mail) if event.direction == "inbound")
    one = ReadRequest(last.tenant, last.sender, last.sender_domain, last.recipients, last.received_at_us)
    several = replace(one, recipients=tuple(f"u{i}@own.example" for i in range(SEVERAL)))
    commands: list[tuple[str, ...]] = []
    for view in views:
        key, names = f"bare:{view.name}", layout_of(view).feature_names
        client.hset(key, mapping={name: "1234.5678" for name in names})
        commands.append(("HMGET", key, *names))
    return {
        "bare": lambda: [[float(value) for value in reply] for reply in round_trip(client, commands)],
        "ours": lambda: reader.read([one]),
        "ours_several": lambda: reader.read([several]),
    }


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    """A redis-server on a free port of 127.0.0.1, without persistence; all three read from it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StoreUnavailable(f"redis-server did not come up on port {port}; is it installed?")
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
