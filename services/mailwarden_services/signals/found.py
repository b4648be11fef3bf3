"""What the signal worker hands over: records of a spool that it writes and the numbering process reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import orjson

from mailwarden.domain.mail.events import SIGNALS
from mailwarden.domain.mail.facts import SignalFacts
from mailwarden.errors import StoreError


@dataclass(frozen=True, slots=True)
class FoundSignal:
    """A signal of an accepted message. received_at_us: of the message, which finds it in the event log."""

    tenant: str
    message_id: str
    received_at_us: int
    facts: SignalFacts


def encode_found(found: FoundSignal) -> bytes:
    """One payload of the spool of found signals."""
    return orjson.dumps(asdict(found))


def decode_found(payload: bytes) -> FoundSignal:
    """Read what `encode_found` wrote; raises StoreError where it is something else."""
    try:
        read = orjson.loads(payload)
        found = FoundSignal(**{**read, "facts": SignalFacts(**read["facts"])})
    except (orjson.JSONDecodeError, KeyError, TypeError) as exc:
        raise StoreError("a found signal is not one of this version; run every process with one version") from exc
    if found.facts.signal not in SIGNALS:
        raise StoreError(f"signal {found.facts.signal!r} is unknown; run every process with one version")
    return found
