"""A listener of its own for rspamd's protocol, in the process and on the event loop of the API."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import uvicorn

from mailwarden.errors import ConfigError
from mailwarden.settings import Settings
from mailwarden_services.scoring_api.connections import bounded
from mailwarden_services.scoring_api.rspamd_routes import create_rspamd_app
from mailwarden_services.scoring_api.service import Service

KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048


class _Beside(uvicorn.Server):
    """A server in another one's process: signals are that one's to hear."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def rspamd_socket(place: str, settings: Settings) -> socket.socket:
    """A listening socket on HOST:PORT; raises ConfigError where it cannot be had, or lacks a password."""
    host, colon, port = place.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"--rspamd {place!r} is no HOST:PORT; write 127.0.0.1:11333.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        loopback = str(address[0]) == "::1" or str(address[0]).startswith("127.")
        if not loopback and not settings.rspamd_password.get_secret_value():
            raise ConfigError(
                f"--rspamd {place} would be open to whoever reaches it; set MAILWARDEN_RSPAMD_PASSWORD, or listen on "
                "127.0.0.1."
            )
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError as exc:
        raise ConfigError(f"--rspamd {place} cannot be listened on: {exc.strerror or exc}; choose another.") from exc
    return made


def with_rspamd(service: Service, place: socket.socket | None) -> Service:
    """The service with rspamd's protocol spoken on a socket while it runs; unchanged for None."""
    if place is None:
        return service

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with service.lifespan():
            app = create_rspamd_app(served)
            server = _Beside(
                uvicorn.Config(
                    app,
                    http=bounded(service.connections, app.state.refusals.count),
                    log_level="warning",
                    access_log=False,
                    lifespan="off",
                    timeout_graceful_shutdown=10,
                    timeout_keep_alive=KEEP_ALIVE_SECONDS,
                )
            )
            running = asyncio.create_task(server.serve(sockets=[place]))
            try:
                yield
            finally:
                server.should_exit = True
                await running

    served = replace(service, lifespan=lifespan)
    return served
