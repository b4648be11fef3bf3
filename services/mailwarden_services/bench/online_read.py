"""Reading one message's online features: ours, the bare Redis pipeline, and Feast's own Redis store."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.mail.events import Event
from mailwarden.stores.online.client import Client, open_client, round_trip
from mailwarden.stores.online.reader import OnlineReader, ReadRequest
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.testing.redis_nodes import cluster, cluster_url
from mailwarden_features import discover
from mailwarden_services.bench.feast_redis import feast_reads, quiet_feast
from mailwarden_services.bench.mail import mail_events
from mailwarden_services.bench.tcp_redis import tcp_redis
from mailwarden_services.bench.timing import take_turns

PROJECT = "bench"
SEVERAL = 5
"""Recipients of the larger read."""


def measure(*, events: int = 4_000, reads: int = 1_000) -> dict[str, Any]:
    """Milliseconds a read (p50, p99) and their ratios, on Redis servers of our own on TCP loopback.

    features, plain_features: values of one read. ours: all views of one message with one recipient, finalised;
    ours_several: with `SEVERAL`; ours_cluster: on a cluster of three masters. bare: as many plain fields in as many
    hashes by Redis's own client in one pipeline, made numbers. plain, bare_plain: the same two of the views without
    what counts distinct names. feast_sdk, feast_store: see `feast_reads`. bytes_a_key: what a key takes, by view.
    """
    views = discover().activity
    plain = tuple(_without_distincts(view) for view in views)
    with (
        tempfile.TemporaryDirectory(prefix="mailwarden-bench-") as folder,
        tcp_redis(Path(folder)) as url,
        cluster(Path(folder) / "cluster") as nodes,
        quiet_feast(),
        open_client(url, timeout_seconds=10.0) as client,
        open_client(cluster_url(nodes), timeout_seconds=10.0) as on_cluster,
    ):
        mail = list(mail_events(events))
        ours, bare = _ours(client, PROJECT, views, mail), _bare(client, views)
        calls = {
            "bare": bare,
            "ours": ours(1),
            "ours_several": ours(SEVERAL),
            "ours_cluster": _ours(on_cluster, PROJECT, views, mail)(1),
            "bare_plain": _bare(client, plain),
            "plain": _ours(client, f"{PROJECT}_plain", plain, mail)(1),
            **feast_reads(url, views, Path(folder)),
        }
        with _frozen():
            times = take_turns(calls, reads)
        memory = _memory(client, views)
    return {
        "features": _count(views),
        "plain_features": _count(plain),
        "views": len(views),
        "reads": reads,
        **times,
        "ratios": {
            name: {
                "ours_over_bare": round(times["ours"][name] / times["bare"][name], 2),
                "plain_over_bare": round(times["plain"][name] / times["bare_plain"][name], 2),
                "feast_sdk_over_ours": round(times["feast_sdk"][name] / times["ours"][name], 2),
                "feast_store_over_ours": round(times["feast_store"][name] / times["ours"][name], 2),
            }
            for name in ("p50_ms", "p99_ms")
        },
        "bytes_a_key": memory,
    }


def _count(views: Sequence[ActivityView]) -> int:
    return sum(len(view.features) for view in views)


def _without_distincts(view: ActivityView) -> ActivityView:
    names = {distinct.name for distinct in view.distincts}
    features = tuple(f for f in view.features if not names & set(f.expression.aggregates))
    return replace(view, distincts=(), features=features)


def _ours(
    client: Client, project: str, views: Sequence[ActivityView], mail: Sequence[Event]
) -> Callable[[int], Callable[[], object]]:
    """What makes a read of the last inbound message with so many recipients."""
    writer, reader = OnlineWriter(client, project, views), OnlineReader(client, project, views)
    for start in range(0, len(mail), 500):
        writer.fold(mail[start : start + 500])
    last = next(event for event in reversed(mail) if event.direction == "inbound")

    def reading(recipients: int) -> Callable[[], object]:
        names = last.recipients if recipients == 1 else tuple(f"u{i}@own.example" for i in range(recipients))
        asked = [ReadRequest(replace(last, recipients=names))]
        return lambda: reader.read(asked)

    return reading


def _bare(client: Client, views: Sequence[ActivityView]) -> Callable[[], object]:
    commands: list[tuple[str, ...]] = []
    for view in views:
        names = layout_of(view).feature_names
        key = f"bare:{len(names)}:{view.name}"
        client.hset(key, mapping={name: "1234.5678" for name in names})
        commands.append(("HMGET", key, *names))
    return lambda: [[float(value) for value in reply] for reply in round_trip(client, commands)]


def _memory(client: Client, views: Sequence[ActivityView]) -> dict[str, dict[str, int]]:
    writer, found = OnlineWriter(client, PROJECT, views), {}
    for view in views:
        use = writer.memory(view)
        if use is not None:
            found[view.name] = {
                "state": round(use.state), "sketches": round(use.sketches), "with_redis": round(use.total)
            }  # fmt: skip
    return found


@contextmanager
def _frozen() -> Iterator[None]:
    """Keep what is imported and set up out of the garbage collector's passes, which would be timed with each call."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
