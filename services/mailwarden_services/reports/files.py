"""Files and folders of a report that are there whole or not at all, and values as JSON has them."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mailwarden.errors import DataError
from mailwarden_services.reports.words import without_addresses


def write_text(path: Path, text: str) -> None:
    """Write a text beside its place and put it there; what no charset holds becomes a question mark."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", errors="replace")
    os.replace(part, path)


def write_json(path: Path, values: Any) -> None:
    """Write plain JSON values, sorted, and no whole address among them."""
    text = json.dumps(plain(without_addresses(values)), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def check_new(folder: Path) -> None:
    """Raise DataError where a folder that is to be made exists."""
    if folder.exists():
        raise DataError(f"{folder} exists; choose another folder, or remove it first")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which stands at `folder` when the block has ended well, and is gone otherwise.

    Raises DataError where the folder exists.
    """
    folder = folder.absolute()
    check_new(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def plain(value: Any) -> Any:
    """JSON values: numbers of numpy as Python's, what is no finite number as null, anything else as words."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else without_addresses(str(value))
