"""A tenant's log gone through in order of seq: history, campaigns and who knows whom, as of the moments asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.clusters import Clusters, Member
from mailwarden.domain.mail.events import Event
from mailwarden.stores.history_at import HistoryAt
from mailwarden.stores.lake.event_log import EventView

EVENTS_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that somebody could have stolen; see `simulation.evasions.claims.Letter`."""

    message_id: str
    received_at_us: int
    domain: str
    authenticated: bool | None


class Acquaintances:
    """Who writes to whom, of some recipients. recipients: these. bad: message_ids that nobody is known by."""

    def __init__(self, recipients: Collection[str], bad: Collection[str]) -> None:
        self._recipients, self._bad = frozenset(recipients), frozenset(bad)
        self._written: dict[str, Counter[str]] = {}
        self._newest: dict[str, dict[str, Seen]] = {}
        self._inside: dict[str, dict[str, Seen]] = {}
        self._anybody: dict[str, Seen] = {}
        self._pairs: set[tuple[str, str]] = set()

    def add(self, event: Event) -> None:
        """Take in the next message."""
        if event.kind != "message" or event.copy_of:
            return
        self._pairs.update((event.sender, recipient) for recipient in event.recipients)
        if event.message_id in self._bad or not event.sender:
            return
        seen = Seen(event.message_id, event.received_at_us, event.sender_domain, event.authenticated)
        if event.direction == "outbound" and event.sender in self._recipients:
            self._written.setdefault(event.sender, Counter()).update(event.recipients)
        if event.direction == "internal":
            self._anybody[event.sender] = seen
        newest = {"inbound": self._newest, "internal": self._inside}.get(event.direction)
        if newest is not None:
            for recipient in self._recipients.intersection(event.recipients):
                newest.setdefault(recipient, {})[event.sender] = seen

    def new_to(self, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
        """Those to whom a sender wrote nothing yet."""
        return tuple(recipient for recipient in recipients if (sender, recipient) not in self._pairs)

    def partner(self, event: Event) -> Seen | None:
        """The newest mail of somebody outside, of another domain than the attack's, who is written to most."""
        best: tuple[int, str, Seen] | None = None
        for recipient in event.recipients:
            newest = self._newest.get(recipient, {})
            for other, times in self._written.get(recipient, Counter()).items():
                seen = newest.get(other)
                if seen is None or seen.domain == event.sender_domain:
                    continue
                if best is None or (times, other) > best[:2]:
                    best = times, other, seen
        return None if best is None else best[2]

    def colleague(self, event: Event) -> Seen | None:
        """The newest internal mail to a recipient, by another than the recipients; else the newest to anybody."""
        inside = [self._inside.get(recipient, {}) for recipient in event.recipients]
        for known in (*inside, self._anybody):
            others = [seen for sender, seen in known.items() if sender not in (*event.recipients, event.sender)]
            if others:
                return max(others, key=lambda seen: (seen.received_at_us, seen.message_id))
        return None


@dataclass(slots=True)
class Moment:
    """What was known before a message came. event: as it was logged."""

    event: Event
    history: HistoryAt
    clusters: Clusters
    acquaintances: Acquaintances

    def campaign_of(self, event: Event) -> str:
        """The campaign that another message would be of."""
        return self.clusters.find(event.signature)


def walk(
    log: EventView,
    tenant: str,
    views: Sequence[ActivityView],
    stops: Mapping[str, int],
    acquaintances: Acquaintances,
) -> Iterator[Moment]:
    """The moments before these messages came, in order of seq. stops: by message_id, their seqs."""
    history, clusters = HistoryAt(views), Clusters()
    last = max(stops.values(), default=0)
    for events in log.in_order(tenant, until=last, limit=EVENTS_AT_ONCE):
        for event in events:
            if event.kind == "message" and stops.get(event.message_id) == event.seq:
                yield Moment(event, history, clusters, acquaintances)
            history.add(event)
            acquaintances.add(event)
            if event.kind == "message" and event.campaign and event.signature:
                clusters.take(Member(event.seq, event.campaign, event.signature))
