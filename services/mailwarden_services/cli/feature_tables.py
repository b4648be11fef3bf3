"""`mailwarden features list|show|usage`: which views there are, what they hold, and who reads them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from mailwarden_services.cli.progress import out

Name = Annotated[str, typer.Argument(help="The view, as its folder is named.")]
Names = Annotated[list[str] | None, typer.Argument(help="Views, as their folders are named; all by default.")]


def listing() -> None:
    """List views with their keys, owners, and what a busy key may take in Redis.

    Example:

        mailwarden features list
    """
    from mailwarden.domain.aggregates.definitions import ActivityView
    from mailwarden.domain.aggregates.layout import layout_of
    from mailwarden.domain.mail.content import ContentView
    from mailwarden.testing.state_size import largest_state
    from mailwarden_detectors import discover as discover_detectors
    from mailwarden_features import discover
    from mailwarden_services.teams.readers import readers_of, readers_of_view

    readers = readers_of(discover_detectors())
    table = Table("view", "version", "owner", "keys", "features", "hops", "bytes a key, at most", "read by")
    for view in discover().views:
        keys, hops, size = "message", "", ""
        if isinstance(view, ContentView):
            size = f"not online; {view.cost_us:g} us a message"
        if isinstance(view, ActivityView):
            keys, hops = ", ".join(("tenant", *view.keys)), str(len(layout_of(view).levels))
            most = largest_state(layout_of(view))
            size = f"{most.state:,}" + (f" + {most.sketches:,} of sketches" if most.sketches else "")
        row = (view.name, str(view.version), view.owner, keys, str(len(view.features)), hops, size)
        table.add_row(*row, ", ".join(readers_of_view(view.name, readers)))
    out.print(table)


def show(name: Name) -> None:
    """Show a view's features: type, unit, windows with their hops, what a null means, and who reads them.

    Example:

        mailwarden features show sender_activity
    """
    from mailwarden.domain.aggregates.definitions import ActivityView, Feature
    from mailwarden.domain.mail.content import ContentView
    from mailwarden_detectors import discover as discover_detectors
    from mailwarden_features import discover
    from mailwarden_services.teams.readers import readers_of

    view = discover().by_name(name)
    readers = readers_of(discover_detectors())
    keys = ", ".join(("tenant", *view.keys)) if isinstance(view, ActivityView) else "tenant, message"
    out.print(f"{view.name} version {view.version}, of {view.owner}: {view.description}", highlight=False)
    out.print(f"keys {keys}", highlight=False)
    if isinstance(view, ContentView):
        lists = f"; lists: {', '.join(view.lists)}" if view.lists else ""
        out.print(f"reads {', '.join(view.reads)}{lists}; {view.cost_us:g} us a message, as declared", highlight=False)
    table = Table("feature", "type", "unit", "windows (hop)", "null", "what it tells", "read by")
    for feature in view.features:
        windows = feature.windows if isinstance(feature, Feature) else ()
        spans = ", ".join(f"{window.name} ({_hop(window.hop_us)})" for window in windows)
        names = ", ".join(readers.get(f"{view.name}:{feature.name}", ()))
        table.add_row(feature.name, feature.dtype, feature.unit, spans, feature.null, feature.description, names)
    out.print(table)


def usage(names: Names = None) -> None:
    """Say which detectors read which view, and feature: what nobody reads can go.

    Examples:

        mailwarden features usage
        mailwarden features usage sender_activity sender_activity_v2
    """
    from mailwarden_detectors import discover as discover_detectors
    from mailwarden_features import discover
    from mailwarden_services.teams.readers import readers_of, readers_of_view

    repository = discover()
    readers = readers_of(discover_detectors())
    if not names:
        table = Table("view", "version", "features", "read", "by")
        for view in repository.views:
            read = sum(f"{view.name}:{feature.name}" in readers for feature in view.features)
            by = ", ".join(readers_of_view(view.name, readers)) or "nobody"
            table.add_row(view.name, str(view.version), str(len(view.features)), str(read), by)
        out.print(table)
        return
    table = Table("feature", "read by")
    for name in names:
        for feature in repository.by_name(name).features:
            full_name = f"{name}:{feature.name}"
            table.add_row(full_name, ", ".join(readers.get(full_name, ())) or "nobody")
    out.print(table)


def _hop(hop_us: int) -> str:
    seconds = hop_us // 1_000_000
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
