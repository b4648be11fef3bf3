"""What the signal worker hands over: records of a spool that it writes and the numbering process reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import orjson

from mailwarden.domain.mail.events import SIGNALS, Signal
from mailwarden.errors import StoreError


@dataclass(frozen=True, slots=True)
class FoundSignal:
    """A signal of an accepted message. received_at_us: of the message, whose day finds it in the event log."""

    tenant: str
    message_id: str
    received_at_us: int
    signal: Signal
    code_count: int
    url_count: int
    link_domain: str


def encode_found(found: FoundSignal) -> bytes:
    """One payload of the spool of found signals."""
    return orjson.dumps(asdict(found))


def decode_found(payload: bytes) -> FoundSignal:
    """Read what `encode_found` wrote; raises StoreError where it is something else."""
    try:
        found = FoundSignal(**orjson.loads(payload))
    except (orjson.JSONDecodeError, TypeError) as exc:
        raise StoreError("a found signal is not one of this version; run every process with one version") from exc
    if found.signal not in SIGNALS:
        raise StoreError(f"signal {found.signal!r} is unknown; run every process with one version")
    return found
