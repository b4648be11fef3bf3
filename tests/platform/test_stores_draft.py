"""Drafts: completed at numbering, they are the record and the answer that would have been written whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope
from mailwarden.domain.mail.reception import Reception
from mailwarden.stores.accepted import AcceptedMessage, LoggedContent, LoggedRow, decode_accepted, encode_accepted
from mailwarden.stores.draft import Draft, ending
from mailwarden.stores.online.streams import decode_event, encode_event
from mailwarden.stores.online.watermark import Watermark

ENVELOPE = Envelope(1)
CUT = '"new_recipients":[]'
# A lone surrogate is no text: the parser lets none through.
plain = st.text(st.characters(exclude_categories=("Cs",)), max_size=15)
texts = plain | st.builds(
    lambda before, odd, after: before + odd + after,
    plain,
    st.sampled_from(
        [CUT, f",{CUT},", '"', "\\", '\\"new_recipients\\":[]', '"seq":0', "\x00\x1f\x7f", "\u2028\ufeff\U0001f600"]
    ),
    plain,
)  # fmt: skip
names = st.lists(texts, max_size=4).map(tuple)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
events = st.builds(
    Event, tenant=texts, seq=st.just(0), kind=st.just("message"), message_id=texts,
    received_at_us=st.integers(0, 2**62), known_at_us=st.integers(0, 2**62), time_source=st.just("envelope"),
    direction=st.just("inbound"), sender=texts,
    sender_domain=texts, recipients=names, recipient_domains=names, campaign=texts, signature=texts, pending=names,
    link_domain=texts, thread=texts,
)  # fmt: skip
rows = st.builds(
    LoggedRow, recipient=texts, values=st.dictionaries(texts, st.lists(numbers, max_size=3), max_size=2),
    as_of_seq=st.dictionaries(texts, st.integers(0, 2**62), max_size=2),
    status=st.dictionaries(texts, st.just("present"), max_size=2),
    version=st.dictionaries(texts, st.integers(1, 9), max_size=2),
)  # fmt: skip
contents = st.dictionaries(texts, st.lists(numbers | texts, max_size=3), max_size=2).map(
    lambda views: LoggedContent.from_json([[name, 1, 2, "present", values] for name, values in views.items()])
)
envelopes = st.builds(
    Envelope, received_at_us=st.none() | st.integers(0, 2**60), mail_from=st.none() | texts, rcpt_to=names,
    reception=st.none() | st.just(Reception(client_ip="192.0.2.7")),
)  # fmt: skip
answers = st.dictionaries(texts, numbers | texts | st.lists(texts, max_size=2), min_size=1, max_size=4)
marks = st.none() | st.builds(Watermark, seq=st.integers(1, 2**60), time_us=st.integers(0, 2**60))


def draft_of(event: Event, envelope: Envelope = ENVELOPE, **options: Any) -> Draft:
    known: dict[str, Any] = {
        "raw_from": 0, "as_of": None, "verdict": "deliver", "category": None, "degraded": False, "flags": (),
        "answer": {"verdict": "deliver"}, "rows": (), "content": LoggedContent({}, {}, {}, {}),
    }  # fmt: skip
    return Draft.of(event, envelope, **{**known, **options})


@settings(max_examples=120, deadline=None)
@given(
    events, envelopes, st.lists(rows, max_size=2).map(tuple), contents, answers, marks, names, st.booleans(),
    st.integers(1, 2**62), st.data(),
)  # fmt: skip
def test_a_completed_draft_is_the_record_and_the_answer_that_would_have_been_written_whole(
    event: Event, envelope: Envelope, rows: tuple[LoggedRow, ...], content: LoggedContent, answer: dict[str, Any],
    as_of: Watermark | None, flags: tuple[str, ...], degraded: bool, seq: int, data: st.DataObject,
) -> None:  # fmt: skip
    new, added = data.draw(names), data.draw(names)
    raw, raw_from = data.draw(st.binary(max_size=40)), data.draw(st.integers(0, 5))
    key, age = data.draw(st.none() | texts), data.draw(numbers)
    draft = draft_of(
        event, envelope, raw_from=raw_from, as_of=as_of, degraded=degraded, flags=flags, answer=answer, rows=rows,
        content=content,
    )  # fmt: skip
    numbered = replace(event, seq=seq, new_recipients=new)
    event_json = draft.event_json(seq, new)
    assert event_json == encode_event(numbered) and decode_event(event_json) == numbered
    answer_json = draft.answer_json(seq, age, added, degraded=bool(added))
    end = ending(
        event.message_id, seq, as_of=as_of, age_seconds=age, degraded=degraded or bool(added), flags=[*flags, *added]
    )
    told = orjson.loads(answer_json)
    assert told == {**answer, **end} and list(told)[-len(end) :] == list(end)
    record = AcceptedMessage(
        numbered, raw[raw_from:], envelope.mail_from, envelope.rcpt_to, rows, told, key, content,
        None if envelope.reception is None else envelope.reception.to_text(),
    )  # fmt: skip
    payload = draft.payload(event_json, answer_json, key, raw)
    assert decode_accepted(payload) == decode_accepted(encode_accepted(record)) == record


def test_an_answer_that_numbered_nothing_has_no_decision() -> None:
    draft = draft_of(Event("t", 0, "message", "m", 1, 1, "envelope", "inbound", "", "", (), ()), flags=("a",))
    told = orjson.loads(draft.answer_json(None, None, ("b",)))
    assert told == {"verdict": "deliver", "decision_id": None, "seq": None, "degraded": False, "flags": ["a", "b"],
                    "repeated": False, "features": {"as_of_seq": None, "age_seconds": None}}  # fmt: skip


@pytest.mark.parametrize("has", [{"seq": 3}, {"new_recipients": ("a@x.example",)}])
def test_an_event_that_was_numbered_makes_no_draft(has: dict[str, Any]) -> None:
    event = Event("t", 0, "message", "m", 1, 1, "envelope", "inbound", "", "", (), ())
    with pytest.raises(ValueError, match="no seq"):
        draft_of(replace(event, **has))
