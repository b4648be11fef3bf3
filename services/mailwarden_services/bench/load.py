"""A load generator as a process of its own: a task on stdin as JSON, what was measured on stdout as JSON.

It is one thread that waits in select(2) and does little beside: on the machine that it loads, what it takes is taken
from the server. How much that was is part of the result.
"""

from __future__ import annotations

import base64
import gc
import json
import random
import re
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Literal

from mailwarden.errors import StoreUnavailable
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.bench.arrivals import ARRIVALS
from mailwarden_services.bench.connection import Connection
from mailwarden_services.bench.timing import percentiles
from mailwarden_services.replay.live import rfc3339

OPEN_CONNECTIONS = 32
"""Connections of an open loop: enough that none of its requests waits for one."""

_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*<?", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LoadTask:
    """What to send.

    socket: unix socket of the server. key: a tenant's. file: of `write_load`, sent in order, then again and again, each
    with a Message-ID of its own, which tasks that begin at another time have others of. seconds, messages: how long and
    how many at most; 0 messages is no limit.
    connections: kept alive, each with one request at a time. rate: requests a second in an open loop, at random
    intervals; None is a closed loop, each connection as fast as it is answered. start: number of the first request: one
    of a number that was sent before would be the same message. begin_us: time that the first one bears; 0 is `start`
    seconds after the file's own. times: one of `ARRIVALS`. moments: where not empty, a file to write a line an answer
    to, its seq and when it came, seconds of the machine's monotonic clock. protocol: of rspamd, each request has a
    connection of its own, as that closes it. named_client: rspamd is told the client's host name, which it else asks of
    the DNS.
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
    messages: int = 0
    begin_us: int = 0
    times: str = "strict"
    protocol: Literal["mailwarden", "rspamd"] = "mailwarden"
    named_client: bool = True


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What was measured. messages: answered with a score of their own; failed: the others. last_seq: greatest seq.

    Latencies in an open loop count from when a request was due, so that a stalled server is not flattered.
    p99_less_generator_ms: of latencies less all CPU time that the generator used while the request was under way, the
    least that they can have been without it. sent_late_p99_ms: from due to sent. generator_cpu_ms: a message.
    """

    messages: int
    failed: int
    seconds: float
    messages_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    last_seq: int
    p99_less_generator_ms: float | None
    sent_late_p99_ms: float | None
    generator_cpu_ms: float


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
    """The bytes of every HTTP request from `task.start` on, without end."""
    with Path(task.file).open(encoding="utf-8") as file:
        start_us = json.loads(file.readline())["start_us"]
        lines = [json.loads(line) for line in file]
    bodies = [(*_around_id(base64.b64decode(line["raw"])), line["mail_from"], line["rcpt_to"]) for line in lines]
    begin_us, arrival = task.begin_us or start_us + task.start * 1_000_000, ARRIVALS[task.times]
    for number in count(task.start):
        before, after, mail_from, rcpt_to = bodies[number % len(bodies)]
        raw = b"%b%d.%d.%b" % (before, number, begin_us, after)
        if task.protocol == "rspamd":
            recipients = "".join(f"Rcpt: {one}\r\n" for one in rcpt_to.split(","))
            name = "Hostname: mail.example.com\r\nHelo: mail.example.com\r\n" if task.named_client else ""
            head = (
                "POST /checkv2 HTTP/1.1\r\nHost: localhost\r\nIP: 203.0.113.5\r\n"
                f"{name}From: {mail_from}\r\n{recipients}"
            )
        else:
            head = (
                "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: message/rfc822\r\n"
                f"Authorization: Bearer {task.key}\r\n"
                f"X-Mailwarden-Received-At: {rfc3339(begin_us + arrival(number - task.start))}\r\n"
                f"X-Mailwarden-Mail-From: {mail_from}\r\nX-Mailwarden-Rcpt-To: {rcpt_to}\r\n"
            )
        yield b"%bContent-Length: %d\r\n\r\n%b" % (head.encode(), len(raw), raw)


def _around_id(raw: bytes) -> tuple[bytes, bytes]:
    """What comes before and after a word that is put into a message's Message-ID, which it is given if it has none."""
    blank = re.search(rb"\r?\n\r?\n", raw)
    found = _MESSAGE_ID.search(raw, 0, len(raw) if blank is None else blank.start())
    if found is None:
        return b"Message-ID: <", b"load@example.com>\r\n" + raw
    return raw[: found.end()], raw[found.end() :]


class _Tally:
    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.less: list[float] = []
        self.late: list[float] = []
        self.failed = 0
        self.last_seq = 0
        self.moments: list[tuple[int, float]] = []

    def take(self, status: int, answer: bytes, seconds: float, cpu: float) -> None:
        # What was repeated was not scored: the answer of one that came before ends so.
        if status != 200 or answer.endswith(b'"repeated":true}'):
            self.failed += 1
            return
        self.latencies.append(seconds)
        self.less.append(max(0.0, seconds - cpu))
        # Reading the whole answer would cost the generator time that it has not got on two cores.
        at = answer.find(b'"seq":')
        digits = answer[at + 6 : at + 26].split(b",", 1)[0].rstrip(b"}")
        if at >= 0 and digits.isdigit():
            self.last_seq = max(self.last_seq, int(digits))
            self.moments.append((int(digits), time.monotonic()))


def _dues(task: LoadTask) -> Iterator[float]:
    """Seconds from the load's begin at which each request is due; in a closed loop all are at once."""
    chance, at = random.Random(task.seed), 0.0
    for number in count():
        if task.rate is not None:
            at += chance.expovariate(task.rate)
        if at >= task.seconds or (task.messages and number >= task.messages):
            return
        yield at


def _send_all(task: LoadTask, requests: Iterator[bytes], tally: _Tally) -> float:
    """Send the load; the seconds that it took."""
    idle = [Connection(task.socket) for _ in range(task.connections)]
    busy: set[Connection] = set()
    waiting: deque[tuple[float, float]] = deque()
    dues = _dues(task)
    next_request = next(requests)
    clock, cpu_clock = time.perf_counter, time.thread_time
    started = clock()
    due = next(dues, None)
    closed = task.rate is None
    while due is not None or waiting or busy:
        now = clock() - started
        if closed and now >= task.seconds:
            due = None
        while due is not None and due <= now and (not closed or len(waiting) < len(idle)):
            waiting.append((now if closed else due, cpu_clock()))
            due = next(dues, None)
        while waiting and idle:
            connection, (at, cpu) = idle.pop(), waiting.popleft()
            connection.begin(next_request, at, cpu)
            tally.late.append(clock() - started - at)
            busy.add(connection)
            next_request = next(requests)
        if not busy and due is None:
            break
        pause = None if closed or due is None else max(0.0, due - (clock() - started))
        writing = [connection for connection in busy if connection.rest]
        readable, writable, _ = select.select(busy, writing, (), pause)
        for connection in writable:
            connection.send()
        for connection in readable:
            answer = connection.receive()
            if answer is None:
                continue
            at = clock() - started
            tally.take(*answer, at - connection.due, cpu_clock() - connection.cpu)
            busy.discard(connection)
            if answer[0] == 0 or task.protocol == "rspamd":
                connection.again()
            idle.append(connection)
    for connection in idle:
        connection.sock.close()
    return clock() - started


def run(task: LoadTask) -> LoadResult:
    """Send the load from this process."""
    tally = _Tally()
    requests: Iterable[bytes] = requests_of(task)
    cpu = time.process_time()
    seconds = _send_all(task, iter(requests), tally)
    cpu = time.process_time() - cpu
    if task.moments:
        Path(task.moments).write_text("".join(f"{seq} {at:.6f}\n" for seq, at in tally.moments))
    n = len(tally.latencies)
    times = percentiles(tally.latencies)
    return LoadResult(
        messages=n,
        failed=tally.failed,
        seconds=round(seconds, 2),
        messages_per_second=round(n / seconds, 1),
        p50_ms=times["p50_ms"],
        p99_ms=times["p99_ms"],
        last_seq=tally.last_seq,
        p99_less_generator_ms=percentiles(tally.less)["p99_ms"],
        sent_late_p99_ms=percentiles(tally.late)["p99_ms"],
        generator_cpu_ms=round(1e3 * cpu / max(1, n + tally.failed), 3),
    )


if __name__ == "__main__":
    gc.disable()
    print(json.dumps(asdict(run(LoadTask(**json.load(sys.stdin))))))
