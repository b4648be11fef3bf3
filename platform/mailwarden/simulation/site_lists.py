"""The simulated world's lists as files that a site would write: free mail, free hosts, shorteners, brands."""

from __future__ import annotations

from pathlib import Path

from mailwarden.errors import DataError
from mailwarden.simulation.company import BRANDS, FREE_HOSTS, FREEMAIL_DOMAINS, SHORTENERS

_ENTRIES = {
    "free_mail": FREEMAIL_DOMAINS,
    "free_hosts": FREE_HOSTS,
    "shorteners": SHORTENERS,
    "brands": tuple(f"{brand}: {brand.lower()}.example" for brand in BRANDS),
}


def write_lists(folder: Path, *, beside: Path | None = None) -> Path:
    """Write a folder for `MAILWARDEN_LISTS` that adds the world's names to the lists that ship; returns it.

    beside: a site's own folder of lists, whose files are taken over, the world's names behind theirs. Raises DataError
    where it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for own in sorted(beside.glob("*.txt")) if beside is not None else ():
            (folder / own.name).write_bytes(own.read_bytes().rstrip() + b"\n")
        for name, entries in _ENTRIES.items():
            head = f"# name: {name}\n# version: simulation\n# source: the simulated world\n# mode: extend\n\n"
            path = folder / f"{name}.txt"
            before = path.read_text(encoding="utf-8") if path.exists() else head
            path.write_text(before + "".join(f"{entry}\n" for entry in entries), encoding="utf-8")
    except OSError as failure:
        raise DataError(f"simulation: cannot write {failure.filename or folder}; check space and rights") from failure
    return folder
