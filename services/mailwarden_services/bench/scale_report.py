"""The figures of `scale` as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailwarden_services.reports.grids import Grid
from mailwarden_services.reports.words import figure


def scale_grid(found: Mapping[str, Any]) -> Grid:
    """CPU a message by layout and part."""
    layouts = found["layouts"]
    parts = list(dict.fromkeys(part for each in layouts.values() for part in each["parts"]))
    rows = tuple(
        (
            f"{name}{how}",
            _ms(load["cpu_ms"]),
            *(_ms(load["parts"].get(part)) for part in parts),
            figure(load["messages_per_second"], 0),
            f"{each['events']:,}",
            f"{each['values_recounted']:,}",
        )
        for how in ("", ", at once")
        for name, each in layouts.items()
        for load in (each["at_once"] if how else each,)
    )
    (first, one), (last, other) = list(layouts.items())[:2]
    note = (
        f"{last} takes {found['ratio']:.2f}x of {first} where tenants come one after another, each over a connection, "
        f"and {found['ratio_at_once']:.2f}x where {found['tenants']} do at once; until all is folded and logged. Every "
        "state equals one fold after another of the log, and the values of every twentieth key the naive recount. "
        f"a second: of {found['cores']} cores that the load shares, which say nothing of scale."
    )
    title = f"CPU-ms a message by shards x workers: {one['messages']:,} and {other['messages']:,} of {found['mail']}"
    return Grid(title, ("layout", "all", *parts, "a second", "events", "recounted"), rows, note)


def ceiling_grid(found: Mapping[str, Any]) -> Grid:
    """What shards and workers do not multiply, and how many messages a second that allows."""
    sequencing, redis = found["sequencing"], found["redis"]
    rows = (
        ("a tenant's sequencer", _ms(sequencing["cpu_ms"]), f"{sequencing['ceiling']:,}", "a tenant"),
        ("  its event loop", _ms(sequencing["loop_ms"]), "", ""),
        ("  its spool's thread", _ms(sequencing["spool_ms"]), "", ""),
        ("Redis, one server", _ms(redis["cpu_ms"]), f"{redis['ceiling'] or 0:,}", "a home without a cluster"),
    )
    note = (
        f"The sequencer alone in a process, called on its socket as by other shards, {sequencing['messages']:,} "
        "messages, four at a time. Redis: the dearer of the layouts above; a cluster spreads it by partition."
    )
    return Grid("What cannot be multiplied", ("part", "CPU-ms a message", "ceiling, messages/s", "of"), rows, note)


def _ms(value: float | None) -> str:
    return figure(value, 3)
