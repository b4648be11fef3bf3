"""What is sent for each call, what comes back, and when a call is made again: alike for both clients."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

import httpx
import orjson
from pydantic import BaseModel

from mailwarden_services.client.failures import raised

Answer = TypeVar("Answer", bound=BaseModel)

RETRIED = frozenset({429, 502, 503, 504})
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One call, which may be made twice: the API counts once what it asks. answer: the model of what comes back."""

    answer: type[Answer]
    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request, of a client's base address and key."""
        params = {name: _text(value) for name, value in self.params.items() if value is not None}
        return client.build_request(
            self.method, self.path, params=params, content=self.content, headers=dict(self.headers)
        )

    def read(self, response: httpx.Response) -> Answer:
        """What was answered; raises ApiProblem."""
        ready = response.headers.get("content-type", "").startswith("application/json")
        if response.is_success or (response.status_code == 503 and ready):
            return self.answer.model_validate_json(response.content)
        raise raised(response)


def mail(answer: type[Answer], path: str, raw: bytes, headers: Mapping[str, str] = {}, **params: Any) -> Call[Answer]:
    """A call that sends mail as it is."""
    return Call(answer, "POST", path, params, raw, {"Content-Type": "message/rfc822", **headers})


def sent(answer: type[Answer], path: str, body: Mapping[str, Any]) -> Call[Answer]:
    """A call that sends JSON; what is None is left out."""
    kept = {name: _text(value) for name, value in body.items() if value is not None}
    return Call(answer, "POST", path, {}, orjson.dumps(kept), {"Content-Type": "application/json"})


def got(answer: type[Answer], path: str, **params: Any) -> Call[Answer]:
    """A call that asks."""
    return Call(answer, "GET", path, {name.rstrip("_"): value for name, value in params.items()})


def pause_before(attempt: int, response: httpx.Response | None) -> float:
    """Seconds to wait before a call is made again: as the answer says, else longer each time, a little at random."""
    asked = None if response is None else _retry_after(response.headers.get("retry-after", ""))
    if asked is None:
        asked = FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.5)
    return min(asked, LONGEST_PAUSE_SECONDS)


def _retry_after(value: str) -> float | None:
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no zone; say whose clock it is, as datetime.now(UTC) does")
        return value.isoformat()
    if isinstance(value, bool):
        return value
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
