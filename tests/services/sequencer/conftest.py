"""A sequencer of the tests' own, over real files, and what it is handed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope
from mailwarden.stores.accepted import NO_CONTENT, Accepted, decode_accepted
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.draft import Draft
from mailwarden.stores.history import HistoryMessage, Numbered
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.streams import encode_event
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.spool import Spool, SpoolReader
from mailwarden_services.sequencer.history import History
from mailwarden_services.sequencer.order import Outcome
from mailwarden_services.sequencer.sequencer import Sequencer

ANN, BOB, EVE = "ann@far.example", "bob@acme.example", "eve@acme.example"
START = 1_772_409_600_000_000


def event(
    number: int, *to: str, tenant: str = "acme", prefix: str = "m", campaign: str = "", signature: str = ""
) -> Event:
    return Event(
        tenant, 0, "message", f"{prefix}{number}", START + number, START + number, "envelope", "inbound", ANN,
        "far.example", to or (BOB,), ("acme.example",), campaign=campaign, signature=signature,
    )  # fmt: skip


def draft(number: int, *to: str, tenant: str = "acme", as_of: int = 0, text: str = "", **given: Any) -> Draft:
    """A message that was scored; its id is tenant and number."""
    return Draft.of(
        event(number, *to, tenant=tenant, prefix=tenant, **given), Envelope(START + number, ANN, to), raw_from=0,
        as_of=Watermark(as_of, START) if as_of else None, verdict="deliver", category=None, degraded=False, flags=(),
        answer={"verdict": "deliver", "text": text}, rows=(), content=NO_CONTENT,
    )  # fmt: skip


def message(number: int, *to: str, signature: str = "") -> HistoryMessage:
    """A message of the past; its id is m and the number."""
    return HistoryMessage(encode_event(event(number, *to, signature=signature)), b"raw %d" % number, ANN, to, "seen")


class Shard:
    """A sequencer over files of its own, which takes history too; entered again it is another process.

    lag: bytes that wait for the log. folded_up_to: of each tenant.
    """

    event, draft, message = staticmethod(event), staticmethod(draft), staticmethod(message)

    def __init__(self, folder: Path, stale_after_seconds: float = 60.0) -> None:
        self.folder, self.stale_after_seconds = folder, stale_after_seconds
        self.events = EventLog(folder / "events")
        self.lag, self.folded_up_to = 0, 10_000

    def __enter__(self) -> Shard:
        self.spool = Spool(self.folder / "spool", fsync=False)
        self.contacts = Contacts(self.folder / "contacts.sqlite")
        self.campaigns = Campaigns(self.folder / "campaigns")
        self.sequencer = Sequencer(
            spool=self.spool, events=self.events, contacts=self.contacts, campaigns=self.campaigns,
            stale_after_seconds=self.stale_after_seconds, unlogged=self.records,
        )  # fmt: skip
        for record in self.records():
            self.sequencer.restore(record)
        self.history = History(self.sequencer, lag_bytes=lambda: self.lag, folded=lambda tenant: self.folded_up_to)
        return self

    def __exit__(self, *_: object) -> None:
        self.spool.close()
        self.contacts.close()
        self.campaigns.close()

    def records(self) -> list[Accepted]:
        """What a reader of the spool finds, in its order."""
        reader = SpoolReader(self.folder / "spool", "tests")
        found = [decode_accepted(payload) for batch in iter(reader.poll, []) for _, payload in batch]
        reader.close()
        return found

    async def accept(self, one: Draft, *, key: str | None = None, sure: bool = False) -> Outcome:
        await self.sequencer.meet(one.tenant)
        return await self.sequencer.accept(one, b"raw " + one.message_id.encode(), key=key, sure=sure)

    async def take(self, *items: Any) -> list[Numbered]:
        took = await self.history.take("acme", items)
        assert not took.later
        return list(took.numbered)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Shard]:
    """Makes the test's shard; made again it goes on from its files."""
    return partial(Shard, tmp_path)
