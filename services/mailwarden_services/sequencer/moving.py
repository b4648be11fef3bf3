"""Tenants that move to another shard, since a home is served with another number of them.

A tenant's events are numbered, sent and logged from one spool, in order. So before any shard of the new number begins:

1. What the spools of the former shards hold is folded and logged, by their own writers, and what waits for a signal is
   looked at.
2. The new number is written down, whole or not at all. A crash before that begins again at 1, and one after it has
   nothing left to do.
3. The new shards learn from the event log what they need of each tenant: its seq, first contacts and campaigns. Signals
   that were found and are not numbered yet are handed over from wherever they lie.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from mailwarden.errors import StoreError
from mailwarden.settings import Settings
from mailwarden.stores.shards import remember, shards_of
from mailwarden.stores.spool import Spool
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden_services.bootstrap import Platform
from mailwarden_services.feature_writer.status import READER_NAME
from mailwarden_services.signals.worker import SignalWorker

_IDLE_STEPS, _IDLE_SECONDS = 100, 0.02


def move_tenants(settings: Settings, say: Callable[[str], None] = lambda _: None) -> None:
    """Make a home ready for the settings' number of shards; settings must name a Redis.

    Raises StoreError where a spool cannot be emptied: another process serves the home, or a store is away.
    """
    before = shards_of(settings.root)
    if before == settings.shards:
        return
    say(f"the home was served with {before} shards and will be with {settings.shards}: tenants move")
    for shard in range(before):
        _empty(settings.of_shard(shard).model_copy(update={"shards": before}))
    settings.root.mkdir(parents=True, exist_ok=True)
    remember(settings.root, settings.shards)


def _empty(settings: Settings) -> None:
    if not settings.spool_path.exists():
        return
    # Its lock tells that nobody accepts mail there.
    with Spool(settings.spool_path, fsync=settings.spool_fsync):
        with Spool(settings.found_path, fsync=settings.spool_fsync) as found:
            worker = SignalWorker(settings.spool_path, found)
            while worker.step():
                pass
            worker.close()
        with closing(SpoolReader(settings.spool_path, READER_NAME)) as reader:
            if not reader.lag_bytes():
                return
        writer = Platform(settings).feature_writer()
        idle = 0
        while idle < _IDLE_STEPS:
            idle = 0 if writer.step() else idle + 1
            if idle:
                time.sleep(_IDLE_SECONDS)
        writer.flush()
        words = writer.words
        writer.close()
    with closing(SpoolReader(settings.spool_path, READER_NAME)) as reader:
        if reader.lag_bytes():
            raise StoreError(
                f"the spool {settings.spool_path} cannot be emptied, so that its tenants cannot move to other shards: "
                f"{'; '.join(words) or 'its writer makes no progress'}. Mend that, or serve with the former number."
            )
