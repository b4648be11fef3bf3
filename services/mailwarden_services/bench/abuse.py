"""What one tenant's clients can do to another's mail by how they call: slowly, halfway, in masses, with huge mail.

For each way of abuse, and for all of them at once, the other tenant's latency in an open loop at a modest rate, and the
memory that all processes of the service hold, Redis apart (`memory`).
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket as sockets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from mailwarden.domain.aggregates.windows import SECOND_US
from mailwarden.settings import Settings
from mailwarden_services.bench.home import LoadedHome, loaded_home
from mailwarden_services.bench.load import OPEN_CONNECTIONS, LoadTask, generate_load
from mailwarden_services.bench.memory import memory_watched
from mailwarden_services.bench.senders import Sender, Stop, Tell, sending
from mailwarden_services.bench.served import served
from mailwarden_services.bootstrap import Platform
from mailwarden_services.replay.live import LiveService, UnixConnection

RATE = 10.0
"""Messages a second of the tenant that does nothing wrong."""
SECONDS, QUICK_SECONDS = 30.0, 6.0

SLOW_CLIENTS = 100
HELD_BODIES = 40
HELD_BYTES = 12 << 20
LARGE_MAILS = 20
LARGE_BYTES = 25 << 20
MANY_RECIPIENTS, RECIPIENTS = 5, 1_000
LABELS = 1_000
WAVE_SECONDS = 10.0
"""Between two waves of large mails, and of mails to many."""

ABUSER = "abuser"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AbuseOptions:
    """home, tenant: see `loaded_home`. serve: further words for `serve`. seconds: of each way of abuse."""

    home: Path | None = None
    tenant: str = ""
    serve: Sequence[str] = ()
    seconds: float = SECONDS


def measure(settings: Settings, options: AbuseOptions, *, say: Say = lambda _: None) -> dict[str, Any]:
    """By way of abuse, the other tenant's p50_ms and p99_ms, peak memory, and how abuse was answered.

    settings: all but home and Redis are taken from it.
    """
    with loaded_home(settings, say, home=options.home, tenant=options.tenant) as home:
        platform = Platform(home.settings)
        platform.tenants.create(ABUSER, domains=("abuser.example",), created_us=1)
        key = platform.tenants.issue_key(ABUSER, "bench", 1)
        socket = str(home.settings.run_path / "api.sock")
        # What a way leaves behind is the next one's burden: the least first.
        ways = {
            "alone": [],
            "slow clients": [Sender("slow clients", slow_clients, (socket, key))],
            "held bodies": [Sender("held bodies", held_bodies, (socket, key))],
            "label batches": [Sender("label batches", label_batches, (socket, key))],
            "mail to many": [Sender("mail to many", mail_to_many, (socket, key, 1))],
            "large mail": [Sender("large mail", large_mail, (socket, key, 1))],
            "all at once": [
                Sender("slow clients", slow_clients, (socket, key)),
                Sender("held bodies", held_bodies, (socket, key)),
                Sender("label batches", label_batches, (socket, key)),
                Sender("mail to many", mail_to_many, (socket, key, 2)),
                Sender("large mail", large_mail, (socket, key, 2)),
            ],
        }
        with served(home.settings, home.key, options.serve) as service:
            run = _Run(home, service, options.seconds)
            run.beside([], seconds=2.0)
            found = {}
            for name, senders in ways.items():
                say(f"{name}, {options.seconds:.0f} s")
                found[name] = run.beside(senders, options.seconds)
    return {"rate": RATE, "seconds": options.seconds, "mail": home.mail, "cores": os.cpu_count(), "ways": found}


class _Run:
    def __init__(self, home: LoadedHome, service: LiveService, seconds: float) -> None:
        self._home, self._service = home, service
        self._number, self._at_us = 1, home.begin_us

    def beside(self, senders: Sequence[Sender], seconds: float) -> dict[str, Any]:
        """The other tenant's figures while these clients are at work."""
        task = LoadTask(
            socket=str(self._home.settings.run_path / "api.sock"),
            key=self._home.key,
            file=str(self._home.load),
            seconds=seconds,
            connections=OPEN_CONNECTIONS,
            rate=RATE,
            start=self._number,
            begin_us=self._at_us,
            times="late",
        )
        with memory_watched(self._service.process.pid) as memory, sending(senders) as answers:
            load = generate_load(task)
        sent = load.messages + load.failed
        self._number += sent
        self._at_us += sent * SECOND_US
        return {
            "requests": load.messages,
            "failed": load.failed,
            "p50_ms": load.p50_ms,
            "p99_ms": load.p99_ms,
            "memory": memory.figures(),
            "answers": {name: dict(counts) for name, counts in answers.items()},
        }


def slow_clients(socket: str, key: str, stop: Stop, tell: Tell) -> None:
    """Many connections that send a byte of their header fields each second and never come to an end."""
    head = (
        f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nX-Slow: {'x' * 9_000}".encode()
    )
    _hold(socket, head, 1, SLOW_CLIENTS, stop, tell)


def held_bodies(socket: str, key: str, stop: Stop, tell: Tell) -> None:
    """Connections that send half of a large message and then nothing."""
    head = (
        f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: message/rfc822\r\n"
        f"Content-Length: {2 * HELD_BYTES}\r\n\r\nSubject: held\r\n\r\n"
    )
    _hold(socket, head.encode() + bytes(HELD_BYTES), HELD_BYTES + len(head), HELD_BODIES, stop, tell)


def _hold(path: str, data: bytes, step: int, connections: int, stop: Stop, tell: Tell) -> None:
    """Send data over each connection, so many bytes a second, and hold it; whoever is hung up on comes again."""
    held: list[tuple[sockets.socket, memoryview]] = []
    while not stop.is_set():
        while len(held) < connections:
            connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
            try:
                connection.connect(path)
            except OSError as exc:
                tell(type(exc).__name__)
                break
            connection.setblocking(False)
            held.append((connection, memoryview(data)))
            tell("opened")
        still = []
        for connection, rest in held:
            try:
                sent = connection.send(rest[:step]) if rest else 0
            except BlockingIOError:
                sent = 0
            except OSError:
                sent = -1
            answer = _answer(connection)
            if sent < 0 or answer is not None:
                tell(answer or "hung up")
                connection.close()
            else:
                still.append((connection, rest[sent:]))
        held = still
        stop.wait(1.0 if step == 1 else 0.05)
    for connection, _ in held:
        connection.close()


def _answer(connection: sockets.socket) -> str | None:
    """The status that a connection was answered, "" where it was closed without, None where nothing came."""
    try:
        data = connection.recv(4_096)
    except BlockingIOError:
        return None
    except OSError:
        return ""
    return data[9:12].decode("latin-1")


def label_batches(socket: str, key: str, stop: Stop, tell: Tell) -> None:
    """Batches of labels for messages that nobody knows, one after another."""
    for number in count():
        if stop.is_set():
            return
        labels = [
            {"message_id": f"{number:08x}{at:08x}" * 2, "label": "spam", "known_at": "2026-01-31T09:00:00Z"}
            for at in range(LABELS)
        ]
        tell(_posted(socket, key, "/v1/labels/batch", json.dumps({"labels": labels}).encode()))


def large_mail(socket: str, key: str, part: int, stop: Stop, tell: Tell) -> None:
    """Waves of mails as large as they may be, all of a wave at once."""
    filling = base64.encodebytes(os.urandom(LARGE_BYTES * 56 // 77 - 4_096))

    def one(number: int) -> str:
        head = (
            f"From: a@abuser.example\r\nTo: b@abuser.example\r\nSubject: {number}\r\n"
            f"Message-ID: <large{part}.{number}@abuser.example>\r\n"
            "Content-Type: application/octet-stream; name=x.bin\r\n"
            "Content-Transfer-Encoding: base64\r\nMIME-Version: 1.0\r\n\r\n"
        )
        query = f"?received_at=2026-02-0{part}T{number // 3_600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        return _posted(socket, key, f"/v1/score{query}", head.encode() + filling, "message/rfc822")

    _waves(LARGE_MAILS, one, stop, tell)


def mail_to_many(socket: str, key: str, part: int, stop: Stop, tell: Tell) -> None:
    """Waves of mails to as many recipients as there may be, nobody twice."""

    def one(number: int) -> str:
        raw = f"From: a@abuser.example\r\nMessage-ID: <many{part}.{number}@abuser.example>\r\n\r\nx\r\n"
        body = {
            "message": base64.b64encode(raw.encode()).decode(),
            "received_at": f"2026-02-1{part}T{number // 3_600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
            "rcpt_to": [f"p{part}.{number}.{at}@many.example" for at in range(RECIPIENTS)],
        }
        return _posted(socket, key, "/v1/score", json.dumps(body).encode())

    _waves(MANY_RECIPIENTS, one, stop, tell)


def _waves(wave: int, one: Callable[[int], str], stop: Stop, tell: Tell) -> None:
    with ThreadPoolExecutor(wave) as threads:
        for number in count():
            began = time.monotonic()
            under_way = [threads.submit(one, number * wave + at) for at in range(wave)]
            tell("waves")
            for request in under_way:
                tell(request.result())
            if stop.wait(max(0.0, WAVE_SECONDS - (time.monotonic() - began))):
                return


def _posted(socket: str, key: str, path: str, body: bytes, kind: str = "application/json") -> str:
    """The status of a request over a connection of its own, or the name of what went wrong."""
    connection = UnixConnection(Path(socket), 120.0)
    try:
        connection.request("POST", path, body, {"Authorization": f"Bearer {key}", "Content-Type": kind})
        response = connection.getresponse()
        response.read()
        return str(response.status)
    except (OSError, http.client.HTTPException) as exc:
        return type(exc).__name__
    finally:
        connection.close()
