"""What comes under an idempotency key that decisions know."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mailwarden.domain.mail.events import Event
from mailwarden.stores.content_index import Content
from mailwarden.stores.lake.event_log import EventLog
from mailwarden_services.scoring_api.idempotency import is_handed_again

ANN, BOB, EVE, JOE, SUE = "ann@far.example", *(f"{name}@acme.example" for name in ("bob", "eve", "joe", "sue"))
START = 1_772_409_600_000_000


def test_a_further_copy_is_handed_again_for_all_whom_it_was_for_and_no_others(tmp_path: Path) -> None:
    def event(seq: int, name: str, to: str, copy_of: str = "") -> Event:
        return Event(
            "acme", seq, "message", name, START, START, "envelope", "inbound", ANN, "far.example", (to,),
            ("acme.example",), content_key="k", copy_of=copy_of,
        )  # fmt: skip

    log = EventLog(tmp_path / "events")
    log.append([event(1, "m1", BOB), event(2, "m2", EVE, "m1"), event(3, "m3", JOE, "m1"), event(4, "m4", SUE)])

    def again(stored: str, *to: str, key: str = "k") -> bool:
        found: Any = SimpleNamespace(message_id="m9", content=Content(key, START + 1, to))
        record: Any = SimpleNamespace(tenant="acme", message_id=stored, received_at_us=START)
        return is_handed_again(log, record, found)

    assert again("m1", BOB) and again("m2", EVE) and again("m2", BOB, EVE) and again("m3", BOB, EVE, JOE)
    assert not any(
        (again("m1", BOB, EVE), again("m2", EVE, JOE), again("m2", BOB, SUE), again("m2", EVE, key="other")),
    )
