"""A stand-in for the scoring API's `POST /v1/mail`, for tests of what calls it: it scores nothing.

What it answers is in the message: `Subject: ... [junk]` asks for junk, and so on for each action; [late] is not
answered when it is asked for the first time, [nonsense] answers what is no answer, [error] 503, [forged] has two header
names removed.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeScoringApi:
    """A running stand-in. asked: header fields (lower case, those that repeat as lists) and body of each question."""

    url: str
    stopping: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[dict[str, list[str]], bytes]] = field(default_factory=list)

    def envelope(self, index: int = -1) -> dict[str, list[str]]:
        """The envelope of a question, by name without the prefix."""
        headers = self.asked[index][0]
        return {
            name.removeprefix("x-mailwarden-"): v for name, v in headers.items() if name.startswith("x-mailwarden-")
        }


@contextmanager
def fake_scoring_api(port: int = 0) -> Iterator[FakeScoringApi]:
    """Run a stand-in on a loopback port while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers: dict[str, list[str]] = {}
            for name, value in self.headers.items():
                headers.setdefault(name.lower(), []).append(value.encode("latin-1").decode("utf-8", "replace"))
            fake.asked.append((headers, body))
            found = re.search(r"\[(\w+)\]", str(message_from_bytes(body, policy=policy.default)["subject"] or ""))
            asked = found[1] if found else "accept"
            if asked == "late" and sum(body == other for _, other in fake.asked) == 1:
                fake.stopping.wait(60)
                return
            if asked == "nonsense":
                self._reply(200, b'{"action": "perhaps"}')
            elif asked == "error" or self.path != "/v1/mail":
                self._reply(503 if asked == "error" else 404, b"{}")
            else:
                self._reply(200, json.dumps(_answer(asked, body)).encode())

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing: what calls it is killed in tests."""

    server = Server(("127.0.0.1", port), Handler)
    fake = FakeScoringApi(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(asked: str, body: bytes) -> dict[str, Any]:
    action = asked if asked in ("banner", "junk", "quarantine", "reject") else "accept"
    verdict = {"accept": "deliver", "reject": "quarantine"}.get(action, action)
    message_id = hashlib.sha256(body).hexdigest()[:32]
    return {
        "action": action,
        "verdict": verdict,
        "add_headers": []
        if action == "accept"
        else [
            ["Authentication-Results", "mx.example.com; dmarc=none"],
            ["X-Mailwarden-Verdict", verdict],
            ["X-Mailwarden-Reasons", "What it says is odd."],
        ],
        "remove_headers": ["X-Forged-One", "x-forged-two"] if asked == "forged" else [],
        "tenants": [
            {
                "tenant": "default",
                "decision_id": "d" + message_id,
                "message_id": message_id,
                "verdict": verdict,
                "action": action,
                "category": "SC",
                "signals": [{"name": "odd", "weight": 1.0, "words": "What it says is odd."}],
                "degraded": False,
                "flags": [],
                "repeated": False,
            }
        ],
        "unknown_domains": 0,
    }


if __name__ == "__main__":
    with fake_scoring_api(int(sys.argv[1])):
        threading.Event().wait()
