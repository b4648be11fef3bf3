"""Finds detectors: every folder here is one, and a folder that cannot be read is an error."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from mailwarden.domain.detection.detector import Detector
from mailwarden.errors import ContractError

FOLDER = Path(__file__).parent
"""Where the folders of detectors lie."""

_PACKAGE = "mailwarden_detectors"


def discover(
    root: Path = FOLDER, package: str = _PACKAGE, *, unread: dict[str, str] | None = None, every: bool = False
) -> dict[str, type[Detector]]:
    """Every detector's class by name, in order of name; of those that can be used here, or for `every` of all.

    root: folder of the detectors' folders; package: the name that it is imported under. unread: where given, takes the
    words for each folder that is no detector, by its name, and the others are found: one team's fault stops no other
    team's detector from serving. Without it ContractError is raised for the first such folder, with the mend.
    """
    found: dict[str, type[Detector]] = {}
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith((".", "_")):
            if all(inside.name == "__pycache__" for inside in folder.iterdir()):
                continue  # what version control leaves of a detector that was removed
            try:
                found[folder.name] = _read(folder, package)
            except ContractError as error:
                if unread is None:
                    raise
                unread[folder.name] = str(error)
    return found if every else {name: kind for name, kind in found.items() if not kind.absent()}


def absent() -> dict[str, str]:
    """Detectors that lack an extra or a file here, by name in a sentence with the mend; all else works without them."""
    return {name: words for name, kind in discover(unread={}, every=True).items() if (words := kind.absent())}


def _read(folder: Path, package: str) -> type[Detector]:
    for wanted in ("__init__.py", "detector.py", "cases.jsonl"):
        if not (folder / wanted).is_file():
            raise ContractError(f"Detector folder {folder} has no {wanted}. Add it, or remove the folder.")
    try:
        module = importlib.import_module(f"{package}.{folder.name}.detector")
    except Exception as error:
        raise ContractError(f"Detector {folder / 'detector.py'} cannot be imported: {error!r}. Mend it.") from error
    classes = _classes(module)
    if len(classes) != 1:
        names = ", ".join(sorted(classes)) or "none"
        raise ContractError(f"{folder / 'detector.py'} must define one Detector class; it defines: {names}.")
    (kind,) = classes.values()
    if getattr(kind, "name", None) != folder.name:
        raise ContractError(
            f"Detector class {kind.__name__} in {folder} is named {getattr(kind, 'name', None)!r}. "
            f"Set its `name` to {folder.name!r}, its folder's."
        )
    return kind


def _classes(module: ModuleType) -> Mapping[str, type[Detector]]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Detector) and value.__module__ == module.__name__
    }
