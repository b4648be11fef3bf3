"""Progress bars and words on standard error, plain lines where it is no terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

WHOLE_WIDTH = 1_000_000
"""Columns of what is no terminal: no line is broken and no cell cut."""


def results_console() -> Console:
    """Standard output: as wide as the terminal (or COLUMNS), and without end where it is a pipe or a file."""
    bounded = "COLUMNS" in os.environ or sys.stdout.isatty()
    return Console(width=None if bounded else WHOLE_WIDTH)


console = Console(stderr=True)
out = results_console()


def print_lines(lines: Iterable[object]) -> None:
    """Print each as one line, as it is, however wide the terminal."""
    for line in lines:
        out.print(str(line), highlight=False, markup=False, soft_wrap=True)


def say(words: str) -> None:
    """What begins now."""
    console.print(f"[bold]·[/] {words}")


@contextlib.contextmanager
def ticker(words: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar over `total` things (None where it is not known); call what it yields with how many are done."""
    if not console.is_terminal:
        say(words)
    with _bar(words, total) as (progress, task):

        def tick(done: int) -> None:
            # A total that was only guessed may be passed.
            progress.update(task, completed=done, total=None if total is None else max(total, done))

        yield tick


@contextlib.contextmanager
def stages(words: str, total: int | None = None) -> Iterator[Callable[[str], None]]:
    """A bar over stages of work; call what it yields with the words of each stage when it begins."""
    if not console.is_terminal:
        say(words)
    with _bar(words, total) as (progress, task):
        begun = 0

        def begins(stage: str) -> None:
            nonlocal begun
            if not console.is_terminal:
                say(stage)
            shown = None if total is None else max(total, begun)
            progress.update(task, description=f"{words}: {escape(stage)}", completed=begun, total=shown)
            begun += 1

        yield begins
        progress.update(task, completed=begun)


@contextlib.contextmanager
def _bar(words: str, total: int | None) -> Iterator[tuple[Progress, TaskID]]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, refresh_per_second=4) as progress:
        task = progress.add_task(words, total=total)
        yield progress, task
        done = progress.tasks[0].completed
        progress.update(task, description=words, total=done, completed=done)
