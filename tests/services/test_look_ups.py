"""What a message waits for is looked up although callers keep the event loop's own threads busy."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, cast

import pytest

from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.sql import Decisions, Principal, Tenants
from mailwarden.stores.sql.keys import digest
from mailwarden_services.scoring_api import forgetting
from mailwarden_services.scoring_api.access import Keys
from mailwarden_services.scoring_api.forgetting import LOOKING, NOTHING, Forgetting, Logged
from mailwarden_services.scoring_api.tenant_directory import TenantDirectory

KEY = "mw_" + "a" * 43


class Database:
    def working_keys(self) -> frozenset[str]:
        return frozenset({digest(KEY)})

    def authenticate(self, key: str) -> Principal | None:
        return Principal("acme", "key", frozenset({"score"})) if key else None


def test_keys_and_domains_are_looked_up_while_all_other_threads_are_busy() -> None:
    async def test() -> None:
        free = threading.Event()
        busy = [asyncio.create_task(asyncio.to_thread(free.wait)) for _ in range(100)]
        try:
            async with asyncio.timeout(10):
                found = await Keys(cast(Tenants, Database())).principal(KEY)
                assert found is not None and found.tenant == "acme"
                assert (await TenantDirectory(list).current()).only_tenant is None
        finally:
            free.set()
            await asyncio.gather(*busy)

    asyncio.run(test())


def test_however_many_are_forgotten_few_look_into_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    looking, most = 0, 0
    lock = threading.Lock()

    def find(*_: Any) -> None:
        nonlocal looking, most
        with lock:
            looking += 1
            most = max(most, looking)
        time.sleep(0.002)
        with lock:
            looking -= 1

    monkeypatch.setattr(Logged, "find", find)
    monkeypatch.setattr(forgetting, "LOG_SECONDS", 0.0)

    async def test() -> None:
        nothing = cast(Any, None)
        one = Forgetting(nothing, cast(Decisions, nothing), cast(FactSets, nothing))
        asked = [one._logged("acme", f"{number:032x}", 0, None, NOTHING) for number in range(100)]
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert all("not in the event log yet" in str(error) for error in told)

    asyncio.run(test())
    assert most == LOOKING
