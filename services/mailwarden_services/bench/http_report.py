"""The figures of `http_price` as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailwarden_services.reports.grids import Grid
from mailwarden_services.reports.words import NOTHING, figure

_WORDS = {"strict": "strict times", "ties": "ties", "late": "ties, late", "ahead": "after 2030"}


def cost_grid(found: Mapping[str, Any]) -> Grid:
    """CPU a message, by arrivals and by part of the service, beside rspamd."""
    rows = {_WORDS[name]: each for name, each in found["cpu"].items()}
    for name in ("low_rate", "flat_out", "half_load"):
        if found[name] is not None:
            rows[name.replace("_", " ")] = found[name]
    parts = list(dict.fromkeys(part for each in rows.values() for part in each["parts"]))
    cells = [
        (
            words,
            _ms(each["cpu_ms"]),
            *(_ms(each["parts"].get(part)) for part in parts),
            _ms(each.get("rspamd_cpu_ms")),
            *(f"{each[name]:.2f}x" if name in each else NOTHING for name in ("ratio", "ratio_to_waiting")),
        )
        for words, each in rows.items()
    ]
    spread = f"The dearest arrivals take {found['spread']:.2f}x of the cheapest. "
    if found["rspamd_cpu_ms"]:
        costs = found["rspamd_cpu_ms"]
        spread += f"rspamd: one worker, network checks off, {min(costs):.2f} to {max(costs):.2f} in {len(costs)} rounds"
        if found["rspamd_without_host_name"] is not None:
            spread += (
                f"; waiting: {found['rspamd_without_host_name']:.2f}, where nobody names the client and it asks the DNS"
            )
        spread += ". "
    note = (
        f"{spread}Idle, the service takes {figure(found['idle_cpu_ms_a_second'], 1)} CPU-ms a second. Each figure "
        "counts until all is folded and logged; arrivals (ties: three or so a second; late: a tenth late; "
        "2030: one such message before) are of one connection, closed loop."
    )
    title = (
        f"CPU-ms a message: {found['messages']:,} messages a load of {found['mail']} "
        f"({found['mean_message_bytes']:,} bytes), {found['small_files']} files in the day"
    )
    return Grid(title, ("load", "all", *parts, "rspamd", "ratio", "to waiting"), tuple(cells), note)


def latency_grid(found: Mapping[str, Any]) -> Grid:
    """Latencies, with the disk's and the generator's share told apart."""
    first = next(iter(found["cpu"].values()))
    loads = {"one connection": found["cpu"].get("late", first)}
    for name, words in (
        ("low_rate", "open loop"),
        ("flat_out", "flat out"),
        ("half_load", "half load"),
        ("half_load_without_sync", "half load, no sync"),
    ):
        if found[name] is not None:
            loads[words] = found[name]
    rows = tuple(
        (
            f"{words}, {each.get('offered_per_second', each['messages_per_second']):.0f}/s",
            *(
                _ms(each[key])
                for key in ("p50_ms", "p99_ms", "p99_less_generator_ms", "sent_late_p99_ms", "generator_cpu_ms")
            ),
            f"{each['generator_cpu_ms'] * each['messages_per_second'] / 1e3 / found['cores']:.1%}",
        )
        for words, each in loads.items()
    )
    heading = ("load", "p50", "p99", "less gen.", "sent late", "gen. CPU", "share")
    syncs = "; ".join(
        f"fdatasync {when} half load p50 {_ms(one['p50_ms'])}, p99 {_ms(one['p99_ms'])}"
        for when, one in found["sync"].items()
    )
    note = (
        "Open loops count from when a message was due. less gen.: p99 where all CPU that the generator used while a "
        "request was under way is taken out, more than it can have cost. sent late: p99 from due to sent. gen. CPU: "
        f"CPU-ms of the generator a message; share: of all cores. {syncs}"
    )
    return Grid(f"Latency in ms on {found['cores']} cores", heading, rows, note)


def _ms(value: float | None) -> str:
    return figure(value, 2)
