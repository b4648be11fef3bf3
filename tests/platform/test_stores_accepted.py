"""Spool records: what goes in comes out, and what is something else is refused."""

from __future__ import annotations

import struct
from dataclasses import fields, replace
from typing import get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.domain.mail.events import LABELS, Direction, Event
from mailwarden.errors import StoreError
from mailwarden.stores.accepted import (
    NO_CONTENT,
    Accepted,
    AcceptedHistory,
    AcceptedLabel,
    AcceptedMessage,
    AcceptedSignal,
    LoggedContent,
    LoggedRow,
    decode_accepted,
    encode_accepted,
)

# A lone surrogate is no text: the parser lets none through.
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
seqs = st.integers(0, 2**62)
times = st.integers(-(2**62), 2**62)
flags = st.booleans()
changes = st.sampled_from([-1, 0, 1])
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)


by_type = {
    "str": texts,
    "int": seqs,
    "bool": flags,
    "bool | None": st.none() | flags,
    "tuple[str, ...]": st.lists(texts, max_size=4).map(tuple),
    "tuple[int, ...]": st.lists(seqs, max_size=4).map(tuple),
    "Direction": st.sampled_from(get_args(Direction)),
}


def events(kind: str) -> st.SearchStrategy[Event]:
    """Events with anything in each field that its type allows."""
    drawn = {field.name: by_type[str(field.type)] for field in fields(Event) if field.name != "kind"}
    drawn |= {name: times for name in ("received_at_us", "known_at_us")}
    drawn |= {name: changes for name in ("labelled_bad", "labelled_attack", "labelled_good")}
    label = st.sampled_from(LABELS) if kind == "label" else st.just("")
    return st.builds(Event, **{**drawn, "kind": st.just(kind), "label": label})


rows = st.builds(
    LoggedRow,
    recipient=texts,
    values=st.dictionaries(texts, st.lists(numbers, max_size=5), max_size=3),
    as_of_seq=st.dictionaries(texts, st.integers(NEVER, 2**62), max_size=3),
    status=st.dictionaries(texts, st.sampled_from(["present", "never_seen", "unavailable"]), max_size=3),
    version=st.dictionaries(texts, st.integers(1, 9), max_size=3),
)
contents = st.dictionaries(
    texts,
    st.tuples(
        st.integers(1, 9),
        st.integers(0, 2**48 - 1),
        st.sampled_from(["present", "damaged", "deadline"]),
        st.lists(numbers | texts | st.integers(-(2**63), 2**63 - 1), max_size=5),
    ),
    max_size=3,
).map(lambda views: LoggedContent.from_json([[name, *said] for name, said in views.items()]))
answers = st.dictionaries(
    texts, st.recursive(numbers | texts | flags, lambda inner: st.lists(inner, max_size=3)), max_size=5
)
messages = st.builds(
    AcceptedMessage,
    event=events("message"),
    raw=st.binary(max_size=200),
    mail_from=st.none() | texts,
    rcpt_to=st.lists(texts, max_size=4).map(tuple),
    rows=st.lists(rows, max_size=3).map(tuple),
    answer=answers,
    idempotency_key=st.none() | texts,
    content=contents,
)
sources = st.sampled_from(["analyst", "user", "index"])
labels = st.builds(AcceptedLabel, event=events("label"), source=sources, given_by=texts)
signals = st.builds(AcceptedSignal, event=events("signal"))
histories = st.builds(
    AcceptedHistory,
    event=events("message"),
    raw=st.binary(max_size=200),
    mail_from=st.none() | texts,
    rcpt_to=st.lists(texts, max_size=4).map(tuple),
    reception=st.none() | texts,
)


@settings(max_examples=150, deadline=None)
@given(messages | labels | signals | histories)
def test_what_goes_in_comes_out(record: Accepted) -> None:
    assert decode_accepted(encode_accepted(record)) == record


@settings(max_examples=150, deadline=None)
@given(messages, st.integers(0, 400), st.binary(max_size=30))
def test_what_is_something_else_is_refused_or_read_and_never_an_accident(
    record: AcceptedMessage, cut: int, noise: bytes
) -> None:
    payload = encode_accepted(record)
    (length,) = struct.unpack_from("<I", payload)
    for broken in (payload[: min(cut, 3 + length)], noise, b"", payload[:2], struct.pack("<I", 2) + b"{}",
                   struct.pack("<I", 2) + b"[]", struct.pack("<I", 14) + b'{"event": [1]}'):  # fmt: skip
        with pytest.raises(StoreError, match="drain the spool"):
            decode_accepted(broken)


def test_a_record_of_a_later_version_is_refused_rather_than_half_read() -> None:
    event = Event("t", 1, "message", "m", 1, 1, "envelope", "inbound", "", "", (), ())
    record = AcceptedMessage(event, b"raw", None, (), (), {}, None)
    payload = encode_accepted(record)
    header = payload[4:-3].replace(b'"seq":', b'"sequence":')
    with pytest.raises(StoreError):
        decode_accepted(struct.pack("<I", len(header)) + header + b"raw")
    assert decode_accepted(encode_accepted(replace(record, raw=b""))).event == event


@given(messages)
def test_a_record_from_before_facts_were_added_reads_with_their_defaults(record: AcceptedMessage) -> None:
    payload = encode_accepted(record)
    (length,) = struct.unpack_from("<I", payload)
    header = orjson.loads(payload[4 : 4 + length])
    names = [field.name for field in fields(Event)]
    added = [*names[names.index("display_name") : names.index("label")], "schema_version"]
    for name in added:
        del header["event"][name]
    head = orjson.dumps(header)
    found = decode_accepted(struct.pack("<I", len(head)) + head + payload[4 + length :])
    empty = {name: Event.__dataclass_fields__[name].default for name in added}
    assert found.event == replace(record.event, **empty)


@given(messages)
def test_a_record_from_before_content_was_logged_reads_as_one_without(record: AcceptedMessage) -> None:
    payload = encode_accepted(record)
    (length,) = struct.unpack_from("<I", payload)
    header = orjson.loads(payload[4 : 4 + length])
    del header["content"]
    head = orjson.dumps(header)
    found = decode_accepted(struct.pack("<I", len(head)) + head + payload[4 + length :])
    assert found == replace(record, content=NO_CONTENT)
