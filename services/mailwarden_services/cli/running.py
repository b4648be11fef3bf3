"""Whether an API runs over a home, as a command sees it that starts none."""

from __future__ import annotations

import fcntl

from mailwarden.settings import Settings


def api_runs(settings: Settings) -> bool:
    """Whether another process holds a spool of the home, as `serve` and `ingest` do."""
    for path in [*settings.root.glob("spool/lock"), *settings.root.glob("shards.d/*/spool/lock")]:
        with path.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False
