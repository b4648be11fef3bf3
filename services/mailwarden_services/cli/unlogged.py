"""What a home's spools hold and its event log does not, as a command sees it that numbers nothing."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from mailwarden.errors import StoreError
from mailwarden.settings import Settings
from mailwarden.stores.accepted import AcceptedTombstone, decode_accepted
from mailwarden.stores.shards import SHARDS_FOLDER
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden_services.cli.running import api_runs
from mailwarden_services.feature_writer.status import READER_NAME

LOG_SECONDS = 60.0
"""How long tombstones are waited for where somebody serves the home, whose writer logs them at once."""

LOOK_SECONDS = 0.2


def wait_for_tombstones(settings: Settings) -> None:
    """Come back once the event log holds every tombstone of the home's spools.

    Raises StoreError where that takes longer than `LOG_SECONDS`, at once where nobody serves the home.
    """
    ends = time.monotonic() + (LOG_SECONDS if api_runs(settings) else 0.0)
    spools = [settings.root / "spool", *settings.root.glob(f"{SHARDS_FOLDER}/*/spool")]
    while True:
        over = time.monotonic() >= ends
        try:
            if not any(map(_holds_tombstone, spools)):
                return
        except StoreError:
            # What is being read may be logged and removed meanwhile: the next look tells.
            if over:
                raise
        if over:
            raise StoreError(
                "a message was forgotten, and the event log does not hold that yet; run `mailwarden serve` until its "
                "spool is empty, look at its feature writer, then run `mailwarden reparse` again"
            )
        time.sleep(LOOK_SECONDS)


def _holds_tombstone(spool: Path) -> bool:
    with contextlib.closing(SpoolReader(spool, READER_NAME)) as reader:
        while records := reader.poll():
            # Few records hold the word, and those alone are decoded.
            told = (decode_accepted(payload) for _, payload in records if b"tombstone" in payload)
            if any(isinstance(record, AcceptedTombstone) for record in told):
                return True
    return False
