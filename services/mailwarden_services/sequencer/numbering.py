"""How a draft gets its number: in its turn, in the thread that writes, once, or as what it repeats."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import structlog

from mailwarden.domain.mail.addresses import normalise_address
from mailwarden.errors import StoreError
from mailwarden.stores.accepted import AcceptedMessage
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.content_index import Content, Met
from mailwarden.stores.draft import Draft
from mailwarden.stores.online.streams import encode_event
from mailwarden_services.sequencer.order import Outcome, TenantOrder, age_seconds
from mailwarden_services.sequencer.recent import Recent, RecentMessages
from mailwarden_services.sequencer.told import Told

log = structlog.get_logger(__name__)

NO_CONTACTS = "first contacts unavailable"


class Numbering:
    """Numbers drafts, over the newest messages and the index of all. order_of: how far a tenant is."""

    def __init__(
        self, recent: RecentMessages, told: Told, contacts: Contacts, order_of: Callable[[str], TenantOrder]
    ) -> None:
        self._recent, self._told, self._contacts, self._order_of = recent, told, contacts, order_of

    def known(
        self, tenant: str, message_id: str, key: str | None, content: Content | None
    ) -> tuple[Recent | None, bool]:
        """The message that one repeats, of the newest, and whether it is another one under the same idempotency key."""
        recent = self._recent.find_key(tenant, key) if key is not None else None
        if recent is not None:
            return recent, recent.message_id != message_id and (content is None or not recent.is_handed_again(content))
        recent = self._recent.find(tenant, message_id)
        if recent is None and content is not None:
            alike = self._recent.find_content(tenant, content.key)
            recent = alike if alike is not None and alike.has(content) else None
        return recent, False

    def make(
        self, draft: Draft, raw: bytes, key: str | None, flags: tuple[str, ...], outcome: Outcome, *, sure: bool
    ) -> bytes | None:
        """The draft's record under the tenant's next seq, in its turn; None where it is not numbered, see `outcome`.

        sure: it was not numbered before.
        """
        tenant = self._order_of(draft.tenant)
        recent, other = self.known(draft.tenant, draft.message_id, key, draft.content)
        if recent is not None:
            outcome.recent, outcome.repeated, outcome.other = recent, True, recent.message_id if other else ""
            return None
        met = Met()
        lost = True
        if tenant.acquainted:
            try:
                met = self._contacts.meet(
                    draft.tenant,
                    draft.sender,
                    draft.recipients,
                    tenant.next,
                    draft.message_id,
                    draft.content,
                    again=sure,
                )
                lost = False
            except StoreError as exc:
                log.error(NO_CONTACTS, error=str(exc))
        if not met.counts:
            self._repeats(draft, met, outcome)
            return None
        if lost:
            if not sure:
                outcome.unsure = True
                return None
            flags = (*flags, NO_CONTACTS)
        # Before it has its seq: it is none of those that its own features lack.
        age = age_seconds(draft.as_of, tenant.next, tenant.newest_us)
        outcome.seq = seq = tenant.take()
        handed_for = () if met.copy is None else draft.recipients
        if met.copy is not None:
            decided = self._recent.find(draft.tenant, met.copy.decided)
            draft = draft.as_copy(met.copy, None if decided is None else decided.answer)
            outcome.copy = True
        event = draft.event_json(seq, met.new)
        outcome.degraded = bool(flags)
        outcome.answer = draft.answer_json(seq, age, flags, degraded=bool(flags))
        outcome.recent = Recent(
            draft.tenant,
            draft.message_id,
            seq,
            event,
            outcome.answer,
            draft.content.key if draft.content else draft.content_sha256,
            key,
            handed_for=handed_for,
        )
        self._recent.add(outcome.recent)
        if outcome.copy:
            self._told.add_message(outcome.recent.event)
        tenant.newest_us = max(tenant.newest_us, draft.received_at_us)
        return draft.payload(event, outcome.answer, key, raw)

    def _repeats(self, draft: Draft, met: Met, outcome: Outcome) -> None:
        """A message that was numbered: as one of the newest where it is one, else by its id."""
        decided = draft.message_id if met.known or met.copy is None else met.copy.decided
        recent = self._recent.find(draft.tenant, decided)
        if not decided:
            outcome.anew = True
        elif recent is None:
            outcome.before = decided
        else:
            outcome.recent, outcome.repeated = recent, True

    def undo(self, draft: Draft, outcome: Outcome) -> None:
        """Take back what `make` did of a draft that the disk refused."""
        if outcome.seq and outcome.recent is not None:
            self._recent.forget(outcome.recent)
            event = outcome.recent.event
            self._told.forget_message(event)
            if self._order_of(draft.tenant).acquainted:
                self._contacts.forget(
                    draft.tenant,
                    event.sender,
                    event.new_recipients,
                    outcome.seq,
                    draft.message_id,
                    Content.of(event),
                )


def recent_of(record: AcceptedMessage) -> Recent:
    """What a record that the spool still held is kept as among the newest."""
    event = record.event
    answer = orjson.dumps(record.answer)
    return Recent(
        event.tenant,
        event.message_id,
        event.seq,
        encode_event(event),
        answer,
        event.content_key or event.content_sha256,
        record.idempotency_key,
        True,
        tuple(map(normalise_address, record.rcpt_to)) if event.copy_of else (),
    )
