"""Who numbers a shard's mail: a process that serves, or else whoever takes its spool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.settings import Settings
from mailwarden.stores.spool import Spool
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden_services.feature_writer.status import READER_NAME
from mailwarden_services.sequencer.history_caller import HistoryCaller

LOOK_SECONDS = 0.2


@contextmanager
def who_numbers(settings: Settings, *, seconds: float = 0.0) -> Iterator[HistoryCaller | None]:
    """The process that serves the settings' shard; None where there is none, and this one holds the spool meanwhile.

    seconds: how long one that holds the spool and does not answer is waited for. Raises StoreError where it does not,
    or nobody holds the spool and it has records that are not logged yet.
    """
    found = _found(settings, time.monotonic() + seconds)
    with found:
        if isinstance(found, HistoryCaller):
            yield found
            return
        with closing(SpoolReader(settings.spool_path, READER_NAME)) as reader:
            if reader.lag_bytes():
                raise StoreError(
                    "the spool holds messages that are not logged yet; run `mailwarden serve` until it is empty"
                )
        yield None


def _found(settings: Settings, ends: float) -> HistoryCaller | Spool:
    while True:
        try:
            return Spool(settings.spool_path, fsync=settings.spool_fsync)
        except StoreUnavailable:
            raise
        except StoreError as held:
            try:
                return HistoryCaller(settings.sequencer_socket(settings.shard))
            except StoreUnavailable as exc:
                if time.monotonic() >= ends:
                    raise StoreError(
                        f"{held} It takes no history: {exc}. Where it is `mailwarden serve`, wait until it is ready."
                    ) from exc
        time.sleep(LOOK_SECONDS)
