"""The milter's server: one process, one task a connection, on sockets that are bound before anything else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence

import structlog

from mailwarden_services.mail_gateway.milter_session import MilterSession, MilterSettings
from mailwarden_services.mail_gateway.places import Network, may_connect

log = structlog.get_logger(__name__)


async def serve_milter(
    bound: socket.socket,
    settings: MilterSettings,
    *,
    networks: Sequence[Network] = (),
    max_connections: int = 200,
) -> None:
    """Serve until cancelled; connections that are open then are given up, and the mail system tries again.

    max_connections: further ones are ended at once, which a mail system takes as a filter that is away.
    """
    open_ones: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if not may_connect(writer.get_extra_info("peername"), networks) or len(open_ones) >= max_connections:
            log.warning("milter connection refused", peer=str(writer.get_extra_info("peername")), open=len(open_ones))
            writer.close()
            return
        open_ones.add(task)
        try:
            # Cancelled at the end of the server: asyncio would log that as an error of the connection.
            with contextlib.suppress(asyncio.CancelledError):
                await MilterSession(settings, reader, writer).run()
        finally:
            open_ones.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, sock=bound)
    async with server:
        try:
            await server.serve_forever()
        finally:
            for task in open_ones:
                task.cancel()
