"""Bodies on their way in: bounded in all and for each who sends them, and given back however a request ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import zstandard
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from mailwarden_services.scoring_api import requests as requests_module
from mailwarden_services.scoring_api.in_flight import GATEWAYS, Account, Accounts, account_of
from mailwarden_services.scoring_api.problems import Problem
from mailwarden_services.scoring_api.requests import body_within
from mailwarden_services.scoring_api.zstd_body import opened


class Requests:
    """`Accounts` over an application that does, in each request, what a test says."""

    def __init__(self) -> None:
        self.act: Callable[[Account], Awaitable[None]]
        self.accounts = Accounts(self._app, 1_000)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        account = account_of(Request(scope))
        assert account is not None
        await self.act(account)

    async def one(self, act: Callable[[Account], Awaitable[None]]) -> None:
        """Do something inside of one request."""
        self.act = act
        await self.accounts({"type": "http", "client": ("192.0.2.1", 1)}, None, None)  # type: ignore[arg-type]


def test_one_tenant_cannot_hold_what_others_need_and_all_is_given_back() -> None:
    requests = Requests()

    async def greedy(account: Account) -> None:
        account.moved("tenant a")
        account.take(250)
        with pytest.raises(Problem, match="held at once") as refused:
            account.take(1)
        assert refused.value.status == 503 and refused.value.headers == {"Retry-After": "1"}

        async def modest(one: Account) -> None:
            one.moved("tenant b")
            one.take(250)

        await requests.one(modest)

    async def test() -> None:
        for _ in range(3):
            await requests.one(greedy)

        async def all_of_it(account: Account) -> None:
            account.moved(GATEWAYS)
            account.take(1_000)
            raise RuntimeError("an accident")

        for _ in range(2):
            with pytest.raises(RuntimeError):
                await requests.one(all_of_it)

    asyncio.run(test())


def test_what_a_small_body_opens_to_counts() -> None:
    bomb = zstandard.compress(b"x" * 100_000)

    async def act(account: Account) -> None:
        with pytest.raises(Problem, match="held at once"):
            await opened(bomb, 10**6, account)

    asyncio.run(Requests().one(act))


def test_a_body_that_does_not_come_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "BODY_SECONDS", 0.05)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    async def test() -> None:
        with pytest.raises(Problem) as refused:
            await body_within(Request({"type": "http", "headers": []}, receive), 1_000)  # type: ignore[arg-type]
        assert refused.value.status == 408 and refused.value.slug == "too-slow"

    asyncio.run(test())
