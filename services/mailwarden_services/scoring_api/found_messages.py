"""Messages found again wherever they are by now: in the logs, or still in the spool on their way there.

The writer logs a message's decision last, so that what has a decision has its raw mail and its vectors as well. What
is on its way is searched for in the spool, by one search at a time and over a bounded part of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mailwarden.errors import NotFound
from mailwarden.stores.accepted import AcceptedMessage
from mailwarden.stores.lake.raw_mail import RawRow
from mailwarden.stores.lake.vector_log import VECTOR_KEYS
from mailwarden_services.feature_writer.logs import raw_row
from mailwarden_services.scoring_api.answers import in_todays_words
from mailwarden_services.scoring_api.service import Service
from mailwarden_services.scoring_api.times import rfc3339

_FACTS = ("status", "version", "as_of_seq", "facts", "fingerprint")


def message_of(service: Service, tenant: str, message_id: str) -> dict[str, Any]:
    """A scored message as `MessageAnswer` has it, but for its label; raises NotFound."""
    record = service.decisions.by_message(tenant, message_id)
    if record is not None:
        rows: Sequence[Mapping[str, Any]]
        with service.searching:
            rows = service.vectors.of_message(tenant, message_id, record.received_at_us)
        answer, sender, domain = orjson.loads(record.response), record.sender, record.sender_domain
        recipients, time_us = record.recipients, record.received_at_us
    else:
        accepted = _on_its_way(service, tenant, message_id)
        if accepted is None:
            raise NotFound(f"no decision on message {message_id} is known; give the id that scoring answered")
        event, answer, rows = accepted.event, dict(accepted.answer), service.vectors_of(accepted)
        sender, domain, recipients, time_us = event.sender, event.sender_domain, event.recipients, event.received_at_us
    return {
        "message_id": message_id,
        "decision_id": answer["decision_id"],
        "received_at": rfc3339(time_us),
        "sender": sender,
        "sender_domain": domain,
        "recipients": list(recipients),
        "decision": in_todays_words(answer),
        "vectors_status": "logged" if rows else "pending",
        "vectors": [_vector(row) for row in rows],
    }


def content_of(service: Service, tenant: str, message_id: str, received_at_us: int | None) -> RawRow:
    """The raw mail of a message; raises NotFound where it is not there, or no longer.

    received_at_us: of one that was ingested and never scored.
    """
    record = service.decisions.by_message(tenant, message_id)
    time_us = received_at_us if record is None else record.received_at_us
    if time_us is not None:
        with service.searching:
            found = service.raw.of_messages(tenant, {message_id: time_us}).get(message_id)
        if found is not None:
            return found
    accepted = _on_its_way(service, tenant, message_id) if record is None else None
    if accepted is None:
        raise NotFound(
            f"the mail of message {message_id} is not there: its id is not known, it was ingested and `received_at` "
            "was not given, or its retention is over"
        )
    return raw_row(accepted)


def _on_its_way(service: Service, tenant: str, message_id: str) -> AcceptedMessage | None:
    with service.searching:
        return service.find_unlogged(tenant, message_id)


def _vector(row: Mapping[str, Any]) -> dict[str, Any]:
    views: dict[str, dict[str, Any]] = defaultdict(lambda: {"values": {}})
    for column, value in row.items():
        view, split, name = column.partition("__")
        if not split or column in VECTOR_KEYS.names:
            continue
        if name in _FACTS:
            views[view][name] = value
        else:
            views[view]["values"][name] = value
    read = {name: _facts(view) for name, view in sorted(views.items()) if view.get("status") is not None}
    return {"recipient": row["recipient"], "views": read}


def _facts(view: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("status", "version", "as_of_seq", "values")
    return {name: view.get(name) for name in kept}
