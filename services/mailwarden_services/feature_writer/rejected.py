"""Records that a log refuses for good, kept beside the spool with the reason."""

from __future__ import annotations

from pathlib import Path

import structlog

from mailwarden.errors import StoreError
from mailwarden.stores.accepted import Accepted, encode_accepted
from mailwarden.stores.spool_files import sync_folder

log = structlog.get_logger(__name__)


def set_aside(spool: Path, position: int, record: Accepted, reason: str) -> Path:
    """Keep one record as `<position>.record` and why as `<position>.reason` under `rejected`; returns the former.

    The record's bytes are those of the spool, to be handed over again once what refused it is mended. Raises
    StoreError where they cannot be written: then the record must stay in the spool.
    """
    folder = spool / "rejected"
    path = folder / f"{position:020d}.record"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file, content in ((path.with_suffix(".reason"), reason.encode()), (path, encode_accepted(record))):
            file.touch(mode=0o600)
            file.write_bytes(content)
        sync_folder(folder)
    except OSError as exc:
        raise StoreError(f"a refused record cannot be kept in {folder} ({exc}); make room or mend its rights") from exc
    log.error(
        "a log refuses a record; it was set aside", file=str(path), tenant=record.event.tenant, seq=record.event.seq
    )
    return path


def count_aside(spool: Path) -> int:
    """How many records lie aside; who has dealt with one removes its files."""
    return sum(1 for _ in (spool / "rejected").glob("*.record"))
