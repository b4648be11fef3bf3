"""`serve`: the scoring API with its feature writer, its signal worker and, where none is named, its Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from socket import socket as Socket

import uvicorn
from fastapi import FastAPI

from mailwarden.settings import Settings
from mailwarden_services.allocator import give_back_freed_memory
from mailwarden_services.bootstrap import Platform, handed_views
from mailwarden_services.embedded import ChildProcess, OwnRedis, WatchedProcess, environment_of, own_redis
from mailwarden_services.feature_writer.status import WriterLag
from mailwarden_services.listening import bound_socket, place_of
from mailwarden_services.reading.child import start_server
from mailwarden_services.scoring_api.app import create_app
from mailwarden_services.scoring_api.connections import bounded
from mailwarden_services.scoring_api.rspamd_listener import rspamd_socket, with_rspamd
from mailwarden_services.scoring_api.service import Service
from mailwarden_services.scoring_service import scoring_service
from mailwarden_services.sequencer.moving import move_tenants
from mailwarden_services.starter.kinds import WORDS
from mailwarden_services.starter.rules import have_rules_serve

TENANTS_SHOWN = 20
"""Tenants that are named at the start."""

WORK = "mailwarden_services.scoring_worker.work"
"""The module of what scoring processes do: the server that they are forked off imports it while this process starts."""

_FILES_BESIDE = 512
"""Files that a process has open beside its connections."""

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
    give_back_freed_memory()
    listening = bound_socket(host, port, socket)
    start_server(WORK)
    beside = None if rspamd is None else rspamd_socket(rspamd, settings)
    # uvicorn raises the signal that stopped it once more when it is done; this makes it end the block below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with own_redis(settings) as (named, redis), contextlib.ExitStack() as started:
        if socket is not None:
            started.callback(lambda: socket.expanduser().unlink(missing_ok=True))
        move_tenants(named, say)
        platform = Platform(named)
        have_rules_serve(platform, at_us=time.time_ns() // 1_000)
        service = scoring_service(platform)
        for line in announced(platform, place_of(listening), rspamd):
            say(line)
        children = start_beside(platform, started)
        # Their own writers, workers and sequencers; all accept on one socket.
        fd = listening.fileno()
        for shard in range(1, named.shards):
            other = WatchedProcess(partial(_shard, named.of_shard(shard), fd), what=f"shard {shard}")
            started.callback(other.stop)
            children.append(other)
        run_app(create_app(with_rspamd(watched(service, children, redis), beside)), listening)


def serve_shard(settings: Settings, listening: Socket) -> None:
    """Serve as one of the shards that another process has started, until it says to stop."""
    give_back_freed_memory()
    start_server(WORK)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as started:
        platform = Platform(settings)
        service = scoring_service(platform)
        children = start_beside(platform, started)
        run_app(create_app(watched(service, children, None)), listening)


def start_beside(platform: Platform, started: contextlib.ExitStack) -> list[WatchedProcess]:
    """The feature writer and the signal worker of a shard; stopped with `started`."""
    views = handed_views(platform)
    started.callback(os.close, views)
    writer = partial(_child, platform.settings, "feature_writer", views)
    signals = partial(_child, platform.settings, "signals")
    children = []
    for start, what in ((writer, "the feature writer"), (signals, "the signal worker")):
        child = WatchedProcess(start, what=what)
        started.callback(child.stop)
        children.append(child)
    return children


def run_app(app: FastAPI, listening: Socket) -> None:
    """Answer on a socket until SIGTERM or SIGINT."""
    service: Service = app.state.service
    _allow_files(_FILES_BESIDE + 2 * service.connections.most)
    config = uvicorn.Config(
        app,
        http=bounded(service.connections, app.state.refusals.count),
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=10,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _allow_files(count: int) -> None:
    """Let this process open so many files, as far as the system lets it: sockets are files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _child(settings: Settings, module: str, views: int | None = None) -> ChildProcess:
    log_file = settings.run_path / f"{module}{f'-{settings.shard}' if settings.shard else ''}.log"
    words, fds = ([], []) if views is None else (["--views", str(views)], [views])
    return ChildProcess(f"mailwarden_services.{module}", words, environment_of(settings), log_file, pass_fds=fds)


def _shard(settings: Settings, fd: int) -> ChildProcess:
    log_file = settings.run_path / f"shard-{settings.shard}.log"
    return ChildProcess(
        "mailwarden_services.shard", ["--fd", str(fd)], environment_of(settings), log_file, pass_fds=[fd]
    )


def announced(platform: Platform, place: str, rspamd: str | None) -> list[str]:
    """What an administrator is told of a service at its start, a line each."""
    version = platform.serving_version()
    lines = [f"scoring API: {place}" + ("" if rspamd is None else f", rspamd's protocol: {rspamd}")]
    lines.append(
        "no model serves yet; run `mailwarden train`"
        if version is None
        else f"model: bundle {version}, {', '.join(platform.serving_detectors())}"
    )
    if (starter := platform.starter()) is not None:
        lines.append(f"bundle {version} is {WORDS[starter]}")
    lines += platform.absent_detectors.values()
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

    def words() -> tuple[str, ...]:
        return tuple(child.words for child in children if child.words)

    def writer_lag() -> WriterLag:
        assert lag_of is not None
        lag = lag_of()
        return replace(lag, words=(*lag.words, *words()))

    service.exposition.beside = words

    return replace(service, lifespan=lifespan, writer_lag=writer_lag if lag_of is not None else None)
