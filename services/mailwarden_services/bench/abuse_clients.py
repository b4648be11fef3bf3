"""Clients that abuse a service, each a `Sender.work`: slow ones, ones that stop halfway, masses, huge mail."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket as sockets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from random import Random

from mailwarden_services.bench.senders import Stop, Tell
from mailwarden_services.replay.live import UnixConnection

WAVE_SECONDS = 10.0
"""Between two waves."""


def slow_clients(socket: str, key: str, clients: int, stop: Stop, tell: Tell) -> None:
    """Many connections that send a byte of their header fields each second and never come to an end."""
    head = f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nX-Slow: {'x' * 9_000}"
    _hold(socket, head.encode(), 1, clients, stop, tell)


def held_bodies(socket: str, key: str, clients: int, size: int, stop: Stop, tell: Tell) -> None:
    """Connections that send so many bytes, half of a message, and then nothing."""
    head = (
        f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: message/rfc822\r\n"
        f"Content-Length: {2 * size}\r\n\r\nSubject: held\r\n\r\n"
    )
    _hold(socket, head.encode() + bytes(size), size + len(head), clients, stop, tell)


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


def label_batches(socket: str, key: str, batch: int, stop: Stop, tell: Tell) -> None:
    """Batches of labels for messages that nobody knows, one after another."""
    for number in count():
        if stop.is_set():
            return
        labels = [
            {"message_id": f"{number:08x}{at:08x}" * 2, "label": "spam", "known_at": "2026-01-31T09:00:00Z"}
            for at in range(batch)
        ]
        tell(_posted(socket, key, "/v1/labels/batch", json.dumps({"labels": labels}).encode()))


def large_mail(socket: str, key: str, part: int, wave: int, size: int, stop: Stop, tell: Tell) -> None:
    """Waves of mails of so many bytes, all of a wave at once. part: of no two clients the same."""
    filling = base64.encodebytes(os.urandom(size * 56 // 77))

    def one(number: int) -> str:
        head = (
            f"From: a@abuser.example\r\nTo: b@abuser.example\r\nSubject: {number}\r\n"
            f"Message-ID: <large{part}.{number}@abuser.example>\r\n"
            "Content-Type: application/octet-stream; name=x.bin\r\n"
            "Content-Transfer-Encoding: base64\r\nMIME-Version: 1.0\r\n\r\n"
        )
        query = f"?received_at=2026-02-0{part}T{number // 3_600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        return _posted(socket, key, f"/v1/score{query}", head.encode() + filling, "message/rfc822")

    _waves(wave, one, stop, tell)


def mail_to_many(socket: str, key: str, part: int, wave: int, recipients: int, stop: Stop, tell: Tell) -> None:
    """Waves of mails to so many recipients, nobody twice. part: of no two clients the same."""

    def one(number: int) -> str:
        raw = f"From: a@abuser.example\r\nMessage-ID: <many{part}.{number}@abuser.example>\r\n\r\nx\r\n"
        body = {
            "message": base64.b64encode(raw.encode()).decode(),
            "received_at": f"2026-02-1{part}T{number // 3_600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
            "rcpt_to": [f"p{part}.{number}.{at}@many.example" for at in range(recipients)],
        }
        return _posted(socket, key, "/v1/score", json.dumps(body).encode())

    _waves(wave, one, stop, tell)


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


def send_files(socket: str, key: str, folder: str, number: int, stop: Stop, tell: Tell) -> None:
    """Messages of a folder, one after another and again and again, in an order of the number's own."""
    files = sorted(Path(folder).iterdir())
    Random(number).shuffle(files)
    connection = UnixConnection(Path(socket), 120.0)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "message/rfc822"}
    for at in count():
        if at and stop.is_set():
            break
        arrived = f"2026-01-{1 + number:02}T{at // 3_600:02}:{at // 60 % 60:02}:{at % 60:02}Z"
        try:
            connection.request("POST", f"/v1/score?received_at={arrived}", files[at % len(files)].read_bytes(), headers)
            response = connection.getresponse()
            response.read()
            tell(str(response.status))
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            tell(type(exc).__name__)
    connection.close()
