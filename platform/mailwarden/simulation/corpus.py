"""Simulated mail on disk, as a folder that the ordinary ingest reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mailwarden.errors import DataError
from mailwarden.simulation.draft import SimulatedMessage


def write_corpus(out: Path, messages: Iterable[SimulatedMessage]) -> Path:
    """Write each message as an .eml file under `out` and return the path of INDEX, a line `label path` a message.

    Paths in INDEX are relative to it. The arrival time and a single recipient stand in the top Received header, the
    reverse path in Return-Path. INDEX is written last. Raises DataError where `out` holds something already or
    cannot be written.
    """
    index = out / "INDEX"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"simulation: {out} is not an empty folder; give a new one")
    lines = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        folders: set[Path] = set()
        for message in messages:
            path = out / message.path
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.add(path.parent)
            path.write_bytes(message.raw)
            lines.append(f"{message.label} {message.path}\n")
        index.write_text("".join(lines), encoding="ascii")
    except OSError as failure:
        raise DataError(f"simulation: cannot write {failure.filename or out}; check space and rights") from failure
    return index
