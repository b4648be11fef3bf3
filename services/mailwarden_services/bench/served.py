"""A `serve` under a benchmark's load: started as users start it, with a Redis of its own, and waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from pydantic import SecretStr

from mailwarden.errors import StoreUnavailable
from mailwarden.settings import Settings
from mailwarden.stores.shards import shards_of
from mailwarden_services.embedded import ChildProcess, environment_of, own_server, wait_until
from mailwarden_services.feature_writer.status import read_lag
from mailwarden_services.replay.live import LiveService

DONE_SECONDS = 300.0
_LOOK_SECONDS = 0.25


@contextmanager
def served(settings: Settings, key: str, arguments: Sequence[str] = ()) -> Iterator[LiveService]:
    """`mailwarden serve` over these settings, which name no Redis, on `api.sock` in the run folder; stopped at the end.

    arguments: further words of its command line.
    """
    path = settings.run_path / "api.sock"
    path.unlink(missing_ok=True)
    process = ChildProcess(
        "mailwarden_services.cli",
        ["serve", "--socket", str(path), *arguments],
        environment_of(settings),
        settings.run_path / "serve.log",
    )
    named = settings.model_copy(update={"redis_url": SecretStr(own_server(settings).url)})
    service = LiveService(named, process, path, key)
    try:

        def ready() -> bool:
            with suppress(StoreUnavailable):
                return service.call("GET", "/readyz")[0] == 200
            return False

        wait_until(ready, process, seconds=120, what="the start of `serve`")
        yield service
    finally:
        service.close()
        process.stop()


def wait_done(settings: Settings, service: LiveService, tenant: str, seq: int) -> None:
    """Wait until a tenant's events up to a seq are folded in every partition, and all that was accepted is logged."""
    deadline = time.monotonic() + DONE_SECONDS
    while True:
        try:
            service.wait_folded(tenant, seq)
            break
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
    spools = [settings.of_shard(shard).spool_path for shard in range(shards_of(settings.root))]
    while any(read_lag(spool, since=0.0).lag_bytes for spool in spools):
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"what was accepted was not logged within {DONE_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)
