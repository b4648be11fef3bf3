"""`mailwarden features plan`: what a change would do, and what it would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from mailwarden.settings import Settings
from mailwarden_services.cli.feature_tables import Names
from mailwarden_services.cli.progress import out, stages

if TYPE_CHECKING:
    from mailwarden_services.teams.cost import Cost


def plan(names: Names = None) -> None:
    """Say what `feast apply` and `materialize` would change, and what it costs: rows, bytes in Redis, Spark's minutes.

    Nothing is changed. A view that is named is priced even where nothing changes for it. Exit code 1 where a
    definition changed under the version that it had: raise the version, or see `mailwarden features version`.

    Examples:

        mailwarden features plan
        mailwarden features plan sender_activity
    """
    from mailwarden_features import discover
    from mailwarden_services.teams.plan import plan as make_plan

    repository = discover()
    for name in names or ():
        repository.by_name(name)
    with stages("planning") as begins:
        found = make_plan(Settings(), repository, also=tuple(names or ()), begins=begins)
    out.print(found.registry, highlight=False, markup=False, soft_wrap=True)
    for change in found.changes:
        if change.kind != "none":
            out.print(f"{change.name}: {change.words}", highlight=False, markup=False, soft_wrap=True)
    priced = [cost for cost in found.costs.values() if cost.sample.rows]
    if found.costs and not priced:
        out.print("the event log is empty or has no such mail: nothing to fold yet")
    if priced:
        table = Table("to be filled", "rows to fold", "keys", "bytes a key", "in Redis", "offline", "Spark")
        for cost in priced:
            table.add_row(cost.view, *_price(cost))
        out.print(table)
        rate = "as the latest materialisation ran" if found.rates.measured else "by a default, as none was measured"
        out.print(
            f"{_minutes(found.seconds)} of Spark in all ({found.rates.rows_a_second:,.0f} rows and "
            f"{found.rates.keys_a_second:,.0f} keys a second, {rate}). A view that is filled anew takes its bytes "
            "twice until the former states retire.",
            highlight=False,
            soft_wrap=True,
        )
    if found.refused:
        raise typer.Exit(1)


def _price(cost: Cost) -> tuple[str, ...]:
    found = cost.sample
    a_key = cost.redis_bytes / found.keys if found.keys else 0.0
    sizes: list[Any] = [f"{found.rows:,}", f"{found.keys:,}", f"{a_key:,.0f}"]
    return (*sizes, _bytes(cost.redis_bytes), _bytes(cost.offline_bytes), _minutes(cost.seconds))


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:,.0f} {unit}" if unit == "B" else f"{n:,.1f} {unit}"
        n /= 1000
    return f"{n:,.1f} TB"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
