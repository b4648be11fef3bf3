"""`mailwarden evaluate --leave-out`: what becomes of a tenant's mail that nothing was learned from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mailwarden_services.cli.progress import out, stages

if TYPE_CHECKING:
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.evaluation.left_out.asked import LeftOutAsked


def evaluate_left_out(platform: Platform, asked: LeftOutAsked, known_by_us: int, folder: Path | None) -> None:
    """Train without the tenants, print what becomes of their mail, and write the report where a folder is given."""
    from mailwarden_services.evaluation.left_out.report import grids_of, write_left_out
    from mailwarden_services.evaluation.left_out.result import left_out
    from mailwarden_services.loop import Loop
    from mailwarden_services.reports.grids import rich_table

    for name in (asked.host, *asked.sources, *asked.good_alone):
        platform.tenants.get(name)
    with stages(f"leaving out {', '.join((asked.host, *asked.sources))}") as begins:
        found, _, _ = Loop(platform).labelled(platform.detectors, known_by_us, progress=begins)
        result = left_out(
            found.rows,
            found.features,
            platform.detectors,
            asked,
            history=[view.name for view in platform.activity],
            content_views=[view.name for view in platform.content_views],
            progress=begins,
        )
    for grid in grids_of(result):
        out.print(rich_table(grid))
    if folder is not None:
        path = write_left_out(folder, result)
        out.print(f"report: {path}", highlight=False, soft_wrap=True)
