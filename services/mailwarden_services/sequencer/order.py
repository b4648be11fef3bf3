"""How far a tenant's order is, and what it says of a message, before and after that is numbered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from mailwarden.domain.mail.clusters import Member
from mailwarden.stores.online.watermark import Watermark
from mailwarden_services.sequencer.recent import Recent


@dataclass(slots=True)
class TenantOrder:
    """How far a tenant is. next: seq. newest_us: of its mail. logged, acquainted, clustered: what is learnt. lost: its
    contacts were, since they were learnt.

    again: when learning contacts, which failed, is tried again.
    """

    next: int = 1
    newest_us: int = 0
    logged: bool = False
    acquainted: bool = False
    clustered: bool = False
    lost: bool = False
    again: float = float("-inf")
    learning: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self) -> int:
        """The next seq, given."""
        seq, self.next = self.next, self.next + 1
        return seq


@dataclass(frozen=True, slots=True)
class Begun:
    """What scoring needs of the tenant's order. campaign: the message's. due_seq: see `Scorer.score`.

    member: what `abandon` takes back. flags: what could not be found out.
    """

    campaign: str
    due_seq: int
    member: Member | None = None
    flags: tuple[str, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What became of a draft. answer: the caller's, as JSON. recent: the message that this one repeats, or is.

    seq: 0 where it was not numbered. degraded: its answer says that something could not be found out. before: id of the
    message that it repeats, or is, which was numbered long ago: only its decision, or the log, knows it. other: id of
    the message that its idempotency key belongs to, which it is not. copy: it was numbered as a further copy of another
    message. anew: it was numbered, under several decisions, so that its own stands and is not counted. unsure: nobody
    could look whether it was numbered.
    """

    answer: bytes = b""
    seq: int = 0
    degraded: bool = False
    recent: Recent | None = None
    repeated: bool = False
    before: str = ""
    other: str = ""
    copy: bool = False
    anew: bool = False
    unsure: bool = False


def age_seconds(as_of: Watermark | None, next_seq: int, newest_us: int) -> float | None:
    """How far features lag behind what was accepted, in the mail's own time; None where nothing was folded.

    as_of: how far they had folded. next_seq, newest_us: of the tenant's mail.
    """
    if as_of is None:
        return None
    return 0.0 if as_of.seq + 1 >= next_seq else max(0.0, (newest_us - as_of.time_us) / 1e6)
