"""`serve`: the scoring API with its feature writer, its signal worker and, where none is named, its Redis."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn

from mailwarden.settings import Settings
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import ChildProcess, OwnRedis, WatchedProcess, environment_of, own_redis
from mailwarden_services.feature_writer.status import WriterLag
from mailwarden_services.listening import bound_socket, place_of
from mailwarden_services.scoring_api.app import create_app
from mailwarden_services.scoring_api.rspamd_listener import rspamd_socket, with_rspamd
from mailwarden_services.scoring_api.service import Service
from mailwarden_services.scoring_service import scoring_service

TENANTS_SHOWN = 20
"""Tenants that are named at the start."""

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than the pauses of a quiet mail flow."""


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    socket: Path | None,
    rspamd: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve on host and port, or on a unix socket, until SIGTERM or SIGINT; then stop what was started.

    rspamd: HOST:PORT where rspamd's protocol is spoken too; open to all, and so on loopback, where it has no password.
    say: told where it listens, what serves and for whom. Raises ConfigError where it cannot listen, before anything is
    started.
    """
    listening = bound_socket(host, port, socket)
    beside = None if rspamd is None else rspamd_socket(rspamd, settings)
    # uvicorn raises the signal that stopped it once more when it is done; this makes it end the block below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with own_redis(settings) as (named, redis):
        platform = Platform(named)
        service = scoring_service(platform)
        for line in announced(platform, place_of(listening), rspamd):
            say(line)
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
            config = uvicorn.Config(
                create_app(with_rspamd(watched(service, (writer, signals), redis), beside)),
                log_level="warning",
                access_log=False,
                lifespan="on",
                timeout_graceful_shutdown=10,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            signals.stop()
            writer.stop()


def announced(platform: Platform, place: str, rspamd: str | None) -> list[str]:
    """What an administrator is told of a service at its start, a line each."""
    version = platform.serving_version()
    lines = [f"scoring API: {place}" + ("" if rspamd is None else f", rspamd's protocol: {rspamd}")]
    lines.append(
        "no model serves yet; run `mailwarden train`"
        if version is None
        else f"model: bundle {version}, {', '.join(sorted(platform.detectors))}"
    )
    tenants = platform.tenants.list()
    for tenant in tenants[:TENANTS_SHOWN]:
        lines.append(f"tenant {tenant.name}: {tenant.actions.mode}, {', '.join(tenant.domains) or 'no domain'}")
    if len(tenants) > TENANTS_SHOWN:
        lines.append(f"and {len(tenants) - TENANTS_SHOWN} tenants more; `mailwarden tenant list`")
    if not tenants:
        lines.append("no tenant yet; `mailwarden tenant create NAME --domain DOMAIN`")
    return lines


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
