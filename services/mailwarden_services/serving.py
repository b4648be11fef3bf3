"""`serve`: the scoring API with its feature writer, its signal worker and, where none is named, its Redis."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn

from mailwarden.settings import Settings
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import ChildProcess, OwnRedis, WatchedProcess, environment_of, own_redis
from mailwarden_services.feature_writer.status import WriterLag
from mailwarden_services.scoring_api.app import create_app
from mailwarden_services.scoring_api.rspamd_listener import rspamd_socket, with_rspamd
from mailwarden_services.scoring_api.service import Service
from mailwarden_services.scoring_service import scoring_service

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than the pauses of a quiet mail flow."""


def serve(settings: Settings, *, host: str, port: int, socket: Path | None, rspamd: str | None = None) -> None:
    """Serve on host and port, or on a unix socket, until SIGTERM or SIGINT; then stop what was started.

    rspamd: HOST:PORT where rspamd's protocol is spoken too; open to all, and so on loopback, where it has no password.
    """
    beside = None if rspamd is None else rspamd_socket(rspamd, settings)
    # uvicorn raises the signal that stopped it once more when it is done; this makes it end the block below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with own_redis(settings) as (named, redis):
        service = scoring_service(Platform(named))
        writer = WatchedProcess(
            lambda: ChildProcess(
                "mailwarden_services.feature_writer", [], environment_of(named), named.run_path / "feature_writer.log"
            ),
            what="the feature writer",
        )
        signals = WatchedProcess(
            lambda: ChildProcess(
                "mailwarden_services.signals", [], environment_of(named), named.run_path / "signals.log"
            ),
            what="the signal worker",
        )
        try:
            uvicorn.run(
                create_app(with_rspamd(watched(service, (writer, signals), redis), beside)),
                host=host,
                port=port,
                uds=None if socket is None else str(socket),
                log_level="warning",
                access_log=False,
                lifespan="on",
                timeout_graceful_shutdown=10,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        finally:
            signals.stop()
            writer.stop()


def watched(service: Service, children: Sequence[WatchedProcess], redis: OwnRedis | None) -> Service:
    """The service with its child processes and its own Redis looked after while it runs, and named in /readyz."""
    lag_of = service.writer_lag

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with service.lifespan():
            watchers = [asyncio.create_task(child.watch()) for child in children]
            if redis is not None:
                watchers.append(asyncio.create_task(redis.keep_up()))
            try:
                yield
            finally:
                for watcher in watchers:
                    watcher.cancel()
                await asyncio.gather(*watchers, return_exceptions=True)

    def writer_lag() -> WriterLag:
        assert lag_of is not None
        lag = lag_of()
        return replace(lag, words=(*lag.words, *(child.words for child in children if child.words)))

    return replace(service, lifespan=lifespan, writer_lag=writer_lag if lag_of is not None else None)
