"""First contacts of messages on their way into the log in bulk: kept with the log's commit, or forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailwarden.domain.mail.events import Event
from mailwarden.stores.contacts_file import KEEP, MARK, Sent, known_in
from mailwarden.stores.content_index import Content, Copy, drop_old
from mailwarden.stores.lake.event_log import EventView

if TYPE_CHECKING:
    from mailwarden.stores.contacts import Contacts


class Numbering:
    """Messages of one tenant on their way into the log in bulk; see `Contacts.numbering`."""

    def __init__(self, contacts: Contacts, tenant: str) -> None:
        self._contacts, self._tenant = contacts, tenant
        self._last = self._placed = 0
        self._number = contacts._number(tenant)
        contacts._file.execute("savepoint numbering")

    def begin(self, log: EventView) -> None:
        """Begin on what the log holds now, whatever was numbered in this block before."""
        self._contacts._file.execute("rollback to numbering")
        _, self._last = self._contacts._learn(self._tenant, log)
        self._placed = self._last

    def same(self, messages: Sequence[Event]) -> list[Copy | None]:
        """The message that each one is a copy of, in the order in which they are to count; None for what is new.

        Of one that is numbered already nobody is new; it may be its own copy.
        """
        contacts, number, file = self._contacts, self._number, self._contacts._file
        own = [contacts._digests.message(event.message_id) for event in messages]
        known = known_in(file, number, own)
        found: list[Copy | None] = []
        for event, digest in zip(messages, own, strict=True):
            content = Content.of(event)
            copy = None if content is None else contacts._contents.find(file, number, content)
            if digest in known and copy is not None:
                copy = copy._replace(recipients=(), domains=())
            found.append(copy)
            if content is None or (copy is not None and not copy.recipients):
                continue
            if digest in known:
                # The index held it once, and holds no such old weeks any more: its copies in this source find it here.
                contacts._contents.put(file, number, [(content, known[digest], event.message_id)])
                continue
            # Below the seqs that they will get, and above all others: in their order.
            self._placed += 1
            placed = content if copy is None else content.of_copy(copy)
            contacts._contents.put(file, number, [(placed, self._placed, event.message_id)])
        return found

    def first(self, messages: Sequence[Sent]) -> list[tuple[str, ...]]:
        """The new recipients of each message, in order of seq over all calls since `begin`."""
        contacts, number = self._contacts, self._number
        each = [(contacts._digests.pairs(sender, recipients), seq) for sender, recipients, seq, _ in messages]
        known = known_in(contacts._file, number, sorted({pair for pairs, _ in each for pair in pairs.values()}))
        answers: list[tuple[str, ...]] = []
        added = [(number, contacts._digests.message(message_id), seq) for _, _, seq, message_id in messages]
        for pairs, seq in each:
            new = [name for name, pair in pairs.items() if known.get(pair, seq) >= seq]
            for name in new:
                known[pairs[name]] = seq
                added.append((number, pairs[name], seq))
            answers.append(tuple(new))
            self._last = max(self._last, seq)
        contacts._file.executemany(KEEP, sorted(added))
        return answers

    def finish(self) -> None:
        """Note up to which seq the tenant is known."""
        drop_old(self._contacts._file, self._number)
        self._contacts._file.execute(MARK, (self._last, self._number))
        self._contacts._marks[self._number] = self._last
