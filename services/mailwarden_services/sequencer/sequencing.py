"""What the intake asks of whoever numbers a tenant, in this process or in another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mailwarden.domain.mail.clusters import Member
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import SignalFacts, label_event_of, signal_event_of, tombstone_of
from mailwarden.errors import StoreError
from mailwarden.stores.accepted import AcceptedLabel, AcceptedSignal, AcceptedTombstone
from mailwarden.stores.content_index import Content
from mailwarden.stores.draft import Draft
from mailwarden.stores.history import HistoryItem
from mailwarden.stores.online.streams import decode_event
from mailwarden.stores.online.watermark import Watermark
from mailwarden_services.sequencer.history import History, HistoryTook
from mailwarden_services.sequencer.order import Begun, age_seconds
from mailwarden_services.sequencer.sequencer import Sequencer

Source = Literal["analyst", "audit", "user"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A message that was read. key: its caller's idempotency key. observe: it will be numbered. content: what tells
    whether it came before."""

    message_id: str
    signature: str
    key: str | None
    observe: bool
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A message that was accepted: its id, and its answer as JSON. other: it is not the one that was asked for, though
    it was handed over under the same idempotency key."""

    message_id: str
    answer: bytes
    other: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """What a tenant's order says of a message. known: it is on disk already, and nothing was begun.

    next_seq, newest_us: of the tenant's mail.
    """

    begun: Begun
    known: Known | None
    next_seq: int
    newest_us: int

    def age_seconds(self, as_of: Watermark | None) -> float | None:
        """How far features lag behind what was accepted then; see `sequencer.age_seconds`."""
        return age_seconds(as_of, self.next_seq, self.newest_us)


@dataclass(frozen=True, slots=True)
class Took:
    """What became of a draft. answer: its own, as JSON, where it was numbered. known: the message that it repeats.

    degraded: numbering lacked something. before, other, copy, anew, unsure: see `sequencer.Outcome`.
    """

    answer: bytes = b""
    degraded: bool = False
    known: Known | None = None
    before: str = ""
    other: str = ""
    copy: bool = False
    anew: bool = False
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Lately:
    """What is remembered of a message. event: as JSON, None where it is not among the newest. label: given lately.
    forgotten: it was taken out of the counts lately. copies: further copies that were numbered lately, with their
    seqs."""

    event_json: bytes | None
    label: str | None
    signals: tuple[str, ...]
    forgotten: bool = False
    copies: Mapping[str, int] = field(default_factory=dict)

    @property
    def event(self) -> Event | None:
        """The event."""
        return None if self.event_json is None else decode_event(self.event_json)


class Sequencing(Protocol):
    """Numbers some tenants' mail. Every method raises StoreError where it cannot be reached."""

    async def meet(self, tenant: str) -> None:
        """Learn once what the log holds of a tenant; before anything else of it."""

    async def begin(self, tenant: str, asked: Asked) -> Begin:
        """See `Sequencer.begin`; a message that is known is not begun."""

    async def accept(
        self, draft: Draft, raw: bytes, *, key: str | None, member: Member | None, sure: bool = False
    ) -> Took:
        """See `Sequencer.accept`. member: what `begin` took in; taken back where the disk refuses."""

    async def abandon(self, tenant: str, member: Member | None) -> None:
        """Take back what `begin` took in."""

    async def label(
        self,
        target: Event,
        label: str,
        held: str | None,
        *,
        known_at_us: int,
        source: Source,
        given_by: str,
        stands_for: int = 0,
    ) -> int:
        """Number a label of a message; its seq, 0 where it has that one. held: what the log holds. source, stands_for:
        see `Event`."""

    async def signal(self, target: Event, facts: SignalFacts) -> int:
        """Number a signal of a message; its seq, 0 where it has it."""

    async def forget(self, target: Event) -> int:
        """Number a tombstone of a message, or of a signal of it; its seq, 0 where it has one."""

    async def lately(self, tenant: str, message_id: str) -> Lately:
        """What is remembered of a message."""

    async def numbered(self, tenant: str, message_ids: Sequence[str]) -> dict[str, int]:
        """Those of the ids that have a seq, with it, by one look into the index; all of them, with 0, where nobody can
        look."""

    async def find_content(self, tenant: str, content: str) -> str | None:
        """The id of the newest message of that content, by its content key, else its hash; None where not known."""


ByTenant = Callable[[str], Sequencing]
"""Who numbers a tenant."""


class Here:
    """A `Sequencing` over a sequencer of this process and event loop. history: what takes mail of the past."""

    def __init__(self, sequencer: Sequencer, history: History | None = None) -> None:
        self._sequencer, self._history = sequencer, history

    async def ping(self) -> None:
        """Answer, as one that works."""

    async def history(self, tenant: str, items: Sequence[HistoryItem]) -> HistoryTook:
        """See `History.take`."""
        if self._history is None:
            raise StoreError("this sequencer takes no history")
        return await self._history.take(tenant, items)

    async def last_seq(self, tenant: str) -> int:
        """The tenant's seq that was given last; 0 for none."""
        await self._sequencer.meet(tenant)
        return self._sequencer.stands_at(tenant)[0] - 1

    async def meet(self, tenant: str) -> None:
        """See `Sequencing`."""
        await self._sequencer.meet(tenant)

    async def begin(self, tenant: str, asked: Asked) -> Begin:
        """See `Sequencing`."""
        sequencer = self._sequencer
        await sequencer.meet(tenant)
        if asked.observe:
            recent, other = sequencer.numbering.known(tenant, asked.message_id, asked.key, asked.content)
            # What is not on disk yet is answered behind it, by `accept`.
            if recent is not None and (recent.on_disk or other):
                return Begin(Begun("", 0), Known(recent.message_id, recent.answer, other), 0, 0)
        begun = sequencer.begin(tenant, asked.signature, observe=asked.observe)
        return Begin(begun, None, *sequencer.stands_at(tenant))

    async def accept(
        self, draft: Draft, raw: bytes, *, key: str | None, member: Member | None, sure: bool = False
    ) -> Took:
        """See `Sequencing`."""
        try:
            outcome = await self._sequencer.accept(draft, raw, key=key, sure=sure)
        except StoreError:
            await self.abandon(draft.tenant, member)
            raise
        recent = outcome.recent
        known = Known(recent.message_id, recent.answer) if outcome.repeated and recent is not None else None
        return Took(
            outcome.answer,
            outcome.degraded,
            known,
            outcome.before,
            outcome.other,
            outcome.copy,
            outcome.anew,
            outcome.unsure,
        )

    async def abandon(self, tenant: str, member: Member | None) -> None:
        """See `Sequencing`."""
        if member is not None:
            self._sequencer.abandon(tenant, Begun("", 0, member))

    async def label(
        self,
        target: Event,
        label: str,
        held: str | None,
        *,
        known_at_us: int,
        source: Source,
        given_by: str,
        stands_for: int = 0,
    ) -> int:
        """See `Sequencing`."""

        def make(seq: int, replaced: str | None) -> AcceptedLabel:
            event = label_event_of(
                target,
                label=label,
                replaced=replaced,
                seq=seq,
                known_at_us=known_at_us,
                source=source,
                stands_for=stands_for,
            )
            return AcceptedLabel(event, source, given_by)

        await self._sequencer.meet(target.tenant)
        return await self._sequencer.label(target.tenant, target.message_id, label, held, make)

    async def signal(self, target: Event, facts: SignalFacts) -> int:
        """See `Sequencing`."""
        await self._sequencer.meet(target.tenant)

        def make(seq: int) -> AcceptedSignal:
            known_at_us = max(self._sequencer.stands_at(target.tenant)[1], target.received_at_us)
            return AcceptedSignal(signal_event_of(target, facts, seq=seq, known_at_us=known_at_us))

        return await self._sequencer.signal(target.tenant, target.message_id, facts.signal, make)

    async def forget(self, target: Event) -> int:
        """See `Sequencing`."""
        await self._sequencer.meet(target.tenant)

        def make(seq: int) -> AcceptedTombstone:
            known_at_us = max(self._sequencer.stands_at(target.tenant)[1], target.received_at_us)
            return AcceptedTombstone(tombstone_of(target, seq=seq, known_at_us=known_at_us))

        signal = target.signal if target.kind == "signal" else ""
        return await self._sequencer.forget(target.tenant, target.message_id, signal, make)

    async def lately(self, tenant: str, message_id: str) -> Lately:
        """See `Sequencing`."""
        recent, told = self._sequencer.recent.find(tenant, message_id), self._sequencer.told
        return Lately(
            None if recent is None else recent.event_json,
            told.labels.get((tenant, message_id)),
            told.signals_of(tenant, message_id),
            told.is_forgotten(tenant, message_id),
            told.copies.of(tenant, message_id),
        )

    async def numbered(self, tenant: str, message_ids: Sequence[str]) -> dict[str, int]:
        """See `Sequencing`."""
        await self._sequencer.meet(tenant)
        recent = {name: self._sequencer.recent.find(tenant, name) for name in message_ids}
        found = {name: known.seq for name, known in recent.items() if known is not None}
        rest = [name for name in recent if name not in found]
        return found | await self._sequencer.numbered(tenant, rest) if rest else found

    async def find_content(self, tenant: str, content: str) -> str | None:
        """See `Sequencing`."""
        recent = self._sequencer.recent.find_content(tenant, content)
        return await self._sequencer.newest_of(tenant, content) if recent is None else recent.message_id
