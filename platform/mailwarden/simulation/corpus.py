"""Simulated mail on disk, as a folder that the ordinary ingest reads."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from mailwarden.errors import DataError
from mailwarden.simulation.draft import SimulatedMessage


def write_corpus(out: Path, messages: Iterable[SimulatedMessage]) -> Path:
    """Write each message as an .eml file under `out` and return the path of INDEX, a line `label path` a message.

    `truth.csv` beside it says more: label, campaign and case of each path. Nothing of it grows in memory.

    Paths in INDEX are relative to it. The arrival time and a single recipient stand in the top Received header, the
    reverse path in Return-Path. INDEX is written last. Raises DataError where `out` holds something already or
    cannot be written.
    """
    index = out / "INDEX"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"simulation: {out} is not an empty folder; give a new one")
    unfinished = out / ".INDEX"
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = out
        with (
            unfinished.open("w", encoding="ascii") as lines,
            (out / "truth.csv").open("w", encoding="utf-8", newline="") as told,
        ):
            truth = csv.writer(told)
            truth.writerow(("path", "label", "campaign", "case"))
            for message in messages:
                path = out / message.path
                if path.parent != folder:
                    folder = path.parent
                    folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(message.raw)
                lines.write(f"{message.label} {message.path}\n")
                truth.writerow((message.path, message.label, message.campaign or "", message.case))
        unfinished.rename(index)
    except OSError as failure:
        raise DataError(f"simulation: cannot write {failure.filename or out}; check space and rights") from failure
    return index
