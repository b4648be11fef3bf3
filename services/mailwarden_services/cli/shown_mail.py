"""A message for the eyes of who sits at a terminal, from this home's stores or from an API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden_services.cli.acts import note
from mailwarden_services.client import Client
from mailwarden_services.reading.show import SHOWING_SECONDS, Shower
from mailwarden_services.scoring_api.times import microseconds, read_time, rfc3339


def by_stores(settings: Settings, tenant: str, message_id: str, received_at: str | None) -> dict[str, Any]:
    """The message out of a home's stores, its reading written down first; raises NotFound, DataError."""
    from mailwarden_services.bootstrap import Platform

    platform = Platform(settings)
    platform.tenants.get(tenant)
    time_us = None if received_at is None else microseconds(_time(received_at))
    row = platform.found_messages().content(tenant, message_id, time_us)
    note(platform, tenant, "content.read", message_id)
    shower = Shower(cpu_seconds=SHOWING_SECONDS)
    try:
        shown = asyncio.run(shower.show(row.raw, row.envelope, tenant))
    finally:
        shower.stop()
    envelope = {"mail_from": row.mail_from, "rcpt_to": list(row.rcpt_to)}
    return {"message_id": message_id, "received_at": rfc3339(row.received_at_us), "envelope": envelope} | shown


def by_api(settings: Settings, url: str, message_id: str, received_at: str | None) -> dict[str, Any]:
    """The message as an API shows it; raises ApiProblem, ApiAway."""
    with Client(url, settings.api_key.get_secret_value()) as client:
        found = client.content(message_id, received_at=None if received_at is None else _time(received_at))
    return found.model_dump(mode="json") | {"received_at": rfc3339(microseconds(found.received_at))}


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """The message, line by line."""
    if "message_id" in found:
        envelope = found["envelope"]
        yield f"message {found['message_id']}, received {found['received_at']}"
        yield f"envelope: from <{envelope['mail_from'] or ''}> to {', '.join(envelope['rcpt_to']) or 'nobody named'}"
    for name, value in found["headers"]:
        yield f"{name}: {' '.join(value.split())}"
    for name, title in (("text", "text"), ("quoted_text", "quoted"), ("hidden_text", "HIDDEN from its reader")):
        if found[name].strip():
            yield f"\n--- {title}\n{found[name].rstrip()}"
    if found["links"]:
        yield "\n--- links"
    for link in found["links"]:
        target = "" if link["target"] == link["url"] else f" -> {link['target']}"
        marks = f" ({', '.join(link['marks'])})" if link["marks"] else ""
        yield f"{link['url']}{target}{marks}" + (f"  shown as: {link['text']}" if link["text"] else "")
    for code in found["qr_codes"]:
        yield f"QR code: {code}"
    if found["parts"]:
        yield "\n--- parts"
    for part in found["parts"]:
        yield f"{part['name'] or 'without a name'}: {part['type']}, {part['size']:,} bytes, sha256 {part['sha256']}"
    for aspect, status in found["unread"].items():
        yield f"not read in full: {aspect} ({status})"
    if found["truncated"]:
        yield f"cut off: {', '.join(found['truncated'])}"
    for inner in found["nested"]:
        yield "\n--- a message inside"
        yield from lines_of(inner)


def _time(text: str) -> Any:
    try:
        return read_time(text)
    except ValueError as exc:
        raise DataError(f"--received-at: {exc}") from exc
