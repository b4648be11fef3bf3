"""A running `mailwarden serve` and a plain HTTP client of it, as a mail flow would be."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError, StoreError, StoreUnavailable
from mailwarden.settings import Settings
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.watermark import Marks
from mailwarden_services.embedded import ChildProcess, environment_of, wait_until

FOLD_SECONDS = 30.0

REFUSALS = (400, 413, 415, 422)
"""Answers that speak of the message itself: it will be refused again, and others will not."""


class Refused(DataError):
    """The API refused a message for what it is; status: one of `REFUSALS`."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket; timeout: seconds."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def rfc3339(time_us: int) -> str:
    """A time in microseconds as RFC 3339, UTC."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat()


class LiveService:
    """`mailwarden serve` on a unix socket of its own; made by `live_service`."""

    def __init__(self, settings: Settings, process: ChildProcess, path: Path, key: str) -> None:
        self.process = process
        self._connection = UnixConnection(path, 60.0)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._redis = open_client(settings.redis_url.get_secret_value(), timeout_seconds=5.0)
        self._marks = Marks(self._redis, settings.project, settings.streams)

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """One HTTP exchange: status and decoded JSON. Raises StoreUnavailable where the connection breaks twice."""
        for last in (False, True):
            try:
                self._connection.request(method, path, body, {**self._headers, **(headers or {})})
                response = self._connection.getresponse()
                data = response.read()
                return response.status, orjson.loads(data) if data else None
            except (OSError, http.client.HTTPException) as exc:
                # An idle connection may have been closed; what is sent again is known again by its content.
                self.close_connection()
                if last:
                    raise StoreUnavailable(f"the scoring API broke the connection: {exc!r}") from exc
        raise AssertionError("unreachable")

    def score(self, raw: bytes, envelope: Envelope) -> tuple[dict[str, Any], float]:
        """Have a message decided; the answer and the seconds that the exchange took.

        Raises Refused where the API refuses this message, StoreError on any other failure.
        """
        facts: list[tuple[str, str]] = []
        if envelope.received_at_us is not None:
            facts.append(("received_at", rfc3339(envelope.received_at_us)))
        if envelope.mail_from is not None:
            facts.append(("mail_from", envelope.mail_from))
        facts += [("rcpt_to", recipient) for recipient in envelope.rcpt_to]
        # Not as headers: those carry no byte beyond ASCII, and mail in bulk has such addresses.
        query = f"?{urlencode(facts, errors='replace')}" if facts else ""
        started = time.perf_counter()
        status, answer = self.call("POST", f"/v1/score{query}", raw, {"Content-Type": "message/rfc822"})
        seconds = time.perf_counter() - started
        if status in REFUSALS:
            problem = answer if isinstance(answer, dict) else {}
            raise Refused(status, str(problem.get("detail") or problem.get("title") or "refused"))
        if status != 200:
            raise StoreError(f"scoring answered {status}: {json.dumps(answer)[:500]}")
        return answer, seconds

    def label(self, labels: Sequence[Mapping[str, str]]) -> list[int]:
        """Give labels (`LabelBody` each); the seqs of those that were new. Raises StoreError on a refusal."""
        body = orjson.dumps({"labels": labels})
        status, answer = self.call("POST", "/v1/labels/batch", body, {"Content-Type": "application/json"})
        refused = answer if status != 200 else [r for r in answer["results"] if "problem" in r]
        if refused:
            raise StoreError(f"labelling answered {status}: {json.dumps(refused)[:500]}")
        return [result["seq"] for result in answer["results"] if not result["repeated"]]

    def wait_folded(self, tenant: str, seq: int) -> None:
        """Wait until every partition of the online store has folded a seq."""
        deadline = time.monotonic() + FOLD_SECONDS
        while True:
            mark = self._marks.whole(tenant)
            if mark is not None and mark.seq >= seq:
                return
            if time.monotonic() > deadline:
                self.process.check()
                raise StoreUnavailable(f"seq {seq} was not folded within {FOLD_SECONDS:.0f} s")
            time.sleep(0.0003)

    def wait_model(self, version: int) -> None:
        """Wait until this version of the bundle serves."""
        wait_until(
            lambda: self.call("GET", "/readyz")[1]["model_version"] == version,
            self.process,
            seconds=60,
            what=f"serving model {version}",
        )

    def metrics(self) -> str:
        """The Prometheus exposition."""
        self._connection.request("GET", "/metrics")
        return self._connection.getresponse().read().decode()

    def close_connection(self) -> None:
        """Hang up; the next call connects again."""
        self._connection.close()

    def close(self) -> None:
        """Hang up for good."""
        self.close_connection()
        self._redis.close()


@contextlib.contextmanager
def live_service(settings: Settings, key: str, socket_folder: Path) -> Iterator[LiveService]:
    """Start `mailwarden serve` over these settings (which name a Redis), and stop it at the end."""
    path = socket_folder / "api.sock"
    process = ChildProcess(
        "mailwarden_services.cli",
        ["serve", "--socket", str(path)],
        environment_of(settings),
        settings.run_path / "serve.log",
    )
    service = LiveService(settings, process, path, key)
    try:

        def ready() -> bool:
            with contextlib.suppress(StoreUnavailable):
                return service.call("GET", "/readyz")[0] == 200
            return False

        wait_until(ready, process, seconds=60, what="the scoring API's start")
        yield service
    finally:
        service.close()
        process.stop()
