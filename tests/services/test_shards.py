"""Tenants spread over shards, and calls from one process to another; `test_serve_kills` has all of it running."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mailwarden.errors import ConfigError, StoreUnavailable
from mailwarden.stores.shards import remember, shard_of, shards_of
from mailwarden_services.sequencer.remote import There, answering
from mailwarden_services.sequencer.sequencing import Asked


def test_a_tenants_shard_is_its_names_alone() -> None:
    assert {shard_of(f"tenant{n}", 8) for n in range(200)} == set(range(8))
    # For ever: a home's tenants lie where this says.
    assert [shard_of(name, 5) for name in ("acme", "other")] == [0, 3]
    assert shard_of("acme", 1) == 0


def test_the_number_of_shards_is_remembered_or_refused(tmp_path: Path) -> None:
    assert shards_of(tmp_path) == 1
    remember(tmp_path, 3)
    assert shards_of(tmp_path) == 3
    (tmp_path / "shards").write_text("many")
    with pytest.raises(ConfigError, match="a number from 1 to 64"):
        shards_of(tmp_path)


class Slow:
    """A sequencer that answers when it is let."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def begin(self, tenant: str, asked: Asked) -> str:
        if asked.observe:
            await self.go.wait()
        return f"{tenant} {asked.message_id}"

    async def numbered(self, tenant: str, message_ids: list[str]) -> set[str]:
        raise StoreUnavailable("the index is away")


def test_calls_to_another_process_overtake_each_other_and_fail_alone(tmp_path: Path) -> None:
    async def test() -> None:
        path, slow = tmp_path / "s.sock", Slow()
        there = There(path, 1)
        with pytest.raises(StoreUnavailable, match="shard 1 cannot be reached"):
            await there.begin("acme", Asked("m", "", None, False))
        async with answering(slow, path):  # type: ignore[arg-type]
            assert path.stat().st_mode & 0o777 == 0o600
            waits = asyncio.create_task(there.begin("acme", Asked("waits", "", None, True)))
            found = await asyncio.gather(*(there.begin("acme", Asked(str(n), "", None, False)) for n in range(50)))
            assert found == [f"acme {n}" for n in range(50)] and not waits.done()
            with pytest.raises(StoreUnavailable, match="the index is away"):
                await there.numbered("acme", ["m"])
            slow.go.set()
            assert await waits == "acme waits"
            slow.go.clear()
            lost = asyncio.create_task(there.begin("acme", Asked("lost", "", None, True)))
            await there.begin("acme", Asked("behind", "", None, False))
        with pytest.raises(StoreUnavailable, match="hand the mail over once more"):
            await lost
        async with answering(slow, path):  # type: ignore[arg-type]
            assert await there.begin("acme", Asked("again", "", None, False)) == "acme again"
            await there.close()

    asyncio.run(asyncio.wait_for(test(), 60))
