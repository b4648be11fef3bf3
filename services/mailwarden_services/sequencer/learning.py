"""How a tenant's contacts come to be known, and come to be known again where their file was begun anew.

Who wrote to whom, and which messages were numbered, is asked of one index (`Contacts`). What the event log holds is
filled in from the log, and what it does not hold yet from the spool and from the newest messages:

1. At start the spool's records are restored first, then each tenant's part of the log is read (`learn`).
2. An index that fails is mended, which may begin its file anew. An empty file knows no tenant: all of them are lost,
   and each is learnt again when it is met, from the unlogged records, the newest messages and the log.

Invariant: the index is handed out (`of`) for tenants alone that are learnt, so nobody takes an empty file for one that
has not seen a message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreUnavailable
from mailwarden.stores.accepted import Accepted
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.content_index import Content
from mailwarden.stores.lake.event_log import EventLog, EventView
from mailwarden_services.sequencer.numbering import NO_CONTACTS
from mailwarden_services.sequencer.order import TenantOrder
from mailwarden_services.sequencer.recent import RecentMessages

RETRY_SECONDS = 2.0
"""How long the index is left alone after it could not be read: what it lacks is many messages' to gather."""


class ContactsLearning:
    """See the module. `learn_again` and `of` are for the thread that numbers.

    unlogged: what the spool holds and the event log may not, in order. tenants: all whose order is known.
    """

    def __init__(
        self,
        contacts: Contacts,
        events: EventLog,
        unlogged: Callable[[], Iterable[Accepted]],
        recent: RecentMessages,
        tenants: Callable[[], Iterable[TenantOrder]],
    ) -> None:
        self._contacts, self._events, self._unlogged = contacts, events, unlogged
        self._recent, self._tenants = recent, tenants
        self._begun = contacts.begun

    def restore(self, event: Event) -> None:
        """Take in a message that was numbered and that the log may not hold."""
        self._contacts.restore(
            event.tenant, event.sender, event.recipients, event.seq, event.message_id, Content.of(event)
        )

    def forget(self, event: Event, tenant: TenantOrder) -> None:
        """Take back a message that reached no disk; what an index forgot of itself needs no taking back."""
        if tenant.acquainted:
            self._contacts.forget(
                event.tenant, event.sender, event.new_recipients, event.seq, event.message_id, Content.of(event)
            )

    def learn(self, name: str, tenant: TenantOrder, view: EventView) -> None:
        """Read a tenant's part of the log, at start: all that the spool holds was restored before."""
        self._contacts.prepare(name, view)
        tenant.acquainted = True

    def started(self) -> None:
        """The file that there is now is the one whose tenants were learnt."""
        self._begun = self._contacts.begun

    def is_known(self, tenant: TenantOrder) -> bool:
        """Whether there is nothing to learn of a tenant."""
        return tenant.acquainted and not self._contacts.failed

    def is_due(self, tenant: TenantOrder) -> bool:
        """Whether a tenant is to be learnt now, which is then left alone for a while."""
        if self._contacts.failed:
            tenant.acquainted, tenant.lost = False, True
        if tenant.acquainted or time.monotonic() < tenant.again:
            return False
        tenant.again = time.monotonic() + RETRY_SECONDS
        return True

    def learn_again(self, name: str, tenant: TenantOrder) -> None:
        """Mend the index where it failed, and learn a tenant; raises StoreError where that fails."""
        try:
            if self._contacts.failed:
                self._contacts.mend()
            self._lose_where_begun_anew()
            self._learn(name, tenant)
        finally:
            # Whatever fails behind it, an empty file knows none of the tenants.
            lost = self._lose_where_begun_anew()
        if lost:
            self._learn(name, tenant)

    def of(self, tenant: TenantOrder) -> Contacts:
        """The contacts; raises StoreUnavailable where the tenant's are to be learnt, since their file may have been
        begun anew while somebody waited for the thread that numbers."""
        if not tenant.acquainted:
            raise StoreUnavailable(f"{NO_CONTACTS} until they are learnt again; try again")
        return self._contacts

    def _lose_where_begun_anew(self) -> bool:
        """Have every tenant's contacts learnt again, when it is met, where their file was begun anew since."""
        if self._begun == self._contacts.begun:
            return False
        self._begun = self._contacts.begun
        for known in self._tenants():
            known.acquainted, known.lost = False, True
        return True

    def _learn(self, name: str, tenant: TenantOrder) -> None:
        # What was numbered while this failed may be in no log yet, and is on disk but for what is numbered just now.
        for record in self._unlogged() if tenant.lost else ():
            if record.event.tenant == name and record.event.kind == "message":
                self.restore(record.event)
        for recent in self._recent.of(name):
            self.restore(recent.event)
        self._contacts.prepare(name, self._events.view())
        tenant.acquainted, tenant.lost = True, False
