"""Bodies on their way in: bounded in all and for each who sends them, and given back however a request ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from mailwarden_services.scoring_api import requests as requests_module
from mailwarden_services.scoring_api.in_flight import Account, Accounts, InFlight, account_of
from mailwarden_services.scoring_api.problems import Problem
from mailwarden_services.scoring_api.rates import BURST_SECONDS, SLOTS, Rates, shared_memory
from mailwarden_services.scoring_api.requests import body_within
from mailwarden_services.scoring_api.zstd_body import opened


class Requests:
    """`Accounts` over an application that does, in each request, what a test says."""

    def __init__(self, **limits: Any) -> None:
        self.act: Callable[[Account], Awaitable[None]]
        self.accounts = Accounts(self._app, InFlight(1_000, **limits))

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
        account.of_tenant("a")
        account.take(250)
        with pytest.raises(Problem, match="held at once") as refused:
            account.take(1)
        assert refused.value.status == 503 and refused.value.headers == {"Retry-After": "1"}

        async def modest(one: Account) -> None:
            one.of_tenant("b")
            one.take(250)

        await requests.one(modest)

    async def test() -> None:
        for _ in range(3):
            await requests.one(greedy)

        async def all_of_it(account: Account) -> None:
            account.of_gateway()
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


def test_a_tenant_has_so_many_requests_under_way_and_no_more_until_one_is_done() -> None:
    requests = Requests(requests=2)

    async def test() -> None:
        async def inside(account: Account, depth: int) -> None:
            account.of_tenant("a")
            # Told twice, as by two dependencies of a route, it is one request.
            account.of_tenant("a")
            if depth:
                await requests.one(lambda one: inside(one, depth - 1))

        await requests.one(lambda one: inside(one, 1))
        for _ in range(2):
            with pytest.raises(Problem, match="MAILWARDEN_TENANT_REQUESTS") as refused:
                await requests.one(lambda one: inside(one, 2))
            assert refused.value.status == 503 and refused.value.headers == {"Retry-After": "1"}

        async def beside(account: Account) -> None:
            account.of_tenant("b")
            await requests.one(lambda one: inside(one, 1))

        await requests.one(beside)

    asyncio.run(test())


def test_a_tenant_hands_over_so_much_a_second_and_others_are_not_concerned() -> None:
    now = 1_000_000_000_000
    rates = Rates(10.0, clock=lambda: now)
    for _ in range(int(10 * BURST_SECONDS)):
        rates.take("a")
    with pytest.raises(Problem, match="MAILWARDEN_TENANT_RATE") as refused:
        rates.take("a")
    assert (refused.value.status, refused.value.slug, refused.value.headers) == (429, "too-many", {"Retry-After": "1"})
    rates.take("b")
    now += 100_000_000
    rates.take("a")
    with pytest.raises(Problem):
        rates.take("a")
    # A batch beyond any burst is taken from whoever kept quiet, once, and is on account then.
    rates.take("c", 1_000)
    with pytest.raises(Problem) as refused:
        rates.take("c")
    assert refused.value.headers == {"Retry-After": str(1_000 // 10 - int(BURST_SECONDS) + 1)}
    Rates(0.0).take("a", 10**9)


def test_processes_share_a_tenants_account_and_a_start_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "run" / "rates"
    first = Rates(1.0, shared_memory(path, anew=True), clock=lambda: 10**12)
    second = Rates(1.0, shared_memory(path, anew=False), clock=lambda: 10**12)
    for _ in range(int(BURST_SECONDS) // 2):
        first.take("a")
        second.take("a")
    with pytest.raises(Problem):
        second.take("a")
    second.take("b")
    Rates(1.0, shared_memory(path, anew=True), clock=lambda: 10**12).take("a", int(BURST_SECONDS))


def test_more_tenants_than_accounts_neither_fail_nor_block_those_that_are_quiet() -> None:
    now = 10**12
    rates = Rates(1.0, clock=lambda: now)
    for number in range(2 * SLOTS):
        rates.take(f"t{number}")
    now += 10**10
    rates.take("t0", int(BURST_SECONDS))


def test_requests_and_items_of_batches_count_for_the_key_that_they_bear(warden: Any) -> None:
    warden.settings = warden.settings.model_copy(update={"tenant_rate": 1.0})
    with warden.api() as api:
        labels = [{"message_id": "0" * 32, "label": "spam", "known_at": "2026-02-01T09:00:00Z"}] * 9
        for sent, status in ((labels, 200), (labels[:1], 200), (labels[:1], 429)):
            response = api.client.post("/v1/labels/batch", json={"labels": sent})
            assert response.status_code == status, response.text
        assert response.json()["type"] == "urn:mailwarden:problem:too-many"
        assert 1 <= int(response.headers["retry-after"]) <= BURST_SECONDS
        assert api.client.post("/v1/score", content=b"From: a@x.example\r\n\r\nx").status_code == 429
        other = api.client.get("/v1/decisions", headers=warden.headers("other"))
        assert other.status_code == 200
        assert api.client.get("/readyz").status_code == 200
        assert 'problem="too-many"' in api.client.get("/metrics").text
