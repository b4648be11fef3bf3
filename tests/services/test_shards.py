"""Tenants spread over shards: whoever is asked, one sequencer numbers a tenant's mail, and tenants can move."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mailwarden.errors import ConfigError, StoreUnavailable
from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.lake.event_log import table_to_events
from mailwarden.stores.shards import remember, shard_of, shards_of
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import ChildProcess, environment_of, wait_until, with_redis
from mailwarden_services.replay.live import rfc3339
from mailwarden_services.sequencer.remote import There, answering
from mailwarden_services.sequencer.sequencing import Asked

Mail = list[SimulatedMessage]


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


@pytest.fixture
def short_home(model_home: Any) -> Iterator[Settings]:
    """A home whose path leaves room for sockets, without a Redis named."""
    folder = Path(tempfile.mkdtemp(prefix="mw-shard-"))
    shutil.copytree(model_home.folder, folder / "h")
    yield Settings(home=folder / "h", spool_fsync=False, workers=1)
    shutil.rmtree(folder)


@contextlib.contextmanager
def served(settings: Settings, shards: int) -> Iterator[tuple[ChildProcess, httpx.Client]]:
    path = settings.run_path / "api.sock"
    process = ChildProcess(
        "mailwarden_services.cli",
        ["serve", "--socket", str(path), "--shards", str(shards)],
        environment_of(settings),
        settings.run_path / "log",
    )
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport, base_url="http://mailwarden", timeout=60.0) as client:

        def ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return bool(client.get("/readyz").json()["status"] == "ready")
            return False

        try:
            wait_until(ready, process, seconds=120, what="all shards' start")
            yield process, client
        finally:
            process.stop()


def send(client: httpx.Client, key: str, message: SimulatedMessage) -> httpx.Response:
    envelope = message.envelope
    assert envelope.received_at_us is not None
    return client.post(
        "/v1/score",
        content=message.raw,
        headers={
            "Authorization": f"Bearer {key}",
            "Content-Type": "message/rfc822",
            "X-Mailwarden-Received-At": rfc3339(envelope.received_at_us),
            "X-Mailwarden-Mail-From": envelope.mail_from or "",
            "X-Mailwarden-Rcpt-To": ",".join(envelope.rcpt_to),
            "Connection": "close",
        },
    )


def test_every_process_answers_for_every_tenant_and_tenants_move_without_a_gap(
    short_home: Settings, model_home: Any, simulated: Mail
) -> None:
    far = next(name for name in ("one", "two", "three", "four", "five") if shard_of(name, 2) == 1)
    tenants = Platform(short_home).tenants
    tenants.create(far, domains=("far.example",), created_us=1)
    keys = {"acme": model_home.keys["acme"], far: tenants.issue_key(far, "tests", 1)}
    assert shard_of("acme", 2) == 0
    with with_redis(short_home, keep=False) as settings:
        with served(settings, 2) as (process, client):
            # Connections are anew each time, so that both processes are asked for both tenants.
            seqs: dict[str, list[int]] = {"acme": [], far: []}
            for message in simulated[:8]:
                for tenant, key in keys.items():
                    seqs[tenant].append(send(client, key, message).json()["seq"])
            assert seqs == {"acme": list(range(1, 9)), far: list(range(1, 9))}
            again = [send(client, keys[tenant], simulated[0]).json() for tenant in keys for _ in range(4)]
            assert {(answer["seq"], answer["repeated"]) for answer in again} == {(1, True)}
            label = {"message_id": again[-1]["message_id"], "label": "SP", "known_at": "2026-03-30T10:00:00Z"}
            given = [
                client.post("/v1/labels", json=label, headers={"Authorization": f"Bearer {keys[far]}"}).json()
                for _ in range(3)
            ]
            assert [(one.get("seq"), one["repeated"]) for one in given] == [(9, False), (None, True), (None, True)]

            # Their spools are of unequal length from here on, and neither is taken for a part of the other.
            for message in simulated[10:16]:
                send(client, keys["acme"], message)

            # The process that numbers the tenant of the other shard is killed: nothing acknowledged is lost.
            (other,) = [pid for pid in _children(process.pid) if b"mailwarden_services.shard" in _command(pid)]
            os.kill(other, signal.SIGKILL)
            deadline = time.monotonic() + 120
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = send(client, keys[far], simulated[8])
                    assert answer.status_code in (200, 503), answer.text
                    if answer.status_code == 200:
                        break
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert send(client, keys[far], simulated[0]).json()["repeated"] is True
        with served(settings, 1) as (process, client):
            assert shards_of(settings.root) == 1
            for key in keys.values():
                assert send(client, key, simulated[3]).json()["repeated"] is True
                last = send(client, key, simulated[9]).json()
                assert last["repeated"] is False and last["features"]["as_of_seq"] == last["seq"] - 1
    events = table_to_events(Platform(short_home).events.scan().read_all())
    by_tenant = {name: sorted(e.seq for e in events if e.tenant == name) for name in keys}
    # Each once, in a row; what was handed over twice, while nobody could say whether it was numbered, is one.
    for name, found in by_tenant.items():
        assert found == list(range(1, len(found) + 1)), name
    ids = [(e.tenant, e.message_id) for e in events if e.kind == "message"]
    assert len(ids) == len(set(ids)) == 8 + 8 + 6 + 1 + 2


def _children(pid: int) -> list[int]:
    found = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for child in " ".join(found).split()]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
