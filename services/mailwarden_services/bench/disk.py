"""What a sync to disk takes in a folder."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from mailwarden_services.bench.timing import percentiles

BLOCK = 8_192
"""Bytes that are appended before each sync, about a spooled message."""


def sync_times(folder: Path, n: int = 200) -> dict[str, Any]:
    """p50_ms and p99_ms of n calls of fdatasync(2), each after an append to a file that is removed at the end."""
    path = folder / "sync-times"
    taken = []
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for _ in range(n):
            os.write(file, bytes(BLOCK))
            began = time.perf_counter()
            os.fdatasync(file)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(file)
        path.unlink()
    return percentiles(taken)
