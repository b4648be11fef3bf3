"""A load generator as a process of its own: a task on stdin as JSON, what was measured on stdout as JSON."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from mailwarden.errors import StoreUnavailable
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.bench.timing import percentiles
from mailwarden_services.replay.live import rfc3339

OPEN_CONNECTIONS = 32
"""Connections of an open loop: enough that none of its requests waits for one."""


@dataclass(frozen=True, slots=True)
class LoadTask:
    """What to send.

    socket: of the API. key: a tenant's. file: of `write_load`, sent in order, then again at later times. seconds:
    how long. connections: kept alive, each with one request at a time. rate: requests a second in an open loop, at
    random intervals; None is a closed loop, each connection as fast as it is answered. start: number of the first
    request, from which its time of arrival follows, so that no message is sent twice. moments: where not empty, a
    file to write a line an answer to, its seq and when it came, seconds of the machine's monotonic clock.
    """

    socket: str
    key: str
    file: str
    seconds: float
    connections: int
    rate: float | None
    start: int
    seed: int = 7
    moments: str = ""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What was measured. messages: answered with 200; failed: the others. last_seq: greatest seq answered.

    Latencies in an open loop count from when a request was due, so that a stalled server is not flattered.
    """

    messages: int
    failed: int
    seconds: float
    messages_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    last_seq: int


def write_load(path: Path, messages: Sequence[SimulatedMessage], start_us: int) -> None:
    """Write messages for `LoadTask.file`: a line a message with its envelope; arrivals begin after start_us."""
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"start_us": start_us}) + "\n")
        for message in messages:
            envelope = message.envelope
            line = {
                "raw": base64.b64encode(message.raw).decode(),
                "mail_from": envelope.mail_from or "",
                "rcpt_to": ",".join(envelope.rcpt_to),
            }
            file.write(json.dumps(line) + "\n")


def generate_load(task: LoadTask) -> LoadResult:
    """Run a task in a process of its own; raises StoreUnavailable with its words where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(asdict(task)),
        capture_output=True,
        text=True,
        timeout=task.seconds + 120,
        check=False,
    )
    if done.returncode:
        raise StoreUnavailable(f"the load generator ended with {done.returncode}: {done.stderr[-1_000:]}")
    return LoadResult(**json.loads(done.stdout))


def requests_of(task: LoadTask) -> Iterator[bytes]:
    """The bytes of every HTTP request from `task.start` on, without end; arrivals are a second apart."""
    with Path(task.file).open(encoding="utf-8") as file:
        start_us = json.loads(file.readline())["start_us"]
        lines = [json.loads(line) for line in file]
    bodies = [(base64.b64decode(line["raw"]), line["mail_from"], line["rcpt_to"]) for line in lines]
    for number in count(task.start):
        raw, mail_from, rcpt_to = bodies[number % len(bodies)]
        head = (
            "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: message/rfc822\r\n"
            f"Authorization: Bearer {task.key}\r\nContent-Length: {len(raw)}\r\n"
            f"X-Mailwarden-Received-At: {rfc3339(start_us + number * 1_000_000)}\r\n"
            f"X-Mailwarden-Mail-From: {mail_from}\r\nX-Mailwarden-Rcpt-To: {rcpt_to}\r\n\r\n"
        )
        yield head.encode() + raw


_Exchange = Callable[[bytes], Awaitable[tuple[int, bytes]]]
"""Sends a request and returns the answer's status and body."""


class _Tally:
    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.failed = 0
        self.last_seq = 0
        self.moments: list[tuple[int, float]] = []

    def take(self, status: int, body: bytes, seconds: float) -> None:
        if status != 200:
            self.failed += 1
            return
        self.latencies.append(seconds)
        # Reading the whole answer would cost the generator time that it has not got on two cores.
        at = body.find(b'"seq":')
        digits = body[at + 6 : at + 26].split(b",", 1)[0].rstrip(b"}")
        if at >= 0 and digits.isdigit():
            self.last_seq = max(self.last_seq, int(digits))
            self.moments.append((int(digits), time.monotonic()))


@asynccontextmanager
async def _connection(path: str) -> AsyncIterator[_Exchange]:
    reader, writer = await asyncio.open_unix_connection(path)

    async def exchange(request: bytes) -> tuple[int, bytes]:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        at = lower.index(b"content-length:") + 15
        length = int(lower[at : lower.index(b"\r\n", at)])
        return int(head[9:12]), await reader.readexactly(length)

    try:
        yield exchange
    finally:
        writer.close()


async def _closed(task: LoadTask, requests: Iterator[bytes], tally: _Tally) -> float:
    started = time.perf_counter()

    async def keep_asking() -> None:
        async with _connection(task.socket) as exchange:
            while (sent := time.perf_counter()) - started < task.seconds:
                status, body = await exchange(next(requests))
                tally.take(status, body, time.perf_counter() - sent)

    await asyncio.gather(*(keep_asking() for _ in range(task.connections)))
    return time.perf_counter() - started


async def _open(task: LoadTask, rate: float, requests: Iterator[bytes], tally: _Tally) -> float:
    rng = random.Random(task.seed)
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    started = time.perf_counter()

    async def answer() -> None:
        async with _connection(task.socket) as exchange:
            while (item := await due.get()) is not None:
                status, body = await exchange(item[1])
                tally.take(status, body, time.perf_counter() - item[0])

    workers = [asyncio.create_task(answer()) for _ in range(task.connections)]
    at = started
    while (at := at + rng.expovariate(rate)) - started < task.seconds:
        request = next(requests)
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        due.put_nowait((at, request))
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)
    return time.perf_counter() - started


def run(task: LoadTask) -> LoadResult:
    """Send the load from this process."""
    tally, requests = _Tally(), requests_of(task)
    load = _closed(task, requests, tally) if task.rate is None else _open(task, task.rate, requests, tally)
    seconds = asyncio.run(load)
    if task.moments:
        Path(task.moments).write_text("".join(f"{seq} {at:.6f}\n" for seq, at in tally.moments))
    n = len(tally.latencies)
    times = percentiles(tally.latencies)
    rate = round(n / seconds, 1)
    return LoadResult(n, tally.failed, round(seconds, 2), rate, times["p50_ms"], times["p99_ms"], tally.last_seq)


if __name__ == "__main__":
    print(json.dumps(asdict(run(LoadTask(**json.load(sys.stdin))))))
