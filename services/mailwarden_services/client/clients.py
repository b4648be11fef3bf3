"""The two clients: `Client` waits for each answer, `AsyncClient` is awaited; otherwise they are the same.

Each method takes what the function of its name in `requests` takes.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx
from pydantic import BaseModel

from mailwarden_services.client import requests as asked
from mailwarden_services.client.calls import RETRIED, Call, pause_before
from mailwarden_services.client.failures import ApiAway
from mailwarden_services.scoring_api.answer_models import AuditListed, DecisionListed, LabelGiven

_Asked = ParamSpec("_Asked")
_Answer = TypeVar("_Answer", bound=BaseModel)
_Row = TypeVar("_Row")
_Rows = Callable[[Any], Sequence[_Row]]

_DECISIONS: _Rows[DecisionListed] = attrgetter("decisions")
_LABELS: _Rows[LabelGiven] = attrgetter("labels")
_ENTRIES: _Rows[AuditListed] = attrgetter("entries")

ATTEMPTS = 5
"""How often a call is made where the API is busy or away."""

TIMEOUT_SECONDS = 30.0


class _Settings:
    """What both are made of.

    url: where the API is. key: an API key. tenant: whom an operator's key acts for. socket: a unix socket to call the
    API on. attempts: how often a call is made where the API is busy or away, at least 1.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        key: str = "",
        *,
        tenant: str | None = None,
        socket: str | None = None,
        attempts: int = ATTEMPTS,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if tenant is not None:
            headers["X-Mailwarden-Tenant"] = tenant
        self._attempts = attempts
        self._url, self._socket = url, socket
        self._options: dict[str, Any] = {"base_url": url, "headers": headers, "timeout": timeout_seconds}
        self._open()

    def _open(self) -> None:
        raise NotImplementedError

    def _away(self, exc: httpx.TransportError) -> ApiAway:
        where = self._socket or self._url
        return ApiAway(f"no API answers at {where} ({type(exc).__name__}); is `mailwarden serve` running there?")


def _waits(ask: Callable[_Asked, Call[_Answer]]) -> Callable[Concatenate[Client, _Asked], _Answer]:
    @functools.wraps(ask)
    def method(self: Client, /, *args: _Asked.args, **more: _Asked.kwargs) -> _Answer:
        return self.call(ask(*args, **more))

    return method


def _waits_for_pages(
    ask: Callable[_Asked, Call[_Answer]], rows: _Rows[_Row], after: str
) -> Callable[Concatenate[Client, _Asked], Iterator[_Row]]:
    @functools.wraps(ask)
    def method(self: Client, /, *args: _Asked.args, **more: _Asked.kwargs) -> Iterator[_Row]:
        page: Any = self.call(ask(*args, **more))
        yield from rows(page)
        while page.next is not None:
            more[after] = page.next
            page = self.call(ask(*args, **more))
            yield from rows(page)

    return method


class Client(_Settings):
    """The API, called one thing after another. Use it in a `with` block, or close it."""

    def _open(self) -> None:
        self._http = httpx.Client(transport=httpx.HTTPTransport(uds=self._socket), **self._options)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def call(self, call: Call[_Answer]) -> _Answer:
        """Make a call, again where the API is busy or away; raises ApiProblem or ApiAway."""
        for attempt in range(self._attempts):
            last = attempt + 1 == self._attempts
            response: httpx.Response | None = None
            try:
                response = self._http.send(call.request(self._http))
                if response.status_code not in RETRIED or last:
                    break
            except httpx.TransportError as exc:
                if last:
                    raise self._away(exc) from exc
            time.sleep(pause_before(attempt, response))
        assert response is not None
        return call.read(response)

    score = _waits(asked.score)
    label = _waits(asked.label)
    withdraw = _waits(asked.withdraw)
    report = _waits(asked.report)
    message = _waits(asked.message)
    content = _waits(asked.content)
    forget = _waits(asked.forget)
    ready = _waits(asked.ready)
    decisions = _waits_for_pages(asked.decisions, _DECISIONS, "after")
    labels = _waits_for_pages(asked.labels, _LABELS, "after")
    audit = _waits_for_pages(asked.audit, _ENTRIES, "before")


def _awaited(ask: Callable[_Asked, Call[_Answer]]) -> Callable[Concatenate[AsyncClient, _Asked], Awaitable[_Answer]]:
    @functools.wraps(ask)
    async def method(self: AsyncClient, /, *args: _Asked.args, **more: _Asked.kwargs) -> _Answer:
        return await self.call(ask(*args, **more))

    return method


def _awaited_pages(
    ask: Callable[_Asked, Call[_Answer]], rows: _Rows[_Row], after: str
) -> Callable[Concatenate[AsyncClient, _Asked], AsyncIterator[_Row]]:
    @functools.wraps(ask)
    async def method(self: AsyncClient, /, *args: _Asked.args, **more: _Asked.kwargs) -> AsyncIterator[_Row]:
        page: Any = await self.call(ask(*args, **more))
        for row in rows(page):
            yield row
        while page.next is not None:
            more[after] = page.next
            page = await self.call(ask(*args, **more))
            for row in rows(page):
                yield row

    return method


class AsyncClient(_Settings):
    """The API, called by programs that do other things meanwhile. Use it in an `async with` block, or close it."""

    def _open(self) -> None:
        self._http = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=self._socket), **self._options)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def call(self, call: Call[_Answer]) -> _Answer:
        """Make a call, again where the API is busy or away; raises ApiProblem or ApiAway."""
        for attempt in range(self._attempts):
            last = attempt + 1 == self._attempts
            response: httpx.Response | None = None
            try:
                response = await self._http.send(call.request(self._http))
                if response.status_code not in RETRIED or last:
                    break
            except httpx.TransportError as exc:
                if last:
                    raise self._away(exc) from exc
            await asyncio.sleep(pause_before(attempt, response))
        assert response is not None
        return call.read(response)

    score = _awaited(asked.score)
    label = _awaited(asked.label)
    withdraw = _awaited(asked.withdraw)
    report = _awaited(asked.report)
    message = _awaited(asked.message)
    content = _awaited(asked.content)
    forget = _awaited(asked.forget)
    ready = _awaited(asked.ready)
    decisions = _awaited_pages(asked.decisions, _DECISIONS, "after")
    labels = _awaited_pages(asked.labels, _LABELS, "after")
    audit = _awaited_pages(asked.audit, _ENTRIES, "before")
