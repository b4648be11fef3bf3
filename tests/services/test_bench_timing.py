from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import NotFound, StoreUnavailable
from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.bench.load import LoadTask, generate_load, requests_of, run, write_load
from mailwarden_services.bench.mail import mail_events
from mailwarden_services.bench.suite import bench_tables, run_bench
from mailwarden_services.bench.timing import percentiles, take_turns

START_US = 1_772_409_600_000_000


class Answers:
    """An HTTP server that answers each request with a seq, after a while."""

    def __init__(self, seconds: float, status: int = 200, *, hangs_up: bool = False) -> None:
        self.seconds, self.status, self.hangs_up = seconds, status, hangs_up
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                self.heads.append(head)
                await asyncio.sleep(self.seconds)
                body = json.dumps({"seq": len(self.heads), "score": 0.5}, separators=(",", ":")).encode()
                writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%b" % (self.status, len(body), body))
                if self.hangs_up:
                    await writer.drain()
                    writer.close()
                    return
        except asyncio.IncompleteReadError:
            writer.close()


@contextmanager
def answering(path: Path, answers: Answers) -> Iterator[None]:
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with await asyncio.start_unix_server(answers.serve, path):
            ready.set()
            while not stop.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(5)
    try:
        yield
    finally:
        stop.set()
        thread.join(5)


def task_for(folder: Path, **changed: object) -> LoadTask:
    envelope = Envelope(START_US, "a@b.example", ("c@d.example", "e@d.example"))
    messages = [SimulatedMessage(b"Subject: %d\r\n\r\nx\r\n" % i, envelope, "ham", f"{i}.eml", None) for i in range(3)]
    write_load(folder / "load", messages, START_US)
    values = {
        "socket": str(folder / "s"),
        "key": "mw_key",
        "file": str(folder / "load"),
        "seconds": 0.5,
        "connections": 2,
        "rate": None,
        "start": 1,
    }
    return LoadTask(**{**values, **changed})  # type: ignore[arg-type]


def test_no_request_is_sent_twice(tmp_path: Path) -> None:
    task = task_for(tmp_path)
    sent = list(islice(requests_of(task), 7))
    assert len(set(sent)) == 7
    assert b"X-Mailwarden-Received-At: 2026-03-02T00:00:01+00:00\r\n" in sent[0]
    assert b"X-Mailwarden-Rcpt-To: c@d.example,e@d.example\r\n" in sent[0]
    assert sent[0].endswith(b"Subject: 1\r\n\r\nx\r\n") and sent[3].endswith(b"Subject: 1\r\n\r\nx\r\n")
    later = list(islice(requests_of(replace(task, begin_us=START_US + 9)), 7))
    ids = [request.split(b"Message-ID: ")[1].splitlines()[0] for request in (*sent, *later)]
    assert ids[0] == b"<1.%d.load@example.com>" % (START_US + 1_000_000) and len(set(ids)) == 14


def test_a_message_id_that_is_there_is_made_anew(tmp_path: Path) -> None:
    raw = b"From: a@b.example\r\nmessage-id:  <x@b.example>\r\n\r\nMessage-ID: <body>\r\n"
    write_load(tmp_path / "load", [SimulatedMessage(raw, Envelope(), "", "1", None)], START_US)
    first, second = islice(requests_of(LoadTask("s", "k", str(tmp_path / "load"), 1.0, 1, None, start=8)), 2)
    assert b"message-id:  <8.%d.x@b.example>\r\n\r\nMessage-ID: <body>" % (START_US + 8_000_000) in first
    assert b"message-id:  <9.%d.x@b.example>" % (START_US + 8_000_000) in second


def test_a_closed_loop_asks_again_as_soon_as_it_is_answered(tmp_path: Path) -> None:
    answers = Answers(0.02)
    with answering(tmp_path / "s", answers):
        found = generate_load(task_for(tmp_path))
    # Two connections with 20 ms an answer make a hundred a second at most.
    assert 3 <= found.messages <= 52 and found.failed == 0
    assert found.messages == len(answers.heads) and found.last_seq == found.messages
    assert found.p50_ms is not None and found.p50_ms >= 20
    assert "Bearer mw_key" in answers.heads[0] and b"Subject: " in answers.bodies[0]


def test_an_open_loop_counts_waiting_as_latency(tmp_path: Path) -> None:
    with answering(tmp_path / "s", Answers(0.05)):
        found = run(task_for(tmp_path, connections=1, rate=100.0))
    # A hundred a second are due and twenty are answered: the last ones have waited for over a second.
    assert found.messages > 25
    assert found.p99_ms is not None and found.p99_ms > 700


def test_refused_requests_are_counted_apart(tmp_path: Path) -> None:
    with answering(tmp_path / "s", Answers(0.01, status=503)):
        found = run(task_for(tmp_path, seconds=0.1))
    assert found.messages == 0 and found.failed > 0 and found.p50_ms is None


def test_a_load_ends_after_so_many_messages(tmp_path: Path) -> None:
    answers = Answers(0.0)
    with answering(tmp_path / "s", answers):
        closed = run(task_for(tmp_path, messages=7, seconds=30.0))
        opened = run(task_for(tmp_path, messages=5, seconds=30.0, rate=500.0, connections=3))
    assert (closed.messages, opened.messages, len(answers.heads)) == (7, 5, 12)


def test_what_the_generator_takes_is_told_apart(tmp_path: Path) -> None:
    with answering(tmp_path / "s", Answers(0.01)):
        found = generate_load(task_for(tmp_path, messages=20))
    assert found.p99_ms is not None and found.p99_less_generator_ms is not None
    # The server slept for ten milliseconds, which nobody's processor was needed for.
    assert 9.9 <= found.p99_less_generator_ms <= found.p99_ms
    assert 0 < found.generator_cpu_ms < 10


def test_a_server_that_hangs_up_is_asked_over_another_connection(tmp_path: Path) -> None:
    answers = Answers(0.0, hangs_up=True)
    with answering(tmp_path / "s", answers):
        found = run(task_for(tmp_path, messages=6, protocol="rspamd", named_client=False))
    assert (found.messages, found.failed) == (6, 0)
    assert answers.heads[0].startswith("POST /checkv2 ") and "\r\nRcpt: e@d.example\r\n" in answers.heads[0]
    assert "Hostname" not in answers.heads[0] and "mw_key" not in answers.heads[0]


def test_a_connection_that_breaks_is_a_failure(tmp_path: Path) -> None:
    with answering(tmp_path / "s", Answers(0.0, hangs_up=True)):
        found = run(task_for(tmp_path, messages=6, connections=1))
    # A closed connection is found at the next request, which is not sent again.
    assert (found.messages, found.failed) == (3, 3)


def test_a_load_without_a_server_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="load generator"):
        generate_load(task_for(tmp_path))


def test_calls_take_turns() -> None:
    order: list[str] = []
    found = take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 120)
    assert order.count("a") == order.count("b") == 123
    assert "".join(order[6:]).startswith("a" * 50 + "b" * 100 + "a" * 50)
    assert set(found) == {"a", "b"} and set(found["a"]) == {"p50_ms", "p99_ms"}


def test_percentiles_are_milliseconds() -> None:
    assert percentiles([0.001] * 99 + [0.101]) == {"p50_ms": 1.0, "p99_ms": 2.0}


def test_made_up_mail_is_settled_and_in_order() -> None:
    mail = list(mail_events(300, senders=20, domains=4, recipients=5))
    assert mail == list(mail_events(300, senders=20, domains=4, recipients=5))
    assert [event.seq for event in mail] == list(range(1, 301))
    times = [event.received_at_us for event in mail]
    assert times == sorted(times)
    assert {event.sender_domain for event in mail if event.direction == "inbound"} == {
        f"d{i}.example" for i in range(4)
    }
    assert 30 < sum(event.direction == "outbound" for event in mail) < 90


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(NotFound, match="'speed'"):
        run_bench(Settings(), parts=("speed",))


def test_tables_of_every_part() -> None:
    read = {"p50_ms": 0.1, "p99_ms": 0.2}
    names = ("bare", "bare_plain", "ours", "plain", "ours_several", "ours_cluster", "feast_sdk", "feast_store")
    rate = {"seconds": 2.0, "rows_per_second": 10}
    figures = {
        "online": {
            "features": 63,
            "plain_features": 60,
            "views": 4,
            "reads": 10,
            "bytes_a_key": {"relationship": {"with_redis": 585}},
            **dict.fromkeys(names, read),
        },
        "join": {
            "requests": 1,
            "events": 2,
            "ours": {"rows": 1, "seconds": 2.0},
            "feast_spark": {"rows": 1, "seconds": 3.0},
            "windowed": {"rows": 1, "seconds": 9.0, "features": 63},
            "rows_that_differ": 0,
        },
        "load": {"keys": 20, "values": 10, "ours": rate, "feast_engine": rate},
        "freshness": {
            "offered_per_second": 100.0,
            "streams": 4,
            "messages": 9,
            "longest_ms": 1.5,
            "answer": read,
            "to_folded": read,
        },
        "hostile": {
            **{side: {path: {"requests": 9, **read} for path in ("healthz", "score")} for side in ("alone", "beside")},
            "hostile": {"200": 7},
            "senders": 4,
            "peak_bytes": 2**30,
        },
        "abuse": {
            "rate": 10.0,
            "seconds": 30.0,
            "mail": "mail",
            "ways": {
                "slow clients": {
                    "requests": 9,
                    "failed": 0,
                    **read,
                    "memory": {"peak_bytes": 2**30},
                    "answers": {"slow clients": {"opened": 7, "": 2}},
                }
            },
        },
    }
    assert len(bench_tables(figures)) == len(figures)
