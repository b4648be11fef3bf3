"""Tables of words, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of words: its heading row, then its rows; the first column is words, the others are figures."""

    title: str
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def rich_table(grid: Grid) -> RenderableType:
    """A grid for a terminal."""
    table = Table(title=Text(grid.title), title_justify="left", caption=Text(grid.note), caption_justify="left")
    for number, name in enumerate(grid.heading):
        # A share and its interval read better on two lines than cut anywhere.
        table.add_column(Text(name), justify="left" if number == 0 else "right")
    for row in grid.rows:
        table.add_row(*(Text(cell.replace(" [", "\n[")) for cell in row))
    return table


def markdown(grid: Grid | None) -> list[str]:
    """A grid as sections of Markdown: its title, the table, its note; nothing for None."""
    if grid is None:
        return []
    lines = [
        _row(grid.heading),
        _row([":--", *["--:"] * (len(grid.heading) - 1)]),
        *(_row([_cell(cell) for cell in row]) for row in grid.rows),
    ]
    parts = [f"## {grid.title}", "\n".join(lines)]
    return [*parts, grid.note] if grid.note else parts


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
