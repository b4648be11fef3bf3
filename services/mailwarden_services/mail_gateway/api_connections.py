"""HTTP to the scoring API over connections that are kept: one request at a time on each, parsed by httptools.

A general client costs several times what a gateway does with a message beside it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools

from mailwarden.errors import ConfigError

MAX_ANSWER_BYTES = 8 << 20
MAX_IDLE = 64
_READ_BYTES = 1 << 16


class Broken(Exception):
    """A connection ended, or what came over it is no HTTP."""


@dataclass
class Answer:
    """A response as it is read: its body, whether it is whole, and whether the connection may be used again."""

    body: bytearray = field(default_factory=bytearray)
    whole: bool = False
    reusable: bool = False
    parser: httptools.HttpResponseParser | None = None

    def on_body(self, data: bytes) -> None:
        """Of httptools: a piece of the body."""
        if len(self.body) + len(data) > MAX_ANSWER_BYTES:
            raise Broken("an answer of more than 8 MiB")
        self.body += data

    def on_message_complete(self) -> None:
        """Of httptools: the end."""
        self.whole = True
        # Asked here: once the message is over the parser tells of the next one.
        self.reusable = self.parser is not None and self.parser.should_keep_alive()


class ApiConnections:
    """Connections to one address: `http://HOST:PORT`, `https://HOST` or `unix:PATH`. Raises ConfigError on another."""

    def __init__(self, api: str) -> None:
        self._path = api.removeprefix("unix:") if api.startswith("unix:") else ""
        parts = urlsplit(api)
        try:
            self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise ConfigError(f"--api {api!r}: {error}") from error
        if not self._path and (parts.scheme not in ("http", "https") or not self._host):
            raise ConfigError(f"--api {api!r} is no address; write http://HOST:PORT, https://HOST or unix:PATH")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._base = parts.path.rstrip("/") if not self._path else ""
        self._name = parts.netloc.rpartition("@")[2] if not self._path else "mailwarden"
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(
        self, path: str, headers: Sequence[tuple[bytes, bytes]], chunks: Iterable[bytes], size: int
    ) -> tuple[int, bytes] | None:
        """The status and body of an answer; None where a connection that was kept had ended: then ask once more.

        headers: without Host and length. chunks: the body, of `size` bytes in all. Raises Broken or OSError.
        """
        kept = bool(self._idle)
        reader, writer = self._idle.pop() if kept else await self._connected()
        head = f"POST {self._base}{path} HTTP/1.1\r\nHost: {self._name}\r\nContent-Length: {size}\r\n".encode()
        answer = Answer()
        parser = answer.parser = httptools.HttpResponseParser(answer)
        heard = done = False
        try:
            writer.write(head + b"".join(b"%b: %b\r\n" % pair for pair in headers) + b"\r\n")
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            while not answer.whole:
                if not (data := await reader.read(_READ_BYTES)):
                    raise Broken("it ended the connection without an answer")
                heard = True
                parser.feed_data(data)
            done = True
            return parser.get_status_code(), bytes(answer.body)
        except (Broken, ConnectionError):
            if kept and not heard:
                return None
            raise
        except httptools.HttpParserError as error:
            raise Broken(f"what it answered is no HTTP: {error}") from error
        finally:
            answer.parser = None
            if done and answer.reusable and len(self._idle) < MAX_IDLE:
                self._idle.append((reader, writer))
            else:
                writer.close()

    def forget_idle(self) -> None:
        """End the connections that wait: where one had ended, so have the others."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._path:
            return await asyncio.open_unix_connection(self._path)
        return await asyncio.open_connection(self._host, self._port, ssl=self._tls)
