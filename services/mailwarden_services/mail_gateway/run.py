"""A gateway as a process: sockets first, then its connection to the API, then mail until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from mailwarden.errors import ConfigError
from mailwarden_services.mail_gateway.content_filter import serve_filter
from mailwarden_services.mail_gateway.filter_decision import FilterSettings
from mailwarden_services.mail_gateway.milter import serve_milter
from mailwarden_services.mail_gateway.milter_session import MilterSettings
from mailwarden_services.mail_gateway.places import Network, Place, bound_socket, check_listener
from mailwarden_services.mail_gateway.scoring_client import ScoringClient

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Listener:
    """Where a gateway listens, and who may connect. tls: certificate and key, in PEM files."""

    places: tuple[Place, ...]
    allow_remote: bool = False
    networks: tuple[Network, ...] = ()
    tls: tuple[Path, Path] | None = None
    max_connections: int = 200
    bound: list[socket.socket] = field(default_factory=list)

    def bind(self) -> None:
        """Bind all places; raises ConfigError, and binds none, where one is taken or open to strangers."""
        for place in self.places:
            check_listener(place, allow_remote=self.allow_remote, networks=self.networks, tls=self.tls is not None)
        try:
            for place in self.places:
                self.bound.append(bound_socket(place))
        except ConfigError:
            for one in self.bound:
                one.close()
            raise

    def tls_context(self) -> ssl.SSLContext | None:
        """The context of `tls`; raises ConfigError where the files cannot be read."""
        if self.tls is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(*self.tls)
        except OSError as error:
            raise ConfigError(f"the TLS certificate {self.tls[0]} with its key cannot be read: {error}") from error
        return context


async def _all(tasks: Iterable[Awaitable[None]], scoring: ScoringClient) -> None:
    try:
        await asyncio.gather(*tasks)
    finally:
        await scoring.close()


def run_milter(
    listener: Listener, client: Callable[[], ScoringClient], settings: Callable[[ScoringClient], MilterSettings]
) -> None:
    """Serve a milter until SIGTERM or SIGINT. client, settings: made once the sockets are bound."""

    async def serve(bound: Sequence[socket.socket]) -> None:
        scoring = client()
        chosen, most = settings(scoring), listener.max_connections
        servers = (serve_milter(one, chosen, networks=listener.networks, max_connections=most) for one in bound)
        await _all(servers, scoring)

    _run(listener, serve)


def run_filter(
    listener: Listener, client: Callable[[], ScoringClient], settings: Callable[[ScoringClient], FilterSettings]
) -> None:
    """Serve a content filter until SIGTERM or SIGINT. client, settings: made once the sockets are bound."""
    tls = listener.tls_context()

    async def serve(bound: Sequence[socket.socket]) -> None:
        scoring = client()
        chosen, most = settings(scoring), listener.max_connections
        servers = (
            serve_filter(one, chosen, networks=listener.networks, max_connections=most, tls=tls) for one in bound
        )
        await _all(servers, scoring)

    _run(listener, serve)


def _run(listener: Listener, serve: Callable[[Sequence[socket.socket]], Awaitable[None]]) -> None:
    listener.bind()

    async def until_told() -> None:
        loop = asyncio.get_running_loop()
        serving = asyncio.ensure_future(serve(listener.bound))
        for told in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(told, serving.cancel)
        try:
            await serving
        except asyncio.CancelledError:
            log.info("stopped")

    try:
        asyncio.run(until_told())
    finally:
        for place in listener.places:
            if place.path is not None:
                place.path.unlink(missing_ok=True)
