"""What goes between the event loop and scoring processes as its values."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pickletools import genops

import pytest

from mailwarden.domain.mail.message import Envelope
from mailwarden.stores.content_index import Content
from mailwarden.stores.draft import Draft
from mailwarden.stores.online.watermark import Watermark
from mailwarden_services.reading.sent import send_as_values
from mailwarden_services.scoring_worker.work import Ask, Found, Order, ScoredDraft

CONTENT = Content("key", 7, ("bob@acme.example",), queue_id="Q1")
ENVELOPE = Envelope(5, "ann@partner.example", ("bob@acme.example",), flow="inbound", clock_us=9)
DRAFT = Draft(
    "acme", "id", 5, "ann@partner.example", ("bob@acme.example",), "c", "sha", 0, Watermark(3, 4), "junk", "SP", True,
    ("flag",), (b"{", b",", b"}"), b'{"a":1', b'"rows":[]}', CONTENT,
)  # fmt: skip


@pytest.mark.parametrize(
    "sent",
    [
        ENVELOPE,
        CONTENT,
        Watermark(1, 2),
        Ask("whole", b"raw", ENVELOPE, b"tenant", 3, explained=True),
        Found("id", "signature", True, None, "date", CONTENT),
        Order("campaign", "signature", 8, ("flag",)),
        ScoredDraft(DRAFT, (0.1, 0.2, 0.3, 0.4, 0.0), "why"),
    ],
    ids=lambda sent: type(sent).__name__,
)
def test_it_arrives_as_it_was_sent(sent: object) -> None:
    frame = pickle.dumps(sent, protocol=5)
    assert pickle.loads(frame) == sent
    # The state of a dataclass is set by its own method, which is what takes long.
    assert not any(code.name == "BUILD" for code, _, _ in genops(frame))


def test_another_dataclass_is_left_alone_until_it_is_named() -> None:
    before = pickle.dumps(Other(1, 2), protocol=5)
    assert any(code.name == "BUILD" for code, _, _ in genops(before))
    send_as_values(Other)
    after = pickle.dumps(Other(1, 2), protocol=5)
    assert len(after) < len(before) and pickle.loads(after) == pickle.loads(before) == Other(1, 2)


@dataclass(frozen=True, slots=True)
class Other:
    one: int
    two: int
