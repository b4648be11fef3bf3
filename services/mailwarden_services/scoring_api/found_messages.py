"""Messages found again wherever they are by now: in the logs, or still in the spool on their way there.

The writer logs a message's decision last, so that what has a decision has its raw mail, vectors and scores too. What is
on its way is searched for in the spool, by one search at a time and over a bounded part of it.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mailwarden.domain.detection.decision import sigmoid
from mailwarden.errors import NotFound
from mailwarden.stores.accepted import AcceptedMessage, decode_accepted
from mailwarden.stores.lake.raw_mail import RawMail, RawRow
from mailwarden.stores.lake.score_log import ScoreLog
from mailwarden.stores.lake.vector_log import VECTOR_KEYS, VectorLog
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden.stores.sql import Decisions
from mailwarden_services.feature_writer.logs import raw_row
from mailwarden_services.feature_writer.status import READER_NAME
from mailwarden_services.scoring_api.answers import in_todays_words
from mailwarden_services.scoring_api.times import rfc3339

_VIEW = ("status", "version", "as_of_seq")
_NO_FEATURES = (*_VIEW, "facts", "fingerprint", "texts")

Rows = Sequence[Mapping[str, Any]]
"""Of a log, as plain values by column."""

SEARCHED_BYTES = 64 << 20
"""How much of the spool is searched for a message that is not logged yet."""


class FoundMessages:
    """Looks messages up; blocks, so that whoever serves asks it in a thread.

    find_unlogged: the message of a tenant and an id that is accepted and not logged yet. rows_of: the rows that such a
    one will have in the vector log, and in the score log.
    """

    def __init__(
        self,
        decisions: Decisions,
        raw: RawMail,
        vectors: VectorLog,
        scores: ScoreLog,
        find_unlogged: Callable[[str, str], AcceptedMessage | None],
        rows_of: Callable[[AcceptedMessage], tuple[Rows, Rows]],
    ) -> None:
        self._decisions, self._raw, self._vectors, self._scores = decisions, raw, vectors, scores
        self._find_unlogged, self._rows_of = find_unlogged, rows_of
        self._searching = threading.Lock()

    def message(self, tenant: str, message_id: str) -> dict[str, Any]:
        """A scored message as `MessageAnswer` has it, but for its label; raises NotFound."""
        record = self._decisions.by_message(tenant, message_id)
        rows: Rows
        scores: Rows
        if record is not None:
            with self._searching:
                rows = self._vectors.of_message(tenant, message_id, record.received_at_us)
                scores = self._scores.of_message(tenant, message_id, record.received_at_us)
            answer, sender, domain = orjson.loads(record.response), record.sender, record.sender_domain
            recipients, time_us = record.recipients, record.received_at_us
        else:
            accepted = self._on_its_way(tenant, message_id)
            if accepted is None:
                raise NotFound(f"no decision on message {message_id} is known; give the id that scoring answered")
            event, answer = accepted.event, dict(accepted.answer)
            rows, scores = self._rows_of(accepted)
            sender, domain, recipients = event.sender, event.sender_domain, event.recipients
            time_us = event.received_at_us
        said = _by_recipient(scores)
        return {
            "message_id": message_id,
            "decision_id": answer["decision_id"],
            "received_at": rfc3339(time_us),
            "sender": sender,
            "sender_domain": domain,
            "recipients": list(recipients),
            "decision": in_todays_words(answer),
            "vectors_status": "logged" if rows else "pending",
            "vectors": [{**_vector(row), "detectors": said.get(row["recipient"], {})} for row in rows],
        }

    def content(self, tenant: str, message_id: str, received_at_us: int | None = None) -> RawRow:
        """The raw mail of a message; raises NotFound where it is not there, or no longer.

        received_at_us: of one that was ingested and never scored.
        """
        record = self._decisions.by_message(tenant, message_id)
        time_us = received_at_us if record is None else record.received_at_us
        if time_us is not None:
            with self._searching:
                found = self._raw.of_messages(tenant, {message_id: time_us}).get(message_id)
            if found is not None:
                return found
        accepted = self._on_its_way(tenant, message_id) if record is None else None
        if accepted is None:
            raise NotFound(
                f"the mail of message {message_id} is not there: its id is not known, it was ingested and "
                "`received_at` was not given, or its retention is over"
            )
        return raw_row(accepted)

    def _on_its_way(self, tenant: str, message_id: str) -> AcceptedMessage | None:
        with self._searching:
            return self._find_unlogged(tenant, message_id)


def find_unlogged(spool: Path, tenant: str, message_id: str) -> AcceptedMessage | None:
    """A message that is accepted and that the logs do not hold yet; None where it is not within `SEARCHED_BYTES`."""
    reader = SpoolReader(spool, READER_NAME)
    read = 0
    try:
        while read < SEARCHED_BYTES and (records := reader.poll()):
            for _, payload in records:
                read += len(payload)
                # Most records are others', and are not worth decoding.
                if message_id.encode() in payload:
                    record = decode_accepted(payload)
                    named = (record.event.tenant, record.event.message_id) == (tenant, message_id)
                    if named and isinstance(record, AcceptedMessage):
                        return record
    finally:
        reader.close()
    return None


def _vector(row: Mapping[str, Any]) -> dict[str, Any]:
    views: dict[str, dict[str, Any]] = defaultdict(lambda: {**dict.fromkeys(_VIEW), "values": {}})
    for column, value in row.items():
        view, split, name = column.partition("__")
        if column in VECTOR_KEYS.names or not split:
            continue
        if name in _VIEW:
            views[view][name] = value
        elif name not in _NO_FEATURES:
            views[view]["values"][name] = value
    read = {name: view for name, view in sorted(views.items()) if view["status"] is not None}
    return {"recipient": row["recipient"], "views": read}


def _by_recipient(scores: Rows) -> dict[str, dict[str, dict[str, Any]]]:
    """What detectors said, by recipient and name."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for score in sorted(scores, key=itemgetter("detector")):
        found[score["recipient"]][score["detector"]] = _said(score)
    return found


def _said(score: Mapping[str, Any]) -> dict[str, Any]:
    log_odds = score["calibrated"]
    return {
        "model_version": score["model"],
        "raw": score["raw"],
        "score": None if log_odds is None else float(sigmoid(np.array(log_odds))),
        "log_odds": log_odds,
        "milliseconds": score["milliseconds"],
        "missing": score["missing"],
    }
