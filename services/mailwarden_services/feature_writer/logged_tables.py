"""Accepted messages as rows of the vector log and of the table of texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.content import ContentFeature, ContentValue, ContentView
from mailwarden.stores.accepted import AcceptedMessage, LoggedContent
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
    columns: dict[str, list[Any]] = defaultdict(list)
    types = dict(_KEYS)
    for view in views:
        types |= {f"{view.name}__as_of_seq": pa.int64(), f"{view.name}__status": pa.string()}
        types |= {f"{view.name}__version": pa.int64(), f"{view.name}__facts": pa.int64()}
        types |= {f"{view.name}__{feature.name}": pa.float64() for feature in view.features}
    for one in content:
        types |= {f"{one.name}__status": pa.string()}
        types |= {f"{one.name}__version": pa.int64(), f"{one.name}__fingerprint": pa.int64()}
        types |= {f"{one.name}__{f.name}": _TYPES[f.dtype] for f in one.features if not f.text}
    for record in messages:
        event = record.event
        alike = _content_columns(record.content, content)
        for row in record.rows:
            columns["tenant"].append(event.tenant)
            columns["seq"].append(event.seq)
            columns["message_id"].append(event.message_id)
            columns["recipient"].append(row.recipient)
            columns["sender"].append(event.sender)
            columns["sender_domain"].append(event.sender_domain)
            columns["received_at"].append(event.received_at_us)
            columns["decision_id"].append(record.answer["decision_id"])
            for view in views:
                columns[f"{view.name}__as_of_seq"].append(row.as_of_seq.get(view.name))
                columns[f"{view.name}__status"].append(row.status.get(view.name))
                columns[f"{view.name}__version"].append(row.version.get(view.name))
                columns[f"{view.name}__facts"].append(row.facts.get(view.name, 0))
                for feature, value in _placed(view, row.version.get(view.name), row.values.get(view.name, ())):
                    columns[f"{view.name}__{feature.name}"].append(value)
            for name, said in alike.items():
                columns[name].append(said)
    return pa.table({name: pa.array(columns[name], type=kind) for name, kind in types.items()})


def text_table(messages: Sequence[AcceptedMessage], content: Sequence[ContentView]) -> pa.Table:
    """The texts of messages as `TEXT_SCHEMA` has them, without `day` and `bucket`: a row a text that is there."""
    rows: list[dict[str, Any]] = []
    for record in messages:
        for view in content:
            for feature, value in _named(record.content, view):
                if feature.text and value is not None:
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


def _content_columns(logged: LoggedContent, content: Sequence[ContentView]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for view in content:
        columns[f"{view.name}__status"] = logged.status.get(view.name)
        columns[f"{view.name}__version"] = logged.version.get(view.name)
        columns[f"{view.name}__fingerprint"] = logged.fingerprint.get(view.name)
        columns |= {f"{view.name}__{f.name}": value for f, value in _named(logged, view) if not f.text}
    return columns


def _named(logged: LoggedContent, view: ContentView) -> Iterator[tuple[ContentFeature, ContentValue]]:
    return _placed(view, logged.version.get(view.name), logged.values.get(view.name, ()))


def _placed(view: ActivityView | ContentView, version: int | None, values: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """A view's features with their values: null where another version than this process has computed them.

    The spool keeps values by their place, which another version may have given to other features.
    """
    if version != view.version or len(values) != len(view.features):
        values = (None,) * len(view.features)
    return zip(view.features, values, strict=True)
