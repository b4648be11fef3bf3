"""Accepted messages as rows of the vector log, of the score log and of the table of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.content import ContentValue, ContentView
from mailwarden.stores.accepted import AcceptedMessage, LoggedContent
from mailwarden.stores.lake.score_log import score_schema
from mailwarden.stores.lake.texts import TEXT_SCHEMA

_KEYS: dict[str, pa.DataType] = {
    "tenant": pa.string(),
    "seq": pa.int64(),
    "message_id": pa.string(),
    "recipient": pa.string(),
    "sender": pa.string(),
    "sender_domain": pa.string(),
    "received_at": pa.timestamp("us", tz="UTC"),
    "decision_id": pa.string(),
}
_TYPES: dict[str, pa.DataType] = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


def vector_table(
    messages: Sequence[AcceptedMessage], views: Sequence[ActivityView], content: Sequence[ContentView]
) -> pa.Table:
    """The logged vectors as the vector log's table: one row a recipient of each message, no texts."""
    columns: dict[str, Sequence[Any]] = {}
    types = dict(_KEYS)
    rows = [(record, row) for record in messages for row in record.rows]
    columns["tenant"] = [record.event.tenant for record, _ in rows]
    columns["seq"] = [record.event.seq for record, _ in rows]
    columns["message_id"] = [record.event.message_id for record, _ in rows]
    columns["recipient"] = [row.recipient for _, row in rows]
    columns["sender"] = [record.event.sender for record, _ in rows]
    columns["sender_domain"] = [record.event.sender_domain for record, _ in rows]
    columns["received_at"] = [record.event.received_at_us for record, _ in rows]
    columns["decision_id"] = [record.answer["decision_id"] for record, _ in rows]
    for view in views:
        name = view.name
        types |= {f"{name}__as_of_seq": pa.int64(), f"{name}__status": pa.string()}
        types |= {f"{name}__version": pa.int64(), f"{name}__facts": pa.int64()}
        types |= {f"{name}__{feature.name}": pa.float64() for feature in view.features}
        columns[f"{name}__as_of_seq"] = [row.as_of_seq.get(name) for _, row in rows]
        columns[f"{name}__status"] = [row.status.get(name) for _, row in rows]
        columns[f"{name}__version"] = [row.version.get(name) for _, row in rows]
        columns[f"{name}__facts"] = [row.facts.get(name, 0) for _, row in rows]
        values = [_placed(view, row.version.get(name), row.values.get(name, ())) for _, row in rows]
        columns |= {f"{name}__{f.name}": of for f, of in zip(view.features, _turned(view, values), strict=True)}
    for one in content:
        name = one.name
        types |= {f"{name}__status": pa.string()}
        types |= {f"{name}__version": pa.int64(), f"{name}__fingerprint": pa.int64()}
        types |= {f"{name}__{f.name}": _TYPES[f.dtype] for f in one.features if not f.text}
        texts = [at for at, feature in enumerate(one.features) if feature.text]
        if texts:
            types[f"{name}__texts"] = pa.int64()
            columns[f"{name}__texts"] = [_texts_there(record.content, one, texts) for record, _ in rows]
        columns[f"{name}__status"] = [record.content.status.get(name) for record, _ in rows]
        columns[f"{name}__version"] = [record.content.version.get(name) for record, _ in rows]
        columns[f"{name}__fingerprint"] = [record.content.fingerprint.get(name) for record, _ in rows]
        values = [_content_values(record.content, one) for record, _ in rows]
        columns |= {f"{name}__{f.name}": of for f, of in zip(one.features, _turned(one, values), strict=True)}
    return pa.table({name: pa.array(columns[name], type=kind) for name, kind in types.items()})


def score_table(messages: Sequence[AcceptedMessage]) -> pa.Table:
    """What detectors said as the score log takes it: a row a recipient and detector of each message."""
    rows = [
        (
            record.event.tenant,
            record.event.seq,
            record.event.message_id,
            row.recipient,
            record.event.received_at_us,
            record.answer["decision_id"],
            record.answer["model_version"],
            said.detector,
            said.model,
            said.raw[at],
            said.calibrated[at],
            said.milliseconds,
            said.missing[at],
        )
        for record in messages
        for said in record.scores
        for at, row in enumerate(record.rows)
    ]
    schema = score_schema()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table([pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema)


def text_table(messages: Sequence[AcceptedMessage], content: Sequence[ContentView]) -> pa.Table:
    """The texts of messages as `TEXT_SCHEMA` has them, without `day` and `bucket`: a row a text that is there."""
    rows: list[dict[str, Any]] = []
    places = [(view, [(at, one) for at, one in enumerate(view.features) if one.text]) for view in content]
    with_texts = [(view, texts) for view, texts in places if texts]
    for record in messages:
        for view, texts in with_texts:
            values = _content_values(record.content, view)
            for at, feature in texts:
                if (value := values[at]) is not None:
                    rows.append(
                        {
                            "tenant": record.event.tenant,
                            "seq": record.event.seq,
                            "message_id": record.event.message_id,
                            "received_at": record.event.received_at_us,
                            "view": view.name,
                            "version": record.content.version[view.name],
                            "fingerprint": record.content.fingerprint[view.name],
                            "feature": feature.name,
                            "value": value,
                        }
                    )
    schema = pa.schema([field for field in TEXT_SCHEMA if field.name not in ("day", "bucket")])
    return pa.table({field.name: pa.array([row[field.name] for row in rows], field.type) for field in schema})


def _texts_there(logged: LoggedContent, view: ContentView, places: Sequence[int]) -> int | None:
    """How many texts of a view `text_table` has of a message; null where it was not computed by this version."""
    if logged.version.get(view.name) != view.version:
        return None
    values = _content_values(logged, view)
    return sum(values[at] is not None for at in places)


def _content_values(logged: LoggedContent, view: ContentView) -> Sequence[ContentValue]:
    return _placed(view, logged.version.get(view.name), logged.values.get(view.name, ()))


def _placed(view: ActivityView | ContentView, version: int | None, values: Sequence[Any]) -> Sequence[Any]:
    """The values of a view's features: null where another version than this process has computed them.

    The spool keeps values by their place, which another version may have given to other features.
    """
    if version != view.version or len(values) != len(view.features):
        return (None,) * len(view.features)
    return values


def _turned(view: ActivityView | ContentView, values: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Rows of values as columns, one a feature of the view."""
    return list(zip(*values, strict=True)) if values else [()] * len(view.features)
